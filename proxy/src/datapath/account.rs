//! One request from its decision to its last byte: counted, and told of where anybody wants it told, when this is dropped, however
//! it ended. The one place that metric, access log and trace hear of it.

use std::net::SocketAddr;
use std::time::Instant;

use laneway_core::tag::Tag;
use laneway_core::why::{TagSource, Why};

use super::failure::Failure;
use crate::journal::{Ended, Entry, Flag};
use crate::telemetry::{Handle, Outcome, Spoken};

/// The client went away before it was answered; no answer has it, and nginx's logs do.
const CLIENT_GONE: u16 = 499;
/// The instance broke off in the middle of its answer.
const BROKEN_OFF: u16 = 502;
/// UNAVAILABLE, which is what our own answers to gRPC say.
const GRPC_UNAVAILABLE: u16 = 14;

pub(crate) struct Account(Option<Open>);

struct Open {
    flow: Option<Handle>,
    told: Option<Box<Told>>,
    started: Instant,
    outcome: Outcome,
    moved: Moved,
}

/// For whoever reads of single requests.
struct Told {
    entry: Entry,
    /// Of our own answer.
    refused: Option<u16>,
    flag: Option<Flag>,
}

/// How far an exchange has come.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moved {
    /// 0: there is no answer yet.
    pub(crate) status: u16,
    /// Where the answer says one.
    pub(crate) grpc_status: Option<u16>,
    /// Of the bodies.
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
}

impl Account {
    /// A request was decided. `flow`: where it counts, if anywhere. `entry`: what is told of it, if anything.
    pub(crate) fn open(
        flow: Option<Handle>,
        entry: Option<Entry>,
        spoken: Spoken,
        why: Why,
        source: TagSource,
    ) -> Account {
        if flow.is_none() && entry.is_none() {
            return Account(None);
        }
        let outcome = Outcome { spoken, code: CLIENT_GONE, why, source };
        let told = entry.map(|entry| Box::new(Told { entry, refused: None, flag: None }));
        Account(Some(Open { flow, told, started: Instant::now(), outcome, moved: Moved::default() }))
    }

    /// The exchange that carried it has come so far, and will not come further.
    pub(crate) fn moved(&mut self, moved: Moved) {
        let Some(open) = &mut self.0 else { return };
        open.moved = moved;
        if moved.status != 0 {
            let grpc_status = moved.grpc_status.filter(|_| open.outcome.spoken == Spoken::Grpc);
            open.outcome.code = grpc_status.unwrap_or(moved.status);
        }
    }

    /// It goes to another instance.
    pub(crate) fn turned(&mut self, to: SocketAddr, tag: Option<Tag>) {
        if let Some(told) = self.0.as_mut().and_then(|open| open.told.as_mut()) {
            told.entry.turned(to, tag);
        }
    }

    /// That is of another tag: it counts there.
    pub(crate) fn counts_elsewhere(&mut self, flow: Option<Handle>, why: Why) {
        if let Some(open) = &mut self.0 {
            open.flow = flow;
            open.outcome.why = why;
            if let Some(told) = &mut open.told {
                told.entry.is_because(why);
            }
        }
    }

    /// It gets our own answer.
    pub(crate) fn failed(&mut self, failure: Failure) {
        let Some(open) = &mut self.0 else { return };
        open.outcome.code = match open.outcome.spoken {
            Spoken::Grpc => GRPC_UNAVAILABLE,
            Spoken::Http1 | Spoken::Http2 | Spoken::Opaque => failure.status().as_u16(),
        };
        let is_grpc = open.outcome.spoken == Spoken::Grpc;
        if let Some(told) = &mut open.told {
            // gRPC has its failures in trailers of an answer that is well.
            told.refused = Some(if is_grpc { 200 } else { failure.status().as_u16() });
            told.flag = Some(failure.flag());
        }
    }

    /// The end of its answer will not come.
    pub(crate) fn broke_off(&mut self) {
        if let Some(open) = &mut self.0 {
            open.outcome.code = BROKEN_OFF;
            if let Some(told) = &mut open.told {
                told.flag = Some(Flag::UpstreamProtocol);
            }
        }
    }

    /// The client went away before its answer was whole.
    pub(crate) fn client_gone(&mut self) {
        if let Some(told) = self.0.as_mut().and_then(|open| open.told.as_mut()) {
            told.flag = Some(Flag::DownstreamClosed);
        }
    }

    /// It has ended: counts it now, and tells of it.
    pub(crate) fn close(&mut self) {
        let Some(Open { flow, told, started, outcome, moved }) = self.0.take() else { return };
        let took = started.elapsed();
        let took_us = took.as_secs() * 1_000_000 + u64::from(took.subsec_micros());
        if let Some(flow) = flow {
            flow.request(outcome, took_us, moved.request_bytes, moved.response_bytes);
        }
        if let Some(told) = told {
            let Told { entry, refused, flag } = *told;
            let status = refused.unwrap_or(moved.status);
            // Who is dropped without an answer was left by the client.
            let flag = flag.or((status == 0).then_some(Flag::DownstreamClosed));
            entry.tell(Ended { status, response_bytes: moved.response_bytes, took, flag });
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close();
    }
}
