//! Whether what runs is known as it is, for whoever asks what is wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use laneway_core::tag::Tag;
use laneway_proto::admin::{Diagnostic, diagnostic};

use crate::discovery::standing::Standing;
use crate::discovery::{PodTag, TagOf};
use crate::fleet::Member;

#[cfg(test)]
mod tests;

/// Findings of this module.
const CODE_SILENT: &str = "LANE0811";
const CODE_FOUND: &str = "LANE0812";
const CODE_MISTAGGED: &str = "LANE0814";
/// Sidecars with another tag than their pods that are named; the rest are counted.
const MISTAGGED_MAX: usize = 20;
/// A watch is opened anew each minute; three times it was not.
const SILENT_AFTER: Duration = Duration::from_secs(200);

/// What is to be known of discovery before anything else is believed that follows from it.
pub(super) fn findings(standing: &Standing, now: Instant) -> Vec<Diagnostic> {
    let silent = standing.watched(now).into_iter().filter(|(_, watched)| watched.silence >= SILENT_AFTER);
    let silent = silent.map(|(kind, watched)| {
        let message = format!(
            "the API server was not heard of them for {} s: instances that came since are missing, and some may be gone",
            watched.silence.as_secs()
        );
        let help = "The log of this replica says why; it goes on trying. Traffic goes on with what was known";
        warning(CODE_SILENT, kind, message, help)
    });
    let problems = standing.problems();
    let untold = (problems.untold > 0).then(|| format!("{} more, which are not told", problems.untold));
    let found = problems.told.into_iter().chain(untold);
    let help = "Correct the object; docs/kubernetes.md#the-cluster-as-registry says what is read of it";
    silent.chain(found.map(|problem| warning(CODE_FOUND, "found", problem, help))).collect()
}

/// Sidecars of this replica that stamp another tag than their pods have by now: they were started with it, and others find them by that of the
/// pod.
pub(super) fn mistagged(connected: &[(String, Arc<dyn Member>)], tag_of: &TagOf) -> Vec<Diagnostic> {
    let told = connected.iter().filter_map(|(node, member)| {
        let identity = member.identity();
        let pod = pod_of(node, &identity.namespace)?;
        let words = |tag: Option<Tag>| tag.map_or_else(|| "baseline".to_owned(), |tag| format!("{tag}"));
        let now = match tag_of(&identity.namespace, pod, member.pod()) {
            PodTag::Unknown => return None,
            PodTag::Baseline => None,
            PodTag::Of(tag) => Some(tag),
        };
        (now != identity.tag).then(|| {
            let (namespace, is, says) = (&identity.namespace, words(now), words(identity.tag));
            format!("pod {namespace}/{pod} is {is} by its labels, and its sidecar was started as {says}: what it is sent as {is} leaves it as {says}")
        })
    });
    let told: Vec<String> = told.collect();
    let untold = told.len().saturating_sub(MISTAGGED_MAX);
    let untold = (untold > 0).then(|| format!("{untold} more, which are not told"));
    let help = "A sidecar has its tag for as long as it runs: put the tag into the template, so that pods are made anew with it";
    let found = told.into_iter().take(MISTAGGED_MAX).chain(untold);
    found.map(|problem| warning(CODE_MISTAGGED, "tag", problem, help)).collect()
}

/// Of a node id: `sidecar~ADDRESS~POD.NAMESPACE~`.
fn pod_of<'n>(node: &'n str, namespace: &str) -> Option<&'n str> {
    node.split('~').nth(2)?.strip_suffix(namespace)?.strip_suffix('.')
}

fn warning(code: &str, field: &str, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        severity: diagnostic::Severity::Warning.into(),
        code: code.to_owned(),
        resource: "discovery".to_owned(),
        field: field.to_owned(),
        message,
        help: help.to_owned(),
    }
}
