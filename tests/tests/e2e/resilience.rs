//! Instances that fail, and callers who pay nothing for it: time limits, other instances, those that are left alone, places.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use laneway_tests::fault_relay::{Fault, Relay};
use laneway_tests::process::{signal, wait_for};

use crate::instance::{Asker, DEADLINE, Front, Instance, Said, endpoint};

const GRAY: &str = "x-mse-tag: gray\r\n";

fn policy(says: &str) -> String {
    format!("---\nkind: ServicePolicy\nname: b\n{says}\n")
}

/// What so many requests were answered.
fn tally(asker: &mut Asker, count: usize, headers: &str) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..count {
        let words = match asker.get("/", headers) {
            Ok(Said { status, body, .. }) => format!("{status} {body}"),
            Err(error) => error,
        };
        *tally.entry(words).or_default() += 1;
    }
    tally
}

#[test]
fn a_request_has_the_time_that_its_path_is_given() {
    let instance = Instance::start("A");
    // The other paths have longer than anybody here waits.
    let limits = "timeouts: {default: 120s, paths: {/silent: 200ms}, idle: 5s}";
    let front = Front::start("timeouts", &[endpoint(&instance, "")], &policy(limits));
    let mut asker = Asker::new(front.address);
    let late = asker.get("/silent", "").expect("it is answered");
    assert_eq!((late.status, late.error.as_str()), (504, "request-timeout service=b"));
    let body = asker.get("/slow", "").expect("it is answered").body;
    assert_eq!(body, "A", "half a second is more than another path has");
    assert_eq!(asker.get("/", "").expect("it is answered").body, "A", "the connection goes on");
    // An answer that has begun and stands still is cut, so that it is not taken for whole.
    let mut stream = std::net::TcpStream::connect(front.address).expect("the sidecar listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream.write_all(b"GET /stream HTTP/1.1\r\nhost: sc-b\r\n\r\n").expect("the sidecar reads");
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.ends_with("5\r\nbegun\r\n"), "{heard:?}");
    assert_eq!(front.metric_when("laneway_failures_total", "request-timeout", 1), 1);
    assert_eq!(front.metric_when("laneway_failures_total", "idle-timeout", 1), 1);
}

#[test]
fn an_instance_that_is_gone_costs_no_request_and_is_left_alone_after_a_few() {
    let (stays, mut goes) = (Instance::start("A"), Instance::start("B"));
    // For longer than this test lasts.
    let left_alone = policy("outlierDetection: {baseEjection: 5m}");
    let front = Front::start("gone", &[endpoint(&stays, ""), endpoint(&goes, "")], &left_alone);
    let mut asker = Asker::new(front.address);
    let both = tally(&mut asker, 100, "");
    assert_eq!(both.keys().collect::<Vec<_>>(), ["200 A", "200 B"], "{both:?}");
    goes.stop();
    assert_eq!(tally(&mut asker, 100, ""), BTreeMap::from([("200 A".to_owned(), 100)]), "{}", front.process.log());
    for _ in 0..20 {
        assert_eq!(asker.post("/", "").expect("it is answered").body, "A", "nothing was sent, so a POST goes on too");
    }
    assert_eq!(front.metric_when("laneway_retries_total", "connect", 5), 5, "then it is left alone");
    assert_eq!(front.metric("laneway_endpoints_ejected", "baseline"), 1);
    // The other one goes while this one, back already, is still left alone: it is better than nobody.
    goes.start_again();
    let mut stays = stays;
    stays.stop();
    assert_eq!(tally(&mut asker, 50, ""), BTreeMap::from([("200 B".to_owned(), 50)]), "{}", front.process.log());
    assert_eq!(front.metric("laneway_failures_total", ""), 0);
}

/// As of a process that ends between taking a connection and reading from it.
#[test]
fn an_instance_that_hangs_up_without_a_word_costs_only_what_must_not_be_done_twice() {
    for fault in [Fault::EndAfter(0), Fault::ResetAfter(0)] {
        let (stays, goes) = (Instance::start("A"), Instance::start("B"));
        let relay = Relay::start(goes.address, fault).expect("loopback has free ports");
        let endpoints = [endpoint(&stays, ""), format!("{{address: '{}'}}", relay.address)];
        let never_out = policy("outlierDetection: {consecutiveFailures: 0}\nretry: {budget: 100%}");
        let front = Front::start("hangs-up", &endpoints, &never_out);
        let mut asker = Asker::new(front.address);
        let answers = tally(&mut asker, 20, "");
        assert_eq!(answers, BTreeMap::from([("200 A".to_owned(), 20)]), "{fault:?}: {}", front.process.log());
        assert!(front.metric("laneway_retries_total", "unprocessed") > 0, "{fault:?}");
        if fault == Fault::EndAfter(0) {
            // It may have been done before the end: nobody can tell. A reset may come so early that it certainly was not.
            let posts: Vec<_> = (0..20).map(|_| asker.post("/", "").expect("it is answered").status).collect();
            assert!(posts.contains(&502) && posts.iter().all(|status| [200, 502].contains(status)), "{posts:?}");
        }
    }
}

#[test]
fn a_lane_whose_instances_are_gone_falls_back_and_a_strict_one_does_not() {
    for (fallback, expected) in
        [("", "200 base".to_owned()), ("fallback: {mode: strict}", "503 connect service=b".to_owned())]
    {
        let (base, mut gray) = (Instance::start("base"), Instance::start("gray"));
        let lane = format!("---\nkind: Lane\nname: gray\n{fallback}\n");
        let front = Front::start("lane", &[endpoint(&base, ""), endpoint(&gray, ", tag: gray")], &lane);
        let mut asker = Asker::new(front.address);
        assert_eq!(asker.get("/", GRAY).expect("it is answered").body, "gray");
        gray.stop();
        let said = tally(&mut asker, 4, GRAY);
        assert_eq!(said, BTreeMap::from([(expected, 4)]), "{fallback}: {}", front.process.log());
        let due = if fallback.is_empty() { 4 } else { 0 };
        let fallbacks = front.metric_when("laneway_requests_total", "why=\"fallback_unhealthy\"", due);
        assert_eq!(fallbacks, due, "{fallback}");
    }
}

#[test]
fn gateway_errors_are_tried_elsewhere_where_the_policy_says_so_and_that_does_no_harm() {
    let (good, bad) = (Instance::start("good"), Instance::start("bad"));
    bad.says(503);
    let retry = policy("retry: {causes: [gatewayError], budget: 100%}\noutlierDetection: {consecutiveFailures: 0}");
    let front = Front::start("gateway", &[endpoint(&good, ""), endpoint(&bad, "")], &retry);
    let mut asker = Asker::new(front.address);
    assert_eq!(tally(&mut asker, 40, ""), BTreeMap::from([("200 good".to_owned(), 40)]));
    let posts: Vec<_> = (0..60).map(|_| asker.post("/", "").expect("it is answered").status).collect();
    assert!(posts.contains(&200) && posts.contains(&503), "a POST is never done twice: {posts:?}");
    good.says(503);
    let said = tally(&mut asker, 10, "");
    assert!(said.keys().all(|words| words.starts_with("503 ")), "the last answer is the client's: {said:?}");
}

#[test]
fn a_budget_bounds_what_is_tried_again() {
    let (good, bad) = (Instance::start("good"), Instance::start("bad"));
    bad.says(503);
    let retry = policy("retry: {causes: [gatewayError], budget: 0%}\noutlierDetection: {consecutiveFailures: 0}");
    let front = Front::start("budget", &[endpoint(&good, ""), endpoint(&bad, "")], &retry);
    let mut asker = Asker::new(front.address);
    let said = tally(&mut asker, 100, "");
    assert!(said.get("503 bad").is_some_and(|failed| *failed > 10), "{said:?}");
    let retries = front.metric("laneway_retries_total", "gateway_error");
    assert!((1..100).contains(&retries), "a few in any window of ten seconds: {retries}");
    assert!(front.metric("laneway_retries_refused_total", "") > 0);
}

#[test]
fn a_sick_lane_falls_back_as_a_whole_and_comes_back() {
    let (base, gray) = (Instance::start("base"), Instance::start("gray"));
    gray.says(503);
    let more = format!("---\nkind: Lane\nname: gray\n{}", policy("outlierDetection: {baseEjection: 20s}"));
    let front = Front::start("sick", &[endpoint(&base, ""), endpoint(&gray, ", tag: gray")], &more);
    let mut asker = Asker::new(front.address);
    let said: Vec<_> = (0..8).map(|_| asker.get("/", GRAY).expect("it is answered").body).collect();
    assert_eq!(said, ["gray", "gray", "gray", "gray", "gray", "base", "base", "base"]);
    assert_eq!(front.metric("laneway_ejections_total", "tag=\"gray\""), 1);
    gray.says(200);
    let is_back = || (asker.get("/", GRAY).expect("it is answered").body == "gray").then_some(());
    // Its twenty seconds, and ten more in which it has to be well.
    assert!(wait_for(4 * DEADLINE, is_back).is_some(), "{}", front.process.log());
    // The last instance of baseline is never left alone.
    base.says(503);
    assert_eq!(tally(&mut asker, 20, ""), BTreeMap::from([("503 base".to_owned(), 20)]));
    assert_eq!(front.metric("laneway_endpoints_ejected", "baseline"), 0);
}

#[test]
fn who_finds_neither_place_nor_room_to_wait_is_told_at_once() {
    let instance = Instance::start("A");
    let limits = policy("limits: {maxRequests: 1, maxQueued: 1}");
    let front = Front::start("limits", &[endpoint(&instance, "")], &limits);
    let ask = |path: &'static str| {
        let to = front.address;
        thread::spawn(move || Asker::new(to).get(path, "").expect("it is answered"))
    };
    let _running = ask("/silent");
    wait_for(DEADLINE, || (instance.heard() == 1).then_some(())).expect("the only place is taken");
    let mut others = [ask("/"), ask("/")];
    let done = || others.iter().position(|other| other.is_finished());
    let refused = wait_for(DEADLINE, done).expect("one of them waits, and the other finds no room");
    let refused = std::mem::replace(&mut others[refused], ask("/")).join().expect("it does not panic");
    assert_eq!((refused.status, refused.error.as_str()), (503, "overflow service=b"));
    assert_eq!(instance.heard(), 1, "who waits is not sent");
}

/// A machine that is paused, or a process that is stopped: all its calls are late at once, and no instance is to blame.
#[test]
fn what_is_late_because_the_sidecar_stood_still_counts_against_nobody() {
    // Until it is stopped there is time to get everywhere, and it is stopped for longer than that.
    for (limit, is_stopped) in [(10, true), (1, false)] {
        let rules = format!("timeouts: {{default: {limit}s}}\noutlierDetection: {{consecutiveFailures: 2}}");
        let (one, other) = (Instance::start("A"), Instance::start("B"));
        let front = Front::start("stopped", &[endpoint(&one, ""), endpoint(&other, "")], &policy(&rules));
        let mut askers: Vec<_> = (0..12).map(|_| Asker::new(front.address)).collect();
        let mut all_are_late = || {
            for asker in &mut askers {
                asker.send("GET /silent HTTP/1.1\r\nhost: sc-b\r\n\r\n").expect("the sidecar reads");
            }
            if is_stopped {
                let heard = || (one.heard() + other.heard() == 12).then_some(());
                wait_for(DEADLINE, heard).expect("all are with the instances");
                signal(front.process.id(), libc::SIGSTOP);
                // This is the time that is missing to it.
                thread::sleep(Duration::from_secs(limit + 4));
                signal(front.process.id(), libc::SIGCONT);
            }
            for asker in &mut askers {
                let said = asker.hear().expect("it is answered");
                assert_eq!(said.error, "request-timeout service=b");
            }
            front.metric("laneway_ejections_total", "baseline")
        };
        if is_stopped {
            assert_eq!(all_are_late(), 0, "{}", front.process.log());
        } else {
            // On a machine that stands still by itself, not at the first time.
            let is_out = wait_for(DEADLINE, || (all_are_late() > 0).then_some(()));
            assert!(is_out.is_some(), "{}", front.process.log());
        }
    }
}
