//! Each test has a namespace, a label and a webhook configuration of its own, so that they can run beside each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::authority::{Authority, Config, NAME, empty, stored};
use crate::clock::Clock;
use crate::leader::Leader;

/// A namespace, and the part of the cluster that is a test's own.
struct Place {
    client: Client,
    config: Config,
}

impl Place {
    async fn new(name: &str) -> Place {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = crate::kubernetes::connect().await.expect("KUBECONFIG names an API server");
        let namespace = format!("laneway-{name}-{}", std::process::id());
        let config = Config {
            namespace: namespace.clone(),
            names: vec!["127.0.0.1".to_owned()],
            webhook_config: namespace.clone(),
            namespaces: format!("of={namespace}"),
            pods: format!("of={namespace}"),
        };
        let place = Place { client, config };
        place.namespace(&namespace, false).await;
        place
    }

    async fn namespace(&self, name: &str, has_label: bool) {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        let label = ("of".to_owned(), self.config.namespace.clone());
        namespace.metadata.labels = has_label.then(|| BTreeMap::from([label]));
        let all: Api<Namespace> = Api::all(self.client.clone());
        all.create(&PostParams::default(), &namespace).await.expect("a namespace");
    }

    async fn open(&self) -> Authority {
        Authority::open(self.client.clone(), self.config.clone(), Clock::system()).await.expect("an authority")
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.config.namespace)
    }

    fn maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Until the ConfigMap of that namespace says so.
    async fn published(&self, namespace: &str, bundle: &str) {
        let maps = self.maps(namespace);
        until(&format!("{namespace} has the bundle"), async || {
            let map = maps.get_opt(NAME).await.expect("the API server answers");
            map.and_then(|map| map.data?.get("ca.pem").map(|text| text == bundle)).unwrap_or(false)
        })
        .await;
    }

    async fn end(self, more: &[&str]) {
        let all: Api<Namespace> = Api::all(self.client.clone());
        for name in more.iter().copied().chain([self.config.namespace.as_str()]) {
            all.delete(name, &DeleteParams::default()).await.expect("it is there");
        }
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn of_racing_replicas_one_makes_the_secret_and_all_have_it() {
    let place = Place::new("race").await;
    let (one, two, three) = tokio::join!(place.open(), place.open(), place.open());
    let secret = place.secrets().get(NAME).await.expect("it was made");
    let stored = stored::bundle(&stored::read(&secret).expect("we wrote it"));
    for replica in [&one, &two, &three] {
        assert_eq!(**replica.bundle().borrow(), *stored);
    }
    assert_eq!(stored.matches("BEGIN CERTIFICATE").count(), 1);
    place.end(&[]).await;
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_damaged_secret_is_named_and_left_as_it_is() {
    let place = Place::new("damaged").await;
    let mut secret = empty();
    secret.data = Some([(stored::KEY.to_owned(), ByteString(b"{\"version\":1}".to_vec()))].into());
    place.secrets().create(&PostParams::default(), &secret).await.expect("it is new");
    let refusal = Authority::open(place.client.clone(), place.config.clone(), Clock::system()).await;
    let words = format!("{:#}", refusal.err().expect("it is no good"));
    assert!(words.contains("laneway-ca") && words.contains("delete it") && words.contains("line 1"), "{words}");
    let there = place.secrets().get(NAME).await.expect("it is there");
    assert_eq!(there.data, secret.data);

    // While we run the last good one stays in force, and a Secret that was deleted is made anew.
    place.secrets().delete(NAME, &DeleteParams::default()).await.expect("it is there");
    let authority = place.open().await;
    let (mut bundle, tls) = (authority.bundle(), authority.tls());
    let first = bundle.borrow_and_update().to_string();
    let running = tokio::spawn(authority.run(Leader::sole()));
    place.published(&place.config.namespace, &first).await;
    let damage = json!({"data": {stored::KEY: ByteString(b"[]".to_vec())}});
    place.secrets().patch(NAME, &PatchParams::default(), &Patch::Merge(damage)).await.expect("it is there");
    place.secrets().delete(NAME, &DeleteParams::default()).await.expect("it is there");
    bundle.changed().await.expect("it runs");
    let second = bundle.borrow_and_update().to_string();
    assert_ne!(first, second);
    place.published(&place.config.namespace, &second).await;
    until("the ports show another certificate", async || tls.has_changed().expect("it runs")).await;
    running.abort();
    place.end(&[]).await;
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn the_bundle_is_where_it_is_needed_and_comes_back() {
    let place = Place::new("publish").await;
    let (shop, late) = (format!("{}-shop", place.config.namespace), format!("{}-late", place.config.namespace));
    place.namespace(&shop, true).await;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(place.client.clone());
    let webhook = |name: &str| {
        json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "clientConfig": {"url": "https://127.0.0.1:9/inject"},
            "namespaceSelector": {"matchLabels": {"of": "nobody"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        })
    };
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": place.config.webhook_config},
        "webhooks": [webhook("one.laneway.io"), webhook("two.laneway.io")],
    });
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(configuration).expect("a configuration");

    let authority = place.open().await;
    let bundle = authority.bundle().borrow().to_string();
    let running = tokio::spawn(authority.run(Leader::sole()));
    place.published(&place.config.namespace, &bundle).await;
    place.published(&shop, &bundle).await;
    // Deleted, changed, and a namespace that comes later.
    place.maps(&shop).delete(NAME, &DeleteParams::default()).await.expect("it is there");
    place.published(&shop, &bundle).await;
    let other = json!({"data": {"ca.pem": "nonsense", "theirs": "kept"}});
    place.maps(&shop).patch(NAME, &PatchParams::default(), &Patch::Merge(other)).await.expect("it is there");
    place.published(&shop, &bundle).await;
    let map = place.maps(&shop).get(NAME).await.expect("it is there");
    assert_eq!(map.data.expect("it has data")["theirs"], "kept");
    place.namespace(&late, true).await;
    place.published(&late, &bundle).await;

    let name = place.config.webhook_config.as_str();
    let told = async || {
        let found = webhooks.get(name).await.expect("it is there");
        let bundles = found.webhooks.iter().flatten().map(|webhook| webhook.client_config.ca_bundle.clone());
        bundles.collect::<Vec<_>>() == vec![Some(ByteString(bundle.clone().into_bytes())); 2]
    };
    webhooks.create(&PostParams::default(), &configuration).await.expect("it is new");
    until("the webhooks have the bundle", told).await;
    let without = json!({"webhooks": [webhook("one.laneway.io"), webhook("two.laneway.io")]});
    webhooks.patch(name, &PatchParams::default(), &Patch::Merge(without)).await.expect("it is there");
    until("the webhooks have it again", told).await;

    // That it was published is noted in the Secret: only then the authority counts as known.
    until("it is announced", async || {
        let secret = place.secrets().get(NAME).await.expect("it is there");
        stored::read(&secret).expect("we wrote it").iter().all(|root| root.term.announced.is_some())
    })
    .await;
    running.abort();
    webhooks.delete(name, &DeleteParams::default()).await.expect("it is there");
    place.end(&[&shop, &late]).await;
}
