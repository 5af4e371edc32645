//! Two sources as one: files beside a cluster.

use std::collections::BTreeSet;

use laneway_core::document::ServiceDocument;
use tokio::sync::watch;
use tracing::warn;

#[cfg(test)]
mod tests;

/// Services that are told by name where both sources have them.
const NAMED_MAX: usize = 20;

/// Files, and what a cluster runs.
pub struct Merge {
    files: watch::Receiver<Vec<ServiceDocument>>,
    cluster: watch::Receiver<Vec<ServiceDocument>>,
    /// In both, and told.
    doubles: BTreeSet<String>,
}

impl Merge {
    pub fn new(files: watch::Receiver<Vec<ServiceDocument>>, cluster: watch::Receiver<Vec<ServiceDocument>>) -> Merge {
        Merge { files, cluster, doubles: BTreeSet::new() }
    }

    /// What both say now. A service that both have is the file's: somebody wrote it on purpose, and neither half would be the truth.
    pub fn whole(&mut self) -> Vec<ServiceDocument> {
        let mut whole = self.files.borrow_and_update().clone();
        let named: BTreeSet<String> = whole.iter().map(ServiceDocument::resource_name).collect();
        let mut doubles = BTreeSet::new();
        for service in self.cluster.borrow_and_update().iter() {
            let name = service.resource_name();
            if named.contains(&name) {
                doubles.insert(name);
            } else {
                whole.push(service.clone());
            }
        }
        let fresh: Vec<&String> = doubles.difference(&self.doubles).collect();
        if !fresh.is_empty() {
            let (services, count) = (&fresh[..fresh.len().min(NAMED_MAX)], fresh.len());
            warn!(?services, count, "in a file and in the cluster: the file's are taken");
        }
        self.doubles = doubles;
        whole
    }

    /// Goes on as either changes; ends when nobody listens, or one of them has ended.
    pub async fn follow(mut self, out: watch::Sender<Vec<ServiceDocument>>) {
        loop {
            let changed = tokio::select! {
                changed = self.files.changed() => changed,
                changed = self.cluster.changed() => changed,
                () = out.closed() => return,
            };
            if changed.is_err() {
                return;
            }
            out.send_replace(self.whole());
        }
    }
}
