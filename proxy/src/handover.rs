//! One process takes the place of another, and no connection notices: a successor is given the listening sockets over a Unix socket,
//! starts on them, and only when it is ready does its predecessor take nothing new and drain.
//!
//! ```text
//!  successor                                predecessor, which accepts all the time
//!   connects ─────────────────────────────▶  is it the same user?
//!           ◀──── form, count, the sockets, what it has been calling ──
//!   starts, gets ready
//!   READY ────────────────────────────────▶  until --handover-timeout
//!           ◀───────────────────── YOURS ────
//!   accepts too; SERVING ─────────────────▶  accepts nothing more, drains
//! ```
//! A successor that fails anywhere before SERVING costs nothing: its predecessor has never stopped. Who waits in the kernel's queue
//! of a socket waits there for either of them. Called by `app` alone; knows nothing of what the sockets are for.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net as blocking;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::{info, warn};

mod descriptors;
#[cfg(test)]
mod tests;

/// The first bytes of every hand-over of this form; another form begins with others.
const FORM: &[u8; 8] = b"LANEWAYH";
const COUNT_BYTES: usize = size_of::<u32>();
/// 64 workers with 16 listeners each, and more than anybody has.
const SOCKETS_MAX: u32 = 1024;
/// Of what a process says of itself: a thousand destinations by name, and more.
const HABITS_BYTES_MAX: u32 = 1 << 20;
/// Sockets of one message; the kernel takes 253.
const BATCH: usize = 64;
/// Longest wait for a peer that only has to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a successor could not be taken: a loop without one would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const READY: u8 = b'r';
const YOURS: u8 = b'y';
const SERVING: u8 = b's';

/// Where hand-overs happen, and how long a successor may take to get ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub path: PathBuf,
    pub timeout: Duration,
}

/// Why there is no hand-over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("reach whoever runs at {0}")]
    Reach(PathBuf, #[source] io::Error),
    #[error("{0} belongs to a process of user {1}, not of ours ({2}): nothing is taken from it or given to it")]
    Stranger(PathBuf, u32, u32),
    #[error("whoever runs at {0} has another form of hand-over")]
    Form(PathBuf),
    #[error("talk to the other process")]
    Broken(#[from] io::Error),
    #[error("{came} of {sent} sockets came")]
    Missing { sent: u32, came: usize },
    #[error("the successor is not ready after {0:?}")]
    NotReady(Duration),
    #[error("the other process said {0:?}, which nobody expected")]
    Unexpected(char),
}

/// What a predecessor gave.
pub struct Inheritance {
    pub sockets: Sockets,
    /// What it says of itself, for who understands it.
    pub habits: Vec<u8>,
    pub predecessor: Predecessor,
}

/// Listening sockets that were inherited and have no use yet.
#[derive(Debug, Default)]
pub struct Sockets(Vec<TcpListener>);

/// The process that still serves.
pub struct Predecessor(blocking::UnixStream);

/// Takes what is offered at `path`. `None`: nobody runs there.
pub fn inherit(path: &Path) -> Result<Option<Inheritance>, HandoverError> {
    let reach = |error| HandoverError::Reach(path.to_owned(), error);
    let mut stream = match blocking::UnixStream::connect(path) {
        Ok(stream) => stream,
        // A file that a process left behind, or none yet.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(reach(error)),
    };
    check_user(path, descriptors::peer_user(&stream).map_err(reach)?)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let mut form = [0; FORM.len()];
    stream.read_exact(&mut form)?;
    let mut count = [0; COUNT_BYTES];
    stream.read_exact(&mut count)?;
    let sent = u32::from_be_bytes(count);
    if form != *FORM || sent > SOCKETS_MAX {
        return Err(HandoverError::Form(path.to_owned()));
    }
    let mut sockets = Vec::new();
    while sockets.len() < sent as usize {
        let batch = descriptors::receive(&stream)?;
        if batch.is_empty() {
            break;
        }
        sockets.extend(batch.into_iter().map(TcpListener::from));
    }
    if sockets.len() != sent as usize {
        return Err(HandoverError::Missing { sent, came: sockets.len() });
    }
    let mut length = [0; COUNT_BYTES];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > HABITS_BYTES_MAX {
        return Err(HandoverError::Form(path.to_owned()));
    }
    let mut habits = vec![0; length as usize];
    stream.read_exact(&mut habits)?;
    Ok(Some(Inheritance { sockets: Sockets(sockets), habits, predecessor: Predecessor(stream) }))
}

fn check_user(path: &Path, user: u32) -> Result<(), HandoverError> {
    let own = descriptors::own_user();
    if user == own { Ok(()) } else { Err(HandoverError::Stranger(path.to_owned(), user, own)) }
}

impl Sockets {
    /// Those that listen on `address`.
    pub fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|socket| socket.local_addr().is_ok_and(|bound| is_same(bound, address)));
        self.0 = left;
        taken
    }

    /// Where the others listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

/// Where there is no IPv6, who wished for every address has every one of IPv4.
fn is_same(bound: SocketAddr, wished: SocketAddr) -> bool {
    bound == wished || (bound.port() == wished.port() && bound.ip().is_unspecified() && wished.ip().is_unspecified())
}

impl Predecessor {
    /// Says that we are ready. When this returns we may serve: the predecessor has not given up on us.
    pub async fn ready(self) -> Result<Successor, HandoverError> {
        self.0.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(self.0)?;
        stream.write_all(&[READY]).await?;
        expect(&mut stream, YOURS, ANSWER_TIMEOUT).await?;
        Ok(Successor(stream))
    }
}

/// We, who may serve now.
pub struct Successor(UnixStream);

impl Successor {
    /// Says that we do: from now on the predecessor takes nothing new.
    pub async fn serving(mut self) -> Result<(), HandoverError> {
        Ok(self.0.write_all(&[SERVING]).await?)
    }
}

async fn expect(stream: &mut UnixStream, wanted: u8, patience: Duration) -> Result<(), HandoverError> {
    match timeout(patience, stream.read_u8()).await {
        Ok(Ok(said)) if said == wanted => Ok(()),
        Ok(Ok(said)) => Err(HandoverError::Unexpected(said.into())),
        Ok(Err(error)) => Err(HandoverError::Broken(error)),
        Err(_) => Err(HandoverError::NotReady(patience)),
    }
}

/// Offers what we have to whoever comes.
pub struct Offer {
    config: Config,
    listener: UnixListener,
    sockets: Vec<OwnedFd>,
}

impl Offer {
    /// Begins to offer `sockets`, instead of whoever did at that path.
    pub fn open(config: Config, sockets: Vec<OwnedFd>) -> io::Result<Offer> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("--handover {}: {error}", config.path.display()));
        let listener = listen(&config.path).map_err(named)?;
        Ok(Offer { config, listener, sockets })
    }

    /// Returns when a successor serves. One that fails is told of, and the next one is waited for. `engaged` hears when one has come,
    /// and when it has failed.
    pub async fn taken(self, habits: impl Fn() -> Vec<u8>, engaged: impl Fn(bool)) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "no successor taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let asked_by = stream.peer_cred().map(|peer| peer.uid()).map_err(HandoverError::from);
            if let Err(error) = asked_by.and_then(|uid| check_user(&self.config.path, uid)) {
                let error = anyhow::Error::from(error);
                warn!(error = %format!("{error:#}"), "no successor of ours: it is given nothing");
                continue;
            }
            engaged(true);
            match self.give(stream, habits()).await {
                Ok(()) => return,
                Err(error) => {
                    engaged(false);
                    let error = anyhow::Error::from(error);
                    warn!(error = %format!("{error:#}"), "a successor failed; this process goes on serving");
                }
            }
        }
    }

    async fn give(&self, stream: UnixStream, habits: Vec<u8>) -> Result<(), HandoverError> {
        info!("a successor takes the listening sockets; this process serves until it is ready");
        let sockets = self.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
        let stream = stream.into_std()?;
        let sent = tokio::task::spawn_blocking(move || send(stream, &sockets, &habits)).await;
        let mut stream = UnixStream::from_std(sent.map_err(io::Error::other)??)?;
        expect(&mut stream, READY, self.config.timeout).await?;
        stream.write_all(&[YOURS]).await?;
        expect(&mut stream, SERVING, ANSWER_TIMEOUT).await
    }
}

fn send(mut stream: blocking::UnixStream, sockets: &[OwnedFd], habits: &[u8]) -> io::Result<blocking::UnixStream> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(FORM)?;
    let count = u32::try_from(sockets.len()).map_err(io::Error::other)?;
    stream.write_all(&count.to_be_bytes())?;
    for batch in sockets.chunks(BATCH) {
        descriptors::send(&stream, batch)?;
    }
    // What is too much is left out: it is of use, and no more.
    let length = u32::try_from(habits.len()).ok().filter(|length| *length <= HABITS_BYTES_MAX).unwrap_or(0);
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&habits[..length as usize])?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Binds beside the path and moves there: whoever connects finds the one process or the other.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    // Whoever else gets in is refused by its user anyway.
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&beside, path)?;
    Ok(listener)
}
