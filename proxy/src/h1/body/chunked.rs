//! The chunked transfer coding (RFC 9112 section 7.1), byte for byte.

use super::Piece;
use crate::h1::lines::Reader;
use crate::h1::{EXTENSION_BYTES_MAX, FIELDS_MAX, Reason, TRAILER_BYTES_MAX};

/// Hexadecimal digits of a chunk size. 16 is what 64 bits hold; more would wrap in some reader.
const SIZE_DIGITS_MAX: u8 = 16;

/// Where in a chunked body we are.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    /// Of the chunk whose size line is read, then what is missing of its data.
    size: u64,
    size_digits: u8,
    extension_bytes: u32,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// Space behind a size; only an extension may follow (section 7.1.1: BWS).
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line behind the last chunk.
    TrailerStart,
    TrailerLine,
    TrailerLf,
    /// CR of the empty line was read.
    LastLf,
    Ended,
}

impl Chunked {
    pub(super) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Reason> {
        if self.state == State::Ended {
            return Ok(Piece::End);
        }
        if bytes.is_empty() {
            return Ok(Piece::More);
        }
        if self.state == State::Data {
            let here = usize::try_from(self.size).map_or(bytes.len(), |missing| missing.min(bytes.len()));
            self.size -= here as u64;
            if self.size == 0 {
                self.state = State::DataCr;
            }
            return Ok(Piece::Data(here));
        }
        // Bytes of one piece: as long as they are kept alike.
        let mut count = 0;
        let is_kept = self.is_kept(bytes[0]);
        while let Some(&byte) = bytes.get(count) {
            if matches!(self.state, State::Data | State::Ended) || self.is_kept(byte) != is_kept {
                break;
            }
            self.step(byte)?;
            count += 1;
        }
        Ok(if is_kept { Piece::Frame(count) } else { Piece::Skip(count) })
    }

    /// Does the next hop get this byte as it is? Not extensions, and not trailers, which are looked through first; the empty line
    /// without trailers before it stays.
    fn is_kept(&self, byte: u8) -> bool {
        match self.state {
            State::Size => !matches!(byte, b';' | b' ' | b'\t'),
            State::Space => false,
            State::Extension => byte == b'\r',
            State::SizeLf | State::Data | State::DataCr | State::DataLf | State::Ended => true,
            State::TrailerStart => byte == b'\r' && self.trailers.is_empty(),
            State::LastLf => self.trailers.is_empty(),
            State::TrailerLine | State::TrailerLf => false,
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), Reason> {
        self.state = match (self.state, byte) {
            (State::Size, digit) if digit.is_ascii_hexdigit() => {
                if self.size_digits == SIZE_DIGITS_MAX {
                    return Err(Reason::ChunkSize);
                }
                self.size_digits += 1;
                self.size = self.size << 4 | u64::from(hex(digit));
                State::Size
            }
            (State::Size, _) if self.size_digits == 0 || i64::try_from(self.size).is_err() => {
                return Err(Reason::ChunkSize);
            }
            (State::Size, b'\r') => State::SizeLf,
            (State::Size | State::Space, b';') => self.extension()?,
            (State::Size | State::Space, b' ' | b'\t') => {
                self.extension()?;
                State::Space
            }
            (State::Size | State::Space, _) => return Err(Reason::ChunkSize),
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension()?,
            (State::Extension, _) => return Err(Reason::ChunkExtension),
            (State::SizeLf, b'\n') => {
                self.size_digits = 0;
                if self.size == 0 { State::TrailerStart } else { State::Data }
            }
            (State::SizeLf, _) => return Err(Reason::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::DataCr | State::DataLf, _) => return Err(Reason::ChunkEnd),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::TrailerStart | State::TrailerLine, b'\n') => return Err(Reason::LineEnd),
            (State::TrailerLine, b'\r') => self.trailer(byte, State::TrailerLf)?,
            (State::TrailerStart | State::TrailerLine, _) => self.trailer(byte, State::TrailerLine)?,
            (State::TrailerLf, b'\n') => self.trailer(byte, State::TrailerStart)?,
            (State::LastLf, b'\n') => {
                self.check_trailers()?;
                State::Ended
            }
            (State::TrailerLf | State::LastLf, _) => return Err(Reason::LineEnd),
            (State::Data | State::Ended, _) => self.state,
        };
        Ok(())
    }

    fn extension(&mut self) -> Result<State, Reason> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX { Err(Reason::ChunkExtension) } else { Ok(State::Extension) }
    }

    fn trailer(&mut self, byte: u8, next: State) -> Result<State, Reason> {
        if self.trailers.len() == TRAILER_BYTES_MAX {
            return Err(Reason::TrailersTooLarge);
        }
        self.trailers.push(byte);
        Ok(next)
    }

    /// What goes on must be field lines and nothing else.
    fn check_trailers(&mut self) -> Result<(), Reason> {
        if self.trailers.is_empty() {
            return Ok(());
        }
        self.trailers.extend_from_slice(b"\r\n");
        let mut reader = Reader { head: &self.trailers, at: 0 };
        let mut count = 0;
        let checked = loop {
            match reader.field() {
                Ok(Some(_)) if count < FIELDS_MAX => count += 1,
                Ok(Some(_)) => break Err(Reason::TrailersTooLarge),
                Ok(None) if reader.at == self.trailers.len() => break Ok(()),
                Ok(None) | Err(_) => break Err(Reason::Trailer),
            }
        };
        self.trailers.truncate(self.trailers.len() - 2);
        checked
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
