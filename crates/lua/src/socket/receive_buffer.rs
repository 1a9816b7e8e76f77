//! What was received and not read.

use std::mem;
use std::rc::Rc;

use memchr::memmem;

use crate::sys::StateMemory;

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

/// Bytes of a stream, in order.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    /// Up to here there is no separator that the reader waits for, counted from `start`.
    scanned: usize,
    /// What counts them, if they are a socket's.
    memory: Option<Rc<StateMemory>>,
    counted: usize,
}

/// An empty buffer keeps room for this many bytes: a connection that waits should cost little.
const KEPT_BYTES: usize = 4 << 10;

impl ReceiveBuffer {
    /// One whose bytes are counted as received.
    pub(crate) fn of_socket(memory: Rc<StateMemory>) -> Self {
        let mut buffer = Self::default();
        buffer.memory = Some(memory);
        buffer
    }

    fn count(&mut self) {
        let now = self.bytes.len();
        if let Some(memory) = &self.memory {
            memory.count_received(mem::replace(&mut self.counted, now), now);
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.scanned = 0;
        self.count();
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
        self.count();
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
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
            self.count();
            return all;
        }
        let cut = self.bytes[self.start..self.start + count].to_vec();
        self.start += count + dropped;
        if self.start == self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.count();
        }
        cut
    }
}

impl Drop for ReceiveBuffer {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_buffer_of_a_socket_holds_is_counted() {
        let memory = Rc::<StateMemory>::default();
        let mut buffer = ReceiveBuffer::of_socket(memory.clone());
        buffer.push(&[7; 10_000]);
        buffer.push(b"more");
        assert_eq!(memory.received(), 10_004);
        assert_eq!(
            buffer.take(&ReadNeed::Bytes(4)).map(|cut| cut.len()),
            Some(4)
        );
        assert_eq!(buffer.take_all().len(), 10_000);
        assert_eq!(memory.received(), 0);
        buffer.push(&[7; 100]);
        assert_eq!(buffer.take_all().len(), 100);
        assert_eq!(memory.received(), 0);
        buffer.push(b"left");
        drop(buffer);
        assert_eq!(memory.received(), 0);
    }

    fn line(separator: &str) -> ReadNeed {
        ReadNeed::Line(separator.as_bytes().into())
    }

    #[test]
    fn bytes_and_lines_come_in_order_also_in_pieces() {
        let mut buffer = ReceiveBuffer::default();
        assert_eq!(buffer.take(&ReadNeed::Any), None);
        buffer.push(b"one\r");
        assert_eq!(buffer.take(&line("\r\n")), None);
        buffer.push(b"\ntwo");
        assert_eq!(buffer.take(&line("\r\n")).as_deref(), Some(&b"one"[..]));
        assert_eq!(buffer.take(&ReadNeed::Bytes(4)), None);
        assert_eq!(buffer.take(&ReadNeed::Bytes(0)).as_deref(), Some(&b""[..]));
        assert_eq!(
            buffer.take(&ReadNeed::Bytes(2)).as_deref(),
            Some(&b"tw"[..])
        );
        assert_eq!(buffer.take(&ReadNeed::Block).as_deref(), Some(&b""[..]));
        assert_eq!(buffer.take(&ReadNeed::Any).as_deref(), Some(&b"o"[..]));
        assert!(buffer.is_empty());
    }

    #[test]
    fn another_separator_is_looked_for_from_the_beginning() {
        let mut buffer = ReceiveBuffer::default();
        buffer.push(b"a;b,c");
        assert_eq!(buffer.take(&line("\n")), None);
        buffer.scan_again();
        assert_eq!(buffer.take(&line(",")).as_deref(), Some(&b"a;b"[..]));
    }

    #[test]
    fn a_large_buffer_is_given_away_whole() {
        let mut buffer = ReceiveBuffer::default();
        buffer.push(&[7; 10_000]);
        assert_eq!(buffer.take_all().len(), 10_000);
        buffer.push(b"x");
        assert_eq!(buffer.take_all(), b"x");
    }
}
