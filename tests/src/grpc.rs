//! One gRPC message, by hand: five bytes of prefix and a protobuf with one string in field 1.
//!
//! The echo application answers and calls gRPC with nothing but this, so that no generated code stands between the test and
//! the wire. Real gRPC peers are in the end-to-end tests.

use bytes::{BufMut, Bytes, BytesMut};

/// `message Chain { string text = 1; }`, framed.
pub fn message(text: &str) -> Bytes {
    let mut body = BytesMut::with_capacity(text.len() + 16);
    let mut varint = Vec::with_capacity(5);
    let mut left = text.len();
    loop {
        let byte = (left & 0x7f) as u8;
        left >>= 7;
        varint.push(if left == 0 { byte } else { byte | 0x80 });
        if left == 0 {
            break;
        }
    }
    body.put_u8(0);
    body.put_u32((1 + varint.len() + text.len()) as u32);
    body.put_u8(0x0a);
    body.put_slice(&varint);
    body.put_slice(text.as_bytes());
    body.freeze()
}

/// The text of the first message in a gRPC body, if that is what it holds.
pub fn text(body: &[u8]) -> Option<String> {
    let message = body.get(5..)?;
    let (&field, rest) = message.split_first()?;
    if field != 0x0a {
        return None;
    }
    let mut length = 0usize;
    for (position, &byte) in rest.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            let text = rest.get(position + 1..position + 1 + length)?;
            return String::from_utf8(text.to_vec()).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests;
