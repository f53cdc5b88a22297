//! Arguments of the commands around registries.

use clap::Args;
use image::RegistryHost;

/// Arguments of `login`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch login registry.example.org
  polyarch login -u ci --password-stdin registry.example.org < ci-token")]
pub(crate) struct Login {
    /// The registry, host and port as in image names
    #[arg(value_name = "REGISTRY", value_parser = registry_host, default_value = "docker.io")]
    pub(crate) registry: RegistryHost,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Allow plain HTTP and unverified TLS
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Try the login and keep nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `logout`.
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry, host and port as in image names
    #[arg(value_name = "REGISTRY", value_parser = registry_host, default_value = "docker.io")]
    pub(crate) registry: RegistryHost,
    /// Say what would be forgotten, but forget nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A registry as people type it after `login`: without scheme and path.
pub(super) fn registry_host(text: &str) -> Result<RegistryHost, String> {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = bare.split('/').next().unwrap_or_default();
    let host = if host == "index.docker.io" || host == "registry-1.docker.io" { "docker.io" } else { host };
    RegistryHost::parse(host).map_err(|_| "not a registry: expected a host with or without a port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_may_be_typed_as_urls() {
        for (text, want) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("ghcr.io/me", "ghcr.io"),
        ] {
            assert_eq!(registry_host(text).unwrap().as_str(), want);
        }
        assert!(registry_host("a b").is_err());
        assert!(registry_host("").is_err());
    }
}
