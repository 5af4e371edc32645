//! What holds for every configuration and request, tried on drawn ones.

mod world;

use std::collections::BTreeMap;

use laneway_core::decide::{InFlight, Outbound, Scratch, decide_inbound, decide_outbound};
use laneway_core::hop::Hop;
use laneway_core::share;
use laneway_core::snapshot::{Destination, EndpointState, Snapshot};
use laneway_core::tag::RequestTag;
use laneway_core::why::{TagSource, Why};
use proptest::prelude::*;
use world::{Lines, World, facts, own_source, peer_source};

const VIRTUAL_IP_OF_B: ([u8; 4], u16) = ([10, 96, 0, 2], 80);

fn call<'s>(world: &World, snapshot: &'s Snapshot, headers: &Lines, seed: u64) -> Outbound<'s> {
    let destination = snapshot.destination(Some(VIRTUAL_IP_OF_B.into()), None, None);
    assert!(matches!(destination, Destination::Known { .. }));
    let facts = facts(headers, own_source(snapshot));
    let mut scratch = Scratch::new(seed);
    decide_outbound(snapshot, &destination, &facts, &InFlight::default(), &world.load, &mut scratch)
        .expect("b is known")
}

fn entry_world(rules: &str) -> World {
    let documents = format!(
        "kind: Lane\nname: gray\npriority: 9\nentry: {{services: [a], rules: [{rules}]}}\n---\nkind: Lane\nname: blue\n\
         priority: 1\nentry: {{services: [a], rules: [{{name: rest}}]}}\n"
    );
    World::new(&["A".to_owned()], &documents).expect("good documents")
}

fn coloured(world: &World, user: &str, seed: u64) -> String {
    let snapshot = world.snapshot(&world.pod("A").identity);
    let headers = Lines::of(&[("x-user-id", user)]);
    let facts = facts(&headers, peer_source(&snapshot, [192, 0, 2, 1].into()));
    let decision = decide_inbound(&snapshot, &facts, 8080, None, &world.load, &mut Scratch::new(seed));
    assert_eq!(decision.source, TagSource::Rule);
    decision.tag.wire().expect("a rule colours").to_owned()
}

fn instance() -> impl Strategy<Value = String> {
    let tag = prop_oneof![Just(""), Just("gray"), Just("blue"), Just("off")];
    let state = prop_oneof![4 => Just("ready"), 1 => Just("warming"), 1 => Just("draining"), 2 => Just("unhealthy")];
    (tag, state, 1u32..5, prop::bool::weighted(0.2)).prop_map(|(tag, state, weight, ejected)| {
        format!("B{tag} {state} weight={weight}{}", if ejected { " ejected" } else { "" })
    })
}

fn fallback() -> impl Strategy<Value = String> {
    let chain = prop_oneof![Just("[baseline]"), Just("[blue, baseline]"), Just("['off', blue]"), Just("[blue]")];
    let end = prop_oneof![Just("fail"), Just("any")];
    prop_oneof![
        3 => (chain, 0u32..100, 1u32..4, end).prop_map(|(chain, percent, least, end)| {
            format!("{{chain: {chain}, minHealthyPercent: {percent}%, minHealthy: {least}, noBaseline: {end}}}")
        }),
        1 => Just("{mode: strict}".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever runs and whatever is asked: one result, an instance that may be called or a refusal that says why.
    #[test]
    fn a_choice_is_usable_and_says_why(
        mut mesh in prop::collection::vec(instance(), 1..8),
        fallback in fallback(),
        policy in prop::bool::ANY,
        request in prop_oneof![Just(""), Just("gray"), Just("blue"), Just("off"), Just("nobody"), Just("baseline"), Just("B!")],
        seed in any::<u64>(),
    ) {
        mesh.insert(0, "A".to_owned());
        let mut documents = format!(
            "kind: Lane\nname: gray\nfallback: {fallback}\n---\nkind: Lane\nname: 'off'\nenabled: false\n"
        );
        if policy {
            documents.push_str("---\nkind: ServicePolicy\nservice: b\nrules: [{to: [{tag: blue}, {tag: 'off'}, {tag: gray}]}]\n");
        }
        let world = World::new(&mesh, &documents).expect("good documents");
        let snapshot = world.snapshot(&world.pod("A").identity);
        let headers = if request.is_empty() { Lines::default() } else { Lines::of(&[("x-mse-tag", request)]) };
        let outbound = call(&world, &snapshot, &headers, seed);

        // The tag leaves as it came, but for that of a lane that is off; the sidecar there is told of a lane and of nothing else.
        let expected = match request { "" | "B!" => None, tag => Some(tag) };
        prop_assert_eq!(outbound.tag.wire(), expected);
        prop_assert_eq!(outbound.leaves.wire(), if request == "off" { Some("baseline") } else { expected });
        let in_lane = matches!(request, "gray" | "blue" | "nobody") && outbound.endpoint.is_some();
        prop_assert_eq!(outbound.hop.map(Hop::wire), in_lane.then_some("lane=10"));
        let Some(endpoint) = outbound.endpoint else {
            prop_assert!(matches!(outbound.why, Why::StrictReject | Why::NoEndpoint), "{:?}", outbound.why);
            prop_assert!(outbound.why == Why::NoEndpoint || matches!(outbound.tag, RequestTag::Lane(_)));
            return Ok(());
        };
        prop_assert!(matches!(endpoint.state, EndpointState::Ready | EndpointState::Warming));
        prop_assert_eq!(outbound.endpoint_tag, endpoint.tag);
        let tag = endpoint.tag.map(|tag| tag.to_string()).unwrap_or_default();
        prop_assert_ne!(tag.as_str(), "off", "an instance of a lane that is off");
        // Ejected only where ejection would take the last of what serves as the last resort.
        if world.load.ejected.contains(&endpoint.address.0) {
            let others = world.pods.iter().zip(&mesh).filter(|(pod, words)| {
                pod.identity.service == "b"
                    && pod.identity.tag == endpoint.tag
                    && !words.contains("draining")
                    && !words.contains("unhealthy")
                    && !words.contains("ejected")
            });
            prop_assert_eq!(others.count(), 0);
            prop_assert!(tag.is_empty() || outbound.why == Why::Any, "{} by {:?}", tag, outbound.why);
        }
        match outbound.why {
            Why::Hit => prop_assert_eq!(tag.as_str(), request),
            Why::Baseline => prop_assert!(tag.is_empty() && matches!(request, "" | "baseline" | "B!")),
            Why::Policy => prop_assert!(policy),
            Why::FallbackAbsent | Why::FallbackUnhealthy => prop_assert!(matches!(request, "gray" | "blue" | "nobody")),
            Why::LaneOff => prop_assert_eq!(request, "off"),
            Why::Any => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Raising a share only adds callers.
    #[test]
    fn a_share_is_monotone(user in "[a-z0-9]{1,12}", low in 0u32..=10_000, more in 0u32..=10_000) {
        let high = (low + more).min(10_000);
        let rule = |points: u32| format!(
            "{{name: share, percent: {}.{:02}%, sticky: {{by: [{{header: x-user-id}}]}}}}", points / 100, points % 100
        );
        let before = coloured(&entry_world(&rule(low)), &user, 1);
        let after = coloured(&entry_world(&rule(high)), &user, 2);
        prop_assert!(before != "gray" || after == "gray", "{} left when {} became {}", user, low, high);
        let salt = "namespaces/default/laneGroups/default/lanes/gray";
        let bucket = share::hash(salt.as_bytes(), user.as_bytes()) % 10_000;
        prop_assert_eq!(before == "gray", bucket < u64::from(low));
    }
}

#[test]
fn ten_percent_and_ten_percent_of_what_is_left_are_ten_and_nine() {
    let salted = |salt: &str| format!("{{percent: 10%, sticky: {{by: [{{header: x-user-id}}], salt: {salt}}}}}");
    let documents = format!(
        "kind: Lane\nname: one\npriority: 2\nentry: {{services: [a], rules: [{}]}}\n---\nkind: Lane\nname: two\npriority: \
         1\nentry: {{services: [a], rules: [{}]}}\n",
        salted("one"),
        salted("two")
    );
    let world = World::new(&["A".to_owned()], &documents).expect("good documents");
    let snapshot = world.snapshot(&world.pod("A").identity);
    let mut scratch = Scratch::new(1);
    let mut counts = BTreeMap::<String, u32>::new();
    for user in 0..20_000 {
        let headers = Lines(vec![("x-user-id".to_owned(), user.to_string())]);
        let facts = facts(&headers, peer_source(&snapshot, [192, 0, 2, 1].into()));
        let decision = decide_inbound(&snapshot, &facts, 8080, None, &world.load, &mut scratch);
        *counts.entry(decision.tag.wire().unwrap_or("none").to_owned()).or_default() += 1;
    }
    assert!((1_900..2_100).contains(&counts["one"]), "{counts:?}");
    assert!((1_700..1_900).contains(&counts["two"]), "{counts:?}");
}

#[test]
fn a_policy_divides_calls_by_its_weights_and_keeps_a_caller_on_one_side() {
    let rule = |rest: &str| {
        let to = "to: [{tag: gray, weight: 20}, {tag: blue, weight: 0}, {tag: baseline, weight: 80}]";
        format!("kind: ServicePolicy\nname: b\nrules: [{{{to}{rest}}}]\n")
    };
    let mesh = ["A", "B", "Bgray", "Bblue"].map(str::to_owned);
    let chosen = |documents: &str| {
        let world = World::new(&mesh, documents).expect("good documents");
        let snapshot = world.snapshot(&world.pod("A").identity);
        let side = |user: u32, seed: u64| {
            let headers = Lines(vec![("x-user-id".to_owned(), user.to_string())]);
            let tag = call(&world, &snapshot, &headers, seed).endpoint_tag;
            tag.map_or_else(String::new, |tag| tag.to_string())
        };
        let sides: Vec<String> = (0..20_000).map(|user| side(user, u64::from(user))).collect();
        let moved = (0..2_000).filter(|&user| side(user, u64::from(user) + 1_000_000) != sides[user as usize]).count();
        let count = |tag: &str| sides.iter().filter(|side| *side == tag).count();
        assert_eq!(count("blue"), 0, "weight 0");
        assert!((3_800..4_200).contains(&count("gray")), "{} of 20,000 where 4,000 are due", count("gray"));
        moved
    };
    assert_eq!(chosen(&rule(", sticky: {by: [{header: x-user-id}]}")), 0);
    assert!(chosen(&rule("")) > 0, "without a key each call is drawn on its own");
}

#[test]
fn instances_are_chosen_by_weight_and_then_by_requests_outstanding() {
    let mesh = ["A", "B weight=1", "B weight=3"].map(str::to_owned);
    let mut world = World::new(&mesh, "").expect("good mesh");
    let share_of_second = |world: &World| {
        let snapshot = world.snapshot(&world.pod("A").identity);
        let destination = snapshot.destination(Some(VIRTUAL_IP_OF_B.into()), None, None);
        let headers = Lines::default();
        let facts = facts(&headers, own_source(&snapshot));
        let mut scratch = Scratch::new(5);
        let mut second = 0;
        for _ in 0..4_000 {
            let in_flight = InFlight::default();
            let decision =
                decide_outbound(&snapshot, &destination, &facts, &in_flight, &world.load, &mut scratch).expect("known");
            second += u32::from(decision.endpoint.expect("usable").address.0.ip().to_string() == "10.1.2.2");
        }
        second
    };
    let even = share_of_second(&world);
    assert!((2_850..3_150).contains(&even), "{even} of 4000 where 3000 are due");
    // Two different ones are drawn, so of two instances the busier one gets nothing.
    world.load.outstanding.insert(([10, 1, 2, 2], 8080).into(), 9);
    assert_eq!(share_of_second(&world), 0);
}

#[test]
fn equal_seeds_make_equal_choices() {
    let mesh = ["A", "B", "B", "B", "B"].map(str::to_owned);
    let world = World::new(&mesh, "").expect("good mesh");
    let snapshot = world.snapshot(&world.pod("A").identity);
    for seed in 0..50 {
        let chosen = || call(&world, &snapshot, &Lines::default(), seed).endpoint.map(|endpoint| endpoint.address);
        assert_eq!(chosen(), chosen());
    }
}
