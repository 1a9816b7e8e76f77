//! The body of an answer that comes from the app, piece by piece.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::UnboundedReceiver;

use super::watched::Answering;
use crate::commands::{Command, Inbox};
use crate::exchange::{AnswerPiece, AppRequest, ExchangeOrder, Further};
use moorline_protocol::wire::exchange::ANSWER_WINDOW;

/// Bytes that are taken until the process is told, as the window counts them.
const TOLD_AT: usize = ANSWER_WINDOW / 4;

/// The claim to an answer. Dropping it tells the loop that nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Ticket {
    loops: Arc<[Inbox]>,
    number: u64,
    is_used_up: bool,
    /// Its connection is looked after.
    answering: Answering,
}

impl Ticket {
    pub(super) fn new(loops: Arc<[Inbox]>, number: u64, answering: Answering) -> Self {
        Self {
            loops,
            number,
            is_used_up: false,
            answering,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Gives a loop the request.
    pub(super) fn ask(&self, request: AppRequest) {
        let order = ExchangeOrder::Ask(Box::new(request));
        self.inbox().send_soon(Command::Exchange(order));
    }

    /// Tells the loop that has the request.
    fn send(&self, order: ExchangeOrder) {
        self.inbox().send(Command::Exchange(order));
    }

    /// The loops take turns.
    fn inbox(&self) -> &Inbox {
        let at = self.number % self.loops.len() as u64;
        &self.loops[at as usize]
    }

    /// All of the answer is here.
    pub(super) fn is_used_up(&mut self) {
        self.is_used_up = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_used_up {
            self.send(ExchangeOrder::Left(self.number));
        }
    }
}

/// The body. The process goes on as far as hyper takes it.
#[derive(Debug)]
pub(super) struct AppBody {
    ticket: Ticket,
    next: Option<AnswerPiece>,
    rest: Option<UnboundedReceiver<Further>>,
    /// What is to come, if the length is known.
    left: Option<u64>,
    /// The piece that hyper has.
    handed_over: Option<AnswerPiece>,
    /// Taken, and not told yet.
    taken: usize,
    /// The app has broken it off, and hyper has had a turn since.
    is_broken: bool,
}

impl AppBody {
    pub(super) fn new(
        mut ticket: Ticket,
        first: AnswerPiece,
        rest: Option<UnboundedReceiver<Further>>,
        length: Option<u64>,
    ) -> Self {
        if rest.is_none() {
            ticket.is_used_up();
        }
        let whole = first.bytes.len() as u64;
        Self {
            left: match rest {
                Some(_) => length,
                None => Some(whole),
            },
            ticket,
            next: Some(first),
            rest,
            handed_over: None,
            taken: 0,
            is_broken: false,
        }
    }

    /// hyper asks for more: it has written what it had, or keeps it among its own few bytes.
    fn note_taken(&mut self) {
        if let Some(piece) = self.handed_over.take() {
            self.taken += piece.counted;
        }
        if self.taken >= TOLD_AT && self.rest.is_some() {
            let (number, bytes) = (self.ticket.number(), std::mem::take(&mut self.taken));
            self.ticket.send(ExchangeOrder::Taken { number, bytes });
        }
    }

    /// The next piece that has bytes.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            self.note_taken();
            let piece = match (self.next.take(), &mut self.rest) {
                (Some(piece), _) => piece,
                (None, None) => return Poll::Ready(None),
                (None, Some(rest)) => match ready!(rest.poll_recv(cx)) {
                    Some(Further::Piece(piece)) => piece,
                    Some(Further::End) => {
                        self.end();
                        return Poll::Ready(None);
                    }
                    None => return self.poll_broken(cx),
                },
            };
            let bytes = piece.bytes.clone();
            self.handed_over = Some(piece);
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }

    /// An error makes hyper drop what it has not written: it gets a turn to write before that, and waits for a stream that
    /// does not take it yet.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if !std::mem::replace(&mut self.is_broken, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.ticket.answering.poll_unblocked(cx));
        let why = "the app broke the answer off";
        Poll::Ready(Some(Err(io::Error::other(why))))
    }

    fn end(&mut self) {
        self.ticket.is_used_up();
        self.rest = None;
    }
}

impl Body for AppBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(bytes) = ready!(self.poll_piece(cx)) else {
            return Poll::Ready(None);
        };
        let bytes = bytes?;
        if let Some(left) = &mut self.left {
            // The loop has checked it.
            *left = left.saturating_sub(bytes.len() as u64);
            if *left == 0 {
                // The process says so too, but hyper does not ask again.
                self.end();
            }
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
