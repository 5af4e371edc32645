//! A commit's hold on its number: kept up while it writes, and lost to whoever takes the Revision over.
//!
//! ```text
//!   claim --beside the work: kept, each second--> done        another replica took the Revision over: the work stops where it is
//! ```

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, DynamicObject, Preconditions};

use super::super::StoreError;
use super::failure::{self, ask};
use super::journal::{Entry, Journal, State, name_of};

/// How often whoever writes says that it is alive: well below the time after which another replica takes over.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// So long after its last word a writer may go on without another.
const KEPT_FOR: Duration = Duration::from_secs(3);

pub(super) struct Claim {
    journal: Journal,
    pub(super) number: i64,
    /// As it was written last; only who knows its resourceVersion writes it again.
    object: DynamicObject,
    state: State,
    kept: Instant,
    /// When to say again that whoever writes is alive.
    due: Instant,
}

impl Claim {
    pub(super) fn new(journal: &Journal, number: i64, object: DynamicObject, state: State) -> Claim {
        let now = Instant::now();
        Claim { journal: journal.clone(), number, object, state, kept: now, due: now + KEEP_EVERY }
    }

    /// Takes the number of a commit, if nobody else has.
    pub(super) async fn make(journal: &Journal, entry: &Entry, bytes: usize) -> Result<Claim, StoreError> {
        let object = journal.claim(entry, bytes).await?;
        Ok(Claim::new(journal, entry.number, object, State::Writing))
    }

    /// Does a part of the commit. [`StoreError::Doubtful`]: another replica goes on with it, and this one stopped.
    pub(super) async fn beside<T>(
        &mut self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                // First: a process that stood still asks before it goes on.
                biased;
                () = tokio::time::sleep_until(self.due.into()) => self.keep().await?,
                done = &mut work => return done,
            }
        }
    }

    /// A word that is lost is no harm while others may not have taken over.
    async fn keep(&mut self) -> Result<(), StoreError> {
        match self.journal.advance(self.object.clone(), self.state).await {
            Err(failure) if failure.is_passing() && self.kept.elapsed() < KEPT_FOR => {
                self.due = Instant::now() + KEEP_EVERY;
                Ok(())
            }
            done => self.advanced(done, self.state),
        }
    }

    /// To another state. [`StoreError::Doubtful`]: another replica goes on with it, or nobody knows.
    pub(super) async fn become_state(&mut self, state: State) -> Result<(), StoreError> {
        let done = self.journal.advance(self.object.clone(), state).await;
        self.advanced(done, state)
    }

    fn advanced(&mut self, done: Result<Option<DynamicObject>, StoreError>, state: State) -> Result<(), StoreError> {
        match done {
            Ok(Some(object)) => {
                (self.object, self.state, self.kept) = (object, state, Instant::now());
                self.due = self.kept + KEEP_EVERY;
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
        let name = name_of(self.number);
        match ask("remove a Revision", || self.journal.api.delete(&name, &parameters)).await {
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
