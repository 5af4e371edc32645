//! Which fields differ.

use laneway_proto::admin::{Fallback, Lane};

use super::{differences, of_input};

#[test]
fn paths_of_what_differs_are_named_and_output_is_not() {
    let before = Lane { name: "l".to_owned(), tag: "gray".to_owned(), etag: "1".to_owned(), ..Lane::default() };
    let after = Lane {
        etag: "2".to_owned(),
        enabled: Some(false),
        fallback: Some(Fallback { chain: vec!["x".to_owned()], ..Fallback::default() }),
        ..before.clone()
    };
    let paths = differences(&of_input(&before, "Lane"), &of_input(&after, "Lane"));
    assert_eq!(paths, ["enabled", "fallback"]);
    let changed =
        Lane { fallback: Some(Fallback { chain: vec!["y".to_owned()], ..Fallback::default() }), ..after.clone() };
    let paths = differences(&of_input(&after, "Lane"), &of_input(&changed, "Lane"));
    assert_eq!(paths, ["fallback.chain[0]"]);
    assert!(differences(&of_input(&after, "Lane"), &of_input(&after, "Lane")).is_empty());
}
