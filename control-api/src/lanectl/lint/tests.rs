//! What is found in files, and where.

use super::{File, findings, line};
use crate::lanectl::arguments::Format;
use crate::lanectl::look::Look;

fn told(files: &[(&str, &str)]) -> String {
    let files: Vec<File> = files.iter().map(|(name, text)| File::new((*name).to_owned(), (*text).to_owned())).collect();
    let (found, _) = findings(&files);
    found.iter().map(|found| line(&files, found, Look::plain(Format::Table))).collect()
}

#[test]
fn good_documents_have_no_findings() {
    let lane = "kind: LaneGroup\nname: shop\n---\nkind: Lane\nname: gray\ngroup: shop\nentry: {services: [a]}\n";
    assert_eq!(told(&[("a.yaml", lane)]), "");
}

#[test]
fn everything_is_told_by_file_line_code_and_field() {
    let one = "kind: Lane\nname: gray\ncolour: red\n---\nkind: Lane\nname: blue\nentry:\n  services: [a]\n  rules:\n  \
               - match:\n      header: x\n      regex: '[unclosed'\n  - {match: {header: y, exact: '1'}, percent: 101%}\n";
    let two = "kind: Lane\nname: green\ntag: blue\n";
    let told = told(&[("one.yaml", one), ("two.yaml", two)]);
    for words in [
        "one.yaml:3: error LANE0002: colour: ",
        "one.yaml:12: error LANE0111: entry.rules[0].match.regex: ",
        "one.yaml:13: error LANE0109: entry.rules[1].percent: ",
        "two.yaml:3: error LANE0102: tag: ",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    assert!(!told.contains("document 1"), "the line says it:\n{told}");
}

#[test]
fn one_object_in_two_files_is_told_once() {
    let lane = "kind: Lane\nname: gray\n";
    let told = told(&[("a.yaml", lane), ("b.yaml", lane)]);
    let words = "b.yaml:2: error LANE0006: name: namespaces/default/laneGroups/default/lanes/gray is also document 1 of \
                 a.yaml";
    assert!(told.starts_with(words) && told.matches("LANE").count() == 1, "{told}");
}

#[test]
fn what_only_the_mesh_knows_is_told_where_files_say_what_runs() {
    let lane = "kind: Lane\nname: gray\ngroup: shop\nentry: {services: [b]}\n";
    let alone = told(&[("a.yaml", lane)]);
    assert!(alone.contains("warning LANE0106: group: ") && alone.matches("LANE").count() == 1, "{alone}");
    let service = "kind: Service\nname: a\nports: [{port: 80, name: http}]\n";
    let with_services = told(&[("a.yaml", lane), ("s.yaml", service)]);
    assert!(with_services.contains("LANE0201") && with_services.contains("LANE0202"), "{with_services}");
}

#[test]
fn a_text_that_is_no_yaml_is_told_by_its_line() {
    let told = told(&[("a.yaml", "kind: Lane\nname: 'x\n")]);
    assert!(told.contains("LANE0001") && told.starts_with("a.yaml:"), "{told}");
}

#[test]
fn what_can_be_read_is_checked_though_a_field_cannot() {
    let text = "kind: Lane\nname: gray\ncolour: red\nentry:\n  services: [a]\n  rules:\n  - match:\n      header: x\n      regex: \
                '[unclosed'\n---\nkind: Lane\nname: blue\ngroup: shop\ntag: blue\npriority: high\n---\n\
                kind: LaneGroup\nname: shop\npropagate: {inferr: x}\n---\nkind: Lane\nname: green\ngroup: shop\ntag: blue\n";
    let told = told(&[("one.yaml", text)]);
    for words in [
        "one.yaml:3: error LANE0002: colour: ",
        "one.yaml:9: error LANE0111: entry.rules[0].match.regex: ",
        "error LANE0003: priority: ",
        "error LANE0002: propagate.inferr: ",
        // By what of the other lane can be read.
        "error LANE0102: tag: the lane `blue` of this group has the tag `blue` too",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    assert!(!told.contains("LANE0106"), "the group is there, though a field of it is not read:\n{told}");
}

#[test]
fn nothing_is_said_that_may_follow_from_what_could_not_be_read() {
    let quiet = |text: &str, codes: &[&str]| {
        let told = told(&[("one.yaml", text)]);
        let found: Vec<&str> = told.split_whitespace().filter(|word| word.starts_with("LANE")).collect();
        assert_eq!(found, codes, "{told}");
    };
    // Rules without entry services; a condition without a source; the items behind one that is left out.
    quiet("{kind: Lane, name: gray, entry: {servces: [a], rules: [{percent: 1%}]}}", &["LANE0002:"]);
    quiet("{kind: Lane, name: gray, entry: {services: [a], rules: [{match: {headr: x, exact: y}}]}}", &["LANE0002:"]);
    quiet("{kind: Lane, name: gray, fallback: {chain: [1, a_b, a_b]}}", &["LANE0003:"]);
    // All services are not what was meant.
    quiet("{kind: LaneGroup, name: one, services: 7}\n---\n{kind: LaneGroup, name: two}", &["LANE0003:"]);
}
