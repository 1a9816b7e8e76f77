//! What one gateway leaves to the next.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use moorline_ipc::Doorbell;
use moorline_protocol::control::{ProcessId, Role};
use moorline_protocol::control_channel::decode;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::history::KeptHistories;
use crate::shared::hub::Hub;
use crate::stream::Stream;
use crate::upgrade::take_up::Inheritance;

/// What the main thread has, for the next one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptEstate {
    /// Since when no session is read, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) since_ns: u64,
    pub(super) loops: u16,
    pub(super) last_request: u64,
    /// With the doorbell and the channel for files of each.
    pub(super) processes: Vec<(ProcessId, Role, u32)>,
}

/// What another gateway has sent.
pub(super) struct Heirloom {
    loops: Vec<Inheritance>,
    estate: Estate,
}

/// The part for the main thread.
pub(super) struct Estate {
    pub(super) kept: KeptEstate,
    pub(super) processes: Vec<(ProcessId, Role, u32, Arc<Doorbell>, OwnedFd)>,
}

impl Heirloom {
    /// The parts for the loops, in their order, and the one for the main thread.
    pub(super) fn split(self) -> (Vec<Inheritance>, Estate) {
        (self.loops, self.estate)
    }
}

/// Takes what another gateway sends, the histories of groups at once.
///
/// # Errors
/// It is not what a gateway of this version has.
pub(super) fn receive(stream: &Stream, loops: usize, hub: &Hub) -> io::Result<Heirloom> {
    let garbled = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (bytes, descriptors) = stream.receive()?;
    let kept: KeptEstate = decode(&bytes)?;
    if usize::from(kept.loops) != loops {
        return Err(garbled("`engine.gateway_loops` has changed"));
    }
    if descriptors.len() != 2 * kept.processes.len() {
        return Err(garbled("descriptors of processes are missing"));
    }
    let mut descriptors = descriptors.into_iter();
    let mut processes = Vec::new();
    let mut doorbells = FxHashMap::default();
    for (process, role, pid) in &kept.processes {
        let (Some(doorbell), Some(files)) = (descriptors.next(), descriptors.next()) else {
            return Err(garbled("descriptors of processes are missing"));
        };
        let doorbell = Arc::new(Doorbell::from_fd(doorbell));
        doorbells.insert(*process, doorbell.clone());
        processes.push((*process, *role, *pid, doorbell, files));
    }
    let histories: KeptHistories = decode(&stream.receive()?.0)?;
    if !hub.take_up(histories) {
        return Err(garbled("the histories of groups"));
    }
    let mut inherited = Vec::new();
    for _ in 0..loops {
        let (bytes, descriptors) = stream.receive()?;
        inherited.push(Inheritance {
            bytes,
            descriptors,
            doorbells: doorbells.clone(),
        });
    }
    Ok(Heirloom {
        loops: inherited,
        estate: Estate { kept, processes },
    })
}
