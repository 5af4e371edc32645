//! The cluster as a registry: objects in, one at a time and in any order; services out. Pure.
//!
//! ```text
//!   pod, front, slice ─▶ who is behind what ─▶ touched services and fronts ─flush─▶ documents
//! ```
//! A *front* is a Kubernetes Service. An event costs what it touches: the service of a pod, and the fronts that it is behind.
//! Whatever the order of events, the outcome is that of a fresh list (a property test).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use laneway_core::document::ServiceDocument;

use super::super::{PodService, PodTag, standing};
use super::kind::Kind;
use super::namespace::{Finding, Maker, Namespace};
use super::objects::{FrontFact, PodFact, SliceFact, Template};

/// Problems that are told at a time; the rest are counted.
const PROBLEMS_MAX: usize = 20;

/// Everything that is known of a cluster, as of the objects that were given.
#[derive(Default)]
pub(super) struct Registry {
    namespaces: BTreeMap<Arc<str>, Space>,
    /// Pods of one template share it.
    templates: HashSet<Arc<Template>>,
    /// Namespaces with something that was touched since the last flush.
    touched: BTreeSet<Arc<str>>,
    /// Pods that nobody can place: why.
    odd: BTreeMap<ObjectName, Box<str>>,
    problems: Problems,
    /// What is wrong is another since it was last asked.
    is_changed: bool,
}

/// Namespace and name.
pub(super) type ObjectName = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Space {
    known: Namespace,
    documents: BTreeMap<Maker, ServiceDocument>,
    /// Of each maker, so that it is told once.
    told: BTreeMap<Maker, Finding>,
}

/// What people should know of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Problems {
    pub(super) told: Vec<String>,
    /// How many more there were.
    pub(super) untold: usize,
}

impl Registry {
    /// A pod as it is now; nothing: it is gone, or takes no traffic any more.
    pub(super) fn pod(&mut self, namespace: &str, name: &str, fact: Option<PodFact>) {
        let old = self.namespaces.get(namespace).and_then(|space| space.known.pod(name));
        if old == fact.as_ref() {
            return;
        }
        let problem = fact.as_ref().and_then(|fact| fact.problem.clone());
        if old.and_then(|old| old.problem.as_ref()) != problem.as_ref() {
            let pod = (namespace.into(), name.into());
            match problem {
                Some(problem) => {
                    self.problems.tell(|| format!("pod {namespace}/{name} is nobody's instance: {problem}"));
                    self.odd.insert(pod, problem);
                }
                None => drop(self.odd.remove(&pod)),
            }
            self.is_changed = true;
        }
        let fact = fact.map(|fact| PodFact { template: self.shared(fact.template), ..fact });
        let old = self.touch(namespace).set_pod(name, fact);
        if let Some(old) = old {
            let template = old.template;
            // Ours, and the one in the set.
            if Arc::strong_count(&template) == 2 {
                self.templates.remove(&template);
            }
        }
    }

    /// A Kubernetes Service as it is now.
    pub(super) fn front(&mut self, namespace: &str, name: &str, fact: Option<FrontFact>) {
        if self.namespaces.get(namespace).and_then(|space| space.known.front(name)) != fact.as_ref() {
            self.touch(namespace).set_front(name, fact);
        }
    }

    /// An EndpointSlice as it is now.
    pub(super) fn slice(&mut self, namespace: &str, name: &str, fact: Option<SliceFact>) {
        if self.namespaces.get(namespace).and_then(|space| space.known.slice(name)) != fact.as_ref() {
            self.touch(namespace).set_slice(name, fact);
        }
    }

    pub(super) fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        match kind {
            Kind::Pods => self.pod(namespace, name, None),
            Kind::Services => self.front(namespace, name, None),
            Kind::Slices => self.slice(namespace, name, None),
        }
    }

    /// The objects that are known, of one namespace or of all.
    pub(super) fn names(&self, kind: Kind, namespace: Option<&str>) -> BTreeSet<ObjectName> {
        let spaces = self.namespaces.iter().filter(|(name, _)| namespace.is_none_or(|wanted| ***name == *wanted));
        spaces.flat_map(|(space, of)| of.known.names(kind).map(|name| (Arc::clone(space), Arc::clone(name)))).collect()
    }

    /// Makes anew what was touched. True: the catalogue is another.
    pub(super) fn flush(&mut self) -> bool {
        let mut is_changed = false;
        for name in std::mem::take(&mut self.touched) {
            let Some(space) = self.namespaces.get_mut(&name) else { continue };
            let (is_other, finds_other) = space.flush(&name, &mut self.problems);
            is_changed |= is_other;
            self.is_changed |= finds_other;
            if space.known.is_empty() {
                self.namespaces.remove(&name);
            }
        }
        is_changed
    }

    /// The whole catalogue, as of the last flush.
    pub(super) fn catalogue(&self) -> Vec<ServiceDocument> {
        self.namespaces.values().flat_map(|space| space.documents.values().cloned()).collect()
    }

    /// The service of a pod. One that has no address yet, or has ended, is not known, and neither is one by the name of another.
    pub(super) fn service_of(&self, namespace: &str, pod: &str, uid: &str) -> PodService {
        self.namespaces.get(namespace).map_or(PodService::Unknown, |space| space.known.service_of(pod, uid))
    }

    /// The tag of a pod, of that uid if one is given.
    pub(super) fn tag_of(&self, namespace: &str, pod: &str, uid: Option<&str>) -> PodTag {
        self.namespaces.get(namespace).map_or(PodTag::Unknown, |space| space.known.tag_of(pod, uid))
    }

    /// What came up since this was last asked.
    pub(super) fn take_problems(&mut self) -> Problems {
        std::mem::take(&mut self.problems)
    }

    /// What is wrong now, if that has changed since it was last asked.
    pub(super) fn standing_problems(&mut self) -> Option<standing::Problems> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let mut problems = Problems::default();
        for ((namespace, name), why) in &self.odd {
            problems.tell(|| format!("pod {namespace}/{name} is nobody's instance: {why}"));
        }
        for (namespace, space) in &self.namespaces {
            for (maker, finding) in &space.told {
                if let Finding::Problem(words) = finding {
                    problems.tell(|| format!("{}: {words}", maker.words(namespace)));
                }
            }
        }
        Some(standing::Problems { told: problems.told, untold: problems.untold })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.templates.is_empty()
    }

    #[cfg(test)]
    pub(super) fn templates_count(&self) -> usize {
        self.templates.len()
    }

    fn touch(&mut self, namespace: &str) -> &mut Namespace {
        let name: Arc<str> = namespace.into();
        self.touched.insert(Arc::clone(&name));
        &mut self.namespaces.entry(name).or_default().known
    }

    fn shared(&mut self, template: Arc<Template>) -> Arc<Template> {
        if let Some(known) = self.templates.get(&template) {
            return Arc::clone(known);
        }
        self.templates.insert(Arc::clone(&template));
        template
    }
}

impl Space {
    /// Whether documents, and whether findings are others.
    fn flush(&mut self, namespace: &str, problems: &mut Problems) -> (bool, bool) {
        let (mut is_changed, mut finds_other) = (false, false);
        let touched = self.known.take_touched();
        let mut making = self.known.making(namespace);
        for maker in touched {
            let made = making.make(&maker);
            match made.finding {
                Some(finding) if self.told.get(&maker) == Some(&finding) => {}
                Some(finding) => {
                    problems.tell(|| format!("{}: {}", maker.words(namespace), finding.words()));
                    self.told.insert(maker.clone(), finding);
                    finds_other = true;
                }
                None => finds_other |= self.told.remove(&maker).is_some(),
            }
            if made.stays || self.documents.get(&maker) == made.document.as_ref() {
                continue;
            }
            is_changed = true;
            match made.document {
                Some(document) => drop(self.documents.insert(maker, document)),
                None => drop(self.documents.remove(&maker)),
            }
        }
        (is_changed, finds_other)
    }
}

impl Problems {
    /// What is only counted is never put into words: there may be one for each pod, and others wait meanwhile.
    fn tell(&mut self, problem: impl FnOnce() -> String) {
        if self.told.len() < PROBLEMS_MAX { self.told.push(problem()) } else { self.untold += 1 }
    }
}
