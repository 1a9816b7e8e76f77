//! Files that apps send: the kernel copies them from the file to the socket. For a session with TLS they are read and
//! encrypted in small parts, as fast as the socket takes them.
//!
//! The worker opens the file, with its own rights, and passes the descriptor over a channel of its own beside the rings. The
//! loop answers that it has it, or that the gateway can keep none; only then does the record in the ring say where in the
//! session's output it goes. So no session ever waits for a descriptor. How many files a process has under way is
//! bounded by credits, of descriptors and of records.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use moorline_ipc::{CutOff, Header, Packet, Record, close_elsewhere};
use moorline_net::framing::MAX_HEADER_BYTES;
use rustc_hash::FxHashMap;
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::event_loop::Loop;
use super::ledger::{FILES, Request};
use super::memory::Class;
use super::outqueue::{FilePiece, Piece};
use super::processes::Standing;
use super::session::Phase;
use super::table::Key;
use super::{Command, Inbox, Report, Shared};
use crate::control::{LoopCounter, ProcessId};
use crate::control_channel::ControlChannel;
use crate::disk_file::is_unfit;
use crate::session_id::SessionId;
use crate::wire::{CloseReason, FAILED, FileSpan, ToProcess};

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

#[cfg(test)]
impl PassedFile {
    /// One that counts as under way there.
    pub(super) fn new(file: OwnedFd, under_way: &Arc<AtomicUsize>) -> Self {
        under_way.fetch_add(1, Ordering::Relaxed);
        Self {
            file,
            under_way: under_way.clone(),
        }
    }
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
    /// Has the kernel copy as much as one call does; at least one byte.
    pub(super) fn copy_to(&mut self, socket: impl AsFd) -> Result<usize, Copied> {
        let PassedFile { file, .. } = &self.file;
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
        let PassedFile { file, .. } = &self.file;
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

/// Descriptors whose records have not come.
#[derive(Debug, Default)]
pub(super) struct Files(FxHashMap<(ProcessId, u64), PassedFile>);

impl Files {
    /// How many of them this process has passed.
    pub(super) fn early_of(&self, process: ProcessId) -> usize {
        let owners = self.0.keys().map(|(owner, _)| *owner);
        owners.filter(|owner| *owner == process).count()
    }

    /// This process is dead, and its last records are taken: no others come.
    pub(super) fn drop_of(&mut self, process: ProcessId) {
        self.0.retain(|(owner, _), _| *owner != process);
    }
}

/// Takes a process's descriptors and hands each to the loop that has its session, until the process is gone: its end of the
/// channel is closed, or `dead` says so. Somebody whom it has left may hold the channel open. A process that passes what is no
/// file is broken.
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
}

/// How long the look at a file may take.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// Why a file is not sent.
enum Unfit {
    /// No honest worker passes that.
    Proven(String),
    /// It could not be seen.
    Unknown(String),
}

/// A descriptor of which nobody knows what it is. Wherever it is dropped, it is closed elsewhere: that may take long.
struct Unseen(Option<OwnedFd>);

impl Unseen {
    fn look(&self) -> rustix::io::Result<Option<&'static str>> {
        self.0.as_ref().map_or(Ok(None), is_unfit)
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            close_elsewhere(file);
        }
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
            let passed = async {
                match channel.recv_packet().await {
                    Ok(Some(packet)) => self.pass_on(packet).await.map(Some),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error.to_string()),
                }
            };
            tokio::select! {
                passed = passed => match passed? {
                    Some(()) => {}
                    None => return Ok(()),
                },
                // Said by the sender's end. What it has passed and no record names is of no use to anybody.
                _ = &mut dead => return Ok(()),
            }
        }
    }

    /// Looks whether a file can be sent, on a thread of its own: whoever is behind the file may keep the system waiting for
    /// the answer.
    async fn look_at(&self, file: OwnedFd) -> Result<OwnedFd, Unfit> {
        let unknown = |error: &dyn std::fmt::Display| Unfit::Unknown(error.to_string());
        let unseen = Unseen(Some(file));
        let looks = self.shared.file_looks.clone().acquire_owned();
        let look = timeout(LOOK_TIME, async {
            let turn = looks.await.map_err(|error| unknown(&error))?;
            // The turn ends with the look, not with the wait for it.
            let look = move || (unseen.look(), unseen, turn);
            let looked = tokio::task::spawn_blocking(look).await;
            let (verdict, mut unseen, _) = looked.map_err(|error| unknown(&error))?;
            match verdict {
                Ok(None) => unseen.0.take().ok_or_else(|| unknown(&"it is gone")),
                Ok(Some(reason)) => Err(Unfit::Proven(format!(
                    "a file that cannot be sent: {reason}"
                ))),
                Err(error) => Err(unknown(&error)),
            }
        });
        look.await
            .unwrap_or_else(|_| Err(unknown(&"its file system does not answer")))
    }

    async fn pass_on(&self, Packet { bytes: name, fds }: Packet) -> Result<(), String> {
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
        let [file] = match <[OwnedFd; 1]>::try_from(files) {
            Ok(file) => file,
            Err(files) => {
                let count = files.len();
                return refuse(files, format!("{count} descriptors in place of a file"));
            }
        };
        let file = match self.look_at(file).await {
            Ok(file) => file,
            Err(Unfit::Proven(reason)) => return Err(reason),
            // That may be its file system's fault, or a server's far away.
            Err(Unfit::Unknown(reason)) => {
                tracing::warn!(
                    process = self.process,
                    reason,
                    "a file could not be looked at"
                );
                inbox.send(Command::File {
                    process: self.process,
                    number,
                    file: None,
                });
                return Ok(());
            }
        };
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= FILES {
            return refuse(vec![file], format!("over {FILES} files under way"));
        }
        let file = PassedFile {
            file,
            under_way: self.under_way.clone(),
        };
        // The rest is kept for new processes, as it is when connections are accepted.
        let limit = self.shared.descriptors();
        let file = Some(file).filter(|file| (file.file.as_raw_fd() as u64) < limit);
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
        let process = self.processes[usize::from(at)].id;
        let from = (at, process, header.sequence);
        let Some(file) = self.files.0.remove(&(process, header.sequence)) else {
            return Err("a file's record without its descriptor".to_owned());
        };
        match self.queue_file(&header, &span, from, file) {
            Some(key) => self.flush(key),
            None => self.file_done(from, 0),
        }
        Ok(())
    }

    /// Puts a file with its envelope at the end of a session's queue. `None` if that is not possible.
    fn queue_file(
        &mut self,
        header: &Header,
        span: &FileSpan,
        from: (u16, ProcessId, u64),
        file: PassedFile,
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

    /// A descriptor is here; or it has come and could not be kept. Its process is told which.
    pub(super) fn take_file(&mut self, process: ProcessId, number: u64, file: Option<PassedFile>) {
        let known = self.processes.iter().find(|(_, known)| known.id == process);
        // One that has died meanwhile sends no record for it any more.
        let Some(at) = known.map(|(at, _)| at as u16) else {
            return;
        };
        let sender = &mut self.processes[usize::from(at)];
        if sender.standing == Standing::Broken {
            return;
        }
        if let Err(reason) = sender.ledger.open(Request::File) {
            self.break_with(at, reason);
            return;
        }
        let Some(file) = file else {
            tracing::warn!(
                process,
                "a file was refused: it could not be looked at, or the descriptors have run out (raise the limit, ulimit -n)"
            );
            self.file_done((at, process, number), FAILED);
            return;
        };
        if self.files.0.insert((process, number), file).is_some() {
            self.break_with(at, format!("two files of the number {number}"));
            return;
        }
        let header = Header {
            kind: ToProcess::FileHere as u8,
            session: number,
            ..Header::default()
        };
        self.parcel_to(at, header, Bytes::new());
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

    /// A file is sent, or given up, or refused: its sender may send another.
    pub(super) fn file_done(&mut self, (at, process, number): (u16, ProcessId, u64), flags: u8) {
        let sender = self.processes.get(usize::from(at));
        if sender.is_none_or(|sender| sender.id != process) {
            return;
        }
        let header = Header {
            kind: ToProcess::FileDone as u8,
            flags,
            session: number,
            ..Header::default()
        };
        self.parcel_to(at, header, Bytes::new());
    }
}
