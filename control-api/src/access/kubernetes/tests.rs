//! Against a real API server: tokens that it made, and tokens that it did not.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ApiServer;
use crate::access::review::{Authority, NotKnown};
use crate::access::reviewer::Pod;
use crate::access::turns::Later;
use crate::access::{Refusal, Role, Said};
use crate::discovery::PodService;
use crate::discovery::kubernetes::Cluster;
use crate::discovery::standing::Standing;

const AUDIENCE: &str = "laneway.io";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A namespace of one test, with an authority that remembers nothing of another.
struct Place {
    client: Client,
    namespace: String,
}

impl Place {
    async fn new(what: &str) -> Place {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = crate::kubernetes::connect().await.expect("KUBECONFIG names a cluster");
        let namespace = format!("identity-{what}-{}", std::process::id());
        let object = of(json!({"metadata": {"name": namespace}}));
        Api::<v1::Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.expect("a namespace");
        let place = Place { client, namespace };
        let begun = Instant::now();
        while place.accounts().get_opt("default").await.expect("it answers").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no ServiceAccount was made");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        place
    }

    fn accounts(&self) -> Api<v1::ServiceAccount> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn pods(&self) -> Api<v1::Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn authority(&self) -> Authority {
        self.authority_with(PodService::Unread)
    }

    /// Where discovery says this of every pod.
    fn authority_with(&self, discovered: PodService) -> Authority {
        let service_of = Arc::new(move |_: &Pod| discovered.clone());
        Authority::new(Box::new(ApiServer::new(self.client.clone())), AUDIENCE.to_owned(), service_of)
    }

    async fn pod(&self, name: &str) -> v1::Pod {
        self.pod_with(name, json!({"app": "cart"})).await
    }

    async fn pod_with(&self, name: &str, labels: Value) -> v1::Pod {
        let spec = json!({"containers": [{"name": "app", "image": "example/app:1"}]});
        let object = of(json!({"metadata": {"name": name, "labels": labels}, "spec": spec}));
        self.pods().create(&PostParams::default(), &object).await.expect("the pod is good")
    }

    /// As the kubelet asks for a pod's projected token.
    async fn token(&self, account: &str, audiences: &[&str], pod: Option<&v1::Pod>) -> String {
        let pod = pod
            .map(|pod| json!({"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.metadata.uid}));
        let request: TokenRequest = of(json!({
            "metadata": {}, "spec": {"audiences": audiences, "expirationSeconds": 3600, "boundObjectRef": pod},
        }));
        let (accounts, post) = (self.accounts(), PostParams::default());
        let answer = accounts.create_subresource("token", account, &post, &request).await;
        let answer: TokenRequest = answer.expect("the ServiceAccount is there");
        answer.status.expect("it was answered").token
    }

    async fn end(self) {
        let namespaces = Api::<v1::Namespace>::all(self.client);
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.expect("it is ours");
    }
}

fn of<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("an object of that kind")
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_pod_is_known_by_its_projected_token_and_by_nothing_else() {
    let place = Place::new("pods").await;
    let (first, second) = (place.pod("cart-1").await, place.pod("cart-2").await);
    let now = Instant::now();
    let token = place.token("default", &[AUDIENCE], Some(&first)).await;
    let pass = place.authority().sidecar(&token, HERE, now).await.expect("it is genuine");
    let node = |pod: &str| format!("sidecar~10.0.0.1~{pod}.{}~", place.namespace);
    let (own, others) = (node("cart-1"), node("cart-2"));
    let uid = first.metadata.uid.clone().expect("it has one");
    let said = Said { node_id: &own, namespace: &place.namespace, service: "cart", pod_name: "cart-1", pod_uid: &uid };
    assert_eq!(pass.refusal(&said), None);
    let refusal = pass.refusal(&Said { node_id: &others, pod_name: "cart-2", ..said }).expect("it is the other pod's");
    assert!(refusal.contains("cart-2"), "{refusal}");
    assert!(pass.refusal(&Said { namespace: "default", ..said }).is_some());
    // Nobody but the pod says which service it is of.
    assert_eq!(pass.refusal(&Said { service: "", ..said }), None);
    assert!(pass.refusal(&Said { service: "order", ..said }).is_some());
    // Before discovery has seen the pod it is let in as what it says itself.
    let early = place.authority_with(PodService::Unknown).sidecar(&token, HERE, now).await.expect("it is genuine");
    assert_eq!(early.refusal(&said), None);
    assert!(early.refusal(&Said { service: "order", ..said }).is_some());
    // Of the other pod it is the other.
    let token_of_other = place.token("default", &[AUDIENCE], Some(&second)).await;
    let other = place.authority().sidecar(&token_of_other, HERE, now).await.expect("it is genuine");
    assert!(other.refusal(&said).is_some());

    let is_unreviewed = |known: Result<_, NotKnown>| matches!(known, Err(NotKnown::Refused(Refusal::Unreviewed(_))));
    for audiences in [&["vault"][..], &[]] {
        let wrong = place.token("default", audiences, Some(&first)).await;
        let refused = place.authority().sidecar(&wrong, HERE, now).await;
        assert!(matches!(refused, Err(NotKnown::Refused(Refusal::OtherAudience { .. }))), "{audiences:?}: {refused:?}");
    }
    // A signature that is another's: as long, and of the same alphabet.
    let (signed, signature) = token.rsplit_once('.').expect("a JWT");
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    assert!(is_unreviewed(place.authority().sidecar(&forged, HERE, now).await));
    // Claims that were changed under a genuine signature.
    let (head, _) = signed.split_once('.').expect("a JWT");
    let (claims_of_other, _) = token_of_other.rsplit_once('.').expect("a JWT");
    let claims = claims_of_other.split_once('.').expect("a JWT").1;
    assert!(is_unreviewed(place.authority().sidecar(&format!("{head}.{claims}.{signature}"), HERE, now).await));
    let loose = place.token("default", &[AUDIENCE], None).await;
    let refused = place.authority().sidecar(&loose, HERE, now).await;
    assert!(matches!(refused, Err(NotKnown::Refused(Refusal::NoPod(_)))), "{refused:?}");

    // A pod that is gone takes its token with it, at the next question; what has its name then is another pod.
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    place.pods().delete("cart-1", &at_once).await.expect("it is there");
    place.pod("cart-1").await;
    // The API server itself remembers a token for some seconds.
    let begun = Instant::now();
    while !is_unreviewed(place.authority().sidecar(&token, HERE, now).await) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the token of a deleted pod is still good");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    place.end().await;
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_pod_is_known_by_what_it_says_itself_or_else_from_when_discovery_has_seen_it() {
    let place = Place::new("seen").await;
    let namespaces = std::slice::from_ref(&place.namespace);
    let (cluster, services) =
        Cluster::open(&place.client, namespaces, Standing::default()).await.expect("it may be listed");
    let pods = cluster.pods();
    let (found, _seen) = watch::channel(services);
    let following = tokio::spawn(cluster.follow(found));
    let reviewer = Box::new(ApiServer::new(place.client.clone()));
    let service_of = Arc::new(move |pod: &Pod| pods.service_of(&pod.namespace, &pod.name, &pod.uid));
    let authority = Authority::new(reviewer, AUDIENCE.to_owned(), service_of);
    let node = |pod: &str| format!("sidecar~10.1.0.1~{pod}.{}~", place.namespace);
    let now = Instant::now();
    // It has no address yet, and says its service.
    let pod = place.pod("cart-1").await;
    let token = place.token("default", &[AUDIENCE], Some(&pod)).await;
    let pass = authority.sidecar(&token, HERE, now).await.expect("it says who it is");
    let own = node("cart-1");
    let said = Said { node_id: &own, namespace: &place.namespace, service: "cart", pod_name: "cart-1", pod_uid: "" };
    assert_eq!(pass.refusal(&said), None);
    assert!(pass.refusal(&Said { service: "order", ..said }).is_some());
    // This one says none: a Service may select it.
    let silent = place.pod_with("silent-1", json!({"x": "y"})).await;
    let token = place.token("default", &[AUDIENCE], Some(&silent)).await;
    let asked = authority.sidecar(&token, HERE, now).await;
    assert!(matches!(asked, Err(NotKnown::Later(Later::Unseen { .. }))), "{asked:?}");
    // As its kubelet says it.
    let status = json!({"status": {"phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}]}});
    let patched = place.pods().patch_status("silent-1", &PatchParams::default(), &Patch::Strategic(status)).await;
    patched.expect("the status is good");
    let begun = Instant::now();
    let pass = loop {
        match authority.sidecar(&token, HERE, now).await {
            Ok(pass) => break pass,
            Err(NotKnown::Later(Later::Unseen { .. })) if begun.elapsed() < Duration::from_secs(60) => {}
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let own = node("silent-1");
    let said = Said { node_id: &own, pod_name: "silent-1", service: "", ..said };
    assert_eq!(pass.refusal(&said), None);
    assert!(pass.refusal(&Said { service: "cart", ..said }).is_some());
    following.abort();
    place.end().await;
}

#[tokio::test]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_cluster_role_with_enable_alone_makes_an_operator() {
    let place = Place::new("people").await;
    let now = Instant::now();
    let post = PostParams::default();
    let roles: Api<ClusterRole> = Api::all(place.client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(place.client.clone());
    let all = json!(["lanegroups", "lanes", "servicepolicies"]);
    let cases = [
        (
            "viewer",
            json!([{"apiGroups": ["laneway.io"], "resources": all, "verbs": ["get", "list"]}]),
            Some(Role::Viewer),
        ),
        (
            "operator",
            json!([{"apiGroups": ["laneway.io"], "resources": ["lanes"], "verbs": ["enable"]}]),
            Some(Role::Operator),
        ),
        ("admin", json!([{"apiGroups": ["laneway.io"], "resources": ["*"], "verbs": ["*"]}]), Some(Role::Admin)),
        ("nobody", json!([]), None),
    ];
    for (account, rules, expected) in cases {
        let name = format!("{}-{account}", place.namespace);
        let object = of(json!({"metadata": {"name": account}}));
        place.accounts().create(&post, &object).await.expect("a ServiceAccount");
        roles.create(&post, &of(json!({"metadata": {"name": name}, "rules": rules}))).await.expect("a ClusterRole");
        let binding = of(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": place.namespace}],
        }));
        bindings.create(&post, &binding).await.expect("a binding");
        // One for us, and one as people have them, for the API server.
        for audiences in [&[AUDIENCE][..], &[]] {
            let token = place.token(account, audiences, None).await;
            let begun = Instant::now();
            // The API server's own authorizer follows its rules by a watch.
            let found = loop {
                let found = place.authority().person(&token, HERE, now).await;
                let role = found.as_ref().ok().map(|(_, role)| *role);
                if role == expected || begun.elapsed() > Duration::from_secs(30) {
                    break found;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            let principal = format!("kubernetes:system:serviceaccount:{}:{account}", place.namespace);
            match expected {
                Some(role) => assert_eq!(found, Ok((principal, role)), "{account} {audiences:?}"),
                None => {
                    assert_eq!(found, Err(NotKnown::Refused(Refusal::NoRole(principal))), "{account} {audiences:?}")
                }
            }
        }
        bindings.delete(&name, &DeleteParams::default()).await.expect("it is ours");
        roles.delete(&name, &DeleteParams::default()).await.expect("it is ours");
    }
    place.end().await;
}
