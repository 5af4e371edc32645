//! The seam between requests as they come over a connection and what is decided for them: inbound and outbound see a [`Head`],
//! whatever version it came in, and answer with a [`Verdict`]. They never see a connection.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use laneway_core::conduct::Conduct;
use laneway_core::facts::{Headers, NameSet};
use laneway_core::snapshot::{Place, Protocol};
use laneway_core::tag::{RequestTag, Tag};
use laneway_core::why::Why;

use super::account::Account;
use super::budget::Traffic;
use super::connect::From;
use super::evidence::InFlightGuard;
use super::failure::Failure;
use super::path::Path;
use super::propagate::Rewrite;
use crate::h1::fields::Fields;
use crate::telemetry::{Handle, Spoken};

/// One request as far as a decision looks at it.
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    /// Path and query, `*`, or empty for CONNECT.
    pub(crate) target: &'a str,
    /// `:authority`, the authority of an absolute form, or Host; may be empty.
    pub(crate) authority: &'a str,
    pub(crate) is_grpc: bool,
    /// Came over HTTP/2.
    pub(crate) is_http2: bool,
    pub(crate) headers: &'a dyn Headers,
}

impl Head<'_> {
    pub(crate) fn spoken(&self) -> Spoken {
        match (self.is_grpc, self.is_http2) {
            (true, _) => Spoken::Grpc,
            (false, true) => Spoken::Http2,
            (false, false) => Spoken::Http1,
        }
    }
}

/// Where one request goes.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) from: From,
    pub(crate) connect_timeout: Duration,
    /// What the instance is to be spoken to in; `Detect`: what the client speaks.
    pub(crate) protocol: Protocol,
}

/// What was decided for one request, free of the snapshot.
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// `None`: there is no other instance to go to.
    pub(crate) called: Option<Rc<Called>>,
    /// As its service's policy says for its path.
    pub(crate) request_timeout: Option<Duration>,
    /// Of the destination; empty where it is unknown.
    pub(crate) service: Option<Arc<str>>,
    pub(crate) rewrite: Rewrite,
    /// Where the group asks for paths.
    pub(crate) path: Option<Rc<Path>>,
    /// Lives as long as the request does.
    pub(crate) in_flight: Option<InFlightGuard>,
    pub(crate) account: Account,
}

/// What a call needs to know of its service when its instance fails. Calls of one connection mostly share it.
#[derive(Clone)]
pub(crate) struct Called {
    pub(crate) place: Place,
    /// Left with the request.
    pub(crate) tag: RequestTag,
    /// Of the instance.
    pub(crate) instance_tag: Option<Tag>,
    /// `None`: there is no policy.
    pub(crate) conduct: Option<Arc<Conduct>>,
    /// Resource name of the service.
    pub(crate) service: Arc<str>,
    /// Of the service.
    pub(crate) traffic: Rc<Traffic>,
}

/// Where it goes instead.
pub(crate) struct Onward {
    pub(crate) target: Target,
    pub(crate) tag: Option<Tag>,
    /// `None`: as before, and it counts where it did.
    pub(crate) why: Option<Why>,
    pub(crate) flow: Option<Handle>,
    /// Its id.
    pub(crate) service: Arc<str>,
}

#[allow(clippy::large_enum_variant, reason = "nearly every request is sent: a box would be an allocation for each")]
pub(crate) enum Verdict {
    Send(Plan),
    Refuse(Failure, Option<Arc<str>>),
    /// The authority, or who calls, is not known yet: [`Route::learn`] it, and ask again.
    Learn,
}

/// Decides the requests of one client connection.
pub(crate) trait Route {
    fn route(&self, head: &Head<'_>) -> Verdict;

    /// Another instance for a call, by the rules of now, than those that have failed.
    fn onward(&self, called: &Called, failed: &[std::net::SocketAddr]) -> Option<Onward> {
        let _ = (called, failed);
        None
    }

    /// Asks the control plane for what is missing; returns when it has answered or not in time.
    fn learn(self: Rc<Self>, authority: String) -> Pin<Box<dyn Future<Output = ()>>>;
}

impl Headers for Fields<'_, '_> {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        Fields::line(self, name, index)
    }

    fn has_any(&self, names: NameSet) -> bool {
        names.meets(NameSet::from(self.names()))
    }
}
