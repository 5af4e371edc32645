//! The API server asks again when another webhook has changed a pod that has its sidecar.

use serde_json::{Value as Json, json};

use super::admitted;
use crate::inject::tests::settings;
use crate::webhook::review::Deed;

const CLASSIC: &[&str] = &["--native-sidecar=false"];

fn cart() -> Json {
    json!({"metadata": {"name": "cart", "labels": {"app": "cart"}}, "spec": {"containers": [{"name": "cart"}]}})
}

fn push(pod: &mut Json, list: &str, container: Json) {
    pod["spec"][list].as_array_mut().expect("a list").push(container);
}

/// A pod with its sidecar, after another webhook.
fn changed(arguments: &[&str], change: impl FnOnce(&mut Json)) -> Json {
    let (_, _, mut pod) = admitted(&cart(), &settings(arguments));
    change(&mut pod);
    pod
}

/// What becomes of it, which is for good.
fn again(pod: &Json, arguments: &[&str]) -> Json {
    let (response, _, after) = admitted(pod, &settings(arguments));
    assert_eq!(response["allowed"], true, "{response}");
    let (response, _, once_more) = admitted(&after, &settings(arguments));
    assert_eq!((response.get("patch"), &once_more), (None, &after), "twice is not once");
    after
}

fn names(pod: &Json, list: &str) -> Vec<String> {
    let items = pod["spec"][list].as_array().expect("a list").iter();
    items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_pod_that_another_mesh_has_taken_since_loses_our_sidecar_to_the_letter() {
    let linkerd = json!({"name": "linkerd-proxy"});
    for arguments in [&[], CLASSIC] {
        let pod = changed(arguments, |pod| push(pod, "containers", linkerd.clone()));
        let (_, answer, _) = admitted(&pod, &settings(arguments));
        assert!(matches!(&answer.deed, Deed::Skipped(reason) if reason.contains("Linkerd")), "{:?}", answer.deed);
        let mut wanted = cart();
        push(&mut wanted, "containers", linkerd.clone());
        assert_eq!(again(&pod, arguments), wanted);
    }
}

#[test]
fn a_probe_that_came_since_is_rewritten_too() {
    let more = json!({"name": "more", "livenessProbe": {"tcpSocket": {"port": 9000}}});
    let pod = changed(&[], |pod| push(pod, "containers", more));
    let after = again(&pod, &[]);
    let probe = &after["spec"]["containers"][1]["livenessProbe"];
    assert_eq!(probe["httpGet"]["path"], "/app-health/9000", "{probe}");
    assert!(after["spec"]["initContainers"][1]["env"].to_string().contains("LANEWAY_PROBE_PORTS"), "{after}");
}

#[test]
fn who_runs_as_the_sidecar_since_is_refused() {
    let more = json!({"name": "more", "securityContext": {"runAsUser": 2337}});
    let pod = changed(&[], |pod| push(pod, "containers", more));
    let (response, ..) = admitted(&pod, &settings(&[]));
    assert_eq!(response["allowed"], false);
    assert!(
        response["status"]["message"].as_str().is_some_and(|text| text.contains("container more would run as 2337"))
    );
}

/// Behind the redirect of a classic sidecar nobody would take what it sends.
#[test]
fn an_init_container_that_came_behind_a_classic_redirect_goes_before_it() {
    let vault = json!({"name": "vault-agent-init"});
    let pod = changed(CLASSIC, |pod| push(pod, "initContainers", vault.clone()));
    assert_eq!(names(&again(&pod, CLASSIC), "initContainers"), ["vault-agent-init", "laneway-init"]);
    // A native sidecar runs by then.
    let pod = changed(&[], |pod| push(pod, "initContainers", vault));
    assert_eq!(again(&pod, &[]), pod);
}

#[test]
fn a_pod_that_was_injected_by_other_flags_keeps_them() {
    let mut by_hand = cart();
    by_hand["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 8080}});
    let flags = ["--exclude-inbound-ports=8080", "--proxy-image=own:1", "--redirect-backend=iptables"];
    let (_, _, by_hand) = admitted(&by_hand, &settings(&flags));
    assert!(by_hand["spec"]["containers"][0]["livenessProbe"]["tcpSocket"].is_object());
    assert_eq!(again(&by_hand, &[]), by_hand);
}

/// While replicas are replaced an older one is asked about it.
#[test]
fn a_pod_that_a_newer_version_has_injected_is_left_as_it_is_unless_it_must_be_changed() {
    let note = json!({"version": "9.0.0", "containers": ["laneway-init", "laneway-proxy"], "news": true}).to_string();
    let pod = changed(&[], |pod| pod["metadata"]["annotations"]["laneway.io/status"] = json!(note));
    assert_eq!(again(&pod, &[]), pod);
    let mut pod = pod;
    push(&mut pod, "containers", json!({"name": "linkerd-proxy"}));
    let (response, ..) = admitted(&pod, &settings(&[]));
    let message = response["status"]["message"].as_str().expect("it is refused");
    assert!(message.contains("injected by version 9.0.0") && message.contains("`news`"), "{message}");
}
