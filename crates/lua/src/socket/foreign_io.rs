//! What a socket has in place of a descriptor: a connection of the program that embeds the services.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::input_bytes::InputBytes;
use super::input_bytes::ReadNeed;
use super::waiting_connections::{WaitingConnections, WaitingEnd};
use crate::foreign::ForeignStreams;

/// One for each such socket. What was received stays here until a script reads it, whichever service owns the socket.
#[derive(Debug)]
pub(crate) struct ForeignIo {
    pub(crate) functions: ForeignStreams,
    /// The other end, as text.
    pub(crate) peer: String,
    input: Mutex<ForeignInput>,
}

#[derive(Debug, Default)]
struct ForeignInput {
    buffer: InputBytes,
    /// Bytes that scripts have read and do not hold.
    taken: u64,
    held: Option<HeldInput>,
    /// Nothing comes any more.
    is_over: bool,
    /// A script waits for more than is there.
    is_awaited: bool,
    /// How many KiB wait to be sent, if the script must be told.
    warning: Option<usize>,
    /// Of one that listens: accepted sockets that the owner does not know yet.
    waiting: Option<Box<WaitingConnections>>,
}

/// What a script has read of something that it has not read whole: it counts as not read.
#[derive(Debug, Default)]
struct HeldInput {
    /// Empty if there are more than [`MOST_HELD`].
    bytes: Vec<u8>,
    length: usize,
}

/// More than this is not kept for another process: it need not be held.
pub(crate) const MOST_HELD: usize = 1 << 20;

impl HeldInput {
    fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        match self.length > MOST_HELD {
            true => self.bytes = Vec::new(),
            false => self.bytes.extend_from_slice(bytes),
        }
    }
}

impl ForeignInput {
    /// A script has read these bytes.
    fn read(&mut self, bytes: &[u8]) {
        match &mut self.held {
            Some(held) => held.add(bytes),
            None => self.taken += bytes.len() as u64,
        }
    }
}

/// What the owner finds.
#[derive(Debug)]
pub(crate) struct ForeignNews {
    pub(crate) warning: Option<usize>,
    pub(crate) is_over: bool,
}

/// What was received and no script has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unread {
    /// Its bytes.
    pub length: usize,
    /// The bytes that scripts have read before.
    pub taken: u64,
    /// A script waits for more.
    pub is_awaited: bool,
}

impl ForeignIo {
    pub(crate) fn new(functions: ForeignStreams, peer: String) -> Self {
        Self {
            functions,
            peer,
            input: Mutex::default(),
        }
    }

    pub(crate) fn feed(&self, bytes: &[u8]) {
        let mut input = self.input();
        input.is_awaited = false;
        input.buffer.push(bytes);
    }

    pub(crate) fn finish(&self) {
        self.input().is_over = true;
    }

    /// It goes on in another process, which has what no script has read.
    pub(crate) fn leave(&self) {
        let mut input = self.input();
        input.buffer = InputBytes::default();
        input.is_over = true;
    }

    pub(crate) fn warn(&self, kibibytes: usize) {
        self.input().warning = Some(kibibytes);
    }

    pub(crate) fn news(&self) -> ForeignNews {
        let mut input = self.input();
        ForeignNews {
            warning: input.warning.take(),
            is_over: input.is_over,
        }
    }

    pub(crate) fn unread(&self) -> Unread {
        let input = self.input();
        Unread {
            length: input.buffer.len() + input.held.as_ref().map_or(0, |held| held.length),
            taken: input.taken,
            is_awaited: input.is_awaited,
        }
    }

    /// What is there behind the first `skipped` bytes.
    pub(crate) fn copy_from(&self, skipped: usize) -> Vec<u8> {
        let input = self.input();
        let held = input.held.as_ref().map_or(&[][..], |held| &held.bytes);
        let all = held.iter().chain(input.buffer.bytes());
        all.skip(skipped).copied().collect()
    }

    /// What scripts read from now on counts as not read, until it is released. False if that is so already.
    pub(crate) fn hold(&self) -> bool {
        let mut input = self.input();
        let is_new = input.held.is_none();
        input.held.get_or_insert_default();
        is_new
    }

    /// Counts the held bytes as read.
    pub(crate) fn release(&self) {
        let mut input = self.input();
        let held = input.held.take();
        input.taken += held.map_or(0, |held| held.length as u64);
        input.is_awaited = false;
    }

    pub(crate) fn length(&self) -> usize {
        self.input().buffer.len()
    }

    /// As [`InputBytes::take`].
    pub(crate) fn take(&self, need: &ReadNeed) -> Option<Vec<u8>> {
        let mut input = self.input();
        input.is_awaited = false;
        let taken = input.buffer.take(need)?;
        input.read(&taken);
        if let ReadNeed::Line(separator) = need {
            // The reader drops it, and has read it.
            input.read(separator);
        }
        Some(taken)
    }

    pub(crate) fn take_all(&self) -> Vec<u8> {
        let mut input = self.input();
        input.is_awaited = false;
        let taken = input.buffer.take_all();
        input.read(&taken);
        taken
    }

    pub(crate) fn scan_again(&self) {
        self.input().buffer.scan_again();
    }

    /// A script waits for more than is there, or no longer.
    pub(crate) fn set_awaited(&self, is_awaited: bool) {
        self.input().is_awaited = is_awaited;
    }

    pub(crate) fn accept(&self, socket: u32, peer: String) {
        let mut input = self.input();
        input.waiting.get_or_insert_default().add(socket, peer);
    }

    /// The next accepted socket that the owner does not know yet, and its peer.
    pub(crate) fn next_accepted(&self) -> Option<(u32, String)> {
        self.input().waiting.as_mut()?.next()
    }

    /// A connection that this one has accepted has ended.
    pub(crate) fn accepted_ends(&self, socket: u32) -> WaitingEnd {
        match &mut self.input().waiting {
            Some(waiting) => waiting.end(socket),
            None => WaitingEnd::Kept,
        }
    }

    fn input(&self) -> MutexGuard<'_, ForeignInput> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
