//! Which instances were not there a moment ago: those of services with a warm-up get their share step by step.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use laneway_core::conduct::Warmup;
use laneway_core::snapshot::Snapshot;

/// The instances of services with a warm-up, as they were last seen.
#[derive(Default)]
pub(crate) struct Known(HashMap<Arc<str>, HashSet<SocketAddr>>);

impl Known {
    /// Those of this snapshot that are new, to services that are not: whoever sees a service for the first time knows nothing of
    /// the age of its instances, and takes all for grown.
    pub(crate) fn newcomers(&mut self, snapshot: &Snapshot) -> Vec<(SocketAddr, Warmup)> {
        let mut all = Vec::new();
        let mut seen = HashMap::new();
        for service in snapshot.services() {
            let Some(warmup) = snapshot.conduct(service).and_then(|conduct| conduct.warmup) else { continue };
            let usable = service.endpoint_views().filter(|endpoint| endpoint.is_usable);
            let now: HashSet<SocketAddr> = usable.map(|endpoint| endpoint.address).collect();
            if let Some(before) = self.0.get(&service.name) {
                all.extend(now.difference(before).map(|address| (*address, warmup)));
            }
            seen.insert(Arc::clone(&service.name), now);
        }
        self.0 = seen;
        all
    }
}

#[cfg(test)]
mod tests;
