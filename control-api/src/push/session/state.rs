//! One resource type of one stream: subscriptions, what was sent, what is in flight. Pure; used by [`super::Session`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use laneway_core::compile::WireResource;
use laneway_core::snapshot::Identity;
use laneway_proto::contract::TYPE_LANE;
use laneway_proto::discovery::{self, ResourceError, ResourceErrors};
use laneway_proto::rpc;
use laneway_proto::status::{ConfigState, ResourceStatus, TypeStatus};
use laneway_proto::xds::DeltaDiscoveryRequest;
use prost::Message;

use crate::fleet::Holding;

use super::{Heard, Now, Source};

const WILDCARD: &str = "*";
/// What a resource costs on the wire beside its bytes: name, version, tags and lengths.
const RESOURCE_OVERHEAD_BYTES: usize = 128;
/// What a name costs there beside its bytes.
const NAME_OVERHEAD_BYTES: usize = 8;
/// Details of refusals that are kept for people, of one type.
const ERRORS_MAX: usize = 100;
/// Bytes of a NACK's message that are kept.
const MESSAGE_BYTES_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct TypeState {
    /// Compare again at the next poll.
    pub(super) is_dirty: bool,
    /// The sidecar waits for a first answer, or asked for everything again.
    pub(super) owes_answer: bool,
    is_known: bool,
    wildcard: bool,
    keys: BTreeMap<String, Key>,
    sent: BTreeMap<String, Sent>,
    /// Names given up while the wildcard stays: the sidecar is told whether they are still there.
    farewells: BTreeSet<String>,
    in_flight: Option<InFlight>,
    times: Times,
    acked_revision: i64,
    sent_revision: i64,
    errors: Vec<ResourceError>,
}

/// What was asked for by name.
#[derive(Default)]
struct Key {
    /// Asked for and not answered yet: all of it is sent, whatever was sent before.
    is_fresh: bool,
    /// The sidecar knows that there is nothing.
    is_told_missing: bool,
}

struct Sent {
    version: String,
    /// Keys under which it was sent. Unknown: from before this stream.
    aliases: Option<BTreeSet<String>>,
    must_resend: bool,
    /// At the last comparison there was nothing to say about it.
    is_settled: bool,
    /// A lane that takes requests.
    is_on: bool,
    acked: Option<(String, i64)>,
    is_refused: bool,
}

struct InFlight {
    nonce: String,
    revision: i64,
    versions: Vec<(String, String)>,
    removed: Vec<String>,
}

#[derive(Default)]
struct Times {
    sent: Option<SystemTime>,
    ack: Option<SystemTime>,
    nack: Option<SystemTime>,
}

/// What a sidecar lacks, or has too much.
#[derive(Default)]
pub(super) struct Difference {
    pub(super) updates: Vec<Update>,
    /// Kept back for now, still due.
    held: usize,
    /// Keys without a resource, not yet told.
    missing: Vec<String>,
    removals: Vec<String>,
}

pub(super) struct Update {
    pub(super) resource: Arc<WireResource>,
    pub(super) aliases: BTreeSet<String>,
}

impl Difference {
    pub(super) fn is_something(&self) -> bool {
        self.held > 0 || !self.updates.is_empty() || !self.missing.is_empty() || !self.removals.is_empty()
    }

    pub(super) fn has_updates(&self) -> bool {
        !self.updates.is_empty()
    }

    pub(super) fn has_removals(&self) -> bool {
        !self.removals.is_empty()
    }

    /// Keeps those back that must wait.
    pub(super) fn hold(&mut self, must_wait: impl Fn(&str) -> bool) {
        let before = self.updates.len();
        self.updates.retain(|update| !must_wait(&update.resource.name));
        self.held += before - self.updates.len();
    }

    /// Takes as much as fits into one response; one thing at least, however large. Removals go with the last part.
    pub(super) fn take(&mut self, bytes_max: usize, may_remove: bool) -> Difference {
        let (mut bytes, mut is_first) = (0, true);
        let mut fits = |cost: usize| {
            bytes += cost;
            std::mem::replace(&mut is_first, false) || bytes <= bytes_max
        };
        let updates = self.updates.iter().take_while(|update| {
            let names: usize = update.aliases.iter().map(String::len).sum();
            fits(update.resource.body.len() + update.resource.name.len() + names + RESOURCE_OVERHEAD_BYTES)
        });
        let updates = updates.count();
        let mut batch = Difference { updates: self.updates.drain(..updates).collect(), ..Difference::default() };
        if !self.updates.is_empty() {
            return batch;
        }
        let mut names = |from: &mut Vec<String>| {
            let count = from.iter().take_while(|name| fits(name.len() + NAME_OVERHEAD_BYTES)).count();
            from.drain(..count).collect()
        };
        batch.missing = names(&mut self.missing);
        if self.missing.is_empty() && may_remove {
            batch.removals = names(&mut self.removals);
        }
        batch
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_something()
    }

    /// Resources that are gone and keys that stand for nothing: to the sidecar both are names that are not there.
    pub(super) fn removed_names(&self) -> Vec<String> {
        self.missing.iter().chain(&self.removals).cloned().collect()
    }
}

impl TypeState {
    pub(super) fn keys_count(&self) -> usize {
        self.keys.len() + self.farewells.len()
    }

    pub(super) fn has_key(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Takes an ACK or a NACK. One of another response than that in flight says nothing.
    pub(super) fn answered(&mut self, request: &DeltaDiscoveryRequest, now: Now) -> Heard {
        if request.response_nonce.is_empty() {
            return Heard::Request;
        }
        let Some(flight) = self.in_flight.take_if(|flight| flight.nonce == request.response_nonce) else {
            return Heard::Request;
        };
        let Some(status) = &request.error_detail else {
            for (name, version) in &flight.versions {
                self.acknowledge(name, version, flight.revision);
            }
            self.acked_revision = flight.revision;
            self.times.ack = Some(now.wall);
            return Heard::Ack;
        };
        self.times.nack = Some(now.wall);
        let errors = refusals(status, &flight);
        // Without details the whole response was refused.
        let is_everything = errors.is_empty();
        let errors = if is_everything { whole(status, &flight) } else { errors };
        for (name, version) in &flight.versions {
            if is_everything || errors.iter().any(|error| error.name == *name) {
                if let Some(sent) = self.sent.get_mut(name) {
                    sent.is_refused = true;
                }
            } else {
                // What is not listed was applied.
                self.acknowledge(name, version, flight.revision);
            }
        }
        self.errors.retain(|old| !errors.iter().any(|new| new.name == old.name));
        self.errors.extend(errors);
        self.errors.truncate(ERRORS_MAX);
        let words = self.errors.iter().map(|error| format!("{} {}: {}", error.name, error.field, error.message));
        let words: Vec<String> = words.collect();
        Heard::Nack(if words.is_empty() { cut(&status.message) } else { words.join("; ") })
    }

    fn acknowledge(&mut self, name: &str, version: &str, revision: i64) {
        if let Some(sent) = self.sent.get_mut(name).filter(|sent| sent.version == version) {
            sent.acked = Some((version.to_owned(), revision));
            sent.is_refused = false;
        }
        self.errors.retain(|error| error.name != name || error.version == version);
    }

    /// Takes subscriptions and what the sidecar still has from an older stream.
    pub(super) fn subscribe(&mut self, request: DeltaDiscoveryRequest) {
        let is_first = !std::mem::replace(&mut self.is_known, true);
        for (name, version) in request.initial_resource_versions {
            self.sent.entry(name).or_insert_with(|| Sent {
                acked: Some((version.clone(), 0)),
                version,
                aliases: None,
                must_resend: false,
                is_settled: true,
                is_on: false,
                is_refused: false,
            });
            self.is_dirty = true;
        }
        // The legacy form of "everything": a first request that names nothing.
        let is_legacy = is_first
            && request.resource_names_subscribe.is_empty()
            && request.resource_names_unsubscribe.is_empty()
            && request.response_nonce.is_empty();
        if is_legacy {
            self.wildcard = true;
            self.owes_answer = true;
            self.is_dirty = true;
        }
        for name in request.resource_names_subscribe {
            self.is_dirty = true;
            if name == WILDCARD {
                if self.wildcard {
                    self.sent.values_mut().for_each(|sent| sent.must_resend = true);
                }
                self.wildcard = true;
                self.owes_answer = true;
                continue;
            }
            // On a re-opened stream a resource that is asked for by its own name and still there needs no second sending.
            let is_held = is_first && self.sent.contains_key(&name);
            let key = self.keys.entry(name).or_default();
            key.is_fresh = !is_held;
            key.is_told_missing = false;
        }
        for name in request.resource_names_unsubscribe {
            self.unsubscribe(&name);
        }
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == WILDCARD {
            if std::mem::take(&mut self.wildcard) {
                self.owes_answer = false;
                self.sent.retain(|_, sent| sent.aliases.as_ref().is_none_or(|aliases| !aliases.is_empty()));
                self.is_dirty = true;
            }
            return;
        }
        if self.keys.remove(name).is_none() {
            return;
        }
        self.is_dirty = true;
        let wildcard = self.wildcard;
        if wildcard && !self.sent.contains_key(name) {
            self.farewells.insert(name.to_owned());
        }
        let in_flight = self.in_flight.as_ref();
        self.sent.retain(|resource, sent| {
            let Some(aliases) = &mut sent.aliases else { return true };
            if !aliases.remove(name) {
                return true;
            }
            if wildcard && resource == name {
                // It may still be there by the wildcard; the sidecar cannot know and is told.
                sent.must_resend = true;
            }
            // What no key stands for the sidecar drops by itself. What is still on its way to it, or about to be, may meet
            // the same key, asked for again: it is said once more, or removed by name.
            let is_on_its_way =
                in_flight.is_some_and(|flight| flight.versions.iter().any(|(sent, _)| sent == resource));
            sent.must_resend |= is_on_its_way;
            wildcard || !aliases.is_empty() || !sent.is_settled || is_on_its_way
        });
    }

    /// Compares what the sidecar wants with what it was sent.
    pub(super) fn compare(&mut self, type_url: &str, source: &dyn Source, node: &Identity) -> Difference {
        let mut wanted: Vec<Update> = Vec::new();
        if self.wildcard {
            let all = source.subscribed(type_url, node).into_iter();
            wanted.extend(all.map(|resource| Update { resource, aliases: BTreeSet::new() }));
        }
        let mut missing = Vec::new();
        for (name, key) in &mut self.keys {
            let answer = source.answer(type_url, name, node);
            if answer.is_empty() {
                if !key.is_told_missing {
                    missing.push(name.clone());
                }
                // Fresh until that is told: it may come to stand for something that is held already.
                continue;
            }
            let must_be_told = std::mem::take(&mut key.is_fresh) | std::mem::take(&mut key.is_told_missing);
            for resource in answer {
                if must_be_told && let Some(sent) = self.sent.get_mut(&resource.name) {
                    sent.must_resend = true;
                }
                wanted.push(Update { resource, aliases: BTreeSet::from([name.clone()]) });
            }
        }
        wanted.sort_by(|a, b| a.resource.name.cmp(&b.resource.name));
        wanted.dedup_by(|next, kept| {
            let is_same = next.resource.name == kept.resource.name;
            if is_same {
                kept.aliases.append(&mut next.aliases);
            }
            is_same
        });
        let is_wanted = |name: &String| wanted.binary_search_by(|update| update.resource.name.cmp(name)).is_ok();
        missing.extend(self.farewells.iter().filter(|name| !is_wanted(name)).cloned());
        // What is held and goes is told by its removal, in the order of removals, and not a second time.
        missing.retain(|name| !self.sent.contains_key(name));

        // Both in order of names: looked at side by side, for thousands of streams do this at each change.
        let (mut updates, mut removals) = (Vec::new(), Vec::new());
        let mut wanted = wanted.into_iter().peekable();
        for (name, sent) in &mut self.sent {
            while let Some(fresh) = wanted.next_if(|update| update.resource.name < *name) {
                updates.push(fresh);
            }
            let Some(update) = wanted.next_if(|update| update.resource.name == *name) else {
                sent.is_settled = false;
                removals.push(name.clone());
                continue;
            };
            let aliases = sent.aliases.get_or_insert_with(|| update.aliases.clone());
            sent.is_settled =
                !sent.must_resend && sent.version == update.resource.version && *aliases == update.aliases;
            if !sent.is_settled {
                updates.push(update);
            }
        }
        updates.extend(wanted);
        Difference { updates, held: 0, missing, removals }
    }

    /// Lanes among the updates that begin to take requests.
    pub(super) fn switched_on(&self, difference: &Difference) -> BTreeSet<String> {
        let updates = difference.updates.iter().map(|update| &update.resource);
        let turned = updates.filter(|lane| is_on(lane) && !self.sent.get(&lane.name).is_some_and(|sent| sent.is_on));
        turned.map(|lane| lane.name.clone()).collect()
    }

    /// A response with this batch is on its way.
    pub(super) fn sent(&mut self, batch: Difference, nonce: String, revision: i64, now: Now) {
        let mut versions = Vec::with_capacity(batch.updates.len());
        for update in batch.updates {
            let Update { resource, aliases } = update;
            let old = self.sent.remove(&resource.name);
            versions.push((resource.name.clone(), resource.version.clone()));
            let sent = Sent {
                version: resource.version.clone(),
                aliases: Some(aliases),
                must_resend: false,
                is_settled: true,
                is_on: is_on(&resource),
                acked: old.and_then(|old| old.acked),
                is_refused: false,
            };
            self.sent.insert(resource.name.clone(), sent);
        }
        for name in batch.missing.iter().chain(&batch.removals) {
            self.farewells.remove(name);
            if let Some(key) = self.keys.get_mut(name) {
                (key.is_fresh, key.is_told_missing) = (false, true);
            }
        }
        for name in &batch.removals {
            self.sent.remove(name);
            self.errors.retain(|error| error.name != *name);
        }
        self.owes_answer = false;
        self.sent_revision = revision;
        self.times.sent = Some(now.wall);
        self.in_flight = Some(InFlight { nonce, revision, versions, removed: batch.removals });
    }

    pub(super) fn holding(&self, name: &str) -> Holding {
        let is_being_removed =
            self.in_flight.as_ref().is_some_and(|flight| flight.removed.iter().any(|removed| removed == name));
        let holding =
            Holding { is_being_removed, is_unsettled: self.is_dirty || self.in_flight.is_some(), ..Holding::default() };
        match self.sent.get(name) {
            Some(sent) => Holding {
                sent_version: Some(sent.version.clone()),
                acked: sent.acked.clone(),
                is_refused: sent.is_refused,
                ..holding
            },
            None => holding,
        }
    }

    pub(super) fn report(&self, type_url: &str, full: bool) -> TypeStatus {
        let state = if !self.errors.is_empty() || self.sent.values().any(|sent| sent.is_refused) {
            ConfigState::Error
        } else if self.in_flight.is_some() {
            ConfigState::Stale
        } else if self.times.sent.is_none() {
            ConfigState::NotSent
        } else {
            ConfigState::Synced
        };
        let resources = self.sent.iter().map(|(name, sent)| ResourceStatus {
            name: name.clone(),
            sent_version: sent.version.clone(),
            acked_version: sent.acked.as_ref().map(|(version, _)| version.clone()).unwrap_or_default(),
        });
        TypeStatus {
            type_url: type_url.to_owned(),
            state: state.into(),
            sent_revision: self.sent_revision,
            acked_revision: self.acked_revision,
            subscribed_count: u32::try_from(self.keys.len() + usize::from(self.wildcard)).unwrap_or(u32::MAX),
            resource_count: u32::try_from(self.sent.len()).unwrap_or(u32::MAX),
            last_sent_time: self.times.sent.map(Into::into),
            last_ack_time: self.times.ack.map(Into::into),
            last_nack_time: self.times.nack.map(Into::into),
            errors: self.errors.clone(),
            resources: if full { resources.collect() } else { Vec::new() },
        }
    }
}

/// What a NACK refuses by name.
fn refusals(status: &rpc::Status, flight: &InFlight) -> Vec<ResourceError> {
    let named = status
        .details
        .iter()
        .filter(|detail| detail.type_url.ends_with("/laneway.discovery.v1.ResourceErrors"))
        .filter_map(|detail| ResourceErrors::decode(detail.value.as_slice()).ok())
        .flat_map(|errors| errors.errors)
        .filter(|error| flight.versions.iter().any(|(name, _)| *name == error.name));
    named.map(|error| ResourceError { message: cut(&error.message), ..error }).collect()
}

/// The same error for each resource of the response.
fn whole(status: &rpc::Status, flight: &InFlight) -> Vec<ResourceError> {
    let all = flight.versions.iter().take(ERRORS_MAX).map(|(name, version)| ResourceError {
        name: name.clone(),
        version: version.clone(),
        message: cut(&status.message),
        ..ResourceError::default()
    });
    all.collect()
}

fn cut(message: &str) -> String {
    let end = (0..=MESSAGE_BYTES_MAX.min(message.len())).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
    message[..end].to_owned()
}

/// A lane whose tag selects instances.
fn is_on(resource: &WireResource) -> bool {
    resource.type_url == TYPE_LANE
        && discovery::Lane::decode(resource.body.as_slice())
            .is_ok_and(|lane| lane.state() != discovery::lane::State::Disabled)
}
