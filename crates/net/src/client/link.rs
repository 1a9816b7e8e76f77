//! What a client reads and writes: a connection of its own, or one that a pool lends.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Connection;
use crate::liveness::Liveness;
use crate::pool::Pooled;

/// What a client reads and writes.
#[derive(Debug)]
pub(super) enum Link {
    Own(Connection),
    /// It goes back when it is dropped, unless it is poisoned.
    #[cfg_attr(not(feature = "pool"), expect(dead_code, reason = "no pool lends"))]
    Lent(Box<Pooled>),
}

impl Link {
    /// If a pool lends it, it is not to be lent again.
    pub(super) fn poison(&mut self) {
        if let Self::Lent(pooled) = self {
            pooled.poison();
        }
    }

    /// Messages were sent.
    #[inline]
    pub(super) fn asked(&mut self, messages: u64) {
        if let Self::Lent(pooled) = self {
            pooled.lent().asked(messages);
        }
    }

    /// A message was received.
    #[inline]
    pub(super) fn answered(&mut self) {
        if let Self::Lent(pooled) = self {
            pooled.lent().answered();
        }
    }

    /// Nothing more comes that was asked for.
    pub(super) fn mark_answered(&mut self) {
        if let Self::Lent(pooled) = self {
            pooled.lent().mark_answered();
        }
    }

    /// See [`Connection::poll_liveness`].
    pub(super) fn poll_liveness(&mut self, cx: &mut Context<'_>) -> Poll<Liveness> {
        match self {
            Self::Own(connection) => connection.poll_liveness(cx),
            Self::Lent(pooled) => pooled.lent().poll_liveness(cx),
        }
    }

    /// See [`Connection::poll_send_file`].
    pub(super) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Own(connection) => connection.poll_send_file(cx, file, offset, count),
            Self::Lent(pooled) => {
                let sent = pooled.poll_send_file(cx, file, offset, count);
                pooled.wrote(&sent);
                sent
            }
        }
    }

    /// The connection alone, out of its pool if it belongs to one.
    pub(super) fn into_connection(self) -> Connection {
        match self {
            Self::Own(connection) => connection,
            Self::Lent(pooled) => pooled.into_connection(),
        }
    }
}

impl Deref for Link {
    type Target = Connection;

    #[inline]
    fn deref(&self) -> &Connection {
        match self {
            Self::Own(connection) => connection,
            Self::Lent(pooled) => pooled,
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl AsyncRead for Link {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(connection) => Pin::new(connection).poll_read(context, buffer),
            Self::Lent(pooled) => Pin::new(pooled).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Link {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Own(connection) => Pin::new(connection).poll_write(context, bytes),
            Self::Lent(pooled) => Pin::new(pooled).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Own(connection) => Pin::new(connection).poll_write_vectored(context, slices),
            Self::Lent(pooled) => Pin::new(pooled).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        (**self).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(connection) => Pin::new(connection).poll_flush(context),
            Self::Lent(pooled) => Pin::new(pooled).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(connection) => Pin::new(connection).poll_shutdown(context),
            Self::Lent(pooled) => Pin::new(pooled).poll_shutdown(context),
        }
    }
}
