//! Differences as people read them.

use laneway_proto::admin::{ResourceChange, resource_change};

use super::{difference, shown, summary};
use crate::lanectl::arguments::Format;
use crate::lanectl::look::Look;

#[test]
fn only_what_differs_is_shown_with_what_stands_around_it() {
    let check = |before: &str, after: &str, expected: &str| {
        let lines = |text: &str| text.split_whitespace().map(|word| format!("{word}\n")).collect::<String>();
        let told = difference(&lines(before), &lines(after), Look::plain(Format::Table));
        assert_eq!(
            told.split('\n').collect::<Vec<_>>().join("|").trim_end_matches('|'),
            expected,
            "{before} / {after}"
        );
    };
    check("", "", "");
    check("", "a b", "+ a|+ b");
    check("a b", "", "- a|- b");
    check("a b c", "a x c", "  a|- b|+ x|  c");
    check("a b c d", "b c d e", "- a|  b|  c|  d|+ e");
    check("1 2 3 4 5 6 7 8 9", "1 2 3 4 x 6 7 8 9", "  ...|  2|  3|  4|- 5|+ x|  6|  7|  8|  ...");
    check("a a b", "a b b", "  a|- a|+ b|  b");
}

#[test]
fn a_change_is_shown_as_documents_are_written() {
    let change = ResourceChange {
        name: "namespaces/default/laneGroups/shop/lanes/gray".to_owned(),
        kind: resource_change::Kind::Updated.into(),
        changed_paths: vec!["priority".to_owned()],
        before_json: r#"{"name":"namespaces/default/laneGroups/shop/lanes/gray","tag":"gray","priority":1}"#.to_owned(),
        after_json: r#"{"name":"namespaces/default/laneGroups/shop/lanes/gray","tag":"gray","priority":7}"#.to_owned(),
    };
    let told = shown(&change, Look::plain(Format::Table));
    assert!(told.starts_with("namespaces/default/laneGroups/shop/lanes/gray updated: priority\n"), "{told}");
    assert!(told.contains("  group: shop\n") && told.contains("- priority: 1\n+ priority: 7\n"), "{told}");
    assert_eq!(summary(std::slice::from_ref(&change)), "lane gray updated: priority");
    let deleted = ResourceChange { kind: resource_change::Kind::Deleted.into(), ..change.clone() };
    assert_eq!(summary(&[change.clone(), deleted, change]), "2 updated, 1 deleted");
}
