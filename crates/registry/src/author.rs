//! Whoever writes: the store in their name, and those who are told when it is done.

use content::{ContentStore, RepositoryId};
use http::StatusCode;

use crate::access::{Action, Caller};
use crate::events::{Observers, Origin, What};
use crate::refusal::Refusal;

/// Writes for one request. It goes with the work, which may outlive the request.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    /// The store; tag history says who it was.
    pub(crate) content: ContentStore,
    observers: Observers,
    origin: Origin,
    caller: Caller,
}

impl Author {
    pub(crate) fn new(content: &ContentStore, observers: &Observers, origin: Origin, caller: Caller) -> Self {
        let content = match &origin.actor {
            Some(actor) => content.acting_for(actor),
            None => content.clone(),
        };
        Self { content, observers: observers.clone(), origin, caller }
    }

    /// Whether they may do something, by the policy of the moment when they asked.
    pub(crate) fn may(&self, repository: &RepositoryId, action: Action) -> bool {
        self.caller.may(repository, action)
    }

    /// Whether nobody was asked who they are.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.caller.is_unlimited()
    }

    /// Whose request it is, and where it came from.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Tells of what is durable now.
    pub(crate) async fn wrote(&self, repository: &RepositoryId, written: Vec<What>) {
        self.observers.tell(&self.origin, repository, written).await;
    }
}

/// Runs a write to its end, even if the client goes away meanwhile: what was written is told of, and bytes that came are
/// kept.
pub(crate) async fn to_the_end<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, Refusal>
where
    T: Send + 'static,
    E: Into<Refusal> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(Refusal {
            internal: Some(format!("the task of a write died: {error}")),
            ..Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the registry failed to do this")
        }),
    }
}
