//! Any bytes, given to our HTTP/1.1 engine, to hyper and to the oracle: the check of `proxy/tests/differential`.
//!
//! What begins as an answer is read as one, to each method that matters; everything else is a request. Prints now and then what
//! was refused so far.

#![no_main]

#[path = "../../proxy/tests/differential/check.rs"]
mod check;
#[path = "../../proxy/tests/differential/engine.rs"]
mod engine;
#[path = "../../proxy/tests/differential/grammar.rs"]
mod grammar;
#[path = "../../proxy/tests/differential/message.rs"]
mod message;
#[path = "../../proxy/tests/differential/oracle.rs"]
mod oracle;
#[path = "../../proxy/tests/differential/peer.rs"]
mod peer;
#[path = "../../proxy/tests/differential/tally.rs"]
mod tally;

use std::cell::{Cell, RefCell};

use laneway_proxy::h1;
use libfuzzer_sys::fuzz_target;

use message::Role;
use tally::Tally;

/// Executions between two tables.
const TABLE_EVERY: u64 = 1_000_000;

thread_local! {
    static TALLY: RefCell<Tally> = RefCell::default();
    static EXECUTIONS: Cell<u64> = const { Cell::new(0) };
}

fuzz_target!(|bytes: &[u8]| {
    let roles: &[Role] = match bytes {
        [b'H', b'T', b'T', b'P', b'/', ..] => &[Role::Response, Role::ResponseToHead, Role::ResponseToConnect],
        _ => &[Role::Request],
    };
    for role in roles {
        let outcome = check::check(*role, bytes, cuts(bytes).into_iter());
        TALLY.with_borrow_mut(|tally| tally.add(*role, bytes, &outcome));
    }
    EXECUTIONS.set(EXECUTIONS.get() + 1);
    if EXECUTIONS.get() % TABLE_EVERY == 0 {
        TALLY.with_borrow(|tally| eprintln!("after {} executions\n{tally}", EXECUTIONS.get()));
    }
});

/// Two places to split at: anywhere, and before the last byte.
fn cuts(bytes: &[u8]) -> [usize; 2] {
    let sum = bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    [sum % (bytes.len() + 1), bytes.len().saturating_sub(1)]
}
