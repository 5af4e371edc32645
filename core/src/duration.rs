//! `google.protobuf.Duration` as it comes from a peer.

use std::time::Duration;

/// The time that is meant; `None` if it is negative. The conversion of `prost_types` negates what is negative, which the
/// smallest number has no room for.
pub fn read(given: prost_types::Duration) -> Option<Duration> {
    if given.seconds < 0 {
        return None;
    }
    Duration::try_from(given).ok()
}

#[cfg(test)]
mod tests;
