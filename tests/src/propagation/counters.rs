//! What the sidecars say of the calls that they decided: their metrics, summed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::mesh::Mesh;
use crate::process::wait_for;

/// Longest wait for counters of a mesh that is at rest.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Outbound requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By the source of the lane.
    pub sources: BTreeMap<String, u64>,
    /// Calls whose lane was in doubt.
    pub ambiguous: u64,
    /// Connections that were taken from the application.
    pub connections: u64,
}

impl Counters {
    /// Of the sidecars of these pods.
    pub fn read(mesh: &Mesh, pods: &[&str]) -> Result<Self> {
        let mut all = Self::default();
        for pod in pods {
            all.add_page(&mesh.status_page(pod, "metrics")?).with_context(|| format!("read the metrics of {pod}"))?;
        }
        Ok(all)
    }

    /// The same when it has come to rest: a call counts when it has ended, which may be just after it was answered.
    pub fn settled(mesh: &Mesh, pods: &[&str]) -> Result<Self> {
        let mut last = Self::read(mesh, pods)?;
        let mut failed = None;
        let settled = wait_for(SETTLE_TIMEOUT, || match Self::read(mesh, pods) {
            Ok(now) if now == last => Some(now),
            Ok(now) => {
                last = now;
                None
            }
            Err(error) => failed.replace(error).and(None),
        });
        settled.with_context(|| format!("the counters do not come to rest: {failed:?}"))
    }

    /// What came since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        let rest = |source: &String, count: u64| count - earlier.sources.get(source).copied().unwrap_or(0);
        let sources = self.sources.iter().map(|(source, count)| (source.clone(), rest(source, *count)));
        Self {
            sources: sources.filter(|(_, count)| *count > 0).collect(),
            ambiguous: self.ambiguous - earlier.ambiguous,
            connections: self.connections - earlier.connections,
        }
    }

    fn add_page(&mut self, page: &str) -> Result<()> {
        for line in page.lines() {
            let Some((name, count)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { continue };
            if name.starts_with("laneway_requests_total{direction=\"outbound\"") {
                let source = label(name, "source").with_context(|| format!("`{name}` has no source"))?;
                *self.sources.entry(source.to_owned()).or_default() += count.parse::<u64>()?;
            } else if name.starts_with("laneway_ambiguous_total") {
                self.ambiguous += count.parse::<u64>()?;
            } else if name == "laneway_connections_opened_total{direction=\"outbound\"}" {
                self.connections += count.parse::<u64>()?;
            }
        }
        Ok(())
    }
}

fn label<'a>(name: &'a str, key: &str) -> Option<&'a str> {
    name.split_once(&format!("{key}=\""))?.1.split('"').next()
}

#[cfg(test)]
mod tests;
