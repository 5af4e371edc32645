//! A load that watches how every connection ends: a server that goes away says so with its last answer (`Connection: close`) or by
//! GOAWAY, and whoever was not told has lost something.
//!
//! Each connection is a thread that asks again and again, and opens another connection when one has ended. Blocking sockets and our own
//! few lines of HTTP: a client library hides what is looked for here.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Longest wait for a connection or for one answer: who waits longer hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection that was refused: a loop without one would spin.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: sc-a\r\n\r\n";
/// Examples that are kept of what went wrong.
const EXAMPLES_MAX: usize = 10;

/// How many connections ask what.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub to: SocketAddr,
    /// Of HTTP/1.1, GET and POST in turn.
    pub http1: usize,
    /// Of HTTP/2 with prior knowledge, one stream at a time.
    pub http2: usize,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub answered: u64,
    /// Requests without a whole answer of 200.
    pub failed: u64,
    /// Connections that nobody took.
    pub refused: u64,
    /// Connections that ended after they had said that they would.
    pub announced: u64,
    /// Connections that ended without a word.
    pub unannounced: u64,
    pub examples: Vec<String>,
}

impl Seen {
    /// Nothing was lost.
    pub fn is_lossless(&self) -> bool {
        self.failed == 0 && self.refused == 0 && self.unannounced == 0
    }
}

/// A load that runs until it is stopped.
pub struct Witness {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    to: Mutex<SocketAddr>,
    stops: AtomicBool,
    answered: AtomicU64,
    seen: Mutex<Seen>,
}

/// How a connection has ended.
enum End {
    /// It was said.
    Announced,
    Stopped,
}

impl Load {
    pub fn start(self) -> Witness {
        let shared = Arc::new(Shared {
            to: Mutex::new(self.to),
            stops: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let start = |visit: fn(&Shared, TcpStream) -> Result<End>| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.ask(visit))
        };
        let http1 = (0..self.http1).map(|_| start(visit_http1));
        let threads = http1.chain((0..self.http2).map(|_| start(visit_http2))).collect();
        Witness { shared, threads }
    }
}

impl Witness {
    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// New connections go there from now on, as discovery would have it.
    pub fn turn_to(&self, to: SocketAddr) {
        *self.shared.to.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Waits until so many connections have ended as they had said.
    pub fn await_announced(&self, count: u64, deadline: Duration) -> Result<()> {
        let reached = crate::process::wait_for(deadline, || (self.seen().announced >= count).then_some(()));
        reached.with_context(|| format!("{count} connections were not told in {deadline:?}: {:?}", self.seen()))
    }

    /// Waits until so many answers have come in all.
    pub fn await_answers(&self, count: u64, deadline: Duration) -> Result<()> {
        let reached = crate::process::wait_for(deadline, || (self.answered() >= count).then_some(()));
        reached.with_context(|| format!("{} of {count} answers in {deadline:?}: {:?}", self.answered(), self.seen()))
    }

    pub fn seen(&self) -> Seen {
        let seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Seen { answered: self.answered(), ..seen }
    }

    /// Stops, and says what was seen.
    pub fn stop(mut self) -> Seen {
        self.shared.stops.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("a connection does not panic");
        }
        self.seen()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn ask(&self, visit: fn(&Shared, TcpStream) -> Result<End>) {
        while !self.stops() {
            let to = *self.to.lock().unwrap_or_else(PoisonError::into_inner);
            let stream = match connect(to) {
                Ok(stream) => stream,
                Err(error) => {
                    self.note(|seen| seen.refused += 1, format!("connect to {to}: {error}"));
                    std::thread::sleep(REFUSED_PAUSE);
                    continue;
                }
            };
            match visit(self, stream) {
                Ok(End::Announced) => self.note(|seen| seen.announced += 1, String::new()),
                Ok(End::Stopped) => {}
                Err(error) => {
                    let is_cut = error.downcast_ref::<Cut>().is_some();
                    let count = |seen: &mut Seen| {
                        seen.failed += 1;
                        seen.unannounced += u64::from(is_cut);
                    };
                    self.note(count, format!("{error:#}"));
                }
            }
        }
    }

    fn stops(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }

    fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, count: impl FnOnce(&mut Seen), example: String) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut seen);
        if !example.is_empty() && seen.examples.len() < EXAMPLES_MAX {
            seen.examples.push(example);
        }
    }
}

/// The connection ended where it should not have.
#[derive(Debug)]
struct Cut(io::Error);

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ended without a word: {}", self.0)
    }
}

impl std::error::Error for Cut {}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, ANSWER_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

fn visit_http1(shared: &Shared, stream: TcpStream) -> Result<End> {
    const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: sc-a\r\ncontent-length: 4\r\n\r\nbody";
    let mut reader = io::BufReader::new(stream);
    for request in [GET, POST].into_iter().cycle() {
        if shared.stops() {
            break;
        }
        reader.get_mut().write_all(request).map_err(Cut)?;
        let closes = answer_http1(&mut reader)?;
        shared.answered();
        if closes {
            let end = reader.read(&mut [0]).context("after the last answer")?;
            ensure!(end == 0, "bytes after the last answer");
            return Ok(End::Announced);
        }
    }
    Ok(End::Stopped)
}

/// Reads one answer whole, and says whether it is the last.
fn answer_http1(reader: &mut io::BufReader<TcpStream>) -> Result<bool> {
    let (mut length, mut closes) = (0, false);
    let mut line = String::new();
    for number in 0.. {
        line.clear();
        let read = io::BufRead::read_line(reader, &mut line).map_err(Cut)?;
        if read == 0 {
            bail!(Cut(io::ErrorKind::UnexpectedEof.into()));
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(':') {
            _ if number == 0 => ensure!(line.starts_with("http/1.1 200"), "answered {line}"),
            Some(("content-length", value)) => length = value.trim().parse()?,
            Some(("connection", value)) => closes = value.contains("close"),
            Some(_) => {}
            None if line.is_empty() => break,
            None => bail!("no header line: {line}"),
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink()).map_err(Cut)?;
    Ok(closes)
}

mod frame {
    //! What is needed of RFC 9113.
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const ACK: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
    pub(super) const PRIORITY: u8 = 0x20;
}

fn visit_http2(shared: &Shared, mut stream: TcpStream) -> Result<End> {
    // GET, http, / of the static table; the authority as a literal that is never indexed.
    const BLOCK: &[u8] = b"\x82\x86\x84\x11\x04sc-a";
    /// Streams of one connection, far from the highest id.
    const STREAMS_MAX: u32 = 1 << 20;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").map_err(Cut)?;
    send(&mut stream, frame::SETTINGS, 0, 0, &[])?;
    for id in (1..STREAMS_MAX).step_by(2) {
        if shared.stops() {
            return Ok(End::Stopped);
        }
        send(&mut stream, frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, id, BLOCK)?;
        let (mut is_ok, mut last) = (false, None);
        loop {
            let (kind, flags, of, payload) = match receive(&mut stream) {
                Ok(frame) => frame,
                Err(error) => bail!(Cut(error)),
            };
            match kind {
                frame::SETTINGS if flags & frame::ACK == 0 => send(&mut stream, frame::SETTINGS, frame::ACK, 0, &[])?,
                frame::PING if flags & frame::ACK == 0 => send(&mut stream, frame::PING, frame::ACK, 0, &payload)?,
                frame::GOAWAY => {
                    ensure!(payload[4..8] == [0; 4], "GOAWAY with error {:?}", &payload[4..8]);
                    last = Some(u32::from_be_bytes(payload[..4].try_into()?));
                    if last < Some(id) {
                        // This one is not answered, and safe to ask elsewhere.
                        return Ok(End::Announced);
                    }
                }
                frame::RST_STREAM if of == id => bail!("stream {id} was reset: {payload:?}"),
                frame::HEADERS if of == id => is_ok |= says_200(flags, &payload),
                frame::DATA if !payload.is_empty() => {
                    let count = u32::try_from(payload.len())?.to_be_bytes();
                    send(&mut stream, frame::WINDOW_UPDATE, 0, 0, &count)?;
                }
                _ => {}
            }
            if of == id && flags & frame::END_STREAM != 0 && matches!(kind, frame::HEADERS | frame::DATA) {
                break;
            }
        }
        ensure!(is_ok, "stream {id} was answered without 200");
        shared.answered();
        if last.is_some() {
            return Ok(End::Announced);
        }
    }
    Ok(End::Stopped)
}

/// Is `:status: 200` of the static table the first field of this head (RFC 9113 section 6.2)? A change of the table's size may stand
/// before it (RFC 7541 section 4.2).
fn says_200(flags: u8, payload: &[u8]) -> bool {
    const STATUS_200: u8 = 0x88;
    let mut rest = payload;
    if flags & frame::PADDED != 0 {
        let Some((padding, padded)) = rest.split_first() else { return false };
        let Some(end) = padded.len().checked_sub(usize::from(*padding)) else { return false };
        rest = &padded[..end];
    }
    if flags & frame::PRIORITY != 0 {
        rest = rest.get(5..).unwrap_or_default();
    }
    while let [first, after @ ..] = rest
        && first >> 5 == 0b001
    {
        // An integer of five bits, or all of them set and then seven bits a byte.
        let more =
            if first & 0x1f == 0x1f { after.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1 } else { 0 };
        rest = after.get(more..).unwrap_or_default();
    }
    rest.first() == Some(&STATUS_200)
}

fn send(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    let bytes = [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat();
    // A server that has said GOAWAY may be gone already: what it said is read first.
    match stream.write_all(&bytes) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            bail!(Cut(error))
        }
        _ => Ok(()),
    }
}

fn receive(stream: &mut TcpStream) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Ok((head[3], head[4], id, payload))
}

/// Asks so many times one after the other, and says how long each took. A new connection counts to its first request.
pub fn times(to: SocketAddr, count: usize) -> Result<Vec<Duration>> {
    let mut connection = None;
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let start = Instant::now();
        let mut reader = match connection.take() {
            Some(reader) => reader,
            None => io::BufReader::new(connect(to)?),
        };
        reader.get_mut().write_all(GET)?;
        let closes = answer_http1(&mut reader)?;
        times.push(start.elapsed());
        connection = (!closes).then_some(reader);
    }
    Ok(times)
}

/// How long from a moment until a connection is refused: nobody listens, and nobody hangs.
pub fn time_to_refusal(to: SocketAddr, since: Instant, deadline: Duration) -> Result<Duration> {
    while since.elapsed() < deadline {
        match TcpStream::connect_timeout(&to, deadline) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(since.elapsed()),
            Err(error) => bail!("neither taken nor refused: {error}"),
            Ok(_) => {}
        }
    }
    bail!("still taken after {deadline:?}")
}

#[cfg(test)]
mod tests {
    use super::{frame, says_200};

    #[test]
    fn a_status_is_the_first_field_of_a_head_and_no_byte_anywhere() {
        for (flags, payload, expected) in [
            (0, &[0x88][..], true),
            (0, &[0x88, 0x0f, 0x0d, 1, b'2'], true),
            (0, &[0x8d, 0x88], false),
            (0, &[], false),
            // The table's size changes, once or twice, by one byte or more.
            (0, &[0x20, 0x88], true),
            (0, &[0x20, 0x3f, 0xe1, 0x1f, 0x88], true),
            (0, &[0x3f, 0x88], false),
            (0, &[0x20, 0x8d, 0x88], false),
            (frame::PADDED, &[2, 0x88, 0, 0], true),
            (frame::PADDED, &[0x88, 0x88], false),
            (frame::PADDED, &[1, 0x88], false),
            (frame::PRIORITY, &[0x88, 0, 0, 0, 1, 0x8d], false),
            (frame::PADDED | frame::PRIORITY, &[1, 0, 0, 0, 0, 1, 0x88, 0], true),
        ] {
            assert_eq!(says_200(flags, payload), expected, "{flags:#x} {payload:x?}");
        }
    }
}
