//! A profile of the heap: who holds how much, by stack, in the form that `jeprof` reads. Keeping it costs something with every
//! allocation, so it is a build of its own (cargo feature `heap-profile`); the only file of the admin port with `unsafe`.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

/// jemalloc's name of the call that writes a profile (its manual, `prof.dump`).
const DUMP: &[u8] = b"prof.dump\0";

/// Profiles that were taken; each has a file of its own while it is made.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// What is held now.
pub(super) fn profile() -> io::Result<Vec<u8>> {
    let number = TAKEN.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("laneway-heap-{}-{number}", std::process::id()));
    // Made by us, and nobody else's: jemalloc would follow a link that somebody left there.
    std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    let name = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: `prof.dump` takes a pointer to a path that ends with NUL, and keeps it no longer than the call.
    let dumped = unsafe { tikv_jemalloc_ctl::raw::write(DUMP, name.as_ptr()) };
    let profile = dumped.map_err(|error| io::Error::other(error.to_string())).and_then(|()| std::fs::read(&path));
    std::fs::remove_file(&path)?;
    profile
}
