//! TLS in a build without it: a connector that cannot be made, and types that have no value.
//!
//! So the rest of the crate is written once. The compiler removes the arms that handle these types.

use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::{HandshakeError, TlsError};
use super::options::TlsOptions;
use crate::liveness::Liveness;

#[derive(Debug, Clone)]
enum NeverTls {}

/// A connector that cannot be made.
#[derive(Debug, Clone)]
pub(crate) struct TlsConnector(NeverTls);

/// A session that no handshake makes.
#[derive(Debug)]
pub(crate) struct ClientConnection(NeverTls);

/// A stream that no handshake makes.
#[derive(Debug)]
pub(crate) struct TlsStream<IO> {
    never: NeverTls,
    socket: IO,
    session: ClientConnection,
}

impl TlsConnector {
    pub(crate) fn new(_: &TlsOptions) -> Result<Self, TlsError> {
        Err(TlsError::Options(
            "this program was built without TLS: enable the feature `tls` of moorline-net".into(),
        ))
    }

    pub(crate) async fn shake_hands<IO>(
        &self,
        _: &str,
        _: IO,
    ) -> Result<TlsStream<IO>, HandshakeError> {
        match self.0 {}
    }
}

impl TlsError {
    /// The TLS error that an error of a stream has as its source.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().cloned()
    }
}

pub(crate) fn typed(error: io::Error) -> io::Error {
    error
}

pub(crate) fn look(_: BorrowedFd<'_>, session: &mut ClientConnection) -> Liveness {
    match session.0 {}
}

#[cfg(feature = "hyper")]
pub(crate) fn protocol(session: &ClientConnection) -> Option<&'static [u8]> {
    match session.0 {}
}

impl<IO> TlsStream<IO> {
    pub(crate) fn get_ref(&self) -> (&IO, &ClientConnection) {
        (&self.socket, &self.session)
    }

    pub(crate) fn get_mut(&mut self) -> (&mut IO, &mut ClientConnection) {
        (&mut self.socket, &mut self.session)
    }
}

impl<IO: Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.never {}
    }
}

impl<IO: Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.never {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.never {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.never {}
    }
}

#[cfg(feature = "blocking")]
pub(crate) use blocking::BlockingStream;

#[cfg(feature = "blocking")]
mod blocking {
    use std::io::{self, Read, Write};

    use crate::tls::absent::{ClientConnection, TlsStream};

    impl<IO> TlsStream<IO> {
        pub(crate) fn into_inner(self) -> (IO, ClientConnection) {
            (self.socket, self.session)
        }
    }

    impl ClientConnection {
        pub(crate) fn send_close_notify(&mut self) {
            match self.0 {}
        }
    }

    /// A session over a socket, for one call.
    pub(crate) struct BlockingStream<'a>(&'a ClientConnection);

    impl<'a> BlockingStream<'a> {
        pub(crate) fn new<IO>(session: &'a mut ClientConnection, _: &mut IO) -> Self {
            Self(session)
        }
    }

    impl Read for BlockingStream<'_> {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            match self.0.0 {}
        }
    }

    impl Write for BlockingStream<'_> {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            match self.0.0 {}
        }

        fn flush(&mut self) -> io::Result<()> {
            match self.0.0 {}
        }
    }
}
