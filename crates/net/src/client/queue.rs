//! What waits to be sent, message by message.
//!
//! Messages lie end to end in transfers, so that many small ones go out with one system call; their ends are
//! noted, so that one of which a part was sent can be sent again on another connection.

use std::collections::VecDeque;

use super::file::FileTransfer;
use crate::framing::Envelope;

/// A transfer takes further messages until it has this many bytes: the size of one system call.
const TRANSFER_BYTES: usize = 64 * 1024;

/// The memory of a transfer is kept for the next one up to this size, in bytes: a client at rest has no use for more.
const SPARE_BYTES: usize = 16 * 1024;

/// What waits to be sent, message by message.
#[derive(Debug, Default)]
pub(super) struct Queue {
    transfers: VecDeque<Transfer>,
    unwritten: u64,
    files: usize,
    /// An empty transfer with its memory, for the next one.
    spare: Messages,
}

#[derive(Debug)]
enum Transfer {
    Messages(Messages),
    File(Box<FileTransfer>),
}

/// Messages end to end.
#[derive(Debug, Default)]
struct Messages {
    bytes: Vec<u8>,
    written: usize,
    /// Where each one ends.
    ends: Vec<usize>,
}

/// The next bytes or file to write.
pub(super) enum Front<'a> {
    /// These bytes; then say how many were [written](Queue::wrote).
    Bytes(&'a [u8]),
    /// A file, which keeps its own account; then say when it is [done](Queue::sent_file).
    File(&'a mut FileTransfer),
}

/// The messages that were given up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) messages: usize,
    pub(super) bytes: u64,
}

impl Queue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }

    /// How many bytes of memory wait; the contents of files are none.
    #[inline]
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// How many messages wait, one of which a part is written among them.
    pub(super) fn messages(&self) -> usize {
        let messages = self.transfers.iter().map(|transfer| match transfer {
            Transfer::Messages(transfer) => {
                let whole = transfer
                    .ends
                    .partition_point(|&end| end <= transfer.written);
                transfer.ends.len() - whole
            }
            Transfer::File(_) => 1,
        });
        messages.sum()
    }

    /// How many files wait.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// Takes a message, of which `written` bytes are written already: only the first in line may have any.
    #[inline]
    pub(super) fn push(&mut self, envelope: &Envelope<'_>, payload: &[u8], written: usize) {
        let length = envelope.wire_len(payload.len());
        if length == 0 {
            return;
        }
        let has_room = matches!(
            self.transfers.back(),
            Some(Transfer::Messages(last)) if last.bytes.len() + length <= TRANSFER_BYTES
        );
        if !has_room {
            let mut fresh = std::mem::take(&mut self.spare);
            if !self.transfers.is_empty() {
                // Much waits: it will be full.
                fresh.bytes.reserve_exact(TRANSFER_BYTES);
            }
            self.transfers.push_back(Transfer::Messages(fresh));
        }
        let Some(Transfer::Messages(last)) = self.transfers.back_mut() else {
            return;
        };
        envelope.append_to(&mut last.bytes, payload);
        last.ends.push(last.bytes.len());
        last.written += written;
        self.unwritten += (length - written) as u64;
    }

    /// Takes a file.
    pub(super) fn push_file(&mut self, file: FileTransfer) {
        self.files += 1;
        self.transfers.push_back(Transfer::File(Box::new(file)));
    }

    /// Takes all that waits in `other`, behind what waits here.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.unwritten += std::mem::take(&mut other.unwritten);
        self.files += std::mem::take(&mut other.files);
        self.transfers.append(&mut other.transfers);
        if other.spare.bytes.capacity() == 0 {
            // Transfers come back to this side alone.
            std::mem::swap(&mut self.spare, &mut other.spare);
        }
    }

    /// The next bytes or file to write.
    #[inline]
    pub(super) fn front(&mut self) -> Option<Front<'_>> {
        match self.transfers.front_mut()? {
            Transfer::Messages(first) => Some(Front::Bytes(&first.bytes[first.written..])),
            Transfer::File(file) => Some(Front::File(file)),
        }
    }

    /// This many of the front's bytes were written.
    #[inline]
    pub(super) fn wrote(&mut self, bytes: usize) {
        let Some(Transfer::Messages(first)) = self.transfers.front_mut() else {
            return;
        };
        let bytes = bytes.min(first.bytes.len() - first.written);
        first.written += bytes;
        self.unwritten -= bytes as u64;
        if first.written == first.bytes.len()
            && let Some(Transfer::Messages(done)) = self.transfers.pop_front()
        {
            self.recycle(done);
        }
    }

    /// The file in front is written.
    pub(super) fn sent_file(&mut self) {
        if let Some(Transfer::File(_)) = self.transfers.front() {
            self.transfers.pop_front();
            self.files -= 1;
        }
    }

    /// The partly written message must be written from its beginning: the next bytes go to another peer.
    pub(super) fn rewind(&mut self) {
        match self.transfers.front_mut() {
            Some(Transfer::Messages(first)) => {
                let whole = first.ends.partition_point(|&end| end <= first.written);
                let start = whole.checked_sub(1).map_or(0, |last| first.ends[last]);
                self.unwritten += (first.written - start) as u64;
                first.written = start;
            }
            Some(Transfer::File(file)) => file.rewind(),
            None => {}
        }
    }

    /// Gives everything up.
    pub(super) fn clear(&mut self) -> Lost {
        let lost = Lost {
            messages: self.messages(),
            bytes: self.unwritten,
        };
        self.transfers.clear();
        self.unwritten = 0;
        self.files = 0;
        lost
    }

    fn recycle(&mut self, mut done: Messages) {
        if done.bytes.capacity() <= SPARE_BYTES && self.spare.bytes.capacity() == 0 {
            done.bytes.clear();
            done.ends.clear();
            done.written = 0;
            self.spare = done;
        }
    }
}

#[cfg(test)]
mod tests;
