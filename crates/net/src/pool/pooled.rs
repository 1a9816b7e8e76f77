//! A connection that is lent to a task.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lent::Lent;
use crate::connection::Connection;

/// A connection that is lent. Dropping it gives it back, from any thread and without blocking.
///
/// It is closed instead if it is [poisoned](Self::poison), if reading or writing failed, ended or was shut down, if the
/// thread panics, or if an answer seems to be under way ([`Unanswered`](super::Unanswered)). That last judgment knows no
/// protocol: who stops in the middle of an answer for a reason of their own poisons it.
///
/// A [`Client`](crate::Client::on) on it speaks in messages, and judges by them.
#[derive(Debug)]
pub struct Pooled {
    lent: Lent<Connection>,
}

impl Pooled {
    pub(super) fn new(lent: Lent<Connection>) -> Self {
        Self { lent }
    }

    /// It is not to be lent again: dropping it closes it.
    pub fn poison(&mut self) {
        self.lent.poison();
    }

    /// Takes the connection out of the pool, whose caps no longer count it.
    pub fn into_connection(self) -> Connection {
        self.lent.into_inner()
    }

    pub(crate) fn lent(&mut self) -> &mut Lent<Connection> {
        &mut self.lent
    }

    fn inner(&mut self) -> Pin<&mut Connection> {
        Pin::new(&mut *self.lent)
    }

    /// Notes what a write did.
    pub(crate) fn wrote(&mut self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(0)) | Poll::Pending => {}
            Poll::Ready(Ok(_)) => self.lent.wrote(),
            Poll::Ready(Err(_)) => self.lent.poison(),
        }
    }
}

impl Deref for Pooled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.lent
    }
}

impl AsFd for Pooled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl AsyncRead for Pooled {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, wanted) = (buffer.filled().len(), buffer.remaining());
        let result = this.inner().poll_read(context, buffer);
        match &result {
            Poll::Pending => this.lent.waits(),
            Poll::Ready(Err(_)) => this.lent.poison(),
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.lent.read();
            }
            // The peer's end of the stream.
            Poll::Ready(Ok(())) if wanted > 0 => this.lent.poison(),
            Poll::Ready(Ok(())) => {}
        }
        result
    }
}

impl AsyncWrite for Pooled {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = this.inner().poll_write(context, bytes);
        this.wrote(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = this.inner().poll_write_vectored(context, slices);
        this.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        (**self).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = this.inner().poll_flush(context);
        if let Poll::Ready(Err(_)) = result {
            this.lent.poison();
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.lent.poison();
        this.inner().poll_shutdown(context)
    }
}
