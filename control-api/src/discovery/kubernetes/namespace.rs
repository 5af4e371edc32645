//! One namespace: which pods are of which service, which fronts (Kubernetes Services) they are behind, and what follows from it.
//!
//! A front is an address of the service that its pods belong to. It is a service of its own if they belong to several, or if another
//! front of the same pods leads elsewhere by the same port. Addresses of slices that are no pod's are instances of the service that is
//! named like their front. What a change may alter is noted as touched: too much costs time, too little is a bug, which the
//! property test finds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use laneway_core::check::service_too_large;
use laneway_core::document::ServiceDocument;
use laneway_core::snapshot::EndpointState;

use super::super::PodService;
use super::compose::{Instance, Number, compose};
use super::objects::{FrontFact, FrontPort, PodFact, SliceFact, Target};
use super::registry::Kind;

#[derive(Default)]
pub(super) struct Namespace {
    pods: BTreeMap<Arc<str>, Member>,
    fronts: BTreeMap<Arc<str>, Front>,
    slices: BTreeMap<Arc<str>, SliceFact>,
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

/// What was made.
#[derive(Default)]
pub(super) struct Made {
    pub(super) document: Option<ServiceDocument>,
    /// It could not be made, and what there was before holds.
    pub(super) stays: bool,
    pub(super) finding: Option<Finding>,
}

/// What people should know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is not what was meant, perhaps.
    Problem(String),
    /// It is well, and may surprise.
    Note(String),
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

impl Finding {
    pub(super) fn words(&self) -> &str {
        match self {
            Finding::Problem(words) | Finding::Note(words) => words,
        }
    }
}

impl Maker {
    pub(super) fn words(&self, namespace: &str) -> String {
        match self {
            Maker::Service(id) => format!("service {namespace}/{id}"),
            Maker::Front(name) => format!("Kubernetes Service {namespace}/{name}"),
        }
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
        let mut affected = self.fronts.get(name).map(|front| front.pods.clone()).unwrap_or_default();
        if let Some(fact) = &fact {
            let behind = self.pods.iter().filter(|(pod, member)| self.is_behind(name, fact, pod, &member.fact));
            affected.extend(behind.map(|(pod, _)| Arc::clone(pod)));
        }
        let name: Arc<str> = name.into();
        self.change(&affected, |own| match fact {
            Some(fact) => {
                let front = Front { fact, pods: BTreeSet::new(), services: BTreeMap::new() };
                own.fronts.insert(Arc::clone(&name), front);
            }
            None => drop(own.fronts.remove(&name)),
        });
        self.touched.insert(Maker::Front(Arc::clone(&name)));
        // It may have instances that are no pods.
        self.touched.insert(Maker::Service(name));
    }

    pub(super) fn set_slice(&mut self, name: &str, fact: Option<SliceFact>) {
        let both = self.slices.get(name).into_iter().chain(&fact);
        let (mut affected, mut fronts) = (BTreeSet::new(), BTreeSet::new());
        for slice in both {
            affected.extend(slice.pods.iter().map(|pod| Arc::from(&**pod)));
            fronts.insert(Arc::clone(&slice.front));
        }
        fronts.iter().for_each(|front| self.touch_front(front));
        self.change(&affected, |own| match fact {
            Some(fact) => drop(own.slices.insert(name.into(), fact)),
            None => drop(own.slices.remove(name)),
        });
        for front in fronts {
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
                let members = self.services.get(id).into_iter().flatten().filter_map(|pod| self.pods.get(pod));
                fronts.extend(members.flat_map(|member| &member.fronts).chain([id]).cloned());
            }
        }
        touched.extend(fronts.into_iter().map(Maker::Front));
        touched
    }

    pub(super) fn make(&self, namespace: &str, maker: &Maker) -> Made {
        let made = match maker {
            Maker::Service(id) => {
                let finding = self.ambiguity(id).map(Finding::Problem);
                Made { document: self.service(namespace, id), finding, ..Made::default() }
            }
            Maker::Front(name) => self.own(namespace, name),
        };
        let finding = made.document.as_ref().and_then(|made| service_too_large(&made.resource_name(), made));
        match finding {
            Some(finding) => {
                let problem = format!("{}; sidecars keep what they had of it", finding.message);
                Made { document: None, stays: true, finding: Some(Finding::Problem(problem)) }
            }
            None => made,
        }
    }

    /// The service of pods, and of bare addresses.
    fn service(&self, namespace: &str, id: &str) -> Option<ServiceDocument> {
        let pods: Vec<&Arc<str>> = self.services.get(id).into_iter().flatten().collect();
        let named = pods.iter().flat_map(|pod| self.pods.get(&***pod)).flat_map(|member| &member.fronts);
        let mut fronts: BTreeSet<&str> = named.map(|front| &**front).collect();
        let bare = if self.has_bare(id) { Some(id) } else { None };
        fronts.extend(bare);
        fronts.retain(|front| !self.is_own(front));
        // The bare addresses of a front that is a service of its own are there.
        let bare = bare.filter(|front| fronts.contains(front));
        self.document(namespace, id, &pods, bare, &fronts)
    }

    /// A front that is a service of its own.
    fn own(&self, namespace: &str, name: &str) -> Made {
        let Some(front) = self.fronts.get(name).filter(|_| self.is_own(name)) else { return Made::default() };
        let services: Vec<&str> = self.services_of(name).into_iter().collect();
        let why = match services.as_slice() {
            [service] => format!("another Service of the pods of {service} leads elsewhere by the same port"),
            services => format!("its pods belong to several services ({})", services.join(", ")),
        };
        if self.services.contains_key(name) {
            let problem = format!(
                "{why}, and pods are of a service of that name: calls to its address are left to the cluster, lanes or not. \
                 Label laneway.io/service says of a pod which service it is of"
            );
            return Made { finding: Some(Finding::Problem(problem)), ..Made::default() };
        }
        let pods: Vec<&Arc<str>> = front.pods.iter().collect();
        let bare = self.has_bare(name).then_some(name);
        let mut document = self.document(namespace, name, &pods, bare, &BTreeSet::from([name]));
        if let Some(document) = &mut document {
            document.secondary = true;
        }
        let note = Finding::Note(format!("{why}: it is a service of its own"));
        Made { document, finding: Some(note), ..Made::default() }
    }

    /// Pods of the service that do not say what they are of, and are behind several fronts that are not over the same pods: nothing but
    /// names tells which of them is meant.
    fn ambiguity(&self, id: &str) -> Option<String> {
        let pods = self.services.get(id)?.iter().filter_map(|pod| self.pods.get(pod));
        let silent = pods.filter(|member| member.fact.service.is_none() && member.fronts.len() > 1);
        // Pods of one template are behind the same fronts.
        let fronts: BTreeSet<&[Arc<str>]> = silent.map(|member| &*member.fronts).collect();
        let over = |front: &Arc<str>| self.fronts.get(front).map(|front| &front.pods);
        let fronts = fronts.into_iter().find(|fronts| {
            let mut each = fronts.iter().map(over);
            let first = each.next();
            each.any(|other| Some(other) != first)
        })?;
        // No pod is named: each rollout would say it again.
        Some(format!(
            "pods that do not say which service they are of are selected by Services over different pods ({}): they count as of the \
             first by name. Label laneway.io/service says which service a pod is of",
            fronts.join(", ")
        ))
    }

    fn document(
        &self,
        namespace: &str,
        id: &str,
        pods: &[&Arc<str>],
        bare: Option<&str>,
        fronts: &BTreeSet<&str>,
    ) -> Option<ServiceDocument> {
        let facts: Vec<(&str, &FrontFact)> =
            fronts.iter().filter_map(|name| Some((*name, &self.fronts.get(*name)?.fact))).collect();
        // A headless front is dialled at its pods, by whatever port; an address that is not theirs alone is called at the front's ports.
        // What a number of an address leads to is for the fronts with an address to say: a headless one, which comes first by name as
        // often as not, says it of the numbers that none of them has.
        let is_on_node = |pod: &&Arc<str>| self.pods.get(&***pod).is_some_and(|member| member.fact.is_on_node);
        let is_by_ports = bare.is_some() || pods.iter().any(is_on_node);
        let has_address = |fact: &FrontFact| !fact.addresses.is_empty();
        let mut numbers: BTreeMap<u16, Vec<(&str, &FrontPort)>> = BTreeMap::new();
        for (name, fact) in facts.iter().filter(|(_, fact)| has_address(fact)) {
            fact.ports.iter().for_each(|port| numbers.entry(port.number).or_default().push((name, port)));
        }
        let of_addresses: BTreeSet<u16> = numbers.keys().copied().collect();
        for (name, fact) in facts.iter().filter(|(_, fact)| is_by_ports && !has_address(fact)) {
            let others = fact.ports.iter().filter(|port| !of_addresses.contains(&port.number));
            others.for_each(|port| numbers.entry(port.number).or_default().push((name, port)));
        }
        let mut instances = Vec::with_capacity(pods.len());
        for name in pods {
            let Some(Member { fact, fronts, .. }) = self.pods.get(&***name) else { continue };
            // By a front that the pod is behind, else as any front of the service does: a gray pod is called by the address of all.
            let target = |ports: &Vec<(&str, &FrontPort)>| {
                let own = ports.iter().find(|(front, _)| fronts.iter().any(|own| **own == **front));
                let (front, port) = own.or_else(|| ports.first())?;
                self.target(front, port, name, fact)
            };
            instances.push(Instance {
                address: fact.address,
                second_address: fact.second_address,
                has_own_address: !fact.is_on_node,
                tag: fact.tag,
                state: fact.state,
                is_meshed: fact.is_meshed,
                targets: numbers.values().map(target).collect(),
            });
        }
        for (slice, address, state) in bare.into_iter().flat_map(|front| self.bare(front)) {
            let target = |ports: &Vec<(&str, &FrontPort)>| {
                let own = ports.iter().find(|(front, _)| **front == *slice.front)?;
                slice.ports.get(&own.1.name).copied()
            };
            instances.push(Instance {
                address,
                second_address: None,
                has_own_address: false,
                tag: None,
                state,
                is_meshed: false,
                targets: numbers.values().map(target).collect(),
            });
        }
        let numbers = numbers.iter().filter_map(|(number, ports)| {
            let (_, first) = ports.first()?;
            let is_of_address = of_addresses.contains(number);
            Some(Number { number: *number, name: &first.name, protocol: first.protocol, is_of_address })
        });
        compose(namespace, id, &facts, &numbers.collect::<Vec<_>>(), &instances)
    }

    /// Where a port of a front leads at a pod. A name that the pod does not declare leads nowhere, as for the cluster.
    fn target(&self, front: &str, port: &FrontPort, pod: &str, fact: &PodFact) -> Option<u16> {
        let is_listed = |slice: &&SliceFact| *slice.front == *front && slice.pods.iter().any(|listed| **listed == *pod);
        let is_by_slices = self.fronts.get(front).is_some_and(|front| front.fact.selector.is_empty());
        if is_by_slices && let Some(slice) = self.slices.values().find(is_listed) {
            return slice.ports.get(&port.name).copied();
        }
        match &port.target {
            Target::Number(number) => Some(*number),
            Target::Named(name) => {
                let ports = &fact.template.named_ports;
                ports.iter().find(|(declared, _)| declared == name).map(|(_, number)| *number)
            }
        }
    }

    fn is_own(&self, front: &str) -> bool {
        self.services_of(front).len() > 1 || self.is_contradicted(front)
    }

    /// Does a port of it lead elsewhere than the same port of a front before it, at the same pod?
    fn is_contradicted(&self, name: &str) -> bool {
        let Some(front) = self.fronts.get(name).filter(|front| !front.fact.addresses.is_empty()) else { return false };
        let members = front.pods.iter().filter_map(|pod| Some((pod, self.pods.get(pod)?)));
        members.into_iter().any(|(pod, member)| {
            let before = member.fronts.iter().take_while(|other| ***other < *name);
            before.filter_map(|other| Some((other, &self.fronts.get(other)?.fact))).any(|(other, fact)| {
                let differs = |port: &FrontPort| {
                    let same = fact.ports.iter().find(|same| same.number == port.number);
                    same.is_some_and(|same| {
                        self.target(other, same, pod, &member.fact) != self.target(name, port, pod, &member.fact)
                    })
                };
                !fact.addresses.is_empty() && front.fact.ports.iter().any(differs) && self.services_of(other).len() == 1
            })
        })
    }

    /// The services that a front stands for.
    fn services_of(&self, front: &str) -> BTreeSet<&str> {
        let of_pods = self.fronts.get(front).into_iter().flat_map(|front| front.services.keys());
        let mut services: BTreeSet<&str> = of_pods.map(|service| &**service).collect();
        if self.has_bare(front)
            && let Some((name, _)) = self.fronts.get_key_value(front)
        {
            services.insert(name);
        }
        services
    }

    fn has_bare(&self, front: &str) -> bool {
        self.bare(front).next().is_some()
    }

    /// Addresses behind a front that are no pod's.
    fn bare(&self, front: &str) -> impl Iterator<Item = (&SliceFact, IpAddr, EndpointState)> {
        let is_by_slices = self.fronts.get(front).is_some_and(|front| front.fact.selector.is_empty());
        let slices = self.slices.values().filter(move |slice| is_by_slices && *slice.front == *front);
        slices.flat_map(|slice| slice.bare.iter().map(move |(address, state)| (slice, *address, *state)))
    }

    fn is_behind(&self, front: &str, fact: &FrontFact, pod: &str, of_pod: &PodFact) -> bool {
        if of_pod.problem.is_some() {
            return false;
        }
        if fact.selector.is_empty() {
            let mut slices = self.slices.values().filter(|slice| *slice.front == *front);
            return slices.any(|slice| slice.pods.iter().any(|listed| **listed == *pod));
        }
        let labels = &of_pod.template.labels;
        fact.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Changes something that pods are placed by.
    fn change(&mut self, affected: &BTreeSet<Arc<str>>, change: impl FnOnce(&mut Namespace)) {
        let taken: Vec<(Arc<str>, PodFact)> =
            affected.iter().filter_map(|pod| Some((Arc::clone(pod), self.take_pod(pod)?))).collect();
        change(self);
        taken.into_iter().for_each(|(pod, fact)| self.put_pod(pod, fact));
    }

    fn take_pod(&mut self, name: &str) -> Option<PodFact> {
        let Member { fact, fronts, service } = self.pods.remove(name)?;
        for front in &fronts {
            self.touch_front(front);
            let Some(front) = self.fronts.get_mut(front) else { continue };
            front.pods.remove(name);
            let Some(service) = &service else { continue };
            if let Some(count) = front.services.get_mut(service) {
                *count -= 1;
                if *count == 0 {
                    front.services.remove(service);
                }
            }
        }
        fronts.iter().for_each(|front| self.touch_front(front));
        if let Some(service) = service {
            if let Some(pods) = self.services.get_mut(&service) {
                pods.remove(name);
                if pods.is_empty() {
                    self.services.remove(&service);
                }
            }
            self.touched.insert(Maker::Service(service));
        }
        Some(fact)
    }

    fn put_pod(&mut self, name: Arc<str>, fact: PodFact) {
        let behind = self.fronts.iter().filter(|(front, of_front)| self.is_behind(front, &of_front.fact, &name, &fact));
        let fronts: Vec<Arc<str>> = behind.map(|(front, _)| Arc::clone(front)).collect();
        let said = fact.service.clone().filter(|_| fact.problem.is_none());
        let service = said.or_else(|| fronts.first().cloned());
        for front in &fronts {
            self.touch_front(front);
            let Some(front) = self.fronts.get_mut(front) else { continue };
            front.pods.insert(Arc::clone(&name));
            if let Some(service) = &service {
                *front.services.entry(Arc::clone(service)).or_default() += 1;
            }
        }
        fronts.iter().for_each(|front| self.touch_front(front));
        if let Some(service) = &service {
            self.services.entry(Arc::clone(service)).or_default().insert(Arc::clone(&name));
            self.touched.insert(Maker::Service(Arc::clone(service)));
        }
        self.pods.insert(name, Member { fact, fronts, service });
    }

    /// What a front stands for changes, or did.
    fn touch_front(&mut self, front: &str) {
        let services = self.services_of(front).into_iter().map(|service| Maker::Service(service.into()));
        let touched: Vec<Maker> = services.chain([Maker::Front(front.into())]).collect();
        self.touched.extend(touched);
    }
}
