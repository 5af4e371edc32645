//! What is noted, of which requests, and what of a head is told.

use std::sync::Arc;
use std::time::Duration;

use laneway_core::tag::RequestTag;
use laneway_core::why::{TagSource, Why};

use super::context::TraceContext;
use super::spans::Queues;
use super::writer::Writer;
use super::{Config, Ended, Flag, Format, Head, Journal, LogConfig, Seen, Share, TraceConfig};

fn traces(sample: Share) -> (Journal, Queues) {
    let queues = Queues::new(1);
    let traces = Some(TraceConfig { endpoint: "http://127.0.0.1:4317".into(), sample });
    (Journal::new(&Config { log: None, traces }, None, Some(queues.worker(0))), queues)
}

fn seen() -> Seen {
    Seen {
        is_inbound: true,
        head: Head::of("GET", "b", "/x"),
        tag: RequestTag::None,
        endpoint_tag: None,
        source: TagSource::None,
        why: Why::Hit,
        service: Arc::from("b"),
        upstream: None,
        trace: None,
    }
}

const ENDED: Ended = Ended { status: 200, response_bytes: 2, took: Duration::ZERO, flag: None };

#[test]
fn no_query_user_or_fragment_is_told() {
    let told = Head::of("GET", "user:secret@b:80", "/login?password=secret#secret");
    assert_eq!((&*told.method, &*told.host, &*told.path), ("GET", "b:80", "/login"));
    assert_eq!(&*Head::of("CONNECT", "b:80", "").path, "");
    let long = Head::of(&"M".repeat(1000), &"h".repeat(1000), &"/é".repeat(1000));
    assert_eq!((long.method.len(), long.host.len()), (32, 272));
    assert!(long.path.len() <= 1024 && long.path.len() > 1020);
}

#[test]
fn nothing_is_noted_where_nothing_is_told() {
    let journal = Journal::default();
    assert!(!journal.is_kept());
    let sampled = TraceContext { trace: 1, parent: 2, flags: 1 };
    assert_eq!(journal.span(Some(sampled), || false, || [1, 2, 3]), None);
    assert!(journal.note(None, || 0, || panic!("nobody asks")).is_none());
}

#[test]
fn a_span_begins_only_where_the_trace_is_sampled_or_the_rate_says_so() {
    let sampled = TraceContext { trace: 1, parent: 2, flags: 1 };
    let unsampled = TraceContext { flags: 0, ..sampled };
    let random = || [5, 6, 7];
    for share in [Share::NONE, Share::ALL] {
        let (journal, _) = traces(share);
        let child = journal.span(Some(sampled), || false, random).expect("sampled in");
        assert_eq!((child.trace, child.parent, child.span), (1, Some(2), 5));
        assert_eq!(journal.span(Some(unsampled), || false, random), None, "somebody has decided already");
        assert_eq!(journal.span(None, || true, random), None, "no second trace beside one of another kind");
        assert_eq!(journal.span(None, || false, random).is_some(), share == Share::ALL);
    }
    let root = traces(Share::ALL).0.span(None, || false, || [0, 0, 0]).expect("begun");
    assert!(root.trace != 0 && root.span != 0 && root.parent.is_none(), "ids of zeros are invalid");
}

#[test]
fn a_share_takes_its_share() {
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    };
    for (share, expected) in [(Share::NONE, 0..1), (Share(2500), 24_000..26_000), (Share::ALL, 100_000..100_001)] {
        let taken = (0..100_000).filter(|_| share.takes(draw())).count();
        assert!(expected.contains(&taken), "{share:?}: {taken}");
    }
    assert!(!Share::NONE.takes(0) && Share::ALL.takes(u64::MAX));
}

#[test]
fn a_request_is_told_once_to_each_that_wants_it() {
    let (reader, pipe) = std::io::pipe().expect("a pipe");
    let writer = Writer::start(1, Box::new(pipe)).expect("a thread");
    let queues = Queues::new(1);
    let config = Config {
        log: Some(LogConfig { format: Format::Json, sample: Share::ALL, file: None }),
        traces: Some(TraceConfig { endpoint: "http://127.0.0.1:4317".into(), sample: Share::ALL }),
    };
    let journal = Journal::new(&config, Some(writer.ring(0)), Some(queues.worker(0)));
    let span = journal.span(None, || false, || [1, 2, 3]);
    let entry = journal.note(span, || 0, seen).expect("both want it");
    entry.tell(ENDED);
    let entry = journal.note(None, || 0, seen).expect("the log wants it");
    entry.tell(ENDED);
    assert!(writer.finish());
    drop((journal, writer));
    let text = std::io::read_to_string(reader).expect("text");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(queues.take().len(), 1);
}

#[test]
fn every_flag_is_documented_by_its_word() {
    let documented = include_str!("../../../docs/observability.md");
    for flag in Flag::ALL {
        assert!(documented.contains(&format!("| `{}` | ", flag.label())), "{}", flag.label());
    }
}
