//! A process on its way to the gateway that goes on with it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use moorline_config::Config;
use moorline_ipc::{Chime, Doorbell, KeptConsumer, KeptProducer, Marks, Region};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;

use super::{Partial, Process, Standing};
use crate::ids::{SessionRef, SlotId};
use crate::processes::ledger::Ledger;
use crate::processes::pending_close::PendingClose;
use crate::transfer::{Post, Transfer};
use moorline_protocol::control::{ProcessId, Role};

/// A process, without what only one process can hold.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptProcess {
    pub(crate) id: ProcessId,
    pid: u32,
    pub(crate) role: Role,
    pub(crate) standing: Standing,
    is_silent: bool,
    producer: KeptProducer,
    consumer: KeptConsumer,
    is_asked: bool,
    asked: usize,
    pub(crate) askers: VecDeque<SessionRef>,
    pub(crate) waiters: VecDeque<SessionRef>,
    owed: BTreeSet<SessionRef>,
    went_at: u64,
    took: (u64, u64),
    pub(crate) transfers: VecDeque<Transfer>,
    partials: Vec<((u8, u64), Partial)>,
    posts: Vec<((SlotId, u64), Post)>,
    ledger: Ledger,
    tasks: usize,
    closings: VecDeque<(u64, PendingClose)>,
}

/// What connects a loop with a process, for a loop that goes on with it.
pub(crate) struct ProcessLinks {
    pub(crate) region: OwnedFd,
    pub(crate) chime: OwnedFd,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) rules: Arc<Config>,
}

impl Process {
    /// What another gateway must know to go on with it. `None`: its records are being handled.
    pub(crate) fn keep(&mut self) -> Option<KeptProcess> {
        Some(KeptProcess {
            id: self.id,
            pid: self.pid,
            role: self.role,
            standing: self.standing,
            is_silent: self.is_silent,
            producer: self.producer.keep(),
            consumer: self.consumer.as_ref()?.keep(),
            is_asked: self.is_asked,
            asked: self.asked,
            askers: self.askers.clone(),
            waiters: self.waiters.clone(),
            owed: self.owed.clone(),
            went_at: self.went_at,
            took: self.took,
            transfers: self.transfers.clone(),
            partials: listed(&self.partials),
            posts: listed(&self.posts),
            ledger: self.ledger.clone(),
            tasks: self.tasks,
            closings: self.closings.clone(),
        })
    }

    /// What it notes for the case of its death.
    pub(crate) fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// The region that it shares with this loop.
    pub(crate) fn region(&self) -> &OwnedFd {
        &self.region
    }
}

fn listed<K: Copy, V: Clone>(map: &FxHashMap<K, V>) -> Vec<(K, V)> {
    let entries = map.iter();
    entries.map(|(key, entry)| (*key, entry.clone())).collect()
}

impl KeptProcess {
    /// The process again. What it has of sessions is counted when they are taken up.
    ///
    /// # Errors
    /// Its region is none, or its positions are not.
    pub(crate) fn take_up(self, links: ProcessLinks) -> io::Result<Process> {
        let ProcessLinks {
            region,
            chime,
            doorbell,
            rules,
        } = links;
        let region = Region::resume(region, self.producer, self.consumer)?;
        let chime = Chime::from_fd(chime);
        let name = (self.id, self.pid);
        let transfers = self.transfers;
        Ok(Process {
            standing: self.standing,
            is_silent: self.is_silent,
            is_asked: self.is_asked,
            asked: self.asked,
            askers: self.askers,
            waiters: self.waiters,
            owed: self.owed,
            went_at: self.went_at,
            took: self.took,
            drained_waiting: transfers.iter().filter(|it| it.is_drained()).count(),
            transfers,
            partials: self.partials.into_iter().collect(),
            posts: self.posts.into_iter().collect(),
            ledger: self.ledger,
            tasks: self.tasks,
            closings: self.closings,
            ..Process::new(name, self.role, region, doorbell, chime, rules)
        })
    }
}
