//! Interim answers (1xx, RFC 9110 section 15.2) from an instance to the client: hyper's server cannot send them, so they are
//! written under it, at the moments when it has nothing of its own to write.
//!
//! 100 is not among them: hyper sends it when the application asks for the body (`http.rs`, `Expectation`). An interim answer is
//! a hint: one that cannot be placed safely is left out.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use http::HeaderMap;
use http::StatusCode;

/// Waiting for the client, at most; a flood of hints is cut here.
const PENDING_BYTES_MAX: usize = 16 << 10;

/// What is to be written before the final answer of one client connection. A mutex, because hyper's callback must be `Sync`.
#[derive(Clone, Default)]
pub(crate) struct Interim(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    waker: Option<Waker>,
}

impl Interim {
    /// Takes one interim answer on, and wakes the connection to write it.
    pub(crate) fn push(&self, status: StatusCode, headers: &HeaderMap) {
        let mut head = Vec::with_capacity(128);
        head.extend_from_slice(b"HTTP/1.1 ");
        head.extend_from_slice(status.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
        head.extend_from_slice(b"\r\n");
        for (name, value) in headers {
            if !matches!(
                name.as_str(),
                "connection" | "keep-alive" | "transfer-encoding" | "content-length" | "upgrade"
            ) {
                head.extend_from_slice(name.as_str().as_bytes());
                head.extend_from_slice(b": ");
                head.extend_from_slice(value.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
        }
        head.extend_from_slice(b"\r\n");
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pending.len() + head.len() > PENDING_BYTES_MAX {
            return;
        }
        state.pending.extend_from_slice(&head);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// What is to be written now. The caller writes it all, or gives the rest back with [`Interim::put_back`].
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).pending)
    }

    pub(crate) fn put_back(&self, rest: Vec<u8>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = std::mem::replace(&mut state.pending, rest);
        state.pending.extend_from_slice(&newer);
    }

    /// Who is to be woken.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
    }
}
