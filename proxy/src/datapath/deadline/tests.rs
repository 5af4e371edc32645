use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{Clock, Deadlines, Limits, Overrun, Progress, Quiet};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn alarms_sound_in_their_order_and_only_when_they_are_due() {
    let cx = Context::from_waker(Waker::noop());
    let (deadlines, now) = (Deadlines::new(), Instant::now());
    let late = deadlines.arm(now, 3 * SECOND);
    let early = deadlines.arm(now, SECOND);
    let gone = deadlines.arm(now, 2 * SECOND);
    assert_eq!(deadlines.sound(now), Some(now + SECOND));
    drop(gone);
    assert_eq!(deadlines.sound(now + SECOND), Some(now + 3 * SECOND));
    assert_eq!((early.poll(&cx), late.poll(&cx)), (Poll::Ready(()), Poll::Pending));
    assert_eq!(deadlines.sound(now + 9 * SECOND), None);
    assert!(late.poll(&cx).is_ready());
}

#[test]
fn only_one_that_is_earlier_disturbs_who_waits() {
    let (deadlines, now) = (Deadlines::new(), Instant::now());
    let _first = deadlines.arm(now, SECOND);
    assert_eq!(deadlines.0.looks_at.get(), Some(now + SECOND));
    let _later = deadlines.arm(now, 2 * SECOND);
    assert_eq!(deadlines.0.looks_at.get(), Some(now + SECOND));
    let _earlier = deadlines.arm(now, SECOND / 2);
    assert_eq!(deadlines.0.looks_at.get(), Some(now + SECOND / 2));
}

/// A clock whose deadlines have been sounded `after` its first look.
fn polled(limits: Limits, before: Progress, after: Progress) -> Poll<Overrun> {
    let cx = Context::from_waker(Waker::noop());
    let deadlines = Deadlines::new();
    let mut clock = Clock::new(&deadlines, limits).expect("it has a limit");
    assert_eq!(clock.poll(&cx, before), Poll::Pending);
    deadlines.sound(Instant::now() + 10 * SECOND);
    clock.poll(&cx, after)
}

#[test]
fn a_request_has_its_time_from_when_it_is_whole() {
    let request = Limits { request: Some(SECOND), ..Limits::default() };
    let whole = Progress { is_request_whole: true, ..Progress::default() };
    let answered = Progress { is_answered: true, ..whole };
    assert_eq!(polled(request, whole, whole), Poll::Ready(Overrun::Request));
    assert_eq!(polled(request, whole, answered), Poll::Ready(Overrun::Request), "to the end of the answer");
    assert_eq!(
        polled(request, Progress::default(), Progress::default()),
        Poll::Pending,
        "while its body is on its way"
    );
    let attempt = Limits { attempt: Some(SECOND), ..Limits::default() };
    assert_eq!(polled(attempt, whole, whole), Poll::Ready(Overrun::Attempt));
    assert_eq!(polled(attempt, whole, answered), Poll::Pending, "an attempt has succeeded with its head");
    assert!(Clock::new(&Deadlines::new(), Limits::default()).is_none(), "without limits there is no clock");
}

#[test]
fn a_tunnel_has_its_idle_time_alone() {
    let cx = Context::from_waker(Waker::noop());
    let deadlines = Deadlines::new();
    let limits = Limits { request: Some(SECOND), attempt: Some(SECOND), idle: None };
    let mut clock = Clock::new(&deadlines, limits).expect("it has a limit");
    let whole = Progress { is_request_whole: true, ..Progress::default() };
    assert_eq!(clock.poll(&cx, whole), Poll::Pending);
    clock.begin_tunnel();
    deadlines.sound(Instant::now() + 10 * SECOND);
    assert_eq!(clock.poll(&cx, whole), Poll::Pending);
}

#[test]
fn idle_is_four_quarters_in_which_nothing_moved() {
    let mut quiet = Quiet::default();
    let looks: Vec<bool> = [0, 0, 0, 7, 7, 7, 8, 8, 8, 8, 8].map(|moved| quiet.is_over(moved)).to_vec();
    assert_eq!(looks.iter().position(|is_over| *is_over), Some(10));
}
