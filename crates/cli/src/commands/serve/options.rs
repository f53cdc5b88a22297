//! From settings to what the registry server takes.

use content::{GcOptions, ReferencePolicy};
use registry::{Collection, Options, ReadOnly, ReferenceRules, SigningKey, Tls, TokenOptions, TokenServer};
use settings::serve::{OrOff, References, ServeSettings, Size};

use super::access::AccessFiles;
use super::certificate;
use super::reload::Reloads;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Reads and makes what the settings name. Options, what is good to know, and what may change while the server runs.
pub(super) fn make(settings: &ServeSettings) -> Outcome<(Options, Vec<String>, Reloads)> {
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
    options.connections = usize::try_from(*settings.connections).unwrap_or(usize::MAX);
    options.header_timeout = *settings.header_timeout;
    options.body_timeout = *settings.body_timeout;
    options.drain_delay = *settings.drain_delay;
    options.drain_timeout = *settings.drain_timeout;
    options.tls = tls(settings, &mut notes)?;
    if let Some(files) = AccessFiles::of(settings) {
        let (mut access, files) = files.open()?;
        if *settings.token_server {
            access = access.with_tokens(token_server(settings)?);
        }
        options.access = Some(access.clone());
        reloads.access = Some((access, files));
    }
    reloads.tls.clone_from(&options.tls);
    reloads.read_only = options.read_only.clone();
    Ok((options, notes, reloads))
}

fn policy(references: References) -> ReferencePolicy {
    match references {
        References::Strict => ReferencePolicy::Strict,
        References::Sparse => ReferencePolicy::Sparse,
    }
}

fn references(settings: &ServeSettings) -> Outcome<ReferenceRules> {
    settings.repositories.iter().try_fold(ReferenceRules::new(policy(*settings.references)), |rules, repository| {
        rules.with(&repository.name, policy(repository.references)).map_err(|error| Failure::usage(error.to_string()))
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
    if settings.connections.value == 0 {
        return contradiction("no connection is allowed by `limits.connections`", "allow at least 1");
    }
    Ok(())
}

fn tls(settings: &ServeSettings, notes: &mut Vec<String>) -> Outcome<Option<Tls>> {
    let unusable = |error: registry::TlsError| Failure::new(Exit::Invalid, error.to_string());
    if let (Some(certificate), Some(key)) = (&settings.tls_cert.value, &settings.tls_key.value) {
        return Tls::open(certificate, key).map(Some).map_err(unusable);
    }
    if !*settings.tls_self_signed {
        return Ok(None);
    }
    let files = certificate::keep(&settings.data, &settings.tls_names, &settings.listen.0)?;
    notes.push(format!("clients must trust `{}`", files.certificate.display()));
    Tls::open(&files.certificate, &files.key).map(Some).map_err(unusable)
}

fn token_server(settings: &ServeSettings) -> Outcome<TokenServer> {
    let path = settings.token_key.value.clone().unwrap_or_else(|| settings.data.join("token-key.pem"));
    certificate::make_directory(&settings.data)?;
    let key = SigningKey::open(&path).map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let mut options = TokenOptions::default();
    options.service.clone_from(&settings.token_service);
    options.realm.clone_from(&settings.token_realm);
    options.lifetime = *settings.token_lifetime;
    options.refresh_lifetime = *settings.token_refresh_lifetime;
    TokenServer::new(key, options).map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sets_is_what_the_server_has_without_settings() {
        let (mut made, notes, _) = make(&ServeSettings::default()).unwrap();
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
            make(&settings).unwrap_err()
        };
        let path = || Some("x".into());
        for failure in [
            refused(|settings| settings.tls_cert.value = Some("x".into())),
            refused(|settings| settings.tls_key.value = Some("x".into())),
            refused(|settings| settings.connections.value = 0),
            refused(|settings| {
                settings.tls_cert.value = Some("x".into());
                settings.tls_key.value = Some("x".into());
                settings.tls_self_signed.value = true;
            }),
            refused(|settings| {
                settings.policy.value = Some("x".into());
                settings.allow_anonymous.value = true;
            }),
        ] {
            assert_eq!(failure.exit, Exit::Usage, "{failure:?}");
            assert!(failure.hint.is_some(), "{failure:?}");
        }
        let mut settings = ServeSettings::default();
        settings.policy.value = path();
        assert_eq!(make(&settings).unwrap_err().exit, Exit::Failure);
    }
}
