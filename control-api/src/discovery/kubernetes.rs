//! Discovery from the API server: pods, Kubernetes Services and EndpointSlices are watched, and are services and instances.
//!
//! ```text
//!   three watches a namespace ─▶ bounded channel ─▶ Registry (pure) ─flush─▶ whole catalogues
//! ```
//! Each watch is kube's: a list in pages, then events from there; where the server has forgotten that place (410), a list again. What a
//! list no longer has is removed when the list is complete, never before. While the API server is away the last state stays; a list that
//! is never completed is as good as none, whatever it tells on the way.
//! A watch that ends, which none should, is started again.
//! Slices that the cluster itself makes are not read: they say what pods and selectors say, and say it later.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use laneway_core::document::ServiceDocument;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_stream::StreamExt;
use tracing::{debug, error, info, warn};

use self::kind::Kind;
use self::objects::{FrontFact, Pod, PodFact, Service, Slice, SliceFact};
use self::registry::{ObjectName, Registry};
use super::standing::{Ear, Standing};
use super::{PodService, PodTag};
use crate::causes;

mod compose;
mod kind;
mod listening;
mod namespace;
mod objects;
mod registry;

#[cfg(test)]
mod tests;

/// Objects of one page of a list. A page is in memory whole, twice while it is read, and an object may have 1.5 MiB: three kinds at a time
/// stay below half of the 1 GiB that we are given, whatever somebody puts into theirs. 10,000 pods are 200 requests.
const PAGE: u32 = 50;
/// A watch is opened anew after so many seconds, which is heard; one that says nothing for five more is dead.
const WATCH_S: u32 = 60;
/// And so is a list of which nothing more is heard; longer than a watch may be silent.
pub const SILENT_MAX: Duration = Duration::from_secs(75);
/// Events that wait to be taken in; more wait in the watches.
const EVENTS_MAX: usize = 1_024;
/// Pauses of a watch that fails.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// One that had to be started again begins with the shortest pause after so long.
const STEADY: Duration = Duration::from_secs(60);
/// What comes within so short a time after a catalogue is in the next one: a rollout of thousands of pods does not copy all of them for
/// each. The first of a burst does not wait.
const BREATH: Duration = Duration::from_millis(20);
/// Longest wait for the first lists: to start without them would take running instances away from sidecars. A little less than what the
/// startup probe of an installation gives.
const FIRST_LISTS_MAX: Duration = Duration::from_secs(110);
/// Slices of somebody else.
const FOREIGN_SLICES: &str = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io";

/// A cluster that is followed.
pub struct Cluster {
    client: Client,
    /// Shared with whoever asks about pods; held for no wait.
    registry: Arc<Mutex<Registry>>,
    sources: Vec<Source>,
    send: mpsc::Sender<(usize, News)>,
    events: mpsc::Receiver<(usize, News)>,
    /// Ends them with it.
    watches: JoinSet<()>,
    standing: Standing,
}

/// Asks what is known of pods at the moment.
#[derive(Clone)]
pub struct Pods {
    registry: Arc<Mutex<Registry>>,
    /// Those that are read; empty: all.
    namespaces: Vec<String>,
}

/// One watch, as it stands.
struct Source {
    kind: Kind,
    /// Unset: all.
    namespace: Option<String>,
    /// A list was complete.
    is_listed: bool,
    /// While a list is read: what is known and was not listed yet.
    unlisted: Option<BTreeSet<ObjectName>>,
    /// The last failure, until it is heard again.
    failure: Option<String>,
    ear: Ear,
    /// The task, when it was started, and the pause before it is started again.
    task: Option<Id>,
    started: Instant,
    pause: Duration,
}

/// What a watch tells.
enum News {
    ListBegins,
    ListEnds,
    Object {
        namespace: Arc<str>,
        name: Arc<str>,
        fact: Fact,
    },
    /// A watch was opened; there may be nothing to tell for hours.
    Opened,
    Failed(String),
}

/// What is kept of an object; nothing: it is gone, or no matter for us.
enum Fact {
    Pod(Option<PodFact>),
    Front(Option<FrontFact>),
    Slice(Option<SliceFact>),
}

/// What is read of the API server.
trait Read:
    kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + 'static
{
    fn fact(self, is_gone: bool) -> Fact;
}

impl Read for Pod {
    fn fact(self, is_gone: bool) -> Fact {
        Fact::Pod(if is_gone { None } else { objects::pod_fact(self) })
    }
}

impl Read for Service {
    fn fact(self, is_gone: bool) -> Fact {
        Fact::Front(if is_gone { None } else { objects::front_fact(self) })
    }
}

impl Read for Slice {
    fn fact(self, is_gone: bool) -> Fact {
        Fact::Slice(if is_gone { None } else { objects::slice_fact(self) })
    }
}

impl Cluster {
    /// Reads everything for the first time. `namespaces`: none named is all of them. How it goes on is told to `standing`.
    pub async fn open(
        client: &Client,
        namespaces: &[String],
        standing: Standing,
    ) -> anyhow::Result<(Cluster, Vec<ServiceDocument>)> {
        let (send, events) = mpsc::channel(EVENTS_MAX);
        let (client, watches) = (client.clone(), JoinSet::new());
        let (registry, sources) = (Arc::default(), Vec::new());
        let mut cluster = Cluster { client, registry, sources, send, events, watches, standing };
        let places: Vec<Option<&str>> = match namespaces {
            [] => vec![None],
            named => named.iter().map(|namespace| Some(&**namespace)).collect(),
        };
        for place in places {
            for kind in [Kind::Pods, Kind::Services, Kind::Slices] {
                cluster.watch(kind, place);
            }
        }
        let lists = tokio::time::timeout(FIRST_LISTS_MAX, async {
            while cluster.sources.iter().any(|source| !source.is_listed) {
                cluster.take_in().await;
            }
        });
        if lists.await.is_err() {
            let missing = cluster
                .sources
                .iter()
                .filter(|source| !source.is_listed)
                .map(|source| format!("{source}: {}", source.failure.as_deref().unwrap_or("no answer")));
            bail!(
                "the API server did not list all within {} s: {}",
                FIRST_LISTS_MAX.as_secs(),
                missing.collect::<Vec<_>>().join("; ")
            );
        }
        let services = cluster.flushed().unwrap_or_default();
        cluster.tell_problems();
        info!(services = services.len(), "the cluster was read");
        Ok((cluster, services))
    }

    /// Of which service pods are.
    pub fn pods(&self) -> Pods {
        let of_pods = self.sources.iter().filter(|source| source.kind == Kind::Pods);
        let namespaces = of_pods.filter_map(|source| source.namespace.clone()).collect();
        Pods { registry: Arc::clone(&self.registry), namespaces }
    }

    /// Follows the cluster for ever; ends when nobody listens.
    pub async fn follow(mut self, services: watch::Sender<Vec<ServiceDocument>>) {
        loop {
            tokio::select! {
                () = self.take_in() => {}
                () = services.closed() => return,
            }
            let found = self.flushed();
            self.tell_problems();
            if let Some(found) = found {
                debug!(services = found.len(), "discovery changed");
                services.send_replace(found);
                tokio::time::sleep(BREATH).await;
            }
        }
    }

    fn watch(&mut self, kind: Kind, namespace: Option<&str>) {
        let now = Instant::now();
        self.sources.push(Source {
            kind,
            namespace: namespace.map(str::to_owned),
            is_listed: false,
            unlisted: None,
            failure: None,
            ear: self.standing.ear(kind.words(), now),
            task: None,
            started: now,
            pause: PAUSE_MIN,
        });
        self.start(self.sources.len() - 1, Duration::ZERO);
    }

    fn start(&mut self, at: usize, after: Duration) {
        let Some(source) = self.sources.get(at) else { return };
        let task = match source.kind {
            Kind::Pods => self.spawn::<Pod>(at, after),
            Kind::Services => self.spawn::<Service>(at, after),
            Kind::Slices => self.spawn::<Slice>(at, after),
        };
        if let Some(source) = self.sources.get_mut(at) {
            (source.task, source.started) = (task, Instant::now() + after);
        }
    }

    fn spawn<K: Read>(&mut self, at: usize, after: Duration) -> Option<Id> {
        let source = self.sources.get(at)?;
        let client = listening::client(&self.client, at, self.send.clone());
        let api: Api<K> = match &source.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let selector = if source.kind == Kind::Slices { Some(FOREIGN_SLICES) } else { None };
        let send = self.send.clone();
        let task = self.watches.spawn(async move {
            tokio::time::sleep(after).await;
            follow_objects(api, selector, at, send).await;
        });
        Some(task.id())
    }

    /// A watch ended, by a panic: what is known stays, and a new one lists it again.
    fn start_again(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (task, why) = match ended {
            Ok((task, ())) => (task, "it ended".to_owned()),
            Err(error) => (error.id(), error.to_string()),
        };
        let Some(at) = self.sources.iter().position(|source| source.task == Some(task)) else { return };
        let Some(source) = self.sources.get_mut(at) else { return };
        if source.started.elapsed() >= STEADY {
            source.pause = PAUSE_MIN;
        }
        let pause = source.pause;
        source.pause = (pause * 2).min(PAUSE_MAX);
        error!(watch = %source, %why, ?pause, "a watch died, which is a bug of ours; it is started again");
        source.ear.restarted();
        source.failure = Some(why);
        self.start(at, pause);
    }

    /// Waits for news, and takes in with it what else has come: what comes together is published together, and nothing waits.
    async fn take_in(&mut self) {
        let (source, news) = tokio::select! {
            // Never over: we have an end of it ourselves.
            Some(news) = self.events.recv() => news,
            Some(ended) = self.watches.join_next_with_id() => return self.start_again(ended),
        };
        self.apply(source, news);
        for _ in 1..EVENTS_MAX {
            let Ok((source, news)) = self.events.try_recv() else { return };
            self.apply(source, news);
        }
    }

    fn apply(&mut self, at: usize, news: News) {
        let Some(source) = self.sources.get_mut(at) else { return };
        let mut registry = locked(&self.registry);
        match news {
            News::Failed(failure) => {
                if source.failure.is_none() {
                    warn!(watch = %source, %failure, "the API server is not heard, what is known of it stays");
                }
                source.failure = Some(failure);
                return;
            }
            News::Opened => {}
            // It is said before anybody is asked.
            News::ListBegins => {
                source.unlisted = Some(registry.names(source.kind, source.namespace.as_deref()));
                return;
            }
            News::ListEnds => {
                source.is_listed = true;
                for (namespace, name) in source.unlisted.take().unwrap_or_default() {
                    registry.remove(source.kind, &namespace, &name);
                }
            }
            News::Object { namespace, name, fact } => {
                let key = (namespace, name);
                if let Some(unlisted) = &mut source.unlisted {
                    unlisted.remove(&key);
                }
                let (namespace, name) = (&*key.0, &*key.1);
                match fact {
                    Fact::Pod(fact) => registry.pod(namespace, name, fact),
                    Fact::Front(fact) => registry.front(namespace, name, fact),
                    Fact::Slice(fact) => registry.slice(namespace, name, fact),
                }
            }
        }
        // A list that breaks off is begun again, and might be for ever.
        if source.unlisted.is_some() {
            return;
        }
        source.ear.heard(Instant::now());
        if source.failure.take().is_some() {
            info!(watch = %source, "the API server is heard again");
        }
    }

    /// The whole catalogue, if it is another.
    fn flushed(&self) -> Option<Vec<ServiceDocument>> {
        let mut registry = locked(&self.registry);
        registry.flush().then(|| registry.catalogue())
    }

    fn tell_problems(&self) {
        let (problems, standing) = {
            let mut registry = locked(&self.registry);
            (registry.take_problems(), registry.standing_problems())
        };
        if let Some(standing) = standing {
            self.standing.find(standing);
        }
        for problem in problems.told {
            warn!("{problem}");
        }
        if problems.untold > 0 {
            warn!(count = problems.untold, "as many more problems were found in the cluster, and are not told");
        }
    }
}

impl Pods {
    pub fn service_of(&self, namespace: &str, pod: &str, uid: &str) -> PodService {
        if !self.namespaces.is_empty() && !self.namespaces.iter().any(|read| read == namespace) {
            return PodService::Unread;
        }
        locked(&self.registry).service_of(namespace, pod, uid)
    }

    pub fn tag_of(&self, namespace: &str, pod: &str, uid: Option<&str>) -> PodTag {
        locked(&self.registry).tag_of(namespace, pod, uid)
    }
}

/// Asks for one pod, which is not read or was not seen yet, for the service that it names itself.
pub async fn service_of(client: &Client, namespace: &str, pod: &str, uid: &str) -> kube::Result<PodService> {
    // A list of one: whoever discovers may list pods, and need not get them.
    let one = ListParams::default().fields(&format!("metadata.name={pod}")).limit(1);
    let found = Api::<Pod>::namespaced(client.clone(), namespace).list(&one).await?;
    // One of the same name that came after it is another.
    let found = found.items.into_iter().find(|found| found.metadata.uid.as_deref() == Some(uid));
    let Some(found) = found else { return Ok(PodService::Unknown) };
    Ok(objects::service_said(&found).map_or(PodService::OfNone, PodService::Of))
}

fn locked(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    // Whoever panicked may have left half of an event; the next list puts it right.
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = self.kind.words();
        match &self.namespace {
            Some(namespace) => write!(f, "{what} of {namespace}"),
            None => f.write_str(what),
        }
    }
}

/// One watch, for as long as anybody takes its news.
async fn follow_objects<K: Read>(
    api: Api<K>,
    selector: Option<&'static str>,
    at: usize,
    send: mpsc::Sender<(usize, News)>,
) {
    let config = watcher::Config {
        label_selector: selector.map(str::to_owned),
        ..watcher::Config::default().page_size(PAGE).timeout(WATCH_S)
    };
    let mut events = pin!(watcher(api, config));
    let mut pause = PAUSE_MIN;
    while let Some(event) = events.next().await {
        // Parts of a list are none: it may break off after them each time.
        if matches!(event, Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_))) {
            pause = PAUSE_MIN;
        }
        let news = match event {
            Ok(Event::Init) => News::ListBegins,
            Ok(Event::InitDone) => News::ListEnds,
            Ok(Event::InitApply(object) | Event::Apply(object)) => News::of(object, false),
            Ok(Event::Delete(object)) => News::of(object, true),
            Err(error) => News::Failed(causes::in_words(&error)),
        };
        let is_failure = matches!(news, News::Failed(_));
        if send.send((at, news)).await.is_err() {
            return;
        }
        if is_failure {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl News {
    fn of<K: Read>(mut object: K, is_gone: bool) -> News {
        let meta = object.meta_mut();
        let (namespace, name) = (meta.namespace.take().unwrap_or_default(), meta.name.take().unwrap_or_default());
        News::Object { namespace: namespace.into(), name: name.into(), fact: object.fact(is_gone) }
    }
}
