//! Address lists: what is taken, what is refused, and that no range of a set is inside another.

use super::CidrSet;

#[track_caller]
fn check(input: &str, expected: Result<&[&str], &str>) {
    match (input.parse::<CidrSet>(), expected) {
        (Ok(set), Ok(texts)) => {
            assert_eq!(set.ranges.iter().map(ToString::to_string).collect::<Vec<_>>(), texts, "{input}")
        }
        (Err(message), Err(part)) => {
            assert!(message.contains(part) && message.contains("10.0.0.0/8,fd00::/8"), "{input}: {message}")
        }
        (answer, expected) => panic!("{input}: {answer:?}, expected {expected:?}"),
    }
}

#[test]
fn a_list_is_sorted_and_no_range_is_inside_another() {
    check("", Ok(&[]));
    check("169.254.169.254", Ok(&["169.254.169.254/32"]));
    check("fd00::/8, 10.0.0.0/8", Ok(&["10.0.0.0/8", "fd00::/8"]));
    check("10.1.0.0/16,10.0.0.0/8,10.1.2.3,11.0.0.0/8", Ok(&["10.0.0.0/8", "11.0.0.0/8"]));
    check("10.1.0.0/16,10.1.0.0/24,10.2.0.0/16", Ok(&["10.1.0.0/16", "10.2.0.0/16"]));
    check("0.0.0.0/0,10.0.0.0/8,::/0,fd00::1", Ok(&["0.0.0.0/0", "::/0"]));
    check("2001:db8::1/128,2001:db8::/32", Ok(&["2001:db8::/32"]));
}

#[test]
fn a_bad_range_is_named_with_what_is_allowed() {
    check("10.0.0.5/8", Err("did you mean 10.0.0.0/8 or 10.0.0.5/32?"));
    check("fd00::1/8", Err("did you mean fd00::/8 or fd00::1/128?"));
    check("10.0.0.0/33", Err("0 to 32 bits"));
    check("fd00::/129", Err("0 to 128 bits"));
    check("10.0.0.0/", Err("0 to 32 bits"));
    check("example.com", Err("`example.com`"));
    check("10.0.0", Err("`10.0.0`"));
    check("::ffff:10.0.0.1", Err("IPv4 form 10.0.0.1"));
    check("10.0.0.0/8,", Err("``"));
}

#[test]
fn a_set_contains_addresses_of_its_own_family_only() {
    let set: CidrSet = "10.0.0.0/8,fd00::/8".parse().expect("a good list");
    for (address, expected) in [("10.9.9.9", true), ("11.0.0.0", false), ("fdff::1", true), ("fe00::1", false)] {
        assert_eq!(set.contains(address.parse().expect("an address")), expected, "{address}");
    }
    let all: CidrSet = "0.0.0.0/0".parse().expect("a good list");
    assert!(all.contains([1, 2, 3, 4].into()) && !all.contains("::1".parse().expect("an address")));
}
