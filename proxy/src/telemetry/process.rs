//! Figures of the process, as the kernel has them. Read when somebody asks.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::names;
use super::page::Page;

/// Those of /proc/self/stat that are shown, in the kernel's units.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// What cannot be read is left out: a page without it is better than none.
pub(super) fn render(page: &mut Page, started: SystemTime) {
    // Neither call can fail: both ask for constants of this machine.
    let setting = |name| nix::unistd::sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
    let ticks_a_second = setting(nix::unistd::SysconfVar::CLK_TCK).unwrap_or(100);
    let page_bytes = setting(nix::unistd::SysconfVar::PAGE_SIZE).unwrap_or(4096);
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(parse_stat) {
        page.single(&names::CPU, stat.ticks as f64 / ticks_a_second as f64);
        page.single(&names::RESIDENT, stat.resident_pages * page_bytes);
        page.single(&names::VIRTUAL, stat.virtual_bytes);
        page.single(&names::THREADS, stat.threads);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        page.single(&names::OPEN_FDS, open.count().saturating_sub(1));
    }
    if let Some(most) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(parse_open_files) {
        page.single(&names::MAX_FDS, most);
    }
    if let Ok(since) = started.duration_since(UNIX_EPOCH) {
        page.single(&names::START_TIME, since.as_secs_f64());
    }
}

/// The name of the program stands in brackets and may hold anything; the fields come behind it.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // proc_pid_stat(5) counts from 1, and the first behind the name is 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        ticks: field(14)? + field(15)?,
        threads: field(20)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// The soft limit; `unlimited` is no number.
fn parse_open_files(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Stat, parse_open_files, parse_stat, render};
    use crate::telemetry::page::Page;

    #[test]
    fn a_name_with_brackets_and_blanks_moves_no_field() {
        let text = "4242 (a) b) S 1 4242 4242 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 3 0 1000 8192000 512 \
                    18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0\n";
        assert_eq!(
            parse_stat(text),
            Some(Stat { ticks: 200, threads: 3, virtual_bytes: 8_192_000, resident_pages: 512 })
        );
        assert_eq!(parse_stat("4242 (cut off"), None);
    }

    #[test]
    fn the_soft_limit_of_open_files_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(parse_open_files(text), Some(1024));
        assert_eq!(parse_open_files(""), None);
    }

    #[test]
    fn this_very_process_has_figures() {
        let mut page = Page::default();
        render(&mut page, std::time::SystemTime::now());
        let text = page.into_text();
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{name} in {text}");
        }
    }
}
