//! Against a real API server: there is no kubelet, so tests say in the status of pods what one would say.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use laneway_core::document::ServiceDocument;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::super::standing::Standing;
use super::super::Cluster;

static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// A namespace of one test.
struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    async fn new() -> Namespace {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = crate::kubernetes::connect().await.expect("KUBECONFIG names a cluster");
        let name = format!("registry-{}-{}", std::process::id(), NAMESPACES.fetch_add(1, Ordering::Relaxed));
        let object = of(json!({"metadata": {"name": name}}));
        Api::<v1::Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.expect("a namespace");
        // Pods are refused before the controller has made it.
        let accounts: Api<v1::ServiceAccount> = Api::namespaced(client.clone(), &name);
        let begun = Instant::now();
        while accounts.get_opt("default").await.expect("it answers").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no ServiceAccount was made");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Namespace { client, name }
    }

    fn pods(&self) -> Api<v1::Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    async fn service(&self, object: Value) -> v1::Service {
        let api: Api<v1::Service> = Api::namespaced(self.client.clone(), &self.name);
        api.create(&PostParams::default(), &of(object)).await.expect("the Service is good")
    }

    /// Runs, and is ready.
    async fn pod(&self, name: &str, ip: &str, labels: Value) {
        let object = of(json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {
                // A pod on a node is deleted with grace.
                "nodeName": "node-1",
                "containers": [{"name": "app", "image": "example/app:1", "ports": [{"name": "http", "containerPort": 8080}]}],
            },
        }));
        self.pods().create(&PostParams::default(), &object).await.expect("the pod is good");
        self.status(name, json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]})).await;
        self.ready(name, true).await;
    }

    async fn ready(&self, name: &str, is_ready: bool) {
        let status = if is_ready { "True" } else { "False" };
        self.status(name, json!({"conditions": [{"type": "Ready", "status": status}]})).await;
    }

    async fn status(&self, name: &str, status: Value) {
        let patch = Patch::Strategic(json!({"status": status}));
        self.pods().patch_status(name, &PatchParams::default(), &patch).await.expect("the status is good");
    }

    async fn delete(&self, name: &str, grace_s: u32) {
        let how = DeleteParams { grace_period_seconds: Some(grace_s), ..DeleteParams::default() };
        self.pods().delete(name, &how).await.expect("it is there");
    }

    /// The catalogue of this namespace, by a client of its own.
    async fn follow(&self, client: &Client) -> watch::Receiver<Vec<ServiceDocument>> {
        let (cluster, services) = Cluster::open(client, std::slice::from_ref(&self.name), Standing::default())
            .await
            .expect("it may be listed");
        let (found, seen) = watch::channel(services);
        tokio::spawn(cluster.follow(found));
        seen
    }

    async fn end(self) {
        let namespaces = Api::<v1::Namespace>::all(self.client);
        namespaces.delete(&self.name, &DeleteParams::default()).await.expect("it is ours");
    }
}

fn of<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("an object of that kind")
}

fn shown(services: &[ServiceDocument]) -> Vec<String> {
    let endpoints = |service: &ServiceDocument| {
        let each = service.endpoints.iter().map(|e| {
            let tag = e.tag.map(|tag| format!(" {tag}")).unwrap_or_default();
            format!("{}{tag} {:?}", e.address, e.state)
        });
        each.collect::<Vec<_>>()
    };
    services.iter().flat_map(endpoints).collect()
}

async fn until(seen: &watch::Receiver<Vec<ServiceDocument>>, expected: &[&str]) {
    let mut seen = seen.clone();
    let wait = seen.wait_for(|services| shown(services) == expected);
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await.map(drop);
    assert!(waited.is_ok(), "still {:?}, not {expected:?}", shown(&seen.borrow()));
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn the_catalogue_follows_readiness_deletion_with_grace_and_scale() {
    let space = Namespace::new().await;
    space.pod("cart-1", "10.1.0.1", json!({"app": "cart"})).await;
    space.pod("cart-2", "10.1.0.2", json!({"app": "cart", "laneway.io/tag": "gray"})).await;
    let service = space.service(json!({
        "metadata": {"name": "cart"},
        "spec": {"selector": {"app": "cart"}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]},
    }));
    let service = service.await;
    let seen = space.follow(&space.client).await;
    let both = ["10.1.0.1:0 Ready", "10.1.0.2:0 gray Ready", "10.1.0.1:8080 Ready", "10.1.0.2:8080 gray Ready"];
    until(&seen, &both).await;
    let catalogue = seen.borrow().clone();
    let cluster_ip = service.spec.and_then(|spec| spec.cluster_ip).expect("the server gives one");
    assert_eq!((catalogue.len(), catalogue[0].addresses[0].to_string()), (1, cluster_ip));

    space.ready("cart-1", false).await;
    let unready =
        ["10.1.0.1:0 Unhealthy", "10.1.0.2:0 gray Ready", "10.1.0.1:8080 Unhealthy", "10.1.0.2:8080 gray Ready"];
    until(&seen, &unready).await;
    space.ready("cart-1", true).await;
    until(&seen, &both).await;

    // Deleted, and has half a minute to end: it drains at once, and is there until it has ended.
    space.delete("cart-2", 30).await;
    until(
        &seen,
        &["10.1.0.1:0 Ready", "10.1.0.2:0 gray Draining", "10.1.0.1:8080 Ready", "10.1.0.2:8080 gray Draining"],
    )
    .await;
    space.delete("cart-2", 0).await;
    until(&seen, &["10.1.0.1:0 Ready", "10.1.0.1:8080 Ready"]).await;

    // Up, and down again.
    for number in 3..6 {
        space.pod(&format!("cart-{number}"), &format!("10.1.0.{number}"), json!({"app": "cart"})).await;
    }
    let four = |port: u16| [1, 3, 4, 5].map(|number| format!("10.1.0.{number}:{port} Ready"));
    let scaled: Vec<String> = four(0).into_iter().chain(four(8080)).collect();
    until(&seen, &scaled.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for number in [1, 3, 4] {
        space.delete(&format!("cart-{number}"), 0).await;
    }
    until(&seen, &["10.1.0.5:0 Ready", "10.1.0.5:8080 Ready"]).await;
    space.end().await;
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_is_known_stays_while_the_api_server_is_away_and_is_put_right_when_it_is_back() {
    let space = Namespace::new().await;
    space.pod("a-1", "10.1.0.1", json!({"app": "a"})).await;
    space.pod("a-2", "10.1.0.2", json!({"app": "a"})).await;
    let (way, client) = Way::to_the_server().await;
    let seen = space.follow(&client).await;
    until(&seen, &["10.1.0.1:0 Ready", "10.1.0.2:0 Ready"]).await;

    way.open.send_replace(false);
    space.delete("a-1", 0).await;
    space.pod("a-3", "10.1.0.3", json!({"app": "a"})).await;
    // It tries, and fails, and nothing changes by it.
    let mut tries = way.refused.clone();
    let wait = tries.wait_for(|refused| *refused >= 3);
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it tries again").expect("the way is there");
    assert_eq!(shown(&seen.borrow()), ["10.1.0.1:0 Ready", "10.1.0.2:0 Ready"]);

    way.open.send_replace(true);
    until(&seen, &["10.1.0.2:0 Ready", "10.1.0.3:0 Ready"]).await;
    space.end().await;
}

/// A way to the API server that can be cut.
struct Way {
    open: watch::Sender<bool>,
    /// Connections that found it cut.
    refused: watch::Receiver<u32>,
}

impl Way {
    async fn to_the_server() -> (Way, Client) {
        let mut config = Config::infer().await.expect("KUBECONFIG names a cluster");
        let server = config.cluster_url.authority().expect("a host").to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("it is bound").port();
        config.cluster_url = format!("https://127.0.0.1:{port}").parse().expect("a URL");
        let (open, is_open) = watch::channel(true);
        let (count, refused) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !*is_open.borrow() {
                    count.send_modify(|count| *count += 1);
                    continue;
                }
                let (mut is_open, server) = (is_open.clone(), server.clone());
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(&server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        (Way { open, refused }, Client::try_from(config).expect("the same server"))
    }
}
