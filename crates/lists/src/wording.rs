//! What a registry answered, in docker's words.
//!
//! Docker reads an error answer thus: if it is of type `application/json`, by its `errors` (or a lone `details`);
//! otherwise the status says the class and the body is the message. An error that says nothing but its code is printed
//! as the code in lower case, others as `code: message`. When a manifest is read, some of them become `no such
//! manifest: REF`. Scripts look for all that.
//!
//! One thing is said better than docker says it: `no such manifest` is kept for what is not there. Docker also says it
//! when the registry wants other credentials, forbids it, or answers nonsense.

use std::error::Error;
use std::fmt::Write as _;

use image::DocumentError;
use registry_client::{CertificateProblem, ClientError, ErrorKind, RegistryCode};
use store::{StoreError, StoreErrorKind};
use transfer::{Action, Step, TransferError};

/// Codes of the distribution specification and of what came before it, with the message that says nothing more.
const CODES: &[(&str, &str)] = &[
    ("UNKNOWN", "unknown error"),
    ("UNSUPPORTED", "The operation is unsupported."),
    ("UNAUTHORIZED", "authentication required"),
    ("DENIED", "requested access to the resource is denied"),
    ("UNAVAILABLE", "service unavailable"),
    ("TOOMANYREQUESTS", "too many requests"),
    ("DIGEST_INVALID", "provided digest did not match uploaded content"),
    ("SIZE_INVALID", "provided length did not match content length"),
    ("RANGE_INVALID", "invalid content range"),
    ("NAME_INVALID", "invalid repository name"),
    ("TAG_INVALID", "manifest tag did not match URI"),
    ("NAME_UNKNOWN", "repository name not known to registry"),
    ("MANIFEST_UNKNOWN", "manifest unknown"),
    ("MANIFEST_INVALID", "manifest invalid"),
    ("MANIFEST_UNVERIFIED", "manifest failed signature verification"),
    ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
];

/// The parts of an answer that decide what is said about it.
#[derive(Clone, Debug)]
struct Answer<'a> {
    status: u16,
    content_type: &'a str,
    body: &'a str,
    codes: &'a [RegistryCode],
}

/// One error as docker understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    code: String,
    /// `None`: nothing but the code was said.
    message: Option<String>,
}

impl Said {
    fn of(code: &RegistryCode) -> Self {
        match CODES.iter().find(|(known, _)| *known == code.code) {
            Some((known, default)) => {
                let bare = !code.has_detail && (code.message.is_empty() || code.message == *default);
                Self { code: (*known).to_owned(), message: (!bare).then(|| code.message.clone()) }
            }
            None => Self {
                code: "UNKNOWN".to_owned(),
                message: (code.has_detail || !code.message.is_empty()).then(|| code.message.clone()),
            },
        }
    }

    fn by_status(status: u16, message: &str) -> Self {
        let code = match status {
            401 => "UNAUTHORIZED",
            403 => "DENIED",
            429 => "TOOMANYREQUESTS",
            _ => "UNKNOWN",
        };
        Self { code: code.to_owned(), message: Some(message.to_owned()) }
    }

    /// Whether docker takes it for "not there".
    fn is_missing(&self) -> bool {
        self.message.is_some() && matches!(&*self.code, "MANIFEST_UNKNOWN" | "NAME_UNKNOWN")
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.code.to_lowercase().replace('_', " "))?;
        self.message.as_ref().map_or(Ok(()), |message| write!(f, ": {message}"))
    }
}

impl Answer<'_> {
    /// What it says; empty if it is JSON that says nothing.
    fn said(&self) -> Vec<Said> {
        if !self.codes.is_empty() {
            return self.codes.iter().map(Said::of).collect();
        }
        if !self.content_type.eq_ignore_ascii_case("application/json") {
            return vec![Said::by_status(self.status, self.body)];
        }
        let body: Option<serde_json::Value> = serde_json::from_str(self.body).ok();
        match body.as_ref().and_then(|body| body.get("details")?.as_str()).filter(|details| !details.is_empty()) {
            Some(details) => vec![Said::by_status(self.status, details)],
            None if self.status == 401 => vec![Said::by_status(401, "authentication required")],
            None => Vec::new(),
        }
    }

    /// The text, where nothing is known about what was asked for.
    fn text(&self) -> String {
        if self.status >= 500 {
            let reason = http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
            return format!("received unexpected HTTP status: {} {}", self.status, reason.unwrap_or_default());
        }
        match &*self.said() {
            [] => {
                let problem = match serde_json::from_str::<serde_json::Value>(self.body) {
                    Ok(_) => "no error details found in HTTP response body".to_owned(),
                    Err(error) => error.to_string(),
                };
                format!("error parsing HTTP {} response body: {problem}: {:?}", self.status, self.body)
            }
            [said] => said.to_string(),
            several => several.iter().fold("errors:\n".to_owned(), |mut text, said| {
                let _ = writeln!(text, "{said}");
                text
            }),
        }
    }

    /// The text, where a manifest was read.
    fn text_of_read(&self, reference: &str) -> String {
        let missing = match &*self.said() {
            _ if self.status >= 500 => false,
            [] => self.status == 404,
            [first, ..] => first.is_missing(),
        };
        if missing { no_such_manifest(reference) } else { self.text() }
    }
}

fn no_such_manifest(reference: &str) -> String {
    format!("no such manifest: {reference}")
}

/// What a failed read of the document at `reference` is in docker's words.
pub(crate) fn source_error(reference: &str, error: &StoreError) -> String {
    if let Some(document) = find::<DocumentError>(error) {
        return document_error(document);
    }
    match find::<ClientError>(error) {
        Some(client) => client_error(client, Some(reference)),
        None if error.kind == StoreErrorKind::NotFound => no_such_manifest(reference),
        None => format!("cannot read {reference}: {}", chain(error)),
    }
}

/// What a failed request about a blob is in docker's words. An answer that says nothing is told by its status, which
/// docker would keep to itself.
pub(crate) fn blob_error(error: &StoreError) -> String {
    match find::<ClientError>(error) {
        Some(client) if client.codes().is_empty() && client.body().is_some_and(|body| body.trim().is_empty()) => {
            chain(client)
        }
        Some(client) => client_error(client, None),
        None => chain(error),
    }
}

/// What a failed write of a manifest is in docker's words.
fn put_error(error: &StoreError) -> String {
    find::<ClientError>(error).map_or_else(|| chain(error), |client| client_error(client, None))
}

/// What a failed request is in docker's words; `reference` if a manifest was read.
fn client_error(error: &ClientError, reference: Option<&str>) -> String {
    if let Some(document) = error.document_error() {
        return document_error(document);
    }
    let answer = error.status().filter(|status| *status >= 400).map(|status| Answer {
        status,
        content_type: error.content_type().map_or("", |header| header.split(';').next().unwrap_or_default().trim()),
        body: error.body().unwrap_or_default(),
        codes: error.codes(),
    });
    match (error.kind(), answer) {
        (ErrorKind::NoCredentials, _) => format!("{}: no basic auth credentials", request(error)),
        (ErrorKind::TokenServer, Some(answer)) => format!("{}: {}", request(error), answer.text()),
        (_, Some(answer)) => match reference {
            Some(reference) => answer.text_of_read(reference),
            None => answer.text(),
        },
        (ErrorKind::NotFound, None) if reference.is_some() => no_such_manifest(reference.unwrap_or_default()),
        (kind, None) => match network_error(kind, error) {
            Some(text) => text,
            None => chain(error),
        },
    }
}

/// `Get "https://r.io/v2/app/manifests/v1"`, as Go begins the text of a request that failed.
fn request(error: &ClientError) -> String {
    let method = error.method().as_str();
    let (first, rest) = method.split_at_checked(1).unwrap_or_default();
    format!("{first}{} \"{}\"", rest.to_lowercase(), error.url())
}

/// No connection. Docker finds that out when it pings; polyarch never pings, but what scripts look for is in this text.
fn network_error(kind: ErrorKind, error: &ClientError) -> Option<String> {
    let network = error.network()?;
    let address = || match network.address() {
        Some(address) => address.to_string(),
        None => format!("{}:{}", network.host(), network.port()),
    };
    let problem = match kind {
        ErrorKind::ConnectionRefused => format!("dial tcp {}: connect: connection refused", address()),
        ErrorKind::Dns => format!("dial tcp: lookup {}: no such host", network.host()),
        ErrorKind::HttpInsteadOfHttps => "http: server gave HTTP response to HTTPS client".to_owned(),
        ErrorKind::NotTls => "tls: first record does not look like a TLS handshake".to_owned(),
        ErrorKind::UnknownCa | ErrorKind::WrongHostName | ErrorKind::CertificateExpired => {
            let problem = match network.certificate() {
                Some(CertificateProblem::UnknownAuthority) => "certificate signed by unknown authority".to_owned(),
                Some(CertificateProblem::Names(names)) if names.is_empty() => {
                    format!("certificate is not valid for any names, but wanted to match {}", network.host())
                }
                Some(CertificateProblem::Names(names)) => {
                    format!("certificate is valid for {}, not {}", names.join(", "), network.host())
                }
                Some(CertificateProblem::Time { .. }) => "certificate has expired or is not yet valid".to_owned(),
                _ => network.text().to_owned(),
            };
            format!("tls: failed to verify certificate: x509: {problem}")
        }
        _ => return None,
    };
    let url = error.url().to_string();
    let base = url.find("/v2/").map_or(&*url, |at| &url[..at + 4]);
    Some(format!("failed to configure transport: error pinging v2 registry: Get \"{base}\": {problem}"))
}

/// What is wrong with a manifest, in docker's words.
pub(crate) fn document_error(error: &DocumentError) -> String {
    match error {
        DocumentError::Schema1(media_type) | DocumentError::MediaType(media_type) => {
            let shown: String = media_type.as_str().chars().flat_map(char::escape_debug).collect();
            format!("unsupported manifest media type and no default available: {shown}")
        }
        // The others are in docker's words already.
        other => other.to_string(),
    }
}

/// What a failed walk through an index is.
pub(crate) fn transfer_error(error: &TransferError) -> String {
    match error {
        TransferError::Read { what, source } => source_error(what, source),
        other => format!("cannot {}", chain(other)),
    }
}

/// What a failed push is in docker's words.
pub(crate) fn push_error(error: &TransferError) -> String {
    let TransferError::Step { step, source, .. } = error else { return transfer_error(error) };
    match target(step) {
        Some(to) => format!("failed to put manifest {to}: {}", put_error(source)),
        None => format!("failed to {} {}: {}", step.action.verb(), step.action.digest(), blob_error(source)),
    }
}

/// The manifest that a step writes, as docker would name it.
fn target(step: &Step) -> Option<&str> {
    match &step.action {
        Action::Put { to, .. } | Action::Tag { to, .. } => Some(to),
        _ => None,
    }
}

/// What a person can try.
pub(crate) fn hint(error: &StoreError) -> Option<String> {
    error.hint.clone().or_else(|| find::<ClientError>(error)?.hint().map(str::to_owned))
}

/// `1 blob`, `2 blobs`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What a person can try after a failed push, and what was pushed before.
pub(crate) fn push_hint(error: &TransferError) -> Option<String> {
    let TransferError::Step { source, done, .. } = error else { return error.hint() };
    let manifests = done.documents.iter().filter(|document| !document.puts.is_empty()).count();
    let blobs = done.blobs.mounted + done.blobs.copied;
    let pushed = match (manifests, blobs) {
        (0, 0) => None,
        _ => Some(format!(
            "{} and {} were pushed before it; a second run goes on from there",
            count(manifests, "manifest"),
            count(blobs, "blob")
        )),
    };
    match (hint(source), pushed) {
        (Some(hint), Some(pushed)) => Some(format!("{hint}; {pushed}")),
        (hint, pushed) => hint.or(pushed),
    }
}

/// An error with all its causes: `a: b: c`.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The first cause of a type.
fn find<T: Error + 'static>(error: &StoreError) -> Option<&T> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use image::MediaType;

    use super::*;

    const JSON: &str = "application/json";
    const REF: &str = "r.io/t/app:x";

    fn code(code: &str, message: &str, has_detail: bool) -> RegistryCode {
        RegistryCode { code: code.into(), message: message.into(), has_detail }
    }

    /// Every situation of docker's that a registry's answer leads to: what is said when a manifest is read, and when
    /// one is put. `REF` stands for the reference. Where docker says `no such manifest` of what is there, the second
    /// text stands for both.
    #[test]
    fn answers_are_worded_as_by_docker() {
        const MISSING: &str = "no such manifest: r.io/t/app:x";
        type Row<'a> = (u16, &'a str, &'a str, &'a [RegistryCode], &'a str, &'a str);
        let auth = "authentication required";
        let rows: &[Row] = &[
            // Known codes with something to say, and without.
            (
                404,
                JSON,
                "",
                &[code("MANIFEST_UNKNOWN", "manifest unknown", true)],
                MISSING,
                "manifest unknown: manifest unknown",
            ),
            (404, JSON, "", &[code("MANIFEST_UNKNOWN", "own", false)], MISSING, "manifest unknown: own"),
            (404, JSON, "", &[code("NAME_UNKNOWN", "", true)], MISSING, "name unknown: "),
            (
                404,
                JSON,
                "",
                &[code("MANIFEST_UNKNOWN", "manifest unknown", false)],
                "manifest unknown",
                "manifest unknown",
            ),
            (404, JSON, "", &[code("NAME_UNKNOWN", "", false)], "name unknown", "name unknown"),
            (
                400,
                JSON,
                "",
                &[code("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", true)],
                "manifest blob unknown: blob unknown to registry",
                "manifest blob unknown: blob unknown to registry",
            ),
            (
                400,
                JSON,
                "",
                &[code("MANIFEST_INVALID", "manifest invalid", false)],
                "manifest invalid",
                "manifest invalid",
            ),
            // Codes that docker does not know.
            (404, JSON, "", &[code("NOT_FOUND", "nf", false)], "unknown: nf", "unknown: nf"),
            (409, JSON, "", &[code("TAG_IMMUTABLE", "no", true)], "unknown: no", "unknown: no"),
            (400, JSON, "", &[code("X", "", false)], "unknown", "unknown"),
            // Not allowed. Docker: `no such manifest` where there is a message or a detail.
            (
                401,
                JSON,
                "",
                &[code("UNAUTHORIZED", auth, true)],
                "unauthorized: authentication required",
                "unauthorized: authentication required",
            ),
            (401, JSON, "", &[code("UNAUTHORIZED", auth, false)], "unauthorized", "unauthorized"),
            (401, "text/html", "<p>", &[], "unauthorized: <p>", "unauthorized: <p>"),
            (401, JSON, "{}", &[], "unauthorized: authentication required", "unauthorized: authentication required"),
            (403, JSON, "", &[code("DENIED", "requested access to the resource is denied", false)], "denied", "denied"),
            (
                403,
                JSON,
                "",
                &[code("DENIED", "requested access to the resource is denied", true)],
                "denied: requested access to the resource is denied",
                "denied: requested access to the resource is denied",
            ),
            (403, "text/plain", "no", &[], "denied: no", "denied: no"),
            (
                429,
                JSON,
                "",
                &[code("TOOMANYREQUESTS", "slow", false)],
                "toomanyrequests: slow",
                "toomanyrequests: slow",
            ),
            (429, "", "slow", &[], "toomanyrequests: slow", "toomanyrequests: slow"),
            // Bodies without errors.
            (
                404,
                JSON,
                "{}",
                &[],
                MISSING,
                "error parsing HTTP 404 response body: no error details found in HTTP response body: \"{}\"",
            ),
            (
                404,
                JSON,
                "{\"errors\":[]}",
                &[],
                MISSING,
                "error parsing HTTP 404 response body: no error details found in HTTP response body: \"{\\\"errors\\\":[]}\"",
            ),
            (
                404,
                "application/JSON",
                "",
                &[],
                MISSING,
                "error parsing HTTP 404 response body: EOF while parsing a value at line 1 column 0: \"\"",
            ),
            (404, "", "{}", &[], "unknown: {}", "unknown: {}"),
            (404, "", "[]", &[], "unknown: []", "unknown: []"),
            (404, "", "", &[], "unknown: ", "unknown: "),
            (404, "text/html", "<p>x\n<b>y", &[], "unknown: <p>x\n<b>y", "unknown: <p>x\n<b>y"),
            (400, JSON, "{\"details\":\"hm\"}", &[], "unknown: hm", "unknown: hm"),
            (403, JSON, "{\"details\":\"hm\"}", &[], "denied: hm", "denied: hm"),
            (
                400,
                JSON,
                "{\"errors\":[]}",
                &[],
                "error parsing HTTP 400 response body: no error details found in HTTP response body: \"{\\\"errors\\\":[]}\"",
                "error parsing HTTP 400 response body: no error details found in HTTP response body: \"{\\\"errors\\\":[]}\"",
            ),
            // The server's fault, whatever it says.
            (
                500,
                JSON,
                "",
                &[code("MANIFEST_UNKNOWN", "own", true)],
                "received unexpected HTTP status: 500 Internal Server Error",
                "received unexpected HTTP status: 500 Internal Server Error",
            ),
            (
                503,
                "",
                "x",
                &[],
                "received unexpected HTTP status: 503 Service Unavailable",
                "received unexpected HTTP status: 503 Service Unavailable",
            ),
            // Several errors: the first decides.
            (
                404,
                JSON,
                "",
                &[code("MANIFEST_UNKNOWN", "", false), code("NAME_UNKNOWN", "x", false)],
                "errors:\nmanifest unknown\nname unknown: x\n",
                "errors:\nmanifest unknown\nname unknown: x\n",
            ),
            (
                404,
                JSON,
                "",
                &[code("NAME_UNKNOWN", "x", false), code("DENIED", "", false)],
                MISSING,
                "errors:\nname unknown: x\ndenied\n",
            ),
        ];
        for (status, content_type, body, codes, read, put) in rows {
            let answer = Answer { status: *status, content_type, body, codes };
            assert_eq!(answer.text_of_read(REF), *read, "read: {answer:?}");
            assert_eq!(answer.text(), *put, "put: {answer:?}");
        }
    }

    #[test]
    fn unusable_manifests_are_worded_as_by_docker() {
        let schema1 = MediaType::from(MediaType::DOCKER_SCHEMA1_SIGNED);
        for (error, want) in [
            (
                DocumentError::Schema1(schema1.clone()),
                format!("unsupported manifest media type and no default available: {schema1}"),
            ),
            (
                DocumentError::MediaType(MediaType::from("application/json")),
                "unsupported manifest media type and no default available: application/json".to_owned(),
            ),
            (
                DocumentError::MediaType(MediaType::from("")),
                "unsupported manifest media type and no default available: ".to_owned(),
            ),
            (
                DocumentError::MediaTypeMismatch {
                    content_type: MediaType::from(MediaType::DOCKER_MANIFEST),
                    stated: MediaType::from("b"),
                },
                format!("mediaType in manifest should be '{}' not 'b'", MediaType::DOCKER_MANIFEST),
            ),
            (
                DocumentError::MediaTypeMismatch {
                    content_type: MediaType::from(MediaType::OCI_MANIFEST),
                    stated: MediaType::from("b"),
                },
                format!("if present, mediaType in manifest should be '{}' not 'b'", MediaType::OCI_MANIFEST),
            ),
        ] {
            assert_eq!(document_error(&error), want);
        }
    }

    #[test]
    fn stores_without_words_of_docker_say_what_failed() {
        let missing = StoreError::new(StoreErrorKind::NotFound, "read local:app:v1");
        assert_eq!(source_error("local:app:v1", &missing), "no such manifest: local:app:v1");
        let broken = StoreError::new(StoreErrorKind::Io, "open the layout").because("no space");
        assert_eq!(source_error("oci:d", &broken), "cannot read oci:d: open the layout: no space");
    }
}
