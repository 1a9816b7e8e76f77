//! Posts from worker to worker, and tasks with their results: what travels through a loop without a session.
//!
//! A loop holds what does not fit its destination's ring. How much that can be is bounded by the ledgers of those who asked
//! for it.

use std::collections::VecDeque;

use bytes::Bytes;
use moorline_ipc::Header;
use rustc_hash::{FxHashMap, FxHashSet};

use super::event_loop::Loop;
use super::ledger::Request;
use super::memory::Class;
use super::outbound::NO_MEMORY;
use super::processes::{Parcel, Post, Process, Standing};
use super::recovery::Death;
use crate::control::{ProcessId, Role};
use crate::wire::{FAILED, FIRST, LAST, ToProcess};

/// Why a task fails where nobody can work on it.
const NO_TASK_WORKERS: &[u8] = b"there are no task workers: set [tasks] count";

/// The tasks that passed through this loop and have not ended.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    jobs: FxHashMap<u64, Job>,
    waiting: VecDeque<u64>,
    /// The processes that serve tasks.
    workers: Vec<u16>,
    /// A timer will look at those that wait for one slot.
    pub(super) is_timed: bool,
    last: u64,
}

#[derive(Debug)]
struct Job {
    /// Who asked: its place, its name, and its number for the task.
    origin: (u16, ProcessId, u64),
    payload: Bytes,
    deaths: u32,
    /// The slot that is to do it, and until when, in the loop's milliseconds, it waits for that one alone.
    slot: Option<(u16, u64)>,
    /// Who works on it.
    worker: Option<u16>,
}

impl Tasks {
    /// Bytes of their payloads.
    pub(super) fn bytes(&self) -> usize {
        self.jobs.values().map(|job| job.payload.len()).sum()
    }

    /// Whether a process neither works on a task of this loop nor waits for one.
    pub(super) fn is_clear_of(&self, at: u16, process: ProcessId) -> bool {
        !self
            .jobs
            .values()
            .any(|job| job.worker == Some(at) || job.origin.1 == process)
    }
}

impl Loop {
    /// Sends what waits for room in a process's ring. True: nothing waits any more.
    pub(super) fn forward_parcels(&mut self, at: u16) -> bool {
        let process = &mut self.processes[usize::from(at)];
        let most = process.producer.max_payload();
        let mut pushed = false;
        while let Some(parcel) = process.parcels.front_mut() {
            let left = parcel.bytes.len() - parcel.offset;
            let length = left.min(most);
            let mut header = parcel.header;
            header.flags |=
                if parcel.offset == 0 { FIRST } else { 0 } | if length == left { LAST } else { 0 };
            let part = &parcel.bytes[parcel.offset..parcel.offset + length];
            if process.producer.push(&header, &[part]).is_err() {
                if pushed {
                    process.publish();
                }
                if process.producer.wait_for_room(length) {
                    return self.forward_parcels(at);
                }
                self.block(at);
                return false;
            }
            pushed = true;
            parcel.offset += length;
            if length == left {
                let (header, held) = (parcel.header, parcel.held());
                process.parcels.pop_front();
                process.ledger.answered(&header);
                self.memory.release(Class::Transfers, held);
            }
        }
        if pushed {
            self.mark_dirty(at);
        }
        true
    }

    pub(super) fn parcel_to(&mut self, at: u16, header: Header, bytes: Bytes) {
        let parcel = Parcel {
            header,
            bytes,
            offset: 0,
            post: None,
        };
        self.memory.hold(Class::Transfers, parcel.held());
        self.processes[usize::from(at)].parcels.push_back(parcel);
        self.forward_parcels(at);
    }

    /// A post from one worker slot to another.
    pub(super) fn post(&mut self, at: u16, header: &Header, bytes: Vec<u8>) -> Result<(), String> {
        let (from, to) = (self.slot_of(at), header.aux);
        let sender = &mut self.processes[usize::from(at)];
        sender.ledger.open(Request::Post(to, bytes.len()))?;
        let post = Post {
            sender: (at, sender.id),
            to,
            bytes: bytes.len(),
        };
        let parcel = Parcel {
            header: Header {
                kind: ToProcess::Post as u8,
                aux: from,
                session: header.session,
                ..Header::default()
            },
            bytes: bytes.into(),
            offset: 0,
            post: Some(post),
        };
        let Some(slot) = self.slots.get_mut(usize::from(to)) else {
            self.return_credit(post, header.session, FAILED);
            return Ok(());
        };
        self.memory.hold(Class::Transfers, parcel.held());
        match slot.process {
            Some(place) => {
                let process = &mut self.processes[usize::from(place)];
                process.posts.insert((from, header.session), post);
                process.parcels.push_back(parcel);
                self.forward_parcels(place);
            }
            None => slot.parcels.push_back(parcel),
        }
        Ok(())
    }

    /// There was no memory for a post.
    pub(super) fn refuse_post(&mut self, at: u16, header: &Header) -> Result<(), String> {
        let (to, bytes) = (header.aux, 0);
        let sender = &mut self.processes[usize::from(at)];
        sender.ledger.open(Request::Post(to, bytes))?;
        let sender = (at, sender.id);
        self.return_credit(Post { sender, to, bytes }, header.session, FAILED);
        Ok(())
    }

    fn slot_of(&self, at: u16) -> u16 {
        match self.processes[usize::from(at)].role {
            Role::Worker(slot) | Role::Task(slot) => slot,
            Role::Gateway => 0,
        }
    }

    /// A post has been handled: its sender's credit returns.
    pub(super) fn post_done(&mut self, at: u16, header: &Header) {
        let posts = &mut self.processes[usize::from(at)].posts;
        if let Some(post) = posts.remove(&(header.aux, header.session)) {
            self.return_credit(post, header.session, 0);
        }
    }

    /// Tells the sender of a post that it is done, if that one still lives.
    fn return_credit(&mut self, post: Post, number: u64, flags: u8) {
        let (at, id) = post.sender;
        let sender = self.processes.get_mut(usize::from(at));
        let Some(sender) = sender.filter(|sender| sender.id == id) else {
            return;
        };
        sender.ledger.carried(Request::Post(post.to, post.bytes));
        let header = Header {
            kind: ToProcess::PostDone as u8,
            flags,
            aux: post.to,
            session: number,
            ..Header::default()
        };
        self.parcel_to(at, header, Bytes::new());
    }

    /// The posts that a dead process had in hand are lost; their senders get their credit.
    pub(super) fn return_posts(&mut self, process: &mut Process) {
        for ((_, number), post) in std::mem::take(&mut process.posts) {
            self.return_credit(post, number, FAILED);
        }
    }

    /// A worker asks for a task.
    pub(super) fn begin_task(
        &mut self,
        at: u16,
        header: &Header,
        bytes: Vec<u8>,
    ) -> Result<(), String> {
        let process = &mut self.processes[usize::from(at)];
        let origin = (at, process.id, header.session);
        process.ledger.open(Request::Task)?;
        if self.lacks_task_workers() {
            self.answer_task(origin, FAILED, Bytes::from_static(NO_TASK_WORKERS));
            return Ok(());
        }
        if !self.has_memory_for(bytes.len()) {
            self.answer_task(origin, FAILED, Bytes::from_static(NO_MEMORY));
            return Ok(());
        }
        self.tasks.last += 1;
        let number = self.tasks.last;
        let patience = self.config.workers.start_timeout.as_millis() as u64;
        let slot = header.aux.checked_sub(1);
        let slot = slot.map(|slot| (slot, self.clock.ms + patience));
        self.memory.change(Class::Tasks, 0, bytes.len());
        self.tasks.jobs.insert(
            number,
            Job {
                origin,
                payload: bytes.into(),
                deaths: 0,
                slot,
                worker: None,
            },
        );
        self.give_or_keep(number);
        if slot.is_some() {
            self.time_tasks();
        }
        Ok(())
    }

    /// There was no memory for a task.
    pub(super) fn refuse_task(&mut self, at: u16, header: &Header) -> Result<(), String> {
        let process = &mut self.processes[usize::from(at)];
        let origin = (at, process.id, header.session);
        process.ledger.open(Request::Task)?;
        self.answer_task(origin, FAILED, Bytes::from_static(NO_MEMORY));
        Ok(())
    }

    /// There are none that serve, and none will come.
    fn lacks_task_workers(&self) -> bool {
        self.config.tasks.count == 0 && self.tasks.workers.is_empty()
    }

    /// Gives the tasks that wait to the task workers with the fewest, or to those they are for. One that is for a
    /// slot waits for its process as long as that may take to start, and then goes to any.
    pub(super) fn give_tasks(&mut self) {
        for _ in 0..self.tasks.waiting.len() {
            if let Some(number) = self.tasks.waiting.pop_front() {
                self.give_or_keep(number);
            }
        }
        self.time_tasks();
    }

    fn give_or_keep(&mut self, number: u64) {
        if self.lacks_task_workers() {
            if let Some(job) = self.tasks.jobs.remove(&number) {
                self.memory.change(Class::Tasks, job.payload.len(), 0);
                self.answer_task(job.origin, FAILED, Bytes::from_static(NO_TASK_WORKERS));
            }
            return;
        }
        let Some(job) = self.tasks.jobs.get(&number) else {
            return;
        };
        let slot = job.slot.filter(|(_, until)| *until > self.clock.ms);
        match self.task_worker(slot.map(|(slot, _)| slot)) {
            Some(worker) => self.give_task(number, worker),
            None => self.tasks.waiting.push_back(number),
        }
    }

    /// Has those that wait for one slot looked at again when the first of them has waited for long enough.
    fn time_tasks(&mut self) {
        if self.tasks.is_timed {
            return;
        }
        let waiting = self.tasks.waiting.iter();
        let until = waiting.filter_map(|number| Some(self.tasks.jobs.get(number)?.slot?.1));
        if let Some(until) = until.filter(|until| *until > self.clock.ms).min() {
            self.tasks.is_timed = true;
            self.timers.give_tasks_again(until);
        }
    }

    /// Other processes serve than before.
    pub(super) fn note_task_workers(&mut self) {
        self.tasks.workers = self.serving_tasks().collect();
    }

    fn serving_tasks(&self) -> impl Iterator<Item = u16> {
        let processes = self.processes.iter();
        let serving = processes.filter(|(_, process)| {
            process.standing == Standing::Serving && matches!(process.role, Role::Task(_))
        });
        serving.map(|(at, _)| at as u16)
    }

    /// Whether the list of those that serve tasks is right.
    pub(super) fn knows_task_workers(&self) -> bool {
        self.serving_tasks().eq(self.tasks.workers.iter().copied())
    }

    /// The task worker that serves this slot, or the one with the fewest tasks, of those that answer if any does.
    fn task_worker(&self, slot: Option<u16>) -> Option<u16> {
        let workers = self.tasks.workers.iter().copied();
        workers
            .filter(|at| slot.is_none_or(|slot| self.slot_of(*at) == slot))
            .min_by_key(|at| {
                let process = &self.processes[usize::from(*at)];
                (process.is_silent, process.tasks)
            })
    }

    fn give_task(&mut self, number: u64, worker: u16) {
        let Some(job) = self.tasks.jobs.get_mut(&number) else {
            return;
        };
        job.worker = Some(worker);
        self.processes[usize::from(worker)].tasks += 1;
        let header = Header {
            kind: ToProcess::Task as u8,
            session: number,
            sequence: u64::from(job.deaths) + 1,
            ..Header::default()
        };
        let payload = job.payload.clone();
        self.parcel_to(worker, header, payload);
    }

    /// A task worker has ended one.
    pub(super) fn end_task(&mut self, at: u16, header: &Header, bytes: Vec<u8>) {
        if self
            .tasks
            .jobs
            .get(&header.session)
            .is_none_or(|job| job.worker != Some(at))
        {
            return;
        }
        if let Some(job) = self.tasks.jobs.remove(&header.session) {
            self.processes[usize::from(at)].tasks -= 1;
            self.memory.change(Class::Tasks, job.payload.len(), 0);
            self.answer_task(job.origin, header.flags & FAILED, bytes.into());
        }
    }

    fn answer_task(
        &mut self,
        (at, process, number): (u16, ProcessId, u64),
        flags: u8,
        bytes: Bytes,
    ) {
        if self
            .processes
            .get(usize::from(at))
            .is_some_and(|asker| asker.id == process)
        {
            let header = Header {
                kind: ToProcess::TaskDone as u8,
                flags,
                session: number,
                ..Header::default()
            };
            self.parcel_to(at, header, bytes);
        }
    }

    /// A process has died: what it worked on goes to another, what it asked for is of no use any more. A task that it had
    /// not taken to its end did not see its death.
    pub(super) fn reassign_tasks(
        &mut self,
        at: u16,
        process: &Process,
        untaken: &FxHashSet<u64>,
        death: Death,
    ) {
        let unsent: FxHashSet<u64> = process
            .parcels
            .iter()
            .filter(|parcel| parcel.header.kind == ToProcess::Task as u8)
            .map(|parcel| parcel.header.session)
            .collect();
        let has_begun = |number: &u64| !unsent.contains(number) && !untaken.contains(number);
        let attempts = self.config.tasks.attempts;
        let mut affected: Vec<u64> = self
            .tasks
            .jobs
            .iter()
            .filter(|(_, job)| job.worker == Some(at))
            .map(|(number, _)| *number)
            .collect();
        // In the order in which they were asked for.
        affected.sort_unstable();
        for number in affected {
            let Some(job) = self.tasks.jobs.get_mut(&number) else {
                continue;
            };
            job.worker = None;
            job.deaths += u32::from(has_begun(&number) && !death.forced);
            if job.deaths >= attempts {
                let (origin, payload) = (job.origin, job.payload.len());
                self.tasks.jobs.remove(&number);
                self.memory.change(Class::Tasks, payload, 0);
                let why = format!("its task worker died, {attempts} times in a row");
                self.answer_task(origin, FAILED, why.into());
            } else {
                self.tasks.waiting.push_back(number);
            }
        }
        let mut dropped = 0;
        self.tasks.jobs.retain(|_, job| {
            let stays = job.origin.0 != at || job.worker.is_some();
            dropped += if stays { 0 } else { job.payload.len() };
            stays
        });
        self.memory.change(Class::Tasks, dropped, 0);
        let jobs = &self.tasks.jobs;
        self.tasks
            .waiting
            .retain(|number| jobs.contains_key(number));
        self.give_tasks();
    }
}

/// Puts the parts of the posts that a dead process had not taken together again.
pub(super) fn gather(
    parcels: &mut Vec<Parcel>,
    open: &mut FxHashSet<(u16, u64)>,
    header: Header,
    payload: &[u8],
) {
    let name = (header.aux, header.session);
    if header.flags & FIRST != 0 {
        let header = Header {
            flags: header.flags & !(FIRST | LAST),
            ..header
        };
        parcels.push(Parcel {
            header,
            bytes: payload.to_vec().into(),
            offset: 0,
            post: None,
        });
        open.insert(name);
    } else if open.contains(&name)
        && let Some(parcel) = parcels
            .iter_mut()
            .rev()
            .find(|parcel| (parcel.header.aux, parcel.header.session) == name)
    {
        parcel.bytes = [&parcel.bytes, payload].concat().into();
    }
    if header.flags & LAST != 0 && !open.remove(&name) {
        // Its first parts were taken: it is lost.
        parcels.retain(|parcel| (parcel.header.aux, parcel.header.session) != name);
    }
}
