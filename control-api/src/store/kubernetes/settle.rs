//! Commits that run, and those that were left half done: waited for, or carried on to their end.

use std::time::{Duration, Instant};

use tracing::warn;

use super::super::StoreError;
use super::Kubernetes;
use super::claim::Claim;
use super::journal::{self, Entry, Head, Heads, State};
use super::rewrite::{Hand, Theirs};

/// How long nothing is heard of a commit before it is taken for left behind. Whoever is at it says so each second.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Since when nothing has been heard of a commit.
struct Silence {
    number: i64,
    head: Head,
    since: Instant,
}

impl Kubernetes {
    /// The Revisions when no commit runs; one that was left behind is carried on to its end.
    pub(super) async fn settled(&self) -> Result<Heads, StoreError> {
        let mut silence: Option<Silence> = None;
        loop {
            let heads = self.shared.journal.heads().await?;
            let Some((number, head)) = journal::unfinished(&heads) else { return Ok(heads) };
            let old = silence.filter(|old| old.number == number && old.head == *head);
            let heard = old.unwrap_or_else(|| Silence { number, head: head.clone(), since: Instant::now() });
            if heard.since.elapsed() > SILENT_MAX {
                self.finish(number, &heard.head).await?;
            }
            silence = Some(heard);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Carries on what a process left behind that ended while it wrote, if nobody else has since it was as `seen`. What the API server
    /// does not take is left as it is, and the Revision says so: it tells what was done.
    async fn finish(&self, number: i64, seen: &Head) -> Result<(), StoreError> {
        let journal = &self.shared.journal;
        let Some((found, mut entry)) = journal.read(number).await? else { return Ok(()) };
        if !seen.is_of(&found.metadata) {
            return Ok(());
        }
        // By its resourceVersion: whoever else is at it goes no further.
        let Some(taken) = journal.advance(found, State::Writing).await? else { return Ok(()) };
        warn!(revision = number, "a commit was left half done, and is done now");
        let mut claim = Claim::new(journal, number, taken, State::Writing);
        let done = match self.carry_on(&entry, &mut claim).await {
            Ok(refused) => {
                entry.leave_out(&refused);
                claim.done_with(&entry).await
            }
            Err(failure) => Err(failure),
        };
        match done {
            // Whoever took this over goes on.
            Err(StoreError::Doubtful(_) | StoreError::Moved { .. }) => Ok(()),
            done => done,
        }
    }

    /// What was not written, and why.
    async fn carry_on(&self, entry: &Entry, claim: &mut Claim) -> Result<Vec<(String, String)>, StoreError> {
        let (puts, deletes) = entry.puts_and_deletes();
        let mut refused = Vec::new();
        for rewrite in self.rewrites(&puts, &deletes, claim.number, Theirs::Kept).await? {
            let Err(failure) = self.apply(&rewrite, Hand::Claimed(claim)).await else { continue };
            if failure.is_passing() || matches!(failure, StoreError::Moved { .. }) {
                return Err(failure);
            }
            let error = &failure as &(dyn std::error::Error + 'static);
            warn!(error, revision = claim.number, object = rewrite.name(), "not written");
            refused.push((rewrite.name().to_owned(), failure.to_string()));
        }
        Ok(refused)
    }
}
