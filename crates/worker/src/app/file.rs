//! Sending files.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::task::Poll;

use moorline_net::framing::MAX_HEADER_BYTES;
use rustix::fs::OFlags;

use crate::app::{SendError, Session};
use crate::disk_file::is_unfit;
use crate::wire::FileSpan;

impl Session {
    /// Sends a part of a file as one message, or all of it with `..`. The kernel copies it to the socket when the peer
    /// takes it, and neither this process nor the gateway holds its bytes; where there is TLS the gateway reads and
    /// encrypts a little at a time. The file must not change meanwhile; should it become shorter, the session is closed.
    ///
    /// Waits as [`send`](Self::send) does, while 256 files of this process are on their way to their peers, and until the gateway
    /// has opened its share of it. Returning means that it is on its way. It keeps its order among what else is sent once it
    /// has returned. Cancel-safe: dropped early, it goes whole or not at all.
    ///
    /// # Errors
    /// [`FileError`] says what.
    pub async fn send_file(
        &self,
        path: impl AsRef<Path>,
        part: impl RangeBounds<u64>,
    ) -> Result<(), FileError> {
        let commitment = &self.shared().core().commitment;
        commitment.committed_after_start().await;
        // A FIFO would hold a thread up until it has a writer.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut options = tokio::fs::OpenOptions::new();
        let opening = options.read(true).custom_flags(flags).open(path);
        let file = opening.await.map_err(FileError::Open)?;
        let file = file.into_std().await;
        let metadata = file.metadata().map_err(FileError::Open)?;
        let unfit = is_unfit(&file).map_err(|error| FileError::Open(error.into()))?;
        if unfit.is_some() {
            return Err(FileError::NotAFile);
        }
        let size = metadata.len();
        let offset = match part.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match part.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => size,
        };
        if offset > end || end > size {
            return Err(FileError::OutOfRange { size });
        }
        let length = end - offset;
        self.shared()
            .check_file(length)
            .map_err(FileError::Session)?;
        let mut head = vec![0; length.min(MAX_HEADER_BYTES as u64) as usize];
        file.read_exact_at(&mut head, offset)
            .map_err(FileError::Open)?;
        let span = FileSpan {
            offset,
            length,
            head,
        };
        self.until_drained().await.map_err(FileError::Session)?;
        let core = self.shared().core();
        core.send_file(self.shared().id(), file, span).await
    }

    /// Waits until the session is under its watermark.
    async fn until_drained(&self) -> Result<(), SendError> {
        let mut place = super::session::Place::new(self.shared());
        poll_fn(|cx| match self.shared().check_file(0) {
            Ok(()) if self.is_full() => {
                self.shared()
                    .await_drained(&mut place.watermark, cx.waker());
                Poll::Pending
            }
            result => Poll::Ready(result),
        })
        .await
    }
}

/// Why a file was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened or read.
    Open(io::Error),
    /// It is not a regular file on a disk: a folder, a device, or a file of `/proc` or FUSE. A read of it might never end.
    NotAFile,
    /// The part begins or ends behind the end of the file.
    OutOfRange {
        /// The file's size in bytes.
        size: u64,
    },
    /// The gateway has no descriptor left for it. The session stays open; raise the limit (`ulimit -n`), or send it
    /// later.
    Refused,
    /// The session refuses it, for this reason.
    Session(SendError),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "the file cannot be read: {error}"),
            Self::NotAFile => f.write_str("this is not a file"),
            Self::OutOfRange { size } => write!(f, "the file has only {size} bytes"),
            Self::Refused => f.write_str(
                "the gateway has no descriptor left for the file: raise the limit of open files (ulimit -n)",
            ),
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Session(error) => Some(error),
            Self::NotAFile | Self::OutOfRange { .. } | Self::Refused => None,
        }
    }
}
