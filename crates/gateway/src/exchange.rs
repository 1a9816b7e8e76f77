//! A plain HTTP request on its way from the main thread to a process, and its answer on the way back.

use bytes::Bytes;
use moorline_protocol::wire::Peer;
use moorline_protocol::wire::exchange::AnswerHead;
use tokio::sync::{mpsc, oneshot};

use crate::ids::ListenerId;
use crate::shared::http_memory::Held;

/// What the main thread wants of a loop.
#[derive(Debug)]
pub(crate) enum ExchangeOrder {
    /// The app is to answer this.
    Ask(Box<AppRequest>),
    /// The client has taken some of the answer to the request of this number, as the window counts it.
    Taken { number: u64, bytes: usize },
    /// The client of this request has left.
    Left(u64),
}

/// A request for the app.
#[derive(Debug)]
pub(crate) struct AppRequest {
    /// No other request to this gateway has it.
    pub(crate) number: u64,
    pub(crate) listener: ListenerId,
    pub(crate) peer: Peer,
    /// It is a HEAD request: its answer has no body.
    pub(crate) is_head: bool,
    pub(crate) content: RequestContent,
    pub(crate) answer: oneshot::Sender<Answered>,
}

/// Head and body of a request, as the process gets them.
#[derive(Debug)]
pub(crate) struct RequestContent {
    pub(crate) payload: Bytes,
    /// Counts it.
    pub(crate) _held: Held,
}

/// What comes of a request.
#[derive(Debug)]
pub(crate) enum Answered {
    Head {
        head: AnswerHead,
        first: AnswerPiece,
        /// The further pieces, if some may follow.
        rest: Option<mpsc::UnboundedReceiver<Further>>,
    },
    Failed(Failure),
}

/// Why a request has no answer of the app's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The hook has failed.
    Hook,
    /// The process died while it worked on it.
    Died,
    /// Too many others wait, or no process came up to answer it.
    Busy,
    /// The memory limit is reached.
    Memory,
}

/// Some bytes of a body.
#[derive(Debug)]
pub(crate) struct AnswerPiece {
    pub(crate) bytes: Bytes,
    /// What it counts in the window.
    pub(crate) counted: usize,
    /// Counts them.
    pub(crate) _held: Held,
}

/// What follows the head of an answer. Nothing more comes if the answer is broken off.
#[derive(Debug)]
pub(crate) enum Further {
    Piece(AnswerPiece),
    End,
}
