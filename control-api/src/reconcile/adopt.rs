//! What another replica's commit makes of the objects here, and how urgent that is. Pure.

use laneway_core::compile::Objects;

use crate::edit;
use crate::store::Record;

/// The objects with these in place, and those gone.
pub(super) fn changed(objects: &Objects, puts: &[Record], deletes: &[String]) -> Result<Objects, prost::DecodeError> {
    let mut objects = objects.clone();
    for name in deletes {
        objects.groups.remove(name);
        objects.lanes.remove(name);
        objects.policies.remove(name);
    }
    edit::restore_into(&mut objects, puts)?;
    Ok(objects)
}

/// True when something was switched on or off, or came switched off: as urgent here as where it was done.
pub(super) fn is_switched(before: &Objects, after: &Objects) -> bool {
    let lanes = after.lanes.iter().any(|(name, lane)| {
        let was = before.lanes.get(name).map_or(Some(true), |before| before.enabled);
        was != lane.enabled
    });
    let policies = after.policies.iter().any(|(name, policy)| {
        let was = before.policies.get(name).map_or(Some(true), |before| before.enabled);
        was != policy.enabled
    });
    lanes || policies
}
