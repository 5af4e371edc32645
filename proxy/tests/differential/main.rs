//! Our HTTP/1.1 engine against two other readers: hyper, and an oracle written from the RFCs.
//!
//! What we forward is one message, and the same message, to all three. What we refuse is listed by reason:
//! `cargo test -p laneway-proxy --test differential -- --nocapture` prints the table. The fuzz target in `fuzz/` runs the
//! same check.

mod check;
mod engine;
mod generate;
mod grammar;
mod message;
mod oracle;
mod peer;
mod tally;

use std::cell::RefCell;
use std::fmt;

use laneway_proxy::h1;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use check::check;
use message::Role;
use tally::Tally;

/// Reasons for which we refuse what hyper takes. Another one is a gap in hyper that we did not know, or a fault of ours.
const HYPER_TAKES: [&str; 19] = [
    "chunk-extension",
    "chunk-size",
    "content-length",
    "content-length-twice",
    "fragment",
    "framing-look-alike",
    "head-too-large",
    "host",
    "host-missing",
    "host-twice",
    "line-end",
    "method",
    "nul",
    "target",
    "transfer-encoding",
    "transfer-encoding-and-content-length",
    "transfer-encoding-version",
    "userinfo",
    "version",
];

/// Reasons for which we refuse what the RFCs allow: others read it differently, or it has no use and no bound.
const RFC_TAKES: [&str; 13] = [
    "chunk-extension",
    "chunk-size",
    "content-length",
    "fields-too-many",
    "framing-look-alike",
    "head-too-large",
    "host",
    "host-twice",
    "method",
    "nul",
    "target",
    "trailers-too-large",
    "transfer-encoding",
];

/// Messages on a connection.
#[derive(Clone)]
struct Input {
    role: Role,
    bytes: Vec<u8>,
}

impl fmt::Debug for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} b\"{}\"", self.role, self.bytes.escape_ascii())
    }
}

fn requests(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Input> {
    bytes.prop_map(|bytes| Input { role: Role::Request, bytes })
}

fn answers(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Input> {
    let roles = [Role::Response, Role::Response, Role::ResponseToHead, Role::ResponseToConnect];
    (select(roles.to_vec()), bytes).prop_map(|(role, bytes)| Input { role, bytes })
}

/// Places to split one input at. All of them, but where it was flooded.
const CUTS_MAX: usize = 500;

/// Checks `cases` inputs, each split at every place. The same ones in every run, so that a change is to blame for a failure; new
/// ones where `PROPTEST_CASES` says how many, and in the fuzz target.
fn check_all(cases: u32, inputs: impl Strategy<Value = Input>) -> Tally {
    let tally = RefCell::new(Tally::default());
    let wanted = Config { failure_persistence: None, ..Config::default() };
    let config = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => wanted,
        None => Config { cases, rng_seed: RngSeed::Fixed(1), ..wanted },
    };
    let result = TestRunner::new(config).run(&inputs, |Input { role, bytes }| {
        let step = 1 + bytes.len() / CUTS_MAX;
        let outcome = check(role, &bytes, (0..=bytes.len()).step_by(step));
        tally.borrow_mut().add(role, &bytes, &outcome);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    tally.into_inner()
}

/// For who runs this with `--nocapture`, and for a failure.
#[expect(clippy::print_stdout)]
fn show(tally: &Tally) {
    println!("{tally}");
}

#[test]
fn what_is_well_formed_is_taken_by_all_three() {
    for tally in [check_all(2_000, requests(generate::requests())), check_all(2_000, answers(generate::answers()))] {
        show(&tally);
        assert_eq!(tally.refused().count(), 0);
    }
}

#[test]
fn what_we_forward_is_read_alike_and_what_we_refuse_is_listed() {
    let mut tally = check_all(6_000, requests(generate::mutated(generate::requests())));
    tally.merge(check_all(6_000, answers(generate::mutated(generate::answers()))));
    show(&tally);
    for (side, reason, row) in tally.refused() {
        assert!(row.hyper_takes == 0 || HYPER_TAKES.contains(&reason), "hyper takes what we refuse: {side}, {reason}");
        assert!(row.rfc_takes == 0 || RFC_TAKES.contains(&reason), "RFC 9112 allows what we refuse: {side}, {reason}");
    }
}

#[test]
fn any_bytes_at_all_are_read_alike_or_refused() {
    check_all(3_000, requests(proptest::collection::vec(any::<u8>(), 0..64)));
    check_all(3_000, answers(proptest::collection::vec(any::<u8>(), 0..64)));
}
