//! What a server speaks that does not answer a TLS hello with TLS.
//!
//! Only an answer that begins with `HTTP/` allows plain HTTP, or the advice to try it. The connection that failed does
//! not tell: its bytes are gone by the time the failure is known. So the hello is said once more, by hand.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::ClientConnection;
use rustls_pki_types::ServerName;
use settings::{HostTls, TrustRoots};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::tls::{Roots, client_config};

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// A TLS record.
    Tls,
    /// A status line of HTTP.
    Http,
    /// Something else.
    Other,
}

/// Says a TLS hello to `host` and looks at the first bytes of the answer. `None`: there was no answer.
pub(crate) async fn speech(host: &str, port: u16, limit: Duration) -> Option<Speech> {
    tokio::time::timeout(limit, listen(host, port)).await.ok().flatten()
}

async fn listen(host: &str, port: u16) -> Option<Speech> {
    let config = client_config(&Roots::new(TrustRoots::default()), &HostTls::default(), true).ok()?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name).ok()?.write_tls(&mut hello).ok()?;

    let mut connection = TcpStream::connect((host, port)).await.ok()?;
    connection.write_all(&hello).await.ok()?;
    let mut first = [0; 5];
    connection.read_exact(&mut first).await.ok()?;
    Some(match &first {
        b"HTTP/" => Speech::Http,
        // A handshake or an alert, of any version 3.x.
        [21 | 22, 3, ..] => Speech::Tls,
        _ => Speech::Other,
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answering(answer: &'static [u8]) -> Option<Speech> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut hello = [0; 64];
            let _ = connection.read(&mut hello).await;
            assert_eq!(hello[..2], [22, 3], "a TLS hello came");
            let _ = connection.write_all(answer).await;
        });
        speech("127.0.0.1", port, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn only_a_status_line_is_http() {
        assert_eq!(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, Some(Speech::Http));
        assert_eq!(answering(b"SSH-2.0-x\r\n").await, Some(Speech::Other));
        assert_eq!(answering(&[21, 3, 3, 0, 2, 2, 40]).await, Some(Speech::Tls));
        assert_eq!(answering(b"HT").await, None);
    }
}
