//! Plain HTTP requests that the app answers.
//!
//! The main thread has read each of them, and waits for its answer. A loop gives it to a process, checks what that says,
//! and passes it on. A process ends each request that it was given, with the last record of an answer or with a failure;
//! also when the client has left. So an answer that nobody asked for is a lie.

use std::collections::VecDeque;

use moorline_ipc::Header;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::{mpsc, oneshot};

use crate::exchange::{Answered, AppRequest, ExchangeOrder, Failure, Further, RequestContent};
use crate::ids::{ListenerId, ProcessKey, SlotId};
use crate::processes::dispatch::home;
use crate::processes::process::{Process, Standing};
use crate::timers::Alarm;
use crate::tools::Tools;
use moorline_config::Dispatch;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::exchange::MOST_EXCHANGES;
use moorline_protocol::wire::{Peer, ToProcess};

/// Requests that may wait for a process. Further ones are refused.
pub(crate) const MOST_WAITING: usize = 2048;

/// The requests of one loop.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    pub(super) open: FxHashMap<u64, Exchange>,
    /// Those that no process has, and others that have ended since.
    waiting: VecDeque<u64>,
    /// A timer will check those that wait.
    is_timed: bool,
    /// The slot to begin with when the next process is chosen.
    turn: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Exchange {
    listener: ListenerId,
    peer: Peer,
    pub(super) is_head: bool,
    /// Kept until its answer begins: the process that has it may die before it takes it.
    pub(super) content: Option<RequestContent>,
    pub(super) client: Client,
    pub(super) process: Option<ProcessKey>,
    /// When it came, in nanoseconds of `CLOCK_MONOTONIC`.
    received: u64,
    /// Since when it has waited for a process, in the loop's milliseconds.
    since: u64,
    pub(super) answer: AnswerProgress,
}

/// How far its answer has come.
#[derive(Debug, Default)]
pub(super) struct AnswerProgress {
    pub(super) has_head: bool,
    /// What is to come of the body, if its length is known.
    pub(super) left: Option<u64>,
    /// Bytes that the client has not taken, as the window counts them.
    pub(super) under_way: usize,
}

/// The main thread's end of a request.
#[derive(Debug)]
pub(super) enum Client {
    WaitsForHead(oneshot::Sender<Answered>),
    WaitsForBody(mpsc::UnboundedSender<Further>),
    Gone,
}

/// How a request has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    Failed,
    ClientLeft,
}

impl Exchanges {
    /// Does what the main thread wants.
    pub(crate) fn obey(&mut self, order: ExchangeOrder, tools: &mut Tools) {
        match order {
            ExchangeOrder::Ask(request) => self.begin(*request, tools),
            ExchangeOrder::Taken { number, bytes } => self.taken(number, bytes, tools),
            ExchangeOrder::Left(number) => self.left(number, tools),
        }
    }

    /// A client asks.
    fn begin(&mut self, request: AppRequest, tools: &mut Tools) {
        let AppRequest {
            number,
            listener,
            peer,
            is_head,
            content,
            answer,
        } = request;
        if self.waiting.len() >= MOST_WAITING {
            self.drop_ended();
        }
        if self.waiting.len() >= MOST_WAITING {
            tools.cx.count(LoopCounter::RequestsRefused, 1);
            // The client may have left.
            let _ = answer.send(Answered::Failed(Failure::Busy));
            return;
        }
        let exchange = Exchange {
            listener,
            peer,
            is_head,
            content: Some(content),
            client: Client::WaitsForHead(answer),
            process: None,
            received: tools.cx.clock.ns,
            since: tools.cx.clock.ms,
            answer: AnswerProgress::default(),
        };
        self.open.insert(number, exchange);
        self.waiting.push_back(number);
        self.give(tools);
    }

    /// Gives processes the requests that wait, as many as they may have.
    pub(crate) fn give(&mut self, tools: &mut Tools) {
        while let Some(number) = self.waiting.front().copied() {
            let Some(exchange) = self.open.get(&number).filter(|it| it.process.is_none()) else {
                self.waiting.pop_front();
                continue;
            };
            let dispatch = tools.cx.listener(exchange.listener).dispatch;
            match choose(dispatch, &exchange.peer, &mut self.turn, tools) {
                Some(at) => self.give_one(number, at, tools),
                None if patience_ends(exchange, tools) <= tools.cx.clock.ms => {
                    tools.cx.count(LoopCounter::RequestsRefused, 1);
                    if let Some(exchange) = self.open.remove(&number) {
                        exchange.client.fail(Failure::Busy);
                    }
                }
                None => return self.set_timer(tools),
            }
            self.waiting.pop_front();
        }
    }

    /// The timer that this has set is due.
    pub(crate) fn timer_is_due(&mut self, tools: &mut Tools) {
        self.is_timed = false;
        self.give(tools);
    }

    /// Checks again when the first of those that wait has waited for long enough.
    fn set_timer(&mut self, tools: &mut Tools) {
        let first = self
            .waiting
            .front()
            .and_then(|number| self.open.get(number));
        if let Some(first) = first.filter(|_| !self.is_timed) {
            self.is_timed = true;
            let until = patience_ends(first, tools);
            tools.agenda.timers.set(until, Alarm::Requests);
        }
    }

    fn give_one(&mut self, number: u64, at: ProcessKey, tools: &mut Tools) {
        let Some(exchange) = self.open.get_mut(&number) else {
            return;
        };
        let Some(content) = &exchange.content else {
            return;
        };
        exchange.process = Some(at);
        tools.processes[at].exchanges += 1;
        let header = Header {
            kind: ToProcess::Request as u8,
            session: number,
            time: exchange.received,
            ..Header::default()
        };
        let payload = content.payload.clone();
        let (processes, memory) = (&mut tools.processes, &mut tools.memory);
        processes.transfer(at, header, payload, memory);
    }

    /// The client has taken some of an answer.
    fn taken(&mut self, number: u64, bytes: usize, tools: &mut Tools) {
        let Some(exchange) = self.open.get_mut(&number) else {
            return;
        };
        let under_way = &mut exchange.answer.under_way;
        debug_assert!(*under_way >= bytes, "bytes that were not under way");
        *under_way = under_way.saturating_sub(bytes);
        let Some(at) = exchange.process else {
            return;
        };
        let header = Header {
            kind: ToProcess::BodyTaken as u8,
            session: number,
            sequence: bytes as u64,
            ..Header::default()
        };
        tell(at, header, tools);
    }

    /// A client has left.
    fn left(&mut self, number: u64, tools: &mut Tools) {
        let Some(exchange) = self.open.get_mut(&number) else {
            return;
        };
        exchange.client = Client::Gone;
        exchange.content = None;
        match exchange.process {
            None => {
                self.open.remove(&number);
                tools.cx.count(LoopCounter::RequestsLeft, 1);
            }
            Some(at) if take_back(at, number, tools) => {
                self.end(number, Outcome::ClientLeft, tools);
            }
            Some(at) => tell_gone(at, number, tools),
        }
    }

    /// A request is over.
    pub(super) fn end(&mut self, number: u64, outcome: Outcome, tools: &mut Tools) {
        let Some(exchange) = self.open.remove(&number) else {
            return;
        };
        count(outcome, tools);
        if let Some(at) = exchange.process {
            tools.processes[at].exchanges -= 1;
        }
        self.give(tools);
    }

    /// A process has died: what it had not taken is for another one; what it worked on has failed.
    pub(crate) fn reassign(
        &mut self,
        at: ProcessKey,
        process: &Process,
        untaken: &FxHashSet<u64>,
        tools: &mut Tools,
    ) {
        let is_unsent = |number: &u64| process.transfers.iter().any(|it| it.is_request(*number));
        let of_it = self.open.iter().filter(|(_, it)| it.process == Some(at));
        let mut affected: Vec<u64> = of_it.map(|(number, _)| *number).collect();
        affected.sort_unstable();
        let mut failed = 0;
        // The first request must become the first again.
        for number in affected.into_iter().rev() {
            let Some(exchange) = self.open.get_mut(&number) else {
                continue;
            };
            exchange.process = None;
            let is_gone = matches!(exchange.client, Client::Gone);
            let is_whole = exchange.content.is_some();
            if !is_gone && is_whole && (untaken.contains(&number) || is_unsent(&number)) {
                exchange.since = tools.cx.clock.ms;
                self.waiting.push_front(number);
                continue;
            }
            if let Some(exchange) = self.open.remove(&number) {
                exchange.client.fail(Failure::Died);
            }
            match is_gone {
                true => count(Outcome::ClientLeft, tools),
                false => failed += 1,
            }
        }
        if failed > 0 {
            tools.cx.count(LoopCounter::RequestsFailed, failed);
            tracing::warn!(
                requests = failed,
                "requests failed: {} died while it answered them",
                process.name()
            );
        }
        self.give(tools);
    }

    /// Requests that a process has.
    pub(crate) fn of(&self, at: ProcessKey) -> usize {
        let all = self.open.values();
        all.filter(|it| it.process == Some(at)).count()
    }

    /// Requests that are not answered to the end.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether each request is with a process or waits for one.
    pub(crate) fn are_looked_after(&self) -> bool {
        let waits = |number: &u64| self.waiting.contains(number);
        let mut all = self.open.iter();
        all.all(|(number, it)| it.process.is_some() || waits(number))
    }

    /// Those that have ended wait no more.
    fn drop_ended(&mut self) {
        let open = &self.open;
        let waits = |number: &u64| open.get(number).is_some_and(|it| it.process.is_none());
        self.waiting.retain(waits);
    }
}

impl Client {
    /// There is no answer, or no more of it.
    pub(super) fn fail(self, failure: Failure) {
        if let Client::WaitsForHead(answer) = self {
            // It may have left.
            let _ = answer.send(Answered::Failed(failure));
        }
    }
}

fn count(outcome: Outcome, tools: &Tools) {
    let counter = match outcome {
        Outcome::Answered => LoopCounter::RequestsAnswered,
        Outcome::Failed => LoopCounter::RequestsFailed,
        Outcome::ClientLeft => LoopCounter::RequestsLeft,
    };
    tools.cx.count(counter, 1);
}

/// Until when a request waits for a process, in the loop's milliseconds: for as long as the start of one may take.
fn patience_ends(exchange: &Exchange, tools: &Tools) -> u64 {
    exchange.since + tools.cx.config.workers.start_timeout.as_millis() as u64
}

/// The process for a request: by the peer's address or in turn, if the listener says so, or the least busy one.
/// None may have more.
fn choose(dispatch: Dispatch, peer: &Peer, turn: &mut usize, tools: &Tools) -> Option<ProcessKey> {
    let processes = &tools.processes;
    let slots = processes.slots.len();
    let with_room = |slot: SlotId| {
        let at = processes[slot].process?;
        let process = &processes[at];
        let has_room = process.exchanges < MOST_EXCHANGES;
        (has_room && process.standing == Standing::Serving).then_some(at)
    };
    if let Some(at) = home(dispatch, peer, &[], slots).and_then(with_room) {
        return Some(at);
    }
    let in_turn = (0..slots).map(|at| SlotId(((*turn + at) % slots) as u16));
    let free = in_turn.filter_map(|slot| Some((slot, with_room(slot)?)));
    let in_hand = |slot| match dispatch {
        Dispatch::RoundRobin => 0,
        _ => processes.in_hand(slot, &tools.cx),
    };
    let (slot, at) = free.min_by_key(|(slot, at)| (processes[*at].is_silent, in_hand(*slot)))?;
    *turn = slot.index() + 1;
    Some(at)
}

/// Takes a request back of which a process has nothing. False: it has some.
fn take_back(at: ProcessKey, number: u64, tools: &mut Tools) -> bool {
    let transfers = &mut tools.processes[at].transfers;
    let unsent = |it: &crate::transfer::Transfer| it.is_request(number) && it.offset == 0;
    let Some(place) = transfers.iter().position(unsent) else {
        return false;
    };
    if let Some(transfer) = transfers.remove(place) {
        let class = crate::memory::Class::Transfers;
        tools.memory.release(class, transfer.held());
    }
    true
}

/// The process need not answer any more.
pub(super) fn tell_gone(at: ProcessKey, number: u64, tools: &mut Tools) {
    let header = Header {
        kind: ToProcess::RequestGone as u8,
        session: number,
        ..Header::default()
    };
    tell(at, header, tools);
}

fn tell(at: ProcessKey, header: Header, tools: &mut Tools) {
    let (processes, memory) = (&mut tools.processes, &mut tools.memory);
    processes.transfer(at, header, bytes::Bytes::new(), memory);
}
