//! `/healthz` and `/readyz`: for whoever keeps the server running, and for whoever sends it requests.

use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Value, json};

use crate::answer::{Answer, answer};
use crate::service::State;

/// A metadata store that takes longer than this does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

fn fresh(status: StatusCode, body: &Value) -> Answer {
    answer(status).header(header::CACHE_CONTROL, HeaderValue::from_static("no-store")).json(body)
}

/// The process lives: it answers.
pub(crate) fn alive() -> Answer {
    fresh(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Whether requests should be sent here: 200, or 503 with what is in the way.
pub(crate) async fn ready(state: &State) -> Answer {
    let mut reasons = Vec::new();
    if state.is_draining() {
        reasons.push(json!({ "code": "draining", "message": "the server is about to stop" }));
    }
    if state.disk.is_full() {
        let free = state.disk.last().map(|space| space.free);
        reasons.push(json!({ "code": "disk-full", "message": "pushes are refused until there is room", "free": free }));
    }
    let answers = match tokio::time::timeout(PATIENCE, state.content.count_uploads()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    if let Some(error) = answers {
        // What went wrong is for the log: it may name paths, and anybody may ask here.
        tracing::error!(error, "the metadata store does not answer");
        reasons.push(json!({ "code": "metadata", "message": "the metadata store does not answer" }));
    }
    if reasons.is_empty() {
        fresh(StatusCode::OK, &json!({ "status": "ready" }))
    } else {
        fresh(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready", "reasons": reasons }))
    }
}
