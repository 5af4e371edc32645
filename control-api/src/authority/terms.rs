//! When an authority signs, when the next one is made, and for how long a certificate of theirs holds. Pure: what there is, and what
//! time it is.
//!
//! ```text
//!  old ──signs─────────────────2/3────────────────────┐                      over, and forgotten
//!  new                          made ─▶ announced ─30 d─▶ signs ───────────────2/3─ …
//! ```
//! Whoever trusts what is published never meets a certificate that they would refuse: an authority is published until it is over,
//! signs nothing that lasts longer than itself, and does not begin to sign before everybody has had 30 days to learn of it.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Since the Unix epoch.
pub(super) type Seconds = u64;

const DAY: Seconds = 24 * 3600;
/// Of an authority.
pub(super) const LIFE: Seconds = 365 * DAY;
/// What is left of its life when the next one is made.
const LEFT: Seconds = LIFE / 3;
/// From the moment an authority was published everywhere until it signs: sidecars see it in minutes, but people keep copies too.
const ANNOUNCE: Seconds = 30 * DAY;
/// Of a certificate of ours; a new one is made after two thirds of it.
pub(super) const SERVING: Seconds = 7 * DAY;
/// Clocks of others may be so much behind.
pub(super) const BACKDATE: Seconds = 3600;
/// A certificate is not made more often than this, however little is left of its authority.
const RENEW_MIN: Seconds = 60;

/// The life of one authority. They stand in a list, the newest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Term {
    pub(super) from: Seconds,
    pub(super) until: Seconds,
    /// When it was found to be published everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) announced: Option<Seconds>,
}

/// The life of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Seconds,
    pub(super) until: Seconds,
    /// When the next one is made.
    pub(super) renew: Seconds,
}

/// What the leader does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes an authority.
    Add,
    /// Notes that those which there are, are published.
    Announce,
    /// Leaves out those that are over.
    Forget,
    Nothing,
}

impl Term {
    pub(super) fn beginning(now: Seconds) -> Term {
        Term { from: now.saturating_sub(BACKDATE), until: now.saturating_add(LIFE), announced: None }
    }

    /// Not so either where it was made by a clock that went wrong.
    fn is_alive(&self, now: Seconds) -> bool {
        self.from <= now && now < self.until
    }

    /// Nothing that it signed is good any more, by anybody's clock.
    pub(super) fn is_over(&self, now: Seconds) -> bool {
        self.until.saturating_add(BACKDATE) <= now
    }

    /// Of a certificate that it signs now.
    pub(super) fn serving(&self, now: Seconds) -> Validity {
        let until = now.saturating_add(SERVING).min(self.until);
        let renew = now + (until.saturating_sub(now) / 3 * 2).max(RENEW_MIN);
        Validity { from: now.saturating_sub(BACKDATE).max(self.from), until, renew }
    }
}

/// Which of them signs now; none where none is alive.
pub(super) fn signer(terms: &[Term], now: Seconds) -> Option<usize> {
    let is_alive = |at: &usize| terms[*at].is_alive(now);
    let is_known = |at: &usize| terms[*at].announced.is_some_and(|at| at.saturating_add(ANNOUNCE) <= now);
    let newest = (0..terms.len()).rev().find(is_alive)?;
    let known = (0..=newest).rev().find(|at| is_alive(at) && is_known(at));
    let settled = known.or_else(|| (0..=newest).find(is_alive))?;
    // Close to its end the next one has to do, announced or not.
    Some(if terms[settled].until - now > SERVING { settled } else { newest })
}

/// What the leader does, who knows whether all of them are published.
pub(super) fn step(terms: &[Term], now: Seconds, are_published: bool) -> Step {
    let is_due = |newest: &Term| newest.until.saturating_sub(LEFT) <= now;
    if terms.iter().rev().find(|term| term.is_alive(now)).is_none_or(is_due) {
        return Step::Add;
    }
    if terms.iter().any(|term| term.is_over(now)) {
        return Step::Forget;
    }
    if are_published && terms.iter().any(|term| term.announced.is_none()) {
        return Step::Announce;
    }
    Step::Nothing
}
