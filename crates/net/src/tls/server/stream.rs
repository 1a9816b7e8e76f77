//! The server's side of TLS around a stream of tokio's, for protocols that want one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::records::{MAX_PLAINTEXT, TlsRecords};
use super::super::records_error::RecordsError;
use super::config::ServerTls;

/// The size of one read from the stream.
const READ: usize = 16 * 1024 + 512;
/// Encrypted bytes that may wait for the stream; past it writing waits.
const UNSENT: usize = 64 * 1024;

/// A stream that speaks TLS as a server. Dropping it closes the stream without a word.
///
/// Its parts can be taken out at any time, so that one protocol can follow another on the connection.
#[derive(Debug)]
pub struct ServerStream<S> {
    stream: S,
    records: Box<TlsRecords>,
    received: Vec<u8>,
    plaintext: Vec<u8>,
    taken: usize,
    unsent: Vec<u8>,
    sent: usize,
    has_ended: bool,
    has_closed: bool,
}

/// The parts of a [`ServerStream`].
#[derive(Debug)]
#[non_exhaustive]
pub struct StreamParts<S> {
    /// The stream underneath.
    pub stream: S,
    /// Its TLS.
    pub records: Box<TlsRecords>,
    /// Plaintext that was received and not read.
    pub received: Vec<u8>,
    /// Encrypted bytes that must be sent before anything else.
    pub unsent: Vec<u8>,
}

impl<S> StreamParts<S> {
    /// A connection of which nothing waits to be read or sent.
    pub fn new(stream: S, records: Box<TlsRecords>) -> Self {
        Self {
            stream,
            records,
            received: Vec::new(),
            unsent: Vec::new(),
        }
    }
}

impl<S> ServerStream<S> {
    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerStream<S> {
    /// Goes on with a connection whose handshake is over.
    pub fn from_parts(parts: StreamParts<S>) -> Self {
        Self {
            has_ended: parts.records.is_over(),
            stream: parts.stream,
            records: parts.records,
            received: Vec::new(),
            plaintext: parts.received,
            taken: 0,
            unsent: parts.unsent,
            sent: 0,
            has_closed: false,
        }
    }

    /// Shakes hands. Dropping the future closes the stream.
    ///
    /// # Errors
    /// The stream broke, or, as [`RecordsError`] inside, the handshake failed; the peer was told why.
    pub async fn accept(stream: S, tls: &ServerTls) -> io::Result<Self> {
        let records = TlsRecords::server(tls).map_err(io::Error::other)?;
        let mut this = Self::from_parts(StreamParts::new(stream, Box::new(records)));
        std::future::poll_fn(|cx| this.poll_handshake(cx)).await?;
        Ok(this)
    }

    /// Its TLS.
    pub fn records(&self) -> &TlsRecords {
        &self.records
    }

    /// Takes it apart.
    pub fn into_parts(mut self) -> StreamParts<S> {
        StreamParts {
            stream: self.stream,
            records: self.records,
            received: self.plaintext.split_off(self.taken),
            unsent: self.unsent.split_off(self.sent),
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.records.is_handshaking() {
            // Its answers first: the peer may wait for them.
            ready!(self.poll_send(cx))?;
            if let Err(error) = ready!(self.poll_receive(cx)) {
                // The peer gets the reason, if it can be sent at once.
                let _ = self.poll_send(cx);
                return Poll::Ready(Err(error));
            }
            if self.has_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and opens what came.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.received
            .resize(READ.max(self.records.unfinished() + READ / 2), 0);
        let Some(before) = self.records.lend(&mut self.received) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };
        let mut buffer = ReadBuf::new(&mut self.received[before..]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        if count == 0 {
            self.has_ended = true;
            return Poll::Ready(Ok(()));
        }
        self.plaintext.resize(before + count, 0);
        self.taken = 0;
        let opened = self.records.open(
            &mut self.received[..before + count],
            &mut self.plaintext,
            &mut self.unsent,
        );
        match opened {
            Ok(opened) => {
                self.plaintext.truncate(opened.plaintext);
                self.has_ended = opened.is_over;
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.plaintext.clear();
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    /// Sends all that is encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let unsent = &self.unsent[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServerStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let waiting = &this.plaintext[this.taken..];
            if !waiting.is_empty() {
                let count = waiting.len().min(buffer.remaining());
                buffer.put_slice(&waiting[..count]);
                this.taken += count;
                return Poll::Ready(Ok(()));
            }
            if this.has_ended {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_receive(cx))?;
            // Tickets and key updates; reading does not wait for the peer to take them.
            let _ = this.poll_send(cx)?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServerStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.unsent.len() - this.sent >= UNSENT {
            ready!(this.poll_send(cx))?;
        }
        let count = bytes.len().min(MAX_PLAINTEXT);
        let sealed = this.records.seal(&bytes[..count], &mut this.unsent);
        sealed.map_err(|error: RecordsError| io::Error::other(error))?;
        let _ = this.poll_send(cx)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.has_closed {
            this.has_closed = true;
            this.records.close(&mut this.unsent);
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
