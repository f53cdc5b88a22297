//! A user with a registry of polyarch, and what registries hold, read without any client.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use image::Digest;
use serde_json::Value;

use crate::clients;
use crate::process::{NothingStays, Running};
use crate::sandbox::{POLYARCH, Sandbox};

/// A user with a registry. Fields go in this order: first the registry, then the check, then the directory.
pub(crate) struct World {
    pub(crate) registry: Registry,
    _check: NothingStays,
    pub(crate) sandbox: Sandbox,
}

/// A registry on a loopback port.
pub(crate) struct Registry {
    running: Running,
    host: String,
    ends_well: bool,
}

impl World {
    /// Starts polyarch's registry.
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        let check = NothingStays::of(&sandbox.path(""));
        let data = sandbox.path("registry").display().to_string();
        let command = clients::bound(&sandbox, POLYARCH, &["serve", "--listen", "127.0.0.1:0", "--data", &data]);
        let mut running = Running::start("polyarch serve", command, sandbox.path("registry.log"));
        let host = running.says("listening on http://");
        Self { registry: Registry { running, host, ends_well: true }, _check: check, sandbox }
    }

    /// Starts polyarch's registry with TLS, for `bob` alone, whose password is `secret`. The certificate is `certs/ca.crt`.
    pub(crate) fn secured() -> Self {
        let sandbox = Sandbox::new();
        let check = NothingStays::of(&sandbox.path(""));
        let users = sandbox.path("users");
        let line = sandbox.polyarch_reading(&["htpasswd", "bob", "--password-stdin"], "secret").success();
        std::fs::write(&users, line).unwrap();
        let (data, users) = (sandbox.path("registry").display().to_string(), users.display().to_string());
        let arguments =
            ["serve", "--listen", "127.0.0.1:0", "--data", &data, "--tls-self-signed", "--htpasswd", &users];
        let command = clients::bound(&sandbox, POLYARCH, &arguments);
        let mut running = Running::start("polyarch serve", command, sandbox.path("registry.log"));
        let host = running.says("listening on https://");
        let certificate = running.says("clients must trust `");
        std::fs::create_dir(sandbox.path("certs")).unwrap();
        std::fs::copy(certificate.trim_end_matches('`'), sandbox.path("certs/ca.crt")).unwrap();
        Self { registry: Registry { running, host, ends_well: true }, _check: check, sandbox }
    }

    /// Starts Debian's docker-registry beside it, with a configuration of ours: the packaged one wants a login.
    pub(crate) fn docker_registry(&self) -> Option<Registry> {
        let program = clients::find("docker-registry")?;
        let configuration = self.sandbox.path("docker-registry.yml");
        let data = self.sandbox.path("docker-registry");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
            data.display()
        );
        std::fs::write(&configuration, text).unwrap();
        let command = clients::bound(&self.sandbox, &program, &["serve", configuration.to_str().unwrap()]);
        let mut running = Running::start("docker-registry", command, self.sandbox.path("docker-registry.log"));
        let host = format!("127.0.0.1:{}", running.says("listening on 127.0.0.1:"));
        Some(Registry { running, host, ends_well: false })
    }

    /// A path in the user's directory, as an argument.
    pub(crate) fn path(&self, name: &str) -> String {
        self.sandbox.path(name).display().to_string()
    }

    /// Runs polyarch; it must succeed.
    #[track_caller]
    pub(crate) fn polyarch(&self, arguments: &[&str]) -> String {
        self.sandbox.polyarch(arguments).success()
    }

    /// The programs of `examples/hello`, one for each of four platforms.
    pub(crate) fn hello(&self) -> PathBuf {
        let directory = self.sandbox.path("hello");
        if !directory.exists() {
            std::fs::create_dir(&directory).unwrap();
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            let made = std::process::Command::new(env!("CARGO"))
                .args(["run", "--quiet", "--locked", "-p", "polyarch-hello", "--"])
                .arg(&directory)
                .current_dir(root)
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        directory
    }
}

impl Registry {
    /// A name in this registry.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// A document, to the byte, with a request that no client made. `name` is `REPOSITORY:TAG` or `REPOSITORY@DIGEST`.
    #[track_caller]
    pub(crate) fn document(&self, name: &str) -> Vec<u8> {
        let (repository, reference) = name.split_once('@').or_else(|| name.rsplit_once(':')).expect("a name");
        let accept = [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        ];
        let mut stream = TcpStream::connect(&self.host).unwrap();
        // As HTTP/1.0: the body then comes as it is and ends with the connection.
        let request = format!(
            "GET /v2/{repository}/manifests/{reference} HTTP/1.0\r\nHost: {}\r\nAccept: {}\r\n\r\n",
            self.host,
            accept.join(", ")
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer with a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        assert!(head.lines().next().is_some_and(|line| line.contains(" 200")), "{name}: {head}");
        answer.split_off(end + 4)
    }

    /// The digest of a document, computed here.
    #[track_caller]
    pub(crate) fn digest(&self, name: &str) -> String {
        Digest::sha256(&self.document(name)).to_string()
    }

    /// A document, parsed.
    #[track_caller]
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.document(name)).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if self.ends_well && !std::thread::panicking() {
            let status = self.running.terminate();
            assert!(status.success(), "polyarch serve, asked to end: {status}");
        }
    }
}
