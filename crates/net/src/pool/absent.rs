//! Lent connections in a build without pools: types that have no value.
//!
//! So a client's link is written once. The compiler removes the arms that handle these types.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Connection;

#[derive(Debug)]
enum NeverLent {}

/// A loan that cannot exist.
#[derive(Debug)]
pub(crate) struct Lent<C> {
    never: NeverLent,
    connection: C,
}

/// A lent connection of a task.
#[derive(Debug)]
pub(crate) struct Pooled(Lent<Connection>);

impl<C> Lent<C> {
    pub(crate) fn asked(&mut self, _: u64) {}

    pub(crate) fn answered(&mut self) {}

    pub(crate) fn mark_answered(&mut self) {}
}

#[cfg(feature = "blocking")]
impl<C> Lent<C> {
    pub(crate) fn poison(&mut self) {}

    pub(crate) fn wrote(&mut self) {}

    pub(crate) fn read(&mut self) {}

    pub(crate) fn waits(&mut self) {}
}

impl Pooled {
    pub(crate) fn poison(&mut self) {}

    pub(crate) fn lent(&mut self) -> &mut Lent<Connection> {
        &mut self.0
    }

    pub(crate) fn wrote(&mut self, _: &Poll<io::Result<usize>>) {}

    pub(crate) fn into_connection(self) -> Connection {
        match self.0.never {}
    }
}

impl<C> Deref for Lent<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C> DerefMut for Lent<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}

impl Deref for Pooled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl AsyncRead for Pooled {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.never {}
    }
}

impl AsyncWrite for Pooled {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.never {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.never {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.never {}
    }
}
