//! Requests over HTTP to the app of a scripted engine: plain ones, and those that ask for sessions.

use std::collections::VecDeque;

use super::{Gateway, LISTENER, Scripted, encoded, header_of, unix_ms};
use crate::app::Peer;
use crate::clock;
use crate::wire::accept::{Acceptance, Asking, HttpAnswer, Verdict};
use crate::wire::exchange::{AnswerHead, PIECE_OVERHEAD, split_answer_head, write_request};
use crate::wire::{FAILED, FromProcess, LAST, ToProcess};
use moorline_ipc::Header;

/// A plain request, as its client sees it.
pub(in crate::testing) struct ScriptedExchange {
    /// The generation that has it.
    process: u32,
    pub(in crate::testing) head: Option<AnswerHead>,
    pieces: VecDeque<Vec<u8>>,
    /// It has ended, and with all of its body.
    pub(in crate::testing) end: Option<AnswerEnd>,
}

/// How an answer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::testing) enum AnswerEnd {
    Whole,
    BrokenOff,
}

/// What came of a request for a session.
pub(in crate::testing) enum SessionAnswer {
    /// It is open, and these fields were in the answer.
    Session(u64, Acceptance),
    Refused(HttpAnswer),
}

impl Gateway {
    /// A client sends a plain request.
    pub(in crate::testing) fn ask(&mut self, peer: Peer, head: Vec<u8>, body: &[u8]) -> u64 {
        self.last_exchange += 1;
        let number = self.last_exchange;
        let mut payload = write_request(&asking(peer, head));
        payload.extend_from_slice(body);
        let exchange = ScriptedExchange {
            process: self.serving,
            head: None,
            pieces: VecDeque::new(),
            end: None,
        };
        self.exchanges.insert(number, exchange);
        let header = Header {
            time: clock::now(),
            ..header_of(ToProcess::Request, number)
        };
        self.give(self.serving, header, payload);
        number
    }

    /// A client asks for a session.
    pub(in crate::testing) fn ask_for_session(&mut self, peer: &Peer, head: Vec<u8>) -> u64 {
        self.last_session += 1;
        let id = self.last_session;
        let payload = encoded(&asking(peer.clone(), head));
        self.tell_with(ToProcess::Accept, id, payload);
        id
    }

    /// What the app has said to the request for this session. If it has accepted, the session is open.
    pub(in crate::testing) fn verdict(&mut self, id: u64, peer: &Peer) -> Option<SessionAnswer> {
        let acceptance = match self.verdicts.remove(&id)? {
            Verdict::Accept(acceptance) => *acceptance,
            Verdict::Rules => Acceptance::default(),
            Verdict::Refuse(answer) => return Some(SessionAnswer::Refused(*answer)),
            Verdict::Failed => return Some(SessionAnswer::Refused(failed(503))),
        };
        let mut session = Scripted::new(peer.clone());
        session.data = acceptance.data.clone();
        self.sessions.insert(id, session);
        self.open(id, false);
        Some(SessionAnswer::Session(id, acceptance))
    }

    /// The process has said something about a plain request, or one that asks for a session.
    pub(super) fn answered(&mut self, kind: FromProcess, header: &Header, payload: &[u8]) {
        let number = header.session;
        if kind == FromProcess::Accepted {
            if let Ok(verdict) = postcard::from_bytes(payload) {
                self.verdicts.insert(number, verdict);
            }
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(&number) else {
            return;
        };
        let is_failed = header.flags & FAILED != 0;
        let mut piece = payload;
        if kind == FromProcess::Respond {
            let (head, begins_at) = match split_answer_head(payload) {
                Some(head) if !is_failed => head,
                _ => (failed_head(500), payload.len()),
            };
            exchange.head = Some(head);
            piece = &payload[begins_at..];
        }
        if !piece.is_empty() {
            exchange.pieces.push_back(piece.to_vec());
        }
        if header.flags & LAST != 0 {
            let is_broken = is_failed && kind == FromProcess::Body;
            exchange.end = Some(if is_broken {
                AnswerEnd::BrokenOff
            } else {
                AnswerEnd::Whole
            });
        } else if kind == FromProcess::Respond {
            let taken = begin_bytes(payload.len() - piece.len(), piece);
            self.taken(number, taken);
        }
    }

    /// The next piece of an answer's body.
    pub(in crate::testing) fn piece(&mut self, number: u64) -> Option<Vec<u8>> {
        let piece = self.exchanges.get_mut(&number)?.pieces.pop_front()?;
        self.taken(number, piece.len() + PIECE_OVERHEAD);
        Some(piece)
    }

    /// The client of a plain request leaves, or has all of the answer.
    pub(in crate::testing) fn leave(&mut self, number: u64) {
        if let Some(exchange) = self.exchanges.remove(&number)
            && exchange.end.is_none()
        {
            let header = header_of(ToProcess::RequestGone, number);
            self.give(exchange.process, header, Vec::new());
        }
    }

    /// This generation has died.
    pub(in crate::testing) fn break_off(&mut self, process: u32) {
        let open = self.exchanges.values_mut().filter(|it| it.end.is_none());
        for exchange in open.filter(|it| it.process == process) {
            exchange.end = Some(match exchange.head {
                Some(_) => AnswerEnd::BrokenOff,
                None => AnswerEnd::Whole,
            });
            exchange.head.get_or_insert_with(|| failed_head(502));
        }
    }

    /// Whether a plain request is not answered to its end.
    pub(super) fn has_open_exchanges(&self) -> bool {
        self.exchanges.values().any(|it| it.end.is_none())
    }

    fn taken(&mut self, number: u64, bytes: usize) {
        if let Some(exchange) = self.exchanges.get(&number) {
            let header = Header {
                sequence: bytes as u64,
                ..header_of(ToProcess::BodyTaken, number)
            };
            self.give(exchange.process, header, Vec::new());
        }
    }

    fn tell_with(&mut self, kind: ToProcess, id: u64, payload: Vec<u8>) {
        self.give(self.serving, header_of(kind, id), payload);
    }
}

/// What the head of an answer takes of the window, whose first piece is counted when it is taken.
fn begin_bytes(head: usize, first: &[u8]) -> usize {
    match first {
        [] => head + PIECE_OVERHEAD,
        _ => head,
    }
}

fn asking(peer: Peer, head: Vec<u8>) -> Asking {
    Asking {
        listener: LISTENER,
        peer,
        connected_at: unix_ms(),
        tls: None,
        head,
    }
}

fn failed(status: u16) -> HttpAnswer {
    HttpAnswer {
        status,
        ..HttpAnswer::default()
    }
}

fn failed_head(status: u16) -> AnswerHead {
    AnswerHead {
        status,
        ..AnswerHead::default()
    }
}
