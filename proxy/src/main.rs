//! `laneway-proxy`: reads flags, starts logging, runs (or does what a hook asks for), and is the only place that exits.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use laneway_proxy::logging::Logging;
use laneway_proxy::{app, config, hooks};

// Memory of a burst goes back to the system, and an idle connection costs half of what glibc's allocator takes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc reads its settings from this symbol before `main`. A thread of its own gives pages back after a second, also while the
/// process rests; two arenas are enough for a worker and the control side. `_RJEM_MALLOC_CONF` in the environment goes before it.
// SAFETY: the name is the one that jemalloc, built with our prefix, declares as `const char *`; a reference to an array is as large
// as a pointer, and the array ends with NUL.
#[cfg(not(feature = "heap-profile"))]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8; 70] = b"background_thread:true,narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// The same, and it keeps who holds what: of one in 128 KiB that are allocated.
// SAFETY: as above.
#[cfg(feature = "heap-profile")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8; 98] =
    b"background_thread:true,narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0,prof:true,lg_prof_sample:17\0";

/// EX_CONFIG of sysexits.h: the configuration is at fault.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let flags = match config::Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    if let Some(hook) = flags.hook() {
        return told(hooks::run(hook));
    }
    let (filter, format) = flags.log();
    let logging = match Logging::start(filter, format) {
        Ok(logging) => logging,
        Err(error) => return refuse(&format!("--log / LANEWAY_LOG: {error}")),
    };
    match app::run(flags, logging) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_config() => refuse(&format!("{error:#}")),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a hook came to, for who reads the pod's events.
fn told(done: Result<String, hooks::HookError>) -> ExitCode {
    let (line, code) = match done {
        Ok(said) => (said, ExitCode::SUCCESS),
        Err(error) => (error.to_string(), ExitCode::FAILURE),
    };
    let _ = writeln!(std::io::stderr(), "laneway-proxy: {line}");
    code
}

fn refuse(problem: &str) -> ExitCode {
    // Logging may not be there yet.
    let _ = writeln!(std::io::stderr(), "laneway-proxy does not start: {problem}");
    ExitCode::from(EXIT_CONFIG)
}
