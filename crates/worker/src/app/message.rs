//! Messages and datagrams: the bytes, and the sender.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::app::{Context, SendError};
use crate::wire::Peer;
use crate::{Core, clock, pool};

/// A message that was received. It reads as its bytes.
///
/// The bytes lie in a buffer that serves the next message once this one is dropped;
/// [`into_vec`](Message::into_vec) keeps it.
pub struct Message {
    bytes: Vec<u8>,
    is_text: bool,
    received: u64,
    taken: u64,
}

impl Message {
    /// `received` and `taken` are nanoseconds of the monotonic clock.
    #[inline]
    pub(crate) fn new(bytes: Vec<u8>, is_text: bool, received: u64, taken: u64) -> Self {
        Self {
            bytes,
            is_text,
            received,
            taken,
        }
    }

    #[inline]
    pub(crate) fn begins(&mut self, now: u64) {
        self.taken = now;
    }

    #[inline]
    pub(crate) fn queued_ns(&self) -> u64 {
        self.taken.saturating_sub(self.received)
    }

    /// It is text that has been checked to be UTF-8 (WebSocket only).
    #[inline]
    pub fn is_text(&self) -> bool {
        self.is_text
    }

    /// When the engine received its last byte; for a post or a task, when it arrived in this process.
    pub fn received_at(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(Duration::from_nanos(
            clock::now().saturating_sub(self.received),
        ))
        .unwrap_or(now)
    }

    /// How long it waited between its receipt and its hook.
    pub fn queued(&self) -> Duration {
        Duration::from_nanos(self.queued_ns())
    }

    /// Its bytes, to keep.
    pub fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Deref for Message {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Message {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("len", &self.bytes.len())
            .field("is_text", &self.is_text)
            .finish()
    }
}

impl Drop for Message {
    #[inline]
    fn drop(&mut self) {
        pool::give_back(std::mem::take(&mut self.bytes));
    }
}

/// Where a datagram came from, and the way back.
#[derive(Clone)]
pub struct Datagram {
    core: Rc<Core>,
    link: usize,
    listener: u16,
    peer: Peer,
}

impl Datagram {
    pub(crate) fn new(core: Rc<Core>, link: usize, listener: u16, peer: Peer) -> Self {
        Self {
            core,
            link,
            listener,
            peer,
        }
    }

    /// The context of the process.
    pub fn context(&self) -> Context {
        Context::new(self.core.clone())
    }

    /// The name of the listener it was received on.
    pub fn listener(&self) -> &str {
        self.core.listener_name(self.listener)
    }

    /// The sender's address.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Sends a datagram back from the address that this one was sent to. What does not fit the way to the
    /// gateway is refused with [`SendError::Full`], what no datagram can hold with [`SendError::TooLarge`]. A Unix socket
    /// without a name ([`Peer::Unix`]) cannot be answered: [`SendError::NoAddress`].
    pub fn reply(&self, bytes: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.core
            .send_datagram(self.link, self.listener, &self.peer, bytes.as_ref())
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram")
            .field("listener", &self.listener())
            .field("peer", &self.peer)
            .finish()
    }
}
