use laneway_core::decide::Evidence as _;
use laneway_core::tag::RequestTag;

use super::super::attribution::Unattributed;
use super::*;

struct Lines<'a>(&'a [(&'a str, &'a str)]);

impl Headers for Lines<'_> {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.0.iter().filter(|(known, _)| *known == name).nth(index).map(|(_, value)| value.as_bytes())
    }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text.as_bytes()).expect("a tag")
}

fn context(text: &str) -> Option<Arc<Context>> {
    Some(Arc::new(Context { tag: RequestTag::Lane(tag(text)), passed: Vec::new() }))
}

struct Pod {
    evidence: Arc<Evidence>,
    ids: IdHeaders,
}

impl Pod {
    fn new() -> Pod {
        let names = ["traceparent", "x-request-id"].map(str::to_owned);
        Pod { evidence: Arc::new(Evidence::new(Box::new(Unattributed))), ids: IdHeaders::new(&names) }
    }

    fn request(&self, context: Option<Arc<Context>>, lines: &[(&str, &str)]) -> InFlightGuard {
        self.evidence.begin(context, self.ids.read(&Lines(lines)), 0, 0)
    }

    fn known(&self, lines: &[(&str, &str)]) -> Known {
        self.call(&Lines(lines)).correlated()
    }

    fn in_flight(&self) -> InFlight {
        self.call(&Lines(&[])).in_flight()
    }

    fn call<'c>(&'c self, headers: &'c Lines<'c>) -> Call<'c> {
        let source = SocketAddr::from(([10, 0, 0, 1], 40_000));
        let own = Some(tag("gray"));
        Call { evidence: &self.evidence, ids: &self.ids, headers, own, source, destination: Some(source), now: 0 }
    }
}

const TRACE: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

#[test]
fn a_call_is_known_by_the_id_of_its_request() {
    let pod = Pod::new();
    let gray = pod.request(context("gray"), &[TRACE]);
    let plain = pod.request(None, &[("x-request-id", "1")]);
    assert_eq!(pod.known(&[TRACE]), Known::Context(context("gray")));
    assert_eq!(pod.known(&[("x-request-id", "1")]), Known::Context(None));
    assert_eq!(pod.known(&[("x-request-id", "2")]), Known::Unknown);
    assert_eq!(pod.known(&[("x-request-id", "2"), TRACE]), Known::Context(context("gray")));
    drop((gray, plain));
    assert_eq!(pod.known(&[TRACE]), Known::Context(context("gray")), "what it began goes on");
    assert_eq!(pod.known(&[("x-request-id", "1")]), Known::Unknown);
}

#[test]
fn an_id_in_conflict_leaves_the_answer_to_the_next_id() {
    let pod = Pod::new();
    let _two = [pod.request(context("gray"), &[TRACE, ("x-request-id", "1")]), pod.request(context("blue"), &[TRACE])];
    assert_eq!(pod.known(&[TRACE]), Known::Conflict);
    assert_eq!(pod.known(&[TRACE, ("x-request-id", "1")]), Known::Context(context("gray")));
}

#[test]
fn what_is_in_flight_is_counted_until_it_ends() {
    let pod = Pod::new();
    let seen = || pod.in_flight();
    let plain = pod.request(None, &[]);
    assert_eq!((seen().total, seen().is_mixed), (1, false));
    let gray = pod.request(context("gray"), &[]);
    assert_eq!((seen().total, seen().own_tag, seen().is_mixed, seen().sole), (2, 1, true, None));
    drop(plain);
    assert_eq!((seen().total, seen().sole), (1, context("gray")));
    drop(gray);
    assert_eq!((seen().total, seen().own_tag, seen().sole), (0, 0, None));
}

#[test]
fn a_lane_is_followed_for_its_time_whether_its_request_runs_or_has_ended() {
    let pod = Pod::new();
    let followed = |tag_of: &str, now: u32| {
        let lines = Lines(&[]);
        Call { now, ..pod.call(&lines) }.followed(tag(tag_of))
    };
    let begin = |seconds, now| pod.evidence.begin(context("gray"), std::iter::empty(), seconds, now);
    let running = begin(10, 100);
    assert_eq!([100, 104, 109, 110, 200].map(|now| followed("gray", now)), [10, 6, 1, 0, 0]);
    assert_eq!(followed("blue", 100), 0);
    // One that may stay for less takes nothing away.
    drop(begin(2, 101));
    assert_eq!(followed("gray", 104), 6);
    drop(running);
    assert_eq!(followed("gray", 104), 6, "what it began goes on");
    drop(begin(10, 105));
    assert_eq!(followed("gray", 110), 5);
}

#[test]
fn ids_of_requests_are_bounded() {
    let pod = Pod::new();
    for number in 0..IDS_MAX * 2 {
        drop(pod.request(context("gray"), &[("x-request-id", &number.to_string())]));
    }
    let held = pod.evidence.shards.iter().map(|shard| lock(shard).len()).sum::<usize>();
    assert!(held <= IDS_MAX, "{held} ids are held");
    pod.evidence.sweep(ID_SECONDS + 60);
    assert_eq!(pod.evidence.shards.iter().map(|shard| lock(shard).len()).sum::<usize>(), 0);
}
