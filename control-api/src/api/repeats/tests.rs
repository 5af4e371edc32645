//! What a repeated call gets, and what is kept for it.

use std::future::{pending, ready};
use std::time::{Duration, Instant};

use laneway_proto::admin::{DeleteLaneRequest, Lane};
use tonic::{Code, Status};

use super::{Bound, KEPT_FOR, Once, Repeats};
use crate::reconcile::audit::Call;

const ID: &str = "9f1c0a52-6d0e-4b5e-8f3a-2d1e7c9b0a64";

fn repeats(calls: usize, bytes: usize) -> Repeats {
    Repeats::new(Bound { calls, bytes })
}

fn call(repeats: &Repeats, who: &str, id: &str, name: &str, now: Instant) -> Result<Once, Status> {
    let request = DeleteLaneRequest { name: name.to_owned(), ..DeleteLaneRequest::default() };
    let call = Call {
        principal: who.to_owned(),
        request_id: id.to_owned(),
        method: "laneway.admin.v1.LaneAdmin/DeleteLane",
        ..Call::default()
    };
    repeats.call(&call, &request, now)
}

fn lane(description: &str) -> Lane {
    Lane { description: description.to_owned(), ..Lane::default() }
}

async fn done(call: Once, description: &str) -> String {
    call.run(ready(Ok(lane(description)))).await.expect("it is done").description
}

#[tokio::test]
async fn a_repeated_call_gets_the_first_answer_for_an_hour() {
    let (repeats, now) = (repeats(10, 1000), Instant::now());
    assert_eq!(done(call(&repeats, "a", ID, "x", now).expect("taken"), "first").await, "first");
    let almost = now + KEPT_FOR - Duration::from_secs(1);
    assert_eq!(done(call(&repeats, "a", &ID.to_uppercase(), "x", almost).expect("taken"), "again").await, "first");
    assert_eq!(done(call(&repeats, "b", ID, "x", now).expect("taken"), "of b").await, "of b");
    let other = call(&repeats, "a", ID, "y", now).err().expect("another request");
    assert!(other.code() == Code::InvalidArgument && other.message().contains("request_id"), "{other}");
    assert_eq!(done(call(&repeats, "a", ID, "x", now + KEPT_FOR).expect("taken"), "new").await, "new");
}

#[tokio::test]
async fn a_repetition_waits_for_the_first_and_takes_its_place_when_it_fails() {
    let (repeats, now) = (repeats(10, 1000), Instant::now());
    for (first, expected) in [(Ok(lane("first")), "first"), (Err(Status::unavailable("away")), "second")] {
        let [one, two] = [(); 2].map(|()| call(&repeats, "a", ID, "x", now).expect("taken"));
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let first = tokio::spawn(one.run(async move {
            wait.await.expect("told to go on");
            first
        }));
        tokio::task::yield_now().await;
        let second = tokio::spawn(two.run(ready(Ok(lane("second")))));
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        go.send(()).expect("it waits");
        let _ = first.await.expect("no panic");
        assert_eq!(second.await.expect("no panic").expect("it is done").description, expected);
        repeats.calls().forget_old(now + KEPT_FOR);
    }
}

#[tokio::test]
async fn what_failed_is_forgotten() {
    let (repeats, now) = (repeats(10, 1000), Instant::now());
    let failing = call(&repeats, "a", ID, "x", now).expect("taken");
    failing.run(ready(Err::<Lane, _>(Status::aborted("stale")))).await.expect_err("it fails");
    // The same id, for the request put right.
    assert_eq!(done(call(&repeats, "a", ID, "y", now).expect("taken"), "right").await, "right");
    let dropped = call(&repeats, "a", "other", "x", now).expect("taken");
    drop(dropped);
    let calls = repeats.calls();
    assert_eq!((calls.entries.len(), calls.order.len()), (1, 1));
}

#[tokio::test]
async fn no_more_is_kept_than_the_bound_says() {
    let (few, now) = (repeats(2, 1000), Instant::now());
    for id in ["1", "2", "3"] {
        done(call(&few, "a", id, "x", now).expect("taken"), id).await;
    }
    assert_eq!(done(call(&few, "a", "1", "x", now).expect("taken"), "new").await, "new");
    assert_eq!(done(call(&few, "a", "3", "x", now).expect("taken"), "new").await, "3");
    assert_eq!(few.calls().entries.len(), 2);

    let small = repeats(10, 100);
    for id in ["1", "2", "3"] {
        done(call(&small, "a", id, "x", now).expect("taken"), &"x".repeat(60)).await;
    }
    let (kept, bytes) = {
        let calls = small.calls();
        (calls.entries.len(), calls.bytes)
    };
    assert!(kept == 1 && bytes <= 100, "{kept} calls, {bytes} bytes");

    // Calls that run are never forgotten; one more is refused.
    let busy = repeats(1, 100);
    let running = tokio::spawn(call(&busy, "a", "1", "x", now).expect("taken").run(pending::<Result<Lane, _>>()));
    let refusal = call(&busy, "a", "2", "x", now).err().expect("no room");
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    running.abort();
    let _ = running.await;
    assert_eq!(done(call(&busy, "a", "2", "x", now).expect("room again"), "2").await, "2");
}
