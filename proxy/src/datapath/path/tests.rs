use super::*;

fn text(value: Option<Vec<u8>>) -> Option<String> {
    value.map(|value| String::from_utf8(value).expect("text"))
}

fn gray() -> Option<Tag> {
    Some(Tag::parse(b"gray").expect("a tag"))
}

fn id(number: u64) -> Id {
    Id::of_trace(number).expect("not zero")
}

#[test]
fn the_chain_is_collected_hop_by_hop() {
    let (of_a, of_b) = (Arc::new(Trail::default()), Arc::new(Trail::default()));
    // B calls C, whose sidecar names C; B answers A, and A answers outside.
    let c = Path::own("c", gray(), TagSource::Carried, Arc::default(), true).value(None);
    Path::call("c", gray(), Why::Hit, Some(Arc::clone(&of_b)), true).value(c.as_deref());
    let b = Path::own("b", None, TagSource::Carried, of_b, true).value(Some(b"a lie of the application"));
    let seen = Path::call("b", None, Why::FallbackAbsent, Some(Arc::clone(&of_a)), true).value(b.as_deref());
    assert_eq!(text(seen).as_deref(), Some("b;why=fallback_absent, c;tag=gray;why=hit"), "A's application sees it too");
    Path::call("d", None, Why::NoEndpoint, Some(Arc::clone(&of_a)), true).refused();
    let a = Path::own("a", gray(), TagSource::Rule, of_a, true).value(None);
    let chain = "a;tag=gray;source=rule, b;why=fallback_absent, c;tag=gray;why=hit, d;why=no_endpoint";
    assert_eq!(text(a).as_deref(), Some(chain));
}

#[test]
fn who_may_not_see_it_does_not() {
    let trail = Arc::new(Trail::default());
    assert_eq!(Path::own("a", None, TagSource::None, Arc::clone(&trail), false).value(Some(b"x")), None);
    assert_eq!(Path::call("b", None, Why::Hit, Some(Arc::clone(&trail)), false).value(Some(b"b")), None);
    assert_eq!(*lock(&trail.0), b", b;why=hit", "it is collected for who may");
    assert_eq!(Path::handed_over(false).value(Some(b"a")), None);
    assert_eq!(text(Path::handed_over(true).value(Some(b"a"))).as_deref(), Some("a"));
}

#[test]
fn a_call_belongs_to_the_one_request_with_its_id_or_to_the_only_one() {
    let trails = Trails::default();
    let (first, second) = (trails.begin(&[id(1), id(2)]), trails.begin(&[id(3)]));
    let found = |ids: &[Id], in_flight| trails.find(ids.iter().copied(), in_flight);
    let is = |found: Option<Arc<Trail>>, trail: &Arc<Trail>| found.is_some_and(|found| Arc::ptr_eq(&found, trail));
    assert!(is(found(&[id(9), id(2)], 2), &first) && is(found(&[id(3)], 2), &second));
    assert!(found(&[id(9)], 2).is_none() && found(&[], 2).is_none());
    let third = trails.begin(&[id(3)]);
    assert!(found(&[id(3)], 3).is_none(), "two requests have it");
    trails.end(&third, &[id(3)]);
    trails.end(&second, &[id(3)]);
    assert!(is(found(&[], 1), &first), "no other is in flight");
    assert!(found(&[], 2).is_none(), "another is, of a time before paths were asked for");
    trails.end(&first, &[id(1), id(2)]);
    let running = lock(&trails.0);
    assert!(running.all.is_empty() && running.of_id.is_empty());
}

#[test]
fn a_path_is_bounded() {
    let trail = Arc::new(Trail::default());
    for _ in 0..1000 {
        Path::call("b", None, Why::Hit, Some(Arc::clone(&trail)), true).value(Some(&[b'x'; 9000]));
        Path::call("b", None, Why::Hit, Some(Arc::clone(&trail)), true).value(Some(b"b, c, d"));
    }
    let value = Path::own("a", None, TagSource::None, trail, true).value(None).expect("it is shown");
    assert!(value.len() < PATH_BYTES_MAX + 100 && value.ends_with(CUT), "{} bytes", value.len());
}
