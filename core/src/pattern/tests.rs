//! The whole value matches or it does not, whichever engine runs.

use super::{Caches, Engine, Pattern};

fn check(pattern: &str, value: &str, expected: bool) {
    let mut caches = Caches::default();
    let compiled = Pattern::compile(pattern, false).expect("a good pattern");
    assert_eq!(compiled.is_match(value.as_bytes(), &mut caches), expected, "{pattern:?} on {value:?}");
}

#[test]
fn patterns_are_anchored_at_both_ends() {
    check("gr.y", "gray", true);
    check("gr.y", "agray", false);
    check("gr.y", "grayb", false);
    check("a|ab", "ab", true);
    check("ab|a", "a", true);
    check("(a|b)*?", "abab", true);
    check("", "", true);
    check("", "a", false);
    check("(?x) a b # comment", "ab", true);
    check("^a$", "a", true);
    check("1[0-9]{2}", "100", true);
    check("\\p{Han}+", "小明", true);
}

#[test]
fn large_patterns_and_word_boundaries_run_too() {
    let large = "(\\w+\\s){1,12}x";
    assert!(!matches!(Pattern::compile(large, false).expect("fits").engine, Engine::Dense(_)));
    check(large, "some words and x", true);
    check(large, "some words and y", false);
    check("\\bgray\\b.*", "gray here", true);
    check("\\bgray\\b.*", "grayhere", false);
    check(".*\\bü\\b", "ein ü", true);
}

#[test]
fn case_can_be_ignored() {
    let mut caches = Caches::default();
    assert!(Pattern::compile("gray", true).expect("good").is_match(b"GrAy", &mut caches));
}

#[test]
fn bad_and_oversized_patterns_are_refused() {
    for bad in ["(", "a)(b", "[z-a]", "(?=x)", "\\1", "(((a{100}){100}){100}){10}", &"a".repeat(1025)] {
        assert!(Pattern::compile(bad, false).is_err(), "{bad}");
    }
}
