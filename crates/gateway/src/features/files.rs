//! Files that apps send: the kernel copies them from the file to the socket. For a session with TLS they are read and
//! encrypted in small parts, as fast as the socket takes them.
//!
//! The worker opens the file, with its own rights, and passes the descriptor over a channel of its own beside the rings. The
//! loop answers that it has it, or that the gateway can keep none; only then does the record in the ring say where in the
//! session's output it goes. So no session ever waits for a descriptor. How many files a process has under way is
//! bounded by credits, of descriptors and of records.

use bytes::Bytes;
use moorline_ipc::Record;
use moorline_net::framing::MAX_HEADER_BYTES;
use rustc_hash::FxHashMap;

use crate::file::{FilePiece, PassedFile};
use crate::ids::ProcessKey;
use crate::memory::Class;
use crate::output::flush::flush;
use crate::processes::Processes;
use crate::processes::ledger::Request;
use crate::processes::process::Standing;
use crate::session::queue::Piece;
use crate::session::{End, Kind, Session};
use crate::timeouts::watch_output;
use crate::tools::Tools;
use crate::transfer::Asker;
use moorline_protocol::control::{LoopCounter, ProcessId};
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::{FAILED, FileSpan, ToProcess};

/// Descriptors whose records have not come.
#[derive(Debug, Default)]
pub(crate) struct Files(FxHashMap<(ProcessId, u64), PassedFile>);

impl Files {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them this process has passed.
    pub(crate) fn early_of(&self, process: ProcessId) -> usize {
        let owners = self.0.keys().map(|(owner, _)| *owner);
        owners.filter(|owner| *owner == process).count()
    }

    /// This process is dead, and its last records are taken: no more come.
    pub(crate) fn drop_of(&mut self, process: ProcessId) {
        self.0.retain(|(owner, _), _| *owner != process);
    }
}

/// A file that a process has asked to be sent.
pub(crate) struct SentFile {
    from: Asker,
    file: PassedFile,
}

impl SentFile {
    /// It is not sent: its sender may send another.
    pub(crate) fn give_up(self, tools: &mut Tools) {
        file_done(self.from, 0, tools);
    }
}

impl Files {
    /// Sends what a record in the ring says, with the descriptor that has come for it.
    ///
    /// # Errors
    /// No honest worker writes that.
    pub(crate) fn take(
        &mut self,
        at: ProcessKey,
        record: &Record<'_>,
        processes: &Processes,
    ) -> Result<(SentFile, FileSpan), String> {
        if record.len() > 2 * MAX_HEADER_BYTES {
            return Err(format!("a file's record of {} bytes", record.len()));
        }
        let mut bytes = Vec::with_capacity(record.len());
        record.copy_to(&mut bytes);
        let span: FileSpan =
            postcard::from_bytes(&bytes).map_err(|error| format!("a file's record: {error}"))?;
        let from = Asker {
            at,
            process: processes[at].id,
            number: record.header().sequence,
        };
        let Some(file) = self.0.remove(&(from.process, from.number)) else {
            return Err("a file's record without its descriptor".to_owned());
        };
        Ok((SentFile { from, file }, span))
    }

    /// A descriptor is here, or could not be kept. Its process is told which.
    pub(crate) fn arrive(
        &mut self,
        process: ProcessId,
        number: u64,
        file: Option<PassedFile>,
        tools: &mut Tools,
    ) {
        // A process that has died meanwhile sends no record for it any more.
        let Some(at) = tools.processes.find(process) else {
            return;
        };
        let sender = &mut tools.processes[at];
        if sender.standing == Standing::Broken {
            return;
        }
        if let Err(reason) = sender.ledger.open(Request::File) {
            tools.processes.break_with(at, reason, &tools.cx);
            return;
        }
        let from = Asker {
            at,
            process,
            number,
        };
        let Some(file) = file else {
            let name = tools.processes[at].name();
            tracing::warn!(
                "a file of {name} was refused: it could not be looked at, or the descriptors have run out (raise the limit, ulimit -n)"
            );
            file_done(from, FAILED, tools);
            return;
        };
        if self.0.insert((process, number), file).is_some() {
            let reason = format!("two files of the number {number}");
            tools.processes.break_with(at, reason, &tools.cx);
            return;
        }
        let (processes, memory) = (&mut tools.processes, &mut tools.memory);
        processes.answer(from, ToProcess::FileHere, 0, Bytes::new(), memory);
    }
}

/// Sends a file: puts it at the end of a session's queue, and as much of it to the socket as that takes now.
///
/// # Errors
/// The session ends: its connection broke, or the file cannot be sent whole.
pub(crate) fn send_file(
    session: &mut Session,
    file: SentFile,
    span: &FileSpan,
    tools: &mut Tools,
) -> Result<(), End> {
    match queue_file(session, file, span, tools) {
        Ok(()) => flush(session, tools),
        Err(file) => {
            tools.cx.count(LoopCounter::Discarded, 1);
            file.give_up(tools);
            Ok(())
        }
    }
}

/// Puts a file with its envelope at the end of a session's queue, or gives it back.
fn queue_file(
    session: &mut Session,
    file: SentFile,
    span: &FileSpan,
    tools: &mut Tools,
) -> Result<(), SentFile> {
    if !session.takes_output() {
        return Err(file);
    }
    let framing = &tools.cx.listener(session.listener).framing;
    if session.kind != Kind::Framed {
        tracing::warn!(
            session = %SessionId::from(session.id),
            "a file from the app cannot be sent: its session takes events"
        );
        return Err(file);
    }
    let length = usize::try_from(span.length).unwrap_or(usize::MAX);
    let envelope = match framing.envelope(&span.head, length, false) {
        Ok(envelope) => envelope,
        Err(error) => {
            tracing::warn!(
                session = %SessionId::from(session.id), %error, limit = framing.limit_key(),
                "a file from the app cannot be sent"
            );
            return Err(file);
        }
    };
    let (prefix, suffix) = (envelope.prefix(), envelope.suffix());
    let skip = (envelope.skip as u64).min(span.length);
    let queue = session.output.queue.get_or_insert_default();
    if !prefix.is_empty() {
        queue.piece(prefix.len()).extend_from_slice(prefix);
    }
    let SentFile { from, file } = file;
    queue.queue.push_back(Piece::File(Box::new(FilePiece {
        from,
        file,
        offset: span.offset.saturating_add(skip),
        left: span.length - skip,
    })));
    if !suffix.is_empty() {
        queue.piece(suffix.len()).extend_from_slice(suffix);
    }
    let around = prefix.len() + suffix.len();
    tools.memory.hold(Class::Queued, around);
    tools.agenda.await_room(session);
    watch_output(session, tools);
    Ok(())
}

/// A file is sent, or given up, or refused: its sender may send another.
fn file_done(from: Asker, flags: u8, tools: &mut Tools) {
    let (processes, memory) = (&mut tools.processes, &mut tools.memory);
    processes.answer(from, ToProcess::FileDone, flags, Bytes::new(), memory);
}
