//! Makes one decision again and again: `decide_counts CASE TIMES`. tests/load/decide.py runs it under callgrind, twice; what
//! the two runs differ by is what a decision costs.

use std::hint::black_box;

use laneway_core::decide::{InFlight, Load, Scratch, decide_inbound, decide_outbound};
use laneway_core::snapshot::EndpointAddr;
use laneway_core::why::{TagSource, Why};

use crate::large::{Request, user};

#[path = "../tests/world/large.rs"]
mod large;

const RULES: usize = 1_000;
const VALUES: usize = 100_000;
const FEW_VALUES: usize = 100;
/// The port of the application.
const PORT: u16 = 8080;
const VIRTUAL_IP_OF_B: ([u8; 4], u16) = ([10, 96, 0, 2], 80);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [case, times] = arguments.as_slice() else { panic!("decide_counts CASE TIMES") };
    let times: u32 = times.parse().expect("TIMES is a number");
    match case.as_str() {
        "inbound_rules" => inbound(RULES, FEW_VALUES, &Request::new("nobody", None), TagSource::None, times),
        "inbound_list_100" => {
            inbound(0, FEW_VALUES, &Request::new(&user(FEW_VALUES - 1), None), TagSource::Rule, times)
        }
        "inbound_list_100000" => inbound(0, VALUES, &Request::new(&user(VALUES - 1), None), TagSource::Rule, times),
        "inbound_carried" => {
            let request = Request::new("nobody", Some(("x-mse-tag", "gray")));
            inbound(RULES, FEW_VALUES, &request, TagSource::Carried, times);
        }
        "outbound_hit" => outbound("gray", Why::Hit, times),
        "outbound_fallback" => outbound("lane0", Why::FallbackAbsent, times),
        other => panic!("no case {other:?}"),
    }
}

fn inbound(rules: usize, values: usize, request: &Request, expected: TagSource, times: u32) {
    let snapshot = large::snapshot(rules, values);
    let mut scratch = Scratch::new(1);
    for _ in 0..times {
        let facts = black_box(request).facts();
        let decision = decide_inbound(&snapshot, &facts, PORT, None, &Idle, &mut scratch);
        assert_eq!(black_box(decision).source, expected);
    }
}

fn outbound(tag: &str, expected: Why, times: u32) {
    // Entry rules are not asked here.
    let snapshot = large::snapshot(0, FEW_VALUES);
    let mut scratch = Scratch::new(1);
    let request = Request::new("nobody", Some(("x-mse-tag", tag)));
    let evidence = InFlight::default();
    for _ in 0..times {
        let facts = black_box(&request).facts();
        let destination = snapshot.destination(Some(VIRTUAL_IP_OF_B.into()), None, None);
        let decision = decide_outbound(&snapshot, &destination, &facts, &evidence, &Idle, &mut scratch);
        assert_eq!(black_box(decision).expect("b is known").why, expected);
    }
}

/// Nothing is outstanding, nobody is ejected.
struct Idle;

impl Load for Idle {
    fn outstanding(&self, _endpoint: EndpointAddr) -> u32 {
        0
    }

    fn is_ejected(&self, _endpoint: EndpointAddr) -> bool {
        false
    }

    fn has_ejected(&self) -> bool {
        false
    }
}
