//! The keys of one issuer: asked for again from time to time, and when a token is signed with one that is not known.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::access::issuers::IssuerOptions;
use crate::access::issuers::source::Reader;
use crate::access::jwk::KeySet;
use crate::access::signatures::Algorithm;

/// What is known of an issuer's keys.
#[derive(Debug)]
pub(super) struct Cache {
    /// Of whom.
    name: String,
    reader: Reader,
    refresh: Duration,
    retry: Duration,
    keep: Duration,
    state: RwLock<State>,
    /// Whoever holds it asks; the others wait for what comes back.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, Instant)>,
    asked: Option<Instant>,
}

impl Cache {
    pub(super) fn new(name: String, reader: Reader, options: &IssuerOptions) -> Self {
        let (refresh, retry, keep) = (options.refresh, options.retry, options.keep);
        Self { name, reader, refresh, retry, keep, state: RwLock::default(), asking: tokio::sync::Mutex::default() }
    }

    pub(super) fn is_far(&self) -> bool {
        self.reader.is_far()
    }

    /// Reads a file at once. Blocks.
    pub(super) fn fill(&self) -> Result<(), String> {
        self.take(&self.reader.read_here()?)
    }

    /// The keys, of which one may have signed a token of this algorithm and key id. `None`: they cannot be had.
    pub(super) async fn with(self: &Arc<Self>, algorithm: Algorithm, id: Option<&str>) -> Option<Arc<KeySet>> {
        if let Some((keys, age)) = self.known()
            && !keys.candidates(algorithm, id).is_empty()
        {
            if age >= self.refresh && self.may_ask() {
                // Nobody waits for it while what is known can be used.
                tokio::spawn(self.clone().ask());
            }
            return Some(keys);
        }
        if self.may_ask() {
            // On a task of its own: it goes on even if this client does not wait for it.
            let _ = tokio::spawn(self.clone().ask()).await;
        } else {
            // Whoever asks at this moment may get what this token needs.
            drop(self.asking.lock().await);
        }
        self.known().map(|(keys, _)| keys)
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keys that are not too old, and how old they are.
    fn known(&self) -> Option<(Arc<KeySet>, Duration)> {
        let (keys, taken) = self.state().keys?;
        let age = taken.elapsed();
        (age < self.keep).then_some((keys, age))
    }

    fn may_ask(&self) -> bool {
        self.state().asked.is_none_or(|asked| asked.elapsed() >= self.retry)
    }

    async fn ask(self: Arc<Self>) {
        let _asking = self.asking.lock().await;
        // Somebody else did meanwhile.
        if !self.may_ask() {
            return;
        }
        self.state.write().unwrap_or_else(PoisonError::into_inner).asked = Some(Instant::now());
        let taken = match self.reader.read().await {
            Ok(bytes) => self.take(&bytes),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = taken {
            tracing::warn!(issuer = self.name, reason, "an issuer's keys cannot be had");
        }
    }

    fn take(&self, bytes: &[u8]) -> Result<(), String> {
        let keys = KeySet::parse(bytes).map_err(|error| error.to_string())?;
        let now = Instant::now();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.keys.as_ref().is_none_or(|(known, _)| **known != keys) {
            tracing::info!(issuer = self.name, keys = keys.len(), "an issuer's keys were read");
        }
        *state = State { keys: Some((Arc::new(keys), now)), asked: Some(now) };
        Ok(())
    }
}
