//! The stream under an HTTP connection, watched for a peer that takes nothing of what it asked for.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use moorline_net::tls::server::ServerStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How often a connection whose request an app answers is looked at, whether its client is still there. hyper does not
/// read meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// How far a connection has got.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// A whole head of a request has come.
    pub(super) asked: Cell<bool>,
    /// The head of a request for a WebSocket session: the connection leaves HTTP with it.
    head: RefCell<Option<Vec<u8>>>,
    leaves: Notify,
    /// Bytes that were taken.
    written: Cell<u64>,
    /// The stream takes no more for now.
    is_blocked: Cell<bool>,
    /// The task that waits until it takes more.
    waits: RefCell<Option<Waker>>,
    /// Answers of apps in progress.
    answers: Cell<usize>,
    begins: Notify,
    /// hyper's next turn is to look whether the client is still there.
    is_to_look: Cell<bool>,
    has_left: Cell<bool>,
}

/// The answer of an app, as long as it is in progress.
#[derive(Debug)]
pub(super) struct Answering(Rc<Progress>);

impl Answering {
    /// Waits until the stream has taken what hyper had for it.
    pub(super) fn poll_unblocked(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.0.is_blocked.get() {
            return Poll::Ready(());
        }
        self.0.waits.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answers.set(self.0.answers.get() - 1);
    }
}

impl Progress {
    /// Waits until the peer has taken nothing for this long, although there was something for it.
    pub(super) async fn stalled(&self, timeout: Duration) {
        let mut before = None;
        loop {
            tokio::time::sleep(timeout).await;
            let now = self.is_blocked.get().then(|| self.written.get());
            if now.is_some() && now == before {
                return;
            }
            before = now;
        }
    }

    /// An app answers a request, until the result is dropped.
    pub(super) fn answering(self: &Rc<Self>) -> Answering {
        self.answers.set(self.answers.get() + 1);
        self.begins.notify_one();
        Answering(self.clone())
    }

    /// Waits until the client of an answer in progress has been gone for a while: it has closed its side, or more.
    pub(super) async fn left(&self) {
        while !self.has_left.get() {
            if self.answers.get() == 0 {
                self.begins.notified().await;
            }
            tokio::time::sleep(LOOK).await;
            self.is_to_look.set(self.answers.get() > 0);
            // Then hyper has its turn.
            tokio::task::yield_now().await;
        }
    }

    /// Whether the peer has still to take something of an answer.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// The connection is to leave HTTP with this head of a request.
    pub(super) fn leave_with(&self, head: Vec<u8>) {
        *self.head.borrow_mut() = Some(head);
        self.leaves.notify_one();
    }

    /// Waits for the head with which the connection leaves HTTP.
    pub(super) async fn leaving(&self) -> Vec<u8> {
        loop {
            if let Some(head) = self.head.borrow_mut().take() {
                return head;
            }
            self.leaves.notified().await;
        }
    }

    fn note<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.is_blocked.set(poll.is_pending());
        if poll.is_ready()
            && let Some(waker) = self.waits.take()
        {
            waker.wake();
        }
        poll
    }
}

/// A stream whose writing is watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    /// Bytes that were received before, and come first.
    received: Vec<u8>,
    progress: Rc<Progress>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, received: Vec<u8>, progress: Rc<Progress>) -> Self {
        Self {
            stream,
            received,
            progress,
        }
    }

    /// The stream, and what was received before and not read.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.received)
    }
}

/// A stream that knows whether its peer still sends.
pub(super) trait Leaves {
    /// The peer has closed its side, or the connection is broken. What it has sent may not be read.
    fn has_left(&self) -> bool;
}

impl Leaves for TcpStream {
    fn has_left(&self) -> bool {
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut sockets = [PollFd::new(self, gone)];
        let looked = poll(&mut sockets, Some(&Timespec::default()));
        looked.is_ok() && sockets[0].revents().intersects(gone)
    }
}

impl Leaves for ServerStream<TcpStream> {
    fn has_left(&self) -> bool {
        self.get_ref().has_left()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.received.is_empty() {
            let count = self.received.len().min(buffer.remaining());
            buffer.put_slice(&self.received[..count]);
            self.received.drain(..count);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Leaves + Unpin> AsyncWrite for Watched<S> {
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
        // hyper calls it in each of its turns.
        if self.progress.is_to_look.take() && self.stream.has_left() {
            self.progress.has_left.set(true);
        }
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
            let written = &self.progress.written;
            written.set(written.get() + *bytes as u64);
        }
        self.progress.note(poll)
    }
}
