//! Where a child lives and as whom: the only `unsafe` between fork and exec.
//!
//! Everything that allocates is done before the fork; afterwards there are system calls only. Called by [`super`] and by
//! [`crate::mesh`].

use std::cell::Cell;
use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

thread_local! {
    static HAS_LEFT: Cell<bool> = const { Cell::new(false) };
}

/// The child is killed when the thread that spawns it ends. Call it last: a change of user clears the setting.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl with these arguments touches nothing but the child's own setting, and is async-signal-safe.
    unsafe {
        command.pre_exec(|| check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)));
    }
}

/// The child outlives us: for `--keep`.
pub fn outlive_parent(command: &mut Command) {
    // SAFETY: setsid touches nothing but the child, and is async-signal-safe.
    unsafe {
        command.pre_exec(|| check(libc::setsid()));
    }
}

/// The child runs in the network namespace `/run/netns/NAME`, with the files of `/etc/netns/NAME` over `/etc`.
pub fn in_namespace(command: &mut Command, name: &str) -> Result<()> {
    let namespace = File::open(Path::new("/run/netns").join(name))?;
    let overlay = Path::new("/etc/netns").join(name);
    let mut mounts = Vec::new();
    for file in ["hosts", "resolv.conf"] {
        let (from, onto) = (overlay.join(file), Path::new("/etc").join(file));
        if from.exists() && onto.exists() {
            mounts.push((text(&from)?, text(&onto)?));
        }
    }
    // SAFETY: system calls on descriptors and strings made before the fork, which the closure owns.
    unsafe {
        command.pre_exec(move || {
            check(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET))?;
            check(libc::unshare(libc::CLONE_NEWNS))?;
            let none = std::ptr::null();
            check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, libc::MS_SLAVE | libc::MS_REC, none.cast()))?;
            for (from, onto) in &mounts {
                check(libc::mount(from.as_ptr(), onto.as_ptr(), none, libc::MS_BIND, none.cast()))?;
            }
            Ok(())
        });
    }
    Ok(())
}

/// The child runs as this user and group, with no other group. It may read everything, as its programs and their libraries
/// lie wherever the project was cloned, `/root` included; it has no other right of root's.
pub fn as_user(command: &mut Command, uid: u32) {
    // SAFETY: system calls on the child's own credentials with plain numbers and values on the stack, in the order that
    // keeps the right to make them.
    unsafe {
        command.pre_exec(move || {
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 1))?;
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setgid(uid))?;
            check(libc::setuid(uid))?;
            keep_reading();
            Ok(())
        });
    }
}

/// Gives up every capability but CAP_DAC_READ_SEARCH, which then outlives exec. Where it is not ours to keep, the child
/// starts without, and is told by the kernel what it may not read.
fn keep_reading() {
    const READ: libc::c_ulong = 2;
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let only = 1u32 << READ;
    // Effective, permitted, inheritable; the lower 32 capabilities, then the upper.
    let data = [only, only, only, 0, 0, 0];
    // SAFETY: both arrays have the layout that version 3 of the call asks for, and live through it.
    unsafe {
        if libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) == 0 {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, READ, 0, 0);
        }
    }
}

/// This thread moves into a network namespace, for good: use a thread made for it.
pub fn enter_namespace(name: &str) -> Result<()> {
    let namespace = File::open(Path::new("/run/netns").join(name))?;
    // SAFETY: the descriptor is open for the length of the call; only this thread changes.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// This thread, and what it starts, has a network with nothing but loopback, which is down, and mounts of its own; for good: use a
/// thread made for it.
pub fn leave_the_host() -> Result<()> {
    let none = std::ptr::null();
    // SAFETY: system calls with plain numbers and strings that live for ever; only this thread changes.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS))?;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, libc::MS_SLAVE | libc::MS_REC, none.cast()))?;
    }
    HAS_LEFT.set(true);
    Ok(())
}

/// Whether it did.
pub fn has_left_the_host() -> bool {
    HAS_LEFT.get()
}

/// Whether the process is root.
pub fn is_root() -> bool {
    // SAFETY: geteuid cannot fail and touches nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Whether a process of this id is there.
pub fn is_alive(id: u32) -> bool {
    // SAFETY: signal 0 asks and sends nothing.
    let found = unsafe { libc::kill(id as i32, 0) == 0 };
    found || Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

fn check(result: i32) -> Result<()> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(Error::other)
}

/// Closes stdin, stdout and stderr for good: whoever reads them sees their end.
pub fn let_go_of_output() -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for stream in 0..=2 {
        // SAFETY: both descriptors are open; dup2 replaces the old one atomically.
        check(unsafe { libc::dup2(null.as_raw_fd(), stream) })?;
    }
    Ok(())
}
