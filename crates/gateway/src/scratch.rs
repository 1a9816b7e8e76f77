//! The buffers that a turn borrows: no session owns one while nothing of it is unfinished.

use crate::codecs::Codecs;
use crate::pipes::Pipes;

/// The size of the buffer that all sessions of a loop are read into, in bytes: one read takes a message of 64 KiB with its
/// framing.
pub(crate) const SCRATCH: usize = 80 * 1024;

/// A session's tail of this size, in bytes, is read into directly; a shorter one is put in front of the scratch buffer.
pub(crate) const LONG_TAIL: usize = SCRATCH / 2;

/// A loop's buffers. A step takes one, and puts it back.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// For plaintext that is received.
    pub(crate) received: Vec<u8>,
    /// For what is received encrypted; as large if any listener has TLS, else empty.
    pub(crate) cipher: Vec<u8>,
    /// For what is sent encrypted.
    pub(crate) sealed: Vec<u8>,
    /// For a small frame that is sent.
    pub(crate) frame: Vec<u8>,
    /// For relays that move much.
    pub(crate) pipes: Pipes,
    /// For messages that are compressed.
    pub(crate) codecs: Codecs,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            received: vec![0; SCRATCH],
            cipher: Vec::new(),
            sealed: Vec::new(),
            frame: Vec::new(),
            pipes: Pipes::default(),
            codecs: Codecs::default(),
        }
    }

    /// Some listener has TLS.
    pub(crate) fn prepare_for_tls(&mut self) {
        if self.cipher.is_empty() {
            self.cipher = vec![0; SCRATCH];
        }
    }
}
