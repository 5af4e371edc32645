//! A relay in user space that does to TCP connections what networks and dying peers do: delays them, swallows them, lets them drip,
//! ends or resets them in the middle. Stands between a sidecar and an instance, or a client and a sidecar.
//!
//! Faults are of what comes back; what goes there is passed on as it comes, but where a fault says otherwise.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// Longest life of one connection: nothing outlives its test for long.
const LIFE_MAX: Duration = Duration::from_secs(60);
const PIECE_BYTES: usize = 16 << 10;
/// How often a thread that waits looks whether the relay is gone.
const LOOK: Duration = Duration::from_millis(50);

/// What is done to a connection that begins now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every piece waits, both ways.
    Delay(Duration),
    /// It is taken, and neither side hears of the other: half open.
    Swallow,
    /// So many bytes come back, then a proper end.
    EndAfter(usize),
    /// So many bytes come back, then a reset.
    ResetAfter(usize),
    /// So many bytes come back at a time, with a pause between.
    Drip {
        bytes: usize,
        pause: Duration,
    },
}

/// Ends with its handle; connections end with it.
pub struct Relay {
    pub address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    gone: Arc<AtomicBool>,
    taken: Arc<AtomicU32>,
    swallowed: Arc<AtomicUsize>,
}

impl Relay {
    /// On a port of loopback, towards `to`.
    pub fn start(to: SocketAddr, fault: Fault) -> std::io::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let relay = Relay {
            address: listener.local_addr()?,
            fault: Arc::new(Mutex::new(fault)),
            gone: Arc::default(),
            taken: Arc::default(),
            swallowed: Arc::default(),
        };
        let (fault, gone, taken) = (Arc::clone(&relay.fault), Arc::clone(&relay.gone), Arc::clone(&relay.taken));
        let swallowed = Arc::clone(&relay.swallowed);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if gone.load(Ordering::Relaxed) {
                    return;
                }
                taken.fetch_add(1, Ordering::Relaxed);
                let fault = *fault.lock().unwrap_or_else(PoisonError::into_inner);
                let (gone, swallowed) = (Arc::clone(&gone), Arc::clone(&swallowed));
                thread::spawn(move || carry(stream, to, fault, &gone, &swallowed));
            }
        });
        Ok(relay)
    }

    /// Of connections that begin from now on.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Connections that were taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes that came over connections that hear nothing.
    pub fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        // Wakes the listener's thread.
        drop(TcpStream::connect(self.address));
    }
}

fn carry(near: TcpStream, to: SocketAddr, fault: Fault, gone: &Arc<AtomicBool>, swallowed: &AtomicUsize) {
    let Ok(far) = TcpStream::connect(to) else { return };
    for stream in [&near, &far] {
        // A connection that cannot be set up is one that ends at once.
        if stream.set_read_timeout(Some(LOOK)).is_err() || stream.set_nodelay(true).is_err() {
            return;
        }
    }
    if fault == Fault::Swallow {
        return swallow(&near, gone, swallowed);
    }
    let (Ok(near_read), Ok(far_write)) = (near.try_clone(), far.try_clone()) else { return };
    let pause = if let Fault::Delay(pause) = fault { pause } else { Duration::ZERO };
    let there_gone = Arc::clone(gone);
    let there = thread::spawn(move || {
        pass(&near_read, &far_write, &there_gone, PIECE_BYTES, usize::MAX, pause);
        let _ = far_write.shutdown(Shutdown::Write);
    });
    match fault {
        Fault::None | Fault::Delay(_) => {
            pass(&far, &near, gone, PIECE_BYTES, usize::MAX, pause);
        }
        Fault::Drip { bytes, pause } => {
            pass(&far, &near, gone, bytes, usize::MAX, pause);
        }
        Fault::EndAfter(bytes) => {
            pass(&far, &near, gone, PIECE_BYTES, bytes, Duration::ZERO);
        }
        Fault::ResetAfter(bytes) => {
            pass(&far, &near, gone, PIECE_BYTES, bytes, Duration::ZERO);
            let _ = SockRef::from(&near).set_linger(Some(Duration::ZERO));
            let _ = far.shutdown(Shutdown::Both);
            let _ = near.shutdown(Shutdown::Read);
            let _ = there.join();
            // Closed last, with the linger of a reset.
            return drop(near);
        }
        Fault::Swallow => {}
    }
    let _ = near.shutdown(Shutdown::Write);
    if matches!(fault, Fault::EndAfter(_)) {
        let _ = near.shutdown(Shutdown::Both);
        let _ = far.shutdown(Shutdown::Both);
    }
    let _ = there.join();
}

/// Passes at most `most` bytes on, `piece` at a time, each after `pause`.
fn pass(from: &TcpStream, to: &TcpStream, gone: &AtomicBool, piece: usize, most: usize, pause: Duration) {
    let (mut from, mut to) = (from, to);
    let mut buffer = vec![0; piece.clamp(1, PIECE_BYTES)];
    let mut left = most;
    let ends = std::time::Instant::now() + LIFE_MAX;
    while left > 0 && !gone.load(Ordering::Relaxed) && std::time::Instant::now() < ends {
        let room = buffer.len().min(left);
        match from.read(&mut buffer[..room]) {
            Ok(0) => return,
            Ok(count) => {
                thread::sleep(pause);
                if to.write_all(&buffer[..count]).is_err() {
                    return;
                }
                left -= count;
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn swallow(stream: &TcpStream, gone: &AtomicBool, swallowed: &AtomicUsize) {
    let mut stream = stream;
    let ends = std::time::Instant::now() + LIFE_MAX;
    let mut buffer = [0; 512];
    while !gone.load(Ordering::Relaxed) && std::time::Instant::now() < ends {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => drop(swallowed.fetch_add(count, Ordering::Relaxed)),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
