//! Tasks and their results: workers request slow jobs, and task workers do them.
//!
//! A loop holds what does not fit into the receiver's ring. The ledgers of the senders bound how much that can be.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use moorline_ipc::Header;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::ids::{ProcessKey, SlotId};
use crate::memory::Class;
use crate::processes::Processes;
use crate::processes::ledger::Request;
use crate::processes::process::Process;
use crate::timers::Alarm;
use crate::tools::Tools;
use crate::transfer::Asker;
use moorline_protocol::control::ProcessId;
use moorline_protocol::wire::{FAILED, ToProcess};

/// Why a task fails that no process can run.
const NO_TASK_WORKERS: &[u8] = b"there are no task workers: set [tasks] count";
/// The reason of a refusal.
pub(crate) const NO_MEMORY: &[u8] = b"no memory for it: the engine's memory_limit is reached";

/// The tasks that passed through this loop and have not ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tasks {
    jobs: FxHashMap<u64, Job>,
    waiting: VecDeque<u64>,
    /// A timer will check the tasks that wait for one slot.
    is_timed: bool,
    last: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    origin: Asker,
    payload: Bytes,
    deaths: u32,
    /// The slot that should run it, and until when, in the loop's milliseconds, it waits for that one alone.
    slot: Option<(SlotId, u64)>,
    /// The process that runs it.
    worker: Option<ProcessKey>,
}

impl Tasks {
    /// Whether a process neither works on a task of this loop nor waits for one.
    pub(crate) fn is_clear_of(&self, at: ProcessKey, process: ProcessId) -> bool {
        !self
            .jobs
            .values()
            .any(|job| job.worker == Some(at) || job.origin.process == process)
    }

    /// A worker asks for a task.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn begin(
        &mut self,
        at: ProcessKey,
        header: &Header,
        bytes: Vec<u8>,
        has_memory: bool,
        tools: &mut Tools,
    ) -> Result<(), String> {
        let origin = open(at, header, &mut tools.processes)?;
        if lacks_workers(tools) {
            answer(origin, FAILED, Bytes::from_static(NO_TASK_WORKERS), tools);
            return Ok(());
        }
        if !has_memory {
            answer(origin, FAILED, Bytes::from_static(NO_MEMORY), tools);
            return Ok(());
        }
        self.last += 1;
        let number = self.last;
        let patience = tools.cx.config.workers.start_timeout.as_millis() as u64;
        let slot = header.aux.checked_sub(1).map(SlotId);
        let slot = slot.map(|slot| (slot, tools.cx.clock.ms + patience));
        tools.memory.hold(Class::Tasks, bytes.len());
        let job = Job {
            origin,
            payload: bytes.into(),
            deaths: 0,
            slot,
            worker: None,
        };
        self.jobs.insert(number, job);
        self.give_or_keep(number, tools);
        if slot.is_some() {
            self.set_timer(tools);
        }
        Ok(())
    }

    /// They have come from another process.
    ///
    /// # Errors
    /// They cannot be the tasks of this loop.
    pub(crate) fn take_up(&mut self, tools: &mut Tools) -> io::Result<()> {
        let is_there = |job: &Job| {
            job.worker
                .is_none_or(|at| tools.processes.get(at).is_some())
        };
        let are_sound = self
            .jobs
            .iter()
            .all(|(number, job)| *number <= self.last && is_there(job))
            && self
                .waiting
                .iter()
                .all(|number| self.jobs.contains_key(number));
        if !are_sound {
            let text = "the present gateway's state is not understood: its tasks";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.is_timed = false;
        self.set_timer(tools);
        Ok(())
    }

    /// The timer that this has set is due.
    pub(crate) fn timer_is_due(&mut self, tools: &mut Tools) {
        self.is_timed = false;
        self.give(tools);
    }

    /// Gives the waiting tasks to the task workers with the fewest tasks, or to the ones that they name. A task for one
    /// slot waits for that slot's process as long as its start may take, and then goes to any.
    pub(crate) fn give(&mut self, tools: &mut Tools) {
        for _ in 0..self.waiting.len() {
            if let Some(number) = self.waiting.pop_front() {
                self.give_or_keep(number, tools);
            }
        }
        self.set_timer(tools);
    }

    fn give_or_keep(&mut self, number: u64, tools: &mut Tools) {
        if lacks_workers(tools) {
            if let Some(job) = self.jobs.remove(&number) {
                tools.memory.release(Class::Tasks, job.payload.len());
                let why = Bytes::from_static(NO_TASK_WORKERS);
                answer(job.origin, FAILED, why, tools);
            }
            return;
        }
        let Some(job) = self.jobs.get(&number) else {
            return;
        };
        let slot = job.slot.filter(|(_, until)| *until > tools.cx.clock.ms);
        match worker_for(slot.map(|(slot, _)| slot), &tools.processes) {
            Some(worker) => self.give_one(number, worker, tools),
            None => self.waiting.push_back(number),
        }
    }

    /// Checks the tasks that wait for one slot again when the first of them has waited for long enough.
    fn set_timer(&mut self, tools: &mut Tools) {
        if self.is_timed {
            return;
        }
        let waiting = self.waiting.iter();
        let until = waiting.filter_map(|number| Some(self.jobs.get(number)?.slot?.1));
        let now = tools.cx.clock.ms;
        if let Some(until) = until.filter(|until| *until > now).min() {
            self.is_timed = true;
            tools.agenda.timers.set(until, Alarm::Tasks);
        }
    }

    fn give_one(&mut self, number: u64, worker: ProcessKey, tools: &mut Tools) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        job.worker = Some(worker);
        tools.processes[worker].tasks += 1;
        let header = Header {
            kind: ToProcess::Task as u8,
            session: number,
            sequence: u64::from(job.deaths) + 1,
            ..Header::default()
        };
        let payload = job.payload.clone();
        let (processes, memory) = (&mut tools.processes, &mut tools.memory);
        processes.transfer(worker, header, payload, memory);
    }

    /// A task worker has finished a task.
    pub(crate) fn end(
        &mut self,
        at: ProcessKey,
        header: &Header,
        bytes: Vec<u8>,
        tools: &mut Tools,
    ) {
        let number = header.session;
        let is_its = |job: &Job| job.worker == Some(at);
        if !self.jobs.get(&number).is_some_and(is_its) {
            return;
        }
        if let Some(job) = self.jobs.remove(&number) {
            tools.processes[at].tasks -= 1;
            tools.memory.release(Class::Tasks, job.payload.len());
            answer(job.origin, header.flags & FAILED, bytes.into(), tools);
        }
    }

    /// A process has died: tasks that it ran go to another process; tasks that it asked for are dropped. A task that it
    /// had not received completely does not count its death.
    pub(crate) fn reassign(
        &mut self,
        at: ProcessKey,
        process: &Process,
        untaken: &FxHashSet<u64>,
        forced: bool,
        tools: &mut Tools,
    ) {
        let unsent: FxHashSet<u64> = process
            .transfers
            .iter()
            .filter(|transfer| transfer.header.kind == ToProcess::Task as u8)
            .map(|transfer| transfer.header.session)
            .collect();
        let has_begun = |number: &u64| !unsent.contains(number) && !untaken.contains(number);
        let attempts = tools.cx.config.tasks.attempts;
        let of_it = self.jobs.iter().filter(|(_, job)| job.worker == Some(at));
        let mut affected: Vec<u64> = of_it.map(|(number, _)| *number).collect();
        // In the order of the requests.
        affected.sort_unstable();
        for number in affected {
            let Some(job) = self.jobs.get_mut(&number) else {
                continue;
            };
            job.worker = None;
            job.deaths += u32::from(has_begun(&number) && !forced);
            if job.deaths >= attempts {
                let (origin, payload) = (job.origin, job.payload.len());
                self.jobs.remove(&number);
                tools.memory.release(Class::Tasks, payload);
                let why = format!("its task worker died, {attempts} times in a row");
                answer(origin, FAILED, why.into(), tools);
            } else {
                self.waiting.push_back(number);
            }
        }
        self.forget_asked_by(at, tools);
        self.give(tools);
    }

    /// No process waits any more for the tasks that this one has asked for. Only running ones continue.
    fn forget_asked_by(&mut self, at: ProcessKey, tools: &mut Tools) {
        let mut dropped = 0;
        self.jobs.retain(|_, job| {
            let stays = job.origin.at != at || job.worker.is_some();
            dropped += if stays { 0 } else { job.payload.len() };
            stays
        });
        tools.memory.release(Class::Tasks, dropped);
        let jobs = &self.jobs;
        self.waiting.retain(|number| jobs.contains_key(number));
    }

    /// Bytes of their payloads.
    pub(crate) fn bytes(&self) -> usize {
        self.jobs.values().map(|job| job.payload.len()).sum()
    }
}

/// There was no memory for a task.
///
/// # Errors
/// There are too many.
pub(crate) fn refuse_task(
    at: ProcessKey,
    header: &Header,
    tools: &mut Tools,
) -> Result<(), String> {
    let origin = open(at, header, &mut tools.processes)?;
    answer(origin, FAILED, Bytes::from_static(NO_MEMORY), tools);
    Ok(())
}

fn open(at: ProcessKey, header: &Header, processes: &mut Processes) -> Result<Asker, String> {
    let process = &mut processes[at];
    process.ledger.open(Request::Task)?;
    Ok(Asker {
        at,
        process: process.id,
        number: header.session,
    })
}

fn answer(origin: Asker, flags: u8, bytes: Bytes, tools: &mut Tools) {
    let (processes, memory) = (&mut tools.processes, &mut tools.memory);
    processes.answer(origin, ToProcess::TaskDone, flags, bytes, memory);
}

/// No process serves tasks, and none will.
fn lacks_workers(tools: &Tools) -> bool {
    tools.cx.config.tasks.count == 0 && tools.processes.task_workers().is_empty()
}

/// The task worker of this slot, or the one with the fewest tasks, preferably one that answers.
fn worker_for(slot: Option<SlotId>, processes: &Processes) -> Option<ProcessKey> {
    let workers = processes.task_workers().iter().copied();
    workers
        .filter(|at| slot.is_none_or(|slot| processes[*at].slot() == slot))
        .min_by_key(|at| (processes[*at].is_silent, processes[*at].tasks))
}
