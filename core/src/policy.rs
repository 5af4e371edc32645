//! What the owner of a service says about calls to it, as far as this datapath does it.

use std::sync::Arc;

use laneway_proto::discovery;
use laneway_proto::routing::Reselect;

use crate::condition::{Buffers, Refusal};
use crate::conduct::Conduct;
use crate::facts::Facts;
use crate::rule::{self, PolicyRule};
use crate::share::Dice;
use crate::tag::Tag;
use crate::witness::{Step, Witness};

pub(crate) struct Policy {
    rules: Vec<PolicyRule>,
    pub(crate) conduct: Arc<Conduct>,
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
        let conduct = Arc::new(Conduct::compile(from, refusals));
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
        (refusals.len() == before).then_some(Policy { rules, conduct, keeps_dialled })
    }
}
