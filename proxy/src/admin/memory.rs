//! What the process holds, as the kernel counts it.

use std::io;

use serde::Serialize;

#[derive(Serialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    /// In memory now, and at most since the start.
    resident_bytes: u64,
    resident_peak_bytes: u64,
    /// Of what is resident: our own, and that of files, as the program itself, which other processes may share.
    anonymous_bytes: u64,
    file_bytes: u64,
    threads: u64,
    open_files: u64,
}

pub(super) fn read() -> io::Result<Memory> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    // The listing itself has one open.
    let open_files = std::fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
    Ok(Memory { open_files: open_files as u64, ..of_status(&status) })
}

/// From the text of /proc/self/status; what a kernel does not say is 0.
fn of_status(status: &str) -> Memory {
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    Memory {
        resident_bytes: number("VmRSS") << 10,
        resident_peak_bytes: number("VmHWM") << 10,
        anonymous_bytes: number("RssAnon") << 10,
        file_bytes: number("RssFile") << 10,
        threads: number("Threads"),
        open_files: 0,
    }
}

#[cfg(test)]
mod tests;
