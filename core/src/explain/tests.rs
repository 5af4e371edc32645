//! What an explanation says, word for word: documents and a request in, lines out.

use std::net::SocketAddr;

use super::{Call, Idle, STEPS_MAX, explain_inbound, explain_outbound};
use crate::compile::{compile, sort};
use crate::decide::{InFlight, Scratch};
use crate::decode::{Resources, decode};
use crate::document;
use crate::facts::{Facts, Headers, Source};
use crate::snapshot::{Identity, Snapshot};
use crate::tag::Tag;
use laneway_proto::admin::{self, ExplainRouteResponse, call::Pair};

const SHOP: &str = "
kind: LaneGroup
name: shop
---
kind: Lane
name: gray
group: shop
priority: 5
entry:
  services: [a]
  rules:
  - {name: users, match: {header: x-user-id, in: ['120', '130', '99']}}
  - match: {all: [{attribute: path, prefix: /beta}, {not: {header: x-user-id, present: true}}]}
  - {name: share, percent: '20%', sticky: {by: [{header: x-user-id}]}}
---
kind: Lane
name: blue
group: shop
enabled: false
";

const SERVICES: &str = "
---
kind: Service
name: a
addresses: [10.96.0.1]
ports: [{port: 80, name: http}]
endpoints: [{address: '10.1.0.1:8080', portName: http}, {address: '10.1.0.2:8080', portName: http, tag: gray}]
---
kind: Service
name: b
addresses: [10.96.0.2]
ports: [{port: 80, name: http}]
endpoints:
- {address: '10.1.1.1:8080', portName: http}
- {address: '10.1.1.2:8080', portName: http, tag: gray}
- {address: '10.1.1.3:8080', portName: http, tag: gray, state: unhealthy}
---
kind: Service
name: c
addresses: [10.96.0.3]
ports: [{port: 80, name: http}]
endpoints: [{address: '10.1.2.1:8080', portName: http}]
";

struct Request {
    target: &'static str,
    lines: &'static [(&'static str, &'static str)],
}

impl Headers for Request {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.lines.iter().filter(|(n, _)| *n == name).nth(index).map(|(_, value)| value.as_bytes())
    }
}

fn snapshot(documents: &str, tag: &str) -> Snapshot {
    let documents = document::read(&format!("{documents}{SERVICES}")).expect("good documents");
    let (objects, catalog, _) = sort(documents).expect("different names");
    let tag = Tag::parse(tag.as_bytes()).ok();
    let identity = Identity { namespace: "default".into(), service: "a".into(), tag };
    let mut resources = Resources::default();
    for wire in compile(&objects, &catalog).everything(&identity) {
        resources.insert(decode(wire.type_url, &wire.name, &wire.version, &wire.body).expect("accepted"));
    }
    resources.snapshot(&identity, 1)
}

fn inbound(documents: &str, request: &Request) -> ExplainRouteResponse {
    let snapshot = snapshot(documents, "");
    let source = Source { address: Some([203, 0, 113, 7].into()), ..Source::default() };
    explain_inbound(&snapshot, &facts(request, source), 8080, None, &Idle, &mut Scratch::new(1)).1
}

fn outbound(documents: &str, to: u8, request: &Request) -> ExplainRouteResponse {
    let snapshot = snapshot(documents, "");
    let destination = snapshot.destination(Some(SocketAddr::from(([10, 96, 0, to], 80))), None, None);
    let source = Source { service: snapshot.own_service_name(), ..Source::default() };
    let facts = facts(request, source);
    let explained =
        explain_outbound(&snapshot, &destination, &facts, &InFlight::default(), &Idle, &mut Scratch::new(1));
    explained.expect("the service is known").1
}

fn facts<'a>(request: &'a Request, source: Source<'a>) -> Facts<'a> {
    Facts { method: "GET", target: request.target, authority: "a", headers: request, is_grpc: false, source }
}

/// Steps as lines: `+` decided, the last segment of the resource, field, message.
fn lines(response: &ExplainRouteResponse) -> Vec<String> {
    let line = |step: &super::Step| {
        let mark = if step.decided { '+' } else { '-' };
        let resource = step.resource.rsplit('/').next().unwrap_or_default();
        format!("{mark} {resource} {}: {}", step.field, step.message)
    };
    response.steps.iter().map(line).collect()
}

fn says(response: &ExplainRouteResponse, expected: &[&str]) {
    assert_eq!(lines(response), expected);
}

#[test]
fn a_rule_says_which_test_failed_with_which_value() {
    let request = Request { target: "/beta/x", lines: &[("x-user-id", "100")] };
    let response = inbound(SHOP, &request);
    says(
        &response,
        &[
            "- shop tag.carriers: no tag is carried (x-mse-tag)",
            "- gray entry.rules[0].match: header x-user-id is \"100\", not in [99, 120, 130]",
            "- gray entry.rules[1].match: path is \"/beta/x\", beginning with \"/beta\"; \
             under not: header x-user-id is \"100\"",
            "- gray entry.rules[2].percent: header x-user-id is \"100\": bucket 6644 of 10000, not below 2000 (20 %)",
            "- blue enabled: the lane is off",
            "+ shop propagate.stampPodTag: nothing tells a tag, and the pod has none",
        ],
    );
    assert_eq!((response.tag.as_str(), response.candidate_endpoints.len()), ("", 0));
}

#[test]
fn a_rule_that_takes_the_request_decides() {
    let response = inbound(SHOP, &Request { target: "/", lines: &[("x-user-id", "120")] });
    says(
        &response,
        &[
            "- shop tag.carriers: no tag is carried (x-mse-tag)",
            "- gray entry.rules[0].match: header x-user-id is \"120\", in [99, 120, 130]",
            "+ gray entry.rules[0]: rule users colours it gray",
        ],
    );
    assert_eq!(response.tag, "gray");
}

#[test]
fn a_tag_that_is_not_believed_says_so() {
    let documents = SHOP.replace("name: shop\n", "name: shop\ntag: {trust: none}\n");
    let response = inbound(&documents, &Request { target: "/", lines: &[("x-mse-tag", "gray")] });
    let lines = lines(&response);
    assert_eq!(lines[0], "- shop tag.carriers: header x-mse-tag carries gray");
    assert_eq!(lines[1], "+ shop tag.trust: a tag is not believed at an entry: dropped");
    assert_eq!(response.tag, "");
}

#[test]
fn a_call_says_how_many_instances_are_usable_and_where_it_falls_back() {
    let carried = Request { target: "/", lines: &[("baggage", "x-mse-tag=gray")] };
    let hit = outbound(SHOP, 2, &carried);
    says(
        &hit,
        &[
            "+ shop tag.carriers: baggage member x-mse-tag carries gray",
            "- gray tag: the lane of tag gray",
            "+ b : 1 of 2 instances with tag gray are usable: enough",
        ],
    );
    assert_eq!(hit.candidate_endpoints, ["10.1.1.2:8080"]);
    let few = outbound(&SHOP.replace("priority: 5", "fallback: {minHealthyPercent: 60%}"), 2, &carried);
    says(
        &few,
        &[
            "+ shop tag.carriers: baggage member x-mse-tag carries gray",
            "- gray tag: the lane of tag gray",
            "- b : 1 of 2 instances with tag gray are usable: too few (minHealthy 1, minHealthyPercent 60 %)",
            "+ gray fallback.chain[0]: falls back to baseline",
            "- b : 1 usable instances of b baseline",
        ],
    );
    let strict = outbound(&SHOP.replace("priority: 5", "fallback: {mode: strict}"), 3, &carried);
    says(
        &strict,
        &[
            "+ shop tag.carriers: baggage member x-mse-tag carries gray",
            "- gray tag: the lane of tag gray",
            "- c : c has no instance with tag gray",
            "+ gray fallback.mode: strict: refused, 503",
        ],
    );
    assert!(strict.candidate_endpoints.is_empty());
}

#[test]
fn a_policy_says_which_rule_chose_by_which_weight() {
    let policy = "
---
kind: ServicePolicy
name: b
rules:
- {match: {attribute: method, exact: POST}, to: [{tag: baseline}]}
- {to: [{tag: gray, weight: 3}, {tag: baseline, weight: 1}], sticky: {by: [{cookie: sid}]}}
";
    let request = Request { target: "/", lines: &[("cookie", "sid=hunter2")] };
    let response = outbound(&format!("{SHOP}{policy}"), 2, &request);
    let chosen = lines(&response);
    assert_eq!(
        chosen[2..],
        [
            "- b rules[0].match: method is \"GET\", not equal to \"POST\"",
            "- b rules[1].to: cookie sid is there (7 bytes, not shown): 0 of 4 among gray 3, baseline 1",
            "+ b rules[1]: chooses gray",
        ]
    );
    assert_eq!(response.steps[4].resource, "namespaces/default/servicePolicies/b");
}

#[test]
fn secrets_are_never_said() {
    const SECRET: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJodW50ZXIyIn0.x";
    let request = Request {
        target: "/",
        lines: &[("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJodW50ZXIyIn0.x"), ("cookie", "sid=hunter2")],
    };
    for test in [
        "{header: authorization, prefix: 'Bearer eyJhbGciOiJub25lIn0'}",
        "{header: cookie, regex: '.*hunter2'}",
        "{cookie: sid, exact: hunter2}",
        "{cookie: sid, in: [hunter2, hunter3]}",
        "{cookie: sid, present: true}",
        "{jwtClaim: sub, exact: hunter2}",
        "{jwtClaim: sub, exact: other, negate: true}",
    ] {
        let lane = format!("kind: Lane\nname: gray\nentry: {{services: [a], rules: [{{match: {test}}}]}}\n");
        let response = inbound(&lane, &request);
        assert_eq!(response.tag, "gray", "{test} holds");
        let said = lines(&response).join("\n");
        assert!(said.contains("bytes, not shown"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains(&SECRET[..8]), "{said}");
    }
}

#[test]
fn long_lists_and_values_are_cut() {
    let users: Vec<String> = (0..500).map(|user| format!("'{user}'")).collect();
    let lane = format!(
        "kind: Lane\nname: gray\nentry: {{services: [a], rules: [{{match: {{query: user, in: [{}]}}}}]}}\n",
        users.join(", ")
    );
    let target = "/?user=0123456789012345678901234567890123456789012345678901234567890123456789";
    let response = inbound(&lane, &Request { target, lines: &[] });
    assert_eq!(
        lines(&response)[1],
        "- gray entry.rules[0].match: query user is \"0123456789012345678901234567890123456789012345678901234567890123...\", \
         not in [0, 1, 2, 3, 4, 5, 6, 7, ... 492 more]"
    );
}

#[test]
fn steps_are_bounded_and_what_decided_is_kept() {
    let lane = |priority: usize| {
        let rule = |at: usize| format!("{{match: {{header: x-user-id, exact: '{}'}}}}", priority * 1_000 + at);
        let rules: Vec<String> = (0..250).map(rule).collect();
        let rules = rules.join(", ");
        format!("kind: Lane\nname: l{priority}\npriority: {priority}\nentry: {{services: [a], rules: [{rules}]}}\n")
    };
    let documents = (0..8).map(lane).collect::<Vec<_>>().join("---\n");
    let response = inbound(&documents, &Request { target: "/", lines: &[("x-user-id", "249")] });
    assert!(response.steps.len() <= STEPS_MAX + 2, "{}", response.steps.len());
    assert!(lines(&response).contains(&"+ l0 entry.rules[249]: rule 249 colours it l0".to_owned()));
    let none = inbound(&documents, &Request { target: "/", lines: &[("x-user-id", "unknown")] });
    assert_eq!(none.steps.len(), STEPS_MAX + 2);
    let last = lines(&none).pop().expect("there are steps");
    assert_eq!(last, "-  : 1001 further steps decided nothing and are left out");
}

#[test]
fn a_call_that_cannot_be_is_refused_by_field() {
    let header = |name: &str, value: &str| Pair { name: name.into(), value: value.into() };
    let call = |change: &dyn Fn(&mut admin::Call)| {
        let mut call = admin::Call::default();
        change(&mut call);
        Call::read(&call, "b").map(|_| ()).map_err(|bad| bad.field)
    };
    let refused = |field: &str, change: &dyn Fn(&mut admin::Call)| {
        assert_eq!(call(change), Err(field.to_owned()));
    };
    assert_eq!(call(&|_| {}), Ok(()));
    assert_eq!(call(&|call| call.headers = vec![header("X-User-Id", "100"), header("x-user-id", "")]), Ok(()));
    refused("headers[1].name", &|call| call.headers = vec![header("a", "b"), header("x user", "100")]);
    refused("headers[0].value", &|call| call.headers = vec![header("a", "b\r\nc: d")]);
    refused("headers", &|call| call.headers = vec![header("a", &"b".repeat(70_000))]);
    refused("path", &|call| call.path = "beta".into());
    refused("path", &|call| call.path = "/a b".into());
    refused("method", &|call| call.method = "GET /".into());
    refused("host", &|call| call.host = "http://b/".into());
    refused("dubbo_service", &|call| call.dubbo_service = "x".into());
    refused("dubbo_method", &|call| call.dubbo_method = "x".into());
    refused("dubbo_arguments_json", &|call| call.dubbo_arguments_json = vec!["1".into()]);
    refused("attachments", &|call| call.attachments = vec![header("a", "b")]);
    refused("topic", &|call| call.topic = "x".into());
    refused("properties", &|call| call.properties = vec![header("a", "b")]);
    refused("body", &|call| call.body = "x".into());
}
