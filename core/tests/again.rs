//! Where a request goes whose instance failed: of the same tag first, then along the fallback of its lane, and who is chosen from
//! together with whom. And where one goes whose lane is well again since a moment.

mod world;

use laneway_core::decide::{InFlight, Load, Scratch, decide_again, decide_outbound};
use laneway_core::name;
use laneway_core::snapshot::{EndpointAddr, Identity};
use laneway_core::tag::{RequestTag, Tag};
use laneway_core::why::Why;
use world::{FixedLoad, Lines, World, facts, own_source};

fn tag(text: &str) -> Tag {
    Tag::parse(text.as_bytes()).expect("a tag")
}

/// `B Bgray Bgray`: the instances; a request of that tag (empty: none) failed at these, all of one tag. Label and why of the
/// next, or empty.
fn check(mesh: &str, documents: &str, request: &str, failed: &[usize], expected: (&str, Option<Why>)) {
    let instances: Vec<String> = mesh.split(' ').map(str::to_owned).collect();
    let world = World::new(&instances, documents).expect("a good world");
    let identity = Identity { namespace: "default".into(), service: "z".into(), tag: None };
    let snapshot = world.snapshot(&identity);
    let destination = snapshot.destination(None, None, Some(&name::service("default", "b")));
    let gone = failed.iter().map(|index| world.pods[*index].address);
    let load = FixedLoad { ejected: gone.collect(), ..FixedLoad::default() };
    let request_tag = if request.is_empty() { RequestTag::None } else { RequestTag::Lane(tag(request)) };
    let was = world.pods[failed[0]].identity.tag;
    let next = decide_again(&snapshot, &destination, request_tag, was, &load, &mut Scratch::new(7));
    let label = |address| world.pod_at(address).map(world::Pod::label).unwrap_or_default();
    let found = next.map(|next| (label(next.endpoint.address.0), next.why));
    let expected = (!expected.0.is_empty()).then(|| (expected.0.to_owned(), expected.1));
    assert_eq!(found, expected, "{mesh}, {documents:?}, tag {request:?}, failed at {failed:?}");
}

const SICK: Option<Why> = Some(Why::FallbackUnhealthy);

#[test]
fn another_instance_of_the_same_tag_comes_first() {
    check("B B", "", "", &[0], ("B", None));
    check("B Bgray Bgray", "kind: Lane\nname: gray\n", "gray", &[1], ("Bgray", None));
    check("B Bgray Bgray", "", "gray", &[1], ("Bgray", None));
    check("B", "", "", &[0], ("", None));
}

#[test]
fn then_the_fallback_of_the_lane() {
    check("B Bgray Bgray", "kind: Lane\nname: gray\n", "gray", &[1, 2], ("B", SICK));
    check("B Bgray", "", "gray", &[1], ("B", SICK));
    let chain = "kind: Lane\nname: gray\nfallback: {chain: [blue, baseline]}\n";
    check("B Bblue Bgray", chain, "gray", &[2], ("Bblue", SICK));
    check("B Bblue Bgray", chain, "gray", &[1, 2], ("B", SICK));
    // It had fallen back to blue already.
    check("B Bblue Bgray", chain, "gray", &[1], ("B", SICK));
    check("Bblue Bgray", "kind: Lane\nname: gray\nfallback: {chain: [blue]}\n", "gray", &[0], ("", None));
    check("B Bgray", "kind: Lane\nname: gray\nfallback: {mode: strict}\n", "gray", &[1], ("", None));
    // A policy had chosen gray for a request without a lane.
    check("B Bgray", "", "", &[1], ("B", Some(Why::Baseline)));
    check("B Bgray", "kind: ServicePolicy\nname: b\nreselect: never\n", "gray", &[1], ("", None));
}

#[test]
fn siblings_are_those_of_the_same_tag_that_are_usable() {
    let documents = "kind: Lane\nname: strict\nfallback: {mode: strict}\n";
    let mesh = ["B", "B", "B draining", "Bgray", "Bstrict"].map(str::to_owned);
    let world = World::new(&mesh, documents).expect("a good world");
    let identity = Identity { namespace: "default".into(), service: "z".into(), tag: None };
    let snapshot = world.snapshot(&identity);
    for (index, count, has_fallback) in [(0, 2, false), (3, 1, true), (4, 1, false)] {
        let siblings = snapshot.siblings(world.pods[index].address).expect("it is known");
        assert_eq!((siblings.addresses.len(), siblings.has_fallback), (count, has_fallback), "{}", mesh[index]);
    }
    // Nobody is behind them: one that fails is better than nobody.
    for (mesh, documents) in [("Bgray", ""), ("B draining,Bgray", ""), ("Bblue,Bgray", "kind: Lane\nname: blue\n")] {
        let mesh: Vec<String> = mesh.split(',').map(str::to_owned).collect();
        let world = World::new(&mesh, documents).expect("a good world");
        let snapshot = world.snapshot(&identity);
        let last = world.pods.last().expect("an instance").address;
        assert!(!snapshot.siblings(last).expect("it is known").has_fallback, "{mesh:?}");
    }
    assert!(snapshot.siblings("192.0.2.1:1".parse().expect("an address")).is_none());
}

/// Every tag was below its thresholds a moment ago.
struct JustBack;

impl Load for JustBack {
    fn outstanding(&self, _: EndpointAddr) -> u32 {
        0
    }

    fn is_ejected(&self, _: EndpointAddr) -> bool {
        false
    }

    fn has_recovering(&self) -> bool {
        true
    }

    fn is_recovering(&self, service: &std::sync::Arc<str>, _: Tag, _: bool) -> bool {
        assert_eq!(**service, *name::service("default", "b"));
        true
    }
}

#[test]
fn a_lane_that_is_well_again_is_passed_over_for_a_while_unless_nobody_else_is_there() {
    let lane = "kind: Lane\nname: gray\n";
    let strict = "kind: Lane\nname: gray\nfallback: {mode: strict}\n";
    for (mesh, documents, expected) in [
        ("B Bgray", lane, ("B", Why::FallbackUnhealthy)),
        ("Bgray", lane, ("Bgray", Why::Hit)),
        ("B Bgray", strict, ("Bgray", Why::Hit)),
        // Not well at all.
        ("B Bgray", "kind: Lane\nname: gray\nfallback: {mode: strict, minHealthy: 2}\n", ("", Why::StrictReject)),
    ] {
        let instances: Vec<String> = mesh.split(' ').map(str::to_owned).collect();
        let world = World::new(&instances, documents).expect("a good world");
        let identity = Identity { namespace: "default".into(), service: "z".into(), tag: None };
        let snapshot = world.snapshot(&identity);
        let destination = snapshot.destination(None, None, Some(&name::service("default", "b")));
        let lines = Lines(vec![("x-mse-tag".to_owned(), "gray".to_owned())]);
        let facts = facts(&lines, own_source(&snapshot));
        let (in_flight, mut scratch) = (InFlight::default(), Scratch::new(7));
        let decision = decide_outbound(&snapshot, &destination, &facts, &in_flight, &JustBack, &mut scratch);
        let decision = decision.expect("b is known");
        let found = decision.endpoint.and_then(|found| world.pod_at(found.address.0)).map(world::Pod::label);
        assert_eq!((found.unwrap_or_default().as_str(), decision.why), expected, "{mesh}, {documents}");
    }
}
