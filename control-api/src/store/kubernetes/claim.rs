//! A commit's hold on its number: kept up while it writes, and lost to whoever takes the Revision over.
//!
//! ```text
//!   claim --keep, each second--> done          keep, become or give_back fail once another replica has taken it over: it goes no further
//! ```

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, DynamicObject, Preconditions};

use super::super::StoreError;
use super::failure::{self, call};
use super::journal::{Entry, Journal, State, name_of};

/// A claim that was kept so lately is still held: well below the time after which another replica takes it over.
const KEPT_FOR: Duration = Duration::from_secs(1);

pub(super) struct Claim {
    journal: Journal,
    pub(super) number: i64,
    /// As it was written last; only who knows its resourceVersion writes it again.
    object: DynamicObject,
    state: State,
    kept: Instant,
}

impl Claim {
    pub(super) fn new(journal: &Journal, number: i64, object: DynamicObject, state: State) -> Claim {
        Claim { journal: journal.clone(), number, object, state, kept: Instant::now() }
    }

    /// Says that whoever writes is alive, where that was not said lately. [`StoreError::Doubtful`]: another replica goes on with it.
    pub(super) async fn keep(&mut self) -> Result<(), StoreError> {
        if self.kept.elapsed() < KEPT_FOR { Ok(()) } else { self.become_state(self.state).await }
    }

    /// The same, and asks in any case.
    pub(super) async fn hold(&mut self) -> Result<(), StoreError> {
        self.become_state(self.state).await
    }

    /// To another state. [`StoreError::Doubtful`]: another replica goes on with it, or nobody knows.
    pub(super) async fn become_state(&mut self, state: State) -> Result<(), StoreError> {
        match self.journal.advance(self.object.clone(), state).await {
            Ok(Some(object)) => {
                (self.object, self.state, self.kept) = (object, state, Instant::now());
                Ok(())
            }
            Ok(None) => Err(StoreError::Doubtful(format!("another replica took revision {} over", self.number))),
            Err(other) => Err(StoreError::Doubtful(format!("revision {} is half done: {other}", self.number))),
        }
    }

    /// Done, with these writes and no others.
    pub(super) async fn done_with(mut self, entry: &Entry) -> Result<(), StoreError> {
        self.object.data["spec"] = entry.as_value()?;
        self.become_state(State::Done).await
    }

    /// As if it had never been claimed.
    pub(super) async fn give_back(self) -> Result<(), StoreError> {
        let (uid, resource_version) = (self.object.metadata.uid, self.object.metadata.resource_version);
        let preconditions = Some(Preconditions { uid, resource_version });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        match call("remove a Revision", self.journal.api.delete(&name_of(self.number), &parameters)).await {
            Ok(_) => Ok(()),
            Err(StoreError::Failed { source, .. })
                if failure::is_missing(&*source) || failure::is_conflict(&*source) =>
            {
                Err(StoreError::Doubtful(format!("another replica took revision {} over", self.number)))
            }
            Err(other) => Err(StoreError::Doubtful(format!("revision {} is half undone: {other}", self.number))),
        }
    }
}
