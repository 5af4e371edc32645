use laneway_proto::admin::resource_change::Kind;
use tonic::Code;

use super::{ResourceChange, texts};

#[test]
fn what_the_history_had_no_room_for_is_not_taken_for_what_was_not_there() {
    let change = |name: &str, kind: Kind, before: &str| {
        let (name, before_json) = (name.to_owned(), before.to_owned());
        ResourceChange { name, kind: kind.into(), before_json, ..ResourceChange::default() }
    };
    let past = |own: ResourceChange| {
        texts(
            [("new", Kind::Created, ""), ("old", Kind::Deleted, "{}")]
                .map(|(name, kind, before)| (name.to_owned(), change(name, kind, before)))
                .into_iter()
                .chain([(own.name.clone(), own)])
                .collect(),
        )
    };
    let whole = past(change("large", Kind::Updated, "{}")).expect("all is held");
    let whole: Vec<(&str, &str)> = whole.iter().map(|(name, was)| (name.as_str(), was.as_str())).collect();
    assert_eq!(whole, [("large", "{}"), ("new", ""), ("old", "{}")]);
    for kind in [Kind::Updated, Kind::Deleted] {
        let refused = past(change("large", kind, "")).expect_err("nobody knows what it was");
        assert_eq!(refused.code(), Code::OutOfRange);
        assert!(refused.message().starts_with("large as it was then is not held"), "{refused}");
    }
}
