//! Which tag an inbound request gets, tried on drawn requests and groups against the order that the documents give:
//! trusted carried tag > entry rules > stamping > none; a carried tag whose lane is off is `baseline`, unless it is followed.

mod world;

use laneway_core::decide::{Scratch, decide_inbound};
use laneway_core::hop::Hop;
use laneway_core::name;
use laneway_core::why::TagSource;
use proptest::prelude::*;
use world::{Lines, World, facts, peer_source};

const STRANGER: [u8; 4] = [192, 0, 2, 1];
/// The instance of b, which has a sidecar.
const NEIGHBOUR: [u8; 4] = [10, 1, 2, 1];

#[derive(Clone, Debug)]
struct Case {
    trust: &'static str,
    stamp: &'static str,
    /// Of the lane gray: enabled, dryRun, disabled.
    state: &'static str,
    overrides: bool,
    /// The pod's.
    tag: &'static str,
    carried: Option<&'static str>,
    is_neighbour: bool,
    /// A sidecar before had it in the lane of its tag.
    is_followed: bool,
    /// Rules of gray take 1 and 3, those of blue 2 and 3.
    user: Option<&'static str>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    tag: Option<String>,
    source: TagSource,
    rule: Option<String>,
    dry_run: Option<String>,
}

fn case() -> impl Strategy<Value = Case> {
    let select = |words: &'static [&'static str]| prop::sample::select(words);
    let carried = prop::option::of(select(&["gray", "blue", "nobody", "baseline", "b_d"]));
    (
        (select(&["any", "mesh", "none"]), select(&["entry", "always", "never"])),
        (select(&["enabled", "dryRun", "disabled"]), any::<bool>(), select(&["", "gray", "blue"])),
        (carried, any::<bool>(), any::<bool>(), prop::option::of(select(&["1", "2", "3", "4"]))),
    )
        .prop_map(|((trust, stamp), (state, overrides, tag), (carried, is_neighbour, is_followed, user))| Case {
            trust,
            stamp,
            state,
            overrides,
            tag,
            carried,
            is_neighbour,
            is_followed,
            user,
        })
}

/// What the documents say.
fn expected(case: &Case) -> Answer {
    // a is an entry, so with `none` nobody is believed there.
    let is_believed = case.trust == "any" || (case.trust == "mesh" && case.is_neighbour);
    let carried = case.carried.filter(|tag| is_believed && *tag != "b_d");
    let mut answer = Answer { tag: carried.map(str::to_owned), source: TagSource::Carried, rule: None, dry_run: None };
    if carried == Some("baseline") {
        return answer;
    }
    let takes = |users: &[&str]| case.user.is_some_and(|user| users.contains(&user));
    if takes(&["1", "3"]) && (carried.is_none() || case.overrides) {
        match case.state {
            "enabled" => {
                return Answer {
                    tag: Some("gray".into()),
                    source: TagSource::Rule,
                    rule: Some("gray/r".into()),
                    ..answer
                };
            }
            "dryRun" => answer.dry_run = Some("gray/r".into()),
            _ => {}
        }
    }
    if carried == Some("gray") && case.state == "disabled" && !case.is_followed {
        return Answer { tag: Some("baseline".into()), ..answer };
    }
    if carried.is_some() {
        return answer;
    }
    if takes(&["2", "3"]) {
        return Answer { tag: Some("blue".into()), source: TagSource::Rule, rule: Some("blue/r".into()), ..answer };
    }
    let is_off = case.tag == "gray" && case.state == "disabled";
    if case.tag.is_empty() || is_off || case.stamp == "never" {
        return Answer { source: TagSource::None, ..answer };
    }
    Answer { tag: Some(case.tag.to_owned()), source: TagSource::Pod, ..answer }
}

fn decided(case: &Case) -> Answer {
    let documents = format!(
        "kind: LaneGroup\nname: default\ntag: {{trust: {}}}\npropagate: {{stampPodTag: {}}}\n---\n\
         kind: Lane\nname: gray\npriority: 9\nenabled: {}\ndryRun: {}\nentry: {{services: [a], rules: \
         [{{name: r, match: {{header: x-user-id, in: ['1', '3']}}, override: {}}}]}}\n---\n\
         kind: Lane\nname: blue\npriority: 1\nentry: {{services: [a], rules: \
         [{{name: r, match: {{header: x-user-id, in: ['2', '3']}}}}]}}\n",
        case.trust,
        case.stamp,
        case.state != "disabled",
        case.state == "dryRun",
        case.overrides,
    );
    let world = World::new(&["A", "Agray", "Ablue", "B"].map(str::to_owned), &documents).expect("good documents");
    let snapshot = world.snapshot(&world.pod(&format!("A{}", case.tag)).identity);
    let lines = [("x-mse-tag", case.carried), ("x-user-id", case.user)];
    let lines: Vec<(&str, &str)> = lines.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
    let headers = Lines::of(&lines);
    let peer = if case.is_neighbour { NEIGHBOUR } else { STRANGER };
    let facts = facts(&headers, peer_source(&snapshot, peer.into()));
    let hop = case.is_followed.then_some(Hop::InLane { seconds: 10 });
    let inbound = decide_inbound(&snapshot, &facts, 8080, hop, &world.load, &mut Scratch::new(1));
    let short = |rule: Option<(&str, &str)>| rule.map(|(lane, rule)| format!("{}/{rule}", name::id_of(lane)));
    Answer {
        tag: inbound.tag.wire().map(str::to_owned),
        source: inbound.source,
        rule: short(inbound.rule),
        dry_run: short(inbound.dry_run),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_is_carried_then_rules_then_stamping(case in case()) {
        prop_assert_eq!(decided(&case), expected(&case));
    }
}
