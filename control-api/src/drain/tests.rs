use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

/// Whether it has come to its end, without waiting for it.
fn is_done(waits: impl Future<Output = ()>) -> bool {
    pin!(waits).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn who_leaves_is_not_ready_and_has_not_begun_to_drain() {
    let (trigger, mut draining) = channel();
    assert!(!draining.is_leaving() && !is_done(draining.leaving()));
    trigger.leave();
    assert!(draining.is_leaving() && is_done(draining.leaving()));
    assert!(!is_done(draining.started()));
    trigger.start();
    assert!(draining.is_leaving() && is_done(draining.started()));
}

#[test]
fn a_trigger_that_is_gone_has_started_the_drain() {
    let (trigger, mut draining) = channel();
    drop(trigger);
    assert!(draining.is_leaving() && is_done(draining.started()));
}
