//! Releases that nobody notices: every instance of a service is replaced under load, and lanes are switched under load. `./x
//! resilience` plays them at length and prints its figures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use laneway_tests::switches::{Scale, play};

use crate::frames::{END_HEADERS, END_STREAM, HEADERS, Outcome, Peer, block, field, get};
use crate::instance::{Asker, DEADLINE, Front, Instance, endpoint};

/// Connections that ask as fast as they are answered.
const CLIENTS: usize = 8;
const GRAY: &str = "x-mse-tag: gray\r\n";

fn setting(name: &str, otherwise: usize) -> usize {
    let Ok(text) = std::env::var(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
}

/// What came of a load.
#[derive(Default)]
struct Tally {
    requests: usize,
    /// How often each instance answered.
    bodies: BTreeMap<String, usize>,
    lost: Vec<String>,
}

/// Asks GET and POST in turn, while `work` runs and until so many were asked; `work` is given the count of what was asked.
fn under_load(front: &Front, headers: &'static str, requests: usize, work: impl FnOnce(&AtomicUsize)) -> Tally {
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ask = || {
        let mut asker = Asker::new(front.address);
        let mut tally = Tally::default();
        while !stop.load(Ordering::Relaxed) || asked.load(Ordering::Relaxed) < requests {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let method = if number % 2 == 0 { Asker::get } else { Asker::post };
            tally.requests += 1;
            match method(&mut asker, "/", headers) {
                Ok(said) if said.status == 200 => *tally.bodies.entry(said.body).or_default() += 1,
                Ok(said) => tally.lost.push(format!("request {number}: {said:?}")),
                Err(error) => tally.lost.push(format!("request {number}: {error}")),
            }
        }
        tally
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        work(&asked);
        stop.store(true, Ordering::Relaxed);
        let mut whole = Tally::default();
        for client in clients {
            let tally = client.join().expect("no client panics");
            whole.requests += tally.requests;
            whole.lost.extend(tally.lost);
            for (body, count) in tally.bodies {
                *whole.bodies.entry(body).or_default() += count;
            }
        }
        whole
    })
}

/// Waits until so many more were asked.
fn after(asked: &AtomicUsize, more: usize) {
    let wanted = asked.load(Ordering::Relaxed) + more;
    let reached = || (asked.load(Ordering::Relaxed) >= wanted).then_some(());
    laneway_tests::process::wait_for(DEADLINE, reached).expect("the load goes on");
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures, for who asks with --nocapture")]
fn every_instance_is_replaced_under_load_and_no_request_is_lost() {
    let (requests, rounds) = (setting("LANEWAY_REQUESTS", 4_000), setting("LANEWAY_ROUNDS", 1));
    for announced in [true, false] {
        for round in 1..=rounds {
            let mut instances: Vec<_> = ["A", "B", "C"].map(Instance::start).into();
            let all = |instances: &[Instance], draining: Option<usize>| -> Vec<String> {
                let more = |index| if draining == Some(index) { ", state: draining" } else { "" };
                instances.iter().enumerate().map(|(index, instance)| endpoint(instance, more(index))).collect()
            };
            let front = Front::start("rolling", &all(&instances, None), "");
            let begun = Instant::now();
            let share = requests / 8;
            let tally = under_load(&front, "", requests, |asked| {
                for index in 0..instances.len() {
                    after(asked, share);
                    if announced {
                        front.rewrite(&all(&instances, Some(index)), "");
                    }
                    instances[index].stop();
                    after(asked, share);
                    instances[index].start_again();
                    if announced {
                        front.rewrite(&all(&instances, None), "");
                    }
                }
                after(asked, share);
            });
            println!(
                "rolling restart of 3, {}, round {round}: {} of {} lost in {:.1?}, {} retries, {:?}",
                if announced { "announced" } else { "unannounced" },
                tally.lost.len(),
                tally.requests,
                begun.elapsed(),
                front.metric("laneway_retries_total", ""),
                tally.bodies,
            );
            assert!(tally.lost.is_empty(), "{:?}: {}", &tally.lost[..tally.lost.len().min(5)], front.process.log());
        }
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures, for who asks with --nocapture")]
fn lanes_are_switched_under_load_and_kept_connections_follow_at_once() {
    let switches = setting("LANEWAY_SWITCHES", 10);
    let (base, gray) = (Instance::start("base"), Instance::start("gray"));
    let endpoints = [endpoint(&base, ""), endpoint(&gray, ", tag: gray")];
    let lane = |is_on: bool| format!("---\nkind: Lane\nname: gray\nenabled: {is_on}\n");
    let front = Front::start("switches", &endpoints, &lane(true));
    // Connections that were there before: one of each version, each asking after every switch.
    let mut kept = Asker::new(front.address);
    let mut streams = Peer::connect(front.address, &[]);
    let mut next_stream = 1;
    let begun = Instant::now();
    let tally = under_load(&front, GRAY, 0, |asked| {
        for switch in 0..switches {
            let is_on = switch % 2 == 1;
            front.rewrite(&endpoints, &lane(is_on));
            // In force is in force: of what is asked from here on nothing follows the version before.
            let (heard_base, heard_gray) = (base.heard(), gray.heard());
            assert_eq!(kept.get("/", GRAY).expect("it is answered").body, if is_on { "gray" } else { "base" });
            let mut head = get("/");
            head.push(field("x-mse-tag", "gray"));
            drop(streams.send(HEADERS, END_HEADERS | END_STREAM, next_stream, &block(&head)));
            assert_eq!(streams.outcome(next_stream), Outcome::Answer(200));
            next_stream += 2;
            after(asked, 4 * CLIENTS);
            let (more_base, more_gray) = (base.heard() - heard_base, gray.heard() - heard_gray);
            // What ran at the moment of the switch may still arrive: at most one of each client.
            let strays = if is_on { more_base } else { more_gray };
            assert!(strays <= CLIENTS, "switch {switch}: {more_base} at base, {more_gray} at gray");
        }
    });
    println!(
        "{switches} switches: {} of {} lost in {:.1?}, {:?}",
        tally.lost.len(),
        tally.requests,
        begun.elapsed(),
        tally.bodies
    );
    assert!(tally.lost.is_empty(), "{:?}: {}", &tally.lost[..tally.lost.len().min(5)], front.process.log());
    assert_eq!(tally.bodies.keys().map(String::as_str).collect::<Vec<_>>(), ["base", "gray"]);
}

/// Each service hears of a switch later than those that call it: what a switch takes to spread, made long enough to see.
#[test]
#[allow(clippy::print_stdout, reason = "the figures, for who asks with --nocapture")]
fn a_lane_is_switched_under_load_and_no_request_of_a_chain_goes_through_two_versions() {
    let scale = Scale {
        switches: u32::try_from(setting("LANEWAY_SWITCHES", 6)).expect("a count"),
        rate: 200,
        connections: 8,
        gates: 2,
        hold: Duration::from_millis(400),
        services: &["a", "b", "c"],
        lag: Duration::from_millis(40),
    };
    let report = play("one-version", &scale).expect("it is played");
    let (lost, late, mixed) = (&report.lost, &report.late, &report.mixed);
    println!(
        "{} switches, {} requests: {} lost, {} late, {} mixed",
        report.switches.len(),
        report.requests,
        lost.len(),
        late.len(),
        mixed.len()
    );
    // The first is late by the lag, both ways: the switch was not with everybody at once.
    let slowest = report.switches.iter().map(|switch| switch.off_answered).max().unwrap_or_default();
    assert!(slowest > scale.lag, "no sidecar heard later than another");
    assert!(lost.is_empty() && late.is_empty() && mixed.is_empty(), "{report:#?}");
}
