//! When a tag is called again.

use super::*;

fn tag(text: &str) -> Tag {
    Tag::parse(text.as_bytes()).expect("a tag")
}

#[test]
fn a_tag_is_called_again_when_it_has_been_above_for_ten_seconds() {
    let (recovery, b, gray) = (Recovery::default(), Arc::from("b"), tag("gray"));
    assert!(!recovery.is_passed_over(&b, gray, true, 100) && !recovery.is_any(), "nobody was ever below");
    assert!(recovery.is_passed_over(&b, gray, false, 100));
    for now in 101..105 {
        recovery.tick(now);
        assert!(recovery.is_passed_over(&b, gray, true, now), "second {now}");
    }
    // Below once more: it begins anew.
    assert!(recovery.is_passed_over(&b, gray, false, 105));
    recovery.tick(114);
    assert!(recovery.is_passed_over(&b, gray, true, 114));
    assert!(!recovery.is_passed_over(&b, gray, true, 115));
    recovery.tick(115);
    assert!(!recovery.is_any(), "forgotten");
}

#[test]
fn each_tag_of_each_service_recovers_by_itself() {
    let (recovery, b, c) = (Recovery::default(), Arc::from("b"), Arc::from("c"));
    assert!(recovery.is_passed_over(&b, tag("gray"), false, 100));
    assert!(!recovery.is_passed_over(&b, tag("blue"), true, 101));
    assert!(!recovery.is_passed_over(&c, tag("gray"), true, 101));
    assert!(recovery.is_passed_over(&b, tag("gray"), true, 101));
}
