//! When a client counts as stalled, second by second.

use super::*;

const NO_SOCKET: RawFd = -1;

fn connection(clock: &CoarseClock) -> Rc<Connection> {
    clock.advance(10);
    Rc::new(Connection::new(Direction::Inbound, false, clock, NO_SOCKET))
}

#[test]
fn only_who_is_waited_for_stalls_and_only_without_a_byte() {
    let clock = CoarseClock::default();
    let connection = connection(&clock);
    let _running = connection.begin();
    let stalled = |now: u32| {
        clock.advance(now);
        connection.stalled_seconds(now, |_| 0)
    };
    assert_eq!(stalled(50), None, "an answer is awaited");
    connection.waits_for_client(100);
    assert_eq!(stalled(70), Some(20));
    connection.waits_for_client(100);
    assert_eq!(stalled(75), Some(25), "woken for nothing");
    connection.waits_for_client(101);
    assert_eq!(stalled(76), Some(1), "a byte came");
    connection.waits_for_nobody();
    assert_eq!(stalled(99), None);
}

#[test]
fn a_client_that_takes_from_the_kernel_what_was_written_long_ago_is_not_stalled() {
    let clock = CoarseClock::default();
    let connection = connection(&clock);
    let _running = connection.begin();
    connection.waits_for_client(1 << 20);
    for second in 11..100 {
        assert_eq!(connection.stalled_seconds(second, |_| 1_000_000 - second as usize), Some(0));
    }
    assert_eq!(connection.stalled_seconds(130, |_| 1_000_000 - 99), Some(31));
}

#[test]
fn the_end_of_a_request_is_the_end_of_its_stall() {
    let clock = CoarseClock::default();
    let connection = connection(&clock);
    let running = connection.begin();
    connection.waits_for_client(1);
    drop(running);
    assert_eq!(connection.stalled_seconds(99, |_| 0), None);
}
