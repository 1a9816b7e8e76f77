//! A process of a scripted loop: honest, or one that writes whatever it likes.

mod answers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use moorline_ipc::{Doorbell, Header, Region};

pub(super) use answers::{Asked, ENDLESS, HEAD};
use moorline_config::{Config, OnCrash};
use moorline_protocol::control::{ProcessId, Role};
use moorline_protocol::wire::accept::Verdict;
use moorline_protocol::wire::{
    DONE, FAILED, FIRST, FileSpan, FromProcess, LAST, Opening, ToProcess,
};

/// The content of the files that it sends.
pub(super) const FILE: &[u8] = b"!a file";

/// A process as a test runs it.
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) role: Role,
    region: Region,
    /// Wakes the loop.
    bell: Doorbell,
    pub(super) sessions: BTreeMap<u64, Served>,
    /// The requests that it was asked about.
    asked: BTreeSet<u64>,
    /// The records that do not fit into the ring yet, oldest first.
    outbox: VecDeque<(Header, Vec<u8>)>,
    /// Posts and tasks whose parts are coming.
    parts: Vec<u8>,
    /// Files that it has passed, and the session that each is for.
    files: BTreeMap<u64, u64>,
    /// Files that were refused.
    pub(super) refused: Vec<u64>,
    /// Posts and tasks that are to be answered.
    jobs: VecDeque<Header>,
    /// Plain requests that it has, and what it was told about them.
    pub(super) requests: BTreeMap<u64, Asked>,
    last_number: u64,
    /// It has written what none should, so that the gateway may take its work for done.
    pub(super) lies: bool,
    /// Sessions that are full as far as it knows.
    pub(super) full: BTreeSet<u64>,
    /// Records of each kind that it has taken.
    pub(super) taken: BTreeMap<u8, u64>,
    /// The flags of the last answer to an event.
    pub(super) last_flags: u8,
    /// Its events for which there was no memory.
    pub(super) refused_events: Vec<u64>,
}

/// A session as its process sees it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) listener: u16,
    /// Its label when it was opened here.
    pub(super) label: Vec<u8>,
    /// Messages taken and not done, by sequence.
    in_hand: VecDeque<(u64, Vec<u8>)>,
    parts: Vec<u8>,
    /// Its open hook runs. It ends when the process takes records the next time.
    is_opening: bool,
    /// The message whose handler has failed: until it comes again, what follows is skipped.
    again: Option<u64>,
}

impl Process {
    pub(super) fn new(id: ProcessId, role: Role, region: Region, bell: Doorbell) -> Self {
        Self {
            id,
            role,
            region,
            bell,
            sessions: BTreeMap::new(),
            asked: BTreeSet::new(),
            outbox: VecDeque::new(),
            parts: Vec::new(),
            files: BTreeMap::new(),
            refused: Vec::new(),
            jobs: VecDeque::new(),
            requests: BTreeMap::new(),
            // As workers do: no two processes use the same.
            last_number: u64::from(id) << 32,
            lies: false,
            full: BTreeSet::new(),
            taken: BTreeMap::new(),
            last_flags: 0,
            refused_events: Vec::new(),
        }
    }

    /// Its senders that can wait are to do so.
    pub(super) fn is_held(&self) -> bool {
        self.region.marks.holds_senders()
    }

    /// It has no session and nothing in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.jobs.is_empty() && self.requests.is_empty()
    }

    /// Whether a message of this session is taken and not done.
    pub(super) fn has_in_hand(&self, id: u64) -> bool {
        let served = self.sessions.get(&id);
        served.is_some_and(|served| !served.in_hand.is_empty())
    }

    /// Takes at most `most` records. True: there were some.
    ///
    /// # Panics
    /// The loop does not keep to what it promises a process.
    pub(super) fn take(&mut self, most: usize) -> bool {
        let has_opened = self.end_open_hooks();
        let mut records = Vec::new();
        while records.len() < most {
            let record = self
                .region
                .consumer
                .next()
                .expect("the gateway writes records");
            let Some(record) = record else { break };
            let mut payload = Vec::new();
            record.copy_to(&mut payload);
            records.push((*record.header(), payload));
        }
        if self.region.consumer.end_turn() {
            self.bell.ring();
        }
        let some = !records.is_empty();
        for (header, payload) in records {
            self.take_record(header, payload);
        }
        some || has_opened
    }

    /// The open hooks that run end. True: there were some.
    fn end_open_hooks(&mut self) -> bool {
        let mut some = false;
        for (id, served) in &mut self.sessions {
            if std::mem::take(&mut served.is_opening) {
                let header = Header {
                    kind: FromProcess::Opened as u8,
                    session: *id,
                    ..Header::default()
                };
                self.outbox.push_back((header, Vec::new()));
                some = true;
            }
        }
        some
    }

    fn take_record(&mut self, header: Header, payload: Vec<u8>) {
        *self.taken.entry(header.kind).or_default() += 1;
        let kind = ToProcess::from_u8(header.kind).expect("a kind that exists");
        let id = header.session;
        match kind {
            ToProcess::Open => self.open(id, &payload),
            ToProcess::Accept => {
                self.asked.insert(id);
                let header = Header {
                    kind: FromProcess::Accepted as u8,
                    session: id,
                    ..Header::default()
                };
                let verdict = Verdict::Accept(Box::default());
                let verdict = postcard::to_stdvec(&verdict).expect("plain values");
                self.outbox.push_back((header, verdict));
            }
            ToProcess::Message => self.take_message(&header, payload),
            // It need not be answered any more.
            ToProcess::Moved if !self.sessions.contains_key(&id) && self.asked.remove(&id) => {}
            ToProcess::EventTaken => {
                self.last_flags = header.flags;
                if header.flags & FAILED != 0 {
                    self.refused_events.push(id);
                }
            }
            ToProcess::Close | ToProcess::Moved => self.give_back(id, kind),
            ToProcess::Post | ToProcess::Task => {
                if header.flags & FIRST != 0 {
                    self.parts.clear();
                }
                self.parts.extend(payload);
                if header.flags & LAST != 0 {
                    self.jobs.push_back(header);
                }
            }
            ToProcess::FileHere => self.send_file(id),
            ToProcess::FileDone => {
                self.files.remove(&id).expect("a file that was passed");
                if header.flags & FAILED != 0 {
                    self.refused.push(id);
                }
            }
            ToProcess::Request | ToProcess::BodyTaken | ToProcess::RequestGone => {
                self.take_request(kind, &header, payload);
            }
            ToProcess::Full => drop(self.full.insert(id)),
            ToProcess::Drained => drop(self.full.remove(&id)),
            ToProcess::Datagram
            | ToProcess::PostDone
            | ToProcess::TaskDone
            | ToProcess::Unknown
            | ToProcess::Answer
            | ToProcess::BroadcastDone => {}
        }
    }

    /// A session begins here.
    fn open(&mut self, id: u64, payload: &[u8]) {
        let opening: Opening = postcard::from_bytes(payload).expect("an opening");
        let served = Served {
            listener: opening.listener,
            label: opening.data.map_or_else(Vec::new, |data| data.label),
            in_hand: VecDeque::new(),
            parts: Vec::new(),
            is_opening: true,
            again: None,
        };
        let before = self.sessions.insert(id, served);
        assert!(before.is_none(), "session {id} was opened twice");
    }

    /// A message of a session, or a part of one.
    fn take_message(&mut self, header: &Header, payload: Vec<u8>) {
        let id = header.session;
        let served = self.sessions.get_mut(&id);
        let served = served.unwrap_or_else(|| panic!("a message of {id}, which is not here"));
        if header.flags & FIRST != 0 {
            served.parts.clear();
        }
        served.parts.extend(payload);
        if header.flags & LAST == 0 {
            return;
        }
        let bytes = std::mem::take(&mut served.parts);
        if let Some(again) = served.again {
            if again != header.sequence {
                return;
            }
            served.again = None;
        }
        let last = served.in_hand.back().map(|(sequence, _)| *sequence);
        assert!(
            last.is_none_or(|last| last + 1 == header.sequence),
            "message {} of {id} follows {last:?}",
            header.sequence
        );
        served.in_hand.push_back((header.sequence, bytes));
    }

    /// A session has ended or moved.
    fn give_back(&mut self, id: u64, kind: ToProcess) {
        let served = self.sessions.remove(&id);
        let served = served.unwrap_or_else(|| panic!("{kind:?} of {id}, which is not here"));
        assert!(
            kind == ToProcess::Close || served.in_hand.is_empty() || self.lies,
            "{id} moved with a message in progress"
        );
        assert!(
            kind == ToProcess::Close || !served.is_opening || self.lies,
            "{id} moved while its open hook ran"
        );
    }

    /// The loop has the descriptor of a file: its record follows.
    fn send_file(&mut self, number: u64) {
        let session = *self.files.get(&number).expect("a file that was passed");
        let header = Header {
            kind: FromProcess::File as u8,
            session,
            sequence: number,
            ..Header::default()
        };
        let span = FileSpan {
            offset: 0,
            length: FILE.len() as u64,
            head: FILE.to_vec(),
        };
        let payload = postcard::to_stdvec(&span).expect("plain values");
        self.outbox.push_back((header, payload));
    }

    /// Takes what has come and answers up to `most` messages. True: there was something to do.
    pub(super) fn serve(&mut self, config: &Config, most: usize) -> bool {
        let mut is_busy = self.take(usize::MAX);
        let ready: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, served)| !served.in_hand.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in ready.into_iter().take(most) {
            is_busy |= self.handle(config, id, Outcome::Echoed);
        }
        is_busy |= self.end_job(0);
        let asked: Vec<u64> = self.requests.keys().copied().collect();
        for number in asked {
            is_busy |= self.answer_some(number, usize::MAX);
        }
        self.flush() || is_busy
    }

    /// Ends the handler of a session's oldest message. True: it had one.
    pub(super) fn handle(&mut self, config: &Config, id: u64, outcome: Outcome) -> bool {
        let Some(served) = self.sessions.get_mut(&id) else {
            return false;
        };
        let Some((sequence, bytes)) = served.in_hand.pop_front() else {
            return false;
        };
        let header = Header {
            session: id,
            sequence,
            time: bytes.len() as u64,
            ..Header::default()
        };
        match outcome {
            Outcome::Echoed => self.send(
                Header {
                    kind: FromProcess::Send as u8,
                    flags: DONE,
                    ..header
                },
                &bytes,
            ),
            Outcome::Failed => {
                let on_crash = config.listeners[usize::from(served.listener)].on_crash;
                if on_crash == OnCrash::Redeliver {
                    served.in_hand.clear();
                    served.again = Some(sequence);
                }
                self.outbox.push_back((
                    Header {
                        kind: FromProcess::Done as u8,
                        flags: FAILED,
                        ..header
                    },
                    Vec::new(),
                ));
            }
        }
        true
    }

    /// Ends the oldest post or task. True: there was one.
    pub(super) fn end_job(&mut self, flags: u8) -> bool {
        let Some(job) = self.jobs.pop_front() else {
            return false;
        };
        if job.kind == ToProcess::Post as u8 {
            let header = Header {
                kind: FromProcess::PostDone as u8,
                aux: job.aux,
                session: job.session,
                ..Header::default()
            };
            self.outbox.push_back((header, Vec::new()));
        } else {
            let header = Header {
                kind: FromProcess::TaskDone as u8,
                flags,
                session: job.session,
                ..Header::default()
            };
            self.send(header, b"done");
        }
        true
    }

    /// Sends a message, in parts if it is large.
    pub(super) fn send(&mut self, header: Header, bytes: &[u8]) {
        let most = self.region.producer.max_payload();
        let count = bytes.len().div_ceil(most).max(1);
        for at in 0..count {
            let part = &bytes[at * most..bytes.len().min((at + 1) * most)];
            let is_last = at + 1 == count;
            let mut flags = header.flags & !DONE;
            flags |= if at == 0 { FIRST } else { 0 };
            flags |= if is_last {
                LAST | header.flags & DONE
            } else {
                0
            };
            self.outbox
                .push_back((Header { flags, ..header }, part.to_vec()));
        }
    }

    /// The number of a file for this session. Its record follows once the loop has the descriptor.
    pub(super) fn pass_file(&mut self, session: u64) -> u64 {
        let number = self.number();
        self.files.insert(number, session);
        number
    }

    /// Files that are under way.
    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// Bytes that it has written into its ring; none of them wait in front of it.
    pub(super) fn position(&self) -> Option<u64> {
        let position = self.region.producer.position();
        self.outbox.is_empty().then_some(position)
    }

    /// How many records of this kind it has taken.
    pub(super) fn has_taken(&self, kind: ToProcess) -> u64 {
        self.taken.get(&(kind as u8)).copied().unwrap_or_default()
    }

    /// Queues one record as it is.
    pub(super) fn push(&mut self, header: Header, payload: &[u8]) {
        self.outbox.push_back((header, payload.to_vec()));
    }

    /// Writes a record of the answer to a request.
    pub(super) fn respond(&mut self, kind: FromProcess, number: u64, flags: u8, payload: &[u8]) {
        let header = Header {
            kind: kind as u8,
            flags,
            session: number,
            ..Header::default()
        };
        self.push(header, payload);
        self.flush();
    }

    /// A number for a post, a task, a question or a broadcast.
    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Publishes what fits into the ring. True: there was something.
    pub(super) fn flush(&mut self) -> bool {
        let mut some = false;
        while let Some((header, payload)) = self.outbox.front() {
            if self.region.producer.push(header, &[payload]).is_err() {
                break;
            }
            self.outbox.pop_front();
            some = true;
        }
        if self.region.producer.publish() {
            self.bell.ring();
        }
        some
    }
}

/// How a handler ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It sends the message back.
    Echoed,
    /// It fails.
    Failed,
}
