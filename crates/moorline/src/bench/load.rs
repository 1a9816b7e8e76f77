//! All connections, driven by one epoll.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{RecvFlags, recv};
use rustix::time::Timespec;

use super::client::{Client, Phase, Step};
use super::fault::{Fault, Faults};
use super::interrupt::Interrupt;
use super::latencies::empty_histogram;
use super::message::Codec;
use super::schedule::{Lateness, PaceCounts, Schedule};
use super::series::{Intervals, Series};
use super::target::{Source, Target};
use super::{BenchError, Plan};

/// All connections, driven by one epoll.
///
/// The owner calls `turn` until it has its results; between turns nothing happens.
pub(super) struct Load<'a> {
    target: &'a Target,
    codec: &'a Codec,
    size: usize,
    source: Source,
    pub(super) after_answer: AfterAnswer,
    pub(super) tally: Tally,
    interrupt: Interrupt,
    /// When requests are due, with a rate.
    schedule: Option<Schedule>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    inbox: Box<[u8]>,
    clients: Vec<Client>,
    /// Clients whose Unix socket found the backlog full.
    waiting: Vec<usize>,
    /// Connections begun so far.
    connects: u64,
    /// Clients from which something is still to come.
    busy: usize,
    /// Clients that are connected, or on the way.
    alive: usize,
    /// Clients opened and neither answered nor failed so far.
    opening: usize,
}

/// What a connection does once its answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterAnswer {
    /// It sends the next request.
    Request,
    /// It closes, and another is opened in its place.
    Reconnect,
    /// Nothing more.
    Rest,
}

/// The results so far.
pub(super) struct Tally {
    /// Right answers.
    pub(super) answers: u64,
    /// How long each took, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// Everything else, since the beginning.
    pub(super) faults: Faults,
    /// What came when, while it is measured.
    series: Option<Series>,
}

/// How long a turn waits for events: progress is drawn and ends are noticed at least so often.
const TICK: Duration = Duration::from_millis(50);

/// If nothing comes from any connection for this long, the outstanding answers are lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Connections begun at the same time: fewer than any usual backlog.
const OPENING_AT_ONCE: usize = 100;

/// A full backlog is tried again after this long.
const BACKLOG_RETRY: Duration = Duration::from_millis(1);

/// One receive takes as much as a socket usually holds.
const INBOX_BYTES: usize = 256 << 10;

/// Requests begun in one turn by the schedule, so that answers do not wait for it.
const DUE_AT_ONCE: usize = 512;

/// Events taken from the epoll at once.
const EVENTS: usize = 512;

impl<'a> Load<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        source: Source,
        after_answer: AfterAnswer,
        interrupt: Interrupt,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            target: &plan.target,
            codec: &plan.codec,
            size: plan.size,
            source,
            after_answer,
            tally: Tally::new(),
            interrupt,
            schedule: None,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            inbox: vec![0; INBOX_BYTES].into_boxed_slice(),
            clients: (0..plan.connections).map(Client::new).collect(),
            waiting: Vec::new(),
            connects: 0,
            busy: 0,
            alive: 0,
            opening: 0,
        })
    }

    /// Opens all connections, a few at a time, until each has had one answer or failed. Calls `opened` with
    /// the number of those that are done. Ends early when interrupted.
    ///
    /// Fails if no connection at all works.
    pub(super) fn open(&mut self, mut opened: impl FnMut(usize)) -> Result<(), BenchError> {
        let mut next = 0;
        let mut quiet_since = Instant::now();
        let mut done = 0;
        while !self.interrupt.is_raised() {
            while next < self.clients.len() && self.opening < OPENING_AT_ONCE {
                self.opening += 1;
                self.try_to(next, Self::connect);
                next += 1;
            }
            if next == self.clients.len() && self.opening == 0 {
                break;
            }
            self.turn(TICK)?;
            if next - self.opening > done {
                done = next - self.opening;
                quiet_since = Instant::now();
                opened(done);
            } else if quiet_since.elapsed() > PATIENCE {
                break;
            }
        }
        if self.alive == 0 || self.tally.answers == 0 && !self.interrupt.is_raised() {
            return Err(BenchError::NoConnection {
                target: self.target.to_string(),
                reason: self
                    .tally
                    .faults
                    .examples()
                    .first()
                    .cloned()
                    .unwrap_or_else(|| "no answer came".to_owned()),
            });
        }
        Ok(())
    }

    /// Handles what has happened, after waiting for it at most until the next tick.
    pub(super) fn run(&mut self) -> Result<(), BenchError> {
        self.turn(TICK)
    }

    /// From now on requests are due at this rate, whatever was due before.
    pub(super) fn pace(&mut self, rate: u32) {
        let connections = self.clients.len() as u32;
        self.schedule = Some(Schedule::new(Instant::now(), rate, connections));
    }

    /// Ends the measured time: nothing more is sent. What was due and is not sent counts with the time that it has waited.
    pub(super) fn end(&mut self) -> (Intervals, Option<PaceCounts>) {
        let now = Instant::now();
        self.after_answer = AfterAnswer::Rest;
        let tally = &mut self.tally;
        let intervals = tally.series.take().unwrap_or_else(|| Series::new(now));
        let counts = self.schedule.as_mut().map(|schedule| {
            schedule.end(now, |waited, count| {
                tally
                    .latency
                    .saturating_record_n(waited.as_nanos() as u64, count);
            })
        });
        (intervals.finish(now), counts)
    }

    /// Lets the requests outstanding be answered and counts those that are not as missing.
    pub(super) fn finish(&mut self) -> Result<(), BenchError> {
        self.after_answer = AfterAnswer::Rest;
        let began = Instant::now();
        while self.busy > 0 && began.elapsed() < PATIENCE && !self.interrupt.is_raised_twice() {
            self.turn(TICK)?;
        }
        // Once more without waiting: surplus bytes may follow the last answers.
        self.turn(Duration::ZERO)?;
        for index in 0..self.clients.len() {
            if self.clients[index].phase.is_busy() {
                if let Some(waited) = self.counted(index, Instant::now()) {
                    self.tally
                        .latency
                        .saturating_record(waited.as_nanos() as u64);
                }
                self.fail(index, &Fault::Missing);
            }
        }
        Ok(())
    }

    /// Connections that are open.
    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.is_raised()
    }

    fn turn(&mut self, at_most: Duration) -> Result<(), BenchError> {
        let mut at_most = if self.waiting.is_empty() {
            at_most
        } else {
            at_most.min(BACKLOG_RETRY)
        };
        if let Some(schedule) = &self.schedule
            && self.after_answer != AfterAnswer::Rest
        {
            at_most = at_most.min(schedule.until_next(Instant::now()));
        }
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            self.try_to(data.u64() as usize, |load, index| load.handle(index, flags));
        }
        self.events = events;
        for index in std::mem::take(&mut self.waiting) {
            self.try_to(index, Self::connect);
        }
        self.begin_due();
        Ok(())
    }

    /// Begins the requests that have become due on connections that await nothing; the others begin theirs with the
    /// answer.
    fn begin_due(&mut self) {
        if self.after_answer == AfterAnswer::Rest {
            return;
        }
        for _ in 0..DUE_AT_ONCE {
            let now = Instant::now();
            let Some(schedule) = &mut self.schedule else {
                return;
            };
            let Some(index) = schedule.next_due(now) else {
                return;
            };
            if self.clients[index].phase == Phase::Resting {
                self.try_to(index, |load, index| load.next(index, now, Lateness::Load));
            }
        }
    }

    /// Begins the next request of a connection, at once or when it is due.
    fn next(&mut self, index: usize, now: Instant, cause: Lateness) -> Result<(), Fault> {
        let begun = match &mut self.schedule {
            Some(schedule) => schedule.begin(index, now, cause),
            None => Some(now),
        };
        let Some(begun) = begun else {
            self.enter(index, Phase::Resting);
            return Ok(());
        };
        self.clients[index].begun = begun;
        match self.after_answer {
            AfterAnswer::Reconnect => self.connect(index),
            AfterAnswer::Request | AfterAnswer::Rest => self.request(index),
        }
    }

    /// Takes a step with a client; a fault ends it.
    fn try_to(&mut self, index: usize, step: impl FnOnce(&mut Self, usize) -> Result<(), Fault>) {
        if let Err(fault) = step(self, index) {
            self.fail(index, &fault);
        }
    }

    fn handle(&mut self, index: usize, flags: EventFlags) -> Result<(), Fault> {
        match self.clients[index].phase {
            Phase::Connecting => self.connected(index)?,
            Phase::Upgrading | Phase::Awaiting if flags.contains(EventFlags::OUT) => {
                self.send(index)?;
            }
            Phase::Upgrading | Phase::Awaiting | Phase::Resting => {}
            Phase::Absent | Phase::Waiting => return Ok(()),
        }
        if flags.intersects(EventFlags::IN | ENDED) {
            self.receive(index, flags.intersects(ENDED))?;
        }
        Ok(())
    }

    /// Begins to connect.
    fn connect(&mut self, index: usize) -> Result<(), Fault> {
        let client = &mut self.clients[index];
        if client.sequence == 0 && client.phase == Phase::Absent {
            client.begun = Instant::now();
        }
        self.connects += 1;
        match self.target.connect(self.source, self.connects - 1) {
            Ok(socket) => {
                epoll::add(
                    &self.epoll,
                    &socket,
                    EventData::new_u64(index as u64),
                    READABLE | EventFlags::OUT,
                )?;
                client.watches_room = true;
                client.socket = Some(socket);
                self.enter(index, Phase::Connecting);
            }
            Err(Errno::AGAIN) => {
                self.waiting.push(index);
                self.enter(index, Phase::Waiting);
            }
            Err(errno) => return Err(Fault::Connect(errno)),
        }
        Ok(())
    }

    /// A connection attempt has ended.
    fn connected(&mut self, index: usize) -> Result<(), Fault> {
        if let Some(socket) = &self.clients[index].socket
            && let Err(errno) = socket_error(socket)?
        {
            return Err(Fault::Connect(errno));
        }
        if let Codec::WebSocket { handshake } = self.codec {
            self.clients[index].begin_upgrade(handshake);
            self.enter(index, Phase::Upgrading);
            self.send(index)
        } else {
            self.request(index)
        }
    }

    fn request(&mut self, index: usize) -> Result<(), Fault> {
        self.clients[index].begin_request(self.codec, self.size);
        self.enter(index, Phase::Awaiting);
        self.send(index)
    }

    /// Sends the rest, and asks the epoll for room exactly while there is a rest.
    fn send(&mut self, index: usize) -> Result<(), Fault> {
        let client = &mut self.clients[index];
        let is_sent = client.send()?;
        if client.watches_room == is_sent
            && let Some(socket) = &client.socket
        {
            client.watches_room = !is_sent;
            let flags = if is_sent {
                READABLE
            } else {
                READABLE | EventFlags::OUT
            };
            epoll::modify(&self.epoll, socket, EventData::new_u64(index as u64), flags)?;
        }
        Ok(())
    }

    /// Reads what has come. An edge is reported once, so with `has_ended` it reads on to the end.
    fn receive(&mut self, index: usize, has_ended: bool) -> Result<(), Fault> {
        loop {
            let client = &mut self.clients[index];
            let Some(socket) = &client.socket else {
                return Ok(());
            };
            let count = match recv(socket, &mut *self.inbox, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(Fault::Closed),
                Ok((_, count)) => count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return Err(Fault::Closed),
                Err(errno) => return Err(Fault::Broken(errno)),
            };
            match client.receive(&self.inbox[..count], self.codec, self.size)? {
                Step::Partial => {}
                Step::Upgraded => self.request(index)?,
                Step::Answered => self.answered(index)?,
            }
            let is_drained = count < self.inbox.len() && !has_ended;
            // Another socket may have taken the place of the one the event was for.
            if is_drained || self.clients[index].phase == Phase::Connecting {
                return Ok(());
            }
        }
    }

    fn answered(&mut self, index: usize) -> Result<(), Fault> {
        let now = Instant::now();
        if let Some(latency) = self.counted(index, now) {
            self.tally.add(now, latency);
        }
        let client = &mut self.clients[index];
        if !client.is_established {
            client.is_established = true;
            self.opening -= 1;
        }
        match self.after_answer {
            AfterAnswer::Request => self.next(index, now, Lateness::Answer),
            AfterAnswer::Reconnect => {
                self.close(index);
                self.next(index, now, Lateness::Answer)
            }
            AfterAnswer::Rest => {
                client.rest();
                self.enter(index, Phase::Resting);
                Ok(())
            }
        }
    }

    /// How long the outstanding request has taken; nothing if it was begun before the schedule.
    fn counted(&self, index: usize, now: Instant) -> Option<Duration> {
        let begun = self.clients[index].begun;
        let is_earlier = |schedule: &Schedule| begun < schedule.began();
        match self.schedule.as_ref().is_some_and(is_earlier) {
            true => None,
            false => Some(now.saturating_duration_since(begun)),
        }
    }

    #[cold]
    fn fail(&mut self, index: usize, fault: &Fault) {
        let client = &mut self.clients[index];
        self.tally.faults.add(index, client.sequence, fault);
        if let Some(series) = &mut self.tally.series {
            series.add_error(Instant::now());
        }
        if !client.is_established {
            client.is_established = true;
            self.opening -= 1;
        }
        self.close(index);
    }

    /// Closing a descriptor takes it out of the epoll, too.
    fn close(&mut self, index: usize) {
        self.clients[index].socket = None;
        self.enter(index, Phase::Absent);
    }

    /// The one place where a phase changes, so that the counts follow.
    fn enter(&mut self, index: usize, phase: Phase) {
        let client = &mut self.clients[index];
        self.busy += usize::from(phase.is_busy());
        self.busy -= usize::from(client.phase.is_busy());
        self.alive += usize::from(phase != Phase::Absent);
        self.alive -= usize::from(client.phase != Phase::Absent);
        client.phase = phase;
    }
}

/// The events of every connection. Edge-triggered: a turn costs nothing for what was seen before.
const READABLE: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

/// The event that means that a connection's end follows its bytes.
const ENDED: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

impl Tally {
    fn new() -> Self {
        Self {
            answers: 0,
            latency: empty_histogram(),
            faults: Faults::default(),
            series: None,
        }
    }

    /// Forgets the answers counted so far, but no fault, and notes from now on what comes when.
    pub(super) fn restart(&mut self) {
        self.answers = 0;
        self.latency.reset();
        self.series = Some(Series::new(Instant::now()));
    }

    fn add(&mut self, now: Instant, latency: Duration) {
        self.answers += 1;
        // Beyond 584 years it would not matter; beyond a minute it counts as one.
        self.latency.saturating_record(latency.as_nanos() as u64);
        if let Some(series) = &mut self.series {
            series.add_answer(now, latency);
        }
    }
}
