//! What a process has used: time of its threads, memory and connections, from /proc.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};

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

/// Its connections to an address of IPv4 that stand.
pub fn connections(id: u32, to: SocketAddr) -> Result<usize> {
    const ESTABLISHED: &str = "01";
    let IpAddr::V4(host) = to.ip() else { bail!("{to} is not of IPv4") };
    // As the kernel has it in memory.
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(host.octets()), to.port());
    let table = fs::read_to_string(format!("/proc/{id}/net/tcp")).context("look at the connections")?;
    // Number, local and remote address, state, queues, timer, retransmits, user, timeout, inode.
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let standing = rows.filter(|cells| cells.len() > 9 && cells[2] == remote && cells[3] == ESTABLISHED);
    let sockets: Vec<String> = standing.map(|cells| format!("socket:[{}]", cells[9])).collect();
    let files = fs::read_dir(format!("/proc/{id}/fd")).context("look at the descriptors")?.flatten();
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    Ok(targets.filter(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str())).count())
}
