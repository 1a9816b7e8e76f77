//! A socket on its owner's loop.

mod foreign_reading;
mod questions;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::task::spawn_local;

use super::descriptor_io::{receive, send_rest};
use super::event::{SocketEvent, SocketMode};
use super::opening::{Opened, OpeningTask};
use super::receive_buffer::ReadNeed;
use super::registration::{WatchedDescriptor, watch};
use super::shared_socket::{SendPhase, SharedSocket, SocketKind, is_later};
use super::socket_input::SocketInput;
use super::step::{ReadOutcome, ReadStart, Received, SocketStep};
use super::text::{io_text, peer_text};
use crate::sys::StateMemory;

/// What a loop reads into: what a fast sender's segments fill in one go.
pub(crate) const SCRATCH_BYTES: usize = 64 << 10;
/// A socket with this much received is read on when a coroutine wants more.
const THROTTLE_BYTES: usize = 128 << 10;
/// So often one socket is read before the others of its loop have their turn, unless its reader gets something.
const MOST_READS: usize = 16;
/// A socket with this much received ends, whatever its reader waits for: memory ends somewhere.
const MOST_RECEIVED_BYTES: usize = if cfg!(test) { 8 << 20 } else { 1 << 30 };

/// A socket that is no listening one, and that its owner reads.
pub(crate) struct OwnedSocket {
    pub(crate) shared: Arc<SharedSocket>,
    /// That of its service.
    memory: Rc<StateMemory>,
    pub(crate) waker: Waker,
    pub(crate) mode: SocketMode,
    pub(crate) io: Option<WatchedDescriptor>,
    opening: Option<OpeningTask>,
    buffer: SocketInput,
    reader: Option<SocketReader>,
    /// The coroutine that waits until it is connected or taken over.
    pub(crate) starter: Option<u32>,
    pub(crate) limit: Option<usize>,
    /// The script wants nothing for now.
    is_paused: bool,
    /// There is so much received that it is not read.
    is_throttled: bool,
    is_flushing: bool,
    /// All received bytes are read. More bytes wake its waker.
    is_waiting: bool,
    pub(crate) is_input_over: bool,
    is_ended: bool,
    /// The script has closed it. It only sends what waits.
    pub(crate) is_closed: bool,
    pub(crate) steps: VecDeque<SocketStep>,
}

/// A coroutine that waits for bytes.
struct SocketReader {
    session: u32,
    need: ReadNeed,
}

impl OwnedSocket {
    pub(crate) fn new(
        shared: Arc<SharedSocket>,
        memory: Rc<StateMemory>,
        waker: Waker,
        mode: SocketMode,
    ) -> Self {
        Self {
            buffer: SocketInput::of(&shared, memory.clone()),
            shared,
            memory,
            waker,
            mode,
            io: None,
            opening: None,
            reader: None,
            starter: None,
            limit: None,
            is_paused: false,
            is_throttled: false,
            is_flushing: false,
            is_waiting: false,
            is_input_over: false,
            is_ended: false,
            is_closed: false,
            steps: VecDeque::new(),
        }
    }

    /// Has it connected first.
    pub(crate) fn open(&mut self, opening: OpeningTask) {
        self.opening = Some(opening);
        self.waker.wake_by_ref();
    }

    /// Registers it with this loop.
    ///
    /// # Errors
    /// As [`watch`].
    pub(crate) fn register(&mut self, descriptor: Arc<OwnedFd>) -> io::Result<()> {
        self.io = Some(watch(descriptor)?);
        self.waker.wake_by_ref();
        Ok(())
    }

    /// Puts what the last owner has left before what comes.
    pub(crate) fn inherit(&mut self, left: &[u8], is_input_over: bool) {
        self.is_input_over = is_input_over;
        match self.mode {
            SocketMode::Buffered => self.buffer.push(left),
            SocketMode::Raw if left.is_empty() => {}
            SocketMode::Raw => {
                let data = SocketEvent::Data(left.to_vec());
                self.steps.push_back(SocketStep::Event(data));
            }
        }
        if is_input_over {
            self.steps.push_back(SocketStep::Event(SocketEvent::Closed));
        }
    }

    /// The next thing to do for the owner, if any. Otherwise its waker is woken when there is.
    pub(crate) fn poll(&mut self, scratch: &mut [u8]) -> Option<SocketStep> {
        self.is_waiting = false;
        let mut reads = 0;
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Some(step);
            }
            if self.is_ended {
                return self.is_closed.then_some(SocketStep::Gone);
            }
            if self.opening.is_some() && self.poll_opening().is_pending() {
                // It may be closed meanwhile.
                self.look_at_asked();
                if self.steps.is_empty() && !self.is_ended {
                    return None;
                }
                continue;
            }
            self.look_at_asked();
            self.poll_flush();
            if self.steps.is_empty() && !self.is_ended {
                if reads == MOST_READS {
                    // A fast sender may not keep the loop.
                    self.waker.wake_by_ref();
                    return None;
                }
                reads += 1;
                match self.poll_read(scratch) {
                    Poll::Ready(Some(step)) => return Some(step),
                    Poll::Ready(None) => {}
                    Poll::Pending => return None,
                }
            }
        }
    }

    fn poll_opening(&mut self) -> Poll<()> {
        let Some(opening) = &mut self.opening else {
            return Poll::Ready(());
        };
        let mut context = Context::from_waker(&self.waker);
        let opened = ready!(opening.as_mut().poll(&mut context));
        self.opening = None;
        let Opened::Connection(connected) = opened else {
            return Poll::Ready(());
        };
        let connected = connected.and_then(|(descriptor, peer)| {
            let descriptor = Arc::new(descriptor);
            let registered = self.register(descriptor.clone());
            registered.map_err(|error| io_text(&error))?;
            Ok((descriptor, peer))
        });
        match connected {
            Ok((descriptor, peer)) => {
                if self.shared.connected(descriptor) {
                    self.is_flushing = true;
                    self.tell_started(peer.map(peer_text).unwrap_or_default());
                }
            }
            Err(why) => self.fail(why),
        }
        Poll::Ready(())
    }

    /// Tells the owner that it has the socket.
    pub(crate) fn tell_started(&mut self, text: String) {
        let step = match (self.mode, self.starter.take()) {
            (SocketMode::Buffered, Some(session)) => {
                SocketStep::Answer(session, ReadOutcome::Opened(Ok(self.shared.id)))
            }
            (SocketMode::Buffered, None) => return,
            (SocketMode::Raw, _) => SocketStep::Event(SocketEvent::Connected(0, text)),
        };
        self.steps.push_back(step);
    }

    /// Does what other services, or this one, have asked for.
    fn look_at_asked(&mut self) {
        if self.shared.is_asked() {
            self.obey();
        }
    }

    fn obey(&mut self) {
        let asked = self.shared.asked();
        if let Some(why) = asked.failure {
            return self.fail(why);
        }
        if let Some(kibibytes) = asked.warning {
            self.steps
                .push_back(SocketStep::Event(SocketEvent::Warning(kibibytes)));
        }
        self.is_flushing = !asked.is_queue_empty;
        match asked.phase {
            SendPhase::Closed => {
                self.tell_closed();
                self.end();
            }
            SendPhase::Closing => {
                self.tell_closed();
                if asked.is_queue_empty {
                    self.end();
                }
            }
            SendPhase::Open if asked.is_taken => self.release(),
            SendPhase::Open | SendPhase::Connecting => {}
        }
    }

    /// Lets another service have it.
    pub(crate) fn release(&mut self) {
        self.io = None;
        if let Some(reader) = self.reader.take() {
            let over = ReadOutcome::Over(Vec::new());
            self.steps
                .push_back(SocketStep::Answer(reader.session, over));
        }
        let left = self.buffer.leave();
        self.shared.silence(left, self.is_input_over);
        self.steps.push_back(SocketStep::Gone);
    }

    /// Lets go of it for the service that starts it next. The session of the coroutine that reads it, if one does.
    pub(crate) fn abandon(mut self) -> Option<u32> {
        self.io = None;
        let left = self.buffer.leave();
        self.shared.silence(left, self.is_input_over);
        self.reader.map(|reader| reader.session)
    }

    /// Its owner ends. True if another service waits for it, and gets it.
    pub(crate) fn end_with_service(mut self) -> bool {
        self.io = None;
        let left = || self.buffer.leave();
        if !self.shared.is_closing() && self.shared.pass_on(left, self.is_input_over) {
            return true;
        }
        let rest = self.shared.closing_rest();
        self.shared.end();
        if let Some((descriptor, queue)) = rest {
            spawn_local(send_rest(descriptor, queue));
        }
        false
    }

    fn poll_flush(&mut self) {
        while self.is_flushing {
            let Some(io) = &self.io else {
                return;
            };
            let mut context = Context::from_waker(&self.waker);
            let Poll::Ready(ready) = io.poll_write_ready(&mut context) else {
                return;
            };
            let flushed = match ready {
                Ok(mut guard) => {
                    let flushed = self.shared.flush();
                    if flushed.as_ref().is_err_and(is_later) {
                        guard.clear_ready();
                    }
                    flushed
                }
                Err(error) => Err(error),
            };
            match flushed {
                // Something may have been asked meanwhile, on another loop.
                Ok(()) => self.obey(),
                Err(error) if is_later(&error) => {}
                Err(error) => self.fail(io_text(&error)),
            }
        }
    }

    /// Reads once.
    fn poll_read(&mut self, scratch: &mut [u8]) -> Poll<Option<SocketStep>> {
        let Some(io) = &self.io else {
            return self.poll_foreign();
        };
        let is_full = self.reader.is_none()
            && (self.buffer.len() >= THROTTLE_BYTES
                || self.memory.received() >= self.memory.most_received());
        if self.is_input_over || self.is_paused || is_full {
            self.is_throttled = true;
            return Poll::Pending;
        }
        let mut context = Context::from_waker(&self.waker);
        let mut guard = match ready!(io.poll_read_ready(&mut context)) {
            Ok(guard) => guard,
            Err(error) => {
                self.fail(io_text(&error));
                return Poll::Ready(None);
            }
        };
        let received = receive(self.shared.kind, io.get_ref(), scratch);
        match received {
            Ok((count, from)) => {
                // A short read has emptied the socket: what comes next is told again. It is waited for now, not at another look.
                let is_emptied = count > 0 && count < scratch.len() && from.is_none();
                if is_emptied {
                    guard.clear_ready();
                }
                drop(guard);
                self.is_waiting = is_emptied && io.poll_read_ready(&mut context).is_pending();
                self.shared.add_received(count);
                Poll::Ready(self.received(&scratch[..count], from))
            }
            Err(error) if is_later(&error) => {
                guard.clear_ready();
                Poll::Ready(None)
            }
            // What a datagram met on its way.
            Err(_) if self.shared.kind == SocketKind::Datagram => Poll::Ready(None),
            Err(error) => {
                drop(guard);
                self.fail(io_text(&error));
                Poll::Ready(None)
            }
        }
    }

    fn received(&mut self, bytes: &[u8], from: Option<SocketAddr>) -> Option<SocketStep> {
        if let Some(from) = from {
            let datagram = SocketEvent::Datagram(bytes.to_vec(), from);
            return Some(SocketStep::Event(datagram));
        }
        if bytes.is_empty() {
            self.tell_closed();
            return None;
        }
        if self.mode == SocketMode::Raw {
            return Some(SocketStep::Event(SocketEvent::Data(bytes.to_vec())));
        }
        let Some(reader) = &self.reader else {
            self.buffer.push(bytes);
            self.check_limit();
            return None;
        };
        if self.buffer.is_empty()
            && let Some((taken, dropped)) = reader.need.find_in(bytes)
        {
            self.buffer.push(&bytes[taken + dropped..]);
            return self.answer(ReadOutcome::Data(Received::Scratch(taken)));
        }
        self.buffer.push(bytes);
        if let Some(data) = self.buffer.take(&reader.need) {
            return self.answer(ReadOutcome::Data(Received::Own(data)));
        }
        self.check_limit();
        None
    }

    fn answer(&mut self, outcome: ReadOutcome) -> Option<SocketStep> {
        let reader = self.reader.take()?;
        let outcome = match reader.need {
            ReadNeed::Block => ReadOutcome::State(matches!(outcome, ReadOutcome::Data(_))),
            // The end is what it waits for.
            ReadNeed::All => match outcome {
                ReadOutcome::Over(all) => ReadOutcome::Data(Received::Own(all)),
                other => other,
            },
            _ => outcome,
        };
        Some(SocketStep::Answer(reader.session, outcome))
    }

    /// Ends a socket that has received more than it may.
    fn check_limit(&mut self) {
        let size = self.buffer.len();
        if size == 0 {
            return;
        }
        let counts = !matches!(
            &self.reader,
            Some(SocketReader {
                need: ReadNeed::Bytes(_),
                ..
            })
        );
        if counts && self.limit.is_some_and(|limit| size > limit) {
            let line = format!("socket buffer overflow: fd={} size={size}", self.shared.id);
            self.steps.push_back(SocketStep::Log(line));
            self.shared.close();
        } else if size > MOST_RECEIVED_BYTES {
            self.fail(format!("{size} bytes were received and not read"));
        } else if self.is_above(size) {
            self.run_out(format!(
                "not enough memory: {size} bytes were received and not read"
            ));
        }
    }

    /// Whether its reader waits for more than there is memory for: without one it stops reading. A socket with little goes on when others of
    /// its service hold much, up to twice as much.
    fn is_above(&self, size: usize) -> bool {
        let (all, most) = (self.memory.received(), self.memory.most_received());
        self.reader.is_some() && all > most && (size > SCRATCH_BYTES || all / 2 > most)
    }

    /// What it has received is lost: there is no memory for it.
    fn run_out(&mut self, why: String) {
        self.buffer.clear();
        let reader = self.reader.take();
        self.steps.extend(
            reader.map(|reader| {
                SocketStep::Answer(reader.session, ReadOutcome::NoMemory(why.clone()))
            }),
        );
        self.fail(why);
        self.waker.wake_by_ref();
    }

    /// The peer's stream, or the socket, is over.
    fn tell_closed(&mut self) {
        if self.is_input_over {
            return;
        }
        self.is_input_over = true;
        self.tell_not_opened("the socket was closed");
        self.give_rest();
        self.steps.push_back(SocketStep::Event(SocketEvent::Closed));
    }

    fn give_rest(&mut self) {
        if self.reader.is_some() {
            let rest = self.buffer.take_all();
            let step = self.answer(ReadOutcome::Over(rest));
            self.steps.extend(step);
        }
    }

    fn tell_not_opened(&mut self, why: &str) {
        if let Some(session) = self.starter.take() {
            let outcome = ReadOutcome::Opened(Err(why.to_owned()));
            self.steps.push_back(SocketStep::Answer(session, outcome));
        }
    }

    /// The connection is broken, or was not made.
    pub(crate) fn fail(&mut self, why: String) {
        self.end();
        let was_told = std::mem::replace(&mut self.is_input_over, true);
        if self.mode == SocketMode::Buffered && self.starter.is_some() {
            self.is_closed = true;
            return self.tell_not_opened(&why);
        }
        // A socket ends once for its owner: if it knows that the stream is over, it learns of no failure later.
        if !was_told {
            let failed = SocketEvent::Failed(why);
            self.steps.push_back(SocketStep::Event(failed));
        }
        self.give_rest();
    }

    /// Bytes for the script are lost: what comes behind them is of no use.
    pub(crate) fn lose(&mut self) {
        self.run_out("there is no memory for what was received".to_owned());
    }

    fn end(&mut self) {
        self.is_ended = true;
        self.is_closed |= self.mode == SocketMode::Raw;
        self.io = None;
        self.opening = None;
        self.shared.end();
    }

    /// Begins to read for a coroutine.
    ///
    /// # Errors
    /// Another coroutine reads.
    pub(crate) fn read(&mut self, need: ReadNeed, session: u32) -> Result<ReadStart, String> {
        if self.reader.is_some() {
            return Err(format!("another coroutine reads socket {}", self.shared.id));
        }
        self.leave_moved();
        if matches!(need, ReadNeed::Line(_)) {
            self.buffer.scan_again();
        }
        if let Some(data) = self.buffer.take(&need) {
            if need == ReadNeed::Block {
                return Ok(ReadStart::Done(ReadOutcome::State(true)));
            }
            if self.is_throttled && !self.is_paused && self.buffer.len() < THROTTLE_BYTES {
                self.read_on();
            }
            self.tell_progress();
            return Ok(ReadStart::Done(ReadOutcome::Data(Received::Own(data))));
        }
        if self.is_input_over {
            let outcome = match need {
                ReadNeed::Block => ReadOutcome::State(false),
                ReadNeed::All if !self.buffer.is_empty() => {
                    ReadOutcome::Data(Received::Own(self.buffer.take_all()))
                }
                _ => ReadOutcome::Over(self.buffer.take_all()),
            };
            return Ok(ReadStart::Done(outcome));
        }
        if let ReadNeed::Bytes(count) = need
            && count > self.memory.most_received()
        {
            let why = format!("not enough memory to receive {count} bytes");
            self.run_out(why.clone());
            return Ok(ReadStart::Done(ReadOutcome::NoMemory(why)));
        }
        self.reader = Some(SocketReader { session, need });
        self.note_awaited();
        if self.is_throttled || self.is_paused {
            self.is_paused = false;
            self.read_on();
        }
        Ok(ReadStart::Waits)
    }

    /// The coroutine of a session waits no more. What comes stays for the next reader; a socket that nobody knows yet is closed.
    pub(crate) fn withdraw(&mut self, session: u32) -> bool {
        if self
            .starter
            .take_if(|starter| *starter == session)
            .is_some()
        {
            self.is_closed = true;
            self.shared.shut_down();
            return true;
        }
        let reader = self.reader.take_if(|reader| reader.session == session);
        if reader.is_some() {
            self.note_awaited();
        }
        reader.is_some()
    }

    /// What is there, without waiting; and whether the stream is over.
    pub(crate) fn take_now(&mut self) -> (Option<Vec<u8>>, bool) {
        self.leave_moved();
        let taken = self.buffer.take(&ReadNeed::Any);
        if taken.is_some() {
            self.tell_progress();
        }
        if self.is_throttled && !self.is_paused {
            self.read_on();
        }
        (taken, self.is_input_over)
    }

    fn read_on(&mut self) {
        self.is_throttled = false;
        self.waker.wake_by_ref();
    }

    pub(crate) fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Goes on after a pause.
    pub(crate) fn resume(&mut self) {
        self.is_paused = false;
        self.read_on();
    }
}
