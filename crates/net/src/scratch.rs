//! Memory that the streams of a thread share while they are read.

use std::cell::Cell;

/// What one read may bring, in bytes. Measured for relays: 64 KiB cost half of what 16 KiB do.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's scratch buffer, so that an idle stream owns none. Who asks again meanwhile gets another.
pub(crate) fn with<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut scratch = SCRATCH.take();
    if scratch.is_empty() {
        scratch = vec![0; SCRATCH_BYTES];
    }
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}
