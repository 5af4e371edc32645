//! A configuration as large as it may be: lanes full of rules that nobody asked for, and a list of users. Shared by the test
//! that counts allocations and the program whose instructions are counted (core/examples/decide_counts.rs).
#![allow(dead_code, reason = "each uses its part")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::fmt::Write as _;

use laneway_core::compile::{compile, sort};
use laneway_core::decode::{Resources, decode};
use laneway_core::document;
use laneway_core::facts::{Facts, Headers, Source};
use laneway_core::snapshot::{Identity, Snapshot};

/// Lanes that the rules are spread over.
const LANES: usize = 4;

/// What the sidecar of `a` knows: `rules` rules that take no [`Request`], before one that takes the last of `values` users.
pub fn snapshot(rules: usize, values: usize) -> Snapshot {
    let mut text = String::from(SERVICES);
    for lane in 0..LANES {
        let priority = LANES - lane;
        let _ = write!(
            text,
            "---\nkind: Lane\nname: lane{lane}\npriority: {priority}\nentry:\n  services: [a]\n  rules:\n"
        );
        for at in 0..rules / LANES {
            let _ = writeln!(text, "    - {{match: {}}}", condition(lane * 1_000 + at));
        }
        if rules == 0 {
            text.push_str("    []\n");
        }
    }
    text.push_str("---\nkind: Lane\nname: gray\nentry: {services: [a], rules: [{name: list, match: {header: x-user-id, in: [x]}}]}\n");
    let documents = document::read(&text).expect("good documents");
    let (mut objects, catalog, _) = sort(documents).expect("different names");
    // Put in afterwards: reading so long a list is not what is measured.
    let gray = objects.lanes.iter_mut().find(|(name, _)| name.ends_with("/gray")).map(|(_, lane)| lane);
    let entry = gray.and_then(|lane| lane.entry.as_mut()).expect("gray has an entry");
    entry.rules[0].r#match.as_mut().expect("a list").r#in = (0..values).map(user).collect();
    let identity = Identity { namespace: "default".into(), service: "a".into(), tag: None };
    let mut resources = Resources::default();
    for wire in compile(&objects, &catalog).everything(&identity) {
        resources.insert(decode(wire.type_url, &wire.name, &wire.version, &wire.body).expect("accepted"));
    }
    resources.snapshot(&identity, 1)
}

pub fn user(number: usize) -> String {
    format!("u{number:06}")
}

/// Of every kind, and true of nobody.
fn condition(number: usize) -> String {
    match number % 8 {
        0 => format!("{{header: x-user-id, exact: no-{number}}}"),
        1 => format!("{{cookie: session, prefix: no-{number}}}"),
        2 => format!("{{query: q, suffix: no-{number}}}"),
        3 => format!("{{attribute: path, prefix: /no/{number}}}"),
        4 => format!("{{attribute: host, exact: no-{number}.demo.com}}"),
        5 => format!("{{header: x-level, ge: {}}}", 1_000 + number),
        6 => format!("{{header: x-user-id, regex: 'no-{number}-[a-z]+'}}"),
        _ => format!("{{all: [{{attribute: method, exact: GET}}, {{jwtClaim: tenant.id, in: [no-{number}, none]}}]}}"),
    }
}

const SERVICES: &str = "
kind: Service
name: a
endpoints: [{address: '10.1.0.1:8080', portName: http, meshed: true}]
---
kind: Service
name: b
hosts: [sc-b]
addresses: [10.96.0.2]
ports: [{port: 80, name: http, protocol: detect}]
endpoints:
  - {address: '10.1.1.1:8080', portName: http, meshed: true}
  - {address: '10.1.1.2:8080', portName: http, meshed: true}
  - {address: '10.1.1.3:8080', portName: http, meshed: true, tag: gray}
  - {address: '10.1.1.4:8080', portName: http, meshed: true, tag: gray}
";

/// A request like many: some headers, cookies, a query, a bearer token.
pub struct Request {
    lines: Vec<(&'static str, String)>,
}

impl Request {
    /// `more`: a line that tells this request from others.
    pub fn new(user: &str, more: Option<(&'static str, &str)>) -> Request {
        let mut lines = vec![
            ("host", "www.demo.com:8080".to_owned()),
            ("user-agent", "laneway/1".to_owned()),
            ("accept", "*/*".to_owned()),
            ("cookie", "theme=dark; session=yes-1".to_owned()),
            ("x-user-id", user.to_owned()),
            ("x-level", "7".to_owned()),
            // {"sub":"u-100","level":7,"admin":true,"tenant":{"id":"t1"},"roles":["ops"]}
            (
                "authorization",
                "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1LTEwMCIsImxldmVsIjo3LCJhZG1pbiI6dHJ1ZSwidGVuYW50Ijp7ImlkIjoidDEifSwicm9sZXMiOlsib3BzIl19.c2ln"
                    .to_owned(),
            ),
        ];
        lines.extend(more.map(|(name, value)| (name, value.to_owned())));
        Request { lines }
    }

    pub fn facts(&self) -> Facts<'_> {
        let source = Source { address: Some([192, 0, 2, 1].into()), ..Source::default() };
        Facts {
            method: "GET",
            target: "/order/7?q=yes&page=2",
            authority: "www.demo.com:8080",
            headers: self,
            is_grpc: false,
            source,
        }
    }
}

impl Headers for Request {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.lines.iter().filter(|(n, _)| *n == name).nth(index).map(|(_, value)| value.as_bytes())
    }
}
