//! Commits that run, and those that were left half done: waited for, or carried on to their end.

use std::time::{Duration, Instant};

use tracing::warn;

use super::super::StoreError;
use super::Kubernetes;
use super::claim::Claim;
use super::journal::{self, Entry, Head, Heads, State};
use super::object;
use super::rewrite::{Purpose, Step, Theirs, steps};

/// How long nothing is heard of a commit before it is taken for left behind. Whoever is at it says so each second.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(5);
/// Between two looks at a commit that runs: most take a moment.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(500);
/// How often an object of a commit that is carried on is tried while the API server answers and cannot do it.
const ATTEMPTS_MAX: u32 = 3;

impl Kubernetes {
    /// The Revisions when no commit runs; one that was left behind is carried on to its end.
    pub(super) async fn settled(&self) -> Result<Heads, StoreError> {
        loop {
            let heads = self.shared.journal.heads().await?;
            let Some((number, head)) = journal::unfinished(&heads) else { return Ok(heads) };
            self.outwait(number, head.clone()).await?;
        }
    }

    /// Until that commit is done or given back, by whoever is at it or by this process.
    async fn outwait(&self, number: i64, mut head: Head) -> Result<(), StoreError> {
        let (mut heard, mut pause) = (Instant::now(), LOOK_AGAIN);
        loop {
            tokio::time::sleep(pause).await;
            pause = LOOK_AGAIN_MAX.min(pause * 2);
            match self.shared.journal.head(number).await? {
                None => return Ok(()),
                Some(now) if now.state == State::Done => return Ok(()),
                Some(now) if now != head => (head, heard) = (now, Instant::now()),
                Some(_) if heard.elapsed() > SILENT_MAX => {
                    self.finish(number, &head).await?;
                    heard = Instant::now();
                }
                Some(_) => {}
            }
        }
    }

    /// Carries on what a process left behind that ended while it wrote, if nobody else has since it was as `seen`. What the API server
    /// does not take is left as it is, and the Revision says so: it tells what was done.
    pub(super) async fn finish(&self, number: i64, seen: &Head) -> Result<(), StoreError> {
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
        let purpose = Purpose { number: claim.number, theirs: Theirs::Kept, is_noted: entry.is_noted() };
        let (puts, deletes) = entry.puts_and_deletes();
        let mut refused = Vec::new();
        for step in steps(&puts, &deletes) {
            let mut attempt = 1;
            let failure = loop {
                let done = claim.beside(async {
                    let rewrite = self.plan(step, purpose).await?;
                    self.apply(&rewrite, false).await
                });
                match done.await {
                    Ok(_) => break None,
                    Err(failure @ (StoreError::Doubtful(_) | StoreError::Moved { .. })) => return Err(failure),
                    // The API server is there, and this object is what it cannot do: the others do not wait for it.
                    Err(failure) if failure.is_passing() && attempt < ATTEMPTS_MAX => {
                        claim.become_state(State::Writing).await?;
                        attempt += 1;
                    }
                    Err(failure) => break Some(failure),
                }
            };
            let Some(failure) = failure else { continue };
            // Whoever began may have written it, and it cannot be written once more.
            if self.has_been_written(step, claim.number).await? {
                continue;
            }
            let error = &failure as &(dyn std::error::Error + 'static);
            warn!(error, revision = claim.number, object = step.name(), "not written");
            refused.push((step.name().to_owned(), failure.to_string()));
        }
        Ok(refused)
    }

    async fn has_been_written(&self, step: Step<'_>, number: i64) -> Result<bool, StoreError> {
        let Step::Put(record) = step else { return Ok(false) };
        let (_, found) = self.find(record.kind, &record.name).await?;
        Ok(found.is_some_and(|found| object::read(record.kind, &found).revision == number))
    }
}
