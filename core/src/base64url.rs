//! base64url without padding (RFC 7515 section 2), as the parts of a JWT are written. Without an allocation where there is room.

/// Bits that fill no byte are dropped. `None`: a byte that is no letter of it, and `into` holds no more than what came before.
pub fn decode(text: &[u8], into: &mut Vec<u8>) -> Option<()> {
    into.clear();
    for chunk in text.chunks(4) {
        let mut bits = 0_u32;
        for &letter in chunk {
            let sextet = SEXTETS[usize::from(letter)];
            if sextet == NO_LETTER || chunk.len() == 1 {
                return None;
            }
            bits = bits << 6 | u32::from(sextet);
        }
        let bytes = (bits << (6 * (4 - chunk.len()))).to_be_bytes();
        into.extend_from_slice(&bytes[1..chunk.len()]);
    }
    Some(())
}

const NO_LETTER: u8 = 0xff;

/// What each byte stands for.
const SEXTETS: [u8; 256] = {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut table = [NO_LETTER; 256];
    let mut at = 0;
    while at < letters.len() {
        table[letters[at] as usize] = at as u8;
        at += 1;
    }
    table
};
