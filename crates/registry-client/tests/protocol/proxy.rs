//! Requests through a proxy, which is also the way to test hosts that are not loopback.

use std::sync::{Arc, Mutex};

use lab::images::{Flavour, image};
use lab::{Auth, Lab};
use polyarch_registry_client::{ClientOptions, ErrorKind, RegistryClient};
use settings::{CredentialStore, Environment, ProxyRules};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{host, name, options, tag, user};

/// A proxy that leads every name to one lab, and notes the heads of what it was asked.
struct Proxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(lab: &Lab) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, target) = (heads.clone(), lab.port());
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(lead(connection, target, log.clone()));
            }
        });
        Self { port, heads }
    }

    fn environment(&self) -> Environment {
        let url = format!("http://me:p%40ss@127.0.0.1:{}", self.port);
        [("HTTPS_PROXY", url.clone()), ("HTTP_PROXY", url)].into_iter().collect()
    }

    fn lines(&self) -> Vec<String> {
        self.heads.lock().unwrap().iter().map(|head| head.lines().next().unwrap().to_owned()).collect()
    }
}

async fn lead(mut connection: TcpStream, target: u16, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(connection.read(&mut byte).await, Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).unwrap();
    log.lock().unwrap().push(text.clone());
    let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
    if text.starts_with("CONNECT ") {
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        // Whoever comes by plain HTTP is led on with the path alone.
        let (line, rest) = text.split_once("\r\n").unwrap();
        let mut words = line.split(' ');
        let (method, url) = (words.next().unwrap(), words.next().unwrap());
        let path = url.splitn(4, '/').nth(3).unwrap();
        server.write_all(format!("{method} /{path} HTTP/1.1\r\n{rest}").as_bytes()).await.unwrap();
    }
    let _ = copy_bidirectional(&mut connection, &mut server).await;
}

fn client(proxy: &Proxy, insecure: bool, registry: &str) -> RegistryClient {
    let options = ClientOptions { proxies: ProxyRules::from(&proxy.environment()), insecure, ..options() };
    RegistryClient::new(options, Arc::new(CredentialStore::empty().with(host(registry), user())))
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_credentials_of_the_proxy_stay_with_it() {
    let lab = Lab::builder().tls(true).auth(Auth::basic("user", "secret")).start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let proxy = Proxy::start(&lab).await;
    let app = client(&proxy, true, "registry.example:5000").repository(&host("registry.example:5000"), &name("app"));
    app.get_manifest(&tag("v1")).await.unwrap();
    assert_eq!(proxy.lines(), ["CONNECT registry.example:5000 HTTP/1.1"]);
    let head = proxy.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.contains("proxy-authorization: basic bwu6cebzcw=="), "{head}");
    assert!(!head.contains("\r\nauthorization:"));
    assert!(lab.log().iter().all(|request| request.header("proxy-authorization").is_none()));

    // A name that is not loopback is verified.
    let app = client(&proxy, false, "registry.example:5000").repository(&host("registry.example:5000"), &name("app"));
    assert_eq!(app.get_manifest(&tag("v1")).await.unwrap_err().kind(), ErrorKind::UnknownCa);
}

#[tokio::test]
async fn plain_http_is_fallen_back_to_through_a_proxy_too() {
    let lab = Lab::start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let proxy = Proxy::start(&lab).await;
    let app = client(&proxy, true, "registry.example").repository(&host("registry.example"), &name("app"));
    app.get_manifest(&tag("v1")).await.unwrap();
    let lines = proxy.lines();
    assert_eq!(lines[0], "CONNECT registry.example:443 HTTP/1.1");
    assert_eq!(lines[1], "GET http://registry.example:443/v2/app/manifests/v1 HTTP/1.1", "on the same port");
}

#[tokio::test]
async fn docker_hub_is_where_docker_says_it_is() {
    let lab = Lab::builder().tls(true).start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "library/debian", Some("v1"));
    let proxy = Proxy::start(&lab).await;
    let debian = client(&proxy, true, "docker.io").repository(&host("docker.io"), &name("library/debian"));
    debian.get_manifest(&tag("v1")).await.unwrap();
    assert_eq!(proxy.lines(), ["CONNECT registry-1.docker.io:443 HTTP/1.1"]);
}
