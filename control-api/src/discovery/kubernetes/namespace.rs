//! One namespace: which pods are of which service, and which fronts (Kubernetes Services) they are behind.
//!
//! A front is an address of the service that its pods belong to. It is a service of its own if they belong to several, if it stands for
//! a part of them, or if another front of the same pods leads elsewhere by the same port. Addresses of slices that are no pod's are
//! instances of the service that is named like their front. What a change may alter is noted as touched: too much costs time, too
//! little is a bug, which the property test finds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use laneway_core::snapshot::EndpointState;

pub(super) use self::making::Finding;
use self::making::Making;
use super::super::{PodService, PodTag};
use super::kind::Kind;
use super::objects::{FrontFact, PodFact, SliceFact};

mod mains;
mod making;

#[derive(Default)]
pub(super) struct Namespace {
    pods: BTreeMap<Arc<str>, Member>,
    fronts: BTreeMap<Arc<str>, Front>,
    slices: BTreeMap<Arc<str>, SliceFact>,
    /// Of each front, known or not.
    slices_of: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// The pods of each service.
    services: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    touched: BTreeSet<Maker>,
}

/// What a document is made of: a service of the pods, or a front that is a service of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Maker {
    Service(Arc<str>),
    Front(Arc<str>),
}

struct Member {
    fact: PodFact,
    /// In order.
    fronts: Vec<Arc<str>>,
    service: Option<Arc<str>>,
}

struct Front {
    fact: FrontFact,
    pods: BTreeSet<Arc<str>>,
    /// Those of its pods, with how many each has.
    services: BTreeMap<Arc<str>, usize>,
}

impl Maker {
    pub(super) fn words(&self, namespace: &str) -> String {
        match self {
            Maker::Service(id) => format!("service {namespace}/{id}"),
            Maker::Front(name) => format!("Kubernetes Service {namespace}/{name}"),
        }
    }
}

impl Member {
    /// The service that it says, else the first front.
    fn wanted(&self) -> Option<&Arc<str>> {
        self.fact.service.as_ref().filter(|_| self.fact.problem.is_none()).or(self.fronts.first())
    }
}

impl Namespace {
    pub(super) fn pod(&self, name: &str) -> Option<&PodFact> {
        self.pods.get(name).map(|member| &member.fact)
    }

    pub(super) fn front(&self, name: &str) -> Option<&FrontFact> {
        self.fronts.get(name).map(|front| &front.fact)
    }

    pub(super) fn slice(&self, name: &str) -> Option<&SliceFact> {
        self.slices.get(name)
    }

    pub(super) fn names(&self, kind: Kind) -> Box<dyn Iterator<Item = &Arc<str>> + '_> {
        match kind {
            Kind::Pods => Box::new(self.pods.keys()),
            Kind::Services => Box::new(self.fronts.keys()),
            Kind::Slices => Box::new(self.slices.keys()),
        }
    }

    pub(super) fn service_of(&self, pod: &str, uid: &str) -> PodService {
        let member = self.pods.get(pod).filter(|member| *member.fact.uid == *uid);
        let Some(member) = member else { return PodService::Unknown };
        member.service.as_deref().map_or(PodService::OfNone, |service| PodService::Of(service.to_owned()))
    }

    pub(super) fn tag_of(&self, pod: &str, uid: Option<&str>) -> PodTag {
        let fact = self.pod(pod).filter(|fact| fact.problem.is_none() && uid.is_none_or(|uid| *fact.uid == *uid));
        fact.map_or(PodTag::Unknown, |fact| fact.tag.map_or(PodTag::Baseline, PodTag::Of))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.fronts.is_empty() && self.slices.is_empty()
    }

    /// The pod as it was.
    pub(super) fn set_pod(&mut self, name: &str, fact: Option<PodFact>) -> Option<PodFact> {
        let old = self.take_pod(name);
        if let Some(fact) = fact {
            self.put_pod(name.into(), fact);
        }
        old
    }

    pub(super) fn set_front(&mut self, name: &str, fact: Option<FrontFact>) {
        let name: Arc<str> = name.into();
        self.touch_front(&name);
        match fact {
            Some(fact) => match self.fronts.get_mut(&name) {
                Some(front) => front.fact = fact,
                None => {
                    let front = Front { fact, pods: BTreeSet::new(), services: BTreeMap::new() };
                    self.fronts.insert(Arc::clone(&name), front);
                }
            },
            None => {
                self.regroup(&name, BTreeSet::new());
                self.fronts.remove(&name);
            }
        }
        self.regroup(&name, self.pods_behind(&name));
        self.touch_front(&name);
        // It may have instances that are no pods.
        self.touched.insert(Maker::Service(name));
    }

    pub(super) fn set_slice(&mut self, name: &str, fact: Option<SliceFact>) {
        let name: Arc<str> = name.into();
        let fronts: BTreeSet<Arc<str>> =
            self.slices.get(&name).into_iter().chain(&fact).map(|slice| Arc::clone(&slice.front)).collect();
        fronts.iter().for_each(|front| self.touch_front(front));
        if let Some(old) = self.slices.remove(&name)
            && let Some(slices) = self.slices_of.get_mut(&old.front)
        {
            slices.remove(&name);
            if slices.is_empty() {
                self.slices_of.remove(&old.front);
            }
        }
        if let Some(fact) = fact {
            self.slices_of.entry(Arc::clone(&fact.front)).or_default().insert(Arc::clone(&name));
            self.slices.insert(name, fact);
        }
        for front in fronts {
            self.regroup(&front, self.pods_behind(&front));
            self.touch_front(&front);
            self.touched.insert(Maker::Service(front));
        }
    }

    /// What is to be made anew, services before fronts.
    pub(super) fn take_touched(&mut self) -> BTreeSet<Maker> {
        let mut touched = std::mem::take(&mut self.touched);
        // Whether a front is a service of its own also depends on the other fronts of its pods, and on whether its name is free.
        let mut fronts = BTreeSet::new();
        for maker in &touched {
            if let Maker::Service(id) = maker {
                fronts.extend(self.fronts_of(id).into_iter().chain([id]).cloned());
            }
        }
        touched.extend(fronts.into_iter().map(Maker::Front));
        touched
    }

    /// Makes documents of it as it stands.
    pub(super) fn making<'a>(&'a self, name: &'a str) -> Making<'a> {
        Making::new(name, self)
    }

    /// The fronts that pods of a service are behind.
    fn fronts_of(&self, service: &str) -> BTreeSet<&Arc<str>> {
        let members = self.services.get(service).into_iter().flatten().filter_map(|pod| self.pods.get(pod));
        // Many pods are behind the same ones.
        let lists: BTreeSet<&[Arc<str>]> = members.map(|member| &*member.fronts).collect();
        lists.into_iter().flatten().collect()
    }

    /// The services that a front stands for, in order.
    fn services_of(&self, front: &str) -> Vec<Arc<str>> {
        let Some((name, of)) = self.fronts.get_key_value(front) else { return Vec::new() };
        let mut services: Vec<Arc<str>> = of.services.keys().cloned().collect();
        if self.has_bare(front)
            && let Err(at) = services.binary_search(name)
        {
            services.insert(at, Arc::clone(name));
        }
        services
    }

    fn has_bare(&self, front: &str) -> bool {
        self.bare(front).next().is_some()
    }

    /// Addresses behind a front that are no pod's.
    fn bare(&self, front: &str) -> impl Iterator<Item = (&SliceFact, IpAddr, EndpointState)> {
        let slices = self.is_by_slices(front).then(|| self.slices_of(front)).into_iter().flatten();
        slices.flat_map(|slice| slice.bare.iter().map(move |(address, state)| (slice, *address, *state)))
    }

    fn is_by_slices(&self, front: &str) -> bool {
        self.fronts.get(front).is_some_and(|front| front.fact.selector.is_empty())
    }

    fn slices_of(&self, front: &str) -> impl Iterator<Item = &SliceFact> {
        self.slices_of.get(front).into_iter().flatten().filter_map(|slice| self.slices.get(slice))
    }

    /// Are pods of one template that are behind these fronts called alike? Slices say of each pod what they like.
    fn are_alike(&self, fronts: &[Arc<str>]) -> bool {
        !fronts.iter().any(|front| self.is_by_slices(front))
    }

    fn is_behind(&self, front: &str, fact: &FrontFact, pod: &str, of_pod: &PodFact) -> bool {
        if of_pod.problem.is_some() {
            return false;
        }
        if fact.selector.is_empty() {
            return self.slices_of(front).any(|slice| slice.pods.iter().any(|listed| **listed == *pod));
        }
        let labels = &of_pod.template.labels;
        fact.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The pods that are behind a front as it is now.
    fn pods_behind(&self, front: &str) -> BTreeSet<Arc<str>> {
        let Some(Front { fact, .. }) = self.fronts.get(front) else { return BTreeSet::new() };
        if fact.selector.is_empty() {
            let listed = self.slices_of(front).flat_map(|slice| &slice.pods);
            let known = listed.filter_map(|pod| self.pods.get_key_value(&**pod));
            return known.filter(|(_, member)| member.fact.problem.is_none()).map(|(pod, _)| Arc::clone(pod)).collect();
        }
        let behind = self.pods.iter().filter(|(pod, member)| self.is_behind(front, fact, pod, &member.fact));
        behind.map(|(pod, _)| Arc::clone(pod)).collect()
    }

    /// These pods are behind a front from now on, and no others. Those that were already are left alone: there may be many, and each behind
    /// many fronts.
    fn regroup(&mut self, front: &Arc<str>, pods: BTreeSet<Arc<str>>) {
        let Some(of_front) = self.fronts.get_mut(front) else { return };
        let before = std::mem::replace(&mut of_front.pods, pods.clone());
        for pod in before.symmetric_difference(&pods) {
            let Some(member) = self.pods.get_mut(pod) else { continue };
            let service = member.service.clone();
            let is_new = match member.fronts.binary_search(front) {
                Ok(at) => {
                    member.fronts.remove(at);
                    false
                }
                Err(at) => {
                    member.fronts.insert(at, Arc::clone(front));
                    true
                }
            };
            if let Some(service) = service {
                self.count(front, &service, is_new);
                self.touched.insert(Maker::Service(service));
            }
            self.settle(pod);
        }
    }

    /// A pod whose fronts have changed may be of another service.
    fn settle(&mut self, pod: &Arc<str>) {
        let Some(member) = self.pods.get_mut(pod) else { return };
        let wanted = member.wanted().cloned();
        if wanted == member.service {
            return;
        }
        let fronts = member.fronts.clone();
        let old = std::mem::replace(&mut member.service, wanted.clone());
        for (service, is_new) in old.iter().map(|old| (old, false)).chain(wanted.iter().map(|new| (new, true))) {
            fronts.iter().for_each(|front| self.count(front, service, is_new));
            self.enroll(pod, service, is_new);
        }
    }

    fn take_pod(&mut self, name: &str) -> Option<PodFact> {
        let (name, Member { fact, fronts, service }) = self.pods.remove_entry(name)?;
        for front in fronts {
            if let Some(of_front) = self.fronts.get_mut(&front) {
                of_front.pods.remove(&name);
            }
            if let Some(service) = &service {
                self.count(&front, service, false);
            }
            self.touched.insert(Maker::Front(front));
        }
        if let Some(service) = service {
            self.enroll(&name, &service, false);
        }
        Some(fact)
    }

    fn put_pod(&mut self, name: Arc<str>, fact: PodFact) {
        let behind = self.fronts.iter().filter(|(front, of_front)| self.is_behind(front, &of_front.fact, &name, &fact));
        let fronts: Vec<Arc<str>> = behind.map(|(front, _)| Arc::clone(front)).collect();
        for front in &fronts {
            if let Some(of_front) = self.fronts.get_mut(front) {
                of_front.pods.insert(Arc::clone(&name));
            }
        }
        self.pods.insert(Arc::clone(&name), Member { fact, fronts, service: None });
        self.settle(&name);
    }

    /// One pod more, or less, of a service is behind a front.
    fn count(&mut self, front: &Arc<str>, service: &Arc<str>, is_more: bool) {
        let Some(of_front) = self.fronts.get_mut(front) else { return };
        let count = of_front.services.entry(Arc::clone(service)).or_default();
        *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        let (is_first, is_last) = (is_more && *count == 1, *count == 0);
        if is_last {
            of_front.services.remove(service);
        }
        // What it stands for is another, and so may be what its other services are called by.
        if is_first || is_last {
            self.touch_front(front);
        }
    }

    /// A pod is of a service, or is not any more.
    fn enroll(&mut self, pod: &Arc<str>, service: &Arc<str>, is_more: bool) {
        let pods = self.services.entry(Arc::clone(service)).or_default();
        if is_more {
            pods.insert(Arc::clone(pod));
        } else {
            pods.remove(pod);
        }
        if pods.is_empty() {
            self.services.remove(service);
        }
        self.touched.insert(Maker::Service(Arc::clone(service)));
    }

    /// What a front stands for changes, or did.
    fn touch_front(&mut self, front: &Arc<str>) {
        let services = self.services_of(front).into_iter().map(Maker::Service);
        self.touched.extend(services.chain([Maker::Front(Arc::clone(front))]));
    }
}
