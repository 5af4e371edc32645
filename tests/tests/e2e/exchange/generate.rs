//! Draws cases: every framing, odd but valid spellings, pipelines, versions, pieces.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::exchange::case::{
    Answer, Body, Case, Chunk, Exchange, Expects, Field, Interim, Layout, Request, Spelling, Text, Version,
};
use crate::exchange::compare::NEVER_TRAILERS;

const REQUEST_NAMES: [&str; 12] = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Cookie",
    "Content-Type",
    "Date",
    "If-None-Match",
    "Range",
    "User-Agent",
    "Via",
    "X-Forwarded-For",
    "X-Request-Id",
];
const ANSWER_NAMES: [&str; 12] = [
    "Age",
    "Cache-Control",
    "Content-Type",
    "Date",
    "ETag",
    "Location",
    "Server",
    "Set-Cookie",
    "Vary",
    "Via",
    "WWW-Authenticate",
    "X-Powered-By",
];
const TRAILER_NAMES: [&str; 4] = ["Server-Timing", "X-Checksum", "ETag", "X-Status"];
/// Names with a meaning for a hop, for framing, or for lanes: what is drawn at random may not be one of them.
const TAKEN_NAMES: [&str; 8] = ["te", "host", "expect", "trailer", "upgrade", "connection", "baggage", "keep-alive"];

/// RFC 9112 section 7.1.1.
const EXTENSIONS: &[&[u8]] = &[
    b";a",
    b";name=value",
    b";x=1;y=2",
    b";quoted=\"a;b \\\" c\"",
    b";empty=\"\"",
    b";beyond=\"\xe9\x80\"",
    b";end=\"0\"",
];
/// Statuses of final answers; whether an answer has content is theirs to say.
const STATUSES: [u16; 20] =
    [200, 200, 200, 201, 202, 204, 206, 301, 302, 304, 400, 404, 409, 418, 451, 299, 499, 500, 503, 599];

/// Cases whose bodies are mostly short, and never longer than this.
pub(super) fn case(body_bytes_max: usize) -> impl Strategy<Value = Case> {
    (vec(exchange(body_bytes_max), 1..6), pieces(), pieces())
        .prop_map(|(exchanges, client_pieces, origin_pieces)| Case { exchanges, client_pieces, origin_pieces }.settle())
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        2 => Just(Vec::new()),
        1 => Just(vec![1]),
        3 => vec(1..60_usize, 1..8),
        2 => vec(1..3000_usize, 1..4),
    ]
}

fn exchange(body_bytes_max: usize) -> impl Strategy<Value = Exchange> {
    (request(body_bytes_max), answer(body_bytes_max)).prop_map(|(request, answer)| Exchange { request, answer })
}

fn request(body_bytes_max: usize) -> impl Strategy<Value = Request> {
    let method = select(&["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"][..]);
    let version = prop_oneof![9 => Just(Version::Http11), 1 => Just(Version::Http10)];
    let host = option::weighted(0.8, select(&["b", "B", "b:80", "example.test", "[::1]:8080", ""][..]));
    let expects = prop_oneof![
        7 => Just(Expects::Nothing),
        2 => Just(Expects::Waits),
        2 => Just(Expects::Hurries),
        1 => Just(Expects::IsRefused),
    ];
    let flags = (proptest::bool::weighted(0.15), proptest::bool::weighted(0.3), proptest::bool::weighted(0.8));
    let head = (method, target(), version, host, fields(&REQUEST_NAMES));
    (head, body(body_bytes_max), expects, flags, layout()).prop_map(
        |((method, target, version, host, fields), body, expects, flags, layout)| {
            let (closes, takes_trailers, is_pipelined) = flags;
            Request {
                method,
                target,
                version,
                host,
                fields,
                body,
                expects,
                closes,
                takes_trailers,
                is_pipelined,
                layout,
            }
        },
    )
}

fn answer(body_bytes_max: usize) -> impl Strategy<Value = Answer> {
    let interims = prop_oneof![3 => Just(Vec::new()), 1 => vec(interim(), 1..4)];
    let version = prop_oneof![9 => Just(Version::Http11), 1 => Just(Version::Http10)];
    let body = prop_oneof![3 => body(body_bytes_max), 1 => data(body_bytes_max).prop_map(Body::UntilClose)];
    let closes = proptest::bool::weighted(0.15);
    (interims, version, select(&STATUSES[..]), reason(), fields(&ANSWER_NAMES), body, closes, layout()).prop_map(
        |(interims, version, status, reason, fields, body, closes, layout)| Answer {
            interims,
            version,
            status,
            reason,
            fields,
            body,
            closes,
            layout,
        },
    )
}

fn interim() -> impl Strategy<Value = Interim> {
    let status = select(&[100_u16, 102, 103, 103, 110, 199][..]);
    (status, reason(), fields(&["Link", "Set-Cookie"]), any::<bool>())
        .prop_map(|(status, reason, fields, is_early)| Interim { status, reason, fields, is_early })
}

/// Paths with percent-encoding, dot segments, empty segments and matrix parameters. `/abs` becomes the absolute form and, to
/// OPTIONS, `/*` becomes `*`, where they may stand.
fn target() -> impl Strategy<Value = String> {
    let path = r"(/([A-Za-z0-9._~!$&'()+,;=:@-]|%20|%2F|%c3%A9|%7E){0,8}){1,4}";
    let query = r"(\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%26|%3d){0,12})?";
    (prop_oneof![6 => Just(""), 1 => Just("/abs"), 1 => Just("/*")], path, query)
        .prop_map(|(first, path, query)| format!("{first}{path}{query}"))
}

fn reason() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => select(&["OK", "Created", "Not Found", "I'm a teapot"][..]).prop_map(|text| Text(text.into())),
        1 => Just(Text::default()),
        1 => value(),
    ]
}

fn fields(known: &'static [&'static str]) -> impl Strategy<Value = Vec<Field>> {
    prop_oneof![8 => vec(field(known), 0..8), 1 => vec(field(known), 30..60)]
}

fn field(known: &'static [&'static str]) -> impl Strategy<Value = Field> {
    let name = prop_oneof![3 => spelled(known), 1 => token()];
    let space = || select(&["", " ", " ", " ", "\t", "  \t "][..]);
    (name, space(), value(), space()).prop_map(|(name, before, value, after)| Field { name, before, value, after })
}

/// One of the names, in any mixture of upper and lower case; the first name as it stands is the simplest.
fn spelled(known: &'static [&'static str]) -> impl Strategy<Value = String> {
    let spell = |name: &str, flips: u32| {
        let flip = |(index, letter): (usize, char)| {
            if flips >> (index % 32) & 1 == 0 {
                letter
            } else if letter.is_ascii_uppercase() {
                letter.to_ascii_lowercase()
            } else {
                letter.to_ascii_uppercase()
            }
        };
        name.chars().enumerate().map(flip).collect()
    };
    (select(known), prop_oneof![Just(0), any::<u32>()]).prop_map(move |(name, flips)| spell(name, flips))
}

fn token() -> impl Strategy<Value = String> {
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}".prop_filter("a name with a meaning", |name: &String| {
        !TAKEN_NAMES.iter().any(|taken| name.eq_ignore_ascii_case(taken))
    })
}

/// A field's value: visible bytes, spaces and tabs inside, bytes beyond ASCII; or empty.
fn value() -> impl Strategy<Value = Text> {
    let byte = prop_oneof![12 => 0x21..=0x7e_u8, 2 => Just(b' '), 1 => Just(b'\t'), 2 => 0x80..=0xff_u8];
    let bytes = prop_oneof![
        1 => Just(Vec::new()),
        6 => "[a-z0-9]{1,6}(, ?[a-z]{1,3}){0,2}".prop_map(String::into_bytes),
        4 => vec(byte, 1..24),
        1 => (500..3000_usize).prop_map(|length| vec![b'v'; length]),
    ];
    bytes.prop_map(|bytes| Text(bytes.trim_ascii().to_vec()))
}

fn data(bytes_max: usize) -> impl Strategy<Value = Text> {
    let large = (bytes_max / 2..bytes_max).prop_map(|length| {
        let pattern =
            |index| [b"0123456789abcdef"[index % 16], b'\r', b'\n'][usize::from(index % 7 == 0) * (index % 3)];
        (0..length).map(pattern).collect::<Vec<u8>>()
    });
    prop_oneof![1 => Just(Vec::new()), 8 => vec(any::<u8>(), 0..80), 2 => vec(any::<u8>(), 0..bytes_max.min(2000)), 1 => large]
        .prop_map(Text)
}

fn body(bytes_max: usize) -> impl Strategy<Value = Body> {
    let length = data(bytes_max).prop_map(Body::Length);
    let trailers = prop_oneof![1 => Just(Vec::new()), 1 => vec(trailer(), 1..4)];
    let chunked = (vec(chunk(bytes_max), 0..5), extension(), trailers, any::<bool>()).prop_map(
        |(chunks, last_extension, trailers, announces)| Body::Chunked { chunks, last_extension, trailers, announces },
    );
    prop_oneof![Just(Body::None), length, chunked]
}

fn chunk(bytes_max: usize) -> impl Strategy<Value = Chunk> {
    let data = data(bytes_max).prop_map(|data| if data.0.is_empty() { Text(vec![b'1']) } else { data });
    (data, spelling(), extension()).prop_map(|(data, size, extension)| Chunk { data, size, extension })
}

fn extension() -> impl Strategy<Value = Text> {
    prop_oneof![3 => Just(Text::default()), 1 => select(EXTENSIONS).prop_map(|text| Text(text.to_vec()))]
}

fn trailer() -> impl Strategy<Value = Field> {
    prop_oneof![6 => field(&TRAILER_NAMES), 1 => field(&NEVER_TRAILERS)]
}

fn spelling() -> impl Strategy<Value = Spelling> {
    select(&[Spelling::Title, Spelling::Lower, Spelling::Upper][..])
}

fn layout() -> impl Strategy<Value = Layout> {
    let hop = ("X-[a-c]{1,3}", value()).prop_map(|(name, value)| Field { name, before: " ", value, after: "" });
    (spelling(), any::<usize>(), option::weighted(0.2, hop)).prop_map(|(spelling, place, hop)| Layout {
        spelling,
        place,
        hop,
    })
}
