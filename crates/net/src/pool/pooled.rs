//! A connection that is lent.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::core::Age;
use super::key::PoolKey;
use super::options::Unanswered;
use crate::connection::Connection;

/// A connection that is lent. Dropping it gives it back, from any thread and without blocking.
///
/// It is closed instead if it is [poisoned](Self::poison), if reading or writing failed, ended or was shut down, if the
/// thread panics, or if an answer seems to be under way ([`Unanswered`]). That last judgment knows no protocol: who
/// stops in the middle of an answer for a reason of their own poisons it.
#[derive(Debug)]
pub struct Pooled {
    permit: Option<Permit>,
    /// Taken in `drop` and `into_connection` alone.
    connection: Option<Connection>,
    age: Age,
    /// Written to or waited on since the last byte was read.
    unanswered: bool,
    poisoned: bool,
}

/// A connection as it is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) connection: Connection,
    pub(super) age: Age,
}

impl Pooled {
    pub(super) fn fresh(permit: Permit, connection: Connection) -> Self {
        // The peer's clocks cannot have started before the dial.
        let born = connection.timeline().started();
        let age = Age { born, used: born };
        Self::new(permit, Kept { connection, age })
    }

    pub(super) fn reused(permit: Permit, kept: Kept) -> Self {
        Self::new(permit, kept)
    }

    fn new(permit: Permit, Kept { connection, age }: Kept) -> Self {
        Self {
            permit: Some(permit),
            connection: Some(connection),
            age,
            unanswered: false,
            poisoned: false,
        }
    }

    /// It is not to be lent again: dropping it closes it.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Takes the connection out of the pool, whose caps no longer count it.
    pub fn into_connection(mut self) -> Connection {
        self.take()
    }

    fn take(&mut self) -> Connection {
        self.connection
            .take()
            .expect("it is taken only by what consumes `self`")
    }

    fn inner(&mut self) -> Pin<&mut Connection> {
        Pin::new(
            self.connection
                .as_mut()
                .expect("it is taken only by what consumes `self`"),
        )
    }

    /// Notes what a write did.
    fn wrote(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(0)) | Poll::Pending => {}
            Poll::Ready(Ok(_)) => {
                self.age.used = super::now();
                self.unanswered = true;
            }
            Poll::Ready(Err(_)) => self.poisoned = true,
        }
        result
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let (Some(permit), Some(connection)) = (self.permit.take(), self.connection.take()) else {
            return;
        };
        let Some(shared) = permit.pool.upgrade() else {
            return;
        };
        let refused = self.poisoned
            || std::thread::panicking()
            || self.unanswered && shared.options.unanswered == Unanswered::Close;
        if refused {
            shared.counts.dropped.add();
            // Before its permit is free, so that the cap holds for descriptors, too.
            drop(connection);
            drop(permit);
            return;
        }
        let age = self.age;
        shared.give_back(permit.into_key(), Some(Kept { connection, age }));
    }
}

impl Deref for Pooled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("it is taken only by what consumes `self`")
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
            Poll::Pending => this.unanswered = true,
            Poll::Ready(Err(_)) => this.poisoned = true,
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.age.used = super::now();
                this.unanswered = false;
            }
            // The peer's end of the stream.
            Poll::Ready(Ok(())) => this.poisoned |= wanted > 0,
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
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = this.inner().poll_write_vectored(context, slices);
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        (**self).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = this.inner().poll_flush(context);
        this.poisoned |= matches!(result, Poll::Ready(Err(_)));
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poisoned = true;
        this.inner().poll_shutdown(context)
    }
}

/// A place among the connections that a pool may open. Dropping it makes it free.
#[derive(Debug)]
pub(super) struct Permit {
    pool: Weak<Shared>,
    /// `None` once it is somebody else's.
    key: Option<PoolKey>,
}

impl Permit {
    pub(super) fn new(shared: &Arc<Shared>, key: PoolKey) -> Self {
        Self::of(Arc::downgrade(shared), key)
    }

    pub(super) fn of(pool: Weak<Shared>, key: PoolKey) -> Self {
        Self {
            pool,
            key: Some(key),
        }
    }

    pub(super) fn key(&self) -> &PoolKey {
        self.key.as_ref().expect("it is taken by `into_key` alone")
    }

    /// The key; somebody else makes the permit free.
    pub(super) fn into_key(mut self) -> PoolKey {
        self.key.take().expect("it is taken here alone")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(key) = self.key.take()
            && let Some(shared) = self.pool.upgrade()
        {
            shared.give_back(key, None);
        }
    }
}
