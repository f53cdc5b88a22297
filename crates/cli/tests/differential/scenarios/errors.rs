//! What registries answer when they refuse, and what is said of it.

use lab::{Fault, FaultKind};

use super::plain;
use crate::script::Scenario;

const JSON: &str = "application/json";

/// Status, content type and body of an answer.
const ANSWERS: &[(u16, &str, &str)] = &[
    (404, JSON, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#),
    (404, JSON, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
    (404, JSON, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"own words"}]}"#),
    (404, JSON, r#"{"errors":[{"code":"NAME_UNKNOWN","detail":null}]}"#),
    (404, JSON, r#"{"errors":[{"code":"NOT_FOUND","message":"nf"}]}"#),
    (404, JSON, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"},{"code":"NAME_UNKNOWN","message":"x"}]}"#),
    (404, JSON, "{}"),
    (404, JSON, r#"{"errors":[]}"#),
    (404, "text/html", "<p>not here"),
    (404, "", ""),
    (400, JSON, r#"{"errors":[{"code":"NAME_INVALID","message":"invalid repository name"}]}"#),
    (400, JSON, r#"{"details":"hm"}"#),
    (400, JSON, r#"{"errors":[]}"#),
    (400, "text/plain", "bad"),
    (401, JSON, r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#),
    (401, JSON, r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#),
    (401, "text/plain", "who are you"),
    (403, JSON, r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#),
    (403, JSON, r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#),
    (403, "text/plain", "no"),
    (405, JSON, r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#),
    (409, JSON, r#"{"errors":[{"code":"TAG_IMMUTABLE","message":"it stays","detail":"x"}]}"#),
    (418, "text/plain", "a teapot"),
    (429, JSON, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#),
    (500, JSON, r#"{"errors":[{"code":"UNKNOWN","message":"oops","detail":{}}]}"#),
    (502, "text/html", "<h1>bad gateway"),
    (503, "text/plain", "later"),
];

/// One scenario for each answer where a manifest is read, and one where it is written.
pub(super) fn all() -> Vec<Scenario> {
    let answer = |n: usize| {
        let (status, content_type, body) = ANSWERS[n];
        FaultKind::Body { status, content_type: content_type.to_owned(), body: body.to_owned() }
    };
    let reads = (0..ANSWERS.len()).map(|n| {
        let lines = "inspect --insecure R/t/app:amd64
                     create --insecure R/t/app:l R/t/app:arm64";
        plain(&format!("reading: {:?}", ANSWERS[n]), lines).fault(Fault::on("GET", "/manifests/", answer(n)))
    });
    let writes = (0..ANSWERS.len()).map(|n| {
        let lines = "create --insecure R/t/app:l R/t/app:amd64
                     push --insecure R/t/app:l";
        plain(&format!("writing: {:?}", ANSWERS[n]), lines).fault(Fault::on("PUT", "/manifests/", answer(n)))
    });
    reads.chain(writes).collect()
}
