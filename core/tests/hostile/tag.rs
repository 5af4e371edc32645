//! Carriers of a tag, of any bytes: what is believed is a tag, is read the same however often, and survives being written again.
#![allow(unreachable_pub, reason = "a module of tests")]

use laneway_core::carry::{self, TagRefusal};
use laneway_core::facts::Headers;
use laneway_core::snapshot::{Identity, Snapshot};
use laneway_core::tag::{RequestTag, Tag};

use super::draw::Draw;

const NAMES: [&str; 6] = ["x-mse-tag", "baggage", "tracestate", "traceparent", "cookie", "x-mse-tag"];
/// What a fuzzer would need long to find.
const WORDS: [&[u8]; 10] =
    [b"gray", b"baseline", b"x-mse-tag=", b"laneway=", b",", b";p=1", b"%67", b" \t", b"=", b"00-"];
const LINES_MAX: usize = 8;
const PIECES_MAX: usize = 8;

pub fn check(bytes: &[u8]) {
    let snapshot = Snapshot::empty(Identity { namespace: "default".to_owned(), service: "a".to_owned(), tag: None });
    let group = snapshot.group();
    let mut draw = Draw::new(bytes);
    let mut lines = Lines::default();
    while !draw.is_empty() && lines.0.len() < LINES_MAX {
        let name = draw.one_of(&NAMES);
        let mut value = Vec::new();
        for _ in 0..draw.below(PIECES_MAX) {
            match draw.below(2) {
                0 => value.extend(draw.one_of(&WORDS)),
                _ => {
                    let count = draw.below(70);
                    value.extend(draw.take(count));
                }
            }
        }
        is_parsed_by_the_grammar(&value);
        lines.0.push((name, value));
    }
    let carried = carry::read(group, &lines);
    assert_eq!(carried, carry::read(group, &lines), "read twice, told twice");
    match (carried.tag, carried.refused) {
        (_, None | Some(TagRefusal::CarriersDiffer)) | (RequestTag::None, Some(_)) => {}
        (tag, Some(refused)) => panic!("{tag:?} is believed though it is refused: {refused:?}"),
    }
    if let Some(text) = carried.tag.wire() {
        let written = Lines(vec![("x-mse-tag", text.as_bytes().to_vec())]);
        let again = carry::read(group, &written);
        assert_eq!((again.tag, again.refused), (carried.tag, None), "written and read again");
    }
}

/// `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, and not the reserved word: said in another way than the parser does.
fn is_parsed_by_the_grammar(value: &[u8]) {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let is_tag = match value {
        b"" | b"baseline" => false,
        [only] => inner(*only) && *only != b'-',
        [first, middle @ .., last] => {
            middle.len() <= 61
                && [*first, *last].iter().all(|b| inner(*b) && *b != b'-')
                && middle.iter().all(|b| inner(*b))
        }
    };
    let parsed = Tag::parse(value);
    assert_eq!(parsed.is_ok(), is_tag, "{value:?}: {parsed:?}");
    if let Ok(tag) = parsed {
        assert_eq!(tag.as_bytes(), value);
    }
}

#[derive(Default)]
struct Lines(Vec<(&'static str, Vec<u8>)>);

impl Headers for Lines {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        let mut lines = self.0.iter().filter(|(key, _)| *key == name);
        lines.nth(index).map(|(_, value)| value.as_slice())
    }
}
