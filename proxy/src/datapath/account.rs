//! What is counted of one request, from its decision to its last byte. It is counted when it is dropped, however it ended.

use std::time::Instant;

use laneway_core::why::{TagSource, Why};

use super::failure::Failure;
use crate::telemetry::{Handle, Outcome, Spoken};

/// The client went away before it was answered; no answer has it, and nginx's logs do.
const CLIENT_GONE: u16 = 499;
/// The instance broke off in the middle of its answer.
const BROKEN_OFF: u16 = 502;
/// UNAVAILABLE, which is what our own answers to gRPC say.
const GRPC_UNAVAILABLE: u16 = 14;

pub(crate) struct Account(Option<Open>);

struct Open {
    flow: Handle,
    started: Instant,
    outcome: Outcome,
    moved: Moved,
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
    /// A request was decided. `flow`: where it counts, if anywhere.
    pub(crate) fn open(flow: Option<Handle>, spoken: Spoken, why: Why, source: TagSource) -> Account {
        let outcome = Outcome { spoken, code: CLIENT_GONE, why, source };
        Account(flow.map(|flow| Open { flow, started: Instant::now(), outcome, moved: Moved::default() }))
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

    /// It gets our own answer.
    pub(crate) fn failed(&mut self, failure: Failure) {
        let Some(open) = &mut self.0 else { return };
        open.outcome.code = match open.outcome.spoken {
            Spoken::Grpc => GRPC_UNAVAILABLE,
            Spoken::Http1 | Spoken::Http2 | Spoken::Opaque => failure.status().as_u16(),
        };
    }

    /// The end of its answer will not come.
    pub(crate) fn broke_off(&mut self) {
        if let Some(open) = &mut self.0 {
            open.outcome.code = BROKEN_OFF;
        }
    }

    /// Counts it now.
    pub(crate) fn close(&mut self) {
        let Some(Open { flow, started, outcome, moved }) = self.0.take() else { return };
        let took = started.elapsed();
        let took_us = took.as_secs() * 1_000_000 + u64::from(took.subsec_micros());
        flow.request(outcome, took_us, moved.request_bytes, moved.response_bytes);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close();
    }
}
