//! Bytes that the main thread holds for HTTP: counted here, because the loops' memory limit covers them too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes, and how many all of the gateway may hold.
#[derive(Debug)]
pub(crate) struct HttpMemory {
    bytes: AtomicU64,
    limit: AtomicU64,
}

impl Default for HttpMemory {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
        }
    }
}

impl HttpMemory {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The gateway may hold this many bytes, for HTTP and everything else; without a limit any number.
    pub(crate) fn change_limit(&self, limit: Option<u64>) {
        self.limit
            .store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts this many more until the result is dropped. `None`: the limit would be passed, including what the loops
    /// hold.
    pub(crate) fn try_hold(self: &Arc<Self>, bytes: usize, by_loops: u64) -> Option<Held> {
        let limit = self.limit.load(Ordering::Relaxed);
        let all = self.bytes().max(by_loops).saturating_add(bytes as u64);
        (all <= limit).then(|| self.hold(bytes))
    }

    /// Counts this many more until the result is dropped.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Held {
            memory: self.clone(),
            bytes,
        }
    }
}

/// Bytes that are counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<HttpMemory>,
    bytes: usize,
}

impl Held {
    /// Counts this many more with it. False, and it counts what it did: the limit would be passed, including what the loops
    /// hold.
    pub(crate) fn grow(&mut self, bytes: usize, by_loops: u64) -> bool {
        let Some(mut more) = self.memory.try_hold(bytes, by_loops) else {
            return false;
        };
        self.bytes += std::mem::take(&mut more.bytes);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = self.bytes as u64;
        self.memory.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_while_they_are_held_and_the_limit_covers_the_loops_too() {
        let memory: Arc<HttpMemory> = Arc::default();
        let held = memory.hold(100);
        memory.change_limit(Some(300));
        let more = memory.try_hold(150, 100);
        assert!(more.is_some());
        assert_eq!(memory.bytes(), 250);
        assert!(memory.try_hold(51, 0).is_none());
        assert!(memory.try_hold(1, 300).is_none());
        let mut more = more.unwrap();
        assert!(more.grow(50, 0) && !more.grow(1, 0));
        assert_eq!(memory.bytes(), 300);
        drop((held, more));
        assert_eq!(memory.bytes(), 0);
    }
}
