//! A stream to a peer, and how it came about.

mod kernel_copy;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::liveness::{self, Liveness};
use crate::timeline::Timeline;
#[cfg(feature = "tls")]
use crate::tls::TlsSession;
use crate::tls::{self, TlsStream};

/// A stream to a peer, and the timeline of its dial. Dropping it closes it.
///
/// Over TLS a read may fail with a [`TlsError`](tls::TlsError) as the error's source: in TLS 1.3 that is how a
/// server refuses this side's certificate.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    timeline: Timeline,
    reused: bool,
}

/// What carries the bytes.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub(crate) fn new(stream: Stream, timeline: Timeline) -> Self {
        Self {
            stream,
            timeline,
            reused: false,
        }
    }

    /// What the dial did.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Whether it was taken from a pool, where an earlier user had left it.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// The peer's address; `None` for a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok()
    }

    /// This side's address; `None` for a Unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    /// What the TLS handshake has agreed on, and the server's identity. `None` without TLS.
    ///
    /// Copies and reads the certificate: call it where somebody wants to know, not for each connection.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<TlsSession> {
        match &self.stream {
            Stream::Tls(stream) => TlsSession::of(stream.get_ref().1),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    /// Whether the TLS handshake has chosen HTTP/2.
    #[cfg(feature = "hyper")]
    pub(crate) fn speaks_http2(&self) -> bool {
        match &self.stream {
            Stream::Tls(stream) => tls::protocol(stream.get_ref().1) == Some(b"h2"),
            Stream::Tcp(_) | Stream::Unix(_) => false,
        }
    }

    /// Whether it is alive, by a look that does not wait and takes away nothing that could be read.
    #[cfg(feature = "pool")]
    pub(crate) fn liveness(&mut self) -> Liveness {
        match &mut self.stream {
            Stream::Tcp(stream) => liveness::of_socket(stream.as_fd()),
            Stream::Unix(stream) => liveness::of_socket(stream.as_fd()),
            Stream::Tls(stream) => {
                let (socket, session) = stream.get_mut();
                tls::look(socket.as_fd(), session)
            }
        }
    }

    /// Ready when something has come, or the end, or an error. Never ready with [`Liveness::Quiet`].
    pub(crate) fn poll_liveness(&mut self, cx: &mut Context<'_>) -> Poll<Liveness> {
        loop {
            let readable = match &self.stream {
                Stream::Tcp(stream) => stream.poll_read_ready(cx),
                Stream::Unix(stream) => stream.poll_read_ready(cx),
                Stream::Tls(stream) => stream.get_ref().0.poll_read_ready(cx),
            };
            if let Err(error) = ready!(readable) {
                return Poll::Ready(Liveness::Dead(Some(error)));
            }
            // The readable bytes may have been read. The runtime must know, or it would not wake anyone.
            let looked = match &mut self.stream {
                Stream::Tcp(stream) => stream.try_io(Interest::READABLE, || {
                    or_would_block(liveness::of_socket(stream.as_fd()))
                }),
                Stream::Unix(stream) => stream.try_io(Interest::READABLE, || {
                    or_would_block(liveness::of_socket(stream.as_fd()))
                }),
                Stream::Tls(stream) => {
                    let (socket, session) = stream.get_mut();
                    socket.try_io(Interest::READABLE, || {
                        or_would_block(tls::look(socket.as_fd(), session))
                    })
                }
            };
            if let Ok(liveness) = looked {
                return Poll::Ready(liveness);
            }
        }
    }

    /// The error that the system has found, whether or not there are bytes to read. It is reported once.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        let mut look = [PollFd::new(self, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut look, Some(&now))?;
        // The system also reports errors of single packets on a connection that stays open, such as a router's message
        // that a network was unreachable for a moment (RFC 1122 §4.2.3.9).
        if !look[0]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP)
        {
            return Ok(());
        }
        Ok(rustix::net::sockopt::socket_error(self)??)
    }

    /// The stream itself.
    #[cfg(feature = "blocking")]
    pub(crate) fn into_stream(self) -> (Stream, Timeline) {
        (self.stream, self.timeline)
    }

    /// Says that an earlier user had left it in a pool.
    #[cfg(feature = "pool")]
    pub(crate) fn mark_reused(&mut self) {
        self.reused = true;
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match &self.stream {
            Stream::Tcp(stream) => Some(stream),
            Stream::Tls(stream) => Some(stream.get_ref().0),
            Stream::Unix(_) => None,
        }
    }
}

/// The error by which the runtime learns that nothing has come.
fn or_would_block(liveness: Liveness) -> io::Result<Liveness> {
    match liveness {
        Liveness::Quiet => Err(io::ErrorKind::WouldBlock.into()),
        other => Ok(other),
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }
}

impl AsyncRead for Connection {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => {
                let read = Pin::new(stream).poll_read(context, buffer);
                read.map_err(tls::typed)
            }
        }
    }
}

impl AsyncWrite for Connection {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
