//! Two streams joined both ways.
//!
//! What is read goes through one buffer that all relays of a thread share, and is kept only as far as the other
//! side does not take it. While some is kept, nothing more is read from that side: a slow reader slows its peer.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::later;
use crate::scratch;

/// After this many reads of one direction, other tasks of the loop have their turn.
const TURNS: usize = 16;

/// Two streams to be joined both ways.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use moorline_net::Relay;
/// use tokio::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:7000").await?;
/// let (client, _) = listener.accept().await?;
/// let server = TcpStream::connect("127.0.0.1:7001").await?;
/// // It ends when both sides have ended, or one breaks.
/// let end = Relay::new(client, server).run().await;
/// println!("{end:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Relay<A, B> {
    a: A,
    b: B,
    idle_timeout: Option<Duration>,
    /// From its first poll on, if there is a timeout.
    idle: Option<Idle>,
    ahead: Way,
    back: Way,
}

/// What a relay has done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Relayed {
    /// How many bytes of the first stream the second one took.
    pub ahead: u64,
    /// How many bytes of the second stream the first one took.
    pub back: u64,
    /// How it ended.
    pub end: RelayEnd,
}

/// How a relay ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayEnd {
    /// Both sides have ended their sending, and all of it was delivered.
    Finished,
    /// Nothing came from either side for too long.
    Idle,
    /// This side closed it, by a client's [`Sender`](crate::client::Sender).
    Closed,
    /// Reading from the first stream failed, or writing to it.
    First(io::Error),
    /// Reading from the second stream failed, or writing to it.
    Second(io::Error),
}

impl<A, B> Relay<A, B>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Joins two streams, once it is [run](Self::run).
    pub fn new(a: A, b: B) -> Self {
        Self {
            a,
            b,
            idle_timeout: None,
            idle: None,
            ahead: Way::default(),
            back: Way::default(),
        }
    }

    /// It ends when nothing comes from either side for this long. Without a value it waits for ever.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// The second stream gets these bytes first: bytes already read from the first one.
    #[must_use]
    pub fn with_unread(mut self, bytes: Bytes) -> Self {
        self.ahead.kept = bytes.into();
        self
    }

    /// Relays until both sides have ended, one is lost, or nothing comes for too long; then both are closed.
    ///
    /// If a side ends its sending, the other side gets a half-close and the first one goes on receiving. If one side is
    /// lost, its bytes are still delivered to the other as far as possible. Does not block. Dropping the future closes
    /// both at once; bytes that were read and not delivered are lost then.
    pub async fn run(mut self) -> Relayed {
        let end = poll_fn(|cx| self.poll(cx)).await;
        self.relayed(end)
    }

    /// Its counts, and how it ended.
    pub(crate) fn relayed(self, end: RelayEnd) -> Relayed {
        Relayed {
            ahead: self.ahead.bytes,
            back: self.back.bytes,
            end,
        }
    }

    /// Nothing more is relayed: bytes that were read are delivered, both sides get the end, and what they still send is
    /// discarded until they have ended too.
    pub(crate) fn begin_closing(&mut self) {
        self.ahead.begin_closing();
        self.back.begin_closing();
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let before = self.ahead.steps + self.back.steps;
        scratch::with(|scratch| {
            self.ahead.poll(&mut self.a, &mut self.b, scratch, cx);
            self.back.poll(&mut self.b, &mut self.a, scratch, cx);
        });
        if self.ahead.is_over() && self.back.is_over() {
            return Poll::Ready(self.end());
        }
        let Some(timeout) = self.idle_timeout else {
            return Poll::Pending;
        };
        let progress = self.ahead.steps + self.back.steps > before;
        let idle = self.idle.get_or_insert_with(|| Idle::new(timeout));
        ready!(idle.poll(progress, cx));
        Poll::Ready(RelayEnd::Idle)
    }

    /// The failure that came first, or none.
    fn end(&mut self) -> RelayEnd {
        let lost = |way: &mut Way| match std::mem::replace(&mut way.phase, RelayPhase::Ended) {
            RelayPhase::Failed(failure) => Some(failure),
            _ => None,
        };
        match (lost(&mut self.ahead), lost(&mut self.back)) {
            (Some(RelayFailure::Read(error)), _) | (None, Some(RelayFailure::Write(error))) => {
                RelayEnd::First(error)
            }
            (_, Some(RelayFailure::Read(error))) | (Some(RelayFailure::Write(error)), _) => {
                RelayEnd::Second(error)
            }
            (None, None) => RelayEnd::Finished,
        }
    }
}

/// One direction of a relay.
#[derive(Debug, Default)]
struct Way {
    phase: RelayPhase,
    /// Bytes that were read and not taken by the other side.
    kept: Vec<u8>,
    /// How much of that it has taken since.
    taken: usize,
    /// How many bytes were delivered.
    bytes: u64,
    /// How often anything moved.
    steps: u64,
    /// The other side may hold back what it has taken.
    dirty: bool,
}

/// Where a direction stands.
#[derive(Debug, Default)]
enum RelayPhase {
    /// It flows.
    #[default]
    Open,
    /// Its source has ended, with an error if there is one; kept bytes must still be delivered, and then the end.
    Ending(Option<io::Error>),
    /// It is being closed: the other side gets the end, and further bytes are discarded.
    Closing {
        /// The source has ended.
        source: RelaySource,
        /// The other side has everything, with the end.
        is_told: bool,
    },
    /// It has nothing more to do.
    Ended,
    /// It was lost.
    Failed(RelayFailure),
}

/// Reads the source of a direction that is being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RelaySource {
    Open,
    Ended,
}

/// Which side of a direction failed.
#[derive(Debug)]
enum RelayFailure {
    Read(io::Error),
    Write(io::Error),
}

impl Way {
    fn is_over(&self) -> bool {
        matches!(self.phase, RelayPhase::Ended | RelayPhase::Failed(_))
    }

    fn begin_closing(&mut self) {
        let source = match self.phase {
            RelayPhase::Open => RelaySource::Open,
            RelayPhase::Ending(_) => RelaySource::Ended,
            RelayPhase::Closing { .. } | RelayPhase::Ended | RelayPhase::Failed(_) => return,
        };
        self.phase = RelayPhase::Closing {
            source,
            is_told: false,
        };
    }

    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) {
        if self.is_over() {
            return;
        }
        if let Poll::Ready(Err(error)) = self.poll_flow(from, to, scratch, cx) {
            self.phase = RelayPhase::Failed(RelayFailure::Write(error));
            self.kept = Vec::new();
        }
    }

    /// Moves what can be moved. An error is the writing side's.
    fn poll_flow(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let RelayPhase::Closing { source, is_told } = self.phase {
            let source = match source {
                RelaySource::Open => discard(from, scratch, cx),
                RelaySource::Ended => RelaySource::Ended,
            };
            let is_told = is_told || self.poll_tell_end(to, cx)?.is_ready();
            self.phase = match (source, is_told) {
                (RelaySource::Ended, true) => RelayPhase::Ended,
                _ => RelayPhase::Closing { source, is_told },
            };
            return Poll::Pending;
        }
        for _ in 0..TURNS {
            ready!(self.poll_deliver_kept(to, cx))?;
            if let RelayPhase::Ending(error) = &mut self.phase {
                let told = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.phase = match (error.take(), told) {
                    (Some(error), _) => RelayPhase::Failed(RelayFailure::Read(error)),
                    // A side that has gone cannot be told.
                    (None, Err(told)) if told.kind() != io::ErrorKind::NotConnected => {
                        RelayPhase::Failed(RelayFailure::Write(told))
                    }
                    (None, _) => RelayPhase::Ended,
                };
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(scratch);
            let Poll::Ready(read) = Pin::new(&mut *from).poll_read(cx, &mut buffer) else {
                if self.dirty {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.dirty = false;
                }
                return Poll::Pending;
            };
            self.steps += 1;
            match read {
                Ok(()) if buffer.filled().is_empty() => self.phase = RelayPhase::Ending(None),
                Ok(()) => self.deliver(buffer.filled(), to, cx)?,
                Err(error) => self.phase = RelayPhase::Ending(Some(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Delivers the kept bytes, and then the end.
    fn poll_tell_end(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> io::Result<Poll<()>> {
        if self.poll_deliver_kept(to, cx)?.is_pending() {
            return Ok(Poll::Pending);
        }
        match Pin::new(to).poll_shutdown(cx) {
            Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::NotConnected => Err(error),
            told => Ok(told.map(drop)),
        }
    }

    /// Hands over the bytes just read, and keeps those that are not taken at once.
    fn deliver(
        &mut self,
        read: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let mut rest = read;
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(wrote)) => {
                    self.delivered(wrote);
                    rest = &rest[wrote..];
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.kept.extend_from_slice(rest);
                    break;
                }
            }
        }
        Ok(())
    }

    fn poll_deliver_kept(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.taken < self.kept.len() {
            let wrote = ready!(Pin::new(&mut *to).poll_write(cx, &self.kept[self.taken..]))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += wrote;
            self.delivered(wrote);
        }
        if self.taken > 0 {
            // An idle direction keeps no memory.
            self.kept = Vec::new();
            self.taken = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn delivered(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.steps += 1;
        self.dirty = true;
    }
}

/// Throws away what comes.
fn discard(
    from: &mut (impl AsyncRead + Unpin),
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> RelaySource {
    for _ in 0..TURNS {
        let mut buffer = ReadBuf::new(scratch);
        match Pin::new(&mut *from).poll_read(cx, &mut buffer) {
            Poll::Pending => return RelaySource::Open,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(Ok(()) | Err(_)) => return RelaySource::Ended,
        }
    }
    cx.waker().wake_by_ref();
    RelaySource::Open
}

/// Watches that something comes.
#[derive(Debug)]
struct Idle {
    timeout: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(timeout: Duration) -> Self {
        let last = Instant::now();
        Self {
            timeout,
            last,
            timer: Box::pin(sleep_until(due(last, timeout))),
        }
    }

    /// Ready when nothing came for too long.
    fn poll(&mut self, progress: bool, cx: &mut Context<'_>) -> Poll<()> {
        if progress {
            self.last = Instant::now();
        }
        // The timer is put off only when it fires: that is cheaper than with each byte.
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = due(self.last, self.timeout);
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

fn due(last: Instant, timeout: Duration) -> Instant {
    later(last.into_std(), timeout).into()
}

impl fmt::Display for RelayEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("both sides have ended"),
            Self::Idle => f.write_str("nothing came for too long"),
            Self::Closed => f.write_str("closed by us"),
            Self::First(error) => write!(f, "the first side: {error}"),
            Self::Second(error) => write!(f, "the second side: {error}"),
        }
    }
}
