//! The kernel's text, and the kernel.

use super::{Memory, of_status, read};

#[test]
fn figures_are_bytes() {
    let status = "Name:\tlaneway-proxy\nVmHWM:\t    9000 kB\nVmRSS:\t    7000 kB\nRssAnon:\t    3000 kB\nRssFile:\t    4000 kB\nThreads:\t3\n";
    let expected = Memory {
        resident_bytes: 7000 << 10,
        resident_peak_bytes: 9000 << 10,
        anonymous_bytes: 3000 << 10,
        file_bytes: 4000 << 10,
        threads: 3,
        open_files: 0,
    };
    assert_eq!(of_status(status), expected);
}

#[test]
fn this_process_holds_something() {
    let memory = read().expect("Linux");
    assert!(memory.resident_bytes > 0 && memory.resident_peak_bytes >= memory.resident_bytes);
    assert!(memory.threads > 0 && memory.open_files > 0);
}
