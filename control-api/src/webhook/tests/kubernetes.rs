//! A real API server asks us, over TLS by our own authority, about pods that are created; and takes what we answer.

use std::time::Instant;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;

use crate::authority::{Authority, Config};
use crate::clock::Clock;
use crate::inject::tests::{pods_of_shapes, settings};
use crate::inject::{self, Verdict};
use crate::leader::Leader;
use crate::webhook::{CONNECTIONS, Counts, serve};
use crate::{drain, kubernetes, listen};

/// Until the API server has taken a pod: it needs the ServiceAccount of a new namespace, and the webhook's `caBundle`.
async fn created(pods: &Api<Pod>, pod: &Json) -> kube::Result<Pod> {
    let pod: Pod = serde_json::from_value(pod.clone()).expect("a pod");
    let begun = Instant::now();
    loop {
        match pods.create(&PostParams::default(), &pod).await {
            Err(kube::Error::Api(status)) if is_not_yet(&status.message) && begun.elapsed().as_secs() < 60 => {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            done => return done,
        }
    }
}

fn is_not_yet(message: &str) -> bool {
    message.contains("serviceaccount") || message.contains("failed calling webhook")
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn the_api_server_takes_what_we_put_into_pods() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = kubernetes::connect().await.expect("KUBECONFIG names an API server");
    let namespace = format!("laneway-webhook-{}", std::process::id());
    let all: Api<Namespace> = Api::all(client.clone());
    let of_us = json!({"metadata": {"name": namespace, "labels": {"of": namespace}}});
    let of_us: Namespace = serde_json::from_value(of_us).expect("a namespace");
    all.create(&PostParams::default(), &of_us).await.expect("it is new");

    let config = Config {
        namespace: namespace.clone(),
        names: vec!["127.0.0.1".to_owned()],
        webhook_config: namespace.clone(),
        namespaces: format!("of={namespace}"),
        pods: format!("of={namespace}"),
    };
    let authority = Authority::open(client.clone(), config, Clock::system()).await.expect("an authority");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}/inject", listener.local_addr().expect("it is bound"));
    let connections = listen::connections(listener, Some((authority.tls(), |tls| &tls.webhook)), CONNECTIONS);
    let (_trigger, draining) = drain::channel();
    let counts = Counts::default();
    let serving = tokio::spawn(serve(connections, settings(&[]), counts.clone(), draining));
    let running = tokio::spawn(authority.run(Leader::sole()));

    let configuration = json!({
        "metadata": {"name": namespace},
        "webhooks": [{
            "name": "inject.laneway.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded", "clientConfig": {"url": url},
            "namespaceSelector": {"matchLabels": {"of": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }],
    });
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(configuration).expect("a configuration");
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    webhooks.create(&PostParams::default(), &configuration).await.expect("it is new");

    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let pod = |labels: Json, annotations: Json| {
        json!({
            "metadata": {"generateName": "cart-", "labels": labels, "annotations": annotations},
            "spec": {"containers": [{
                "name": "cart", "image": "example/cart:1", "livenessProbe": {"tcpSocket": {"port": 8080}},
            }]},
        })
    };
    let asked = pod(json!({"app": "cart", "laneway.io/tag": "gray"}), json!({}));
    let made = created(&pods, &asked).await.expect("it is good");
    let spec = made.spec.expect("a pod has a spec");
    let names: Vec<&str> = spec.init_containers.iter().flatten().map(|container| container.name.as_str()).collect();
    assert_eq!(names, ["laneway-init", "laneway-proxy"]);
    let probe = spec.containers[0].liveness_probe.as_ref().expect("it has one");
    assert!(probe.tcp_socket.is_none() && probe.http_get.is_some());
    assert_eq!(spec.termination_grace_period_seconds, Some(40));

    let made = created(&pods, &pod(json!({"laneway.io/inject": "disabled"}), json!({}))).await.expect("it is good");
    assert!(made.spec.expect("a pod has a spec").init_containers.is_none());

    let refused = created(&pods, &pod(json!({"app": "cart"}), json!({"laneway.io/drain-seconds": "5s"}))).await;
    let words = refused.expect_err("it cannot be meant").to_string();
    assert!(words.contains("inject.laneway.io") && words.contains("0 to 3600"), "{words}");

    // Every golden shape, in a dry run: the API server takes what comes out.
    let mut injected = 0;
    for (shape, _, shaped) in pods_of_shapes() {
        for pod in shaped {
            let wanted = inject::inject_pod(&mut pod.clone(), &settings(&[]));
            if inject::has_sidecar(&pod) || !matches!(wanted, Ok(Verdict::Injected(_))) {
                continue;
            }
            let mut asked = serde_json::to_value(inject::value::Value::Map(pod)).expect("JSON");
            asked["metadata"]["name"] = json!("shape");
            asked["metadata"]["namespace"] = json!(namespace);
            // One that is not there.
            asked["spec"].as_object_mut().expect("a pod has a spec").remove("serviceAccountName");
            let Ok(asked) = serde_json::from_value::<Pod>(asked) else { continue };
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            match pods.create(&dry, &asked).await {
                Ok(made) => {
                    let labels = made.metadata.labels.unwrap_or_default();
                    assert_eq!(labels.get("laneway.io/injected").map(String::as_str), Some("true"), "{shape}");
                    injected += 1;
                }
                // Shapes are about us: some have no image, which the API server wants.
                Err(error) => {
                    let words = error.to_string();
                    let is_ours =
                        ["laneway-init", "laneway-proxy", "laneway.io"].iter().any(|name| words.contains(name));
                    assert!(!is_ours, "{shape}: {words}");
                }
            }
        }
    }
    assert!(injected >= 10, "{injected}");
    assert_eq!(counts.counts()[3], ("failed", 0));

    webhooks.delete(&namespace, &DeleteParams::default()).await.expect("it is there");
    all.delete(&namespace, &DeleteParams::default()).await.expect("it is there");
    serving.abort();
    running.abort();
}
