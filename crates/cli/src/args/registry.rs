//! Arguments of the commands around registries.

use clap::Args;
use image::RegistryHost;

/// Arguments of `login`.
#[derive(Debug, Args)]
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

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, default_value = "127.0.0.1:5000")]
    pub(crate) listen: String,
    /// Let anybody who can reach this machine read and write
    #[arg(long)]
    pub(crate) allow_anonymous: bool,
}

/// An address, or a name that has one, with a port. Looked up only when it is listened on.
fn address(text: &str) -> Result<String, &'static str> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("expected an address and a port, such as `127.0.0.1:5000`"),
    }
}

/// A registry as people type it after `login`: without scheme and path.
fn registry_host(text: &str) -> Result<RegistryHost, String> {
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
