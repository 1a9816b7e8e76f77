//! What a loop has, as bytes and descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use serde::Serialize;

use super::LoopHead;
use super::shared_frames::SharedFrames;
use crate::event_loop::Loop;
use crate::stream::MOST_BYTES;

/// What a loop has, for the process that goes on with it.
#[derive(Debug)]
pub(crate) struct KeptLoop<'a> {
    pub(crate) bytes: Vec<u8>,
    /// For each process its region and its chime, then the socket of each session that has one.
    pub(crate) descriptors: Vec<BorrowedFd<'a>>,
}

impl Loop {
    /// About how many bytes go to another process: those that it holds.
    pub(crate) fn weight(&self) -> u64 {
        self.tools.memory.held()
    }

    /// What another process needs to go on with it, if nothing [is in the way](super::obstacles) and it has
    /// [settled](super::settle). It stays as it is.
    ///
    /// # Errors
    /// It is in the middle of something.
    pub(crate) fn keep_all(&mut self) -> io::Result<KeptLoop<'_>> {
        self.tools.processes.publish();
        let mut processes = Vec::new();
        for (at, process) in self.tools.processes.iter_mut() {
            let kept = process.keep().ok_or_else(busy)?;
            processes.push((at, kept));
        }
        let agenda = &self.tools.agenda;
        let weight = self.tools.memory.held();
        let frames = SharedFrames::of(self.sessions.iter());
        let first_requests = agenda.first_requests.waiting.iter();
        let kept = LoopHead {
            index: self.tools.cx.index,
            last_serial: self.sessions.last_serial(),
            started_ns: self.tools.cx.clock.started_ns(),
            groups: self.groups.keep(),
            slots: self.tools.processes.slots.clone(),
            turns: self.tools.processes.turns(),
            processes: processes.iter().map(|(at, _)| *at).collect(),
            sessions: self.sessions.len() as u32,
            frames: frames.iter().len() as u32,
            timers: agenda.timers.of_sessions(),
            work: agenda.work.iter().chain(first_requests).copied().collect(),
            sweep: agenda.sweep.iter().copied().collect(),
            held_back: self.tools.throttle.held_back().iter().copied().collect(),
        };
        // About what follows, so that it is not copied as it grows.
        let mut bytes = append(Vec::with_capacity(weight.min(MOST_BYTES) as usize), &kept)?;
        bytes = append(bytes, &self.tasks)?;
        for (_, process) in &processes {
            bytes = append(bytes, process)?;
        }
        for frame in frames.iter() {
            bytes = append(bytes, &KeptFrame(frame))?;
        }
        for session in self.sessions.iter() {
            let has_socket = session.transport.socket.is_some();
            let notes = session.notes.as_ref();
            let notes = notes.map(|notes| notes.keep(&self.tools.cx.shared.limits));
            bytes = append(
                bytes,
                &(has_socket, session, frames.places(session)?, notes),
            )?;
        }
        let links = self.tools.processes.iter();
        let links = links.flat_map(|(_, it)| [it.region().as_fd(), it.chime.as_fd()]);
        let sockets = self.sessions.iter();
        let sockets = sockets.filter_map(|it| it.transport.socket.as_ref().map(AsFd::as_fd));
        Ok(KeptLoop {
            bytes,
            descriptors: links.chain(sockets).collect(),
        })
    }
}

/// As [`TakenFrame`](super::take_up) reads it.
#[derive(Serialize)]
struct KeptFrame<'a>(#[serde(with = "crate::kept::bytes")] &'a [u8]);

fn append(bytes: Vec<u8>, part: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_extend(part, bytes).map_err(io::Error::other)
}

fn busy() -> io::Error {
    io::Error::other("a process's records are being handled")
}
