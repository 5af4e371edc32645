//! Which method a path stands for: the table, as the comments of the contract have it, and the way through it. Pure.

use axum::http::Method;
use laneway_proto::descriptors;
use prost_reflect::MessageDescriptor;

#[cfg(test)]
mod tests;

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none; what the address does not say are query parameters.
    None,
    /// The message.
    Whole,
    /// One field of it; the others are query parameters.
    Field(&'static str),
}

/// A method, and how it is called over HTTP.
pub(super) struct Route {
    pub(super) http: Method,
    template: Template,
    pub(super) body: Body,
    /// "/laneway.admin.v1.LaneAdmin/GetLane"
    pub(super) method: &'static str,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    pub(super) is_stream: bool,
}

/// A path, taken apart: `/v1/{name=namespaces/*/laneGroups/*}:verb`.
struct Template {
    segments: Vec<Segment>,
    /// Field that takes what its segments stand for, and which segments these are.
    variable: Option<(&'static str, std::ops::Range<usize>)>,
    verb: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    /// `*`
    One,
    /// `**`, the last one.
    Rest,
}

/// What a path leads to.
pub(super) enum Found<'a> {
    /// With the field that the path gives, and its value.
    Route(&'a Route, Option<(&'static str, String)>),
    /// It is there for other HTTP methods.
    OtherMethods(Vec<Method>),
    Nothing,
}

const LANE_ADMIN: &str = "/laneway.admin.v1.LaneAdmin/";
const MESH_STATUS: &str = "/laneway.status.v1.MeshStatus/";

/// HTTP method, path, body, method.
type Row = (Method, &'static str, Body, &'static str);

/// With those first whose last segment ends with a verb: an id may hold a colon, too.
pub(super) fn all() -> Vec<Route> {
    let group = "/v1/{name=namespaces/*/laneGroups/*}";
    let lane = "/v1/{name=namespaces/*/laneGroups/*/lanes/*}";
    let policy = "/v1/{name=namespaces/*/servicePolicies/*}";
    let rows: Vec<Row> = vec![
        (Method::POST, "/v1/{name=namespaces/*/laneGroups/*/lanes/*}:enable", Body::Whole, "EnableLane"),
        (Method::POST, "/v1/{name=namespaces/*/laneGroups/*/lanes/*}:disable", Body::Whole, "DisableLane"),
        (Method::POST, "/v1/{name=revisions/*}:rollback", Body::Whole, "Rollback"),
        (Method::POST, "/v1/{parent=namespaces/*}:explain", Body::Whole, "ExplainRoute"),
        (Method::POST, "/v1/bundle:apply", Body::Whole, "ApplyBundle"),
        (Method::GET, "/v1/bundle:export", Body::None, "ExportBundle"),
        (Method::GET, "/v1/proxies:watch", Body::None, "WatchProxies"),
        (Method::GET, "/v1/{name=namespaces/**}:rollout", Body::None, "GetRollout"),
        (Method::GET, "/v1/{name=namespaces/**}:watchRollout", Body::None, "WatchRollout"),
        (Method::GET, "/v1/stats:query", Body::None, "QueryLaneStats"),
        (Method::GET, "/v1/stats:watch", Body::None, "WatchLaneStats"),
        (Method::GET, "/v1/stats:topology", Body::None, "GetTopology"),
        (Method::POST, "/v1/{parent=namespaces/*}/laneGroups", Body::Field("lane_group"), "CreateLaneGroup"),
        (Method::GET, group, Body::None, "GetLaneGroup"),
        (Method::GET, "/v1/{parent=namespaces/*}/laneGroups", Body::None, "ListLaneGroups"),
        (
            Method::PATCH,
            "/v1/{lane_group.name=namespaces/*/laneGroups/*}",
            Body::Field("lane_group"),
            "UpdateLaneGroup",
        ),
        (Method::DELETE, group, Body::None, "DeleteLaneGroup"),
        (Method::POST, "/v1/{parent=namespaces/*/laneGroups/*}/lanes", Body::Field("lane"), "CreateLane"),
        (Method::GET, lane, Body::None, "GetLane"),
        (Method::GET, "/v1/{parent=namespaces/*/laneGroups/*}/lanes", Body::None, "ListLanes"),
        (Method::PATCH, "/v1/{lane.name=namespaces/*/laneGroups/*/lanes/*}", Body::Field("lane"), "UpdateLane"),
        (Method::DELETE, lane, Body::None, "DeleteLane"),
        (
            Method::POST,
            "/v1/{parent=namespaces/*}/servicePolicies",
            Body::Field("service_policy"),
            "CreateServicePolicy",
        ),
        (Method::GET, policy, Body::None, "GetServicePolicy"),
        (Method::GET, "/v1/{parent=namespaces/*}/servicePolicies", Body::None, "ListServicePolicies"),
        (
            Method::PATCH,
            "/v1/{service_policy.name=namespaces/*/servicePolicies/*}",
            Body::Field("service_policy"),
            "UpdateServicePolicy",
        ),
        (Method::DELETE, policy, Body::None, "DeleteServicePolicy"),
        (Method::GET, "/v1/revisions", Body::None, "ListRevisions"),
        (Method::GET, "/v1/{name=revisions/*}", Body::None, "GetRevision"),
        (Method::GET, "/v1/auditEvents", Body::None, "ListAuditEvents"),
        (Method::GET, "/v1/watch", Body::None, "Watch"),
        (Method::GET, "/v1/proxies", Body::None, "ListProxies"),
        (Method::GET, "/v1/{name=proxies/*}", Body::None, "GetProxy"),
        (Method::GET, "/v1/server", Body::None, "GetServerInfo"),
    ];
    rows.into_iter().map(route).collect()
}

fn route((http, path, body, method): Row) -> Route {
    let services = [LANE_ADMIN, MESH_STATUS]
        .into_iter()
        .filter_map(|service| descriptors().get_service_by_name(service.trim_matches('/')));
    let mut methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    let found = methods.find(|found| found.name() == method).expect("the contract has the method");
    let full: &'static str = format!("/{}/{method}", found.parent_service().full_name()).leak();
    Route {
        http,
        template: Template::parse(path),
        body,
        method: full,
        input: found.input(),
        output: found.output(),
        is_stream: found.is_server_streaming(),
    }
}

impl Template {
    fn parse(path: &'static str) -> Template {
        let (path, verb) = match path.rsplit_once(':') {
            Some((path, verb)) => (path, Some(verb)),
            None => (path, None),
        };
        let (mut segments, mut variable) = (Vec::new(), None);
        let mut rest = path.trim_start_matches('/');
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('{') {
                let (inner, after) = inner.split_once('}').expect("the brace is closed");
                let (field, pattern) = inner.split_once('=').expect("a variable has a pattern");
                let start = segments.len();
                segments.extend(pattern.split('/').map(Segment::parse));
                variable = Some((field, start..segments.len()));
                rest = after.trim_start_matches('/');
            } else {
                let (segment, after) = rest.split_once('/').unwrap_or((rest, ""));
                segments.push(Segment::parse(segment));
                rest = after;
            }
        }
        Template { segments, variable, verb }
    }

    /// The value of its variable, empty where it has none. None: the path is another.
    fn value(&self, path: &str) -> Option<String> {
        let path = match self.verb {
            Some(verb) => path.strip_suffix(verb)?.strip_suffix(':')?,
            None => path,
        };
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let has_rest = self.segments.last() == Some(&Segment::Rest);
        let fits = if has_rest { parts.len() >= self.segments.len() } else { parts.len() == self.segments.len() };
        let alike = |(segment, part): (&Segment, &&str)| match segment {
            Segment::Literal(literal) => literal == part,
            Segment::One | Segment::Rest => !part.is_empty(),
        };
        if !fits || !self.segments.iter().zip(&parts).all(alike) {
            return None;
        }
        let Some((_, range)) = &self.variable else { return Some(String::new()) };
        let end = if has_rest { parts.len() } else { range.end };
        let decoded: Option<Vec<String>> = parts[range.start..end].iter().map(|part| percent_decoded(part)).collect();
        Some(decoded?.join("/"))
    }
}

impl Segment {
    fn parse(text: &'static str) -> Segment {
        match text {
            "*" => Segment::One,
            "**" => Segment::Rest,
            literal => Segment::Literal(literal),
        }
    }
}

/// Finds what a path, as it stands in the request, leads to.
pub(super) fn find<'a>(routes: &'a [Route], http: &Method, path: &str) -> Found<'a> {
    let mut others = Vec::new();
    for route in routes {
        let Some(value) = route.template.value(path) else { continue };
        if route.http == *http {
            let field = route.template.variable.as_ref().map(|(field, _)| *field);
            return Found::Route(route, field.map(|field| (field, value)));
        }
        if !others.contains(&route.http) {
            others.push(route.http.clone());
        }
    }
    // A verb that is not in the table is no id of something else.
    let has_verb = path.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let is_verb = routes.iter().any(|route| route.template.verb.is_some() && route.template.value(path).is_some());
    if others.is_empty() || (has_verb && !is_verb) { Found::Nothing } else { Found::OtherMethods(others) }
}

/// None: it is not percent-encoded UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
