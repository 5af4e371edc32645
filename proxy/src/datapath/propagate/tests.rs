//! What stands in the carriers after a tag was written.

use std::rc::Rc;

use laneway_core::carry;
use laneway_core::facts::Headers;
use laneway_core::snapshot::Group;
use laneway_core::tag::{RequestTag, Tag};
use laneway_core::trace::{Id, IdHeaders};
use laneway_proto::routing::NewTrace;

use laneway_core::context::{Context, Passed};

use super::{Names, Rewrite, Role, Traced, pass, start_trace, trace, write};
use crate::journal::spans::Queues;
use crate::journal::{Config, Journal, Share, TraceConfig};

/// Lines as they stand in a head.
struct Lines(Vec<(String, String)>);

impl Headers for Lines {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.0
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .nth(index)
            .map(|(_, value)| value.as_bytes())
    }
}

fn lines(pairs: &[(&str, &str)]) -> Lines {
    Lines(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn group() -> Group {
    let mut group = laneway_core::snapshot::Snapshot::empty(Default::default()).group().clone();
    group.aliases = vec!["x-lane".to_owned()];
    group.ids = IdHeaders::new(&["b3".to_owned()]);
    group
}

fn gray() -> RequestTag {
    RequestTag::Lane(Tag::parse(b"gray").expect("test tag"))
}

fn rewritten(lines: &Lines, change: impl FnOnce(&Names, &mut Rewrite)) -> Vec<String> {
    let names = Rc::new(Names::new(1, &group()));
    let mut rewrite = Rewrite::new(Rc::clone(&names));
    change(&names, &mut rewrite);
    let kept = lines.0.iter().filter(|(name, _)| rewrite.keeps(name.as_bytes(), || false));
    let mut all: Vec<String> = kept.map(|(name, value)| format!("{name}: {value}")).collect();
    all.extend(String::from_utf8_lossy(rewrite.added()).lines().map(str::to_owned));
    all
}

fn written(pairs: &[(&str, &str)], tag: RequestTag) -> Vec<String> {
    let lines = lines(pairs);
    rewritten(&lines, |names, rewrite| write(&lines, names, tag, rewrite))
}

#[test]
fn exactly_one_value_leaves() {
    assert_eq!(written(&[], gray()), ["x-mse-tag: gray", "baggage: x-mse-tag=gray"]);
    assert_eq!(
        written(&[("x-mse-tag", "blue"), ("x-mse-tag", "red"), ("x-lane", "green")], gray()),
        ["x-mse-tag: gray", "baggage: x-mse-tag=gray"]
    );
    assert_eq!(written(&[("x-mse-tag", "a_b"), ("x-lane", "x"), ("a", "1")], RequestTag::None), ["a: 1"]);
    assert_eq!(written(&[], RequestTag::Baseline), ["x-mse-tag: baseline", "baggage: x-mse-tag=baseline"]);
}

#[test]
fn other_members_of_baggage_stay() {
    assert_eq!(
        written(&[("baggage", "k=v;p=1, x-mse-tag=blue"), ("baggage", "z=1")], gray()),
        ["x-mse-tag: gray", "baggage: k=v;p=1,z=1,x-mse-tag=gray"]
    );
    assert_eq!(written(&[("baggage", "k=v,x-mse-tag=blue")], RequestTag::None), ["baggage: k=v"]);
    assert_eq!(written(&[("baggage", "x-mse-tag=blue")], RequestTag::None), Vec::<String>::new());
    assert_eq!(written(&[("baggage", "k = v")], RequestTag::None), ["baggage: k = v"]);
}

#[test]
fn tracestate_is_written_only_beside_a_traceparent() {
    assert_eq!(
        written(&[("traceparent", "t"), ("tracestate", "a=1,laneway=blue,b=2")], gray()),
        ["traceparent: t", "x-mse-tag: gray", "baggage: x-mse-tag=gray", "tracestate: laneway=gray,a=1,b=2"]
    );
    assert_eq!(
        written(&[("tracestate", "a=1,laneway=blue")], gray()),
        ["x-mse-tag: gray", "baggage: x-mse-tag=gray", "tracestate: a=1"]
    );
}

/// Whatever bytes stand around a tag, who reads a head after it was written finds the one tag or none.
#[test]
fn a_line_that_is_no_text_hides_no_tag() {
    struct Bytes(Vec<(&'static str, Vec<u8>)>);
    impl Headers for Bytes {
        fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
            self.0.iter().filter(|(known, _)| *known == name).nth(index).map(|(_, value)| value.as_slice())
        }
    }
    for carrier in ["baggage", "tracestate"] {
        let member: &[u8] = if carrier == "baggage" { b"x-mse-tag=blue" } else { b"laneway=blue" };
        let line = [b"a=\xff\xfe,", member, b",b=\xe4"].concat();
        let before = Bytes(vec![("traceparent", b"t".to_vec()), (carrier, line)]);
        assert!(matches!(carry::read(&group(), &before).tag, RequestTag::Lane(_)), "{carrier} is read");
        for tag in [RequestTag::None, gray()] {
            let names = Rc::new(Names::new(1, &group()));
            let mut rewrite = Rewrite::new(Rc::clone(&names));
            write(&before, &names, tag, &mut rewrite);
            assert!(!rewrite.keeps(carrier.as_bytes(), || false), "{carrier} for {tag:?}");
            let added: Vec<(String, Vec<u8>)> = rewrite
                .added()
                .split(|&byte| byte == b'\n')
                .filter_map(|line| {
                    let colon = line.iter().position(|&byte| byte == b':')?;
                    Some((String::from_utf8(line[..colon].to_vec()).ok()?, line[colon + 1..].trim_ascii().to_vec()))
                })
                .collect();
            let after = added.iter().find(|(name, _)| name == carrier).map(|(_, value)| value.clone());
            let after = after.expect("the others stay");
            assert!(
                after.windows(4).any(|part| part == b"a=\xff\xfe") && after.windows(3).any(|part| part == b"b=\xe4")
            );
            assert!(!after.windows(4).any(|part| part == b"blue"), "{carrier} for {tag:?}");
        }
    }
}

#[test]
fn what_is_right_already_is_left_alone() {
    let lines = [("x-mse-tag", "gray"), ("baggage", "x-mse-tag=gray , k=v")];
    assert_eq!(written(&lines, gray()), ["x-mse-tag: gray", "baggage: x-mse-tag=gray , k=v"]);
}

#[test]
fn a_full_baggage_makes_room_for_the_tag() {
    let full = vec!["k=v"; 70].join(",");
    let all = written(&[("baggage", &full)], gray());
    let list = all.iter().find_map(|line| line.strip_prefix("baggage: ")).expect("it is written");
    assert_eq!(list.split(',').count(), 64);
    assert!(list.ends_with(",x-mse-tag=gray"));
}

#[test]
fn only_a_lane_request_without_any_trace_id_gets_one() {
    let traced = |pairs: &[(&str, &str)], tag| {
        let lines = lines(pairs);
        let context = Context::of(&group(), tag, &lines);
        let mut traced = Traced::default();
        let all = rewritten(&lines, |_, rewrite| {
            traced = trace(&lines, &group(), context.as_deref(), &Journal::default(), || [1, 7, 0], rewrite);
        });
        assert!(traced.span.is_none(), "nobody records");
        assert_eq!(
            traced.new_id,
            all.iter().any(|line| line.contains("-0000000000000001-01")).then(|| Id::of_trace(7)).flatten()
        );
        all.into_iter().find_map(|line| line.strip_prefix("traceparent: ").map(str::to_owned))
    };
    let fresh = Some("00-00000000000000010000000000000007-0000000000000001-01".to_owned());
    assert_eq!(traced(&[], gray()), fresh);
    assert_eq!(traced(&[], RequestTag::Baseline), fresh);
    assert_eq!(traced(&[], RequestTag::None), None);
    assert_eq!(traced(&[("b3", "1")], gray()), None);
    assert_eq!(traced(&[("x-amzn-trace-id", "Root=1-1-1")], gray()), None, "the group correlates by b3 alone");
    assert_eq!(traced(&[("traceparent", "mine")], gray()), Some("mine".to_owned()));
}

/// A journal that records, and begins traces at this rate.
fn recording(sample: Share) -> Journal {
    let traces = Some(TraceConfig { endpoint: "http://127.0.0.1:4317".into(), sample });
    Journal::new(&Config { log: None, traces }, None, Some(Queues::new(1).worker(0)))
}

#[test]
fn a_recorded_request_goes_on_in_its_trace_as_the_child_of_our_span() {
    let traced = |pairs: &[(&str, &str)], tag: RequestTag, sample: Share| {
        let lines = lines(pairs);
        let context = Context::of(&group(), tag, &lines);
        let mut traced = Traced::default();
        let all = rewritten(&lines, |_, rewrite| {
            traced = trace(&lines, &group(), context.as_deref(), &recording(sample), || [1, 7, 9], rewrite);
        });
        let said = all.into_iter().filter_map(|line| line.strip_prefix("traceparent: ").map(str::to_owned));
        (said.collect::<Vec<_>>(), traced)
    };
    let sampled = "00-0000000000000000000000000000000a-00000000000000bb-01";
    let (said, of) = traced(&[("Traceparent", sampled)], gray(), Share::NONE);
    assert_eq!(
        said,
        ["00-0000000000000000000000000000000a-0000000000000001-01"],
        "one value, the same trace, our span"
    );
    let span = of.span.expect("sampled in");
    assert_eq!((span.trace, span.parent, span.span, of.new_id), (10, Some(0xbb), 1, None));

    for unrecorded in ["00-0000000000000000000000000000000a-00000000000000bb-00", "mine"] {
        let (said, of) = traced(&[("traceparent", unrecorded)], gray(), Share::ALL);
        assert_eq!((said.as_slice(), of.span), ([unrecorded.to_owned()].as_slice(), None), "untouched");
    }
    let (said, of) = traced(&[("traceparent", sampled), ("traceparent", sampled)], gray(), Share::ALL);
    assert_eq!((said.len(), of.span), (2, None), "nobody can say which one goes on");
    let (said, of) = traced(&[("b3", "1")], RequestTag::None, Share::ALL);
    assert_eq!((said.len(), of.span), (0, None), "no second trace beside one of another kind");

    // A trace begins by the rate, or because a lane is handed on; its root is ours either way.
    for (tag, sample) in [(RequestTag::None, Share::ALL), (gray(), Share::ALL), (gray(), Share::NONE)] {
        let (said, of) = traced(&[], tag, sample);
        assert_eq!(said, ["00-00000000000000010000000000000007-0000000000000009-01"]);
        assert_eq!(of.span.map(|span| (span.span, span.parent)), Some((9, None)));
        assert_eq!(of.new_id, Id::of_trace(7));
    }
    let (said, of) = traced(&[], RequestTag::None, Share::NONE);
    assert_eq!((said.len(), of.span), (0, None));
}

#[test]
fn the_group_says_whether_a_new_trace_is_sampled_or_there_is_none() {
    let lines = lines(&[]);
    for (new_trace, expected) in [
        (NewTrace::Sampled, Some("traceparent: 00-00000000000000010000000000000007-0000000000000009-01")),
        (NewTrace::Unsampled, Some("traceparent: 00-00000000000000010000000000000007-0000000000000009-00")),
        (NewTrace::Never, None),
    ] {
        let mut group = group();
        group.new_trace = new_trace;
        let context = Context::of(&group, gray(), &lines);
        let all = rewritten(&lines, |_, rewrite| {
            start_trace(&lines, &group, context.as_deref(), || [1, 7, 9], rewrite);
        });
        assert_eq!(all.first().map(String::as_str), expected, "{new_trace:?}");
    }
}

#[test]
fn pass_headers_are_added_where_the_application_did_not_forward_them() {
    let lines = lines(&[("X-User-Id", "own")]);
    let passed = [("x-user-id", "100"), ("x-shop", "1"), ("x-shop", "2")];
    let passed = passed.map(|(name, value)| Passed { name: name.into(), value: value.as_bytes().into() });
    let context = Context { tag: gray(), passed: passed.into() };
    let all = rewritten(&lines, |_, rewrite| pass(&lines, &context, rewrite));
    assert_eq!(all, ["X-User-Id: own", "x-shop: 1", "x-shop: 2"]);
}

#[test]
fn a_name_plays_its_role_in_any_case_and_a_look_alike_goes() {
    for (name, role) in [
        ("X-Mse-Tag", Role::Tag),
        ("x_mse_tag", Role::LookAlike),
        ("x-mse_tag", Role::LookAlike),
        ("X-Lane", Role::Alias),
        ("Baggage", Role::Baggage),
        ("B3", Role::Trace),
        ("Uber-Trace-Id", Role::Trace),
        ("x-mse-tah", Role::Other),
        ("accept", Role::Other),
    ] {
        assert_eq!(Names::new(1, &group()).role(name.as_bytes()), role, "{name}");
    }
    assert_eq!(written(&[("x_mse_tag", "blue")], RequestTag::None), Vec::<String>::new());
}
