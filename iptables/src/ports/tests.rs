//! Port lists: what is taken, what is refused, and that a set is always merged.

use super::PortSet;

#[track_caller]
fn check(input: &str, expected: Result<&str, &str>) {
    match (input.parse::<PortSet>(), expected) {
        (Ok(set), Ok(text)) => assert_eq!(set.to_string(), text, "{input}"),
        (Err(message), Err(part)) => {
            assert!(message.contains(part) && message.contains("8000-8100"), "{input}: {message}")
        }
        (answer, expected) => panic!("{input}: {answer:?}, expected {expected:?}"),
    }
}

#[test]
fn a_list_is_sorted_and_merged() {
    check("", Ok(""));
    check(" ", Ok(""));
    check("80", Ok("80"));
    check("443, 80", Ok("80,443"));
    check("80,80,81", Ok("80-81"));
    check("8000-9000,8500-9500,9501", Ok("8000-9501"));
    check("1-65535,22", Ok("1-65535"));
    check("65535,65534", Ok("65534-65535"));
}

#[test]
fn a_bad_item_is_named_with_what_is_allowed() {
    check("0", Err("`0`"));
    check("65536", Err("`65536`"));
    check("80,http", Err("`http`"));
    check("80,,81", Err("``"));
    check("9000-8000", Err("`9000-8000` runs backwards"));
    check("+80", Err("`+80`"));
    check("-80", Err("`-80`"));
    check("8000:9000", Err("`8000:9000`"));
    check("80-", Err("`80-`"));
}
