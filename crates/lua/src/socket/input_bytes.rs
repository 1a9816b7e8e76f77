//! Bytes of a stream, in order.

use std::mem;

use memchr::memmem;

/// What a reader waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadNeed {
    /// Whatever comes first.
    Any,
    /// This number of bytes.
    Bytes(usize),
    /// All before this separator, which is dropped.
    Line(Box<[u8]>),
    /// All up to the end.
    All,
    /// That there is something; it stays.
    Block,
}

impl ReadNeed {
    /// Looks for what is wanted at the beginning of bytes: its size, and that of the separator behind it.
    pub(crate) fn find_in(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        match self {
            Self::Any => Some((bytes.len(), 0)),
            Self::Bytes(count) => (bytes.len() >= *count).then_some((*count, 0)),
            Self::Line(separator) => {
                memmem::find(bytes, separator).map(|end| (end, separator.len()))
            }
            Self::Block => Some((0, 0)),
            Self::All => None,
        }
    }
}

/// What has come and was not read.
#[derive(Debug, Default)]
pub(crate) struct InputBytes {
    bytes: Vec<u8>,
    start: usize,
    /// Up to here there is no separator that the reader waits for, counted from `start`.
    scanned: usize,
}

/// An empty buffer keeps room for this many bytes: a connection that waits should cost little.
const KEPT_BYTES: usize = 4 << 10;

impl InputBytes {
    /// The bytes that it has in memory, those that were read among them.
    pub(crate) fn in_memory(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a reader wants, if it is there. `All` is never there: the end is.
    pub(crate) fn take(&mut self, need: &ReadNeed) -> Option<Vec<u8>> {
        match need {
            ReadNeed::Any => (!self.is_empty()).then(|| self.take_all()),
            ReadNeed::Bytes(count) => (self.len() >= *count).then(|| self.cut(*count, 0)),
            ReadNeed::Line(separator) => {
                let end = self.find(separator)?;
                Some(self.cut(end, separator.len()))
            }
            ReadNeed::All => None,
            ReadNeed::Block => (!self.is_empty()).then(Vec::new),
        }
    }

    /// Whether a line is complete.
    pub(crate) fn find(&mut self, separator: &[u8]) -> Option<usize> {
        let rest = &self.bytes[self.start + self.scanned..];
        match memmem::find(rest, separator) {
            Some(at) => Some(self.scanned + at),
            None => {
                // The separator may have begun at the end.
                let begun = separator.len().saturating_sub(1);
                self.scanned = self.len().saturating_sub(begun);
                None
            }
        }
    }

    /// Another separator may be looked for.
    pub(crate) fn scan_again(&mut self) {
        self.scanned = 0;
    }

    pub(crate) fn take_all(&mut self) -> Vec<u8> {
        let count = self.len();
        self.cut(count, 0)
    }

    /// Takes `count` bytes, and drops those of a separator behind them.
    fn cut(&mut self, count: usize, dropped: usize) -> Vec<u8> {
        self.scanned = 0;
        if self.start == 0 && count + dropped == self.bytes.len() && count > KEPT_BYTES {
            let mut all = mem::take(&mut self.bytes);
            all.truncate(count);
            return all;
        }
        let cut = self.bytes[self.start..self.start + count].to_vec();
        self.start += count + dropped;
        if self.start == self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
        }
        cut
    }
}
