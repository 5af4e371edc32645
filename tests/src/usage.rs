//! What a process has used: time of its threads and memory, from /proc.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// What the scheduler gave to all its threads so far; exact, unlike the sampled user and system times.
pub fn cpu(id: u32) -> Result<Duration> {
    let mut nanoseconds = 0_u64;
    for task in fs::read_dir(format!("/proc/{id}/task")).context("look at the threads")? {
        // A thread that ended meanwhile is left out.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let first = text.split_whitespace().next().context("schedstat has a first field")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// All that is resident, KiB.
pub fn resident_kib(id: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).context("look at the memory")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("status has VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
