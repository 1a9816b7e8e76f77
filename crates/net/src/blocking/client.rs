//! A connection, to be sent to and received from by calls that block.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::connecting::Connecting;
use super::error::{ReceiveError, SendError, is_deadline};
use super::link::Link;
use super::options::{ClientOptions, Deadline, Timeout};
use super::stream::FileFailure;
use crate::address::Address;
use crate::dial::{ConnectError, Dialer, Timeline};
use crate::framing::{Decoded, Decoder, Framing};
use crate::liveness::Liveness;
#[cfg(feature = "tls")]
use crate::tls::TlsSession;

/// The size of one read when the wanted length is not known: a TLS record.
const CHUNK_BYTES: usize = 16 << 10;

/// A connection, to be sent to and received from by calls that block.
///
/// Each call takes at most the client's [`Timeout`], all its parts together. Dropping the client closes the connection; one
/// that a [`Pool`](super::Pool) lends goes back to it.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use moorline_net::blocking::{Client, ClientOptions};
///
/// let mut client = Client::connect(&"tcp://127.0.0.1:6379".parse()?, ClientOptions::default())?;
/// client.send(b"PING\r\n")?;
/// let answer = client.receive_until(b"\r\n", 1024)?;
/// assert_eq!(answer, "+PONG\r\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    link: Link,
    timeout: Timeout,
    framing: Framing,
    decoder: Decoder,
    /// Received bytes that were not taken yet.
    buffer: BytesMut,
    /// An error that a look for bytes has found; the system reports it once.
    failed: Option<io::Error>,
    sending: Sending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// Ended by the caller, or cut in the middle of a message.
    Over,
}

impl Connecting {
    /// Waits for the connection: at most until the deadline of its dial, which began long ago.
    pub fn wait(self) -> Result<Client, ConnectError> {
        let options = self.options.clone();
        Ok(Client::new(Link::Own(self.finish()?), options))
    }
}

impl Client {
    /// Opens a connection, like [`Dialer::connect`], and blocks until it is open or has failed: at most the dial's
    /// deadline.
    pub fn connect(address: &Address, options: ClientOptions) -> Result<Self, ConnectError> {
        Self::begin(address, options)?.wait()
    }

    /// Begins to open a connection and does not wait. Fails at once only if the options make no sense.
    pub fn begin(address: &Address, options: ClientOptions) -> Result<Connecting, ConnectError> {
        let dialer = Dialer::new(options.dial.clone());
        Connecting::begin(address, options, dialer)
    }

    /// The same with the caller's dialer, whose options replace `options.dial`; so several clients can share its resolver
    /// and TLS sessions.
    pub fn begin_with(
        dialer: &Dialer,
        address: &Address,
        options: ClientOptions,
    ) -> Result<Connecting, ConnectError> {
        Connecting::begin(address, options, dialer.clone())
    }

    pub(super) fn new(link: Link, options: ClientOptions) -> Self {
        Self {
            link,
            timeout: options.timeout,
            framing: options.framing,
            decoder: Decoder::new(),
            buffer: BytesMut::new(),
            failed: None,
            sending: Sending::Open,
        }
    }

    /// How long each later call may take.
    pub fn set_timeout(&mut self, timeout: Timeout) {
        self.timeout = timeout;
    }

    /// What the dial did.
    pub fn timeline(&self) -> &Timeline {
        &self.link.timeline
    }

    /// Whether its connection was taken from a pool, where an earlier user had left it.
    pub fn reused(&self) -> bool {
        self.link.reused
    }

    /// For a connection that a [`Pool`](super::Pool) lends: all answers have come, however many messages that were. The
    /// connection can be given back then.
    pub fn mark_answered(&mut self) {
        self.link.mark_answered();
    }

    /// For a connection that a [`Pool`](super::Pool) lends: it must not be lent again. Dropping the client closes it.
    pub fn poison(&mut self) {
        self.link.poison();
    }

    /// What the TLS handshake has agreed on, and who the server is. `None` without TLS.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<TlsSession> {
        self.link.stream.session().and_then(TlsSession::of)
    }

    /// Sends one message, wrapped as the framing wants; without a framing the bytes as they are. Blocks until the
    /// kernel has them all.
    pub fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if self.sending == Sending::Over {
            return Err(SendError::Closed);
        }
        let deadline = self.timeout.deadline();
        let envelope = self
            .framing
            .wrap(payload, false)
            .map_err(SendError::Unfit)?;
        let (prefix, suffix) = (envelope.prefix(), envelope.suffix());
        let body = &payload[envelope.skip..];
        let sent = if prefix.is_empty() && suffix.is_empty() {
            write_all(&mut self.link, body, deadline)
        } else {
            // In one piece: the header alone would travel in a segment of its own.
            let packet = [prefix, body, suffix].concat();
            write_all(&mut self.link, &packet, deadline)
        };
        // Without a framing the caller knows what is left; with one the peer waits for it.
        if self.framing != Framing::Raw {
            match &sent {
                Ok(()) => self.link.asked(self.framing.messages_in(payload)),
                Err(_) => self.sending = Sending::Over,
            }
        }
        sent
    }

    /// Sends `length` bytes of a file from `offset` on, by the kernel's own copy where there is no TLS, as they are:
    /// no framing. Blocks until the kernel has them all.
    pub fn send_file(&mut self, file: &File, offset: u64, length: u64) -> Result<(), SendError> {
        if self.sending == Sending::Over {
            return Err(SendError::Closed);
        }
        // Reading anything else may wait for longer than the timeout.
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "this is no regular file");
                return Err(SendError::File(error));
            }
            Err(error) => return Err(SendError::File(error)),
        }
        let deadline = self.timeout.deadline();
        let mut sent = 0u64;
        while sent < length {
            let part = usize::try_from(length - sent).unwrap_or(usize::MAX);
            let done = usize::try_from(sent).unwrap_or(usize::MAX);
            match self.link.send_file(file, offset + sent, part, deadline) {
                Ok(0) => {
                    return Err(SendError::File(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(bytes) => sent += bytes as u64,
                Err(FileFailure::File(error)) => return Err(SendError::File(error)),
                Err(FileFailure::Stream(error)) => return Err(SendError::new(error, done)),
            }
        }
        self.link
            .flush(deadline)
            .map_err(|error| SendError::new(error, usize::try_from(sent).unwrap_or(usize::MAX)))
    }

    /// The next whole message; `None` at the peer's end of the stream. Without a framing: whatever is there.
    ///
    /// # Errors
    /// After [`ReceiveError::Framing`] the stream has no next message; drop the client.
    pub fn receive_message(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        let deadline = self.timeout.deadline();
        loop {
            let decoded = self.decoder.decode(&self.framing, &mut self.buffer);
            match decoded.map_err(ReceiveError::Framing)? {
                Decoded::Message {
                    start,
                    end,
                    consumed,
                    ..
                } => {
                    self.link.answered();
                    let packet = self.buffer.split_to(consumed).freeze();
                    return Ok(Some(packet.slice(start..end)));
                }
                // Those of WebSocket, which no client has.
                Decoded::Assembled { consumed, .. }
                | Decoded::Reply { consumed, .. }
                | Decoded::Nothing { consumed }
                | Decoded::Close { consumed, .. } => drop(self.buffer.split_to(consumed)),
                Decoded::Incomplete { .. } => {
                    let unfinished = self.buffer.len();
                    match self.fill(deadline) {
                        Ok(0) if unfinished == 0 => return Ok(None),
                        Ok(0) => return Err(ReceiveError::EndOfFile { unfinished }),
                        Ok(_) => {}
                        Err(error) => return Err(ReceiveError::new(error, unfinished)),
                    }
                }
            }
        }
    }

    /// Whatever is there, at most as much as `buffer` holds, waiting for the first byte. 0 is the peer's end of the
    /// stream.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, ReceiveError> {
        if self.buffer.is_empty() {
            let read = self.read(buffer, self.timeout.deadline());
            return read.map_err(|error| ReceiveError::new(error, 0));
        }
        let bytes = self.copy(buffer);
        let _ = self.take(bytes);
        Ok(bytes)
    }

    /// Fills `buffer`. If that fails nothing is lost: what had come is there for the next call.
    ///
    /// The bytes are no message: of a framed client on a lent connection, say when all has come with
    /// [`mark_answered`](Self::mark_answered).
    pub fn receive_exact(&mut self, buffer: &mut [u8]) -> Result<(), ReceiveError> {
        let deadline = self.timeout.deadline();
        let kept = self.copy(buffer);
        let mut filled = kept;
        while filled < buffer.len() {
            let error = match self.read(&mut buffer[filled..], deadline) {
                Ok(0) => ReceiveError::EndOfFile { unfinished: filled },
                Ok(bytes) => {
                    filled += bytes;
                    continue;
                }
                Err(error) => ReceiveError::new(error, filled),
            };
            self.buffer.extend_from_slice(&buffer[kept..filled]);
            return Err(error);
        }
        let _ = self.take(kept);
        Ok(())
    }

    /// The bytes up to and with the first `delimiter`, `max` at most. An empty delimiter ends nothing. They are no
    /// message, like those of [`receive_exact`](Self::receive_exact).
    pub fn receive_until(&mut self, delimiter: &[u8], max: usize) -> Result<Bytes, ReceiveError> {
        let deadline = self.timeout.deadline();
        let mut searched = 0usize;
        loop {
            let window = &self.buffer[..self.buffer.len().min(max)];
            // A delimiter may have begun among the bytes already searched.
            let from = searched.saturating_sub(delimiter.len().saturating_sub(1));
            let found = match delimiter {
                [] => None,
                _ => memmem::find(&window[from..], delimiter),
            };
            if let Some(at) = found {
                return Ok(self.take(from + at + delimiter.len()));
            }
            searched = window.len();
            if searched == max {
                return Err(ReceiveError::Unended { max });
            }
            match self.fill(deadline) {
                Ok(0) => {
                    return Err(ReceiveError::EndOfFile {
                        unfinished: searched,
                    });
                }
                Ok(_) => {}
                Err(error) => return Err(ReceiveError::new(error, searched)),
            }
        }
    }

    /// Copies what is there without taking it, waiting for the first byte. 0 is the peer's end of the stream.
    pub fn peek(&mut self, buffer: &mut [u8]) -> Result<usize, ReceiveError> {
        if self.buffer.is_empty() {
            self.fill(self.timeout.deadline())
                .map_err(|error| ReceiveError::new(error, 0))?;
        }
        Ok(self.copy(buffer))
    }

    /// Whether the peer has the connection still open, as far as this side knows now. Does not wait.
    pub fn is_connected(&mut self) -> bool {
        match self.link.stream.liveness() {
            Liveness::Quiet | Liveness::Stray => true,
            Liveness::Dead(error) => {
                self.failed = self.failed.take().or(error);
                false
            }
        }
    }

    /// Ends the sending: the peer reads to the end. Receiving continues.
    pub fn half_close(&mut self) -> Result<(), SendError> {
        self.sending = Sending::Over;
        let finished = self.link.stream.finish(self.timeout.deadline());
        finished.map_err(|error| SendError::new(error, 0))
    }

    /// Whether receiving would not wait: something is there, or the end, or an error. Does not wait.
    pub(super) fn pull(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return true;
        }
        match self.fill(Deadline::past()) {
            // The end stays the end.
            Ok(_) => true,
            Err(error) if is_deadline(&error) => false,
            Err(error) => {
                self.failed = Some(error);
                true
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.link.read(buffer, deadline),
        }
    }

    /// Reads what is there to the end of the buffer, waiting for the first byte. 0 is the end.
    fn fill(&mut self, deadline: Deadline) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK_BYTES, 0);
        let read = self.link.read(&mut self.buffer[before..], deadline);
        let bytes = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(before + bytes);
        read
    }

    fn copy(&self, to: &mut [u8]) -> usize {
        let bytes = to.len().min(self.buffer.len());
        to[..bytes].copy_from_slice(&self.buffer[..bytes]);
        bytes
    }

    /// Takes bytes out of the buffer. Whatever is known of the next message's beginning no longer holds.
    fn take(&mut self, bytes: usize) -> Bytes {
        self.decoder = Decoder::new();
        self.buffer.split_to(bytes).freeze()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let is_clean =
            self.buffer.is_empty() && self.failed.is_none() && self.sending == Sending::Open;
        if !is_clean {
            self.link.poison();
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.stream.as_fd()
    }
}

fn write_all(stream: &mut Link, bytes: &[u8], deadline: Deadline) -> Result<(), SendError> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..], deadline) {
            Ok(bytes) => sent += bytes,
            Err(error) => return Err(SendError::new(error, sent)),
        }
    }
    stream
        .flush(deadline)
        .map_err(|error| SendError::new(error, sent))
}
