//! A decision with its reasons: the decision itself runs, and the steps that it takes are put into words. For people who
//! ask the control plane or a sidecar; no request comes here.

use laneway_proto::admin::{ExplainRouteResponse, explain_route_response};
use laneway_proto::descriptors;
use prost_reflect::DynamicMessage;

use crate::decide::{self, Evidence, Inbound, Load, Outbound, Scratch};
use crate::facts::Facts;
use crate::hop::Hop;
use crate::snapshot::{Destination, EndpointAddr, Snapshot};
use crate::tag::Tag;
use crate::why::Why;

mod call;
mod recorder;

use recorder::Recorder;

pub use call::{BadCall, Call, query_pairs};
pub use explain_route_response::Step;

/// Instances that an answer names.
pub const CANDIDATES_MAX: usize = 20;
/// Steps of an answer; those beyond that decided nothing are only counted.
pub const STEPS_MAX: usize = 1_000;

/// [`decide::decide_inbound`], and why. `why` of the answer is left open: nothing was routed; the endpoint tag is that of
/// the instance which serves the request.
pub fn explain_inbound<'s>(
    snapshot: &'s Snapshot,
    facts: &Facts<'_>,
    port: u16,
    hop: Option<Hop>,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> (Inbound<'s>, ExplainRouteResponse) {
    let mut recorder = Recorder::new(snapshot, &snapshot.own.service);
    let inbound = decide::inbound(snapshot, facts, port, hop, load, scratch, &mut recorder);
    let serving = inbound.hand_over.map_or(snapshot.own.tag, |over| over.endpoint.tag);
    recorder.tag_came_from(inbound.source);
    if inbound.hand_over.is_some() {
        recorder.was_handed_over();
    }
    let response = ExplainRouteResponse {
        tag: inbound.tag.wire().unwrap_or_default().to_owned(),
        tag_source: inbound.source.into(),
        endpoint_tag: text(serving),
        ..recorder.finish()
    };
    (inbound, response)
}

/// [`decide::decide_outbound`], and why. `None` when `destination` is unknown.
pub fn explain_outbound<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    facts: &Facts<'_>,
    evidence: &dyn Evidence,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Option<(Outbound<'s>, ExplainRouteResponse)> {
    let mut recorder = Recorder::new(snapshot, name_of(destination));
    let outbound = decide::outbound(snapshot, destination, facts, evidence, load, scratch, &mut recorder)?;
    let response = of_outbound(recorder, &outbound);
    Some((outbound, response))
}

/// [`decide::decide_connection`], and why. `None` when `destination` is unknown.
pub fn explain_connection<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Option<(Outbound<'s>, ExplainRouteResponse)> {
    let mut recorder = Recorder::new(snapshot, name_of(destination));
    let outbound = decide::connection(snapshot, destination, load, scratch, &mut recorder)?;
    let response = of_outbound(recorder, &outbound);
    Some((outbound, response))
}

fn of_outbound(mut recorder: Recorder<'_>, outbound: &Outbound<'_>) -> ExplainRouteResponse {
    recorder.tag_came_from(outbound.source);
    recorder.went_there_because(outbound.why);
    ExplainRouteResponse {
        tag: outbound.tag.wire().unwrap_or_default().to_owned(),
        tag_source: outbound.source.into(),
        endpoint_tag: text(outbound.endpoint_tag),
        why: outbound.why.into(),
        ..recorder.finish()
    }
}

/// The answer about a destination that no service of ours has.
pub fn passed_through(what: &str) -> ExplainRouteResponse {
    let step = Step { message: format!("{what} is no service that this sidecar knows: passed through"), ..decided() };
    ExplainRouteResponse { why: Why::Passthrough.into(), steps: vec![step], ..ExplainRouteResponse::default() }
}

/// ProtoJSON of an answer.
pub fn to_json(response: &ExplainRouteResponse) -> serde_json::Value {
    let descriptor = descriptors().get_message_by_name("laneway.admin.v1.ExplainRouteResponse");
    let mut dynamic = DynamicMessage::new(descriptor.expect("the message is in the contract"));
    dynamic.transcode_from(response).expect("a message has the form of its own descriptor");
    serde_json::to_value(&dynamic).expect("messages of the contract have a JSON form")
}

/// Nothing runs, nothing is ejected: for whoever has no worker at hand.
pub struct Idle;

impl Load for Idle {
    fn outstanding(&self, _: EndpointAddr) -> u32 {
        0
    }

    fn is_ejected(&self, _: EndpointAddr) -> bool {
        false
    }

    fn has_ejected(&self) -> bool {
        false
    }
}

fn decided() -> Step {
    Step { decided: true, ..Step::default() }
}

fn name_of<'s>(destination: &Destination<'s>) -> &'s str {
    match destination {
        Destination::Known { service, .. } => &service.name,
        Destination::Unknown => "",
    }
}

fn text(tag: Option<Tag>) -> String {
    tag.map(|tag| tag.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
