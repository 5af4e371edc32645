use serde_json::json;

use super::*;

fn binding(namespaces: &[&str]) -> ClusterRoleBinding {
    let subjects: Vec<_> = namespaces
        .iter()
        .map(|namespace| json!({"kind": "ServiceAccount", "name": CONTROL, "namespace": namespace}))
        .collect();
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CONTROL});
    serde_json::from_value(json!({"metadata": {"name": CONTROL}, "roleRef": role, "subjects": subjects}))
        .expect("a ClusterRoleBinding")
}

fn webhook(namespace: &str) -> MutatingWebhookConfiguration {
    let service = json!({"name": CONTROL, "namespace": namespace, "path": "/inject"});
    let webhook = json!({"name": "namespace.inject.laneway.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"service": service}});
    serde_json::from_value(json!({"metadata": {"name": WEBHOOK}, "webhooks": [webhook.clone(), webhook]}))
        .expect("a MutatingWebhookConfiguration")
}

#[test]
fn an_installation_elsewhere_is_named_with_what_it_holds() {
    let both = judge("lanes", Some(&binding(&["shop"])), Some(&webhook("shop"))).expect("it is another's");
    assert_eq!(
        both.to_string(),
        "there is an installation in namespace shop: clusterrolebinding/laneway-control and \
         mutatingwebhookconfiguration/laneway-inject are its"
    );
    // Half of it was left behind, or taken already.
    for (binding, webhook, object) in [
        (Some(binding(&["shop"])), None, "clusterrolebinding/laneway-control is its"),
        (Some(binding(&["lanes"])), Some(webhook("shop")), "mutatingwebhookconfiguration/laneway-inject is its"),
    ] {
        let found = judge("lanes", binding.as_ref(), webhook.as_ref()).expect("it is another's").to_string();
        assert!(found.contains("namespace shop: ") && found.ends_with(object), "{found}");
    }
}

#[test]
fn an_empty_cluster_and_our_own_installation_are_nobody_elses() {
    assert_eq!(judge("lanes", None, None), None);
    assert_eq!(judge("lanes", Some(&binding(&["lanes"])), Some(&webhook("lanes"))), None);
    // Somebody was added to it.
    assert_eq!(judge("lanes", Some(&binding(&["shop", "lanes"])), None), None);
    assert_eq!(judge("lanes", Some(&binding(&[])), None), None);
}
