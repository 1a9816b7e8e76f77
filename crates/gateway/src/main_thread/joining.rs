//! Joining processes with the loops, and taking dead ones from them: the main thread's part.

use std::io;
use std::sync::Arc;

use moorline_ipc::{Channel, Chime, Doorbell, Marks, Region, Side, close_elsewhere};
use tokio::sync::oneshot;

use crate::commands::{Attached, Command, Death};
use crate::main_thread::{Gateway, Joined, file_channel};
use moorline_protocol::control::{FromRole, ProcessId, Role, process_name};
use moorline_protocol::control_channel::{ControlChannel, Descriptors};
use moorline_protocol::flight::{FlightKind, role_detail};

impl Gateway {
    /// Joins a process with the loops, or says why that cannot be.
    pub(super) async fn join(
        &mut self,
        process: ProcessId,
        role: Role,
        pid: u32,
        descriptors: Descriptors,
    ) {
        self.names.insert(process, process_name(role, pid));
        let (detail, number) = (role_detail(role), u64::from(pid));
        self.flight.note(FlightKind::Attached, detail, 0, number);
        if let Err(error) = self.attach(process, role, pid, descriptors) {
            self.attached(process, Err(error.to_string())).await;
        }
    }

    /// Makes a process known to all loops, or to none. Each of them reports that it hears it.
    fn attach(
        &mut self,
        process: ProcessId,
        role: Role,
        pid: u32,
        descriptors: Descriptors,
    ) -> io::Result<()> {
        let mut descriptors = descriptors?.into_iter();
        let missing = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a process was attached without its descriptors",
            )
        };
        let doorbell = Doorbell::from_fd(descriptors.next().ok_or_else(missing)?);
        let doorbell = Arc::new(doorbell);
        let mut links = Vec::with_capacity(self.loops.len());
        for _ in self.loops.iter() {
            let chime = Chime::from_fd(descriptors.next().ok_or_else(missing)?);
            let region = Region::map(descriptors.next().ok_or_else(missing)?, Side::Gateway)?;
            links.push((chime, region));
        }
        let files = Channel::from_fd(descriptors.next().ok_or_else(missing)?);
        let files = ControlChannel::new(files)?;
        let marks = links.iter().map(|(_, region)| region.marks.clone());
        let (lives, dead) = oneshot::channel();
        let joined = Joined {
            role,
            pid,
            doorbell: doorbell.clone(),
            files: files.descriptor()?,
            marks: marks.collect(),
            _lives: lives,
        };
        self.joined.insert(process, joined);
        self.attaching.insert(process, self.loops.len());
        for (inbox, (chime, region)) in self.loops.iter().zip(links) {
            inbox.send(Command::Attach(Box::new(Attached {
                process,
                role,
                pid,
                region,
                doorbell: doorbell.clone(),
                chime,
            })));
        }
        self.take_files_of(process, files, dead);
        Ok(())
    }

    /// Takes the files that a process passes, until it is dead.
    pub(super) fn take_files_of(
        &self,
        process: ProcessId,
        files: ControlChannel,
        dead: oneshot::Receiver<()>,
    ) {
        tokio::task::spawn_local(file_channel::receive(
            files,
            (process, self.name(process)),
            self.loops.clone(),
            self.shared.clone(),
            self.reporter.clone(),
            dead,
            self.file_gate.clone(),
        ));
    }

    /// A loop serves a process from now on, or cannot. The supervisor is told once all loops do, or of each that
    /// cannot.
    pub(super) async fn attached(&mut self, process: ProcessId, result: Result<(), String>) {
        if result.is_ok() {
            let Some(others) = self.attaching.get_mut(&process) else {
                return;
            };
            *others -= 1;
            if *others > 0 {
                return;
            }
        }
        self.attaching.remove(&process);
        let failure = result.err();
        if let Some(reason) = &failure {
            let name = self.name(process);
            tracing::warn!("{name} cannot be served: {reason}");
        }
        self.say(&FromRole::Attached { process, failure }).await;
    }

    /// A process as logs name it.
    pub(super) fn name(&self, process: ProcessId) -> String {
        let name = self.names.get(&process).cloned();
        // It has ended meanwhile.
        name.unwrap_or_else(|| format!("process {process}, which has ended,"))
    }

    /// A process has died, by a fault or killed at the end of a reload.
    pub(super) fn removed(&mut self, process: ProcessId, fault: bool, forced: bool) {
        // This drops the sender that ends the task which takes its files. What the channel for them still holds may take long to close.
        let marks = self.joined.remove(&process).map(|joined| {
            close_elsewhere(joined.files);
            joined.marks
        });
        self.released.remove(&process);
        self.attaching.remove(&process);
        self.names.remove(&process);
        let polled = marks
            .iter()
            .flatten()
            .map(Marks::polling)
            .find(|session| *session != 0);
        let death = Death {
            culprit: polled.filter(|_| fault),
            forced,
        };
        self.tell_loops(|_| Command::Dead { process, death });
    }
}
