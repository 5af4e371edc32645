//! What is recorded of a call, and what a flood of refused ones becomes.

use std::time::{Duration, SystemTime};

use laneway_proto::admin::AuditEvent;

use super::{COLLECTED_EACH_MAX, COLLECTED_MAX, Call, Trail, UNSAVED_MAX, id, read};

fn call(resource: &str) -> Call {
    Call {
        principal: "user:alice".to_owned(),
        remote_address: "10.0.0.1:5".to_owned(),
        method: "laneway.admin.v1.LaneAdmin/EnableLane",
        resource: resource.to_owned(),
        reason: "why".to_owned(),
        ..Call::default()
    }
}

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

fn taken(trail: &Trail) -> Vec<AuditEvent> {
    trail.take().iter().map(|record| read(record).expect("it was written here")).collect()
}

#[test]
fn ids_grow_though_the_clock_does_not() {
    let trail = Trail::default();
    let times = [5000, 5000, 5000, 4000, 0, 5001, 9000];
    let random = [7, u128::MAX, 0, u128::MAX, 3, 0, 1];
    let records = times.iter().zip(random).map(|(ms, random)| trail.committed(&call("x"), 1, at(*ms), random));
    let ids: Vec<String> = records.map(|record| record.id).collect();
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    assert!(ids.iter().all(|id| id.len() == 26), "{ids:?}");
    // The layout of a ULID: its first ten digits are the time.
    assert_eq!(trail.committed(&call("x"), 1, at(1_469_918_176_385), 0).id[..10], *"01ARYZ6S41");
}

#[test]
fn a_committed_call_tells_its_revision_and_a_refused_one_its_reason() {
    let trail = Trail::default();
    let record = trail.committed(&call("lane"), 7, at(1), 0);
    let event = read(&record).expect("it was written here");
    assert_eq!((event.revision, event.status_code, event.principal.as_str()), (7, 0, "user:alice"));
    assert_eq!((id(&event.name), event.reason.as_str()), (record.id.as_str(), "why"));
    assert!(trail.take().is_empty(), "what was committed is not recorded twice");

    assert!(trail.refused(&call("lane"), 7, "may not", at(2), 0), "somebody has to flush it");
    let [event] = taken(&trail).try_into().expect("one");
    assert_eq!((event.revision, event.status_code, event.status_message.as_str()), (0, 7, "may not"));
    assert_eq!(event.remote_address, "10.0.0.1:5");
}

#[test]
fn alike_ones_are_one_record_and_too_many_are_counted() {
    let trail = Trail::default();
    for _ in 0..5 {
        trail.refused(&call("lane"), 7, "may not", at(1), 0);
    }
    trail.refused(&call("other"), 7, "may not", at(1), 0);
    let messages: Vec<String> = taken(&trail).into_iter().map(|event| event.status_message).collect();
    assert_eq!(messages, ["may not (and 4 more such calls)", "may not"]);

    // One who is refused again and again leaves room for the others.
    let of = |principal: String, number: usize| Call { principal, ..call(&number.to_string()) };
    let one = (0..100).filter(|number| trail.refused(&of("user:eve".to_owned(), *number), 3, "no", at(1), 0));
    assert_eq!(one.count(), 1, "one flush is enough");
    for number in 0..COLLECTED_MAX {
        trail.refused(&of(format!("user:{number}"), 0), 3, "no", at(1), 0);
    }
    let events = taken(&trail);
    let of_eve = events.iter().filter(|event| event.principal == "user:eve").count();
    assert_eq!((events.len(), of_eve), (COLLECTED_MAX, COLLECTED_EACH_MAX));
    // 84 of one, and of 256 others the 16 that came when all places were taken.
    let last = "no (and 100 other refused calls, not recorded)";
    assert_eq!(events.last().expect("many").status_message, last);
    assert!(trail.take().is_empty());
}

#[test]
fn a_record_is_never_large() {
    let trail = Trail::default();
    let long = "ä".repeat(100_000);
    let call = Call { resource: long.clone(), reason: long.clone(), request_id: long.clone(), ..call("") };
    trail.refused(&call, 3, &long, at(1), 0);
    let [record] = trail.take().try_into().expect("one");
    assert!(record.body.len() < 4096, "{}", record.body.len());
}

#[test]
fn what_could_not_be_stored_comes_again_before_the_rest_and_is_bounded() {
    let trail = Trail::default();
    trail.refused(&call("first"), 14, "the store is away", at(1), 0);
    let records = trail.take();
    assert_eq!(trail.put_back(records.clone()), 0);
    trail.refused(&call("second"), 14, "the store is away", at(2), 0);
    let again = trail.take();
    assert_eq!((again.len(), &again[0]), (2, &records[0]), "by the same id, so that it is there once");
    assert!(trail.take().is_empty());
    for round in 0..UNSAVED_MAX + 3 {
        assert_eq!(trail.put_back(records.clone()), usize::from(round >= UNSAVED_MAX));
    }
    assert_eq!(trail.take().len(), UNSAVED_MAX);
}
