//! The way of the descriptors that workers pass for files: the main thread checks them, and passes them to the loop
//! with the session.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use moorline_ipc::{CutOff, Packet, close_elsewhere};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::commands::{Command, Inbox, Report};
use crate::file::PassedFile;
use crate::main_thread::file_gate::FileGate;
use crate::processes::ledger::FILES;
use crate::shared::Shared;
use moorline_process::disk_file::is_unfit;
use moorline_protocol::control::ProcessId;
use moorline_protocol::control_channel::ControlChannel;
use moorline_protocol::session_id::SessionId;

/// A number and a session, as they travel beside a descriptor.
pub(crate) const NAME_BYTES: usize = 16;

/// Takes a process's descriptors and hands each to the loop that has its session, until the process is gone: its end of
/// the channel is closed, or `dead` reports it. A child of the process may hold the channel open. A process that passes
/// something else than a file is broken.
pub(crate) async fn receive(
    channel: ControlChannel,
    (process, name): (ProcessId, String),
    loops: Arc<[Inbox]>,
    shared: Arc<Shared>,
    reports: mpsc::UnboundedSender<Report>,
    dead: oneshot::Receiver<()>,
    gate: FileGate,
) {
    let passage = Passage {
        gate,
        process,
        name: &name,
        loops: &loops,
        shared: &shared,
        under_way: Arc::new(AtomicUsize::new(0)),
    };
    if let Err(reason) = passage.run(channel, dead).await {
        // The receiver lives as long as the process.
        let _ = reports.send(Report::Garbage(process, format!("files: {reason}")));
    }
}

/// How long the check of a file may take.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// Why a file is not sent.
enum Unfit {
    /// No honest worker passes that.
    Proven(String),
    /// It could not be checked.
    Unknown(String),
}

/// A descriptor of an unknown kind. Wherever it is dropped, another thread closes it, because that may take long.
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
    gate: FileGate,
    process: ProcessId,
    /// Its name in logs.
    name: &'a str,
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
                channel
                    .readable()
                    .await
                    .map_err(|error| error.to_string())?;
                let _open = self.gate.pass().await;
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
                // The sender was dropped. Files without a record are not needed any more.
                _ = &mut dead => return Ok(()),
            }
        }
    }

    /// Checks whether a file can be sent, on a thread of its own: the file system may block the check.
    async fn look_at(&self, file: OwnedFd) -> Result<OwnedFd, Unfit> {
        let unknown = |error: &dyn std::fmt::Display| Unfit::Unknown(error.to_string());
        let unseen = Unseen(Some(file));
        let looks = self.shared.file_looks.clone().acquire_owned();
        let look = timeout(LOOK_TIME, async {
            let turn = looks.await.map_err(|error| unknown(&error))?;
            // The permit ends with the check, not with the wait for it.
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

    /// Hands the file of a packet to the loop that has the session. If the file cannot be sent, the loop is told so.
    ///
    /// # Errors
    /// No honest worker passes such a packet.
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
            return refuse(files, "a malformed packet".to_owned());
        };
        let name = u128::from_le_bytes(name);
        let (number, session) = (name as u64, (name >> 64) as u64);
        let Some(inbox) = self.loops.get(SessionId::from(session).event_loop()) else {
            return refuse(files, "a file for a loop that does not exist".to_owned());
        };
        let file = if is_cut_off {
            None
        } else {
            let [file] = match <[OwnedFd; 1]>::try_from(files) {
                Ok(file) => file,
                Err(files) => {
                    let count = files.len();
                    return refuse(files, format!("{count} descriptors in place of a file"));
                }
            };
            self.admit(file).await?
        };
        inbox.send(Command::File {
            process: self.process,
            number,
            file,
        });
        Ok(())
    }

    /// Looks at a file and counts it among those under way. `None` if it cannot be sent, which is no fault of the worker.
    async fn admit(&self, file: OwnedFd) -> Result<Option<PassedFile>, String> {
        let file = match self.look_at(file).await {
            Ok(file) => file,
            Err(Unfit::Proven(reason)) => return Err(reason),
            // That may be the fault of its file system, or of a remote server.
            Err(Unfit::Unknown(reason)) => {
                tracing::warn!("a file of {} could not be looked at: {reason}", self.name);
                return Ok(None);
            }
        };
        if self.under_way.load(Ordering::Relaxed) >= FILES {
            close_elsewhere(vec![file]);
            return Err(format!("over {FILES} files under way"));
        }
        let file = PassedFile::new(file, &self.under_way);
        // The rest is kept for new processes, as it is when connections are accepted.
        let limit = self.shared.descriptors();
        Ok(Some(file).filter(|file| (file.descriptor() as u64) < limit))
    }
}
