//! Where the frames of a WebSocket begin and end (RFC 6455 section 5.2), for who wants to say something between two of them. Reads the
//! heads of frames and no payload; refuses nothing: what is no frame is none of its business but for ending quietly.

/// Opcode, length, and a length of 64 bits; a mask counts as payload.
const HEAD_BYTES_MAX: usize = 10;
const MASK_BYTES: u64 = 4;
/// Of the first byte: the message ends here.
const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// Opcodes from here on are of control frames, which may stand between the frames of a message.
const CONTROL: u8 = 8;
const CLOSE: u8 = 8;
const CONTROL_LENGTH_MAX: u64 = 125;
/// Of the second byte.
const MASKED: u8 = 0x80;
/// The endpoint is going away (section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// One direction of a WebSocket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    /// What has come of the head of a frame.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// Of the frame whose head is whole, what is still to come.
    payload_left: u64,
    is_in_message: bool,
    /// The frame that is passing is a close frame.
    is_closing: bool,
    end: End,
}

/// After which nothing may be said any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    None,
    /// A close frame went by.
    Closed,
    /// This is no WebSocket: nobody knows where its frames are.
    Lost,
}

impl Frames {
    /// These bytes go by.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.step(rest)..];
        }
    }

    /// So many of these bytes go by: up to the first place between two messages.
    pub(crate) fn pass_to_gap(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() && !self.is_between_messages() {
            passed += self.step(&bytes[passed..]);
        }
        passed
    }

    /// Here a control frame can be said.
    pub(crate) fn is_between_frames(&self) -> bool {
        !self.is_over() && self.head_bytes == 0 && self.payload_left == 0
    }

    /// Here it splits no message.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.is_between_frames() && !self.is_in_message
    }

    /// The sender has said that it says no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.end == End::Closed
    }

    /// Nothing can be said any more.
    pub(crate) fn is_over(&self) -> bool {
        self.end != End::None
    }

    /// Goes on to the end of a head or of a payload, or of the bytes, which are not none; returns how many that took.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.is_over() {
            return bytes.len();
        }
        if self.payload_left > 0 {
            let count = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload_left -= count as u64;
            self.end_frame();
            return count;
        }
        let count = (self.head_length() - self.head_bytes).min(bytes.len());
        self.head[self.head_bytes..self.head_bytes + count].copy_from_slice(&bytes[..count]);
        self.head_bytes += count;
        if self.head_bytes == self.head_length() {
            self.read_head();
        }
        count
    }

    /// Of the head that is coming, as far as is known.
    fn head_length(&self) -> usize {
        match (self.head_bytes, self.head[1] & !MASKED) {
            (0 | 1, _) => 2,
            (_, 126) => 4,
            (_, 127) => HEAD_BYTES_MAX,
            _ => 2,
        }
    }

    fn read_head(&mut self) {
        let length = match &self.head[2..self.head_bytes] {
            [] => u64::from(self.head[1] & !MASKED),
            long => long.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let (is_final, opcode) = (self.head[0] & FINAL != 0, self.head[0] & OPCODE);
        let is_control = opcode >= CONTROL;
        // The highest bit of a length is 0, and control frames are short and whole.
        if length > i64::MAX as u64 || (is_control && (length > CONTROL_LENGTH_MAX || !is_final)) {
            self.end = End::Lost;
            return;
        }
        if !is_control {
            self.is_in_message = !is_final;
        }
        self.is_closing = opcode == CLOSE;
        self.payload_left = length + if self.head[1] & MASKED != 0 { MASK_BYTES } else { 0 };
        self.head_bytes = 0;
        self.end_frame();
    }

    fn end_frame(&mut self) {
        if self.payload_left == 0 && self.is_closing {
            self.end = End::Closed;
        }
    }
}

/// A close frame that says 1001. Who is a client has to mask it.
pub(crate) fn going_away(mask: Option<[u8; 4]>) -> Vec<u8> {
    let code = GOING_AWAY.to_be_bytes();
    match mask {
        None => vec![FINAL | CLOSE, code.len() as u8, code[0], code[1]],
        Some(mask) => {
            let mut frame = vec![FINAL | CLOSE, MASKED | code.len() as u8];
            frame.extend_from_slice(&mask);
            frame.extend(code.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
            frame
        }
    }
}

#[cfg(test)]
mod tests;
