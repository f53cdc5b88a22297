//! Tells others what was written: a signed `POST` for each event, in order, again and again until it is taken.
//!
//! ```text
//!   write ──▶ observe ──▶ queue of an endpoint ──▶ its courier ──▶ destination ──▶ POST, signed
//!                          │        ▲               one at a time   resolved and
//!                          ▼        │ at the start                  judged anew
//!                         journal ──┘
//! ```
//!
//! Each endpoint has its own queue and courier, so that none waits for another. What is written goes on meanwhile: an event is
//! put into the queue, and into a file that is not synchronised, and that is all.

mod courier;
mod destination;
mod endpoint;
mod journal;
mod message;
mod queue;
mod sender;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::events::{Event, Observer};
use crate::metrics::Exposition;

pub use destination::{Allowed, AllowedError};
pub use endpoint::{Endpoint, EndpointError};
use message::Message;
use queue::Queue;
pub use queue::QueueCounts;
use sender::Sender;

/// How webhooks are delivered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WebhookOptions {
    /// Hosts and addresses that may be posted to although they are not public, or without TLS.
    pub allow: Vec<Allowed>,
    /// The directory where events that wait are kept, so that a restart does not lose them. It is made if it is not there.
    pub journal: Option<PathBuf>,
    /// A file of certificates, in PEM, whose holders may vouch for an endpoint beside those that the system trusts.
    pub authorities: Option<PathBuf>,
    /// How long one attempt may take, from the look-up of the name to the end of the answer.
    pub timeout: Duration,
    /// The pause after the first failure; it doubles with each further one.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How old an event may become that is still tried.
    pub give_up_after: Duration,
    /// After how many refusals in a row, with a status of 4xx, an event is given up: it will not be liked better later.
    pub refusals: u32,
    /// Most events that wait for one endpoint; further ones are dropped.
    pub waiting: NonZeroUsize,
    /// How long events that wait may still be delivered when the server stops.
    pub drain_timeout: Duration,
}

impl Default for WebhookOptions {
    /// No exceptions, no journal; 10 s for an attempt, pauses from 1 s to 5 minutes for a day, 5 refusals, 10,000 events, 5 s
    /// to drain.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            journal: None,
            authorities: None,
            timeout: Duration::from_secs(10),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(5 * 60),
            give_up_after: Duration::from_secs(24 * 60 * 60),
            refusals: 5,
            waiting: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Why webhooks cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// There are more than is sensible.
    #[error("{count} webhooks are set, and {most} may be")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// The journal cannot be used.
    #[error("open the journal of webhooks `{}`: {source}", path.display())]
    Journal {
        /// The file or directory.
        path: PathBuf,
        /// What came back.
        source: std::io::Error,
    },
    /// The file of authorities cannot be used.
    #[error("read the authorities of webhooks `{}`: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system's TLS cannot be set up.
    #[error("set up TLS for webhooks: {0}")]
    Tls(String),
    /// An endpoint may not be posted to.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// Most endpoints: each has a connection and a queue.
const MOST: usize = 64;

/// Endpoints, and what waits for them. Cloning is cheap; all clones are one.
#[derive(Clone, Debug)]
pub struct Webhooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    routes: Vec<Route>,
    options: WebhookOptions,
    sender: Arc<Sender>,
    started: AtomicBool,
}

#[derive(Debug)]
struct Route {
    endpoint: Arc<Endpoint>,
    queue: Arc<Queue>,
}

impl Webhooks {
    /// Sets up endpoints, and reads what a former process left in the journal. Nothing is sent before a server runs.
    ///
    /// # Errors
    /// [`WebhookError::Endpoint`] also where an address is known already, and may not be posted to.
    pub fn open(endpoints: Vec<Endpoint>, options: WebhookOptions) -> Result<Self, WebhookError> {
        if endpoints.len() > MOST {
            return Err(WebhookError::TooMany { count: endpoints.len(), most: MOST });
        }
        for endpoint in &endpoints {
            destination::check(endpoint, &options.allow)?;
        }
        let encrypts = endpoints.iter().any(Endpoint::is_encrypted);
        let sender = Arc::new(Sender::new(options.allow.clone(), encrypts, options.authorities.as_deref())?);
        let mut routes = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let queue = Queue::open(&endpoint, options.journal.as_deref(), options.waiting.get())?;
            routes.push(Route { endpoint: Arc::new(endpoint), queue: Arc::new(queue) });
        }
        if let Some(directory) = &options.journal {
            let kept: Vec<String> = routes.iter().map(|route| route.endpoint.file_stem()).collect();
            journal::discard_others(directory, &kept);
        }
        Ok(Self(Arc::new(Inner { routes, options, sender, started: AtomicBool::new(false) })))
    }

    /// What became of events so far: for each endpoint, named by its scheme and host.
    pub fn counts(&self) -> Vec<(String, QueueCounts)> {
        self.0.routes.iter().map(|route| (route.endpoint.to_string(), route.queue.counts())).collect()
    }

    /// Writes the counts for metrics; endpoints of one host are one there.
    pub(crate) fn expose(&self, text: &mut Exposition) {
        let mut hosts: BTreeMap<String, QueueCounts> = BTreeMap::new();
        for (host, counts) in self.counts() {
            hosts.entry(host).or_default().add(counts);
        }
        text.family("webhook_events_total", "counter", "Events for webhooks, by what became of them.");
        for (host, counts) in &hosts {
            let QueueCounts { delivered, given_up, dropped, .. } = *counts;
            for (outcome, count) in [("delivered", delivered), ("given-up", given_up), ("dropped", dropped)] {
                text.sample("", &[("endpoint", host), ("outcome", outcome)], count);
            }
        }
        text.family("webhook_failures_total", "counter", "Attempts that a webhook did not take.");
        for (host, counts) in &hosts {
            text.sample("", &[("endpoint", host)], counts.failed);
        }
        text.family("webhook_waiting", "gauge", "Events that wait for a webhook.");
        for (host, counts) in &hosts {
            text.sample("", &[("endpoint", host)], counts.waiting);
        }
    }

    /// Begins to deliver. `None`: somebody has already.
    pub(crate) fn start(&self) -> Option<Couriers> {
        if self.0.started.swap(true, Ordering::AcqRel) {
            return None;
        }
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for route in &self.0.routes {
            let (endpoint, queue) = (route.endpoint.clone(), route.queue.clone());
            let (sender, options) = (self.0.sender.clone(), self.0.options.clone());
            tasks.spawn(courier::run(endpoint, queue, sender, options, stopping.clone()));
        }
        Some(Couriers { webhooks: self.clone(), tasks, stop })
    }
}

/// What delivers, until it is told to stop.
pub(crate) struct Couriers {
    webhooks: Webhooks,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Couriers {
    /// Delivers what waits, for a while and only where that works; the rest stays in the journal.
    pub(crate) async fn drain(mut self) {
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.webhooks.0.options.drain_timeout, all).await;
        self.tasks.shutdown().await;
        for route in &self.webhooks.0.routes {
            let waiting = route.queue.counts().waiting;
            if waiting > 0 && route.queue.has_journal() {
                tracing::info!(endpoint = %route.endpoint, waiting, "events are kept for the next start");
            } else if waiting > 0 {
                tracing::warn!(endpoint = %route.endpoint, waiting, "events were lost: webhooks have no journal");
            }
        }
    }
}

impl fmt::Debug for Couriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Couriers").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Observer for Webhooks {
    async fn observe(&self, event: &Arc<Event>) {
        let mut message = None;
        for route in &self.0.routes {
            if route.endpoint.wants(event) {
                let message = message.get_or_insert_with(|| Message::of(event));
                route.queue.push(message.clone());
            }
        }
    }
}

fn journal_error(path: &Path) -> impl Fn(std::io::Error) -> WebhookError + use<> {
    let path = path.to_owned();
    move |source| WebhookError::Journal { path: path.clone(), source }
}
