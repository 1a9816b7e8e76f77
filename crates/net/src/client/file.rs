//! A part of a file on its way into a stream.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::link::Link;
use crate::framing::{Envelope, MAX_HEADER_BYTES};

/// How much of a file is looked at and sent at a time, in bytes: as much as a socket takes at once, and
/// little enough that the loop's other work is not kept waiting.
const CHUNK_BYTES: u64 = 256 * 1024;

/// How much is read into memory at a time for streams that the kernel cannot encrypt, in bytes.
const COPY_BYTES: u64 = 64 * 1024;

/// A part of a file on its way into a stream, as one message.
///
/// The disk is never waited for on the loop: what the page cache lacks is read by another thread first.
#[derive(Debug)]
pub(super) struct FileTransfer {
    /// The bytes before and after the file's bytes.
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    file: Arc<File>,
    offset: u64,
    length: u64,
    /// How much of prefix, file and suffix together is written.
    written: u64,
    /// How much of the file's part is known to be in the page cache.
    cached: u64,
    /// Bytes in memory that begin where `written` stands.
    loaded: Vec<u8>,
    loading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

/// How sending it failed.
#[derive(Debug)]
pub(super) enum FileFailure {
    /// The connection.
    Write(io::Error),
    /// The file.
    Read(io::Error),
    /// The file ends before its part does.
    Shrank,
}

impl FileTransfer {
    /// `length` bytes of `file` from `offset` on, within an envelope.
    pub(super) fn new(file: Arc<File>, offset: u64, length: u64, envelope: &Envelope<'_>) -> Self {
        let skip = envelope.skip as u64;
        Self {
            prefix: envelope.prefix().to_vec(),
            suffix: envelope.suffix().to_vec(),
            file,
            offset: offset + skip,
            length: length - skip,
            written: 0,
            cached: 0,
            loaded: Vec::new(),
            loading: None,
        }
    }

    /// How many bytes are written, of its envelope and its contents together.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// It will be written from its beginning.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
        self.loaded.clear();
        self.loading = None;
    }

    /// Writes until all is written.
    pub(super) fn poll_write(
        &mut self,
        connection: &mut Link,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FileFailure>> {
        let body = self.prefix.len() as u64;
        let end = body + self.length;
        loop {
            if self.written < body {
                let rest = &self.prefix[self.written as usize..];
                self.written += ready!(write(connection, cx, rest))?;
            } else if self.written < end {
                ready!(self.poll_write_body(self.written - body, connection, cx))?;
            } else {
                let rest = &self.suffix[(self.written - end) as usize..];
                if rest.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.written += ready!(write(connection, cx, rest))?;
            }
        }
    }

    /// Writes some of the file's bytes, from the `at`th on.
    fn poll_write_body(
        &mut self,
        at: u64,
        connection: &mut Link,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FileFailure>> {
        if let Some(loading) = &mut self.loading {
            let bytes = ready!(Pin::new(loading).poll(cx));
            self.loading = None;
            let bytes = bytes
                .map_err(io::Error::other)
                .and_then(|read| read)
                .map_err(FileFailure::Read)?;
            if bytes.is_empty() {
                return Poll::Ready(Err(FileFailure::Shrank));
            }
            self.cached = at + bytes.len() as u64;
            self.loaded = bytes;
        }
        if !self.loaded.is_empty() {
            let wrote = ready!(write(connection, cx, &self.loaded))?;
            self.written += wrote;
            self.loaded.drain(..wrote as usize);
            return Poll::Ready(Ok(()));
        }
        let left = self.length - at;
        if !connection.is_plain() {
            self.load(at, left.min(COPY_BYTES))?;
            return Poll::Ready(Ok(()));
        }
        if self.cached <= at {
            let chunk = left.min(CHUNK_BYTES);
            if !self.is_cached(at, chunk) {
                // These bytes are in memory then anyway, so they are written from there.
                self.load(at, left.min(COPY_BYTES))?;
                return Poll::Ready(Ok(()));
            }
            self.cached = at + chunk;
        }
        let sent = ready!(connection.poll_send_file(
            cx,
            &self.file,
            self.offset + at,
            (self.cached - at) as usize
        ))
        .map_err(FileFailure::Write)?;
        if sent == 0 {
            return Poll::Ready(Err(FileFailure::Shrank));
        }
        self.written += sent as u64;
        Poll::Ready(Ok(()))
    }

    /// Whether both ends of a chunk are in the page cache; readahead fills what lies between.
    fn is_cached(&self, at: u64, chunk: u64) -> bool {
        let first = self.offset + at;
        let last = first + chunk - 1;
        [first, last].into_iter().all(|position| {
            let mut byte = [0];
            let slices = &mut [io::IoSliceMut::new(&mut byte)];
            match preadv2(&self.file, slices, position, ReadWriteFlags::NOWAIT) {
                Ok(_) => true,
                Err(Errno::AGAIN | Errno::OPNOTSUPP) => false,
                // The sending itself will report the error.
                Err(_) => true,
            }
        })
    }

    fn load(&mut self, at: u64, bytes: u64) -> Result<(), FileFailure> {
        let runtime =
            Handle::try_current().map_err(|error| FileFailure::Read(io::Error::other(error)))?;
        let file = self.file.clone();
        let position = self.offset + at;
        self.loading = Some(runtime.spawn_blocking(move || {
            let mut buffer = vec![0; bytes as usize];
            loop {
                match file.read_at(&mut buffer, position) {
                    Ok(read) => {
                        buffer.truncate(read);
                        return Ok(buffer);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }));
        Ok(())
    }
}

fn write(
    connection: &mut Link,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<Result<u64, FileFailure>> {
    match ready!(Pin::new(connection).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(FileFailure::Write(io::ErrorKind::WriteZero.into()))),
        Ok(wrote) => Poll::Ready(Ok(wrote as u64)),
        Err(error) => Poll::Ready(Err(FileFailure::Write(error))),
    }
}

/// A file that can be sent: opened, its part checked, its first bytes known. Blocks on the disk.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// The first bytes of the part, as many as a framing may ask for.
    pub(super) head: Vec<u8>,
}

impl Prepared {
    pub(super) fn new(file: File, offset: u64, length: Option<u64>) -> io::Result<Self> {
        let metadata = file.metadata()?;
        // Reading anything else may block for ever.
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this is no regular file",
            ));
        }
        let size = metadata.len();
        let length = length.unwrap_or(size.saturating_sub(offset));
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{length} bytes from {offset} on, of a file of {size}"),
            ));
        }
        let mut head = vec![0; length.min(MAX_HEADER_BYTES as u64) as usize];
        file.read_exact_at(&mut head, offset)?;
        Ok(Self {
            file: Arc::new(file),
            offset,
            length,
            head,
        })
    }
}
