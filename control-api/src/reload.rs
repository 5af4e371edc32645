//! Files that are read again when they change: certificates, and who may do what.
//!
//! ```text
//!   look --bytes differ--> look --alike twice--> make --good--> published, one line
//!                                                 '---bad----> the last good one stays, one warning
//! ```
//! It compares bytes, not times: a mounted secret is swapped by a link, and clocks of file systems are coarse. A change counts
//! once it was seen alike twice, so a file caught while it is being written is not taken. Started by `app`.

use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tracing::{info, warn};

#[cfg(test)]
mod tests;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The contents of all files, in their order.
type Contents = Vec<Vec<u8>>;

/// Some files that together make one thing.
pub struct Files {
    what: &'static str,
    paths: Vec<PathBuf>,
    bytes_max: u64,
    /// What was last made, or found to be bad.
    known: Contents,
    /// What the last look found, where it differs.
    seen: Option<Contents>,
    /// The problem with reading them that was told last.
    told: Option<String>,
}

impl Files {
    /// Reads them for the first time, when a problem is an error.
    pub fn open<T, E: Display>(
        what: &'static str,
        paths: Vec<PathBuf>,
        bytes_max: u64,
        make: impl Fn(&[Vec<u8>]) -> Result<T, E>,
    ) -> anyhow::Result<(Files, T)> {
        let known = read(&paths, bytes_max)?;
        let made = make(&known).map_err(|problem| anyhow::anyhow!("{what}: {problem}"))?;
        Ok((Files { what, paths, bytes_max, known, seen: None, told: None }, made))
    }

    /// Looks at them for ever; ends when nobody listens.
    pub async fn follow<T, E: Display>(
        mut self,
        current: watch::Sender<Arc<T>>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, E>,
    ) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !current.is_closed() {
            looks.tick().await;
            let (paths, bytes_max) = (self.paths.clone(), self.bytes_max);
            // Not on a thread that serves others.
            let Ok(found) = tokio::task::spawn_blocking(move || read(&paths, bytes_max)).await else { return };
            if let Some(made) = self.take(found, &make) {
                current.send_replace(Arc::new(made));
            }
        }
    }

    /// One look. What was made of it, if that is new and good.
    fn take<T, E: Display>(
        &mut self,
        found: anyhow::Result<Contents>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, E>,
    ) -> Option<T> {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let problem = format!("{error:#}");
                if self.told.as_ref() != Some(&problem) {
                    warn!(%problem, "{} cannot be read again; the last good one stays", self.what);
                    self.told = Some(problem);
                }
                return None;
            }
        };
        self.told = None;
        if found == self.known {
            self.seen = None;
            return None;
        }
        if self.seen.as_ref() != Some(&found) {
            self.seen = Some(found);
            return None;
        }
        self.seen = None;
        self.known = found;
        match make(&self.known) {
            Ok(made) => {
                info!("{} changed", self.what);
                Some(made)
            }
            Err(problem) => {
                warn!(%problem, "{} changed to something bad; the last good one stays", self.what);
                None
            }
        }
    }
}

fn read(paths: &[PathBuf], bytes_max: u64) -> anyhow::Result<Contents> {
    paths.iter().map(|path| read_one(path, bytes_max)).collect()
}

fn read_one(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("read {}", path.display()))?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    anyhow::ensure!(bytes.len() as u64 <= bytes_max, "{} has more than {bytes_max} bytes", path.display());
    Ok(bytes)
}
