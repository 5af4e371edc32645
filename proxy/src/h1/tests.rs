use super::fields::Slots;
use super::{Parsed, Reason, find_end, request};

#[test]
fn a_head_ends_where_parse_ends_it_whatever_empty_lines_are_before_it() {
    for (empty_lines, is_taken) in [(0, true), (1, true), (2, true), (3, false)] {
        let text = format!("{}GET / HTTP/1.1\r\nhost: a\r\n\r\nbody\r\n\r\n", "\r\n".repeat(empty_lines));
        let end = find_end(text.as_bytes(), 0).expect("its lines end with CRLF").expect("it ends");
        match request::parse(text.as_bytes(), &mut Slots::new()) {
            Ok(Parsed::Whole(request)) => assert_eq!((request.bytes, is_taken), (end, true)),
            Ok(Parsed::Partial) => panic!("{empty_lines} empty lines: partial"),
            Err(reason) => assert_eq!((reason, end, is_taken), (Reason::Method, 6, false)),
        }
        for length in 0..end {
            assert_eq!(find_end(&text.as_bytes()[..length], 0), Ok(None), "{empty_lines} empty lines, {length} bytes");
            assert_eq!(find_end(text.as_bytes(), length), Ok(Some(end)), "{empty_lines} empty lines, {length} bytes");
        }
    }
}
