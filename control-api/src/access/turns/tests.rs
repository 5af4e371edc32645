//! Who gets a turn, with reviews that the test ends, or that take a while of a clock that stands.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{
    OF_ADDRESS_MAX, OF_ADDRESS_WAITING_MAX, REVIEW_MAX, REVIEW_USUAL, REVIEWS_MAX, Said, TURN_MAX, Turns, WAITING_MAX,
};
use crate::access::Refusal;
use crate::access::reviewer::Away;
use crate::access::turns::Later;
use crate::tests::until;

/// Reviews wait for the gate, or for so long.
struct Desk {
    turns: Turns<String>,
    gate: Semaphore,
    takes: Option<Duration>,
    begun: AtomicUsize,
    ended: AtomicUsize,
}

type Asked = JoinHandle<Result<Said<String>, Later>>;

impl Desk {
    fn new() -> Arc<Desk> {
        Desk::with(None)
    }

    fn with(takes: Option<Duration>) -> Arc<Desk> {
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Desk { turns: Turns::new(), gate: Semaphore::new(0), takes, begun, ended })
    }

    /// A true token names somebody; `away` finds no API server.
    fn ask(self: &Arc<Self>, token: &str, from: IpAddr) -> Asked {
        let (desk, token) = (Arc::clone(self), token.to_owned());
        tokio::spawn(async move {
            let review = async {
                desk.begun.fetch_add(1, Ordering::Relaxed);
                match desk.takes {
                    Some(takes) => tokio::time::sleep(takes).await,
                    None => desk.gate.acquire().await.expect("it stays open").forget(),
                }
                desk.ended.fetch_add(1, Ordering::Relaxed);
                match token.split('-').next() {
                    Some("true") => Ok(Ok(token.clone())),
                    Some("away") => Err(Later::Away(Away("refused".to_owned()))),
                    _ => Ok(Err(Refusal::Token)),
                }
            };
            desk.turns.ask(&token, from, Instant::now(), review).await
        })
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> (usize, usize) {
        let waiting = self.turns.waiting();
        (waiting.tokens.len(), waiting.addresses.len())
    }
}

fn address(number: usize) -> IpAddr {
    IpAddr::from((0x0a00_0000 + u32::try_from(number).expect("a few")).to_be_bytes())
}

async fn said(asked: Asked) -> Result<Said<String>, Later> {
    asked.await.expect("no panic")
}

#[tokio::test(start_paused = true)]
async fn who_makes_up_tokens_at_one_address_holds_up_nobody_else() {
    let desk = Desk::new();
    const MANY: usize = 2 * OF_ADDRESS_WAITING_MAX;
    let made_up: Vec<Asked> = (0..MANY).map(|number| desk.ask(&format!("made-up-{number}"), address(0))).collect();
    until("its few are asked about", || desk.begun() == OF_ADDRESS_MAX).await;
    // Another one has a turn at once, and so has one more.
    let true_ones = [desk.ask("true-1", address(1)), desk.ask("true-2", address(2))];
    until("they have turns", || desk.begun() == OF_ADDRESS_MAX + 2).await;
    desk.gate.add_permits(OF_ADDRESS_MAX + 2);
    for (asked, expected) in true_ones.into_iter().zip(["true-1", "true-2"]) {
        assert_eq!(said(asked).await, Ok(Ok(expected.to_owned())));
    }
    desk.gate.add_permits(MANY);
    let mut counts = (0, 0);
    for asked in made_up {
        match said(asked).await {
            Ok(Err(Refusal::Token)) => counts.0 += 1,
            Err(Later::Crowded) => counts.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, (OF_ADDRESS_WAITING_MAX, MANY - OF_ADDRESS_WAITING_MAX));
    assert_eq!(desk.waiting(), (0, 0), "every place was given up");
}

#[tokio::test(start_paused = true)]
async fn those_who_bring_one_token_at_the_same_time_wait_for_one_review() {
    let desk = Desk::new();
    // From many addresses, and more of one than it may have different ones.
    let mut asked: Vec<Asked> = (0..20).map(|number| desk.ask("true-1", address(number))).collect();
    asked.extend((0..20).map(|_| desk.ask("true-1", address(0))));
    until("all wait", || desk.turns.waiting().tokens.values().any(|review| review.waiters == 40)).await;
    desk.gate.add_permits(40);
    for asked in asked {
        assert_eq!(said(asked).await, Ok(Ok("true-1".to_owned())));
    }
    assert_eq!(desk.begun(), 1);
    assert_eq!(desk.waiting(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn if_the_one_that_asks_goes_away_or_fails_the_next_one_asks() {
    let desk = Desk::new();
    let first = desk.ask("true-1", address(1));
    until("it asks", || desk.begun() == 1).await;
    let second = desk.ask("true-1", address(2));
    until("it waits", || desk.turns.waiting().tokens.values().any(|review| review.waiters == 2)).await;
    first.abort();
    until("it asks in its place", || desk.begun() == 2).await;
    desk.gate.add_permits(1);
    assert_eq!(said(second).await, Ok(Ok("true-1".to_owned())));
    // Nobody is remembered as away.
    desk.gate.add_permits(2);
    for expected in [3, 4] {
        assert!(matches!(said(desk.ask("away", address(1))).await, Err(Later::Away(_))));
        assert_eq!(desk.begun(), expected);
    }
    assert_eq!(desk.waiting(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn few_are_reviewed_at_a_time_and_no_more_wait_than_have_a_chance() {
    let desk = Desk::new();
    let asked: Vec<Asked> =
        (0..WAITING_MAX).map(|number| desk.ask(&format!("guess-{number}"), address(number))).collect();
    until("all have come", || desk.waiting().0 == WAITING_MAX).await;
    assert_eq!(said(desk.ask("true-1", address(WAITING_MAX))).await, Err(Later::Crowded));
    assert_eq!(desk.begun(), REVIEWS_MAX);
    desk.gate.add_permits(WAITING_MAX);
    for asked in asked {
        assert_eq!(said(asked).await, Ok(Err(Refusal::Token)));
    }
    assert_eq!((desk.begun(), desk.waiting()), (WAITING_MAX, (0, 0)));
}

/// Each at once, from addresses of their own; how many were answered, how many told to come again, and how long the last one took.
async fn rush(desk: &Arc<Desk>, round: usize, count: usize) -> (usize, usize, Duration) {
    let begun = tokio::time::Instant::now();
    let asked: Vec<Asked> =
        (0..count).map(|number| desk.ask(&format!("true-{round}-{number}"), address(number))).collect();
    let mut counts = (0, 0);
    for asked in asked {
        match said(asked).await {
            Ok(Ok(_)) => counts.0 += 1,
            Err(Later::Crowded) => counts.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    (counts.0, counts.1, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn however_slow_the_reviews_whoever_has_a_turn_is_answered_before_a_sidecar_gives_up() {
    for takes in [80, 300, 1_000, 2_400].map(Duration::from_millis) {
        let desk = Desk::with(Some(takes));
        // A rush that does not stop: each begins where the one before ended.
        for round in 0..3 {
            let (answered, later, took) = rush(&desk, round, 2 * WAITING_MAX).await;
            assert_eq!(answered + later, 2 * WAITING_MAX);
            // A turn each time that one ends, for as long as any is given.
            let turns = REVIEWS_MAX * TURN_MAX.as_millis().div_ceil(takes.as_millis()) as usize;
            assert!(answered >= turns.min(WAITING_MAX), "{answered} of {turns} at {takes:?}");
            assert!(took < Duration::from_secs(5) && took <= TURN_MAX + takes + Duration::from_millis(10), "{took:?}");
        }
        let counts = [&desk.begun, &desk.ended].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts[0], counts[1], "no review was given up on at {takes:?}");
        assert_eq!(desk.waiting(), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_may_wait_as_get_their_turn_where_reviews_take_what_they_usually_do() {
    let desk = Desk::with(Some(REVIEW_USUAL));
    assert!(matches!(rush(&desk, 0, WAITING_MAX).await, (WAITING_MAX, 0, _)));
    // Those behind one address share its turns, and all get one.
    let begun = tokio::time::Instant::now();
    let asked: Vec<Asked> =
        (0..OF_ADDRESS_WAITING_MAX).map(|number| desk.ask(&format!("true-{number}"), address(0))).collect();
    for asked in asked {
        assert!(matches!(said(asked).await, Ok(Ok(_))));
    }
    let rounds = u32::try_from(OF_ADDRESS_WAITING_MAX.div_ceil(OF_ADDRESS_MAX)).expect("a few");
    assert!(begun.elapsed() >= REVIEW_USUAL * rounds, "no more at a time than an address may have");
}

#[tokio::test(start_paused = true)]
async fn a_review_without_an_end_is_given_up_and_takes_nobody_else_s_turn_for_longer() {
    let desk = Desk::new();
    let first = desk.ask("true-1", address(1));
    until("it asks", || desk.begun() == 1).await;
    let begun = tokio::time::Instant::now();
    // It waits for the same review, and when that is given up it is too late for one of its own.
    let second = desk.ask("true-1", address(2));
    assert!(matches!(said(first).await, Err(Later::Away(_))));
    assert!(matches!(said(second).await, Err(Later::Crowded | Later::Away(_))));
    assert!(begun.elapsed() <= TURN_MAX + REVIEW_MAX);
    assert_eq!((desk.begun(), desk.waiting()), (1, (0, 0)));
}

#[test]
fn a_sidecar_hears_that_it_has_to_come_again_before_it_gives_up() {
    // ANSWER_TIMEOUT of proxy/src/control/client.rs.
    assert!(TURN_MAX + REVIEW_MAX + Duration::from_millis(500) <= Duration::from_secs(5));
}

#[test]
fn one_address_never_has_half_of_the_turns() {
    const { assert!(2 * OF_ADDRESS_MAX < REVIEWS_MAX && 2 * OF_ADDRESS_WAITING_MAX < WAITING_MAX) };
}

#[tokio::test(start_paused = true)]
async fn who_has_a_network_of_ipv6_has_the_turns_of_one_address() {
    let desk = Desk::new();
    let of_network = |last: usize| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::try_from(last).expect("a few")]);
    let floods: Vec<Asked> = (0..REVIEWS_MAX).map(|at| desk.ask(&format!("guess-{at}"), of_network(at))).collect();
    until("those of its turn are asked about", || desk.begun() == OF_ADDRESS_MAX).await;
    let other = desk.ask("true-1", address(1));
    until("another has a turn", || desk.begun() == OF_ADDRESS_MAX + 1).await;
    assert_eq!(desk.waiting().1, 2);
    desk.gate.add_permits(REVIEWS_MAX + 1);
    assert_eq!(said(other).await, Ok(Ok("true-1".to_owned())));
    for flood in floods {
        drop(said(flood).await);
    }
}
