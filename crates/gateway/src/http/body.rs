//! The body of an answer that is a file.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use rustix::io::Errno;
use tokio::task::JoinHandle;

use crate::shared::http_memory::Held;

/// Bytes of a file read at once.
const FILE_CHUNK: usize = 64 * 1024;

/// A file's bytes, read off the loop, a chunk when the one before it is on its way.
pub(super) struct FileBody {
    file: Arc<std::fs::File>,
    offset: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    _held: Held,
}

impl FileBody {
    /// This many bytes of the file, from the offset on.
    pub(super) fn new(file: std::fs::File, offset: u64, length: u64, held: Held) -> Self {
        Self {
            file: Arc::new(file),
            offset,
            left: length,
            reading: None,
            _held: held,
        }
    }

    /// The most that it holds: a chunk that is read, and one that is sent.
    pub(super) fn bytes(length: u64) -> usize {
        usize::try_from(length).map_or(2 * FILE_CHUNK, |length| length.min(2 * FILE_CHUNK))
    }

    /// Reads the next chunk on a thread that may wait for the disk.
    fn read(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, offset) = (self.file.clone(), self.offset);
        let room = usize::try_from(self.left).map_or(FILE_CHUNK, |left| left.min(FILE_CHUNK));
        tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; room];
            let length = loop {
                match rustix::io::pread(&*file, &mut chunk[..], offset) {
                    Err(Errno::INTR) => {}
                    read => break read?,
                }
            };
            chunk.truncate(length);
            Ok(chunk)
        })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut reading = self.reading.take().unwrap_or_else(|| self.read());
        let Poll::Ready(read) = Pin::new(&mut reading).poll(context) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let chunk = read.map_err(io::Error::other).flatten()?;
        if chunk.is_empty() {
            // It has shrunk since: the length that was promised cannot be kept.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.offset += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
