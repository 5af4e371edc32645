//! Where the authorities have to be published, and where they are already. Pure: told of what watches see, asked what to write.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;
use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
mod tests;

/// Things of a kind, by the namespace that they are, or are in.
pub(super) struct Listed<T> {
    there: BTreeMap<String, T>,
    /// Of a list that is coming.
    coming: Option<BTreeMap<String, T>>,
    /// One list came to its end.
    is_whole: bool,
}

/// All that is known of the cluster.
pub(super) struct Places {
    own: String,
    /// Those with the label.
    pub(super) namespaces: Listed<()>,
    /// Those in which an injected pod was seen. It only grows: a bundle more harms nobody.
    pods: BTreeSet<String>,
    pods_are_whole: bool,
    /// Digests of what the ConfigMaps say.
    pub(super) held: Listed<u64>,
    /// Of the webhooks of our configuration, by name: digests of their `caBundle`. Nothing before it was looked at.
    webhooks: Option<Vec<(String, u64)>>,
}

pub(super) fn digest(text: &[u8]) -> u64 {
    xxh3_64(text)
}

impl<T> Default for Listed<T> {
    fn default() -> Listed<T> {
        Listed { there: BTreeMap::new(), coming: None, is_whole: false }
    }
}

impl<T: PartialEq> Listed<T> {
    /// Says whether it is another than before. `look` is told a thing, and says its namespace, and what counts of it; where it says
    /// nothing the thing does not count.
    pub(super) fn see<K>(&mut self, event: Event<K>, look: impl Fn(&K) -> (String, Option<T>)) -> bool {
        match event {
            Event::Init => {
                self.coming = Some(BTreeMap::new());
                false
            }
            Event::InitApply(thing) => {
                if let (namespace, Some(value)) = look(&thing) {
                    self.coming.get_or_insert_default().insert(namespace, value);
                }
                false
            }
            Event::InitDone => {
                let came = self.coming.take().unwrap_or_default();
                let is_other = !self.is_whole || came != self.there;
                (self.there, self.is_whole) = (came, true);
                is_other
            }
            Event::Apply(thing) => {
                let (namespace, value) = look(&thing);
                self.put(namespace, value)
            }
            Event::Delete(thing) => self.put(look(&thing).0, None),
        }
    }

    fn put(&mut self, namespace: String, value: Option<T>) -> bool {
        match value {
            Some(value) => {
                let is_other = self.there.get(&namespace) != Some(&value);
                self.there.insert(namespace, value);
                is_other
            }
            None => self.there.remove(&namespace).is_some(),
        }
    }
}

impl Places {
    /// `own` is the namespace of the control plane, which always has one.
    pub(super) fn new(own: String) -> Places {
        Places {
            own,
            namespaces: Listed::default(),
            pods: BTreeSet::new(),
            pods_are_whole: false,
            held: Listed::default(),
            webhooks: None,
        }
    }

    /// An injected pod.
    pub(super) fn see_pod<K>(&mut self, event: Event<K>, namespace: impl Fn(&K) -> String) -> bool {
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => self.pods.insert(namespace(&pod)),
            Event::InitDone => !std::mem::replace(&mut self.pods_are_whole, true),
            Event::Init | Event::Delete(_) => false,
        }
    }

    /// The webhooks of our configuration, none where it is not there.
    pub(super) fn see_webhooks(&mut self, webhooks: Vec<(String, u64)>) -> bool {
        let webhooks = Some(webhooks);
        let is_other = self.webhooks != webhooks;
        self.webhooks = webhooks;
        is_other
    }

    /// Whether everything was looked at: before, nothing is written.
    pub(super) fn are_whole(&self) -> bool {
        self.namespaces.is_whole && self.pods_are_whole && self.held.is_whole && self.webhooks.is_some()
    }

    /// Namespaces whose ConfigMap is not there, or says something else.
    pub(super) fn wanting(&self, bundle: u64) -> Vec<String> {
        let all: BTreeSet<&String> = self.namespaces.there.keys().chain(&self.pods).chain([&self.own]).collect();
        all.into_iter().filter(|place| self.held.there.get(*place) != Some(&bundle)).cloned().collect()
    }

    /// All webhooks of our configuration, if one of them does not have it.
    pub(super) fn wanting_webhooks(&self, bundle: u64) -> Option<Vec<String>> {
        let webhooks = self.webhooks.as_ref()?;
        let is_wanting = webhooks.iter().any(|(_, held)| *held != bundle);
        is_wanting.then(|| webhooks.iter().map(|(name, _)| name.clone()).collect())
    }

    /// It was written.
    pub(super) fn hold(&mut self, namespace: String, bundle: u64) {
        self.held.put(namespace, Some(bundle));
    }

    /// The namespace is gone, or going.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.namespaces.there.remove(namespace);
        self.pods.remove(namespace);
    }
}
