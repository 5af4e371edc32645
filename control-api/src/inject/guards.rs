//! What is looked at before a pod is touched: whether it is one at all, whether it is left alone, and what would clash.

use laneway_proto::contract::{PORT_ADMIN, PORT_INBOUND, PORT_OUTBOUND, PORT_STATUS, PROXY_UID};

use super::containers::{INIT, PROXY, VOLUME_CACHE, VOLUME_CONTROL};
use super::status;
use super::value::{Map, Value};

/// Other meshes, and the containers that they put into pods.
const MESHES: [(&str, &[&str]); 4] = [
    ("Istio", &["istio-proxy", "istio-init", "istio-validation"]),
    ("Linkerd", &["linkerd-proxy", "linkerd-init", "linkerd-network-validator"]),
    ("Kuma", &["kuma-sidecar", "kuma-init", "kuma-validation"]),
    ("Consul", &["consul-dataplane", "consul-connect-inject-init", "envoy-sidecar"]),
];
const LISTS: [&str; 2] = ["initContainers", "containers"];
const OS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];

/// Whether everything that is looked at, or changed, is a map or a list as it must be.
pub(super) fn shape(pod: &Map) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    let metadata = map(pod, "metadata", "metadata", &mut wrong);
    for key in ["labels", "annotations"] {
        if let Some(metadata) = metadata {
            map(metadata, key, &format!("metadata.{key}"), &mut wrong);
        }
    }
    let Some(spec) = map(pod, "spec", "spec", &mut wrong) else {
        if wrong.is_empty() {
            wrong.push("spec: is not there".to_owned());
        }
        return Err(wrong);
    };
    for key in ["initContainers", "containers", "volumes"] {
        for (at, item) in list(spec, key, &mut wrong).iter().enumerate() {
            let path = format!("spec.{key}[{at}]");
            let Value::Map(item) = item else {
                wrong.push(format!("{path}: {}, not a map", item.kind()));
                continue;
            };
            if item.text("name").is_none_or(str::is_empty) {
                wrong.push(format!("{path}.name: is not there"));
            }
        }
    }
    if spec.list("containers").is_empty() && wrong.is_empty() {
        wrong.push("spec.containers: has none".to_owned());
    }
    let grace = spec.get("terminationGracePeriodSeconds");
    if let Some(other) = grace.filter(|grace| **grace != Value::Null && grace.as_integer().is_none()) {
        wrong.push(format!("spec.terminationGracePeriodSeconds: {}, not a whole number", other.kind()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Why a pod has no sidecar though nobody said so.
pub(super) fn left_alone(metadata: &Map, spec: &Map) -> Option<String> {
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        return Some("hostNetwork: the redirect would hold for the whole node".to_owned());
    }
    if is_windows(spec) {
        return Some("Windows: the redirect is Linux's".to_owned());
    }
    let annotation = |key| metadata.map("annotations").is_some_and(|annotations| annotations.get(key).is_some());
    let other = MESHES.iter().find(|(_, names)| {
        containers(spec).any(|(_, container)| container.text("name").is_some_and(|name| names.contains(&name)))
    });
    let other = other.map(|(mesh, _)| *mesh).or_else(|| annotation("sidecar.istio.io/status").then_some("Istio"));
    other.map(|mesh| format!("it has the sidecar of {mesh}: two redirects would take each other's connections"))
}

/// By whichever field says so: its system, or the nodes that it may run on.
fn is_windows(spec: &Map) -> bool {
    let selected = spec.map("nodeSelector").and_then(|selector| OS.iter().find_map(|key| selector.text(key)));
    if let Some(os) = spec.map("os").and_then(|os| os.text("name")).or(selected) {
        return os == "windows";
    }
    let affinity = spec.map("affinity").and_then(|affinity| affinity.map("nodeAffinity"));
    let required = affinity.and_then(|nodes| nodes.map("requiredDuringSchedulingIgnoredDuringExecution"));
    let terms = required.map(|required| required.list("nodeSelectorTerms")).unwrap_or_default();
    let is_windows = |expression: &Map| {
        let values = expression.list("values");
        expression.text("key").is_some_and(|key| OS.contains(&key))
            && expression.text("operator") == Some("In")
            && !values.is_empty()
            && values.iter().all(|value| value.as_text() == Some("windows"))
    };
    // A node of any one term will do.
    let is_bound = |term: &Map| term.list("matchExpressions").iter().filter_map(Value::as_map).any(is_windows);
    !terms.is_empty() && terms.iter().all(|term| term.as_map().is_some_and(is_bound))
}

/// A pod that ends by itself, as those of jobs do.
pub(super) fn runs_to_its_end(spec: &Map) -> bool {
    matches!(spec.text("restartPolicy"), Some("Never" | "OnFailure"))
}

/// What of the pod has a name, a port or a user that is the sidecar's.
pub(super) fn clashes(metadata: &Map, spec: &Map) -> Vec<String> {
    let mut wrong = Vec::new();
    let has = |list, key| metadata.map(list).is_some_and(|of| of.get(key).is_some());
    if has("labels", status::LABEL) && !has("annotations", status::ANNOTATION) {
        wrong.push(format!(
            "label {}: is set, but annotation {} is not there: start from the manifest without the sidecar",
            status::LABEL,
            status::ANNOTATION
        ));
    }
    let pod_user = user(spec);
    for (path, container) in containers(spec) {
        let name = container.text("name").unwrap_or_default();
        if [INIT, PROXY].contains(&name) {
            wrong.push(format!(
                "{path}.name: {name} is the name of a container of ours, which was not put in by inject"
            ));
        }
        if user(container).or(pod_user) == Some(i64::from(PROXY_UID)) {
            let whose = if user(container).is_some() { path.as_str() } else { "spec" };
            wrong.push(format!(
                "{whose}.securityContext.runAsUser: container {name} would run as {PROXY_UID}, the sidecar's user, whose connections \
                 are not redirected; any other user is fine"
            ));
        }
        for port in container.list("ports").iter().filter_map(Value::as_map) {
            let is_tcp = port.text("protocol").is_none_or(|protocol| protocol == "TCP");
            let number = port.get("containerPort").and_then(Value::as_integer);
            let ours = [PORT_ADMIN, PORT_OUTBOUND, PORT_INBOUND, PORT_STATUS].map(i64::from);
            if let Some(number) = number.filter(|number| is_tcp && ours.contains(number)) {
                wrong.push(format!(
                    "{path}.ports: container {name} listens on {number}, which is a port of the sidecar"
                ));
            }
        }
    }
    for (at, volume) in spec.list("volumes").iter().enumerate() {
        let name = volume.as_map().and_then(|volume| volume.text("name")).unwrap_or_default();
        if [VOLUME_CACHE, VOLUME_CONTROL].contains(&name) {
            wrong.push(format!("spec.volumes[{at}].name: {name} is the name of a volume of the sidecar"));
        }
    }
    wrong
}

fn user(of: &Map) -> Option<i64> {
    of.map("securityContext")?.get("runAsUser")?.as_integer()
}

/// Every container, with where it stands.
fn containers(spec: &Map) -> impl Iterator<Item = (String, &Map)> {
    LISTS.iter().flat_map(move |list| {
        let items = spec.list(list).iter().enumerate();
        items.filter_map(move |(at, item)| Some((format!("spec.{list}[{at}]"), item.as_map()?)))
    })
}

fn map<'a>(of: &'a Map, key: &str, path: &str, wrong: &mut Vec<String>) -> Option<&'a Map> {
    match of.get(key) {
        Some(Value::Map(map)) => Some(map),
        None | Some(Value::Null) => None,
        Some(other) => {
            wrong.push(format!("{path}: {}, not a map", other.kind()));
            None
        }
    }
}

fn list<'a>(of: &'a Map, key: &str, wrong: &mut Vec<String>) -> &'a [Value] {
    match of.get(key) {
        Some(Value::List(list)) => list,
        None | Some(Value::Null) => &[],
        Some(other) => {
            wrong.push(format!("spec.{key}: {}, not a list", other.kind()));
            &[]
        }
    }
}
