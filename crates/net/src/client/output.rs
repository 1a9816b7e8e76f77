//! A client's way out: the queue, its watermarks, and the end of sending.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::AsyncWrite;

use super::error::{SendError, StreamError};
use super::file::{FileFailure, FileTransfer, Prepared};
use super::link::Link;
use super::options::ClientOptions;
use super::queue::{Front, Lost, Queue};
use super::watermarks::Watermarks;
use crate::framing::{Envelope, Framing};

/// Payloads from this size on are handed to the system where they lie; copying a smaller one behind its header
/// costs less than a call with several parts.
const COPIED_BYTES: usize = 16 * 1024;

/// While corked, this many bytes go out anyway: the size of one system call.
const CORKED_BYTES: u64 = 64 * 1024;

/// While this many files wait, no more are taken: each holds a descriptor. Senders may have as many of their own.
pub(super) const MAX_FILES: usize = 64;

/// A client's way out.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) queue: Queue,
    pub(super) watermarks: Watermarks,
    /// Sends only queue.
    pub(super) corked: bool,
    /// The error that broke it: nothing is written any more.
    pub(super) broken: Option<StreamError>,
    /// The queue goes out on the next connection.
    keep: bool,
    end: End,
    /// A small message with its header, while it is handed to the system.
    staged: Vec<u8>,
    /// Something was written since the stream was last flushed.
    dirty: bool,
    /// How often the system took something.
    pub(super) writes: u64,
}

/// The end of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It continues.
    Open,
    /// It comes once the queue is empty.
    Wanted,
    /// The peer has been told.
    Done,
}

impl Output {
    pub(super) fn new(options: &ClientOptions) -> Self {
        Self {
            queue: Queue::default(),
            watermarks: Watermarks::new(options),
            corked: false,
            broken: None,
            keep: options.keeps_unsent(),
            end: End::Open,
            staged: Vec::new(),
            dirty: false,
            writes: 0,
        }
    }

    /// Queues a message, and writes it at once if nothing is before it. Without a connection it waits for one.
    #[inline]
    pub(super) fn try_send(
        &mut self,
        connection: Option<&mut Link>,
        framing: &Framing,
        payload: &[u8],
    ) -> Result<(), SendError> {
        if self.end != End::Open {
            return Err(SendError::Closing);
        }
        let envelope = framing.wrap(payload, false)?;
        self.check_broken()?;
        let queued = self.queue.unwritten();
        if !self.watermarks.admits(queued, payload.len() as u64) {
            return Err(SendError::Full { queued });
        }
        let Some(connection) = connection else {
            self.queue.push(&envelope, payload, 0);
            self.watermarks.update(self.queue.unwritten());
            return Ok(());
        };
        let mut written = 0;
        if self.queue.is_empty() && !self.corked && self.broken.is_none() {
            match self.write_message(connection, &envelope, payload) {
                Ok(Written::All) => {
                    self.writes += 1;
                    return Ok(());
                }
                Ok(Written::Part(bytes)) => {
                    self.writes += u64::from(bytes > 0);
                    written = bytes;
                }
                Err(error) => self.broken = Some(error.into()),
            }
            self.check_broken()?;
        }
        self.queue.push(&envelope, payload, written);
        if !self.corked || self.queue.unwritten() > CORKED_BYTES {
            self.write_now(connection);
            self.check_broken()?;
        }
        self.watermarks.update(self.queue.unwritten());
        Ok(())
    }

    /// Queues a message that is larger than the room which the sender has seen.
    pub(super) fn queue_past_full(
        &mut self,
        framing: &Framing,
        payload: &[u8],
    ) -> Result<(), SendError> {
        if self.end != End::Open {
            return Err(SendError::Closing);
        }
        let envelope = framing.wrap(payload, false)?;
        self.check_broken()?;
        self.queue.push(&envelope, payload, 0);
        self.watermarks.update(self.queue.unwritten());
        Ok(())
    }

    /// Hands a message to the system, as far as that takes it at once.
    #[inline]
    fn write_message(
        &mut self,
        connection: &mut Link,
        envelope: &Envelope<'_>,
        payload: &[u8],
    ) -> io::Result<Written> {
        // A plain stream holds nothing back.
        self.dirty = !connection.is_plain();
        if payload.len() >= COPIED_BYTES || envelope.wire_len(payload.len()) == payload.len() {
            return write_where_it_lies(connection, envelope, payload);
        }
        self.staged.clear();
        envelope.append_to(&mut self.staged, payload);
        // Nearly always the system takes all of it.
        let cx = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut *connection).poll_write(cx, &self.staged) {
            Poll::Ready(Ok(wrote)) if wrote == self.staged.len() => Ok(Written::All),
            Poll::Ready(Ok(wrote)) => Ok(Written::Part(wrote)),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Written::Part(0)),
        }
    }

    /// A broken connection refuses what would not be kept for the next one.
    #[inline]
    fn check_broken(&self) -> Result<(), SendError> {
        match &self.broken {
            Some(error) if !self.keep => Err(SendError::Broken(error.duplicate())),
            _ => Ok(()),
        }
    }

    /// Queues a part of a file as one message.
    pub(super) fn send_file(
        &mut self,
        framing: &Framing,
        prepared: Prepared,
    ) -> Result<(), SendError> {
        if self.end != End::Open {
            return Err(SendError::Closing);
        }
        self.check_broken()?;
        let file = wrap_file(framing, prepared)?;
        if self.is_full() {
            return Err(SendError::Full {
                queued: self.queue.unwritten(),
            });
        }
        self.queue.push_file(file);
        Ok(())
    }

    /// Writes what the system takes at once. No task is woken when it takes more: the next poll of the client registers for that.
    #[inline]
    pub(super) fn write_now(&mut self, connection: &mut Link) {
        let _ = self.poll_write(connection, &mut Context::from_waker(Waker::noop()));
    }

    /// Writes until nothing waits and, if the end of sending is wanted, the peer has been told. Ready too
    /// when the connection is broken.
    #[inline]
    pub(super) fn poll_write(&mut self, connection: &mut Link, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_idle() {
            return Poll::Ready(());
        }
        let written = self.poll_write_all(connection, cx);
        self.watermarks.update(self.queue.unwritten());
        if let Err(error) = ready!(written) {
            self.broken = Some(error);
        }
        Poll::Ready(())
    }

    fn poll_write_all(
        &mut self,
        connection: &mut Link,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        while let Some(front) = self.queue.front() {
            match front {
                Front::Bytes(bytes) => {
                    let wrote = ready!(Pin::new(&mut *connection).poll_write(cx, bytes))?;
                    if wrote == 0 {
                        let error = io::Error::from(io::ErrorKind::WriteZero);
                        return Poll::Ready(Err(error.into()));
                    }
                    self.queue.wrote(wrote);
                    self.writes += 1;
                }
                Front::File(file) => {
                    let before = file.written();
                    let polled = file.poll_write(connection, cx);
                    self.writes += u64::from(file.written() > before);
                    ready!(polled).map_err(|failure| match failure {
                        FileFailure::Write(error) => error.into(),
                        FileFailure::Read(error) => StreamError::Io(error),
                        FileFailure::Shrank => StreamError::FileShrank,
                    })?;
                    self.queue.sent_file();
                }
            }
            self.dirty = true;
        }
        if self.dirty {
            ready!(Pin::new(&mut *connection).poll_flush(cx))?;
            self.dirty = false;
        }
        if self.end == End::Wanted {
            match ready!(Pin::new(connection).poll_shutdown(cx)) {
                // The peer has gone already and cannot be told.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                told => told?,
            }
            self.end = End::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing more is accepted: once the queue is empty the peer gets the end. False: that was so already.
    pub(super) fn want_end(&mut self) -> bool {
        let was_open = self.is_open();
        if was_open {
            self.end = End::Wanted;
        }
        was_open
    }

    /// Whether more may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.end == End::Open
    }

    /// Whether senders are to keep what they have: too many bytes wait, or too many descriptors.
    pub(super) fn is_full(&self) -> bool {
        self.watermarks.is_full() || self.queue.files() >= MAX_FILES
    }

    /// Whether all that was sent is written whole, and more could be.
    pub(super) fn is_clean(&self) -> bool {
        self.queue.is_empty() && !self.dirty && self.is_open() && self.broken.is_none()
    }

    /// Whether there is nothing to write.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        (self.queue.is_empty() && !self.dirty && self.end != End::Wanted) || self.broken.is_some()
    }

    /// Starts again for another connection; returns what was given up.
    pub(super) fn restart(&mut self, keep: bool) -> Lost {
        self.end = End::Open;
        self.broken = None;
        self.dirty = false;
        let lost = if keep {
            self.queue.rewind();
            Lost::default()
        } else {
            self.queue.clear()
        };
        self.watermarks.update(self.queue.unwritten());
        lost
    }
}

/// Puts a file's part into its envelope.
pub(super) fn wrap_file(framing: &Framing, prepared: Prepared) -> Result<FileTransfer, SendError> {
    let Prepared {
        file,
        offset,
        length,
        head,
    } = prepared;
    if matches!(framing, Framing::Line { .. } | Framing::Delimiter(_)) {
        // The peer would read one that contains the end as several messages.
        return Err(SendError::File(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a file may contain the end of a message: send it with length framing or raw",
        )));
    }
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    let envelope = framing.envelope(&head, size, false)?;
    Ok(FileTransfer::new(file, offset, length, &envelope))
}

/// How much of a message was written.
enum Written {
    All,
    Part(usize),
}

/// Hands a message to the system without copying it.
fn write_where_it_lies(
    connection: &mut Link,
    envelope: &Envelope<'_>,
    payload: &[u8],
) -> io::Result<Written> {
    let body = &payload[envelope.skip..];
    match (envelope.prefix(), envelope.suffix()) {
        ([], []) => write_parts(connection, [body]),
        (prefix, suffix) => write_parts(connection, [prefix, body, suffix]),
    }
}

/// Hands parts to the system where they lie, as far as that takes them at once.
fn write_parts<const N: usize>(connection: &mut Link, parts: [&[u8]; N]) -> io::Result<Written> {
    let mut cx = Context::from_waker(Waker::noop());
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut written = 0;
    while written < length {
        let mut skipped = written;
        let rest = parts.map(|part| {
            let skip = skipped.min(part.len());
            skipped -= skip;
            &part[skip..]
        });
        let connection = Pin::new(&mut *connection);
        let wrote = match rest[..] {
            [only] => connection.poll_write(&mut cx, only),
            _ => connection.poll_write_vectored(&mut cx, &rest.map(io::IoSlice::new)),
        };
        match wrote {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(wrote)) => written += wrote,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(Written::Part(written)),
        }
    }
    Ok(Written::All)
}
