//! The vectors see in each byte what looking at it sees, wherever it stands and whatever stands beside it.

use super::{BYTES, each, first, plain_name, text, visible};

type Found = fn(&[u8; BYTES]) -> usize;
type Mask = fn(&[u8; BYTES]) -> u32;

#[test]
fn every_byte_at_every_place_is_seen_as_one_byte_would_be() {
    let forms: [(Found, Mask, u8); 3] =
        [(text, each::not_text, b'a'), (visible, each::not_visible, b'a'), (plain_name, each::not_plain_name, b'a')];
    for (by_vectors, by_each, fill) in forms {
        assert_eq!(by_vectors(&[fill; BYTES]), BYTES, "nothing odd in a whole block");
        for place in 0..BYTES {
            for byte in 0..=u8::MAX {
                for behind in [fill, 0, 0x7f, 0xff] {
                    let mut block = [fill; BYTES];
                    block[place] = byte;
                    block[place + 1..].fill(behind);
                    assert_eq!(
                        by_vectors(&block),
                        first(by_each(&block)),
                        "byte {byte:#x} at {place} before {behind:#x}"
                    );
                }
            }
        }
    }
}
