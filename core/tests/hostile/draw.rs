//! Inputs of a hostile test: values drawn from bytes, which are the fuzzer's own or those of a generator.
//!
//! A check reads its whole input through [`Draw`], so that any bytes are an input, a small change of them is a small change of it,
//! and whatever a fuzzer finds can be run again by one test. Shared by the tests and by `fuzz/`.
#![allow(dead_code, reason = "each target uses its part")]
#![allow(unreachable_pub, reason = "a module of tests")]

/// Bytes that are used up from the front; then there is nothing but zeros.
pub struct Draw<'b> {
    bytes: &'b [u8],
}

impl<'b> Draw<'b> {
    pub fn new(bytes: &'b [u8]) -> Draw<'b> {
        Draw { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let drawn = usize::from(self.byte());
        if end <= 256 { drawn % end } else { (drawn << 8 | usize::from(self.byte())) % end }
    }

    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// So many bytes, or what there is.
    pub fn take(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// Up to the next zero, which is used up too.
    pub fn text(&mut self) -> &'b [u8] {
        let at = self.bytes.iter().position(|byte| *byte == 0);
        let taken = self.take(at.unwrap_or(self.bytes.len()));
        self.byte();
        taken
    }

    /// Up to three changes of a message that was good: a byte, a cut, a piece twice, bytes put in between.
    pub fn edit(&mut self, message: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(message.len() + 1);
            match self.below(4) {
                0 if at < message.len() => message[at] = self.byte(),
                1 => message.truncate(at),
                2 => {
                    let piece = message[at..message.len().min(at + self.below(16))].to_vec();
                    message.splice(at..at, piece);
                }
                _ => {
                    let count = self.below(8);
                    let put = self.take(count);
                    message.splice(at..at, put.iter().copied());
                }
            }
        }
    }
}

/// Inputs without a fuzzer: the same ones in every run. One in four is one of `seeds`, changed.
pub fn inputs(count: u32, length_max: usize, seeds: &[&[u8]]) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        // xorshift64* (Vigna 2016): no crate, and equal everywhere.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    (0..count).map(move |number| {
        let length = next() as usize % (length_max + 1);
        let drawn: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        if seeds.is_empty() || number % 4 != 0 {
            return drawn;
        }
        let mut changed = seeds[next() as usize % seeds.len()].to_vec();
        Draw::new(&drawn).edit(&mut changed);
        changed
    })
}
