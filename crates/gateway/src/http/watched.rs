//! The stream under an HTTP connection, watched for a peer that takes nothing of what it asked for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How far a connection has got. hyper wants its streams to be `Send`, hence the atomics; one thread has it all.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// A whole head of a request has come.
    pub(super) asked: AtomicBool,
    /// It has become a WebSocket.
    pub(super) upgraded: AtomicBool,
    /// Bytes that were taken.
    written: AtomicU64,
    /// The stream takes no more for now.
    is_blocked: AtomicBool,
}

impl Progress {
    /// Waits until the peer has taken nothing for this long, although there was something for it.
    pub(super) async fn stalled(&self, timeout: Duration) {
        let mut before = None;
        loop {
            tokio::time::sleep(timeout).await;
            let is_blocked = self.is_blocked.load(Ordering::Relaxed);
            let now = is_blocked.then(|| self.written.load(Ordering::Relaxed));
            if now.is_some() && now == before {
                return;
            }
            before = now;
        }
    }

    fn note<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.is_blocked.store(poll.is_pending(), Ordering::Relaxed);
        poll
    }
}

/// A stream whose writing is watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    progress: Arc<Progress>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.count(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.progress.note(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.progress.note(poll)
    }
}

impl<S> Watched<S> {
    fn count(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &poll {
            self.progress
                .written
                .fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        self.progress.note(poll)
    }
}
