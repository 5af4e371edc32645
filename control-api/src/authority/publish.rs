//! Tells the cluster whom to trust: the leader keeps ConfigMap `laneway-ca` in each namespace whose pods need it, and the `caBundle` of
//! the webhook's configuration. By watches: what is deleted or changed comes back at once, a new namespace has it before its first
//! pod starts.
//!
//! ```text
//!  namespaces with the label · injected pods · ConfigMaps · webhook configuration ──▶ places ──▶ server-side apply
//! ```

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tracing::{debug, info, warn};

use super::places::{Places, digest};
use super::{Config, NAME};
use crate::kubernetes::FIELD_MANAGER;
use crate::leader::Leader;

/// Key of the ConfigMaps.
const KEY: &str = "ca.pem";
/// Writes at a time: a cluster may have thousands of namespaces.
const WRITES_MAX: usize = 16;
/// After a failure.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// While this replica leads. `published` is told what is everywhere.
pub(super) async fn run(
    client: Client,
    config: Config,
    mut leader: Leader,
    bundle: watch::Receiver<Arc<str>>,
    published: watch::Sender<Arc<str>>,
) {
    loop {
        while !leader.leads() {
            leader.changed().await;
        }
        let publisher = Publisher {
            client: client.clone(),
            places: Places::new(config.namespace.clone()),
            config: config.clone(),
            published: published.clone(),
            paused: BTreeMap::new(),
        };
        tokio::select! {
            () = publisher.follow(bundle.clone()) => return,
            () = leader.changed() => {}
        }
    }
}

struct Publisher {
    client: Client,
    places: Places,
    config: Config,
    published: watch::Sender<Arc<str>>,
    /// Namespaces that could not be written, and the webhook's configuration, by "".
    paused: BTreeMap<String, Instant>,
}

impl Publisher {
    /// Ends when nobody signs any more.
    async fn follow(mut self, mut bundle: watch::Receiver<Arc<str>>) {
        let all = watcher::Config::default;
        let of_name = format!("metadata.name={NAME}");
        let namespaces = watcher(
            Api::<PartialObjectMeta<Namespace>>::all(self.client.clone()),
            all().labels(&self.config.namespaces),
        );
        let pods = watcher(Api::<PartialObjectMeta<Pod>>::all(self.client.clone()), all().labels(&self.config.pods));
        let maps = watcher(Api::<ConfigMap>::all(self.client.clone()), all().fields(&of_name));
        let webhooks = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        let webhooks = watch_object(webhooks, &self.config.webhook_config);
        let (mut namespaces, mut pods) = (pin!(namespaces.default_backoff()), pin!(pods.default_backoff()));
        let (mut maps, mut webhooks) = (pin!(maps.default_backoff()), pin!(webhooks.default_backoff()));
        let mut retries = tokio::time::interval(RETRY_AFTER);
        loop {
            let is_other = tokio::select! {
                Some(event) = namespaces.next() => seen("Namespaces", event, |event| {
                    self.places.namespaces.see(event, namespace)
                }),
                Some(event) = pods.next() => seen("Pods", event, |event| self.places.see_pod(event, pod)),
                Some(event) = maps.next() => seen("ConfigMaps", event, |event| self.places.held.see(event, config_map)),
                Some(event) = webhooks.next() => seen("MutatingWebhookConfigurations", event, |found| {
                    self.places.see_webhooks(found.as_ref().map(bundles).unwrap_or_default())
                }),
                changed = bundle.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => return,
                },
                _ = retries.tick() => !self.paused.is_empty(),
            };
            if is_other && self.places.are_whole() {
                let bundle = Arc::clone(&bundle.borrow_and_update());
                self.write(bundle).await;
            }
        }
    }

    /// Whatever is not as it should be.
    async fn write(&mut self, bundle: Arc<str>) {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        let hash = digest(bundle.as_bytes());
        let mut wanting =
            self.places.wanting(hash).into_iter().filter(|place| !self.paused.contains_key(place)).collect::<Vec<_>>();
        while !wanting.is_empty() {
            let some = wanting.split_off(wanting.len().saturating_sub(WRITES_MAX));
            let mut writes = JoinSet::new();
            for namespace in some {
                let write = write_map(self.client.clone(), namespace.clone(), Arc::clone(&bundle));
                writes.spawn(async move { (namespace, write.await) });
            }
            while let Some(written) = writes.join_next().await {
                let Ok((namespace, result)) = written else { continue };
                match result {
                    Ok(()) => {
                        debug!(%namespace, "ConfigMap {NAME} was written");
                        self.places.hold(namespace, hash);
                    }
                    Err(error) if is_gone(&error) => self.places.forget(&namespace),
                    Err(error) => {
                        warn!(%namespace, %error, "ConfigMap {NAME} cannot be written; it is tried again");
                        self.paused.insert(namespace, now + RETRY_AFTER);
                    }
                }
            }
        }
        let webhooks = self.places.wanting_webhooks(hash);
        if let Some(names) = webhooks.as_ref().filter(|_| !self.paused.contains_key("")) {
            match write_webhooks(&self.client, &self.config.webhook_config, names, &bundle).await {
                Ok(()) => {
                    info!(configuration = %self.config.webhook_config, "the API server was told whom to trust");
                    self.places.see_webhooks(names.iter().map(|name| (name.clone(), hash)).collect());
                }
                Err(error) => {
                    let configuration = self.config.webhook_config.as_str();
                    warn!(%configuration, %error, "caBundle cannot be written; it is tried again");
                    self.paused.insert(String::new(), now + RETRY_AFTER);
                }
            }
        }
        if self.places.wanting(hash).is_empty() && self.places.wanting_webhooks(hash).is_none() {
            self.published.send_if_modified(|there| {
                let is_new = *there != bundle;
                *there = bundle;
                is_new
            });
        }
    }
}

/// What a watch says. It goes on after an error by itself.
fn seen<E>(what: &str, event: watcher::Result<E>, take: impl FnOnce(E) -> bool) -> bool {
    match event {
        Ok(event) => take(event),
        Err(error) => {
            warn!(%error, "{what} cannot be watched");
            false
        }
    }
}

/// One that is going takes nothing new.
fn namespace(namespace: &PartialObjectMeta<Namespace>) -> (String, Option<()>) {
    let is_going = namespace.metadata.deletion_timestamp.is_some();
    (namespace.metadata.name.clone().unwrap_or_default(), (!is_going).then_some(()))
}

fn pod(pod: &PartialObjectMeta<Pod>) -> String {
    pod.metadata.namespace.clone().unwrap_or_default()
}

fn config_map(map: &ConfigMap) -> (String, Option<u64>) {
    let text = map.data.as_ref().and_then(|data| data.get(KEY)).map_or("", String::as_str);
    (map.metadata.namespace.clone().unwrap_or_default(), Some(digest(text.as_bytes())))
}

fn bundles(configuration: &MutatingWebhookConfiguration) -> Vec<(String, u64)> {
    let webhooks = configuration.webhooks.iter().flatten();
    let held = webhooks.map(|webhook| {
        let bundle = webhook.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice());
        (webhook.name.clone(), digest(bundle.unwrap_or_default()))
    });
    held.collect()
}

async fn write_map(client: Client, namespace: String, bundle: Arc<str>) -> kube::Result<()> {
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER}},
        "data": {KEY: &*bundle},
    });
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    maps.patch(NAME, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(map)).await.map(drop)
}

async fn write_webhooks(client: &Client, name: &str, webhooks: &[String], bundle: &str) -> kube::Result<()> {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let webhooks: Vec<_> =
        webhooks.iter().map(|webhook| json!({"name": webhook, "clientConfig": {"caBundle": bundle}})).collect();
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": webhooks,
    });
    let all: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    all.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(configuration)).await.map(drop)
}

/// The namespace, or it takes nothing new because it is going.
fn is_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 404 || causes.any(|cause| cause.reason == "NamespaceTerminating")
}
