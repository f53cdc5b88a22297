//! A certificate of the server's own, kept in the data directory.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use registry::SelfSigned;

use super::failed;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Where it is.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The certificate that is there, or a new one. It stays the same from start to start: clients were told to trust it.
pub(super) fn keep(data: &Path, names: &[String], listen: &str) -> Outcome<Files> {
    let directory = data.join("tls");
    let files = Files { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
    let known = directory.join("names");
    let mut all = names.to_vec();
    // What one listens on is what clients call one, if it is an address.
    if let Ok(address) = listen.parse::<SocketAddr>()
        && !address.ip().is_unspecified()
    {
        all.push(address.ip().to_string());
    }
    all.sort();
    all.dedup();
    let written = all.join("\n");
    if files.certificate.exists() && files.key.exists() {
        let covered = std::fs::read_to_string(&known).unwrap_or_default();
        if all.iter().all(|name| covered.lines().any(|known| known == name)) {
            return Ok(files);
        }
    }
    let made = SelfSigned::generate(&all).map_err(|error| {
        Failure::usage(format!("failed to make a certificate for `{}`", all.join("`, `")))
            .context(error)
            .hint("each `--tls-name` is a host name or an address".to_owned())
    })?;
    let write = || -> io::Result<()> {
        make_private(&directory)?;
        // The key first: who finds both has a pair, and who finds one makes both.
        let _ = std::fs::remove_file(&files.certificate);
        put(&directory, &files.key, made.key.as_bytes())?;
        put(&directory, &known, written.as_bytes())?;
        put(&directory, &files.certificate, made.certificate.as_bytes())?;
        std::fs::File::open(&directory)?.sync_all()
    };
    make_directory(data)?;
    write().map_err(|error| failed(format_args!("keep a certificate in `{}`", directory.display()), &error))?;
    Ok(files)
}

/// The data directory, before the store makes it.
pub(super) fn make_directory(data: &Path) -> Outcome {
    std::fs::create_dir_all(data).map_err(|error| {
        Failure::chain(Exit::Failure, &error)
            .context(format_args!("failed to make the data directory `{}`", data.display()))
    })
}

fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
    match builder.create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Writes a file whole or not at all. Only its owner can read it.
fn put(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    #[cfg(unix)]
    if path.extension().is_some_and(|extension| extension == "pem") && !path.ends_with("key.pem") {
        // Others are to trust it.
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(everybody)?;
    }
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_the_same_until_it_must_have_another_name() {
        let data = tempfile::tempdir().unwrap();
        let keep = |names: &[&str], listen| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            keep(data.path(), &names, listen).map(|files| std::fs::read_to_string(files.certificate).unwrap())
        };
        let first = keep(&[], "127.0.0.1:0").unwrap();
        assert_eq!(keep(&[], "127.0.0.1:0").unwrap(), first);
        let second = keep(&["registry.lan"], "0.0.0.0:5000").unwrap();
        assert_ne!(second, first);
        assert_eq!(keep(&[], "0.0.0.0:5000").unwrap(), second);
        assert!(keep(&["\u{7f8e}"], "127.0.0.1:0").unwrap_err().message.contains("\u{7f8e}"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |name: &str| std::fs::metadata(data.path().join("tls").join(name)).unwrap().permissions().mode();
            assert_eq!((mode("key.pem") & 0o777, mode("cert.pem") & 0o777), (0o600, 0o644));
        }
    }
}
