//! What guards see and have done, for whoever looks at a lane.

use laneway_proto::admin::{Diagnostic, GuardAction, Lane, diagnostic, lane};

use super::Api;
use crate::name;
use crate::stats::observe::counted;
use crate::stats::verdict::{Limits, Verdict};

/// Findings of this module.
const CODE_WORSE: &str = "LANE0809";
const CODE_TRIPPED: &str = "LANE0810";

/// A lane that its guard has switched off.
pub(super) fn tripped(lane: &Lane) -> Option<Diagnostic> {
    let message = format!("its guard switched the lane off: {}", lane.tripped_reason);
    let help = format!("When it is mended: lanectl lane enable {}. It is judged anew from then", name::id(&lane.name));
    (lane.state() == lane::State::Tripped).then(|| warning(CODE_TRIPPED, lane, "enabled", message, help))
}

/// A lane that is on, guarded, and does worse than its baseline at the moment.
pub(super) async fn worse(api: &Api, lane: &Lane) -> Option<Diagnostic> {
    let guard = lane.guard.as_ref().filter(|_| lane.enabled.unwrap_or(true))?;
    let limits = Limits::from(guard);
    let counted = counted(&api.observe(), lane, &limits, api.stats.now()).await;
    let verdict = limits.judge(&lane.tag, counted.iter().map(|(key, cell)| (key, cell)));
    let Verdict::Worse(_, worse) = verdict else { return None };
    let message = format!("the lane does worse than its baseline: {worse}");
    let help = match guard.action() {
        GuardAction::Warn => {
            format!("Its guard only warns; to switch it off: lanectl lane disable {}", name::id(&lane.name))
        }
        GuardAction::Disable | GuardAction::Unspecified => "Its guard is about to switch it off".to_owned(),
    };
    Some(warning(CODE_WORSE, lane, "guard", message, help))
}

fn warning(code: &str, lane: &Lane, field: &str, message: String, help: String) -> Diagnostic {
    Diagnostic {
        severity: diagnostic::Severity::Warning.into(),
        code: code.to_owned(),
        resource: lane.name.clone(),
        field: field.to_owned(),
        message,
        help,
    }
}
