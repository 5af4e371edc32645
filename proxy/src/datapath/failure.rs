//! Everything that can go wrong with one request on the data path, and what each means: status, label, words.
//!
//! The maps are total: a new variant without a status, a label or a blame does not compile.

use std::fmt::Write as _;

use http::{HeaderValue, StatusCode};
use laneway_core::tag::Tag;

use crate::h1::Reason;
use crate::journal::Flag;

/// Why a request got no answer from an application.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    /// The request is refused for what it says; the word says why (`h1`, `gate.rs`).
    BadRequest(Reason),
    /// The destination is this proxy itself.
    Loop,
    /// A strict lane has no usable instance of the service.
    NoInstance { lane: Option<Tag> },
    /// Nothing is usable, not even baseline.
    NoBaseline,
    /// The tag could not be told, and the group refuses such calls.
    Ambiguous,
    /// A connection was not redirected and names no service that we know.
    UnknownDestination,
    /// The instance refused the connection, or could not be reached.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// The same of late, and one is being tried: others do not wait for it.
    Unreachable,
    /// The answer was not whole in the time that the service's policy gives.
    RequestTimeout,
    /// Nothing moved for the time that the service's policy gives.
    IdleTimeout,
    /// As many requests run and wait at the instance as the service's policy allows.
    Overflow,
    /// The instance closed or reset before it answered.
    UpstreamClosed,
    /// The instance goes away, and the time that the service's policy gives to what runs on it is over.
    InstanceLeft,
    /// The instance answered what is not HTTP, or broke off.
    UpstreamProtocol(Reason),
    /// We have no more file descriptors, ports or memory.
    Exhausted,
    /// We hold nearly as much memory as we may (`pressure`).
    Memory,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    Client,
    Upstream,
    /// No instance may or can take the request.
    Mesh,
    Proxy,
}

impl Failure {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Failure::BadRequest(reason) if reason.is_too_large() => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Failure::BadRequest(_) => StatusCode::BAD_REQUEST,
            Failure::Loop => StatusCode::LOOP_DETECTED,
            Failure::NoInstance { .. } | Failure::NoBaseline | Failure::Ambiguous => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Connect
            | Failure::Unreachable
            | Failure::Overflow
            | Failure::InstanceLeft
            | Failure::Exhausted
            | Failure::Memory => StatusCode::SERVICE_UNAVAILABLE,
            Failure::UnknownDestination | Failure::UpstreamClosed | Failure::UpstreamProtocol(_) => {
                StatusCode::BAD_GATEWAY
            }
            Failure::ConnectTimeout | Failure::RequestTimeout | Failure::IdleTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Metric label and first word of `x-laneway-error`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Failure::BadRequest(_) => "bad-request",
            Failure::Loop => "loop",
            Failure::NoInstance { .. } => "no-instance",
            Failure::NoBaseline => "no-baseline",
            Failure::Ambiguous => "ambiguous",
            Failure::UnknownDestination => "unknown-destination",
            Failure::Connect => "connect",
            Failure::ConnectTimeout => "connect-timeout",
            Failure::Unreachable => "unreachable",
            Failure::RequestTimeout => "request-timeout",
            Failure::IdleTimeout => "idle-timeout",
            Failure::Overflow => "overflow",
            Failure::UpstreamClosed => "upstream-closed",
            Failure::InstanceLeft => "instance-left",
            Failure::UpstreamProtocol(_) => "upstream-protocol",
            Failure::Exhausted => "exhausted",
            Failure::Memory => "memory",
        }
    }

    /// Word of the access log.
    pub(crate) fn flag(self) -> Flag {
        match self {
            Failure::BadRequest(_) => Flag::DownstreamProtocol,
            Failure::Loop | Failure::Ambiguous | Failure::Memory => Flag::LocalRefusal,
            Failure::NoInstance { .. } | Failure::NoBaseline => Flag::NoHealthyUpstream,
            Failure::UnknownDestination => Flag::NoRoute,
            Failure::Connect | Failure::ConnectTimeout | Failure::Unreachable => Flag::UpstreamFailed,
            Failure::RequestTimeout | Failure::IdleTimeout => Flag::UpstreamTimeout,
            Failure::UpstreamClosed | Failure::InstanceLeft => Flag::UpstreamClosed,
            Failure::UpstreamProtocol(_) => Flag::UpstreamProtocol,
            Failure::Exhausted | Failure::Overflow => Flag::UpstreamOverflow,
        }
    }

    pub(crate) fn blame(self) -> Blame {
        match self {
            Failure::BadRequest(_) | Failure::Loop => Blame::Client,
            Failure::NoInstance { .. }
            | Failure::NoBaseline
            | Failure::Ambiguous
            | Failure::UnknownDestination
            | Failure::Overflow
            | Failure::InstanceLeft => Blame::Mesh,
            Failure::Connect
            | Failure::ConnectTimeout
            | Failure::Unreachable
            | Failure::RequestTimeout
            | Failure::IdleTimeout
            | Failure::UpstreamClosed
            | Failure::UpstreamProtocol(_) => Blame::Upstream,
            Failure::Exhausted | Failure::Memory => Blame::Proxy,
        }
    }

    /// Does it say that the instance is not well?
    pub(crate) fn is_of_instance(self) -> bool {
        self.blame() == Blame::Upstream
    }

    /// The value of `x-laneway-error`: `no-instance lane=gray service=c`. `service` is an id, or empty.
    pub(crate) fn header_value(self, service: &str) -> HeaderValue {
        let mut text = String::from(self.label());
        match self {
            Failure::BadRequest(reason) | Failure::UpstreamProtocol(reason) => {
                let _ = write!(text, " {reason}");
            }
            Failure::NoInstance { lane: Some(lane) } => {
                let _ = write!(text, " lane={lane}");
            }
            Failure::NoInstance { lane: None }
            | Failure::Loop
            | Failure::NoBaseline
            | Failure::Ambiguous
            | Failure::UnknownDestination
            | Failure::Connect
            | Failure::ConnectTimeout
            | Failure::Unreachable
            | Failure::RequestTimeout
            | Failure::IdleTimeout
            | Failure::Overflow
            | Failure::UpstreamClosed
            | Failure::InstanceLeft
            | Failure::Exhausted
            | Failure::Memory => {}
        }
        if !service.is_empty() {
            let _ = write!(text, " service={service}");
        }
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(self.label()))
    }
}
