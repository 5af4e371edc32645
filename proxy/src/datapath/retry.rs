//! Whether a request that got no answer may go out once more. Decides only; who serves the client asks, and sends.

/// How far a request came that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// No connection stood: nothing was sent, and another connection to the same instance would fare no better.
    Unsent,
    /// The instance did not begin it: it says so, or nothing of it was written or taken (RFC 9113 section 8.7).
    Unprocessed,
    /// It went out over a connection that had served before, and not a byte came: mostly it was closed before the request came.
    Unanswered,
    /// The instance may have begun it.
    Unknown,
}

/// What may be done about a request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Over a fresh connection to the same instance.
    Fresh,
    No,
}

/// What was tried for one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tries {
    /// A fresh connection to the instance.
    fresh: bool,
}

impl Tries {
    /// Connections that have served before will not do any more.
    pub(crate) fn wants_fresh(&self) -> bool {
        self.fresh
    }

    /// `is_idempotent`: doing it twice does no harm (RFC 9110 section 9.2.2). `is_at_hand`: all of it can be said again.
    pub(crate) fn again(&mut self, reach: Reach, is_idempotent: bool, is_at_hand: bool) -> Again {
        let may_repeat = match reach {
            Reach::Unprocessed => true,
            Reach::Unanswered => is_idempotent,
            Reach::Unsent | Reach::Unknown => false,
        };
        if !may_repeat || !is_at_hand || self.fresh {
            return Again::No;
        }
        self.fresh = true;
        Again::Fresh
    }
}

#[cfg(test)]
mod tests;
