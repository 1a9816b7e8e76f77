//! What was received and not read.

use std::mem;
use std::rc::Rc;

use super::input_bytes::InputBytes;
pub(crate) use super::input_bytes::ReadNeed;
use crate::sys::StateMemory;

/// Bytes of a stream, in order, and what counts them.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    input: InputBytes,
    /// What counts them, if they are a socket's.
    memory: Option<Rc<StateMemory>>,
    counted: usize,
}

impl ReceiveBuffer {
    /// One whose bytes are counted as received.
    pub(crate) fn of_socket(memory: Rc<StateMemory>) -> Self {
        let mut buffer = Self::default();
        buffer.memory = Some(memory);
        buffer
    }

    fn count(&mut self) {
        let now = self.input.in_memory();
        if let Some(memory) = &self.memory {
            memory.count_received(mem::replace(&mut self.counted, now), now);
        }
    }

    fn counting<T>(&mut self, change: impl FnOnce(&mut InputBytes) -> T) -> T {
        let changed = change(&mut self.input);
        self.count();
        changed
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.counting(|input| *input = InputBytes::default());
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.counting(|input| input.push(bytes));
    }

    pub(crate) fn len(&self) -> usize {
        self.input.len()
    }

    /// What a reader wants, if it is there. `All` is never there: the end is.
    pub(crate) fn take(&mut self, need: &ReadNeed) -> Option<Vec<u8>> {
        self.counting(|input| input.take(need))
    }

    /// Whether a line is complete.
    pub(crate) fn find(&mut self, separator: &[u8]) -> Option<usize> {
        self.input.find(separator)
    }

    /// Another separator may be looked for.
    pub(crate) fn scan_again(&mut self) {
        self.input.scan_again();
    }

    pub(crate) fn take_all(&mut self) -> Vec<u8> {
        self.counting(InputBytes::take_all)
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
        assert_eq!(buffer.len(), 0);
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
