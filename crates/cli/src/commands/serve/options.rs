//! From settings to what the registry server takes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use content::{GcOptions, ReferencePolicy};
use image::Platform;
use registry::{
    Access, AccessLog, AccessLogFormat, Allowed, Audit, Collection, Endpoint, EndpointError, ForwardedHeader,
    IssuerOptions, Issuers, KeyError, Limits, LogError, Network, Options, Pace, Rate, ReadOnly, ReferenceRules,
    SigningKey, Tls, TokenAlgorithm, TokenOptions, TokenServer, WebhookError, WebhookOptions, Webhooks,
};
use settings::serve::{
    AuditSync, Count, ForwardedBy, KeyAlgorithm, LogFormat, OrOff, References, ServeSettings, Size, Target,
};
use settings::{Environment, TrustRoots};

use super::access::AccessFiles;
use super::reload::Reloads;
use super::{certificate, failed};
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Reads and makes what the settings name. Options, what is good to know, and what may change while the server runs.
pub(super) fn make(settings: &ServeSettings, environment: &Environment) -> Outcome<(Options, Vec<String>, Reloads)> {
    check(settings)?;
    let mut notes = Vec::new();
    let mut reloads = Reloads::default();
    let mut options = Options::default();
    options.allow_anonymous = *settings.allow_anonymous;
    options.manifest_limit = usize::try_from(settings.manifest_limit.0).unwrap_or(usize::MAX);
    options.references = references(settings)?;
    options.read_only = ReadOnly::new(*settings.read_only);
    options.collection = settings.garbage_interval.0.map(|interval| Collection::every(interval, kept(settings)));
    let threshold = |size: OrOff<Size>| size.0.map_or(0, |size| size.0);
    options.disk_space.warn_below = threshold(*settings.warn_below);
    options.disk_space.refuse_below = threshold(*settings.refuse_below);
    options.connections = usize::try_from(settings.connections.0.get()).unwrap_or(usize::MAX);
    options.limits = limits(settings)?;
    options.webhooks = webhooks(settings)?;
    options.header_timeout = *settings.header_timeout;
    options.body_timeout = *settings.body_timeout;
    options.drain_delay = *settings.drain_delay;
    options.drain_timeout = *settings.drain_timeout;
    options.tls = tls(settings, &mut notes)?;
    options.access = access(settings, environment, &mut reloads)?;
    options.metrics = *settings.metrics;
    (options.access_log, options.audit) = logs(settings)?;
    reloads.tls.clone_from(&options.tls);
    reloads.access_log.clone_from(&options.access_log);
    reloads.audit.clone_from(&options.audit);
    reloads.read_only = options.read_only.clone();
    Ok((options, notes, reloads))
}

fn references(settings: &ServeSettings) -> Outcome<ReferenceRules> {
    let platforms =
        settings.reference_platforms.iter().map(|text| Platform::parse(text)).collect::<Result<Arc<[_]>, _>>();
    let platforms = platforms.map_err(|error| Failure::usage(error.to_string()))?;
    let policy = |references| match references {
        References::Strict => Ok(ReferencePolicy::Strict),
        References::Sparse => Ok(ReferencePolicy::Sparse),
        References::Platforms if platforms.is_empty() => {
            let failure = Failure::usage("images for some platforms must be there, and no platform is named");
            Err(failure.hint("name them with `--reference-platform`".to_owned()))
        }
        References::Platforms => Ok(ReferencePolicy::Platforms(platforms.clone())),
    };
    let rules = ReferenceRules::new(policy(*settings.references)?);
    settings.repositories.iter().try_fold(rules, |rules, repository| {
        rules.with(&repository.name, policy(repository.references)?).map_err(|error| Failure::usage(error.to_string()))
    })
}

/// What a collection of garbage keeps.
fn kept(settings: &ServeSettings) -> GcOptions {
    let mut options = GcOptions::default();
    options.keep_history = *settings.keep_history;
    options.keep_untagged = *settings.keep_untagged;
    options.keep_unused_blobs = *settings.keep_unused_blobs;
    options
}

/// Settings that contradict each other are refused, not ranked.
fn check(settings: &ServeSettings) -> Outcome {
    let contradiction = |text: &str, hint: &str| Err(Failure::usage(text).hint(hint.to_owned()));
    match (&settings.tls_cert.value, &settings.tls_key.value) {
        (Some(_), None) => return contradiction("a certificate without its key", "name the key with `--tls-key`"),
        (None, Some(_)) => return contradiction("a key without its certificate", "name it with `--tls-cert`"),
        (Some(_), Some(_)) if *settings.tls_self_signed => {
            return contradiction("two certificates: one that is given, and one that is made", "leave one of them out");
        }
        _ => {}
    }
    if *settings.allow_anonymous && AccessFiles::of(settings).is_some() {
        return contradiction(
            "anybody may do everything by `allow-anonymous`, and other settings name who may do what",
            "leave `allow-anonymous` out; what anonymous may do stands in the policy",
        );
    }
    let encrypted = settings.tls_cert.value.is_some() || *settings.tls_self_signed;
    if settings.client_ca.value.is_some() && !encrypted {
        return contradiction(
            "certificates of clients without TLS",
            "give the server one with `--tls-cert` and `--tls-key`",
        );
    }
    if settings.policy.value.is_none() && (settings.client_ca.value.is_some() || !settings.issuers.is_empty()) {
        return contradiction(
            "others say who somebody is, and no policy says what they may do: they could do nothing",
            "name the rules with `--policy`",
        );
    }
    if settings.url_length.0 > LONGEST_URL {
        let text = format!("`url-length` of more than {LONGEST_URL} bytes: no longer ones are ever read");
        return contradiction(&text, "take a smaller one");
    }
    Ok(())
}

/// No URL that is longer is read, whatever is allowed.
const LONGEST_URL: u64 = u16::MAX as u64 - 1;

fn tls(settings: &ServeSettings, notes: &mut Vec<String>) -> Outcome<Option<Tls>> {
    let unusable = |error: registry::TlsError| Failure::new(Exit::Invalid, error.to_string());
    let (certificate, key) = if let (Some(certificate), Some(key)) = (&settings.tls_cert.value, &settings.tls_key.value)
    {
        (certificate.clone(), key.clone())
    } else if *settings.tls_self_signed {
        let files = certificate::keep(&settings.data, &settings.tls_names, &settings.listen.0)?;
        notes.push(format!("clients must trust `{}`", files.certificate.display()));
        (files.certificate, files.key)
    } else {
        return Ok(None);
    };
    let tls = Tls::open(&certificate, &key).map_err(unusable)?;
    match &settings.client_ca.value {
        Some(authorities) => tls.with_client_authorities_file(authorities).map(Some).map_err(unusable),
        None => Ok(Some(tls)),
    }
}

/// Who may do what, if anybody is asked.
fn access(settings: &ServeSettings, environment: &Environment, reloads: &mut Reloads) -> Outcome<Option<Access>> {
    let Some(files) = AccessFiles::of(settings) else { return Ok(None) };
    let (mut access, files) = files.open()?;
    if *settings.token_server {
        access = access.with_tokens(token_server(settings)?);
    }
    if !settings.issuers.is_empty() {
        access = access.with_issuers(issuers(settings, environment).map_err(Failure::usage)?);
    }
    reloads.access = Some((access.clone(), files));
    Ok(Some(access))
}

/// Whose tokens are taken. Else why not.
pub(super) fn issuers(settings: &ServeSettings, environment: &Environment) -> Result<Issuers, String> {
    let mut all = Vec::new();
    for issuer in &settings.issuers {
        let mut options = IssuerOptions::new(&issuer.issuer, &issuer.jwks.0, "");
        options.audience.clone_from(&issuer.audience);
        options.name.clone_from(&issuer.name);
        options.name_claim.clone_from(&issuer.name_claim);
        options.groups_claim.clone_from(&issuer.groups_claim);
        all.push(options);
    }
    let trust = registry_client::believing(&TrustRoots::new(environment)).map_err(|error| error.to_string())?;
    Issuers::open(all, &trust).map_err(|error| error.to_string())
}

fn logs(settings: &ServeSettings) -> Outcome<(Option<AccessLog>, Option<Audit>)> {
    let failed = |error: LogError| Failure::new(Exit::Failure, error.to_string());
    let format = match *settings.access_log_format {
        LogFormat::Text => AccessLogFormat::Text,
        LogFormat::Json => AccessLogFormat::Json,
    };
    let access = match &settings.access_log.value {
        None => None,
        Some(Target::Stdout) => Some(AccessLog::to_writer(format, std::io::stdout()).map_err(failed)?),
        Some(Target::File(path)) => Some(AccessLog::to_file(format, path).map_err(failed)?),
    };
    let sync = match *settings.audit_sync {
        AuditSync::Second => registry::AuditSync::EverySecond,
        AuditSync::Write => registry::AuditSync::EachWrite,
        AuditSync::Never => registry::AuditSync::Never,
    };
    let audit = settings.audit_log.as_ref().map(|path| Audit::open(path, sync)).transpose().map_err(failed)?;
    Ok((access, audit))
}

/// The key that signs tokens; it is made if it is not there.
pub(super) fn signing_key(settings: &ServeSettings) -> Result<SigningKey, KeyError> {
    let algorithm = settings.token_algorithm.value.map(|algorithm| match algorithm {
        KeyAlgorithm::Es256 => TokenAlgorithm::Es256,
        KeyAlgorithm::Rs256 => TokenAlgorithm::Rs256,
        KeyAlgorithm::EdDsa => TokenAlgorithm::EdDsa,
    });
    let path = settings.token_key.value.clone().unwrap_or_else(|| settings.data.join("token-key.pem"));
    match algorithm {
        Some(algorithm) => SigningKey::open_for(&path, algorithm),
        None => SigningKey::open(&path),
    }
}

/// What one client may take.
fn limits(settings: &ServeSettings) -> Outcome<Limits> {
    let rate = |count: OrOff<Count>, burst: Option<Count>| {
        let rate = Rate::per_second(count.0?.0);
        Some(burst.map_or(rate, |burst| rate.with_burst(burst.0)))
    };
    let count = |count: OrOff<Count>| count.0.map(|count| count.0);
    let mut limits = Limits::default();
    limits.requests = rate(*settings.requests, *settings.burst);
    limits.address_requests = rate(*settings.address_requests, *settings.address_burst);
    limits.failed_logins =
        count(*settings.failed_logins).map(|count| Rate::per_minute(count).with_burst(FAILED_AT_ONCE));
    limits.sessions = count(*settings.sessions);
    limits.connections_per_address = count(*settings.connections_per_address);
    limits.blob_size = settings.blob_size.0.map(|size| size.0);
    limits.body_pace = settings
        .body_pace
        .0
        .map(|size| Pace { bytes_per_second: u32::try_from(size.0).unwrap_or(u32::MAX), window: PACE_WINDOW });
    limits.write_timeout = *settings.write_timeout;
    limits.url_length = usize::try_from(settings.url_length.0).unwrap_or(usize::MAX);
    limits.header_bytes = usize::try_from(settings.header_bytes.0).unwrap_or(usize::MAX);
    for proxy in &settings.trusted_proxies.value {
        let network = proxy.parse::<Network>();
        let network = network.map_err(|error| Failure::usage(format!("failed to trust a proxy: {error}")))?;
        limits.proxies.networks.push(network);
    }
    limits.proxies.header = match *settings.forwarded_header {
        ForwardedBy::XForwardedFor => ForwardedHeader::XForwardedFor,
        ForwardedBy::Forwarded => ForwardedHeader::Forwarded,
    };
    Ok(limits)
}

/// Failed logins that one address may have after a pause.
const FAILED_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Over how much time of waiting the pace of a body is looked at.
const PACE_WINDOW: Duration = Duration::from_secs(60);

/// Who is told what was written.
fn webhooks(settings: &ServeSettings) -> Outcome<Option<Webhooks>> {
    if settings.webhooks.is_empty() {
        return Ok(None);
    }
    // A file that cannot be used is no mistake of the settings.
    let refused = |error: EndpointError| match error {
        error @ EndpointError::SecretFile { .. } => Failure::new(Exit::Failure, format!("failed to {error}")),
        error => Failure::usage(error.to_string()),
    };
    let mut endpoints = Vec::new();
    for webhook in &settings.webhooks {
        let url = match (&webhook.url, &webhook.url_file) {
            (Some(url), None) => url.clone(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| failed(format_args!("read the URL of a webhook `{}`", path.display()), &error))?,
            _ => return Err(Failure::usage("a webhook needs one of `url` and `url-file`")),
        };
        let mut endpoint = Endpoint::new(url.trim()).map_err(refused)?;
        if let Some(path) = &webhook.secret_file {
            endpoint = endpoint.with_secret_file(path).map_err(refused)?;
        }
        if !webhook.events.is_empty() {
            endpoint = endpoint.with_events(&webhook.events).map_err(refused)?;
        }
        if !webhook.repositories.is_empty() {
            endpoint = endpoint.with_repositories(&webhook.repositories).map_err(refused)?;
        }
        endpoints.push(endpoint);
    }
    let mut options = WebhookOptions::default();
    for allowed in &settings.webhook_allow.value {
        let allowed = allowed.parse::<Allowed>();
        options
            .allow
            .push(allowed.map_err(|error| Failure::usage(format!("failed to read `webhook-allow`: {error}")))?);
    }
    options.journal = Some(settings.data.join("webhooks"));
    certificate::make_directory(&settings.data)?;
    let open = Webhooks::open(endpoints, options);
    open.map(Some).map_err(|error| match error {
        WebhookError::Endpoint(error) => refused(error),
        error @ WebhookError::TooMany { .. } => Failure::usage(error.to_string()),
        error => Failure::new(Exit::Failure, format!("failed to {error}")),
    })
}

fn token_server(settings: &ServeSettings) -> Outcome<TokenServer> {
    certificate::make_directory(&settings.data)?;
    let key = signing_key(settings).map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let mut options = TokenOptions::default();
    options.service.clone_from(&settings.token_service);
    options.realm.clone_from(&settings.token_realm);
    options.lifetime = *settings.token_lifetime;
    options.refresh_lifetime = *settings.token_refresh_lifetime;
    options.algorithm = settings.token_algorithm.value.map(|_| key.algorithm());
    TokenServer::new(key, options).map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use settings::serve::IssuerSettings;

    use super::*;

    #[test]
    fn what_nobody_sets_is_what_the_server_has_without_settings() {
        let (mut made, notes, _) = make(&ServeSettings::default(), &Environment::default()).unwrap();
        assert_eq!(format!("{:?}", kept(&ServeSettings::default())), format!("{:?}", GcOptions::default()));
        // What the library leaves to whoever uses it.
        assert!(made.collection.take().is_some());
        made.disk_space = Options::default().disk_space;
        assert_eq!(format!("{made:?}"), format!("{:?}", Options::default()));
        assert!(notes.is_empty());
        let (settings, tokens) = (ServeSettings::default(), TokenOptions::default());
        assert_eq!(settings.token_service.value, tokens.service);
        assert_eq!(*settings.token_lifetime, tokens.lifetime);
        assert_eq!(*settings.token_refresh_lifetime, tokens.refresh_lifetime);
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |change: fn(&mut ServeSettings)| {
            let mut settings = ServeSettings::default();
            change(&mut settings);
            make(&settings, &Environment::default()).unwrap_err()
        };
        let path = || Some("x".into());
        for failure in [
            refused(|settings| settings.tls_cert.value = Some("x".into())),
            refused(|settings| settings.tls_key.value = Some("x".into())),
            refused(|settings| settings.client_ca.value = Some("x".into())),
            refused(|settings| settings.issuers = vec![IssuerSettings::default()]),
            refused(|settings| {
                settings.tls_cert.value = Some("x".into());
                settings.tls_key.value = Some("x".into());
                settings.tls_self_signed.value = true;
            }),
            refused(|settings| {
                settings.policy.value = Some("x".into());
                settings.allow_anonymous.value = true;
            }),
            refused(|settings| settings.url_length.value.0 = 64 << 10),
        ] {
            assert_eq!(failure.exit, Exit::Usage, "{failure:?}");
            assert!(failure.hint.is_some(), "{failure:?}");
        }
        let mut settings = ServeSettings::default();
        settings.policy.value = path();
        assert_eq!(make(&settings, &Environment::default()).unwrap_err().exit, Exit::Failure);
    }
}
