//! A watcher that says what the test wants.

use std::sync::Mutex;

use laneway_core::tag::{RequestTag, Tag};

use super::*;

struct Told(Mutex<Caller>);

impl Attribution for Arc<Told> {
    fn who(&self, _source: SocketAddr, _destination: SocketAddr) -> Caller {
        *self.0.lock().expect("no test panics while it tells")
    }
}

fn gray() -> Arc<Context> {
    let tag = RequestTag::Lane(Tag::parse(b"gray").expect("a tag"));
    Arc::new(Context { tag, passed: Vec::new() })
}

#[test]
fn a_call_is_of_the_request_whose_bytes_were_read_after_it_was_sent() {
    let told = Arc::new(Told(Mutex::new(Caller::Unknown)));
    let callers = Callers::new(Box::new(Arc::clone(&told)));
    let (source, destination) = (SocketAddr::from(([10, 0, 0, 1], 40_000)), SocketAddr::from(([10, 96, 0, 2], 80)));
    let tells = |caller| {
        *told.0.lock().expect("no test panics while it tells") = caller;
        callers.who(source, destination)
    };
    let before = monotonic_ns();
    callers.begin(5000, Some(gray()));
    let after = monotonic_ns();
    assert_eq!(tells(Caller::Unknown), Known::Unknown);
    assert_eq!(tells(Caller::Request { port: 5000, read_at: after }), Known::Context(Some(gray())));
    assert_eq!(
        tells(Caller::Request { port: 5000, read_at: before - 1 }),
        Known::Unknown,
        "that was another request's"
    );
    assert_eq!(tells(Caller::Request { port: 5001, read_at: after }), Known::Unknown);
    callers.begin(5001, None);
    assert_eq!(tells(Caller::Request { port: 5001, read_at: monotonic_ns() }), Known::Context(None));
    callers.end(5000);
    assert_eq!(tells(Caller::Request { port: 5000, read_at: after }), Known::Unknown, "it has ended");
}

#[test]
fn where_nobody_watches_nothing_is_noted() {
    let callers = Callers::new(Box::new(Unattributed));
    let anywhere = SocketAddr::from(([10, 0, 0, 1], 80));
    assert!(!callers.are_told());
    assert_eq!(callers.who(anywhere, anywhere), Known::Unknown);
}
