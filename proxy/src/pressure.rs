//! How near the process is to the memory it may have. A sidecar that is killed for its memory takes all its connections along, so it
//! sheds before: first it refuses new requests, then it gives up what rests.
//!
//! ```text
//!  resident bytes ── watch (control thread, ten times a second) ──▶ Pressure ◀── workers: one relaxed load a request
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tracing::{info, warn};

#[cfg(test)]
mod tests;

/// Of the limit: new requests are refused from here on,
const SHED_PERCENT: u64 = 90;
/// connections that rest are ended and new ones reset from here on,
const TRIM_PERCENT: u64 = 95;
/// and all is well again below this.
const EASE_PERCENT: u64 = 85;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A limit beyond this is none: cgroup v1 says "none" by a number near 2^63.
const LIMIT_BYTES_MAX: u64 = 1 << 50;

/// What the data path does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Easy,
    /// New requests are refused.
    Shed,
    /// And connections that rest are ended, new ones reset.
    Trim,
}

/// The level now, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Pressure(Arc<AtomicU8>);

impl Pressure {
    pub fn level(&self) -> Level {
        match self.0.load(Ordering::Relaxed) {
            0 => Level::Easy,
            1 => Level::Shed,
            _ => Level::Trim,
        }
    }

    fn set(&self, level: Level) {
        self.0.store(level as u8, Ordering::Relaxed);
    }
}

/// Looks for ever, and says when requests begin to be refused for it, and when no more.
pub async fn watch(limit_bytes: u64, pressure: Pressure) {
    let mut before = Level::Easy;
    loop {
        if let Some(resident) = resident_bytes() {
            let now = level(resident, limit_bytes, before);
            let (resident_mib, limit_mib) = (resident >> 20, limit_bytes >> 20);
            match (before, now) {
                (Level::Easy, Level::Shed | Level::Trim) => {
                    warn!(resident_mib, limit_mib, "memory is short: new requests are refused");
                }
                (Level::Shed | Level::Trim, Level::Easy) => info!(resident_mib, limit_mib, "memory is no longer short"),
                _ => {}
            }
            pressure.set(now);
            before = now;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn level(resident: u64, limit: u64, before: Level) -> Level {
    let is_at = |percent: u64| resident >= limit / 100 * percent;
    if is_at(TRIM_PERCENT) {
        Level::Trim
    } else if is_at(SHED_PERCENT) || (before != Level::Easy && is_at(EASE_PERCENT)) {
        Level::Shed
    } else {
        Level::Easy
    }
}

fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten()?;
    Some(pages * u64::try_from(page_bytes).ok()?)
}

/// The memory that the control group of this process may have, if it is limited; version 2, else version 1.
pub fn container_limit_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let (file, path) = limit_file(&groups)?;
    // In a container the group is the root of what is mounted; on a host it is below.
    let read = |path: &str| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).ok();
    let text = read(&format!("{path}/{file}")).or_else(|| {
        let mounted = path.split('/').next().filter(|first| *first == "memory").unwrap_or(".");
        read(&format!("{mounted}/{file}"))
    })?;
    text.trim().parse().ok().filter(|bytes| *bytes < LIMIT_BYTES_MAX)
}

/// Which file holds the limit, and where below the mount, by /proc/self/cgroup (cgroups(7)).
fn limit_file(groups: &str) -> Option<(&'static str, String)> {
    let of = |wanted: fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            wanted(controllers).then(|| path.trim_matches('/').to_owned())
        })
    };
    if let Some(path) = of(|controllers| controllers.split(',').any(|one| one == "memory")) {
        return Some(("memory.limit_in_bytes", format!("memory/{path}")));
    }
    of(str::is_empty).map(|path| ("memory.max", if path.is_empty() { ".".to_owned() } else { path }))
}
