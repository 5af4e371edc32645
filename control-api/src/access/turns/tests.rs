//! Who gets a turn, with reviews that the test ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{OF_ADDRESS_MAX, REVIEWS_MAX, Said, Turns, WAITING_MAX};
use crate::access::Refusal;
use crate::access::review::{Away, Later};
use crate::tests::until;

/// Reviews wait for the gate.
struct Desk {
    turns: Turns<String>,
    gate: Semaphore,
    begun: AtomicUsize,
}

type Asked = JoinHandle<Result<Said<String>, Later>>;

impl Desk {
    fn new() -> Arc<Desk> {
        Arc::new(Desk { turns: Turns::new(), gate: Semaphore::new(0), begun: AtomicUsize::new(0) })
    }

    /// A true token names somebody; `away` finds no API server.
    fn ask(self: &Arc<Self>, token: &str, from: IpAddr) -> Asked {
        let (desk, token) = (Arc::clone(self), token.to_owned());
        tokio::spawn(async move {
            let review = async {
                desk.begun.fetch_add(1, Ordering::Relaxed);
                desk.gate.acquire().await.expect("it stays open").forget();
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

#[tokio::test]
async fn who_makes_up_tokens_at_one_address_holds_up_nobody_else() {
    let desk = Desk::new();
    let made_up: Vec<Asked> = (0..100).map(|number| desk.ask(&format!("made-up-{number}"), address(0))).collect();
    until("its few are asked about", || desk.begun() == OF_ADDRESS_MAX).await;
    // Another one has a turn at once, and so has one more.
    let true_ones = [desk.ask("true-1", address(1)), desk.ask("true-2", address(2))];
    until("they have turns", || desk.begun() == OF_ADDRESS_MAX + 2).await;
    desk.gate.add_permits(OF_ADDRESS_MAX + 2);
    for (asked, expected) in true_ones.into_iter().zip(["true-1", "true-2"]) {
        assert_eq!(said(asked).await, Ok(Ok(expected.to_owned())));
    }
    let mut counts = (0, 0);
    for asked in made_up {
        match said(asked).await {
            Ok(Err(Refusal::Token)) => counts.0 += 1,
            Err(Later::Crowded) => counts.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, (OF_ADDRESS_MAX, 100 - OF_ADDRESS_MAX));
    assert_eq!(desk.waiting(), (0, 0), "every place was given up");
}

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[test]
fn one_address_never_has_half_of_the_turns() {
    const { assert!(2 * OF_ADDRESS_MAX < REVIEWS_MAX) };
}
