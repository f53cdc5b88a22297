//! Every setting, once: from this list come the typed settings, the flags, the variables, and `docs/settings.md`.

use std::path::PathBuf;
use std::time::Duration;

use super::lists::{IssuerSettings, RepositorySettings, WebhookSettings};
use super::value::{
    Address, AuditSync, Count, ForwardedBy, KeyAlgorithm, Kind, LogFormat, OrOff, Raw, References, Size, Target, Value,
};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The settings file.
    File {
        /// Where in it, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

/// A value, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> std::ops::Deref for Given<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What is known of a setting before anybody sets it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The table of the file that it stands in; empty for none.
    pub table: &'static str,
    /// Its key there.
    pub key: &'static str,
    /// Its flag, without `--`.
    pub flag: &'static str,
    /// What stands for the value in help.
    pub placeholder: &'static str,
    /// What it is if nobody sets it, as text; empty if it is nothing.
    pub default: &'static str,
    /// How a flag takes it.
    pub kind: Kind,
    /// What it does: a fragment that begins with a capital letter.
    pub doc: &'static str,
    /// Whether a text is a value of it; else what was expected.
    pub check: fn(&str) -> Result<(), String>,
}

impl Setting {
    /// Its name in messages: `listen`, `tls.cert`.
    pub fn name(&self) -> String {
        if self.table.is_empty() { self.key.to_owned() } else { format!("{}.{}", self.table, self.key) }
    }

    /// Its variable.
    pub fn variable(&self) -> String {
        // What all commands know has a name of its own.
        if self.flag == "data" {
            return "POLYARCH_DATA".to_owned();
        }
        format!("{VARIABLES}{}", self.flag.replace('-', "_").to_uppercase())
    }
}

/// What the variables of settings begin with.
pub(super) const VARIABLES: &str = "POLYARCH_SERVE_";

macro_rules! catalogue {
    ($($table:literal { $($field:ident: $type:ty, $key:literal, $flag:literal, $placeholder:literal, $default:literal, $doc:literal;)+ })+) => {
        /// How `polyarch serve` behaves.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct ServeSettings {
            $($(#[doc = $doc] #[doc = "."] pub $field: Given<$type>,)+)+
            /// What is different for some repositories; of several that mean one the first counts.
            pub repositories: Vec<RepositorySettings>,
            /// Whose tokens are taken.
            pub issuers: Vec<IssuerSettings>,
            /// Who is told what was written.
            pub webhooks: Vec<WebhookSettings>,
        }

        /// Every setting, in the order of the documentation.
        pub const SETTINGS: &[Setting] = &[$($(
            Setting {
                table: $table,
                key: $key,
                flag: $flag,
                placeholder: $placeholder,
                default: $default,
                kind: <$type as Value>::KIND,
                doc: $doc,
                check: |text| <$type as Value>::from_text(text).map(drop),
            },
        )+)+];

        impl Default for ServeSettings {
            fn default() -> Self {
                Self {
                    $($($field: Given {
                        // That each default is a value is tested.
                        value: <$type as Value>::from_text($default).unwrap_or_default(),
                        origin: Origin::Default,
                    },)+)+
                    repositories: Vec::new(),
                    issuers: Vec::new(),
                    webhooks: Vec::new(),
                }
            }
        }

        impl ServeSettings {
            /// Sets what has this flag. Relative paths are below `directory`.
            pub(super) fn set(
                &mut self,
                flag: &str,
                raw: &Raw,
                directory: &std::path::Path,
                origin: Origin,
            ) -> Result<(), String> {
                match flag {
                    $($($flag => {
                        // What comes as text, from a flag or variable, is read as one.
                        let textual = matches!(origin, Origin::Flag(_) | Origin::Variable(_));
                        let mut value = match raw {
                            Raw::Text(text) if textual => <$type as Value>::from_text(text)?,
                            raw => <$type as Value>::from_raw(raw)?,
                        };
                        value.place(directory);
                        self.$field = Given { value, origin };
                    })+)+
                    _ => return Err("expected nothing: there is no such setting".to_owned()),
                }
                Ok(())
            }

            /// Each setting as it is written in a file, and where it came from.
            pub(super) fn written(&self) -> Vec<(&'static Setting, Option<String>, &Origin)> {
                let values = [$($((self.$field.value.toml(), &self.$field.origin),)+)+];
                SETTINGS.iter().zip(values).map(|(setting, (text, origin))| (setting, text, origin)).collect()
            }
        }
    };
}

catalogue! {
    "" {
        listen: Address, "listen", "listen", "ADDRESS:PORT", "127.0.0.1:5000",
            "Address and port; port 0 takes a free one";
        data: PathBuf, "data", "data", "DIR", "",
            "Data directory";
        allow_anonymous: bool, "allow-anonymous", "allow-anonymous", "", "false",
            "Let anybody who can reach this machine read and write";
        read_only: bool, "read-only", "read-only", "", "false",
            "Refuse whatever would write, for now";
        references: References, "references", "references", "strict|platforms|sparse", "strict",
            "What a manifest refers to must be there: strict: all of it; platforms: blobs, and of an index the images for \
             `reference-platforms`; sparse: nothing";
        reference_platforms: Vec<String>, "reference-platforms", "reference-platform", "PLATFORM", "",
            "A platform whose images must be there where the policy is `platforms`, as `linux/arm64`";
        manifest_limit: Size, "manifest-limit", "manifest-limit", "SIZE", "4MiB",
            "Largest manifest";
        webhook_allow: Vec<String>, "webhook-allow", "webhook-allow", "HOST|RANGE", "",
            "Where webhooks may post although it is not public, or without TLS: `hooks.internal:8080`, `10.0.0.0/8`";
    }
    "tls" {
        tls_cert: Option<PathBuf>, "cert", "tls-cert", "FILE", "",
            "Certificate chain, the server's first, as PEM";
        tls_key: Option<PathBuf>, "key", "tls-key", "FILE", "",
            "Key of the certificate, as PEM";
        tls_self_signed: bool, "self-signed", "tls-self-signed", "", "false",
            "Make a certificate that nobody vouches for, and keep it in the data directory";
        tls_names: Vec<String>, "names", "tls-name", "NAME", "",
            "Another host name or address for the self-signed certificate";
        client_ca: Option<PathBuf>, "client-ca", "client-ca", "FILE", "",
            "Certificate authorities of clients, as PEM: whoever shows a certificate of theirs is `certificate:NAME`";
    }
    "access" {
        htpasswd: Option<PathBuf>, "htpasswd", "htpasswd", "FILE", "",
            "Users and their passwords, as `polyarch htpasswd` makes them";
        tokens: Option<PathBuf>, "tokens", "tokens", "FILE", "",
            "Tokens and whose they are, as `polyarch token` makes them";
        policy: Option<PathBuf>, "policy", "policy", "FILE", "",
            "Rules of who may do what where. Without it whoever is known may do everything";
    }
    "token-server" {
        token_server: bool, "enabled", "token-server", "", "true",
            "Hand out tokens at `/token` where access is restricted; without it clients send their password each time";
        token_realm: Option<String>, "realm", "token-realm", "URL", "",
            "Where clients get tokens, as they see it. Needed behind a proxy that ends TLS";
        token_service: String, "service", "token-service", "NAME", "polyarch",
            "What the registry is called in its tokens";
        token_lifetime: Duration, "lifetime", "token-lifetime", "DURATION", "5m",
            "How long a token is good for";
        token_refresh_lifetime: Duration, "refresh-lifetime", "token-refresh-lifetime", "DURATION", "30d",
            "How long a refresh token is good for";
        token_key: Option<PathBuf>, "key", "token-key", "FILE", "",
            "Key that signs tokens; made if it is not there. Without it: `token-key.pem` in the data directory";
        token_algorithm: Option<KeyAlgorithm>, "algorithm", "token-algorithm", "ES256|RS256|EdDSA", "",
            "How tokens are signed. Without it: as the key is for, and a new one is for ES256";
    }
    "garbage" {
        garbage_interval: OrOff<Duration>, "interval", "gc-interval", "DURATION|off", "1h",
            "How often what nobody needs is collected";
        keep_history: Duration, "keep-history", "keep-history", "DURATION", "7d",
            "How long a manifest is kept after a tag left it, so that the tag can be moved back";
        keep_untagged: Duration, "keep-untagged", "keep-untagged", "DURATION", "1d",
            "How long a manifest without a tag is kept after it was pushed or referred to last";
        keep_unused_blobs: Duration, "keep-unused-blobs", "keep-unused-blobs", "DURATION", "1d",
            "How long a blob that no manifest needs is kept after it was pushed or mounted last";
    }
    "log" {
        access_log: Option<Target>, "access", "access-log", "FILE|-", "",
            "A line for each request; `-` is the standard output";
        access_log_format: LogFormat, "format", "access-log-format", "text|json", "text",
            "How these lines look";
        audit_log: Option<PathBuf>, "audit", "audit-log", "FILE", "",
            "A line of JSON for each write: who did what, before they are answered";
        audit_sync: AuditSync, "audit-sync", "audit-sync", "second|write|never", "second",
            "When lines of the audit log are safe from a power cut: within a second, before the answer, or some time";
    }
    "metrics" {
        metrics: bool, "enabled", "metrics", "", "false",
            "Tell numbers at `/metrics`, for Prometheus: to this machine, and to who has the action `admin`";
    }
    "disk" {
        warn_below: OrOff<Size>, "warn-below", "disk-warn-below", "SIZE|off", "1GiB",
            "With less free space than this, the log warns";
        refuse_below: OrOff<Size>, "refuse-below", "disk-refuse-below", "SIZE|off", "64MiB",
            "What would leave less free space than this is refused; reads and deletions go on";
    }
    "limits" {
        requests: OrOff<Count>, "requests-per-second", "requests-per-second", "NUMBER|off", "off",
            "Requests of one identity, or of one address where nobody is known; more are answered with 429";
        burst: Option<Count>, "burst", "burst", "NUMBER", "",
            "How many of these may come at once after a pause. Without it: as many as in a second";
        address_requests: OrOff<Count>, "address-requests-per-second", "address-requests-per-second", "NUMBER|off", "off",
            "Requests of one address, whoever they say they are";
        address_burst: Option<Count>, "address-burst", "address-burst", "NUMBER", "",
            "How many of these may come at once after a pause. Without it: as many as in a second";
        failed_logins: OrOff<Count>, "failed-logins-per-minute", "failed-logins-per-minute", "NUMBER|off", "60",
            "Wrong passwords and tokens of one address, 100 at once; then it is sent away unheard";
        sessions: OrOff<Count>, "sessions", "sessions", "NUMBER|off", "10000",
            "Upload sessions that one identity or address may have open";
        blob_size: OrOff<Size>, "blob-size", "blob-size", "SIZE|off", "off",
            "Largest blob";
        body_pace: OrOff<Size>, "body-pace", "body-pace", "SIZE|off", "1KiB",
            "Fewest bytes a second of a request's body, over a minute";
        url_length: Size, "url-length", "url-length", "SIZE", "32KiB",
            "Most bytes of a request's path and query; longer ones are answered with 414";
        header_bytes: Size, "header-bytes", "header-bytes", "SIZE", "64KiB",
            "Most bytes of a request's headers; more are answered with 431";
        connections_per_address: OrOff<Count>, "connections-per-address", "connections-per-address", "NUMBER|off", "off",
            "Most connections of one address; further ones are closed";
        trusted_proxies: Vec<String>, "trusted-proxies", "trusted-proxy", "ADDRESS|RANGE", "",
            "Proxies whose word is taken on which address a request came from";
        forwarded_header: ForwardedBy, "forwarded-header", "forwarded-header", "x-forwarded-for|forwarded", "x-forwarded-for",
            "The header in which they say it";
        connections: Count, "connections", "connections", "NUMBER", "8192",
            "Most connections at once; further ones wait";
        header_timeout: Duration, "header-timeout", "header-timeout", "DURATION", "60s",
            "How long a client may take to send a request's head, and be idle between two; over HTTP/2, be silent";
        body_timeout: Duration, "body-timeout", "body-timeout", "DURATION", "60s",
            "How long nothing may come of a request's body";
        write_timeout: Duration, "write-timeout", "write-timeout", "DURATION", "2m",
            "How long a client may take nothing of what it is sent";
        drain_delay: Duration, "drain-delay", "drain-delay", "DURATION", "0s",
            "How long the server goes on when it is told to stop, with `/readyz` saying so, for load balancers to see";
        drain_timeout: Duration, "drain-timeout", "drain-timeout", "DURATION", "30s",
            "How long requests that are under way may take to end when the server stops";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_values() {
        let mut flags: Vec<&str> = SETTINGS.iter().map(|setting| setting.flag).collect();
        let mut names: Vec<String> = SETTINGS.iter().map(Setting::name).collect();
        flags.sort_unstable();
        flags.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((flags.len(), names.len()), (SETTINGS.len(), SETTINGS.len()));
        for setting in SETTINGS {
            if !setting.default.is_empty() {
                (setting.check)(setting.default).unwrap();
            }
            assert!(!setting.doc.ends_with('.') && setting.doc.starts_with(char::is_uppercase), "{setting:?}");
            assert_eq!(setting.placeholder.is_empty(), setting.kind == Kind::Switch, "{setting:?}");
        }
    }

    #[test]
    fn what_is_written_is_the_default() {
        for (setting, text, origin) in ServeSettings::default().written() {
            assert_eq!(*origin, Origin::Default);
            let text = text.unwrap_or_default();
            assert_eq!((setting.check)(text.trim_matches('"')).is_ok(), !setting.default.is_empty(), "{setting:?}");
        }
    }
}
