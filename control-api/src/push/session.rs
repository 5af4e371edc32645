//! One delta stream as a state machine: what a sidecar wants, what it has, what may be sent now. Pure; no socket, no clock.
//!
//! ```text
//!                 request(DeltaDiscoveryRequest)           poll(View) -> responses
//!   sidecar  ------------------------------------>  Session  -------------------->  sidecar
//! ```
//! For each type: `keys` is what the sidecar asked for, `sent` is what it was given, and the two are kept apart: a key
//! without resources stays subscribed. One response is in flight; what changes meanwhile is sent as one when it is
//! answered. Nothing is ever sent that says nothing new, save the first answer for a type and what is asked for again.

mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use laneway_core::compile::WireResource;
use laneway_core::snapshot::Identity;
use laneway_proto::contract::{
    DISCOVERY_NAMES_MAX, DISCOVERY_RESPONSE_BYTES, TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_RECONNECT,
    TYPE_SERVICE, TYPE_SERVICE_POLICY,
};
use laneway_proto::status::TypeStatus;
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

use self::state::{Difference, TypeState};
use crate::fleet::Holding;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// What is pushed first: what others refer to; and before all what refers to nothing. Types not named here come after.
const ORDER: [&str; 6] =
    [TYPE_RECONNECT, TYPE_ENDPOINTS, TYPE_SERVICE, TYPE_SERVICE_POLICY, TYPE_LANE_GROUP, TYPE_LANE];
/// Longest wait of a lane that is switched on for its endpoints to be acknowledged.
const HOLD_MAX: Duration = Duration::from_secs(1);
/// Types of one stream: ours, and room for what a newer sidecar asks for.
pub(super) const TYPES_MAX: usize = 32;
/// Longest name: a service's, percent-encoded, and its namespace.
const NAME_BYTES_MAX: usize = 1024;

/// Bytes of names and versions that a sidecar may say it holds from an older stream.
const TOLD_BYTES_MAX: usize = 8 << 20;

/// What there is to send.
pub trait Source {
    /// What `*` means to this node.
    fn subscribed(&self, type_url: &str, node: &Identity) -> Vec<Arc<WireResource>>;
    /// What a key stands for, to this node.
    fn answer(&self, type_url: &str, key: &str, node: &Identity) -> Vec<Arc<WireResource>>;
}

/// What there is to send, at one moment.
#[derive(Clone, Copy)]
pub struct View<'v> {
    pub source: &'v dyn Source,
    /// Another one for each change of the source.
    pub edition: u64,
    /// Of the store, for people.
    pub revision: i64,
}

/// The time, from both clocks: one to wait by, one to show to people.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub steady: Instant,
    pub wall: SystemTime,
}

/// The sidecar broke a rule; the stream ends, saying so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("a request names no type_url")]
    NoType,
    #[error("more than {DISCOVERY_NAMES_MAX} names on one stream")]
    TooManyNames,
    #[error("a name of {0} bytes, more than {NAME_BYTES_MAX}")]
    LongName(usize),
    #[error("more than {TYPES_MAX} resource types on one stream")]
    TooManyTypes,
    #[error("more than {TOLD_BYTES_MAX} bytes of initial_resource_versions on one stream")]
    TooMuchTold,
}

/// What a request meant, for log and status.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Subscriptions, or a nonce of no response in flight.
    Request,
    Ack,
    /// What was refused, in words.
    Nack(String),
}

/// One stream.
pub struct Session {
    identity: Identity,
    /// By type URL, in the order in which they are pushed.
    types: Vec<(String, TypeState)>,
    /// Counts responses; a nonce is never used again on this stream.
    nonces: u64,
    /// The edition that everything was compared with last.
    edition: u64,
    /// Lanes that wait for endpoints, and until when at most; without a time: it has passed.
    held: BTreeMap<String, Option<Instant>>,
    /// Of `initial_resource_versions`: they stay until an answer makes room for their removal.
    told_bytes: usize,
}

impl Session {
    pub fn new(identity: Identity) -> Session {
        Session { identity, types: Vec::new(), nonces: 0, edition: 0, held: BTreeMap::new(), told_bytes: 0 }
    }

    /// Takes what the sidecar says. Subscriptions count even when the nonce is of an older response.
    pub fn request(&mut self, request: DeltaDiscoveryRequest, now: Now) -> Result<Heard, Violation> {
        if request.type_url.is_empty() {
            return Err(Violation::NoType);
        }
        let names: usize = self.types.iter().map(|(_, state)| state.keys_count()).sum();
        if names + request.resource_names_subscribe.len() > DISCOVERY_NAMES_MAX {
            let fresh = request.resource_names_subscribe.iter();
            let state = self.state(&request.type_url);
            let fresh = fresh.filter(|name| !state.is_some_and(|state| state.has_key(name))).count();
            if names + fresh > DISCOVERY_NAMES_MAX {
                return Err(Violation::TooManyNames);
            }
        }
        let told = request.initial_resource_versions.iter().map(|(name, version)| name.len() + version.len());
        self.told_bytes += told.sum::<usize>();
        if self.told_bytes > TOLD_BYTES_MAX {
            return Err(Violation::TooMuchTold);
        }
        let told = request.resource_names_subscribe.iter().chain(request.initial_resource_versions.keys());
        if let Some(long) = told.map(String::len).find(|&length| length > NAME_BYTES_MAX) {
            return Err(Violation::LongName(long));
        }
        let at = match self.types.iter().position(|(type_url, _)| *type_url == request.type_url) {
            Some(at) => at,
            None if self.types.len() >= TYPES_MAX => return Err(Violation::TooManyTypes),
            None => {
                let place = self.types.partition_point(|(type_url, _)| rank(type_url) <= rank(&request.type_url));
                self.types.insert(place, (request.type_url.clone(), TypeState::default()));
                place
            }
        };
        let (_, state) = &mut self.types[at];
        let heard = state.answered(&request, now);
        state.subscribe(request);
        Ok(heard)
    }

    /// One type is to be compared at the next poll, whatever the edition.
    pub fn look_again(&mut self, type_url: &str) {
        let state = self.types.iter_mut().find(|(known, _)| known == type_url);
        if let Some((_, state)) = state {
            state.is_dirty = true;
        }
    }

    /// What is to be sent now, in order. Of a new edition everything is compared, whoever was told of it and whoever was not.
    pub fn poll(&mut self, view: View<'_>, now: Now) -> Vec<DeltaDiscoveryResponse> {
        let View { source, edition, revision } = view;
        if std::mem::replace(&mut self.edition, edition) != edition {
            self.types.iter_mut().for_each(|(_, state)| state.is_dirty = true);
        }
        let compare = |(type_url, state): &mut (String, TypeState)| match state.is_dirty {
            true => state.compare(type_url, source, &self.identity),
            false => Difference::default(),
        };
        let mut differences: Vec<Difference> = self.types.iter_mut().map(compare).collect();
        self.hold_lanes(&mut differences, now);

        let mut responses = Vec::new();
        // Upwards what is new; a removal only where nothing above still leans on what goes.
        for at in 0..differences.len() {
            let leaned_on = differences[at + 1..].iter().any(Difference::is_something);
            responses.extend(self.send(at, &mut differences[at], !leaned_on, revision, now));
        }
        // Downwards the removals that waited for the types above.
        for at in (0..differences.len()).rev() {
            let leaned_on = differences[at + 1..].iter().any(Difference::is_something);
            if !leaned_on && differences[at].has_removals() {
                responses.extend(self.send(at, &mut differences[at], true, revision, now));
            }
        }
        for ((_, state), difference) in self.types.iter_mut().zip(&differences) {
            state.is_dirty = difference.is_something() || (state.is_dirty && state.owes_answer);
        }
        responses
    }

    /// When to poll again though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.values().flatten().min().copied()
    }

    /// Nothing is sent and not yet answered.
    pub fn is_answered(&self) -> bool {
        !self.types.iter().any(|(_, state)| state.is_in_flight())
    }

    /// What this sidecar has of one resource.
    pub fn holding(&self, type_url: &str, name: &str) -> Holding {
        self.state(type_url).map(|state| state.holding(name)).unwrap_or_default()
    }

    /// For people. `full`: with every resource.
    pub fn report(&self, full: bool) -> Vec<TypeStatus> {
        self.types.iter().map(|(type_url, state)| state.report(type_url, full)).collect()
    }

    fn state(&self, type_url: &str) -> Option<&TypeState> {
        self.types.iter().find(|(known, _)| known == type_url).map(|(_, state)| state)
    }

    /// A lane that is switched on waits until the endpoints that were sent before it are acknowledged, or for a second:
    /// else its requests would find no instance and fall back. One that is switched off never waits.
    fn hold_lanes(&mut self, differences: &mut [Difference], now: Now) {
        let at = |wanted: &str| self.types.iter().position(|(type_url, _)| type_url == wanted);
        let Some(lanes) = at(TYPE_LANE) else { return };
        let endpoints_settled = at(TYPE_ENDPOINTS)
            .is_none_or(|endpoints| !self.types[endpoints].1.is_in_flight() && !differences[endpoints].has_updates());
        let holdable = self.types[lanes].1.switched_on(&differences[lanes]);
        // What was switched off meanwhile, or went, waits for nothing.
        self.held.retain(|lane, _| holdable.contains(lane));
        if endpoints_settled {
            self.held.clear();
            return;
        }
        // Each its own second: one that has waited lets no other go early.
        for lane in holdable {
            let until = self.held.entry(lane).or_insert(Some(now.steady + HOLD_MAX));
            until.take_if(|until| *until <= now.steady);
        }
        differences[lanes].hold(|lane| self.held.get(lane).is_some_and(Option::is_some));
    }

    fn send(
        &mut self,
        at: usize,
        difference: &mut Difference,
        may_remove: bool,
        revision: i64,
        now: Now,
    ) -> Option<DeltaDiscoveryResponse> {
        let (type_url, state) = &mut self.types[at];
        if state.is_in_flight() {
            return None;
        }
        let batch = difference.take(DISCOVERY_RESPONSE_BYTES, may_remove);
        // The first answer says "that is all there is" even when there is nothing.
        let is_first_answer = state.owes_answer && !difference.is_something();
        if batch.is_empty() && !is_first_answer {
            return None;
        }
        self.nonces += 1;
        let nonce = format!("{:x}", self.nonces);
        let resources = batch.updates.iter().map(|update| Resource {
            version: update.resource.version.clone(),
            resource: Some(prost_types::Any {
                type_url: update.resource.type_url.to_owned(),
                value: update.resource.body.clone(),
            }),
            name: update.resource.name.clone(),
            aliases: update.aliases.iter().filter(|alias| **alias != update.resource.name).cloned().collect(),
            ttl: None,
        });
        let response = DeltaDiscoveryResponse {
            system_version_info: revision.to_string(),
            resources: resources.collect(),
            type_url: type_url.clone(),
            nonce: nonce.clone(),
            removed_resources: batch.removed_names(),
        };
        state.sent(batch, nonce, revision, now);
        Some(response)
    }
}

/// Our types in push order, then the others.
fn rank(type_url: &str) -> usize {
    ORDER.iter().position(|known| *known == type_url).unwrap_or(ORDER.len())
}
