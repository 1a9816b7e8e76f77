//! Buffers for messages, used again and again by the thread that they belong to.

use std::cell::RefCell;

/// Small buffers that are kept: enough for the messages that one turn of a ring hands to handlers.
const KEPT_SMALL: usize = 64;
/// A small buffer has at most this capacity, in bytes, so that all of them keep 1 MiB at the most.
const SMALL: usize = 16 * 1024;
/// What the large buffers keep together, in bytes, at the most. What is given back beyond it is freed.
const KEPT_LARGE_BYTES: usize = 4 * 1024 * 1024;
/// Large buffers have capacities that are multiples of this, in bytes: messages of about one size share them.
const STEP: usize = 16 * 1024;
/// A buffer is not used for less than this part of it: an app may keep it with the message.
const MOST_UNUSED: usize = 4;

/// The buffers of one thread.
struct Pool {
    small: Vec<Vec<u8>>,
    /// Those over [`SMALL`], the last given back at the end.
    large: Vec<Vec<u8>>,
    /// The capacities of the large ones.
    large_bytes: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// An empty buffer for a message of `bytes` bytes.
#[inline]
pub(crate) fn take(bytes: usize) -> Vec<u8> {
    let taken = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if bytes > SMALL {
            return Some(pool.take_large(bytes));
        }
        let mut buffer = pool.small.pop()?;
        // Grown by what is put into it, it would soon be a large one.
        buffer.reserve_exact(bytes);
        Some(buffer)
    });
    taken.ok().flatten().unwrap_or_default()
}

/// Keeps a buffer for the next message. While its thread ends, it is freed.
#[inline]
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 {
        return;
    }
    buffer.clear();
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if buffer.capacity() > SMALL {
            pool.keep_large(buffer);
        } else if pool.small.len() < KEPT_SMALL {
            pool.small.push(buffer);
        }
    });
}

impl Pool {
    const fn new() -> Self {
        Self {
            small: Vec::new(),
            large: Vec::new(),
            large_bytes: 0,
        }
    }

    fn take_large(&mut self, bytes: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| {
            buffer.capacity() >= bytes && buffer.capacity() / MOST_UNUSED <= bytes
        };
        match self.large.iter().rposition(fits) {
            Some(place) => {
                let buffer = self.large.remove(place);
                self.large_bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(bytes.next_multiple_of(STEP)),
        }
    }

    /// The oldest give way: messages of another size come now.
    fn keep_large(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > KEPT_LARGE_BYTES {
            return;
        }
        self.large_bytes += buffer.capacity();
        self.large.push(buffer);
        let mut many = 0;
        while self.large_bytes > KEPT_LARGE_BYTES {
            self.large_bytes -= self.large[many].capacity();
            many += 1;
        }
        self.large.drain(..many);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_serves_the_next_message_of_about_its_size() {
        let mut pool = Pool::new();
        let buffer = pool.take_large(100_000);
        assert_eq!(buffer.capacity(), 7 * STEP);
        pool.keep_large(buffer);
        assert_eq!(pool.take_large(20_000).capacity(), 2 * STEP);
        assert_eq!(pool.large_bytes, 7 * STEP);
        assert_eq!(pool.take_large(30_000).capacity(), 7 * STEP);
        assert_eq!(pool.large_bytes, 0);
    }

    #[test]
    fn a_small_buffer_stays_small() {
        give_back(Vec::with_capacity(9_000));
        let mut buffer = take(10_000);
        buffer.extend_from_slice(&[1; 5_000]);
        buffer.extend_from_slice(&[2; 5_000]);
        assert_eq!(buffer.capacity(), 10_000);
        give_back(buffer);
        let (small, large) = POOL.with_borrow(|pool| (pool.small.len(), pool.large.len()));
        assert_eq!((small, large), (1, 0));
    }

    #[test]
    fn large_buffers_are_kept_up_to_a_bound_in_bytes() {
        let mut pool = Pool::new();
        for _ in 0..9 {
            pool.keep_large(Vec::with_capacity(KEPT_LARGE_BYTES / 8));
        }
        pool.keep_large(Vec::with_capacity(KEPT_LARGE_BYTES + 1));
        assert_eq!((pool.large.len(), pool.large_bytes), (8, KEPT_LARGE_BYTES));
        pool.keep_large(Vec::with_capacity(KEPT_LARGE_BYTES / 4));
        assert_eq!((pool.large.len(), pool.large_bytes), (7, KEPT_LARGE_BYTES));
    }
}
