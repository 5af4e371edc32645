//! Writes the access log: a thread of its own, so that a pipe that nobody empties stops this thread and no other. Each worker has a
//! ring of bytes, which it alone fills; a line that finds no room is dropped and counted.
//!
//! ```text
//!  worker ─ push ─▶ Ring ─ taken whole ─▶ thread ─ write ─▶ standard output, a file
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::Thread;
use std::time::Duration;

/// Lines of one worker that wait to be written.
const RING_BYTES_MAX: usize = 1 << 20;
/// Between two writes: one system call for what came meanwhile, and a worker wakes the thread no more often.
const PAUSE: Duration = Duration::from_millis(20);
/// For the last lines, when the program ends: a pipe that nobody empties must not hold it.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// What one worker has said and nobody has written yet.
pub struct Ring {
    text: Mutex<String>,
    lines: AtomicU64,
    dropped: AtomicU64,
    shared: Arc<Shared>,
}

/// The rings and their thread.
struct Shared {
    /// The thread has nothing to do, and is to be woken.
    is_waiting: AtomicBool,
    is_ending: AtomicBool,
    thread: OnceLock<Thread>,
    /// Writes that failed: what was to be written is lost.
    failed: AtomicU64,
}

/// Lines by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken, to be written.
    pub lines: u64,
    /// Dropped: nobody takes them fast enough.
    pub dropped: u64,
    /// Writes that failed, of one line or many.
    pub failed: u64,
}

/// The log of one process.
#[derive(Clone)]
pub struct Writer {
    rings: Vec<Arc<Ring>>,
    shared: Arc<Shared>,
    ended: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Ring {
    /// Appends what `write` writes, or drops it.
    pub(super) fn push(&self, write: impl FnOnce(&mut String)) {
        let mut text = lock(&self.text);
        let before = text.len();
        // Beyond the bound nothing is formatted: a stuck pipe costs a request next to nothing.
        if before < RING_BYTES_MAX {
            write(&mut text);
        }
        let is_taken = text.len() > before && text.len() <= RING_BYTES_MAX;
        if !is_taken {
            text.truncate(before);
        }
        drop(text);
        let counter = if is_taken { &self.lines } else { &self.dropped };
        // One writer.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // The thread says that it waits before it looks at the rings: either it sees this line, or this sees that it waits.
        if self.shared.is_waiting.load(Ordering::Acquire) {
            self.shared.wake();
        }
    }
}

impl Shared {
    fn wake(&self) {
        if self.is_waiting.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// Appends to it; created if it is not there, readable by its owner alone. `None`: standard output.
pub fn open(file: Option<&Path>) -> io::Result<Box<dyn Write + Send>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    Ok(match file {
        None => Box::new(io::stdout()),
        Some(path) => {
            let opened: File = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
            Box::new(opened)
        }
    })
}

impl Writer {
    /// Starts the thread, with a ring for each worker.
    pub fn start(workers: usize, out: Box<dyn Write + Send>) -> io::Result<Writer> {
        let shared = Arc::new(Shared {
            is_waiting: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            thread: OnceLock::new(),
            failed: AtomicU64::new(0),
        });
        let ring = || Ring {
            text: Mutex::default(),
            lines: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            shared: Arc::clone(&shared),
        };
        let rings: Vec<Arc<Ring>> = (0..workers).map(|_| Arc::new(ring())).collect();
        let (tell, ended) = mpsc::sync_channel(1);
        let (of_thread, state) = (rings.clone(), Arc::clone(&shared));
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            // The program's end waits for this: it is told by being dropped, in whatever way the thread ends.
            let _tell: mpsc::SyncSender<()> = tell;
            state.thread.get_or_init(std::thread::current);
            write_all(&of_thread, &state, out);
        })?;
        Ok(Writer { rings, shared, ended: Arc::new(Mutex::new(ended)) })
    }

    pub fn ring(&self, worker: usize) -> Arc<Ring> {
        Arc::clone(&self.rings[worker])
    }

    pub fn counts(&self) -> Counts {
        let sum = |of: fn(&Ring) -> &AtomicU64| self.rings.iter().map(|ring| of(ring).load(Ordering::Relaxed)).sum();
        Counts {
            lines: sum(|ring| &ring.lines),
            dropped: sum(|ring| &ring.dropped),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }

    /// Writes what there is and ends the thread. False: it did not come to that in time.
    pub fn finish(&self) -> bool {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        self.shared.wake();
        // Nothing is ever sent: it says that the sender is gone.
        matches!(lock(&self.ended).recv_timeout(LAST_WAIT), Err(mpsc::RecvTimeoutError::Disconnected))
    }
}

fn write_all(rings: &[Arc<Ring>], shared: &Shared, mut out: Box<dyn Write + Send>) {
    let mut taken = String::new();
    loop {
        // Before the look, so that whoever comes after it wakes us.
        shared.is_waiting.store(true, Ordering::SeqCst);
        let is_ending = shared.is_ending.load(Ordering::SeqCst);
        let mut has_written = false;
        for ring in rings {
            taken.clear();
            std::mem::swap(&mut *lock(&ring.text), &mut taken);
            if taken.is_empty() {
                continue;
            }
            shared.is_waiting.store(false, Ordering::SeqCst);
            has_written = true;
            if let Err(error) = out.write_all(taken.as_bytes()).and_then(|()| out.flush())
                && shared.failed.fetch_add(1, Ordering::Relaxed) == 0
            {
                tracing::warn!(%error, "lines of the access log are lost (counted from here)");
            }
        }
        match (has_written, is_ending) {
            (false, true) => return,
            (true, true) => {}
            (true, false) => std::thread::park_timeout(PAUSE),
            (false, false) => std::thread::park(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
