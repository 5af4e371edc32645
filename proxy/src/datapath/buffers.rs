//! The memory that moves bytes: one read buffer a worker, and spare vectors for heads. A worker is a thread, so they belong to the
//! thread; a connection that rests holds none of them.

use std::cell::RefCell;

use crate::h1::fields::Slots;

/// What one read takes at most. Large bodies go through it, so its size sets their system calls; small ones fit many times.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// Spare vectors that are kept, and how large one may have grown.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 8 << 10;
/// What a head with a few lines more usually needs.
const SPARE_BYTES: usize = 2 << 10;

thread_local! {
    static SLOTS: RefCell<Slots> = RefCell::new(Slots::new());
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with the worker's read buffer. Never nested: what is read is used up, or copied, before anything else reads.
pub(crate) fn with_read_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with_borrow_mut(|buffer| work(buffer))
}

/// Runs `work` with room for the lines of a head. Never nested: a head is done with before another is read.
pub(crate) fn with_slots<T>(work: impl FnOnce(&mut Slots) -> T) -> T {
    SLOTS.with_borrow_mut(work)
}

/// An empty vector, from the spares if there is one.
pub(crate) fn take() -> Vec<u8> {
    SPARES.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(SPARE_BYTES))
}

/// Gives a vector back. One that has grown large, and one too many, goes back to the allocator.
pub(crate) fn give(mut spare: Vec<u8>) {
    if spare.capacity() == 0 || spare.capacity() > SPARE_BYTES_MAX {
        return;
    }
    spare.clear();
    SPARES.with_borrow_mut(|spares| {
        if spares.len() < SPARES_MAX {
            spares.push(spare);
        }
    });
}
