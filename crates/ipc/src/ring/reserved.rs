//! A place in a ring that a socket is received into, before it is known whether that makes a record.

use std::io;
use std::os::fd::BorrowedFd;

use super::{HEADER, Header, Producer};

/// Room for the payload of the next record. Dropping it changes nothing in the ring.
///
/// The other process may read and write the place at any time, as it may with all of the ring.
#[derive(Debug)]
pub struct Reserved<'a> {
    producer: &'a mut Producer,
    position: u64,
    length: usize,
}

impl Producer {
    /// Room for the payload of the next record, of `length` bytes. `None`: there is not so much now, or no record is so
    /// long.
    #[inline]
    pub fn reserve(&mut self, length: usize) -> Option<Reserved<'_>> {
        let (position, _) = self.place(length)?;
        Some(Reserved {
            producer: self,
            position,
            length,
        })
    }
}

impl Reserved<'_> {
    /// Receives from a socket: first fills `before`, then this place, then `after`. Returns how many bytes came in all, 0 at
    /// the end. Never blocks.
    ///
    /// # Errors
    /// What the socket says: `WouldBlock` when nothing is there.
    #[inline]
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        before: &mut [u8],
        after: &mut [u8],
    ) -> io::Result<usize> {
        let memory = &self.producer.memory;
        memory.receive(socket, before, (self.position + HEADER, self.length), after)
    }

    /// Copies what lies there from `offset` on, to fill `out`.
    ///
    /// # Panics
    /// If that reaches beyond its end.
    #[inline]
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        assert!(offset + out.len() <= self.length, "beyond what is reserved");
        let memory = &self.producer.memory;
        memory.read(self.position + HEADER + offset as u64, out);
    }

    /// Makes a record of its first `length` bytes, as [`Producer::push`] does.
    ///
    /// # Panics
    /// If it has fewer.
    #[inline]
    pub fn commit(self, header: &Header, length: usize) {
        assert!(length <= self.length, "beyond what is reserved");
        self.producer
            .begin_record(self.position, length as u32, header);
    }
}
