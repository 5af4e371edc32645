//! Whether a request that got no answer may go out once more, and whether to the same instance. Decides only; `attempts` does it.

use std::net::SocketAddr;

use laneway_core::conduct::Retry;

/// How far a request came that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// No connection stood: nothing was sent, and another connection to the same instance would fare no better.
    Unsent,
    /// The instance did not begin it: it says so, or nothing of it was written or taken (RFC 9113 section 8.7).
    Unprocessed,
    /// It went out over a connection that had served before, and not a byte came: mostly it was closed before the request came.
    Unanswered,
    /// It went out over a fresh connection, which ended before a byte came: the instance went away, as far as is known.
    Dropped,
    /// The instance may have begun it.
    Unknown,
    /// It says that it cannot answer it (502, 503, 504); that answer is held.
    Held,
    /// The instance had it until its time was over.
    Late,
    /// Whatever happened, there is to be no other try: the fault is the client's or ours.
    Final,
}

/// What may be done about a request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Over a fresh connection to the same instance.
    Fresh,
    /// To another instance; it counts as a retry.
    Elsewhere(Cause),
    No,
}

/// Why another instance is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Connect,
    Unprocessed,
    GatewayError,
}

impl Cause {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Cause::Connect => "connect",
            Cause::Unprocessed => "unprocessed",
            Cause::GatewayError => "gateway_error",
        }
    }
}

/// What was tried for one request.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// A fresh connection to the instance that it is at.
    fresh: bool,
    /// Instances that did not answer.
    pub(crate) failed: Vec<SocketAddr>,
}

impl Tries {
    /// Connections that have served before will not do any more.
    pub(crate) fn wants_fresh(&self) -> bool {
        self.fresh
    }

    /// It goes over a fresh connection.
    pub(crate) fn goes_fresh(&mut self) {
        self.fresh = true;
    }

    /// It goes to another instance than this.
    pub(crate) fn leaves(&mut self, instance: SocketAddr) {
        self.fresh = false;
        self.failed.push(instance);
    }

    /// `is_idempotent`: doing it twice does no harm (RFC 9110 section 9.2.2). `is_at_hand`: all of it can be said again.
    pub(crate) fn again(&self, reach: Reach, is_idempotent: bool, is_at_hand: bool, rules: &Retry) -> Again {
        let (may_repeat, is_wanted, cause) = match reach {
            Reach::Unsent => (true, rules.on_connect, Cause::Connect),
            Reach::Unprocessed => (true, rules.on_unprocessed, Cause::Unprocessed),
            Reach::Unanswered => (is_idempotent, rules.on_unprocessed, Cause::Unprocessed),
            Reach::Dropped if rules.on_unprocessed => (is_idempotent, true, Cause::Unprocessed),
            Reach::Dropped => (is_idempotent, rules.on_gateway_error, Cause::GatewayError),
            Reach::Unknown | Reach::Held => (is_idempotent, rules.on_gateway_error, Cause::GatewayError),
            Reach::Late | Reach::Final => return Again::No,
        };
        if !may_repeat || !is_at_hand {
            return Again::No;
        }
        if matches!(reach, Reach::Unprocessed | Reach::Unanswered) && !self.fresh {
            return Again::Fresh;
        }
        let is_left = self.failed.len() < rules.retries_max as usize;
        if is_wanted && is_left { Again::Elsewhere(cause) } else { Again::No }
    }
}

#[cfg(test)]
mod tests;
