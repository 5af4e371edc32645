//! The table against the contract, and paths that lead to methods.

use std::collections::BTreeMap;
use std::path::Path;

use axum::http::Method;
use laneway_proto::descriptors;

use super::{Found, all, find};

/// Of each method of a .proto file: the HTTP method and path that its comment begins with.
fn comments(file: &str, service: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/laneway").join(file);
    let text = std::fs::read_to_string(path).expect("the contract is there");
    let mut found = BTreeMap::new();
    let mut comment = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("//") {
            comment.push_str(words);
            continue;
        }
        if let Some((method, _)) = line.strip_prefix("rpc ").and_then(|rest| rest.split_once('(')) {
            let mut words = comment.split_whitespace();
            let (http, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let path = path.split('?').next().unwrap_or_default().trim_end_matches('.');
            found.insert(format!("/{service}/{method}"), format!("{http} {path}"));
        }
        comment.clear();
    }
    found
}

#[test]
fn every_method_has_the_path_that_the_contract_says() {
    let mut contract = comments("admin/v1/admin.proto", "laneway.admin.v1.LaneAdmin");
    contract.extend(comments("status/v1/status.proto", "laneway.status.v1.MeshStatus"));
    let services = ["laneway.admin.v1.LaneAdmin", "laneway.status.v1.MeshStatus"];
    let methods = services.iter().flat_map(|name| {
        let service = descriptors().get_service_by_name(name).expect("it is in the contract");
        service.methods().map(|method| format!("/{name}/{}", method.name())).collect::<Vec<_>>()
    });
    assert_eq!(methods.collect::<Vec<_>>().len(), contract.len());

    let written = |route: &super::Route| {
        let mut path = String::new();
        let range = route.template.variable.as_ref().map_or(0..0, |(_, range)| range.clone());
        for (at, segment) in route.template.segments.iter().enumerate() {
            let text = match segment {
                super::Segment::Literal(text) => text,
                super::Segment::One => "*",
                super::Segment::Rest => "**",
            };
            let open = match &route.template.variable {
                Some((field, range)) if range.start == at => format!("{{{field}="),
                _ => String::new(),
            };
            let close = if range.end == at + 1 { "}" } else { "" };
            path.push_str(&format!("/{open}{text}{close}"));
        }
        let verb = route.template.verb.map(|verb| format!(":{verb}")).unwrap_or_default();
        (route.method.to_owned(), format!("{} {path}{verb}", route.http))
    };
    let table: BTreeMap<String, String> = all().iter().map(written).collect();
    assert_eq!(table, contract);
    assert_eq!(table.len(), all().len(), "a method stands twice in the table");
}

#[test]
fn a_path_leads_to_its_method() {
    let routes = all();
    let led = |http: Method, path: &str| match find(&routes, &http, path) {
        Found::Route(route, value) => {
            let method = route.method.rsplit('/').next().unwrap_or_default();
            value.map_or(method.to_owned(), |(field, value)| format!("{method} {field}={value}"))
        }
        Found::OtherMethods(others) => format!("{others:?}"),
        Found::Nothing => "nothing".to_owned(),
    };
    for (http, path, expected) in [
        (Method::GET, "/v1/namespaces/shop/laneGroups", "ListLaneGroups parent=namespaces/shop"),
        (Method::GET, "/v1/namespaces/-/laneGroups/-/lanes", "ListLanes parent=namespaces/-/laneGroups/-"),
        (Method::GET, "/v1/namespaces/a/laneGroups/b/lanes/c", "GetLane name=namespaces/a/laneGroups/b/lanes/c"),
        (Method::PATCH, "/v1/namespaces/a/laneGroups/b", "UpdateLaneGroup lane_group.name=namespaces/a/laneGroups/b"),
        (
            Method::POST,
            "/v1/namespaces/a/laneGroups/b/lanes/c:enable",
            "EnableLane name=namespaces/a/laneGroups/b/lanes/c",
        ),
        (Method::GET, "/v1/namespaces/a/laneGroups/b:rollout", "GetRollout name=namespaces/a/laneGroups/b"),
        (Method::GET, "/v1/namespaces/a/servicePolicies/b:rollout", "GetRollout name=namespaces/a/servicePolicies/b"),
        // A colon of an id, a percent sign of an id.
        (Method::GET, "/v1/namespaces/a/servicePolicies/b:c", "GetServicePolicy name=namespaces/a/servicePolicies/b:c"),
        (
            Method::GET,
            "/v1/namespaces/a/servicePolicies/b%3Arollout",
            "GetServicePolicy name=namespaces/a/servicePolicies/b:rollout",
        ),
        (
            Method::GET,
            "/v1/namespaces/a/servicePolicies/b%252Fc",
            "GetServicePolicy name=namespaces/a/servicePolicies/b%2Fc",
        ),
        (Method::GET, "/v1/watch", "Watch"),
        (Method::POST, "/v1/bundle:apply", "ApplyBundle"),
        (Method::GET, "/v1/bundle:apply", "[POST]"),
        (Method::PUT, "/v1/namespaces/a/laneGroups/b", "[GET, PATCH, DELETE]"),
        (Method::GET, "/v1/namespaces/a", "nothing"),
        (Method::GET, "/v1/namespaces//laneGroups", "nothing"),
        (Method::GET, "/v1/namespaces/%ff/laneGroups", "nothing"),
        (Method::GET, "/v1/namespaces/%+a/laneGroups", "nothing"),
        (Method::POST, "/v1/revisions/1:rollforward", "nothing"),
        (Method::GET, "/v1/", "nothing"),
    ] {
        assert_eq!(led(http.clone(), path), expected, "{http} {path}");
    }
}
