//! Whether what runs is known as it is, for whoever asks what is wrong.

use std::time::{Duration, Instant};

use laneway_proto::admin::{Diagnostic, diagnostic};

use crate::discovery::standing::Standing;

#[cfg(test)]
mod tests;

/// Findings of this module.
const CODE_SILENT: &str = "LANE0811";
const CODE_FOUND: &str = "LANE0812";
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
