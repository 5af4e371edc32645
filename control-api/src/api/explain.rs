//! ExplainRoute: what the sidecars would do with a request. Compiles and decodes what they would be sent, and runs their own
//! decision on it; nothing is sent anywhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use laneway_core::compile::{Catalog, Compiled, Objects, compile};
use laneway_core::decide::{HandOver, InFlight, Scratch};
use laneway_core::decode::{Resources, decode};
use laneway_core::document::ServiceDocument;
use laneway_core::explain::{Call, Idle, Step, explain_inbound, explain_outbound, passed_through};
use laneway_core::facts::Source;
use laneway_core::hop::Hop;
use laneway_core::snapshot::{Identity, Snapshot};
use laneway_core::tag::{RequestTag, Tag};
use laneway_proto::admin::{Bundle, ExplainRouteRequest, ExplainRouteResponse};
use laneway_proto::contract::BASELINE;
use tonic::Status;

use super::{Api, errors};
use crate::edit::Edit;
use crate::name;
use crate::reconcile::{self, Request, WriteError};

/// Shares without a key are drawn anew for each request; equal questions shall have equal answers.
const SEED: u64 = 0;
/// A request that was handed over is not handed over again.
const PODS_MAX: usize = 2;

pub(super) async fn explain(api: &Api, request: ExplainRouteRequest) -> Result<ExplainRouteResponse, Status> {
    let state = api.reconciler.state();
    let asked = Asked::read(&request, &state.catalog)?;
    let objects = match request.overlay {
        Some(overlay) => overlaid(api, overlay).await?,
        None => state.objects,
    };
    // Compiles every expression: not on a thread that serves others.
    let work = tokio::task::spawn_blocking(move || answer(&asked, &objects, &state.catalog));
    work.await.map_err(|_| Status::internal("the explanation failed"))?
}

/// A question that can be answered.
struct Asked {
    /// Resource name; `None`: from outside.
    source: Option<String>,
    /// Of the pod that the request enters.
    tag: Option<Tag>,
    from: Option<IpAddr>,
    destination: String,
    port: Option<String>,
    call: Call,
}

impl Asked {
    fn read(request: &ExplainRouteRequest, catalog: &Catalog) -> Result<Asked, Status> {
        let Some(namespace) = name::parse_namespace(&request.parent) else {
            return Err(errors::bad_field("parent", "is namespaces/{namespace}"));
        };
        if request.destination_service.is_empty() {
            return Err(errors::bad_field("destination_service", "is required"));
        }
        let destination = service(catalog, namespace, "destination_service", &request.destination_service)?;
        let source = match request.source_service.as_str() {
            "" => None,
            reference => Some(service(catalog, namespace, "source_service", reference)?),
        };
        let tags = [("source_tag", &request.source_tag), ("destination_tag", &request.destination_tag)];
        let [source_tag, destination_tag] = tags.map(|(field, text)| tag(field, text));
        let tag = match (&source, request.source_tag.is_empty(), request.destination_tag.is_empty()) {
            (None, false, _) => {
                return Err(errors::bad_field("source_tag", "is that of a pod of source_service, which is not given"));
            }
            (Some(_), _, false) => {
                let message = "goes only without source_service: the pod is chosen, not given";
                return Err(errors::bad_field("destination_tag", message));
            }
            (Some(_), ..) => source_tag?,
            (None, ..) => destination_tag?,
        };
        let from = match request.source_ip.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| errors::bad_field("source_ip", format!("{text:?} is no address")))?),
        };
        let port = (!request.destination_port.is_empty()).then(|| request.destination_port.clone());
        let ports = || destination.ports.iter().map(|port| port.name.as_str());
        if let Some(port) = port.as_deref().filter(|port| ports().all(|name| name != *port)) {
            let names = ports().collect::<Vec<_>>().join(", ");
            let message = format!("{} has no port {port:?}; its ports: {names}", destination.name);
            return Err(errors::bad_field("destination_port", message));
        }
        let call = request.call.as_ref().ok_or_else(|| errors::bad_field("call", "is required"))?;
        let entered = source.unwrap_or(destination);
        let call = Call::read(call, &entered.name)
            .map_err(|bad| errors::bad_field(&format!("call.{}", bad.field), bad.message))?;
        Ok(Asked {
            source: source.map(ServiceDocument::resource_name),
            tag,
            from,
            destination: destination.resource_name(),
            port,
            call,
        })
    }
}

fn service<'c>(
    catalog: &'c Catalog,
    namespace: &str,
    field: &str,
    reference: &str,
) -> Result<&'c ServiceDocument, Status> {
    let wanted = laneway_core::name::service_reference(namespace, reference);
    catalog.services.get(&wanted).ok_or_else(|| errors::bad_field(field, format!("{wanted} does not run")))
}

fn tag(field: &str, text: &str) -> Result<Option<Tag>, Status> {
    if text.is_empty() || text == BASELINE {
        return Ok(None);
    }
    Tag::parse(text.as_bytes()).map(Some).map_err(|error| errors::bad_field(field, format!("{text:?}: {error}")))
}

/// The objects as they would be; what an apply would refuse is refused here in the same words.
async fn overlaid(api: &Api, overlay: Bundle) -> Result<Arc<Objects>, Status> {
    let groups = overlay.lane_groups.iter().map(|group| &group.name).zip(0..);
    let lanes = overlay.lanes.iter().map(|lane| &lane.name).zip(0..);
    let policies = overlay.service_policies.iter().map(|policy| &policy.name).zip(0..);
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    places.extend(groups.map(|(name, at): (_, usize)| (name.clone(), format!("overlay.laneGroups[{at}]"))));
    places.extend(lanes.map(|(name, at): (_, usize)| (name.clone(), format!("overlay.lanes[{at}]"))));
    places.extend(policies.map(|(name, at): (_, usize)| (name.clone(), format!("overlay.servicePolicies[{at}]"))));
    let place = |resource: &str| places.get(resource).cloned().unwrap_or_else(|| resource.to_owned());
    let edit = Edit {
        groups: overlay.lane_groups,
        lanes: overlay.lanes,
        policies: overlay.service_policies,
        ..Edit::default()
    };
    let trial = Request { validate_only: true, ..Request::default() };
    let outcome = api.reconciler.write(trial, Box::new(move |_| Ok(edit.clone()))).await;
    let outcome = outcome.map_err(|error| errors::write(error, &place))?;
    if outcome.diagnostics.iter().any(reconcile::is_error) {
        return Err(errors::write(WriteError::Refused(outcome.diagnostics), &place));
    }
    Ok(outcome.objects)
}

fn answer(asked: &Asked, objects: &Objects, catalog: &Catalog) -> Result<ExplainRouteResponse, Status> {
    let compiled = compile(objects, catalog);
    let mut scratch = Scratch::new(SEED);
    let entry = asked.source.as_ref().unwrap_or(&asked.destination);
    let (pod, tag, mut response) = enter(asked, &compiled, entry, &mut scratch)?;
    if asked.source.is_some() {
        let own = pod.own_service_name();
        let header = &pod.group().tag_header;
        let told = tag.wire().map_or_else(|| format!("no {header}"), |tag| format!("{header}: {tag}"));
        let message = format!("the application is told {told}, and calls with that and the headers of the request");
        let mut steps = response.steps;
        steps.push(step(own, message));
        let host = laneway_core::name::id_of(&asked.destination);
        let call = asked.call.forwarded(pod.group(), tag, host);
        let source = Source { service: own, tag: pod.identity.tag, address: None, is_meshed: true };
        let destination = pod.destination_named(&asked.destination, asked.port.as_deref());
        let nothing = InFlight::default();
        let outbound = explain_outbound(&pod, &destination, &call.facts(source), &nothing, &Idle, &mut scratch);
        response = outbound.map_or_else(|| passed_through(&asked.destination), |(_, response)| response);
        steps.append(&mut response.steps);
        response.steps = steps;
    }
    response.steps.iter_mut().for_each(|step| place(step, objects));
    Ok(response)
}

/// The request arrives at a pod, which may hand it over: the pod that serves it in the end, and the tag it is told.
fn enter(
    asked: &Asked,
    compiled: &Compiled,
    service: &str,
    scratch: &mut Scratch,
) -> Result<(Snapshot, RequestTag, ExplainRouteResponse), Status> {
    let mut steps = Vec::new();
    let (mut tag, mut call, mut hop) = (asked.tag, asked.call.clone(), None);
    for _ in 0..PODS_MAX {
        let pod = sidecar(compiled, service, tag);
        let peer = asked.from.and_then(|address| pod.peer(address));
        let source = Source {
            service: peer.map_or("", |peer| &peer.service),
            tag: peer.and_then(|peer| peer.tag),
            address: asked.from,
            is_meshed: peer.is_some(),
        };
        let label = tag.map_or_else(|| BASELINE.to_owned(), |tag| tag.to_string());
        steps.push(step(service, format!("enters at a pod of {label}")));
        let port = pod.own_port(asked.port.as_deref().filter(|_| asked.source.is_none()));
        let (inbound, mut response) = explain_inbound(&pod, &call.facts(source), port, hop, &Idle, scratch);
        steps.append(&mut response.steps);
        let Some(HandOver { endpoint }) = inbound.hand_over.filter(|_| hop.is_none()) else {
            response.steps = steps;
            let tag = inbound.tag;
            return Ok((pod, tag, response));
        };
        tag = endpoint.tag;
        call = call.forwarded(pod.group(), inbound.tag, laneway_core::name::id_of(service));
        hop = Some(Hop::HandedOver);
    }
    Err(Status::internal("a request that was handed over was handed over again"))
}

/// What the sidecar of such a pod knows.
fn sidecar(compiled: &Compiled, service: &str, tag: Option<Tag>) -> Snapshot {
    let namespace = laneway_core::name::namespace_of(service);
    let identity =
        Identity { namespace: namespace.to_owned(), service: laneway_core::name::id_of(service).to_owned(), tag };
    let mut resources = Resources::default();
    for wire in compiled.everything(&identity) {
        match decode(wire.type_url, &wire.name, &wire.version, &wire.body) {
            Ok(decoded) => resources.insert(decoded),
            // A sidecar refuses it by name and goes on without it.
            Err(errors) => tracing::warn!(name = %wire.name, ?errors, "a sidecar would refuse this resource"),
        }
    }
    resources.snapshot(&identity, 1)
}

fn step(resource: &str, message: String) -> Step {
    Step { resource: resource.to_owned(), message, ..Step::default() }
}

/// A sidecar knows a lane with the fallback that holds for it: here a step is led back to the object that says it.
fn place(step: &mut Step, objects: &Objects) {
    let inherits = objects.lanes.get(&step.resource).is_some_and(|lane| lane.fallback.is_none());
    if inherits && step.field.starts_with("fallback") {
        step.resource = laneway_core::name::group_of_lane(&step.resource).to_owned();
    }
}
