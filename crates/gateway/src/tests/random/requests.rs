//! The clients of plain requests in a random run: each gets its whole answer once, or is told that there is none.

use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::oneshot;

use super::Crowd;
use crate::commands::Command;
use crate::exchange::{
    AnswerPiece, Answered, AppRequest, ExchangeOrder, Failure, Further, RequestContent,
};
use crate::ids::ListenerId;
use crate::tests::process::{ENDLESS, HEAD};
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::Peer;

/// Requests at once.
const MOST: usize = 30;
/// The listener that they come to.
const WEB: ListenerId = ListenerId(6);
/// Rounds in which all that is asked is answered, in the end.
const ROUNDS: usize = 200;

/// The requests that have no whole answer yet.
#[derive(Debug, Default)]
pub(super) struct Asking {
    open: Vec<Asker>,
    /// How many there were.
    count: u64,
    /// … and how many whole answers.
    whole: u64,
    /// Processes have died or failed, so some requests may fail.
    pub(super) may_fail: bool,
}

/// The client of one.
#[derive(Debug)]
struct Asker {
    number: u64,
    sent: Vec<u8>,
    length: Option<u64>,
    received: Vec<u8>,
    /// Pieces that it has not taken, as hyper keeps them.
    pieces: VecDeque<AnswerPiece>,
    waits: Waits,
}

#[derive(Debug)]
enum Waits {
    ForHead(oneshot::Receiver<Answered>),
    ForBody(UnboundedReceiver<Further>),
    /// For nothing more: all has come.
    Whole,
    Failed(Option<Failure>),
}

impl Crowd {
    /// One of those who ask does something, or a process answers.
    pub(super) fn step_requests(&mut self) {
        match self.rng.u32(0..10) {
            0..3 => self.ask(),
            3..6 => self.answer_some(),
            6..9 => self.read_answer(),
            _ => self.leave_answer(),
        }
    }

    /// Some request that is not over. None without any.
    pub(super) fn some_request(&mut self) -> Option<u64> {
        let count = self.asking.open.len();
        let at = (count > 0).then(|| self.rng.usize(0..count * 2))?;
        self.asking.open.get(at).map(|it| it.number)
    }

    fn ask(&mut self) {
        if self.asking.open.len() >= MOST || self.is_stopping {
            return;
        }
        let size = match self.rng.u32(0..20) {
            0 => self.rng.usize(10_000..400_000),
            1..5 => self.rng.usize(1000..10_000),
            _ => self.rng.usize(0..300),
        };
        let mut sent: Vec<u8> = (0..=size).map(|at| (at % 251) as u8).collect();
        sent[0] = [HEAD, ENDLESS, b'L', b'L'][self.rng.usize(0..4)];
        let shared = &self.script.gateway.tools.cx.shared;
        let held = shared
            .http_memory
            .try_hold(sent.len(), shared.held_by_loops());
        let Some(held) = held else { return };
        let number = shared.next_request();
        let (answer, answered) = oneshot::channel();
        let request = AppRequest {
            number,
            listener: WEB,
            peer: Peer::Unix,
            is_head: sent[0] == HEAD,
            content: RequestContent {
                payload: sent.clone().into(),
                _held: held,
            },
            answer,
        };
        self.asking.count += 1;
        self.asking.open.push(Asker {
            number,
            sent,
            length: None,
            received: Vec::new(),
            pieces: VecDeque::new(),
            waits: Waits::ForHead(answered),
        });
        let order = ExchangeOrder::Ask(Box::new(request));
        self.script.command(Command::Exchange(order));
    }

    /// A process answers some of what it was asked.
    fn answer_some(&mut self) {
        let Some(at) = self.process() else { return };
        let process = &mut self.script.processes[at];
        let numbers: Vec<u64> = process.requests.keys().copied().collect();
        for number in numbers {
            let most = self.rng.usize(1..20_000);
            match self.rng.u32(0..40) {
                0 => self.asking.may_fail |= process.fail(number),
                1..20 => drop(process.answer_some(number, most)),
                _ => {}
            }
        }
    }

    fn read_answer(&mut self) {
        let count = self.asking.open.len();
        if count > 0 {
            let at = self.rng.usize(0..count);
            let pieces = self.rng.usize(0..4);
            self.read_from(at, pieces);
        }
    }

    /// The client in this place reads, and takes this many pieces.
    fn read_from(&mut self, at: usize, pieces: usize) {
        let asker = &mut self.asking.open[at];
        asker.read();
        let taken = asker.take(pieces);
        let number = asker.number;
        if taken > 0 && matches!(asker.waits, Waits::ForBody(_)) {
            let order = ExchangeOrder::Taken {
                number,
                bytes: taken,
            };
            self.script.command(Command::Exchange(order));
        }
        let asker = &self.asking.open[at];
        if asker.is_over() {
            let is_whole = matches!(asker.waits, Waits::Whole);
            asker.check(self.is_hostile);
            if let Waits::Failed(failure) = asker.waits {
                self.check_failure(failure);
            }
            self.asking.open.swap_remove(at);
            self.asking.whole += u64::from(is_whole);
            if !is_whole {
                // One that was broken off.
                self.say_left(number);
            }
        }
    }

    fn check_failure(&self, failure: Option<Failure>) {
        let is_limited = self.script.config.engine.memory_limit.is_some();
        let may_be = match failure {
            Some(Failure::Busy) => true,
            Some(Failure::Memory) => is_limited,
            Some(Failure::Hook | Failure::Died) | None => {
                is_limited || self.is_hostile || self.asking.may_fail
            }
        };
        assert!(may_be, "a request has failed: {failure:?}");
    }

    fn leave_answer(&mut self) {
        let count = self.asking.open.len();
        if count > 0 {
            let at = self.rng.usize(0..count);
            let asker = self.asking.open.swap_remove(at);
            asker.check(self.is_hostile);
            self.say_left(asker.number);
        }
    }

    fn say_left(&mut self, number: u64) {
        self.script
            .command(Command::Exchange(ExchangeOrder::Left(number)));
    }

    /// All that was asked is answered, and nothing of it is held any more.
    pub(super) fn end_requests(&mut self) {
        for _ in 0..ROUNDS {
            for at in (0..self.asking.open.len()).rev() {
                self.read_from(at, usize::MAX);
            }
            if self.asking.open.is_empty() && self.script.gateway.exchanges.len() == 0 {
                break;
            }
            self.script.settle(&mut self.clients);
            self.hear_reports();
        }
        assert!(
            self.asking.open.is_empty(),
            "requests that nobody answers: {:?}",
            self.asking.open
        );
        assert_eq!(self.script.gateway.exchanges.len(), 0, "requests are left");
        let http = &self.script.gateway.tools.cx.shared.http_memory;
        assert_eq!(http.bytes(), 0, "bytes of requests are left");
        let ends = [
            LoopCounter::RequestsAnswered,
            LoopCounter::RequestsFailed,
            LoopCounter::RequestsRefused,
            LoopCounter::RequestsLeft,
        ];
        let ends = ends.map(|counter| self.script.count(counter));
        assert_eq!(
            ends.iter().sum::<u64>(),
            self.asking.count,
            "requests that ended: {ends:?}"
        );
    }
}

impl Display for Asking {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { count, whole, .. } = self;
        write!(f, "{count} requests, {whole} whole answers")
    }
}

impl Asker {
    /// Hears what has come.
    fn read(&mut self) {
        loop {
            let further = match &mut self.waits {
                Waits::ForHead(answered) => match answered.try_recv() {
                    Ok(answered) => {
                        self.hear(answered);
                        continue;
                    }
                    Err(oneshot::error::TryRecvError::Empty) => return,
                    Err(oneshot::error::TryRecvError::Closed) => {
                        panic!("request {} was dropped without a word", self.number)
                    }
                },
                Waits::ForBody(rest) => rest.try_recv(),
                Waits::Whole | Waits::Failed(_) => return,
            };
            match further {
                Ok(Further::Piece(piece)) => self.pieces.push_back(piece),
                Ok(Further::End) => self.waits = Waits::Whole,
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.waits = Waits::Failed(None),
            }
        }
    }

    fn hear(&mut self, answered: Answered) {
        let (head, first, rest) = match answered {
            Answered::Head { head, first, rest } => (head, first, rest),
            Answered::Failed(failure) => {
                self.waits = Waits::Failed(Some(failure));
                return;
            }
        };
        self.length = head.length;
        self.pieces.push_back(first);
        self.waits = rest.map_or(Waits::Whole, Waits::ForBody);
    }

    /// Takes this many pieces. Returns their bytes, as the window counts them.
    fn take(&mut self, pieces: usize) -> usize {
        let pieces = pieces.min(self.pieces.len());
        let taken = self.pieces.drain(..pieces).map(|piece| {
            self.received.extend_from_slice(&piece.bytes);
            piece.counted
        });
        taken.sum()
    }

    fn is_over(&self) -> bool {
        let has_all = matches!(self.waits, Waits::Whole | Waits::Failed(_));
        has_all && self.pieces.is_empty()
    }

    /// What came is what was sent, as far as it came.
    fn check(&self, is_hostile: bool) {
        let is_whole = self.is_over() && matches!(self.waits, Waits::Whole);
        let is_head = self.sent[0] == HEAD;
        if is_head {
            assert!(
                self.received.is_empty(),
                "a body of an answer that has none"
            );
            return;
        }
        if let Some(length) = self.length {
            let has = self.received.len() as u64;
            assert!(has <= length && (has == length || !is_whole));
        }
        if !is_hostile {
            assert!(self.sent.starts_with(&self.received), "another answer");
            assert!(!is_whole || self.sent.len() == self.received.len());
        }
    }
}
