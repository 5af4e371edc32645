//! Real processes: found, started, watched, and ended by their own id.
//!
//! Children die with the test (also when it is killed), write to a log file each, and may live in a network namespace and
//! under another user. Nothing here ends a process that it did not start.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub mod confine;

/// Longest part of a log that a message repeats, bytes.
const LOG_TAIL_BYTES: usize = 4000;

/// A child that ends with its handle.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output in `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file =
            File::options().create(true).append(true).open(log).with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = spawn(command).with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGTERM: please end.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let ended = wait_for(deadline, || self.child.try_wait().ok().flatten());
        ended.with_context(|| format!("{} did not end in {deadline:?}", self.name))
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` holds, or says what the process wrote.
    pub fn wait_until(&mut self, deadline: Duration, what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + deadline;
        while !ready() {
            if let Some(status) = self.ended() {
                bail!("{} ended before it was {what} ({status}):\n{}", self.name, tail(&self.log()));
            }
            if Instant::now() > end {
                bail!("{} was not {what} in {deadline:?}:\n{}", self.name, tail(&self.log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child is ours and not waited for yet, so its id cannot belong to another process.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program of this workspace, built by the same profile as the one that asks.
pub fn program(name: &str) -> Result<PathBuf> {
    let directory = match std::env::var_os("LANEWAY_PROGRAMS") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let own = std::env::current_exe().context("find the own program")?;
            let directory = own.parent().context("a program lies in a folder")?;
            if directory.ends_with("deps") { directory.join("..") } else { directory.to_owned() }
        }
    };
    let path = directory.join(name);
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => bail!("{} is not built: `cargo build --profile quick --workspace --bins`, or ./x", path.display()),
    }
}

/// Runs a command to its end and returns what it printed; an exit status other than 0 is an error with all it said.
pub fn run(mut command: Command) -> Result<String> {
    let what = format!("{:?}", command.get_program());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = spawn(command).and_then(Child::wait_with_output).with_context(|| format!("run {what}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{what} failed ({}): {}{}", output.status, said.trim_end(), text.trim_end());
    }
    Ok(text)
}

/// The same, with a text on its standard input.
pub fn run_with_input(mut command: Command, input: &str) -> Result<String> {
    let mut file = tempfile()?;
    file.write_all(input.as_bytes())?;
    std::io::Seek::rewind(&mut file)?;
    let what = format!("{:?}", command.get_program());
    command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = spawn(command).and_then(Child::wait_with_output).with_context(|| format!("run {what}"))?;
    if !output.status.success() {
        bail!("{what} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// SIGKILL to a child of ours that is not waited for yet.
pub fn kill_now(id: u32) {
    signal(id, libc::SIGKILL);
}

/// Sends a signal to a child that the caller holds the handle of.
pub fn signal(id: u32, signal: libc::c_int) {
    // SAFETY: the caller holds the child's handle, so the id cannot belong to another process.
    unsafe { libc::kill(id as i32, signal) };
}

/// Asks again and again until there is an answer or the deadline is over.
pub fn wait_for<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Spawns from a thread that lives as long as the process: a parent-death signal is sent when the spawning *thread* ends,
/// and a test is a thread. One that has left the host spawns itself: its children are to live, and end, with it.
pub fn spawn(mut command: Command) -> std::io::Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    confine::die_with_parent(&mut command);
    if confine::has_left_the_host() {
        return command.spawn();
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, spawned) = mpsc::channel();
    spawner.lock().expect("no panic holds the spawner").send((command, answer)).expect("the spawner lives for ever");
    spawned.recv().expect("the spawner answers every job")
}

/// A test that cannot run here says so by name, past the capture of the test harness, and is counted by `./x test`. In CI
/// nothing is skipped: it fails.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}; in CI nothing is skipped");
    let line = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("LANEWAY_SKIPPED") {
        let _ =
            File::options().create(true).append(true).open(list).and_then(|mut list| list.write_all(line.as_bytes()));
    }
}

/// The end of a log, for messages.
pub fn tail(log: &str) -> &str {
    let mut start = log.len().saturating_sub(LOG_TAIL_BYTES);
    while !log.is_char_boundary(start) {
        start += 1;
    }
    &log[start..]
}

/// A file without a name.
fn tempfile() -> Result<File> {
    // SAFETY: the name is a C string literal; the result is checked.
    let raw = unsafe { libc::memfd_create(c"input".as_ptr(), 0) };
    if raw < 0 {
        return Err(std::io::Error::last_os_error()).context("make a file in memory");
    }
    // SAFETY: `raw` is a fresh descriptor that nobody else owns.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(raw) })
}

/// On SIGINT and SIGTERM: removes the namespaces and directories of this process, and exits; its children die with it.
pub fn leave_nothing_behind() {
    std::thread::spawn(|| {
        let waited = tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| {
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let (mut interrupt, mut terminate) =
                    (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                std::io::Result::Ok(())
            })
        });
        if matches!(waited, Ok(Ok(()))) {
            let own = std::process::id();
            crate::mesh::network::remove_namespaces(|owner| owner == own);
            remove_scratch(|owner| owner == own);
            std::process::exit(130);
        }
    });
}

/// Removes the directories of processes that `unwanted` names.
pub fn remove_scratch(unwanted: impl Fn(u32) -> bool) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("laneway-").and_then(|rest| rest.rsplit('-').nth(1)?.parse().ok());
        if owner.is_some_and(&unwanted) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A directory of the test's own, removed with its handle.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(label: &str) -> Result<Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        remove_scratch(|owner| !confine::is_alive(owner));
        let path = std::env::temp_dir().join(format!("laneway-{label}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves the directory where it is.
    pub fn keep(self) -> PathBuf {
        let path = self.0.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Reads what is left of a stream as text.
pub fn read_text(mut from: impl Read) -> String {
    let mut text = String::new();
    let _ = from.read_to_string(&mut text);
    text
}
