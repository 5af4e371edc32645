//! A client of HTTP/2 frames that refuses nothing: what no library would send. Every field is a literal that is never indexed
//! (RFC 7541 section 6.2.3), byte for byte as it was given. It understands of an answer what a verdict needs.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// Longest wait for a frame or for room to write one: a test fails rather than hangs.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// How a stream ended, as its client saw it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Whole, with this status.
    Answer(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
    /// Nothing of these until the deadline.
    Silent,
}

impl Outcome {
    /// Said no, and blamed the client if it gave a status.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Outcome::Answer(status) => (400..500).contains(status),
            Outcome::Reset(_) | Outcome::GoAway(_) | Outcome::Closed => true,
            Outcome::Silent => false,
        }
    }
}

pub(crate) struct Peer {
    stream: TcpStream,
}

/// What came of a flood, for people.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) heads: u32,
    pub(crate) resets: u32,
    pub(crate) goaway: Option<u32>,
    pub(crate) is_open: bool,
}

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The next one, whole (RFC 9113 section 4.1).
    pub(crate) fn read(from: &mut impl io::Read) -> io::Result<Frame> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        from.read_exact(&mut payload)?;
        Ok(Frame { kind: head[3], flags: head[4], stream: code(&head[5..]), payload })
    }
}

impl Peer {
    /// Connects, and sends the preface with these settings.
    pub(crate) fn connect(to: SocketAddr, settings: &[(u16, u32)]) -> Peer {
        let stream = TcpStream::connect(to).expect("the sidecar listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        stream.set_write_timeout(Some(DEADLINE)).expect("a time");
        let mut peer = Peer { stream };
        peer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the sidecar reads the preface");
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        peer.send(SETTINGS, 0, 0, &payload).expect("the sidecar reads the settings");
        peer
    }

    /// Sends one frame. An error is no verdict: the sidecar may hang up at any time, and `outcome` tells.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.write(&frame(kind, flags, stream, payload))
    }

    /// Sends bytes as they are: many frames at once.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads until this stream has ended, one way or another.
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        let mut status = 0;
        loop {
            let frame = match self.read() {
                Ok(frame) => frame,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Outcome::Silent;
                }
                Err(_) => return Outcome::Closed,
            };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => drop(self.send(SETTINGS, ACK, 0, &[])),
                GOAWAY if code(&frame.payload[4..]) != 0 => return Outcome::GoAway(code(&frame.payload[4..])),
                RST_STREAM if frame.stream == stream => return Outcome::Reset(code(&frame.payload)),
                // Trailers have no status.
                HEADERS if frame.stream == stream && status < 200 => status = status_of(&frame.payload),
                _ => {}
            }
            let ends = frame.flags & END_STREAM != 0 && matches!(frame.kind, HEADERS | DATA);
            if ends && frame.stream == stream {
                return Outcome::Answer(status);
            }
        }
    }

    /// Reads until so many streams have ended, and tells which with what status.
    pub(crate) fn answers(&mut self, count: usize) -> Vec<(u32, u16)> {
        let (mut statuses, mut ended) = (std::collections::BTreeMap::new(), Vec::new());
        while ended.len() < count {
            let Ok(frame) = self.read() else { break };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => drop(self.send(SETTINGS, ACK, 0, &[])),
                HEADERS => drop(statuses.entry(frame.stream).or_insert_with(|| status_of(&frame.payload))),
                RST_STREAM => ended.push((frame.stream, 0)),
                _ => {}
            }
            if frame.flags & END_STREAM != 0 && matches!(frame.kind, HEADERS | DATA) {
                ended.push((frame.stream, statuses.get(&frame.stream).copied().unwrap_or(0)));
            }
        }
        ended
    }

    /// Reads until everything that was sent has been understood, which an answered PING shows, or the sidecar has hung up.
    pub(crate) fn settle(&mut self) -> Tally {
        const MARK: &[u8; 8] = b"the last";
        drop(self.send(PING, 0, 0, MARK));
        let mut tally = Tally::default();
        while let Ok(frame) = self.read() {
            match frame.kind {
                PING if frame.payload == MARK => {
                    tally.is_open = true;
                    break;
                }
                HEADERS => tally.heads += 1,
                RST_STREAM => tally.resets += 1,
                GOAWAY => tally.goaway = Some(code(&frame.payload[4..])),
                _ => {}
            }
        }
        tally
    }

    /// Reads until so many GOAWAY without an error have come, and returns the last stream of each. Whoever says that it is going
    /// away asks by PING whether that was read.
    pub(crate) fn farewells(&mut self, count: usize) -> Vec<u32> {
        let mut last_streams = Vec::new();
        while last_streams.len() < count {
            let frame = self.read().expect("a frame");
            match frame.kind {
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).expect("it reads"),
                GOAWAY => {
                    assert_eq!(code(&frame.payload[4..]), 0, "it blames nobody");
                    last_streams.push(code(&frame.payload));
                }
                _ => {}
            }
        }
        last_streams
    }

    fn read(&mut self) -> io::Result<Frame> {
        Frame::read(&mut self.stream)
    }
}

/// RFC 9113 section 4.1.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of these fields.
pub(crate) fn block(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A string without Huffman coding (RFC 7541 section 5.2).
pub(crate) fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(rest as u8);
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push(rest as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

pub(crate) fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Field {
    (name.as_ref().to_vec(), value.as_ref().to_vec())
}

/// A lawful GET of this path.
pub(crate) fn get(path: &str) -> Vec<Field> {
    vec![field(":method", "GET"), field(":scheme", "http"), field(":authority", "sc-b"), field(":path", path)]
}

pub(crate) fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// The status that opens the first header block of a connection: an index of the static table, or a literal of three digits.
fn status_of(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A table size update may stand before it.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or(0);
    match &block[start..] {
        [index @ 0x88..=0x8e, ..] => INDEXED[usize::from(index - 0x88)],
        [0x08 | 0x18 | 0x48, length, text @ ..] if length & 0x80 != 0 => digits(&text[..usize::from(length & 0x7f)]),
        [0x08 | 0x18 | 0x48, 3, text @ ..] => std::str::from_utf8(&text[..3]).map_or(0, |t| t.parse().unwrap_or(0)),
        other => panic!("a head that opens without a status: {other:?}"),
    }
}

/// Three Huffman-coded digits: 0 to 2 have five bits, the others six (RFC 7541 appendix B).
fn digits(text: &[u8]) -> u16 {
    let bits = text.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (32 - 8 * text.len());
    let (mut bits, mut number) = (bits, 0);
    for _ in 0..3 {
        let (digit, width) = if bits >> 27 <= 2 { (bits >> 27, 5) } else { ((bits >> 26) - 22, 6) };
        bits <<= width;
        number = number * 10 + digit as u16;
    }
    number
}

#[test]
fn a_status_is_read_however_it_is_coded() {
    for (block, status) in [
        (&[0x88][..], 200),
        (&[0x20, 0x8c], 400),
        (&[0x48, 3, b'5', b'0', b'2'], 502),
        // Huffman: 5 is 011011, 0 is 00000, 2 is 00010; 4 is 011010, 3 is 011001, 1 is 00001.
        (&[0x48, 0x82, 0b0110_1100, 0b0000_0010], 502),
        (&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111], 431),
    ] {
        assert_eq!(status_of(block), status, "{block:?}");
    }
}
