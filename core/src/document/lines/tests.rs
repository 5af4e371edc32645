//! Lines of fields, as an editor counts them.

use super::Lines;

const TEXT: &str = "# a comment
kind: LaneGroup
name: shop
---
kind: Lane
name: gray
labels: {team: trade, 'a b': c}
entry:
  services: [a]
  rules:
  - match: {header: x, exact: '1'}
  - name: second
    match:
      all:
      - header: y
        regex: '[unclosed'
---
---
apiVersion: laneway.io/v1alpha1
kind: Lane
metadata:
  name: blue
spec:
  tag: blue
  priority: high
";

#[test]
fn a_field_is_found_by_its_path() {
    let lines = Lines::of(TEXT);
    let check = |document: usize, field: &str, expected: Option<usize>| {
        assert_eq!(lines.line(document, field), expected, "document {document}, {field:?}");
    };
    check(1, "", Some(2));
    check(1, "name", Some(3));
    check(2, "", Some(5));
    check(2, "labels[\"a b\"]", Some(7));
    check(2, "entry.services[0]", Some(9));
    check(2, "entry.rules[0].match", Some(11));
    check(2, "entry.rules[0].match.exact", Some(11));
    check(2, "entry.rules[1]", Some(12));
    check(2, "entry.rules[1].match.all[0].regex", Some(16));
    // What is not there: as far as the path leads.
    check(2, "entry.rules[1].sticky.by", Some(12));
    check(2, "entry.rules[7].match", Some(10));
    check(2, "priority", Some(5));
    // An empty document has no number; in the form of Kubernetes the fields lie in `spec` and `metadata`.
    check(3, "spec.priority", Some(25));
    check(3, "priority", Some(25));
    check(3, "name", Some(22));
    check(3, "kind", Some(20));
    check(4, "name", None);
    check(0, "name", None);
    for odd in ["..", "a..b", "[", "[x]", "[\"", "entry.", "entry.rules[", "entry.rules]"] {
        assert!(lines.line(2, odd).is_some(), "{odd}");
    }
}

#[test]
fn items_of_a_list_are_documents() {
    let lines = Lines::of("kind: List\nitems:\n- kind: Lane\n  name: a\n- kind: Lane\n  name: b\n");
    assert_eq!((lines.line(1, "name"), lines.line(2, "name"), lines.line(3, "name")), (Some(4), Some(6), None));
    let lines = Lines::of("[{\"kind\": \"Lane\",\n \"name\": \"a\"},\n {\"kind\": \"Lane\", \"name\": \"b\"}]\n");
    assert_eq!((lines.line(1, "name"), lines.line(2, "name")), (Some(2), Some(3)));
}

#[test]
fn a_text_that_is_no_yaml_says_where_it_stops_to_be() {
    let lines = Lines::of("kind: Lane\nname: a\nentry: {services: [a]\npriority: 3\n");
    assert!(lines.line(1, "").is_some_and(|line| line >= 3), "{lines:?}");
    assert_eq!(Lines::of("").line(1, ""), None);
}
