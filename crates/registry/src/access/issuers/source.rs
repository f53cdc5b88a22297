//! Where an issuer's keys are: a file, or an address.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::ClientConfig;
use url::{Host, Url};

/// Most bytes of a set of keys.
const LARGEST: usize = 512 << 10;
/// How long an issuer may take to answer, from the first packet to the last byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Address(Url),
}

/// What reads them.
#[derive(Clone, Debug)]
pub(super) enum Reader {
    File(PathBuf),
    Address(Url, reqwest::Client),
}

impl Source {
    /// Whether a setting is an address, and no file.
    pub(super) fn is_address(text: &str) -> bool {
        let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
        begins("https://") || begins("http://")
    }

    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("is empty: it is a file, or an `https://` address");
        }
        if !Self::is_address(text) {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|_| "is no address")?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("has a user, a password or a `#` in its address");
        }
        if url.scheme() != "https" && !is_loopback(&url) {
            return Err("is `http://` and not on this machine: whoever is on the way could put in keys of their own");
        }
        Ok(Self::Address(url))
    }

    /// All addresses share one client, which is made for the first of them.
    pub(super) fn reader(&self, client: &mut Option<reqwest::Client>, trust: &ClientConfig) -> Result<Reader, String> {
        match self {
            Self::File(path) => Ok(Reader::File(path.clone())),
            Self::Address(url) => {
                let client = match client {
                    Some(client) => client.clone(),
                    None => client.insert(connections(trust)?).clone(),
                };
                Ok(Reader::Address(url.clone(), client))
            }
        }
    }
}

/// Redirects are not followed: where keys come from is for the settings to say, not for whoever answers.
fn connections(trust: &ClientConfig) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(trust.clone())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .timeout(PATIENCE)
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| error.to_string())
}

/// Names are not looked up: what one resolves to can change in the next moment.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

impl Reader {
    /// Whether others can keep us waiting.
    pub(super) fn is_far(&self) -> bool {
        matches!(self, Self::Address(..))
    }

    /// Reads the file. Blocks. For an address there is nothing to read.
    pub(super) fn read_here(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => read_file(path),
            Self::Address(..) => Err("it is an address".to_owned()),
        }
    }

    /// Reads what is there now. The error says why it cannot be had.
    pub(super) async fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || read_file(&path));
                reading.await.unwrap_or_else(|error| Err(error.to_string()))
            }
            Self::Address(url, client) => fetch(url, client).await,
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > LARGEST { Err(too_large()) } else { Ok(bytes) }
}

async fn fetch(url: &Url, client: &reqwest::Client) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(source) = next {
            text = source.to_string();
            next = source.source();
        }
        super::shown(&text)
    };
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if response.status() != http::StatusCode::OK {
        let status = response.status();
        let more = if status.is_redirection() { ", and redirects are not followed" } else { "" };
        return Err(format!("it answered {}{more}", status.as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > LARGEST {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn too_large() -> String {
    format!("it is larger than {} KiB", LARGEST >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_encrypted_or_on_this_machine() {
        for good in [
            "https://issuer.example/keys",
            "HTTPS://issuer.example/keys?x=1",
            "http://127.0.0.1:1/keys",
            "http://[::1]:1/",
            "http://localhost:1/",
        ] {
            assert!(matches!(Source::new(good), Ok(Source::Address(_))), "{good}");
        }
        for bad in [
            "",
            "http://issuer.example/keys",
            "http://127.0.0.1.issuer.example/",
            "http://localhost.issuer.example/",
            "http://127.0.0.1@issuer.example/",
            "https://user@issuer.example/",
            "https://issuer.example/#keys",
            "https://",
        ] {
            assert!(Source::new(bad).is_err(), "{bad}");
        }
        for file in ["keys.json", "/etc/keys", "httpskeys", "ftp://issuer.example/"] {
            assert!(matches!(Source::new(file), Ok(Source::File(_))), "{file}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, vec![b' '; LARGEST + 1]).unwrap();
        assert_eq!(read_file(&path), Err("it is larger than 512 KiB".to_owned()));
        std::fs::write(&path, vec![b' '; LARGEST]).unwrap();
        assert_eq!(read_file(&path).map(|bytes| bytes.len()), Ok(LARGEST));
    }
}
