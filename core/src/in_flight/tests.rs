use super::*;
use crate::context::Passed;

fn tag(text: &str) -> Tag {
    Tag::parse(text.as_bytes()).expect("a tag")
}

fn context(tag: RequestTag, user: Option<&str>) -> Arc<Context> {
    let passed = user.map(|user| Passed { name: "x-user-id".into(), value: user.as_bytes().into() });
    Arc::new(Context { tag, passed: passed.into_iter().collect() })
}

fn gray() -> Arc<Context> {
    context(RequestTag::Lane(tag("gray")), None)
}

#[test]
fn a_sole_context_is_that_of_every_request() {
    let mut contexts = Contexts::default();
    assert_eq!(contexts.view(0, None).sole, None);
    contexts.begin(&gray(), 0);
    contexts.begin(&gray(), 0);
    let seen = contexts.view(0, Some(tag("gray")));
    assert_eq!((seen.total, seen.own_tag, seen.other, seen.is_mixed), (2, 2, 0, false));
    assert_eq!(seen.sole, Some(gray()));
    let seen = contexts.view(1, None);
    assert_eq!((seen.total, seen.own_tag, seen.other, seen.is_mixed), (3, 0, 2, true));
    assert_eq!(seen.sole, None, "one has none");
}

#[test]
fn pass_headers_make_contexts_differ_and_tags_mixed_only_tags() {
    let mut contexts = Contexts::default();
    contexts.begin(&context(RequestTag::None, Some("100")), 0);
    contexts.begin(&context(RequestTag::None, Some("101")), 0);
    let seen = contexts.view(1, None);
    assert_eq!((seen.total, seen.other, seen.is_mixed, seen.sole), (3, 0, false, None));
}

#[test]
fn what_has_ended_does_not_count() {
    let mut contexts = Contexts::default();
    let blue = context(RequestTag::Lane(tag("blue")), None);
    let places = [contexts.begin(&gray(), 0), contexts.begin(&blue, 0)];
    assert!(contexts.view(0, None).is_mixed);
    contexts.end(&gray(), places[0]);
    assert_eq!(contexts.view(0, None).sole, Some(blue));
}

#[test]
fn beyond_the_bound_nothing_is_concluded() {
    let mut contexts = Contexts::default();
    let users: Vec<_> = (0..=CONTEXTS_MAX).map(|n| context(RequestTag::None, Some(&n.to_string()))).collect();
    let places: Vec<_> = users.iter().map(|user| contexts.begin(user, 0)).collect();
    assert_eq!(places.last(), Some(&Place::Unlisted));
    for (user, place) in users.iter().zip(&places).skip(1) {
        contexts.end(user, *place);
    }
    assert_eq!(contexts.view(0, None).sole.as_ref(), Some(&users[0]));
    contexts.end(&users[0], places[0]);
    assert_eq!((contexts.view(0, None).total, contexts.unlisted), (0, 0));
}

#[test]
fn lanes_that_requests_came_in_are_bounded_and_the_newest_stay() {
    let mut contexts = Contexts::default();
    let lane = |number: usize| context(RequestTag::Lane(tag(&format!("lane-{number}"))), None);
    for number in 0..=LANES_MAX {
        let place = contexts.begin(&lane(number), 10 + number as u32);
        contexts.end(&lane(number), place);
    }
    assert_eq!(contexts.lanes.len(), LANES_MAX);
    let followed = |number: usize| contexts.followed(tag(&format!("lane-{number}")), 0);
    assert_eq!([0, 1, LANES_MAX].map(followed), [0, 11, 10 + LANES_MAX as u32]);
    // What would be forgotten first takes no place.
    contexts.begin(&gray(), 5);
    assert_eq!(contexts.followed(tag("gray"), 0), 0);
}
