//! A loop on its way to another process, which goes on with it: a gateway is replaced, and its clients and workers do not
//! notice.
//!
//! What a loop has becomes bytes and descriptors. It stays as it is meanwhile, and goes on if the other process cannot take
//! it. The other one trusts nothing of it: what cannot be is an error.

mod keep;
mod obstacles;
mod settle;
mod shared_frames;
mod stand;
pub(crate) mod take_up;

use serde::{Deserialize, Serialize};

use crate::groups::KeptGroups;
use crate::ids::{ProcessKey, SessionRef};
use crate::processes::dispatch::Turns;
use crate::processes::slot::Slot;
use crate::timers::Alarm;

/// Of one loop, everything but its processes and its sessions, which follow it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoopHead<G> {
    index: u8,
    last_serial: u64,
    /// When its clock began, in nanoseconds of `CLOCK_MONOTONIC`: all its times count from there.
    started_ns: u64,
    groups: G,
    slots: Vec<Slot>,
    turns: Turns,
    /// Their places, in the order in which they follow.
    pub(crate) processes: Vec<ProcessKey>,
    pub(crate) sessions: u32,
    /// Frames that queues share: they come before the sessions.
    pub(crate) frames: u32,
    timers: Vec<(u64, Alarm)>,
    work: Vec<SessionRef>,
    sweep: Vec<SessionRef>,
    held_back: Vec<SessionRef>,
}

/// The same, as it is read.
pub(crate) type ReadHead = LoopHead<KeptGroups>;
