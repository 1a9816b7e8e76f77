//! Events on their way from one process to the members of a group in all loops.
//!
//! The loop that reads an event's record gives it a place among all events, and puts it into the queue of each loop. From there it
//! is fanned out like a broadcast. What its sender wrote before comes before it in every loop: the record says how far the
//! sender had written. What it writes once it knows that the event has its place comes behind it: a loop looks into its queue
//! after it has seen which records there are, and before it takes them.

use bytes::Bytes;
use moorline_ipc::{Header, Record};

use crate::commands::Command;
use crate::event_loop::Loop;
use crate::groups::{broadcast_done, split_group};
use crate::ids::ProcessKey;
use crate::processes::ledger::Request;
use crate::shared::hub::{Receipt, event};
use crate::timers::Alarm;
use crate::transfer::Asker;
use moorline_protocol::control::{LoopCounter, ProcessId};
use moorline_protocol::wire::event::split_event;
use moorline_protocol::wire::{FAILED, LARGEST_BROADCAST, LONGEST_NAME, ToProcess};

/// How often the histories are looked at in their time, so that they end at most a quarter late.
const LOOKS: u32 = 4;

impl Loop {
    /// A process sends an event.
    ///
    /// # Errors
    /// It is none, or there are too many.
    pub(crate) fn take_event(
        &mut self,
        at: ProcessKey,
        header: &Header,
        bytes: &[u8],
    ) -> Result<(), String> {
        let tools = &mut self.tools;
        let loops = tools.cx.peers.len();
        let garbage = || "a malformed event".to_owned();
        let (group, left_out, rest) = split_group(bytes).ok_or_else(garbage)?;
        let (positions, rest) = split_positions(rest, loops).ok_or_else(garbage)?;
        let read = split_event(rest).ok_or_else(garbage)?;
        if read.data.len() > LARGEST_BROADCAST {
            return Err(garbage());
        }
        let process = &mut tools.processes[at];
        let from = Asker {
            at,
            process: process.id,
            number: header.session,
        };
        process.ledger.open(Request::Broadcast(bytes.len()))?;
        let draft = event(group, read.id, read.name, read.data, left_out);
        let receipt = Receipt::Process {
            home: tools.cx.index,
            from,
            bytes: bytes.len(),
        };
        let sender = Some((process.id, positions.as_slice()));
        process.events += 1;
        let hub = &tools.cx.shared.hub;
        if hub.send(draft, sender, receipt, tools.cx.clock.shared_ms()) {
            self.groups.has_sent = true;
        } else {
            tools.cx.count(LoopCounter::Discarded, 1);
            self.end_event(from, bytes.len());
        }
        self.answer_event(from, 0);
        Ok(())
    }

    /// There was no memory for an event.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn refuse_event(&mut self, at: ProcessKey, header: &Header) -> Result<(), String> {
        let process = &mut self.tools.processes[at];
        let from = Asker {
            at,
            process: process.id,
            number: header.session,
        };
        process.ledger.open(Request::Broadcast(0))?;
        self.answer_event(from, FAILED);
        broadcast_done(from, 0, &mut self.tools);
        Ok(())
    }

    fn answer_event(&mut self, from: Asker, flags: u8) {
        let tools = &mut self.tools;
        let (processes, memory) = (&mut tools.processes, &mut tools.memory);
        processes.answer(from, ToProcess::EventTaken, flags, Bytes::new(), memory);
    }

    /// All members in all loops have been sent an event of a process that this loop has read.
    pub(crate) fn end_event(&mut self, from: Asker, bytes: usize) {
        if let Some(process) = self.tools.processes.asker(from) {
            process.events -= 1;
        }
        broadcast_done(from, bytes, &mut self.tools);
    }

    /// Takes what was sent to groups, and wakes the other loops if they have something new.
    pub(crate) fn pass_on_events(&mut self) {
        if self.events_wait() {
            self.take_coming();
        }
        if std::mem::take(&mut self.groups.has_sent) {
            let cx = &self.tools.cx;
            let others = cx.peers.iter().enumerate();
            let others = others.filter(|(at, _)| *at != usize::from(cx.index));
            others.for_each(|(_, peer)| peer.wake());
        }
    }

    /// Whether something was sent to groups that this loop has not taken.
    #[inline]
    pub(crate) fn events_wait(&self) -> bool {
        self.tools.cx.shared.hub.last() != self.groups.taken
    }

    /// Takes what was sent to groups.
    #[cold]
    pub(crate) fn take_coming(&mut self) {
        let (hub, index) = (&self.tools.cx.shared.hub, self.tools.cx.index);
        for coming in hub.take(index) {
            self.groups.taken = coming.sent.number();
            if let Some((process, position)) = coming.sender {
                self.take_until(process, position);
            }
            let ended = self.groups.begin(coming);
            self.end_receipt(ended);
        }
    }

    /// Ends the receipts that have reached all members of the last loop.
    pub(crate) fn end_receipts(&mut self) {
        while let Some(receipt) = self.groups.ended.pop() {
            self.end_receipt(Some(receipt));
        }
    }

    fn end_receipt(&mut self, receipt: Option<Receipt>) {
        let Some(Receipt::Process { home, from, bytes }) = receipt else {
            return;
        };
        if home == self.tools.cx.index {
            self.end_event(from, bytes);
        } else if let Some(peer) = self.tools.cx.peers.get(usize::from(home)) {
            peer.send(Command::EventDone { from, bytes });
        }
    }

    /// Takes the records that a process had written up to this position.
    fn take_until(&mut self, process: ProcessId, position: u64) {
        let found = self.tools.processes.find(process);
        if let Some(at) = found.filter(|at| self.tools.processes[*at].is_heard()) {
            self.take_records_until(at, position);
        }
    }

    /// A group keeps its events from now on.
    ///
    /// # Errors
    /// It is not a group.
    pub(crate) fn keep_events(
        &mut self,
        at: ProcessKey,
        record: &Record<'_>,
    ) -> Result<(), String> {
        let mut payload = [0; size_of::<u32>() + LONGEST_NAME];
        if record.len() > payload.len() {
            return Err("a group with too long a name".to_owned());
        }
        let length = record.head(&mut payload);
        let Some((most, group)) = payload[..length].split_first_chunk() else {
            return Err("a number of events that is none".to_owned());
        };
        let cx = &self.tools.cx;
        let most = u32::from_le_bytes(*most) as usize;
        match cx.shared.hub.keep(group, most, cx.clock.shared_ms()) {
            Ok(true) => {
                let others = cx.peers.iter().enumerate();
                let others = others.filter(|(at, _)| *at != usize::from(cx.index));
                others.for_each(|(_, peer)| peer.send(Command::WatchHistories));
                self.watch_histories();
            }
            Ok(false) => {}
            Err(_) => {
                cx.count(LoopCounter::Discarded, 1);
                if self.pressure.tells_of_refusals(cx.clock.ms) {
                    let name = self.tools.processes[at].name();
                    tracing::warn!(
                        group = %String::from_utf8_lossy(group),
                        "{name} wants the events of more groups kept than can be; more of that in the next seconds is only counted"
                    );
                }
            }
        }
        Ok(())
    }

    /// Some group keeps its events: the loop looks from time to time which of them have members.
    pub(crate) fn watch_histories(&mut self) {
        if !std::mem::replace(&mut self.groups.watches_histories, true) {
            self.look_at_histories_again();
        }
    }

    /// The time after which a history ends has changed.
    pub(crate) fn watch_histories_anew(&mut self) {
        if self.groups.watches_histories {
            self.look_at_histories_again();
        }
    }

    fn look_at_histories_again(&mut self) {
        let cx = &self.tools.cx;
        let wait = (cx.config.engine.history_timeout / LOOKS).as_millis() as u64;
        let at = cx.clock.ms + wait.max(1);
        self.groups.histories_due = at;
        self.tools.agenda.timers.set(at, Alarm::Histories);
    }

    /// Tells the histories which groups have members, and ends those whose time is over.
    pub(crate) fn look_after_histories(&mut self) {
        let cx = &self.tools.cx;
        if cx.clock.ms < self.groups.histories_due {
            // A reload has set another time.
            return;
        }
        let (hub, now) = (&cx.shared.hub, cx.clock.shared_ms());
        let has_members = |group: &[u8]| self.groups.exists(group);
        self.groups.watches_histories = hub.look_after(has_members, now);
        if self.groups.watches_histories {
            self.look_at_histories_again();
        }
    }
}

/// How far the sender of an event had written to each loop, and the event.
fn split_positions(bytes: &[u8], loops: usize) -> Option<(Vec<u64>, &[u8])> {
    let (count, rest) = bytes.split_first()?;
    let count = usize::from(*count);
    let (positions, rest) = rest.split_at_checked(count * size_of::<u64>())?;
    let positions = positions.as_chunks().0.iter();
    let positions = positions.map(|position| u64::from_le_bytes(*position));
    (count == loops).then(|| (positions.collect(), rest))
}
