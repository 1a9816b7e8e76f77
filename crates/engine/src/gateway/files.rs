//! Files that apps send: the kernel copies them from the file to the socket. For a session with TLS they are read and
//! encrypted in small parts, as fast as the socket takes them.
//!
//! The worker opens the file, with its own rights, and passes the descriptor over a channel of its own beside the rings; the
//! record in the ring says where in the session's output it goes. Either may be here first. How many files a
//! process has under way is bounded by credits, of descriptors and of records.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use moorline_ipc::{CutOff, Header, Packet, Record, close_elsewhere};
use moorline_net::framing::MAX_HEADER_BYTES;
use rustc_hash::FxHashMap;
use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use super::event_loop::Loop;
use super::ledger::{FILES, Request};
use super::memory::Class;
use super::outqueue::{FilePiece, Piece};
use super::session::Phase;
use super::table::Key;
use super::{Command, Inbox, Report, Shared};
use crate::control::{LoopCounter, ProcessId};
use crate::control_channel::ControlChannel;
use crate::session_id::SessionId;
use crate::wire::{CloseReason, FileSpan, ToProcess};

/// Bytes copied in one call: large enough that the call's own cost does not matter, small enough for others' turns.
const COPY: u64 = 256 * 1024;
/// A number and a session, as they travel beside a descriptor.
pub(crate) const NAME_BYTES: usize = 16;

/// A descriptor that a worker has passed. Dropping it closes it and returns its credit.
#[derive(Debug)]
pub(super) struct PassedFile {
    file: OwnedFd,
    under_way: Arc<AtomicUsize>,
}

impl Drop for PassedFile {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What went wrong with a copy.
pub(super) enum Copied {
    Socket(Errno),
    File(String),
}

impl FilePiece {
    /// Has the kernel copy as much as one call does; at least one byte. Without the descriptor it would wait.
    pub(super) fn copy_to(&mut self, socket: impl AsFd) -> Result<usize, Copied> {
        let Some(PassedFile { file, .. }) = &self.file else {
            return Err(Copied::Socket(Errno::AGAIN));
        };
        let length = self.left.min(COPY) as usize;
        match rustix::fs::sendfile(socket, file, Some(&mut self.offset), length) {
            Ok(0) => Err(self.is_short()),
            Ok(sent) => {
                self.left -= sent as u64;
                Ok(sent)
            }
            Err(error @ (Errno::IO | Errno::INVAL | Errno::OVERFLOW | Errno::NOMEM)) => {
                Err(Copied::File(error.to_string()))
            }
            Err(error) => Err(Copied::Socket(error)),
        }
    }

    /// Reads at most `most` bytes, and at least one, to be encrypted.
    pub(super) fn read(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(), Copied> {
        let Some(PassedFile { file, .. }) = &self.file else {
            return Err(Copied::Socket(Errno::AGAIN));
        };
        out.resize(self.left.min(most as u64) as usize, 0);
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut out[..], self.offset)) {
            Ok(0) => Err(self.is_short()),
            Ok(read) => {
                out.truncate(read);
                self.offset += read as u64;
                self.left -= read as u64;
                Ok(())
            }
            Err(error) => Err(Copied::File(error.to_string())),
        }
    }

    fn is_short(&self) -> Copied {
        Copied::File(format!(
            "it has become shorter, {} bytes are missing",
            self.left
        ))
    }
}

/// Descriptors and records of files that have not found each other yet.
#[derive(Debug, Default)]
pub(super) struct Files(FxHashMap<(ProcessId, u64), Arrival>);

#[derive(Debug)]
enum Arrival {
    /// The descriptor is here, the record is not.
    Early(PassedFile),
    /// The record is here, and with it the session that waits for the descriptor.
    Awaited(Key, u64),
    /// The session has ended: the descriptor is of no use. The file is done with when it comes, and counts until then.
    Unwanted(u16),
}

impl Files {
    /// Files of this process whose descriptors have not come and are of no use.
    pub(super) fn unwanted_of(&self, process: ProcessId) -> usize {
        let of_process = self.0.iter().filter(|((owner, _), _)| *owner == process);
        of_process
            .filter(|(_, arrival)| matches!(arrival, Arrival::Unwanted(_)))
            .count()
    }

    pub(super) fn is_unwanted(&mut self, (at, process, number): (u16, ProcessId, u64)) {
        self.0.insert((process, number), Arrival::Unwanted(at));
    }
}

/// Takes a process's descriptors and hands each to the loop that has its session, until the process is gone: its end of the
/// channel is closed, or `dead` says so. Somebody whom it has left may hold the channel open.
pub(super) async fn receive(
    channel: ControlChannel,
    process: ProcessId,
    loops: Arc<[Inbox]>,
    shared: Arc<Shared>,
    reports: mpsc::UnboundedSender<Report>,
    dead: oneshot::Receiver<()>,
) {
    let passage = Passage {
        process,
        loops: &loops,
        shared: &shared,
        under_way: Arc::new(AtomicUsize::new(0)),
    };
    if let Err(reason) = passage.run(channel, dead).await {
        // Whoever would hear it lives as long as the process.
        let _ = reports.send(Report::Garbage(process, format!("files: {reason}")));
    }
    for inbox in loops.iter() {
        inbox.send(Command::FilesOver { process });
    }
}

/// The way of a process's descriptors to the loops.
struct Passage<'a> {
    process: ProcessId,
    loops: &'a [Inbox],
    shared: &'a Shared,
    under_way: Arc<AtomicUsize>,
}

impl Passage<'_> {
    async fn run(
        &self,
        channel: ControlChannel,
        mut dead: oneshot::Receiver<()>,
    ) -> Result<(), String> {
        loop {
            tokio::select! {
                packet = channel.recv_packet() => match packet.map_err(|error| error.to_string())? {
                    Some(packet) => self.pass_on(packet)?,
                    None => return Ok(()),
                },
                // Said by the sender's end.
                _ = &mut dead => break,
            }
        }
        // What it had passed by then is here. Somebody may go on, so this has an end.
        for _ in 0..FILES {
            match channel.recv_now() {
                Ok(Some(packet)) => self.pass_on(packet)?,
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    fn pass_on(&self, Packet { bytes: name, fds }: Packet) -> Result<(), String> {
        // If they were cut off, this process has no descriptor left for it.
        let (files, is_cut_off) = match fds {
            Ok(files) => (files, false),
            Err(CutOff) => (Vec::new(), true),
        };
        let refuse = |files: Vec<OwnedFd>, reason: String| {
            close_elsewhere(files);
            Err(reason)
        };
        let Ok(name) = <[u8; NAME_BYTES]>::try_from(name) else {
            return refuse(files, "a packet that is none".to_owned());
        };
        let name = u128::from_le_bytes(name);
        let (number, session) = (name as u64, (name >> 64) as u64);
        let Some(inbox) = self.loops.get((session >> 56) as usize) else {
            return refuse(files, "a file for a loop that does not exist".to_owned());
        };
        if is_cut_off {
            inbox.send(Command::File {
                process: self.process,
                number,
                file: None,
            });
            return Ok(());
        }
        let kinds = files.iter().map(|file| {
            let found = rustix::fs::fstat(file)?;
            Ok(FileType::from_raw_mode(found.st_mode))
        });
        let kinds: rustix::io::Result<Vec<_>> = kinds.collect();
        if kinds.as_deref() != Ok(&[FileType::RegularFile]) {
            return refuse(files, format!("{kinds:?} in place of a file"));
        }
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= FILES {
            return refuse(files, format!("over {FILES} files under way"));
        }
        let file = files.into_iter().next().map(|file| PassedFile {
            file,
            under_way: self.under_way.clone(),
        });
        // The rest is kept for new processes, as it is when connections are accepted.
        let limit = self.shared.descriptors();
        let file = file.filter(|file| (file.file.as_raw_fd() as u64) < limit);
        inbox.send(Command::File {
            process: self.process,
            number,
            file,
        });
        Ok(())
    }
}

impl Loop {
    /// A file is to be sent.
    pub(super) fn send_file(&mut self, at: u16, record: &Record<'_>) -> Result<(), String> {
        let header = *record.header();
        let mut bytes = Vec::with_capacity(record.len().min(2 * MAX_HEADER_BYTES));
        if record.len() > 2 * MAX_HEADER_BYTES {
            return Err(format!("a file's record of {} bytes", record.len()));
        }
        record.copy_to(&mut bytes);
        let span: FileSpan =
            postcard::from_bytes(&bytes).map_err(|error| format!("a file's record: {error}"))?;
        let process = &mut self.processes[usize::from(at)];
        let from = (at, process.id, header.sequence);
        process.ledger.open(Request::File)?;
        let arrived = match self.files.0.remove(&(from.1, from.2)) {
            None => None,
            Some(Arrival::Early(file)) => Some(file),
            Some(_) => return Err("two files of one number".to_owned()),
        };
        let is_here = arrived.is_some();
        let queued = self.queue_file(&header, &span, from, arrived);
        match queued {
            Some(key) if is_here => self.flush(key),
            Some(key) => {
                let id = header.session;
                self.files
                    .0
                    .insert((from.1, from.2), Arrival::Awaited(key, id));
            }
            None if is_here => self.file_done(from),
            None => self.files.is_unwanted(from),
        }
        Ok(())
    }

    /// Puts a file with its envelope at the end of a session's queue. `None` if that is not possible.
    fn queue_file(
        &mut self,
        header: &Header,
        span: &FileSpan,
        from: (u16, ProcessId, u64),
        file: Option<PassedFile>,
    ) -> Option<Key> {
        let key = self.living(from.0, header)?;
        self.catch_up(key);
        let session = &mut self.table[key];
        if session.deaf
            || !matches!(
                session.phase,
                Phase::Open | Phase::Ending(CloseReason::Stopped)
            )
        {
            self.count(LoopCounter::Discarded, 1);
            return None;
        }
        let framing = &self.config.listeners[usize::from(session.listener)].framing;
        let length = usize::try_from(span.length).unwrap_or(usize::MAX);
        let envelope = match framing.envelope(&span.head, length, false) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::warn!(
                    session = %SessionId::from(session.id), %error, limit = framing.limit_key(),
                    "a file from the app cannot be sent"
                );
                self.count(LoopCounter::Discarded, 1);
                return None;
            }
        };
        let (prefix, suffix) = (envelope.prefix(), envelope.suffix());
        let skip = (envelope.skip as u64).min(span.length);
        let around = prefix.len() + suffix.len();
        let outbound = session.outbound.get_or_insert_default();
        if !prefix.is_empty() {
            outbound.piece(prefix.len()).extend_from_slice(prefix);
        }
        outbound.queue.push_back(Piece::File(Box::new(FilePiece {
            from,
            file,
            offset: span.offset.saturating_add(skip),
            left: span.length - skip,
        })));
        if !suffix.is_empty() {
            outbound.piece(suffix.len()).extend_from_slice(suffix);
        }
        self.memory.change(Class::Queued, 0, around);
        self.watch_output(key);
        Some(key)
    }

    /// A descriptor is here; or it has come and could not be kept.
    pub(super) fn take_file(&mut self, process: ProcessId, number: u64, file: Option<PassedFile>) {
        match (self.files.0.remove(&(process, number)), file) {
            (Some(Arrival::Awaited(key, id)), Some(file)) => {
                let outbound = self
                    .table
                    .at(key)
                    .filter(|session| session.id == id)
                    .is_some()
                    .then(|| self.table[key].outbound.as_mut())
                    .flatten();
                if let Some(piece) = outbound.and_then(|outbound| outbound.file(process, number)) {
                    piece.file = Some(file);
                    self.flush(key);
                }
            }
            (Some(Arrival::Awaited(key, id)), None)
                if self.table.at(key).is_some_and(|session| session.id == id) =>
            {
                tracing::warn!(
                    session = %SessionId::from(id),
                    "session closed: the descriptors have run out, a file for it cannot be kept; raise the limit (ulimit -n)"
                );
                self.finish(key, CloseReason::Limit);
            }
            (Some(Arrival::Unwanted(at)), _) => self.file_done((at, process, number)),
            // The records of one that has died have all been taken.
            (None, Some(file)) if self.processes.iter().any(|(_, known)| known.id == process) => {
                self.files.0.insert((process, number), Arrival::Early(file));
            }
            _ => {}
        }
    }

    /// No more descriptors come from this process.
    pub(super) fn end_files(&mut self, process: ProcessId) {
        let (mut waiting, mut unwanted) = (Vec::new(), Vec::new());
        self.files.0.retain(|(owner, number), arrival| {
            match arrival {
                _ if *owner != process => return true,
                Arrival::Awaited(key, id) => waiting.push((*key, *id)),
                Arrival::Unwanted(at) => unwanted.push((*at, process, *number)),
                Arrival::Early(_) => {}
            }
            false
        });
        for from in unwanted {
            self.file_done(from);
        }
        for (key, id) in waiting {
            if self.table.at(key).is_some_and(|session| session.id == id) {
                tracing::warn!(
                    session = %SessionId::from(id),
                    "session closed: its worker ended before it had passed a file"
                );
                self.finish(key, CloseReason::Crash);
            }
        }
    }

    /// A file could not be sent to its end: what the peer has of it is of no use.
    pub(super) fn give_up_file(&mut self, key: Key, problem: &str) {
        tracing::warn!(
            session = %SessionId::from(self.table[key].id),
            problem,
            "session closed: a file could not be sent whole"
        );
        self.finish(key, CloseReason::Server);
    }

    /// A file is sent, or given up: its sender may send another.
    pub(super) fn file_done(&mut self, (at, process, number): (u16, ProcessId, u64)) {
        let sender = self.processes.get(usize::from(at));
        if sender.is_none_or(|sender| sender.id != process) {
            return;
        }
        let header = Header {
            kind: ToProcess::FileDone as u8,
            session: number,
            ..Header::default()
        };
        self.parcel_to(at, header, bytes::Bytes::new());
    }
}
