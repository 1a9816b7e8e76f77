//! Buffers for messages, used again and again by the thread that they belong to.

use std::cell::RefCell;

/// Enough for the messages that one turn of a ring hands to handlers.
const KEPT_BUFFERS: usize = 64;

/// A larger one goes back to the allocator, so that a pool keeps 1 MiB at the most.
const KEPT_CAPACITY: usize = 16 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
#[inline]
pub(crate) fn take() -> Vec<u8> {
    POOL.try_with(|pool| pool.borrow_mut().pop())
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// Keeps a buffer for the next message. While its thread ends, it is freed.
#[inline]
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > KEPT_CAPACITY {
        return;
    }
    buffer.clear();
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < KEPT_BUFFERS {
            pool.push(buffer);
        }
    });
}
