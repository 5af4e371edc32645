//! What the owner of a service says about calls to it, as far as this datapath does it.

use std::time::Duration;

use laneway_proto::discovery;
use laneway_proto::routing::{self, Reselect};

use crate::condition::{Buffers, Refusal};
use crate::facts::Facts;
use crate::rule::{self, PolicyRule};
use crate::share::Dice;
use crate::snapshot::Timeouts;
use crate::tag::Tag;
use crate::witness::{Step, Witness};

/// Where nothing else is said.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Policy {
    rules: Vec<PolicyRule>,
    pub(crate) timeouts: Timeouts,
    /// `reselect: never`.
    pub(crate) keeps_dialled: bool,
}

impl Policy {
    /// The tag (`Some(None)` is baseline) that the first matching rule chooses.
    pub(crate) fn choose<'s>(
        &'s self,
        facts: &Facts<'_>,
        buffers: &mut Buffers,
        dice: &mut Dice,
        witness: &mut impl Witness<'s>,
    ) -> Option<Option<Tag>> {
        self.rules.iter().enumerate().find_map(|(index, rule)| {
            witness.step(|| Step::PolicyRule { index, rule });
            let chosen = rule.choose(facts, buffers, dice, witness);
            witness.step(|| Step::PolicyRuleDone { chosen });
            chosen
        })
    }

    pub(crate) fn compile(from: &discovery::ServicePolicy, refusals: &mut Vec<Refusal>) -> Option<Policy> {
        let before = refusals.len();
        let rules = rule::compile_list(&from.rules, "rules", refusals, |rule| &rule.name, PolicyRule::compile);
        let timeouts = compile_timeouts(from.timeouts.as_ref(), refusals);
        let keeps_dialled = match Reselect::try_from(from.reselect) {
            Ok(Reselect::Auto) => false,
            Ok(Reselect::Never) => true,
            Ok(Reselect::Unspecified) | Err(_) => {
                refusals.push(Refusal::new("reselect", "UNKNOWN_ENUM", format!("unknown value {}", from.reselect)));
                false
            }
        };
        if from.routes.is_some() {
            refusals.push(Refusal::unsupported("routes", "routes"));
        }
        (refusals.len() == before).then_some(Policy { rules, timeouts, keeps_dialled })
    }
}

fn compile_timeouts(from: Option<&routing::Timeouts>, refusals: &mut Vec<Refusal>) -> Timeouts {
    let mut read = |name: &str, duration: Option<&prost_types::Duration>| {
        let duration = duration?;
        let read = to_duration(duration);
        if read.is_none() {
            let field = format!("timeouts.{name}");
            refusals.push(Refusal::new(&field, "OUT_OF_RANGE", "a timeout is 1 ms to 24 h"));
        }
        read
    };
    Timeouts {
        connect: read("connect", from.and_then(|t| t.connect.as_ref())).unwrap_or(CONNECT_TIMEOUT),
        request: read("default", from.and_then(|t| t.default.as_ref())),
        idle: read("idle", from.and_then(|t| t.idle.as_ref())),
    }
}

/// 1 ms to 24 h, else `None`.
pub(crate) fn to_duration(from: &prost_types::Duration) -> Option<Duration> {
    let read = Duration::try_from(*from).ok()?;
    (Duration::from_millis(1)..=Duration::from_secs(24 * 3600)).contains(&read).then_some(read)
}
