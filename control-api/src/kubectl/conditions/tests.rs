use std::time::{Duration, SystemTime};

use laneway_proto::admin::{Diagnostic, Lane, ServiceCoverage};
use laneway_proto::status::Rollout;
use serde_json::{Value, json};

use super::{Reported, is_recount, status};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_500 + seconds * 1000)
}

fn condition<'v>(status: &'v Value, kind: &str) -> &'v Value {
    let all = status["conditions"].as_array().expect("there are some");
    all.iter().find(|own| own["type"] == kind).unwrap_or(&Value::Null)
}

fn coverage(ready: &[(&str, u32)]) -> Vec<ServiceCoverage> {
    let own = ready.iter().map(|(service, ready)| ServiceCoverage {
        service: format!("namespaces/default/services/{service}"),
        ready_endpoints: *ready,
        ..ServiceCoverage::default()
    });
    own.collect()
}

#[test]
fn the_columns_of_a_lane_say_what_is_in_force() {
    let lane = Lane { tag: "gray".to_owned(), enabled: Some(true), ..Lane::default() };
    let rollout = Rollout { target_count: 5, acked_count: 4, pending_count: 1, ..Rollout::default() };
    let coverage = coverage(&[("a", 1), ("b", 0), ("c", 2)]);
    let reported = Reported {
        generation: 3,
        refused: None,
        revision: 7,
        lane: Some(&lane),
        policy: None,
        in_force: None,
        rollout: Some(&rollout),
        coverage: &coverage,
    };
    let first = status(&reported, &Value::Null, at(0));
    let columns = ["tag", "enabled", "covered", "acked", "state", "revision"].map(|own| first[own].clone());
    assert_eq!(columns, [json!("gray"), json!(true), json!("2/3"), json!("4/5"), json!("enabled"), json!(7)]);
    assert_eq!(condition(&first, "Accepted")["status"], "True");
    assert_eq!(condition(&first, "Programmed")["reason"], "Pending");
    let covered = condition(&first, "Covered");
    assert_eq!(covered["message"], "2 of 3 services have an instance of the lane that is ready; not b");
    // Nothing new: nothing is written, however late it is.
    assert_eq!(status(&reported, &first, at(60)), first);
    // What turns round has a new time, the rest the old one.
    let done = Rollout { target_count: 5, acked_count: 5, done: true, ..Rollout::default() };
    let second = status(&Reported { rollout: Some(&done), ..reported }, &first, at(60));
    assert_eq!(condition(&second, "Programmed")["lastTransitionTime"], "2030-03-17T17:47:40Z");
    assert_eq!(condition(&second, "Accepted"), condition(&first, "Accepted"));
}

#[test]
fn a_refused_spec_says_why_and_what_holds_instead() {
    let finding = Diagnostic {
        code: "LANE0301".to_owned(),
        field: "entry.rules[0].match.regex".to_owned(),
        message: "it does not compile".to_owned(),
        help: "close the bracket".to_owned(),
        ..Diagnostic::default()
    };
    let findings = [finding];
    let reported = Reported {
        generation: 2,
        refused: Some(&findings),
        revision: 4,
        lane: None,
        policy: None,
        in_force: Some("{}".to_owned()),
        rollout: None,
        coverage: &[],
    };
    let before = json!({"acked": "1/1"});
    let found = status(&reported, &before, at(0));
    let accepted = condition(&found, "Accepted");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("LANE0301")));
    assert_eq!(
        accepted["message"],
        "entry.rules[0].match.regex: it does not compile (close the bracket). What was accepted with revision 4 stays in force"
    );
    // What is in force is held beside the spec that is not.
    assert_eq!(found["inForce"], "{}");
    // What is no longer so is taken away from what was said.
    assert_eq!(found["acked"], Value::Null);
}

#[test]
fn a_count_that_turns_no_condition_is_a_recount() {
    let lane = Lane { tag: "gray".to_owned(), enabled: Some(true), ..Lane::default() };
    let said = |acked_count: u32, target_count: u32, ready: u32, revision: i64| {
        let (pending_count, done) = (target_count - acked_count, target_count == acked_count);
        let rollout = Rollout { target_count, acked_count, pending_count, done, ..Rollout::default() };
        let coverage = coverage(&[("a", 1), ("b", ready)]);
        let (lane, rollout) = (Some(&lane), Some(&rollout));
        let reported = Reported {
            generation: 3,
            refused: None,
            revision,
            lane,
            policy: None,
            in_force: None,
            rollout,
            coverage: &coverage,
        };
        status(&reported, &Value::Null, at(0))
    };
    let before = said(3, 5, 0, 7);
    let check = |after: Value, is_counted: bool| assert_eq!(is_recount(&after, &before), is_counted, "{after}");
    check(said(4, 5, 0, 7), true);
    check(said(4, 9, 1, 7), true);
    check(said(5, 5, 0, 7), false);
    check(said(4, 5, 0, 8), false);
    // What is to be taken away is said once.
    let mut gone = before.clone();
    gone["expireTime"] = json!("2030-03-17T17:47:40Z");
    assert!(!is_recount(&before, &gone));
}
