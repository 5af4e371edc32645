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

/// As `other` judges, where these namespaces have a control plane.
fn judged(
    own: &str,
    binding: Option<&ClusterRoleBinding>,
    webhook: Option<&MutatingWebhookConfiguration>,
    alive: &[&str],
) -> Option<Other> {
    let alive: Vec<String> = alive.iter().map(ToString::to_string).collect();
    judge(&of_others(own, binding, webhook), &alive)
}

#[test]
fn an_installation_elsewhere_is_named_with_what_it_holds() {
    let both = judged("lanes", Some(&binding(&["shop"])), Some(&webhook("shop")), &["shop"]);
    let both = both.expect("it is another's");
    assert!(both.is_there());
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
        let found =
            judged("lanes", binding.as_ref(), webhook.as_ref(), &["shop"]).expect("it is another's").to_string();
        assert!(found.contains("namespace shop: ") && found.ends_with(object), "{found}");
    }
}

#[test]
fn what_names_a_namespace_without_a_control_plane_is_nobodys() {
    let left = judged("lanes", Some(&binding(&["gone"])), Some(&webhook("gone")), &["lanes"]).expect("it is told of");
    assert!(!left.is_there());
    assert_eq!(
        left.to_string(),
        "clusterrolebinding/laneway-control and mutatingwebhookconfiguration/laneway-inject name namespace gone, where no \
         control plane is any more"
    );
    // Somebody has the other half: that comes first.
    let half = judged("lanes", Some(&binding(&["gone"])), Some(&webhook("shop")), &["shop"]).expect("it is another's");
    assert!(half.is_there());
    assert!(half.to_string().ends_with("mutatingwebhookconfiguration/laneway-inject is its"), "{half}");
}

#[test]
fn an_empty_cluster_and_our_own_installation_are_nobody_elses() {
    assert_eq!(judged("lanes", None, None, &[]), None);
    assert_eq!(judged("lanes", Some(&binding(&["lanes"])), Some(&webhook("lanes")), &["lanes"]), None);
    // Somebody was added to it.
    assert_eq!(judged("lanes", Some(&binding(&["shop", "lanes"])), None, &["shop"]), None);
    assert_eq!(judged("lanes", Some(&binding(&[])), None, &[]), None);
}

#[test]
fn a_release_of_helm_is_known_by_its_namespace() {
    let mut of_helm = binding(&["lanes"]);
    assert_eq!(release_of("lanes", &of_helm), None);
    for (key, value) in [(HELM_RELEASE, "lw"), (HELM_NAMESPACE, "lanes")] {
        of_helm.annotations_mut().insert(key.to_owned(), value.to_owned());
    }
    assert_eq!(release_of("lanes", &of_helm).as_deref(), Some("lw"));
    assert_eq!(release_of("shop", &of_helm), None);
}
