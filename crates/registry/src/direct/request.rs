//! Heads of requests that are read here, and those that are not.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};

use crate::body::Coming;

/// As many headers as hyper takes; it says what is wrong with more.
const MOST_HEADERS: usize = 100;

/// What stands at the beginning of what was read.
pub(super) enum Head {
    /// A request, and whether the connection goes on after it.
    Whole {
        /// Boxed, as it is much larger than the rest.
        request: Box<Request<Coming>>,
        /// The client did not say that it is the last one.
        keep: bool,
    },
    /// Nothing at all.
    Nothing,
    /// Something else, which stays in the buffer.
    Other,
}

/// Takes a request off the buffer, if a whole one stands there that has no body and asks for nothing special.
pub(super) fn read(buffer: &mut BytesMut) -> Head {
    if buffer.is_empty() {
        return Head::Nothing;
    }
    if !(buffer.starts_with(b"GET /") || buffer.starts_with(b"HEAD /")) {
        return Head::Other;
    }
    let Some(length) = buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4) else {
        return Head::Other;
    };
    let head = buffer.split_to(length).freeze();
    if let Some((request, keep)) = parse(&head) {
        return Head::Whole { request: Box::new(request), keep };
    }
    let mut whole = BytesMut::with_capacity(head.len() + buffer.len());
    whole.extend_from_slice(&head);
    whole.extend_from_slice(buffer.chunk());
    *buffer = whole;
    Head::Other
}

fn parse(head: &Bytes) -> Option<(Request<Coming>, bool)> {
    let mut slots = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut slots);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return None,
    }
    if parsed.version != Some(1) {
        return None;
    }
    let method = match parsed.method? {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        _ => return None,
    };
    let uri = Uri::from_maybe_shared(head.slice_ref(parsed.path?.as_bytes())).ok()?;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut keep = true;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        match name {
            header::CONNECTION if field.value.eq_ignore_ascii_case(b"keep-alive") => {}
            header::CONNECTION if field.value.eq_ignore_ascii_case(b"close") => keep = false,
            // A body, or another protocol.
            header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::EXPECT
            | header::UPGRADE
            | header::CONNECTION => return None,
            _ => {}
        }
        headers.append(name, HeaderValue::from_maybe_shared(head.slice_ref(field.value)).ok()?);
    }
    let mut request = Request::new(Coming::nothing());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Some((request, keep))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_asks_is_taken_one_by_one() {
        let mut buffer = BytesMut::from(
            &b"GET /v2/a%2Fb/manifests/v1?at=x HTTP/1.1\r\nHost: x\r\nAccept: a\r\naccept: b\r\n\r\nHEAD / HTTP/1.1\r\nConnection: Close\r\n\r\n"[..],
        );
        let Head::Whole { request, keep } = read(&mut buffer) else { panic!() };
        assert_eq!((request.method(), keep), (&Method::GET, true));
        assert_eq!(request.uri().to_string(), "/v2/a%2Fb/manifests/v1?at=x");
        let accepted: Vec<_> = request.headers().get_all("accept").iter().collect();
        assert_eq!(accepted, ["a", "b"]);
        let Head::Whole { request, keep } = read(&mut buffer) else { panic!() };
        assert_eq!((request.method(), keep), (&Method::HEAD, false));
        assert!(matches!(read(&mut buffer), Head::Nothing));
    }

    #[test]
    fn what_is_anything_else_stays_as_it_is() {
        let many = "x: y\r\n".repeat(101);
        for text in [
            "G",
            "GET /v2/ HTTP/1.1\r\nHost: x\r\n",
            "GET /v2/ HTTP/1.0\r\n\r\n",
            "GET /v2/ HTTP/1.1\n\n",
            "GET http://x/v2/ HTTP/1.1\r\n\r\n",
            "POST /v2/a/blobs/uploads/ HTTP/1.1\r\n\r\n",
            "GET /v2/ HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "GET /v2/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET /v2/ HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
            "GET /v2/ HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
            "GET /v2/ HTTP/1.1\r\nConnection: keep-alive, x\r\n\r\n",
            "GET /v2/ HTTP/1.1\r\nbad name: x\r\n\r\n",
            "GET /v2/ HTTP/1.1\r\nX: a\0b\r\n\r\n",
            "GET /v 2/ HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &format!("GET /v2/ HTTP/1.1\r\n{many}\r\n"),
        ] {
            let mut buffer = BytesMut::from(text);
            assert!(matches!(read(&mut buffer), Head::Other), "{text}");
            assert_eq!(buffer, text);
        }
    }
}
