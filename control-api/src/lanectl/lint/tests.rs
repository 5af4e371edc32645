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
