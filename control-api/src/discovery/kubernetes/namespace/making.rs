//! From pods that are placed to documents: which fronts are addresses of a service, which are services of their own, and why.
//!
//! For one flush: what holds for a service is found out once, and what holds for pods of one template behind the same fronts at one of
//! them. Others wait for it, and whoever may edit a namespace chooses how much there is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use laneway_core::check::service_too_large;
use laneway_core::document::ServiceDocument;
use laneway_core::snapshot::EndpointState;

use super::super::compose::{Instance, Number, compose};
use super::super::objects::{FrontFact, FrontPort, PodFact, Target, Template};
use super::mains::Mains;
use super::{Arc, Maker, Member, Namespace};

/// What was made.
#[derive(Default)]
pub(in crate::discovery::kubernetes) struct Made {
    pub(in crate::discovery::kubernetes) document: Option<ServiceDocument>,
    /// It could not be made, and what there was before holds.
    pub(in crate::discovery::kubernetes) stays: bool,
    pub(in crate::discovery::kubernetes) finding: Option<Finding>,
}

/// What people should know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery::kubernetes) enum Finding {
    /// It is not what was meant, perhaps.
    Problem(String),
    /// It is well, and may surprise.
    Note(String),
}

/// A namespace as it stands, of which documents are made.
pub(in crate::discovery::kubernetes) struct Making<'a> {
    name: &'a str,
    of: &'a Namespace,
    services: BTreeMap<Arc<str>, Fronts<'a>>,
}

/// The fronts of one service.
struct Fronts<'a> {
    mains: Mains<'a>,
    contradicted: BTreeSet<&'a str>,
}

/// Pods that are called in the same way: one template, and behind the same fronts.
type Alike<'a> = (*const Template, &'a [Arc<str>]);

/// Why a front is a service of its own.
enum Own {
    Several(Vec<Arc<str>>),
    Part(Arc<str>),
    Elsewhere(Arc<str>),
}

impl Finding {
    pub(in crate::discovery::kubernetes) fn words(&self) -> &str {
        match self {
            Finding::Problem(words) | Finding::Note(words) => words,
        }
    }
}

impl<'a> Making<'a> {
    pub(super) fn new(name: &'a str, of: &'a Namespace) -> Making<'a> {
        Making { name, of, services: BTreeMap::new() }
    }

    pub(in crate::discovery::kubernetes) fn make(&mut self, maker: &Maker) -> Made {
        let made = match maker {
            Maker::Service(id) => {
                let finding = self.ambiguity(id).or_else(|| self.unreached(id)).map(Finding::Problem);
                Made { document: self.service(id), finding, ..Made::default() }
            }
            Maker::Front(name) => self.own(name),
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
    fn service(&mut self, id: &Arc<str>) -> Option<ServiceDocument> {
        let pods: Vec<&Arc<str>> = self.of.services.get(id).into_iter().flatten().collect();
        let mut fronts: BTreeSet<&str> = self.of.fronts_of(id).into_iter().map(|front| &**front).collect();
        let bare = self.of.has_bare(id).then_some(&**id);
        fronts.extend(bare);
        fronts.retain(|front| self.why_own(front).is_none());
        // The bare addresses of a front that is a service of its own are there.
        let bare = bare.filter(|front| fronts.contains(front));
        let (of, name) = (self.of, self.name);
        let mains = &self.fronts(id).mains;
        let is_beside = |member: &Member| !member.fact.is_said && mains.is_beside(member.fact.tag, &member.fronts);
        document(of, name, id, &pods, bare, &fronts, &is_beside)
    }

    /// A front that is a service of its own.
    fn own(&mut self, name: &str) -> Made {
        let Some(front) = self.of.fronts.get(name) else { return Made::default() };
        let Some(why) = self.why_own(name) else { return Made::default() };
        if self.of.services.contains_key(name) {
            let problem = format!(
                "{why}, and pods are of a service of that name: calls to its address are left to the cluster, lanes or not. \
                 Label laneway.io/service says of a pod which service it is of"
            );
            return Made { finding: Some(Finding::Problem(problem)), ..Made::default() };
        }
        let pods: Vec<&Arc<str>> = front.pods.iter().collect();
        let bare = self.of.has_bare(name).then_some(name);
        let mut document = document(self.of, self.name, name, &pods, bare, &BTreeSet::from([name]), &|_| false);
        if let Some(document) = &mut document {
            document.secondary = true;
        }
        let note = Finding::Note(format!("{why}: it is a service of its own"));
        Made { document, finding: Some(note), ..Made::default() }
    }

    /// Pods of the service that do not say what they are of, and are behind several fronts that are not over the same pods: nothing but
    /// names tells which of them is meant.
    fn ambiguity(&self, id: &str) -> Option<String> {
        let pods = self.of.services.get(id)?.iter().filter_map(|pod| self.of.pods.get(pod));
        let silent = pods.filter(|member| member.fact.service.is_none() && member.fronts.len() > 1);
        // Pods of one template are behind the same fronts.
        let fronts: BTreeSet<&[Arc<str>]> = silent.map(|member| &*member.fronts).collect();
        let over = |front: &Arc<str>| self.of.fronts.get(front).map(|front| &front.pods);
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

    /// Pods of a lane that no front selects follow the address of their service, and all that it has may be services of their own.
    fn unreached(&mut self, id: &Arc<str>) -> Option<String> {
        let pods = self.of.services.get(id)?.iter().filter_map(|pod| self.of.pods.get(pod));
        let unselected = pods.filter(|member| member.fronts.is_empty()).find_map(|member| member.fact.tag)?;
        let fronts = self.of.fronts_of(id);
        if fronts.is_empty() || fronts.iter().any(|front| !matches!(self.why_own(front), Some(Own::Part(_)))) {
            return None;
        }
        let names: Vec<&str> = fronts.into_iter().map(|front| &**front).collect();
        Some(format!(
            "its pods with tag {unselected} are behind no Service, and each Service of others ({}) stands for a part of them: no address leads \
             to that tag. A Service over all of them, or label laneway.io/service on them, says that they are one",
            names.join(", ")
        ))
    }

    /// Why a front is a service of its own, if it is.
    fn why_own(&mut self, front: &str) -> Option<Own> {
        let services = self.of.services_of(front);
        let [service] = services.as_slice() else {
            return (!services.is_empty()).then_some(Own::Several(services));
        };
        let fronts = self.fronts(service);
        if fronts.mains.is_part(front) {
            return Some(Own::Part(Arc::clone(service)));
        }
        fronts.contradicted.contains(front).then(|| Own::Elsewhere(Arc::clone(service)))
    }

    fn fronts(&mut self, service: &Arc<str>) -> &Fronts<'a> {
        let of = self.of;
        self.services.entry(Arc::clone(service)).or_insert_with(|| Fronts::of(of, service))
    }
}

impl<'a> Fronts<'a> {
    fn of(of: &'a Namespace, service: &str) -> Fronts<'a> {
        let members = || of.services.get(service).into_iter().flatten().filter_map(|pod| of.pods.get_key_value(pod));
        let alone: BTreeSet<&str> = of
            .fronts_of(service)
            .into_iter()
            .map(|front| &**front)
            .filter(|front| of.services_of(front).len() == 1)
            .collect();
        let silent = members().filter(|(_, member)| !member.fact.is_said);
        let groups = silent.map(|(_, member)| (member.fact.tag, &*member.fronts)).collect();
        let mains = Mains::of(service, &groups, |front| alone.contains(front));
        let has_say = |front: &str| alone.contains(front) && !mains.is_part(front);
        let mut contradicted = BTreeSet::new();
        let mut seen: BTreeSet<Alike<'_>> = BTreeSet::new();
        for (pod, member) in members() {
            if of.are_alike(&member.fronts) && !seen.insert(alike(member)) {
                continue;
            }
            contradict(of, pod, member, &has_say, &mut contradicted);
        }
        Fronts { mains, contradicted }
    }
}

/// Finds fronts a port of which leads elsewhere than the same port of a front before them does, at this pod.
fn contradict<'a>(
    of: &'a Namespace,
    pod: &str,
    member: &'a Member,
    has_say: &dyn Fn(&str) -> bool,
    contradicted: &mut BTreeSet<&'a str>,
) {
    let mut leads: HashMap<u16, Option<u16>> = HashMap::new();
    for name in member.fronts.iter().filter(|name| has_say(name)) {
        let Some(front) = of.fronts.get(name).filter(|front| !front.fact.addresses.is_empty()) else { continue };
        let targets: Vec<(u16, Option<u16>)> =
            front.fact.ports.iter().map(|port| (port.number, target(of, name, port, pod, &member.fact))).collect();
        if targets.iter().any(|(number, target)| leads.get(number).is_some_and(|other| other != target)) {
            contradicted.insert(name);
        } else {
            leads.extend(targets);
        }
    }
}

fn alike(member: &Member) -> Alike<'_> {
    // Templates are shared: two that are equal are one.
    (Arc::as_ptr(&member.fact.template), member.fronts.as_slice())
}

fn document(
    of: &Namespace,
    namespace: &str,
    id: &str,
    pods: &[&Arc<str>],
    bare: Option<&str>,
    fronts: &BTreeSet<&str>,
    is_beside: &dyn Fn(&Member) -> bool,
) -> Option<ServiceDocument> {
    let facts: Vec<(&str, &FrontFact)> =
        fronts.iter().filter_map(|name| Some((*name, &of.fronts.get(*name)?.fact))).collect();
    // A headless front is dialled at its pods, by whatever port; an address that is not theirs alone is called at the front's ports.
    // What a number of an address leads to is for the fronts with an address to say: a headless one, which comes first by name as
    // often as not, says it of the numbers that none of them has.
    let is_on_node = |pod: &&Arc<str>| of.pods.get(&***pod).is_some_and(|member| member.fact.is_on_node);
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
    let mut known: HashMap<Alike<'_>, Vec<Option<u16>>> = HashMap::new();
    for name in pods {
        let Some(member) = of.pods.get(&***name) else { continue };
        let Member { fact, fronts, .. } = member;
        // By a front that the pod is behind, else as any front of the service does: a gray pod is called by the address of all.
        let target_of = |ports: &Vec<(&str, &FrontPort)>| {
            let is_own = |front: &str| fronts.binary_search_by(|own| (**own).cmp(front)).is_ok();
            let (front, port) = ports.iter().find(|(front, _)| is_own(front)).or_else(|| ports.first())?;
            target(of, front, port, name, fact)
        };
        let targets = || numbers.values().map(target_of).collect::<Vec<_>>();
        let is_beside = is_beside(member);
        let has_unready = |front: &Arc<str>| of.fronts.get(front).is_some_and(|front| front.fact.has_unready);
        instances.push(Instance {
            address: fact.address,
            second_address: fact.second_address,
            has_own_address: !fact.is_on_node,
            is_beside,
            is_dialled_unready: fact.state == EndpointState::Unhealthy && fronts.iter().any(has_unready),
            tag: fact.tag,
            state: fact.state,
            is_meshed: fact.is_meshed,
            targets: match (is_beside, of.are_alike(fronts)) {
                (true, _) => vec![None; numbers.len()],
                (false, true) => known.entry(alike(member)).or_insert_with(targets).clone(),
                (false, false) => targets(),
            },
        });
    }
    for (slice, address, state) in bare.into_iter().flat_map(|front| of.bare(front)) {
        let target = |ports: &Vec<(&str, &FrontPort)>| {
            let own = ports.iter().find(|(front, _)| **front == *slice.front)?;
            slice.ports.get(&own.1.name).copied()
        };
        instances.push(Instance {
            address,
            second_address: None,
            has_own_address: false,
            is_beside: false,
            is_dialled_unready: false,
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
fn target(of: &Namespace, front: &str, port: &FrontPort, pod: &str, fact: &PodFact) -> Option<u16> {
    if of.is_by_slices(front)
        && let Some(slice) = of.slices_of(front).find(|slice| slice.pods.iter().any(|listed| **listed == *pod))
    {
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

impl std::fmt::Display for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Own::Several(services) => write!(f, "its pods belong to several services ({})", services.join(", ")),
            Own::Part(service) => {
                write!(f, "it leads to some of the pods of {service}, not to those that others lead to")
            }
            Own::Elsewhere(service) => {
                write!(f, "another Service of the pods of {service} leads elsewhere by the same port")
            }
        }
    }
}
