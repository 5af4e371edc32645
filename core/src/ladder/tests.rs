//! Every combination of what the rungs say, for every switch, against the order that the contract gives.

use proptest::prelude::*;

use super::*;
use crate::context::{Context, Passed};
use crate::decode::Resources;
use crate::snapshot::Identity;
use crate::tag::Tag;

struct Told {
    correlated: Known,
    kernel: Known,
    in_flight: InFlight,
}

impl Evidence for Told {
    fn correlated(&self) -> Known {
        self.correlated.clone()
    }

    fn kernel(&self) -> Known {
        self.kernel.clone()
    }

    fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }
}

fn lane(text: &str) -> RequestTag {
    RequestTag::Lane(Tag::parse(text.as_bytes()).expect("a tag"))
}

fn context(tag: RequestTag) -> Arc<Context> {
    let passed = vec![Passed { name: "x-user-id".into(), value: b"100"[..].into() }];
    Arc::new(Context { tag, passed })
}

fn snapshot(own: Option<&str>, infer: Infer, ambiguous: Ambiguous) -> Snapshot {
    let tag = own.map(|tag| Tag::parse(tag.as_bytes()).expect("a tag"));
    let identity = Identity { namespace: "default".into(), service: "a".into(), tag };
    let mut snapshot = Resources::default().snapshot(&identity, 1);
    snapshot.group.pass_headers = vec!["x-user-id".into()];
    snapshot.group.infer = infer;
    snapshot.group.ambiguous = ambiguous;
    snapshot
}

fn known() -> impl Strategy<Value = Known> {
    prop_oneof![
        Just(Known::Unknown),
        Just(Known::Conflict),
        Just(Known::Context(None)),
        Just(Known::Context(Some(context(lane("gray"))))),
        Just(Known::Context(Some(context(RequestTag::Baseline)))),
    ]
}

fn in_flight() -> impl Strategy<Value = InFlight> {
    (0_u32..3, 0_u32..3, 0_u32..3, any::<bool>()).prop_map(|(plain, own_tag, other, is_sole)| {
        let kinds = [plain, own_tag, other].iter().filter(|count| **count > 0).count();
        let sole = (is_sole && kinds == 1 && plain == 0).then(|| context(lane("blue")));
        InFlight { total: plain + own_tag + other, own_tag, other, is_mixed: kinds > 1, sole }
    })
}

proptest! {
    #[test]
    fn the_first_rung_that_answers_wins(
        carried in prop_oneof![Just(RequestTag::None), Just(RequestTag::Baseline), Just(lane("green"))],
        correlated in known(),
        kernel in known(),
        in_flight in in_flight(),
        own in prop_oneof![Just(None), Just(Some("red"))],
        infers in any::<bool>(),
        ambiguous in prop_oneof![Just(Ambiguous::Baseline), Just(Ambiguous::Pod), Just(Ambiguous::Reject)],
    ) {
        let infer = if infers { Infer::Unanimous } else { Infer::Never };
        let snapshot = snapshot(own, infer, ambiguous);
        let told = Told { correlated, kernel, in_flight };
        let rung = climb(&snapshot, carried, &told);
        let Told { correlated, kernel, in_flight } = told;
        let of = |known: &Known| match known {
            Known::Context(context) => Some(context.as_ref().map_or(RequestTag::None, |context| context.tag)),
            Known::Unknown | Known::Conflict => None,
        };
        let own = own.map(lane);
        // No Lane names an entry, so a tagged pod of a service stamps.
        let pod_answers = in_flight.other == 0 || (in_flight.total > 0 && in_flight.own_tag == in_flight.total);
        let expected = if carried != RequestTag::None {
            (carried, Some(TagSource::Carried))
        } else if let Some(tag) = of(&correlated) {
            (tag, Some(TagSource::Correlated))
        } else if let Some(tag) = of(&kernel) {
            (tag, Some(TagSource::Kernel))
        } else if let Some(sole) = in_flight.sole.as_ref().filter(|_| infers) {
            (sole.tag, Some(TagSource::Inferred))
        } else if let Some(own) = own.filter(|_| pod_answers || (in_flight.is_mixed && ambiguous == Ambiguous::Pod)) {
            (own, Some(TagSource::Pod))
        } else {
            (RequestTag::None, None)
        };
        prop_assert_eq!((rung.tag, rung.source), expected);
        let is_told = matches!(expected.1, Some(source) if source != TagSource::Pod) || (own.is_some() && pod_answers);
        let doubt = match (is_told, in_flight.is_mixed, ambiguous) {
            (true, ..) => None,
            (false, true, Ambiguous::Reject) => Some(Doubt::Refused),
            (false, true, _) => Some(Doubt::Ambiguous),
            (false, false, _) => (correlated == Known::Conflict).then_some(Doubt::Conflict),
        };
        prop_assert_eq!(rung.doubt, doubt);
    }
}

#[test]
fn a_call_with_a_tag_of_its_own_has_the_pass_headers_of_its_request() {
    let snapshot = snapshot(None, Infer::Never, Ambiguous::Baseline);
    let of_request = context(lane("gray"));
    let told = Told {
        correlated: Known::Context(Some(Arc::clone(&of_request))),
        kernel: Known::Unknown,
        in_flight: InFlight::default(),
    };
    let rung = climb(&snapshot, lane("green"), &told);
    assert_eq!((rung.tag, rung.context), (lane("green"), Some(of_request)));
}
