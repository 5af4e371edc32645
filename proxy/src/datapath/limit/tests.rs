use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{Dials, Places};
use crate::datapath::failure::Failure;

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn who_finds_no_place_waits_and_who_finds_no_room_to_wait_is_told_at_once() {
    let places = Places::default();
    let first = places.take(1).expect("the only place is free");
    assert!(places.take(1).is_none());
    let mut waiting = pin!(places.wait(1, 1));
    assert!(poll_once(waiting.as_mut()).is_pending());
    assert!(matches!(poll_once(pin!(places.wait(1, 1))), Poll::Ready(Err(Failure::Overflow))));
    drop(first);
    let Poll::Ready(Ok(second)) = poll_once(waiting.as_mut()) else { panic!("the place is free again") };
    assert!(places.take(1).is_none());
    drop(second);
    assert!(places.take(1).is_some());
}

#[test]
fn who_gives_up_waiting_makes_room_to_wait() {
    let places = Places::default();
    let _first = places.take(1).expect("the only place is free");
    {
        let mut waiting = pin!(places.wait(1, 1));
        assert!(poll_once(waiting.as_mut()).is_pending());
    }
    assert!(poll_once(pin!(places.wait(1, 1))).is_pending(), "the queue is empty again");
    assert!(matches!(poll_once(pin!(places.wait(1, 0))), Poll::Ready(Err(Failure::Overflow))), "none may wait");
}

#[test]
fn one_connection_is_tried_where_the_last_ones_did_not_stand() {
    let dials = Dials::default();
    for _ in 0..2 {
        let (one, other) = (dials.begin(), dials.begin());
        assert!(one.is_ok() && other.is_ok(), "as many as are wanted");
        one.expect("it began").ended(Some(Failure::ConnectTimeout));
    }
    let probe = dials.begin().expect("one tries");
    assert!(matches!(dials.begin(), Err(Failure::Unreachable)));
    probe.ended(Some(Failure::ConnectTimeout));
    drop(probe);
    let probe = dials.begin().expect("one tries again");
    probe.ended(None);
    drop(probe);
    let _one = dials.begin().expect("it is well");
    assert!(dials.begin().is_ok());
}

/// Of HTTP/2 one opens the connection and the others wait for it: when it fails they go elsewhere, and do not try one by one.
#[test]
fn who_waited_for_a_dial_that_failed_hears_of_it_and_who_comes_later_tries() {
    let dials = Dials::default();
    let before = dials.ended();
    assert!(dials.failed_since(before).is_none(), "none has ended");
    dials.begin().expect("the first tries").ended(Some(Failure::ConnectTimeout));
    assert!(matches!(dials.failed_since(before), Some(Failure::ConnectTimeout)));
    assert!(dials.failed_since(dials.ended()).is_none(), "it came later");
    assert!(!dials.is_shut());
    dials.begin().expect("so does the second").ended(Some(Failure::ConnectTimeout));
    let probe = dials.begin().expect("one probes");
    assert!(dials.is_shut(), "the others do not wait for it");
    probe.ended(None);
    drop(probe);
    assert!(!dials.is_shut());
    assert!(dials.failed_since(before).is_none(), "it stands");
}
