//! Runs tests/scenarios/*.yaml without a socket: documents are read, checked, compiled, decoded and decided upon, a pod's
//! sidecar being one snapshot. tests/scenarios/README.md says what the files hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use laneway_core::check::check;
use laneway_core::compile::{Catalog, Compiled, Objects, compile, sort};
use laneway_core::context::{Context, Passed};
use laneway_core::correlation::{Bounds, Correlations, Known};
use laneway_core::decide::{
    Evidence, InFlight, Inbound, Load, Outbound, Scratch, decide_connection, decide_inbound, decide_outbound,
};
use laneway_core::decode::{Resources, decode};
use laneway_core::document::{self, ServiceDocument};
use laneway_core::explain::{Step, explain_connection, explain_inbound, explain_outbound};
use laneway_core::facts::{Facts, Headers, Source};
use laneway_core::hop::Hop;
use laneway_core::in_flight::Contexts;
use laneway_core::name;
use laneway_core::snapshot::{Destination, Endpoint, EndpointAddr, Group, Identity, Snapshot};
use laneway_core::tag::{RequestTag, Tag};
use laneway_core::why::{Why, source_label, why_label};
use laneway_proto::admin::ExplainRouteResponse;
use laneway_proto::admin::diagnostic::Severity;
use laneway_proto::contract::FOLLOW_SECONDS_MAX;
use laneway_proto::routing::NewTrace;
use serde_json::{Value, json};

/// The second in which all this happens.
const NOW: u32 = 1000;
/// What a sidecar gives a request that has none.
const NEW_TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn every_scenario_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios");
    let mut failures = Vec::new();
    let mut cases = 0;
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("tests/scenarios is there")
        .map(|entry| entry.expect("an entry of a folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let file: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        known_keys(&file, &["title", "pods", "documents", "cases"]);
        for case in file["cases"].as_array().expect("cases is a list") {
            cases += 1;
            let claim = case["claim"].as_str().expect("a case has a claim");
            for dice in 0..case["repeat"].as_u64().unwrap_or(3) {
                if let Err(difference) = run(&file, case, dice) {
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    failures.push(format!("{file}: {claim}\n    {difference}"));
                    break;
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {cases} cases differ:\n{}", failures.len(), failures.join("\n"));
    assert!(cases > 100, "only {cases} cases were found");
}

fn run(file: &Value, case: &Value, dice: u64) -> Result<(), String> {
    let keys = [
        "claim",
        "pods",
        "documents",
        "repeat",
        "headers",
        "path",
        "host",
        "method",
        "enter",
        "forwards",
        "chain",
        "at",
        "peer",
        "handedOver",
        "hop",
        "unheard",
        "inbound",
        "from",
        "to",
        "opaque",
        "inFlight",
        "outbound",
    ];
    known_keys(case, &keys);
    let pick = |key: &str| if case[key].is_null() { &file[key] } else { &case[key] };
    let mut world = World::new(pick("pods"), pick("documents"))?;
    for (service, documents) in case["unheard"].as_object().into_iter().flatten() {
        world.unheard.insert(service.clone(), World::new(pick("pods"), documents)?.compiled);
    }
    if case["chain"].is_string() {
        return world.chain(case, dice);
    }
    if case["inbound"].is_object() {
        return world.inbound(case, dice);
    }
    if case["outbound"].is_object() {
        return world.outbound(case, dice);
    }
    Err("a case has chain, inbound or outbound".to_owned())
}

/// Everything that runs, and what the control plane makes of it.
struct World {
    compiled: Compiled,
    /// What the sidecars of some services have instead.
    unheard: BTreeMap<String, Compiled>,
    catalog: Catalog,
}

/// A pod, by service and tag.
#[derive(Clone, Copy, PartialEq)]
struct Pod<'a> {
    service: &'a str,
    tag: Option<Tag>,
}

impl<'a> Pod<'a> {
    fn parse(text: &'a str) -> Pod<'a> {
        let (service, tag) = text.split_once('/').unwrap_or((text, ""));
        Pod { service, tag: tag_of(tag) }
    }

    fn label(self) -> String {
        let (first, rest) = self.service.split_at(1);
        format!("{}{rest}{}", first.to_uppercase(), self.tag.map(|tag| tag.to_string()).unwrap_or_default())
    }
}

fn tag_of(text: &str) -> Option<Tag> {
    (!text.is_empty()).then(|| Tag::parse(text.as_bytes()).expect("a tag"))
}

impl World {
    fn new(pods: &Value, documents: &Value) -> Result<World, String> {
        let mut all = documents.as_array().cloned().unwrap_or_default();
        for (n, (service, instances)) in pods.as_object().into_iter().flatten().enumerate() {
            all.push(service_document(service, n + 1, instances));
        }
        let text = Value::Array(all).to_string();
        let documents = document::read(&text).map_err(|errors| format!("documents: {errors:?}"))?;
        let (objects, catalog, _): (Objects, _, _) = sort(documents).map_err(|errors| format!("{errors:?}"))?;
        let findings = check(&objects, &catalog);
        if let Some(error) = findings.iter().find(|finding| finding.severity() == Severity::Error) {
            return Err(format!("check: {error:?}"));
        }
        Ok(World { compiled: compile(&objects, &catalog), unheard: BTreeMap::new(), catalog })
    }

    fn snapshot(&self, pod: Pod<'_>) -> Snapshot {
        let identity = Identity { namespace: "default".into(), service: pod.service.into(), tag: pod.tag };
        let mut resources = Resources::default();
        for wire in self.unheard.get(pod.service).unwrap_or(&self.compiled).everything(&identity) {
            let decoded = decode(wire.type_url, &wire.name, &wire.version, &wire.body);
            resources.insert(decoded.unwrap_or_else(|errors| panic!("what compile emits, decode accepts: {errors:?}")));
        }
        resources.snapshot(&identity, 1)
    }

    fn document(&self, service: &str) -> &ServiceDocument {
        let name = name::service("default", service);
        self.catalog.services.get(&name).unwrap_or_else(|| panic!("no service {service}"))
    }

    fn address(&self, pod: Pod<'_>) -> SocketAddr {
        let mut endpoints = self.document(pod.service).endpoints.iter();
        endpoints.find(|endpoint| endpoint.tag == pod.tag).map(|endpoint| endpoint.address).expect("such a pod runs")
    }

    /// One request through all services, each application calling the next.
    fn chain(&self, case: &Value, dice: u64) -> Result<(), String> {
        let services: Vec<&str> = self.catalog.services.values().map(|service| service.name.as_str()).collect();
        let forwards: Vec<&str> = match case["forwards"].as_array() {
            None => vec!["tag"],
            Some(names) => names.iter().map(|name| name.as_str().expect("a name")).collect(),
        };
        let mut pod = Pod::parse(text(case, "enter"));
        let mut lines = headers(case);
        let mut caller: Option<Pod<'_>> = None;
        let mut hop = None;
        let mut labels: Vec<String> = Vec::new();
        loop {
            let snapshot = self.snapshot(pod);
            let mut scratch = Scratch::new(dice * 7919 + labels.len() as u64);
            let request = Request { lines: lines.clone(), case };
            let port = self.address(pod).port();
            let facts = request.facts(self.source(caller));
            let inbound = decide_inbound(&snapshot, &facts, port, hop, &Idle, &mut scratch);
            let tag_header = snapshot.group().tag_header.clone();
            let carriers = ["baggage".to_owned(), "tracestate".to_owned(), tag_header.clone()];
            lines.retain(|(name, _)| !carriers.contains(name) && !snapshot.group().aliases.contains(name));
            if let Some(value) = inbound.tag.wire() {
                lines.push((tag_header.clone(), value.to_owned()));
            }
            let group = snapshot.group();
            let mut told = Told::new(pod.tag);
            let arrived = Request { lines: lines.clone(), case };
            let context = Context::of(group, inbound.tag, &arrived);
            if context.is_some() && group.new_trace != NewTrace::Never && !group.ids.say_a_trace(&arrived) {
                lines.push(("traceparent".to_owned(), NEW_TRACE.to_owned()));
            }
            told.add(group, context, inbound.lane_seconds, &Request { lines: lines.clone(), case });
            if let Some(over) = inbound.hand_over {
                caller = Some(pod);
                pod = Pod { service: pod.service, tag: over.endpoint.tag };
                hop = Some(Hop::HandedOver);
                continue;
            }
            labels.push(pod.label());
            let next = services.iter().position(|service| *service == pod.service).map(|at| at + 1);
            let Some(next) = next.and_then(|at| services.get(at)) else { break };
            lines.retain(|(name, _)| {
                if *name == tag_header { forwards.contains(&"tag") } else { forwards.contains(&name.as_str()) }
            });
            let request = Request { lines: lines.clone(), case };
            let own = name::service("default", pod.service);
            let source = Source { service: &own, tag: pod.tag, address: None, is_meshed: false };
            let facts = request.facts(source);
            let address = SocketAddr::new(self.document(next).addresses[0], 80);
            let destination = snapshot.destination(Some(address), Some(next), None);
            let told = told.by(group, &request);
            let outbound = decide_outbound(&snapshot, &destination, &facts, &told, &Idle, &mut scratch)
                .ok_or_else(|| format!("{next} is unknown"))?;
            let Some(endpoint) = outbound.endpoint else {
                labels.push(format!("503 {} {next}", why_label(outbound.why)));
                break;
            };
            lines.retain(|(name, _)| *name != tag_header);
            if let Some(value) = outbound.leaves.wire() {
                lines.push((tag_header, value.to_owned()));
            }
            for Passed { name, value } in outbound.context.iter().flat_map(|context| &context.passed) {
                if !lines.iter().any(|(known, _)| **known == **name) {
                    lines.push((name.to_string(), String::from_utf8_lossy(value).into_owned()));
                }
            }
            caller = Some(pod);
            pod = Pod { service: next, tag: endpoint.tag };
            hop = outbound.hop;
        }
        same("chain", &labels.join(" -> "), text(case, "chain"))
    }

    fn inbound(&self, case: &Value, dice: u64) -> Result<(), String> {
        let pod = Pod::parse(text(case, "at"));
        let snapshot = self.snapshot(pod);
        let request = Request { lines: headers(case), case };
        let peer = case["peer"].as_str().map(Pod::parse);
        let facts = request.facts(self.source(peer));
        let hop = case["hop"].as_str().map(|hop| Hop::read(hop.as_bytes()).expect("something is told"));
        let hop = if case["handedOver"] == true { Some(Hop::HandedOver) } else { hop };
        let mut scratch = Scratch::new(dice);
        let port = self.address(pod).port();
        let inbound = decide_inbound(&snapshot, &facts, port, hop, &Idle, &mut scratch);
        let explained = explain_inbound(&snapshot, &facts, port, hop, &Idle, &mut Scratch::new(dice));
        same("explained", &format!("{:?}", explained.0), &format!("{inbound:?}"))?;
        inbound_is_explained(&inbound, &explained.1, &snapshot)?;
        let expected = &case["inbound"];
        known_keys(expected, &["tag", "source", "refused", "rule", "dryRun", "handOver"]);
        let rule = |rule: Option<(&str, &str)>| rule.map(|(lane, rule)| format!("{}/{rule}", name::id_of(lane)));
        let hand_over = inbound.hand_over.map(|over| endpoint_label(Some(over.endpoint)));
        let refused = inbound.refused.map(|refusal| format!("{refusal:?}"));
        compare(expected, "tag", Some(request_tag(inbound.tag)), false)?;
        compare(expected, "source", Some(source_label(inbound.source).to_owned()), false)?;
        compare(expected, "rule", rule(inbound.rule), false)?;
        compare(expected, "dryRun", rule(inbound.dry_run), true)?;
        compare(expected, "refused", refused.map(|text| text.to_lowercase()), true)?;
        compare(expected, "handOver", hand_over, true)
    }

    fn outbound(&self, case: &Value, dice: u64) -> Result<(), String> {
        let pod = Pod::parse(text(case, "from"));
        let snapshot = self.snapshot(pod);
        let to = Pod::parse(text(case, "to"));
        let address = match text(case, "to").contains('/') {
            true => self.address(to),
            false => SocketAddr::new(self.document(to.service).addresses[0], 80),
        };
        let destination = snapshot.destination(Some(address), None, None);
        assert!(matches!(destination, Destination::Known { .. }), "{address} is unknown");
        let own = name::service("default", pod.service);
        let request = Request { lines: headers(case), case };
        let facts = request.facts(Source { service: &own, tag: pod.tag, address: None, is_meshed: false });
        let group = snapshot.group();
        let mut told = Told::new(pod.tag);
        for running in case["inFlight"].as_array().into_iter().flatten() {
            let inbound = Request { lines: headers(running), case };
            let context = Context::of(group, tag_in_flight(running), &inbound);
            let ago = running["ago"].as_u64().unwrap_or(0) as u32;
            told.add(group, context, FOLLOW_SECONDS_MAX.saturating_sub(ago), &inbound);
        }
        let (mut scratch, mut again) = (Scratch::new(dice), Scratch::new(dice));
        let (outbound, explained) = if case["opaque"].as_bool().unwrap_or(false) {
            let explained = explain_connection(&snapshot, &destination, &Idle, &mut again);
            (decide_connection(&snapshot, &destination, &Idle, &mut scratch), explained)
        } else {
            let told = told.by(group, &request);
            let explained = explain_outbound(&snapshot, &destination, &facts, &told, &Idle, &mut again);
            (decide_outbound(&snapshot, &destination, &facts, &told, &Idle, &mut scratch), explained)
        };
        let outbound = outbound.ok_or("the destination is unknown")?;
        let (explained, response) = explained.ok_or("the destination of the explanation is unknown")?;
        same("explained endpoint", &endpoint_address(&explained), &endpoint_address(&outbound))?;
        outbound_is_explained(&outbound, &response, &snapshot)?;
        let expected = &case["outbound"];
        known_keys(expected, &["tag", "leaves", "hop", "source", "why", "endpoint", "refused", "doubt", "passed"]);
        let passed = outbound.context.iter().flat_map(|context| &context.passed);
        let passed = passed.map(|line| format!("{}: {}", line.name, String::from_utf8_lossy(&line.value)));
        let passed = Some(passed.collect::<Vec<_>>().join(", ")).filter(|passed| !passed.is_empty());
        compare(expected, "passed", passed, true)?;
        compare(expected, "doubt", outbound.doubt.map(|doubt| format!("{doubt:?}").to_lowercase()), true)?;
        let refused = outbound.refused.map(|refusal| format!("{refusal:?}").to_lowercase());
        compare(expected, "tag", Some(request_tag(outbound.tag)), false)?;
        compare(expected, "leaves", Some(request_tag(outbound.leaves)), false)?;
        compare(expected, "hop", outbound.hop.map(|hop| hop.wire().to_owned()), false)?;
        compare(expected, "source", Some(source_label(outbound.source).to_owned()), false)?;
        compare(expected, "why", Some(why_label(outbound.why).to_owned()), false)?;
        compare(expected, "endpoint", Some(endpoint_label(outbound.endpoint)), false)?;
        compare(expected, "refused", refused, true)
    }

    /// What the address of a peer tells.
    fn source(&self, peer: Option<Pod<'_>>) -> Source<'static> {
        let Some(peer) = peer else {
            return Source { address: Some(IpAddr::from([203, 0, 113, 7])), ..Source::default() };
        };
        let address = self.address(peer).ip();
        let service = name::service("default", peer.service).leak();
        Source { service, tag: peer.tag, address: Some(address), is_meshed: true }
    }
}

/// An explanation says what was decided, and its last step that decided names the object which did.
fn inbound_is_explained(inbound: &Inbound<'_>, response: &ExplainRouteResponse, own: &Snapshot) -> Result<(), String> {
    same("explained tag", &response.tag, inbound.tag.wire().unwrap_or_default())?;
    same("explained source", source_label(response.tag_source()), source_label(inbound.source))?;
    let group = &own.group().name;
    let lane = |tag: &str| format!("{group}/lanes/{tag}");
    let own_tag = own.identity.tag.map(|tag| tag.to_string()).unwrap_or_default();
    let expected = match (inbound.hand_over, inbound.rule) {
        (Some(over), _) => lane(&over.endpoint.tag.map_or(own_tag, |tag| tag.to_string())),
        (None, Some((lane, _))) => lane.to_owned(),
        (None, None) => group.clone(),
    };
    let at = last_decided(response)?;
    if at.message.starts_with("handed over") {
        return same("resource", &at.resource, own.own_service_name());
    }
    if inbound.tag == RequestTag::Baseline && at.field == "enabled" {
        return same("resource", name::group_of_lane(&at.resource), group);
    }
    same("resource", &at.resource, &expected)
}

fn outbound_is_explained(
    outbound: &Outbound<'_>,
    response: &ExplainRouteResponse,
    own: &Snapshot,
) -> Result<(), String> {
    same("explained tag", &response.tag, outbound.tag.wire().unwrap_or_default())?;
    same("explained source", source_label(response.tag_source()), source_label(outbound.source))?;
    same("explained why", why_label(response.why()), why_label(outbound.why))?;
    let endpoint_tag = outbound.endpoint_tag.map(|tag| tag.to_string()).unwrap_or_default();
    same("explained endpoint tag", &response.endpoint_tag, &endpoint_tag)?;
    match outbound.endpoint {
        None => same("candidates", &response.candidate_endpoints.len().to_string(), "0")?,
        Some(chosen) => {
            let chosen = chosen.address.0.to_string();
            let is_named = response.candidate_endpoints.contains(&chosen);
            same("the chosen instance is a candidate", &is_named.to_string(), "true")?;
        }
    }
    let at = last_decided(response)?;
    let group = &own.group().name;
    let service = &*outbound.service.name;
    let id = &*outbound.service.id;
    let lane = match outbound.tag {
        RequestTag::Lane(tag) => format!("{group}/lanes/{tag}"),
        RequestTag::None | RequestTag::Baseline => String::new(),
    };
    let expected: &[&str] = match outbound.why {
        Why::Hit | Why::Baseline | Why::NoEndpoint => &[service],
        Why::Policy => &[&name::policy("default", id)],
        // A tag without a lane has the group's fallback.
        Why::FallbackAbsent | Why::FallbackUnhealthy | Why::Any => &[&lane, group],
        Why::LaneOff | Why::StrictReject => &[&lane],
        Why::AmbiguousReject => &[group],
        Why::Dialled => &[service, &name::policy("default", id)],
        other => return Err(format!("{other:?} is not expected here")),
    };
    match expected.contains(&at.resource.as_str()) {
        true => Ok(()),
        false => Err(format!("{:?}: decided by {at:?}, expected one of {expected:?}", outbound.why)),
    }
}

fn last_decided(response: &ExplainRouteResponse) -> Result<&Step, String> {
    let mut decided = response.steps.iter().rev().filter(|step| step.decided);
    decided.next().ok_or_else(|| format!("no step decided: {:#?}", response.steps))
}

fn endpoint_address(outbound: &Outbound<'_>) -> String {
    outbound.endpoint.map_or_else(|| "none".to_owned(), |endpoint| endpoint.address.0.to_string())
}

fn service_document(service: &str, n: usize, instances: &Value) -> Value {
    let instances = instances.as_array().expect("pods of a service are a list");
    let endpoint = |(m, instance): (usize, &Value)| {
        let said = if instance.is_object() { instance.clone() } else { json!({ "tag": instance }) };
        json!({
            "address": format!("10.1.{n}.{}:8080", m + 1),
            "portName": "http",
            "tag": said["tag"].as_str().unwrap_or_default(),
            "weight": said["weight"].as_u64().unwrap_or(1),
            "state": said["state"].as_str().unwrap_or("ready"),
            "meshed": said["meshed"].as_bool().unwrap_or(true),
        })
    };
    json!({
        "kind": "Service",
        "name": service,
        "hosts": [service],
        "addresses": [format!("10.96.0.{n}")],
        "ports": [{"port": 80, "name": "http", "protocol": "detect"}],
        "endpoints": instances.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
    })
}

/// A head that a test wrote.
struct Request<'a> {
    lines: Vec<(String, String)>,
    case: &'a Value,
}

impl Request<'_> {
    fn facts<'f>(&'f self, source: Source<'f>) -> Facts<'f> {
        let word = |key: &str, default: &'static str| self.case[key].as_str().unwrap_or(default);
        Facts {
            method: word("method", "GET"),
            target: word("path", "/"),
            authority: word("host", "a"),
            headers: self,
            is_grpc: false,
            source,
        }
    }
}

impl Headers for Request<'_> {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.lines.iter().filter(|(n, _)| n == name).nth(index).map(|(_, value)| value.as_bytes())
    }
}

/// Nothing runs and nobody is ejected.
struct Idle;

impl Load for Idle {
    fn outstanding(&self, _: EndpointAddr) -> u32 {
        0
    }

    fn is_ejected(&self, _: EndpointAddr) -> bool {
        false
    }
}

fn headers(case: &Value) -> Vec<(String, String)> {
    let lines = case["headers"].as_array().into_iter().flatten();
    let split = |line: &Value| {
        let line = line.as_str().expect("a header is a text");
        let (name, value) = line.split_once(':').expect("a header is `name: value`");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    lines.map(split).collect()
}

fn tag_in_flight(value: &Value) -> RequestTag {
    match value.as_str().or(value["tag"].as_str()).expect("a tag") {
        "" => RequestTag::None,
        "baseline" => RequestTag::Baseline,
        tag => RequestTag::Lane(Tag::parse(tag.as_bytes()).expect("a tag")),
    }
}

/// What a pod's requests in flight tell.
struct Told {
    own: Option<Tag>,
    plain: u32,
    contexts: Contexts,
    correlations: Correlations,
}

impl Told {
    fn new(own: Option<Tag>) -> Told {
        let correlations = Correlations::new(Bounds { ids: 1000, bytes: 1 << 20, seconds: 60 });
        Told { own, plain: 0, contexts: Contexts::default(), correlations }
    }

    fn add(&mut self, group: &Group, context: Option<Arc<Context>>, lane_seconds: u32, request: &dyn Headers) {
        for id in group.ids.read(request) {
            self.correlations.begin(id, context.as_ref(), NOW);
        }
        match context {
            Some(context) => drop(self.contexts.begin(&context, NOW + lane_seconds)),
            None => self.plain += 1,
        }
    }

    /// For one call.
    fn by<'c>(&'c self, group: &'c Group, call: &'c dyn Headers) -> impl Evidence + 'c {
        ToldOf { told: self, group, call }
    }
}

struct ToldOf<'c> {
    told: &'c Told,
    group: &'c Group,
    call: &'c dyn Headers,
}

impl Evidence for ToldOf<'_> {
    fn correlated(&self) -> Known {
        let known = self.group.ids.read(self.call).map(|id| self.told.correlations.get(id, NOW));
        let mut known = known.filter(|known| *known != Known::Unknown);
        known.next().unwrap_or(Known::Unknown)
    }

    fn in_flight(&self) -> InFlight {
        self.told.contexts.view(self.told.plain, self.told.own)
    }

    fn followed(&self, tag: Tag) -> u32 {
        self.told.contexts.followed(tag, NOW)
    }
}

fn request_tag(tag: RequestTag) -> String {
    tag.wire().unwrap_or("none").to_owned()
}

fn endpoint_label(endpoint: Option<&Endpoint>) -> String {
    match endpoint {
        None => "none".to_owned(),
        Some(Endpoint { tag: None, .. }) => "baseline".to_owned(),
        Some(Endpoint { tag: Some(tag), .. }) => tag.to_string(),
    }
}

fn compare(expected: &Value, key: &str, actual: Option<String>, absence_counts: bool) -> Result<(), String> {
    match expected[key].as_str() {
        None if absence_counts && actual.is_some() => Err(format!("{key} is {actual:?}, expected none")),
        None => Ok(()),
        Some(wanted) => same(key, actual.as_deref().unwrap_or("none"), wanted),
    }
}

fn same(what: &str, actual: &str, expected: &str) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("{what} is {actual:?}, expected {expected:?}")) }
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {case}"))
}

fn known_keys(value: &Value, keys: &[&str]) {
    let unknown: BTreeMap<_, _> =
        value.as_object().into_iter().flatten().filter(|(key, _)| !keys.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "unknown keys {:?} in {value}", unknown.keys());
}
