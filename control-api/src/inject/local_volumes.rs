//! A volume on a node's disk keeps the cluster's autoscaler from removing the node, unless the pod says of which volumes nothing is lost.
//! The sidecar's cache is one of them: it is said beside what the pod says of its own, and unsaid to the letter.

use super::containers::VOLUME_CACHE;
use super::value::{Map, Value};

/// Names of volumes, comma between. Read by cluster-autoscaler from 1.27 on.
const ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";

/// Also where the name stands there already: then it is the pod's own, and stays when ours goes.
pub(super) fn say(annotations: &mut Map) {
    match annotations.get(ANNOTATION) {
        None => annotations.insert(ANNOTATION, VOLUME_CACHE),
        Some(Value::Text(own)) => {
            let list = format!("{own},{VOLUME_CACHE}");
            annotations.insert(ANNOTATION, list);
        }
        // The API server refuses it.
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_)) => {}
    }
}

/// What others have said since stays.
pub(super) fn unsay(annotations: &mut Map) {
    let Some(list) = annotations.text(ANNOTATION) else { return };
    let mut names: Vec<&str> = list.split(',').collect();
    let Some(at) = names.iter().rposition(|name| *name == VOLUME_CACHE) else { return };
    names.remove(at);
    if names.is_empty() {
        annotations.remove(ANNOTATION);
    } else {
        let list = names.join(",");
        annotations.insert(ANNOTATION, list);
    }
}
