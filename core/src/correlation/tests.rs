use proptest::prelude::*;

use super::*;
use crate::context::Passed;
use crate::tag::{RequestTag, Tag};

const BOUNDS: Bounds = Bounds { ids: 8, bytes: 1 << 20, seconds: 60 };

fn context(tag: &str) -> Arc<Context> {
    let tag = RequestTag::Lane(Tag::parse(tag.as_bytes()).expect("a tag"));
    Arc::new(Context { tag, passed: Vec::new() })
}

fn id(number: u64) -> Id {
    Id::of_trace(number + 1).expect("not zero")
}

#[test]
fn an_id_is_known_while_its_request_runs_and_for_a_time_after() {
    let (mut table, gray) = (Correlations::new(BOUNDS), context("gray"));
    table.begin(id(1), Some(&gray), 0);
    assert_eq!(table.get(id(1), 1_000), Known::Context(Some(Arc::clone(&gray))), "it runs");
    table.end(id(1), false, 1_000);
    assert_eq!(table.get(id(1), 1_059), Known::Context(Some(gray)));
    assert_eq!(table.get(id(1), 1_060), Known::Unknown);
    table.sweep(1_060);
    assert!(table.is_empty() && table.order.is_empty());
}

#[test]
fn an_id_without_a_context_is_known_only_while_its_requests_run() {
    let mut table = Correlations::new(BOUNDS);
    table.begin(id(1), None, 0);
    table.begin(id(1), None, 0);
    table.end(id(1), true, 0);
    assert_eq!(table.get(id(1), 0), Known::Context(None));
    table.end(id(1), true, 0);
    assert_eq!(table.get(id(1), 0), Known::Unknown);
    assert!(table.is_empty());
}

#[test]
fn an_id_of_two_contexts_tells_nothing_until_it_is_forgotten() {
    let (gray, blue) = (context("gray"), context("blue"));
    let pairs = [(Some(&gray), Some(&blue)), (Some(&gray), None), (None, Some(&gray))];
    for (first, second) in pairs {
        let mut table = Correlations::new(BOUNDS);
        table.begin(id(1), first, 0);
        table.begin(id(1), second, 0);
        assert_eq!(table.get(id(1), 0), Known::Conflict);
        table.end(id(1), first.is_none(), 5);
        table.end(id(1), second.is_none(), 5);
        assert_eq!(table.get(id(1), 64), Known::Conflict, "{first:?} {second:?}");
        assert_eq!(table.get(id(1), 65), Known::Unknown);
        table.begin(id(1), Some(&gray), 65);
        assert_eq!(table.get(id(1), 65), Known::Context(Some(Arc::clone(&gray))), "long after, it is another's");
    }
}

#[test]
fn an_equal_context_is_no_conflict() {
    let mut table = Correlations::new(BOUNDS);
    table.begin(id(1), Some(&context("gray")), 0);
    table.begin(id(1), Some(&context("gray")), 0);
    assert_eq!(table.get(id(1), 0), Known::Context(Some(context("gray"))));
}

#[test]
fn beyond_its_bound_the_oldest_go() {
    let (mut table, gray) = (Correlations::new(BOUNDS), context("gray"));
    for number in 0..20 {
        table.begin(id(number), Some(&gray), 0);
    }
    assert_eq!(table.held.len(), BOUNDS.ids);
    assert_eq!(table.get(id(11), 0), Known::Unknown);
    assert_eq!(table.get(id(12), 0), Known::Context(Some(gray)));
}

#[test]
fn large_contexts_make_the_oldest_go_earlier() {
    let passed = || Passed { name: "x-user-id".into(), value: vec![b'x'; 1000].into() };
    let large = Arc::new(Context { tag: RequestTag::None, passed: vec![passed(), passed()] });
    let mut table = Correlations::new(Bounds { bytes: 3 * large.bytes(), ..BOUNDS });
    for number in 0..5 {
        table.begin(id(number), Some(&large), 0);
        table.end(id(number), false, 0);
    }
    assert_eq!((table.held.len(), table.bytes), (3, 3 * large.bytes()));
    assert_eq!(table.get(id(1), 0), Known::Unknown);
    assert_eq!(table.get(id(2), 0), Known::Context(Some(Arc::clone(&large))));
    // Long after, the id is another's.
    table.begin(id(2), Some(&context("gray")), 60);
    table.sweep(200);
    assert_eq!((table.held.len(), table.bytes), (1, context("gray").bytes()), "one still runs");
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Begin(u64, Option<bool>),
    /// The oldest, or another, of those that run.
    End(prop::sample::Index),
    Pass(u32),
    /// What is over may stay until then.
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..16, prop::option::of(any::<bool>())).prop_map(|(id, context)| Step::Begin(id, context)),
        3 => any::<prop::sample::Index>().prop_map(Step::End),
        1 => (0_u32..90).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    /// Never more than the bound; and as long as nothing had to go for it, never a context that a request with this id which
    /// runs has not.
    #[test]
    fn the_table_is_bounded_and_never_wrong(
        ids in prop_oneof![Just(4_usize), Just(16)],
        is_tight: bool,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let user = Passed { name: "x-user-id".into(), value: vec![b'x'; 1000].into() };
        let long = Arc::new(Context { tag: context("blue").tag, passed: vec![user] });
        let contexts = [context("gray"), long];
        // Tight: for two of the long ones, and no more.
        let bytes = if is_tight { 2 * contexts[1].bytes() } else { BOUNDS.bytes };
        let bounds = Bounds { ids, bytes, ..BOUNDS };
        let (mut table, mut running, mut now) = (Correlations::new(bounds), Vec::new(), 0);
        for step in steps {
            match step {
                Step::Begin(number, which) => {
                    let context = which.map(|which| &contexts[usize::from(which)]);
                    table.begin(id(number), context, now);
                    running.push((number, context));
                }
                Step::End(at) if !running.is_empty() => {
                    let (number, context) = running.remove(at.index(running.len()));
                    table.end(id(number), context.is_none(), now);
                }
                Step::End(_) => {}
                Step::Pass(seconds) => now += seconds,
                Step::Sweep => table.sweep(now),
            }
            prop_assert!(table.held.len() <= ids && table.plain.len() <= ids);
            prop_assert!(table.bytes <= bytes, "{} bytes of {}", table.bytes, bytes);
            prop_assert_eq!(table.order.len(), table.held.len());
            prop_assert_eq!(table.bytes, table.held.values().map(|held| held.context.bytes()).sum::<usize>());
            for number in 0..16 {
                let Known::Context(known) = table.get(id(number), now) else { continue };
                let mut with_id = running.iter().filter(|(other, _)| *other == number);
                prop_assert!(ids < 16 || is_tight || with_id.all(|(_, context)| *context == known.as_ref()));
            }
        }
    }
}
