//! Somebody else who makes tokens, and shows the keys to check them with.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use polyarch_registry::SelfSigned;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use x509_parser::prelude::FromDer as _;

pub const ISSUER: &str = "https://issuer.example";

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Whom connections to issuers believe: these certificates.
pub fn trust(certificates: &[&SelfSigned]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for made in certificates {
        roots.add(CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

pub enum Pair {
    Rsa(&'static RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

/// Keys of RSA take long to make.
static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

pub struct Key {
    pub id: String,
    pub pair: Pair,
}

impl Key {
    /// A key that can sign in this way.
    pub fn new(id: &str, algorithm: &str) -> Self {
        let ec = |with, curve| Pair::Ec(EcdsaKeyPair::generate(with).unwrap(), curve);
        let pair = match algorithm {
            "ES256" => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            "ES384" => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            "ES512" => ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::Rsa(&RSA),
        };
        Self { id: id.to_owned(), pair }
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let der = pair.public_key().as_ref();
                let (_, key) = x509_parser::public_key::RSAPublicKey::from_der(der).unwrap();
                let modulus = key.modulus.strip_prefix(&[0]).unwrap_or(key.modulus);
                json!({ "kty": "RSA", "kid": self.id, "n": text(modulus), "e": text(key.exponent) })
            }
            Pair::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": curve, "kid": self.id, "x": text(x), "y": text(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": text(pair.public_key().as_ref()) })
            }
        }
    }

    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signed).unwrap();
                signed
            }
            Pair::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of this key, whatever it says.
    pub fn token(&self, head: &str, claims: &str, algorithm: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(algorithm, message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// A token that is as it should be.
    pub fn vouch(&self, algorithm: &str, claims: &Value) -> String {
        let head = json!({ "alg": algorithm, "kid": self.id, "typ": "JWT" });
        self.token(&head.to_string(), &claims.to_string(), algorithm)
    }
}

/// What a token says of somebody.
pub fn claims(subject: &str) -> Value {
    json!({ "iss": ISSUER, "aud": "registry", "sub": subject, "exp": now() + 300, "iat": now() })
}

pub fn set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// Answers everybody with the same.
pub struct Host {
    pub address: SocketAddr,
    /// The whole answer, from its first line on; an empty one is no answer.
    pub answer: Arc<Mutex<Vec<u8>>>,
    pub delay: Arc<Mutex<Duration>>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

impl Host {
    pub async fn start(tls: Option<&SelfSigned>, answer: Vec<u8>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tls.map(|made| {
            let chain = vec![CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let (answer, delay) = (Arc::new(Mutex::new(answer)), Arc::new(Mutex::new(Duration::ZERO)));
        let asked = Arc::new(AtomicUsize::new(0));
        let (said, waits, counted) = (answer.clone(), delay.clone(), asked.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (said, waits, counted, acceptor) = (said.clone(), waits.clone(), counted.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => reply(stream, &said, &waits, &counted).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                reply(stream, &said, &waits, &counted).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, answer, delay, asked, task }
    }

    pub fn say(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn reply(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    said: &Mutex<Vec<u8>>,
    waits: &Mutex<Duration>,
    counted: &AtomicUsize,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    counted.fetch_add(1, Ordering::SeqCst);
    let wait = *waits.lock().unwrap();
    tokio::time::sleep(wait).await;
    let answer = said.lock().unwrap().clone();
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}
