//! Sixteen bytes at a time: where in them a head's text or a name's letters end. The same answer on every processor; x86-64 gives it
//! by vector instructions, without a branch for a byte. The only unsafe code of the engine.

/// Bytes that are looked at together.
pub(super) const BYTES: usize = 16;

/// Index of the first byte that is no VCHAR, obs-text or space; [`BYTES`]: there is none.
#[inline]
pub(super) fn text(block: &[u8; BYTES]) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is a part of x86-64.
    let mask = unsafe { sse2::not_text(block) };
    #[cfg(not(target_arch = "x86_64"))]
    let mask = each::not_text(block);
    first(mask)
}

/// Index of the first byte that is not visible ASCII; [`BYTES`]: there is none.
#[inline]
pub(super) fn visible(block: &[u8; BYTES]) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is a part of x86-64.
    let mask = unsafe { sse2::not_visible(block) };
    #[cfg(not(target_arch = "x86_64"))]
    let mask = each::not_visible(block);
    first(mask)
}

/// Index of the first byte that is neither letter, digit nor hyphen, of which nearly all names are; [`BYTES`]: there is none.
#[inline]
pub(super) fn plain_name(block: &[u8; BYTES]) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is a part of x86-64.
    let mask = unsafe { sse2::not_plain_name(block) };
    #[cfg(not(target_arch = "x86_64"))]
    let mask = each::not_plain_name(block);
    first(mask)
}

/// Of a mask with a bit for each byte.
#[inline]
fn first(mask: u32) -> usize {
    (mask | 1 << BYTES).trailing_zeros() as usize
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
        _mm_sub_epi8,
    };

    use super::BYTES;

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn not_text(block: &[u8; BYTES]) -> u32 {
        let bytes = load(block);
        _mm_movemask_epi8(_mm_or_si128(at_most(bytes, 0x1f), is(bytes, 0x7f))) as u32
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn not_visible(block: &[u8; BYTES]) -> u32 {
        let below_delete = at_most(_mm_sub_epi8(load(block), all(b'!')), b'~' - b'!');
        _mm_movemask_epi8(below_delete) as u32 ^ 0xffff
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn not_plain_name(block: &[u8; BYTES]) -> u32 {
        let bytes = load(block);
        let letters = at_most(_mm_sub_epi8(_mm_or_si128(bytes, all(0x20)), all(b'a')), 25);
        let digits = at_most(_mm_sub_epi8(bytes, all(b'0')), 9);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(letters, digits), is(bytes, b'-'))) as u32 ^ 0xffff
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(block: &[u8; BYTES]) -> __m128i {
        let whole = u128::from_le_bytes(*block);
        _mm_set_epi64x((whole >> 64) as i64, whole as i64)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn all(byte: u8) -> __m128i {
        _mm_set1_epi8(byte as i8)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn is(bytes: __m128i, byte: u8) -> __m128i {
        _mm_cmpeq_epi8(bytes, all(byte))
    }

    /// Unsigned.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn at_most(bytes: __m128i, byte: u8) -> __m128i {
        _mm_cmpeq_epi8(_mm_min_epu8(bytes, all(byte)), bytes)
    }
}

/// The same by looking at each byte: for other processors, and what the tests hold the vectors to.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod each {
    use super::BYTES;

    pub(super) fn not_text(block: &[u8; BYTES]) -> u32 {
        mask(block, |byte| matches!(byte, 0..0x20 | 0x7f))
    }

    pub(super) fn not_visible(block: &[u8; BYTES]) -> u32 {
        mask(block, |byte| !byte.is_ascii_graphic())
    }

    pub(super) fn not_plain_name(block: &[u8; BYTES]) -> u32 {
        mask(block, |byte| !byte.is_ascii_alphanumeric() && byte != b'-')
    }

    fn mask(block: &[u8; BYTES], is: impl Fn(u8) -> bool) -> u32 {
        block.iter().rev().fold(0, |mask, byte| mask << 1 | u32::from(is(*byte)))
    }
}

#[cfg(test)]
mod tests;
