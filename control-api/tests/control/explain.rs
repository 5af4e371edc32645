//! ExplainRoute and `lanectl explain`: a question in, the sidecars' own decision out.

use std::io::{Read, Write};

use laneway_proto::admin::call::Pair;
use laneway_proto::admin::{Call, ExplainRouteRequest};
use laneway_proto::routing::{TagSource, Why};
use tonic::Code;
use tonic_types::StatusExt;

use super::program::Control;

const LANES: &str = "
kind: LaneGroup
name: shop
---
kind: Lane
name: gray
group: shop
entry:
  services: [a]
  rules:
  - {name: users, match: {header: x-user-id, in: ['100', '120']}}
";

#[test]
fn lanectl_says_each_step_of_a_call() {
    let control = Control::start();
    control.apply(LANES);
    let call = ["explain", "--from", "a", "--to", "b", "-H", "x-user-id: 100"];
    assert_eq!(
        control.lanectl_ok(&call),
        "    OBJECT       FIELD                  SAYS
-   service a                           enters at a pod of baseline
-   group shop   tag.carriers           no tag is carried (x-mse-tag)
-   lane gray    entry.rules[0].match   header x-user-id is \"100\", in [100, 120]
✓   lane gray    entry.rules[0]         rule users colours it gray
-   service a                           the application is told x-mse-tag: gray, and calls with that and the headers of the request
✓   group shop   tag.carriers           header x-mse-tag carries gray
-   lane gray    tag                    the lane of tag gray
✓   service b                           1 of 1 instances with tag gray are usable: enough

b: Bgray, why hit, tag gray (carried)
one of 10.1.1.2:8080
"
    );
    let told = control.lanectl_ok(&["explain", "--from", "a", "--to", "b", "-H", "X-User-Id:101"]);
    assert!(told.contains("header x-user-id is \"101\", not in [100, 120]"), "{told}");
    assert!(told.ends_with("\nb: B, why baseline, no tag\none of 10.1.1.1:8080\n"), "{told}");
}

#[test]
fn lanectl_says_what_a_pod_makes_of_a_request_from_outside() {
    let control = Control::start();
    control.apply(LANES);
    let told = control.lanectl_ok(&["explain", "--to", "a", "-H", "x-user-id: 120"]);
    assert!(told.ends_with("\na: A, tag gray (rule)\n"), "{told}");
    let told = control.lanectl_ok(&["explain", "--to", "a", "--to-tag", "gray"]);
    assert!(told.contains("the pod stamps its own, gray"), "{told}");
    assert!(told.ends_with("\na: Agray, tag gray (pod)\n"), "{told}");
    let json: serde_json::Value =
        serde_json::from_str(&control.lanectl_ok(&["explain", "--to", "a", "-o", "json"])).expect("JSON");
    assert_eq!(json["tagSource"], "TAG_SOURCE_NONE");
    let lane = "namespaces/default/laneGroups/shop/lanes/gray";
    assert_eq!(
        control.lanectl_ok(&["explain", "--to", "a", "-H", "x-user-id: 120", "-o", "name"]),
        format!("{lane}\n")
    );
}

#[test]
fn what_is_not_committed_yet_can_be_tried() {
    let control = Control::start();
    control.apply(LANES);
    control
        .write("next.yaml", &LANES.replace("'100', '120'", "'7'").replace("name: gray\n", "name: gray\npriority: 3\n"));
    let ask = ["explain", "--from", "a", "--to", "b", "-H", "x-user-id: 7"];
    assert!(control.lanectl_ok(&ask).contains("b: B, why baseline, no tag"));
    let file = [ask.as_slice(), &["-f", "next.yaml"]].concat();
    assert!(control.lanectl_ok(&file).contains("b: Bgray, why hit, tag gray (carried)"));
    assert!(control.lanectl_ok(&ask).contains("b: B, why baseline, no tag"), "nothing was stored");
    control.write("bad.yaml", &LANES.replace("['100', '120']", "['100'], regex: '['"));
    let refused = control.lanectl(&[ask.as_slice(), &["-f", "bad.yaml"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("overlay.lanes[0].entry.rules[0].match"), "{said}");
}

#[test]
fn a_redirect_and_a_policy_are_followed_to_their_objects() {
    let control = Control::start();
    let policy = "---\nkind: ServicePolicy\nname: b\nrules: [{to: [{tag: gray}]}]\n";
    control.apply(&format!("{}{policy}", LANES.replace("services: [a]\n", "services: [a]\n  redirect: true\n")));
    let told = control.lanectl_ok(&["explain", "--from", "a", "--to", "b", "-H", "x-user-id: 100"]);
    for line in ["redirect: a gray at 10.1.0.2:8080 serves it", "enters at a pod of gray", "b: Bgray, why hit"] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    let told = control.lanectl_ok(&["explain", "--from", "a", "--to", "b"]);
    assert!(told.contains("✓   policy b"), "{told}");
    assert!(told.contains("b: Bgray, why policy, no tag"), "{told}");
    assert_eq!(control.lanectl(&["explain", "--to", "b", "-H", "nothing"]).status.code(), Some(2));
    assert_eq!(control.lanectl(&["explain", "--from", "a"]).status.code(), Some(2));
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_by_field() {
    let control = Control::start();
    let mut admin = control.admin().await;
    let good = ExplainRouteRequest {
        parent: "namespaces/default".into(),
        source_service: "a".into(),
        destination_service: "b".into(),
        call: Some(Call::default()),
        ..ExplainRouteRequest::default()
    };
    let response = admin.explain_route(good.clone()).await.expect("a good question").into_inner();
    assert_eq!((response.why(), response.tag_source()), (Why::Baseline, TagSource::None));
    type Change = fn(&mut ExplainRouteRequest);
    type Changes<'a> = &'a [(&'a str, &'a dyn Fn(&mut ExplainRouteRequest))];
    let call = |request: &mut ExplainRouteRequest, change: fn(&mut Call)| change(request.call.get_or_insert_default());
    let changes: Changes<'_> = &[
        ("parent", &((|r| r.parent = "default".into()) as Change)),
        ("source_service", &((|r| r.source_service = "nobody".into()) as Change)),
        ("source_tag", &((|r| r.source_tag = "Gray".into()) as Change)),
        ("source_tag", &((|r| (r.source_service, r.source_tag) = (String::new(), "gray".into())) as Change)),
        ("source_ip", &((|r| r.source_ip = "10.1".into()) as Change)),
        ("destination_service", &((|r| r.destination_service = String::new()) as Change)),
        ("destination_service", &((|r| r.destination_service = "nobody".into()) as Change)),
        ("destination_port", &((|r| r.destination_port = "grpc".into()) as Change)),
        ("destination_tag", &((|r| r.destination_tag = "gray".into()) as Change)),
        ("call", &((|r| r.call = None) as Change)),
        ("call.path", &|r| call(r, |call| call.path = "x".into())),
        ("call.headers[0].name", &|r| {
            call(r, |call| call.headers = vec![Pair { name: "a b".into(), value: String::new() }]);
        }),
        ("call.dubbo_service", &|r| call(r, |call| call.dubbo_service = "x".into())),
        ("call.topic", &|r| call(r, |call| call.topic = "x".into())),
        ("call.properties", &|r| call(r, |call| call.properties = vec![Pair::default()])),
        ("call.body", &|r| call(r, |call| call.body = "x".into())),
    ];
    for &(field, change) in changes {
        let mut request = good.clone();
        change(&mut request);
        let refused = admin.explain_route(request).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused}");
        let violations = refused.get_details_bad_request().expect("fields are named").field_violations;
        assert_eq!(violations[0].field, field, "{refused}");
    }
}

#[test]
fn a_question_can_be_asked_as_json() {
    let control = Control::start();
    control.apply(LANES);
    let ask = |target: &str, body: &str| {
        let address = control.api.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).expect("the API listens");
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text
    };
    let question = r#"{"destinationService": "a", "call": {"headers": [{"name": "x-user-id", "value": "100"}]}}"#;
    let told = ask("/v1/namespaces/default:explain", question);
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("\"TAG_SOURCE_RULE\""), "{told}");
    let bad = ask("/v1/namespaces/default:explain", r#"{"destinationService": "a", "call": {"topic": "x"}}"#);
    assert!(bad.starts_with("HTTP/1.1 400") && bad.contains("\"field\":\"call.topic\""), "{bad}");
    let unknown = ask("/v1/namespaces/default:explain", r#"{"colour": "red"}"#);
    assert!(unknown.starts_with("HTTP/1.1 400") && unknown.contains("colour"), "{unknown}");
    let other = ask("/v1/namespaces/default:exclaim", "{}");
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
}
