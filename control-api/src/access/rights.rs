//! Which role somebody's rights in a cluster make: SubjectAccessReviews over our API group, asked together, and no more of them than
//! it takes.
//!
//! ```text
//!   one of each kind at once ─┬─ may change ─▶ the other changes at once ─▶ all: admin
//!                             ├─ may switch ─▶ operator
//!                             └─ may read ──▶ the other reads at once ───▶ all: viewer
//! ```

use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::Semaphore;

use super::Role;
use super::reviewer::{Asked, Away, Reviewer, User};

#[cfg(test)]
mod tests;

/// Questions at a time, of all who are reviewed: an API server has others to answer.
const QUESTIONS_MAX: usize = 32;

/// Rights are asked for over all namespaces: a role here holds for all of them.
pub(super) const RESOURCES: [&str; 3] = ["lanegroups", "lanes", "servicepolicies"];
pub(super) const CHANGES: [&str; 3] = ["create", "update", "delete"];
pub(super) const READS: [&str; 2] = ["get", "list"];
pub(super) const SWITCH: (&str, &str) = ("lanes", "enable");

/// Asks for rights.
pub(super) struct Rights {
    places: Semaphore,
}

impl Rights {
    pub(super) fn new() -> Rights {
        Rights { places: Semaphore::new(QUESTIONS_MAX) }
    }

    /// The highest role that all its rights are there for.
    pub(super) async fn role(&self, reviewer: &dyn Reviewer, who: &User) -> Result<Option<Role>, Away> {
        let may = |(resource, verb)| self.may(reviewer, who, resource, verb);
        // Who lacks the first of a kind is asked for no other of it.
        let first = |verbs: &[&'static str]| (RESOURCES[0], verbs[0]);
        let (changes, switches, reads) = tokio::try_join!(may(first(&CHANGES)), may(SWITCH), may(first(&READS)))?;
        let others = |verbs: &'static [&'static str]| {
            let every = RESOURCES.iter().flat_map(move |resource| verbs.iter().map(move |verb| (*resource, *verb)));
            all(every.skip(1).map(may).collect())
        };
        if changes && others(&CHANGES).await? {
            return Ok(Some(Role::Admin));
        }
        if switches {
            return Ok(Some(Role::Operator));
        }
        Ok((reads && others(&READS).await?).then_some(Role::Viewer))
    }

    fn may<'a>(
        &'a self,
        reviewer: &'a dyn Reviewer,
        who: &'a User,
        resource: &'static str,
        verb: &'static str,
    ) -> Asked<'a, bool> {
        Box::pin(async move {
            let _place = self.places.acquire().await.map_err(|_| Away("the program ends".to_owned()))?;
            reviewer.may(who, resource, verb).await
        })
    }
}

/// Whether each answer is a yes; the first that is none ends it.
async fn all(mut asked: Vec<Asked<'_, bool>>) -> Result<bool, Away> {
    poll_fn(|context| {
        let mut at = 0;
        while let Some(question) = asked.get_mut(at) {
            match question.as_mut().poll(context) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(true)) => drop(asked.swap_remove(at)),
                Poll::Ready(otherwise) => return Poll::Ready(otherwise),
            }
        }
        if asked.is_empty() { Poll::Ready(Ok(true)) } else { Poll::Pending }
    })
    .await
}
