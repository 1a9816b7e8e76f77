//! The handles of the children, and the messages to them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use moorline_ipc::{Doorbell, Scoreboard};
use moorline_protocol::control::{ProcessId, Role, ToRole};
use nix::sys::signal::Signal;
use tokio::time::Instant;
use tracing::error;

use super::super::child::{Outbox, kill_child};
use super::super::listeners::Listening;
use super::super::output::Writer;
use super::super::plan::{Child, Event};
use super::Shell;

/// Listening sockets, by their listeners' places.
pub(super) type Sockets = BTreeMap<u16, Rc<Listening>>;

/// The present gateway.
pub(super) struct GatewayHandle {
    pub(super) incarnation: u32,
    pub(super) pid: u32,
    pub(super) loops: u16,
    pub(super) board: Scoreboard,
    pub(super) board_fd: OwnedFd,
    /// The listening sockets it has.
    pub(super) sockets: Sockets,
    /// Those it will have once this generation is committed.
    pub(super) prepared: Option<(u32, Sockets)>,
    /// `None` once its channel was closed to end it.
    pub(super) outbox: Option<Outbox>,
    /// Whether it was sent its start message.
    pub(super) has_start: bool,
    /// Its standard streams are read while this value lives.
    pub(super) _writers: [Writer; 2],
}

impl GatewayHandle {
    /// Its channel, if its start message, which must be the first one, was sent.
    pub(super) fn outbox_behind_start(&self) -> Option<&Outbox> {
        self.outbox.as_ref().filter(|_| self.has_start)
    }
}

/// A worker or task worker.
pub(super) struct ProcessHandle {
    pub(super) role: Role,
    pub(super) generation: u32,
    pub(super) pid: u32,
    pub(super) board: Scoreboard,
    pub(super) board_fd: OwnedFd,
    /// The gateway rings it; the process has its chime.
    pub(super) doorbell: Doorbell,
    pub(super) outbox: Outbox,
    /// Requests of its app that are not answered.
    pub(super) asks: usize,
    /// When it may have the state again.
    pub(super) status_due: Option<Instant>,
    /// While it does not answer: how many sessions wait for it, by the gateway's last count.
    pub(super) waiting: Option<u64>,
    /// Its pipes to the log and to standard error are read for as long as it lives.
    pub(super) writers: Vec<Writer>,
}

/// One run of a helper.
pub(super) struct HelperHandle {
    pub(super) name: String,
    pub(super) pid: u32,
}

impl Shell {
    pub(super) fn unless_spawned(&mut self, child: Child, result: io::Result<()>) {
        if let Err(error) = result {
            // The operator knows this path, although it may have been renamed since.
            let reason = format!("{}: {error}", self.executable.as_path().display());
            error!(reason, "{} cannot be started", self.plan.name(child));
            self.tell(Event::SpawnFailed { child, reason });
        }
    }

    /// A message that cannot be made or sent is a failure of the child that it was for. It is the gateway's failure only if
    /// it concerns the gateway alone, because the gateway holds every session.
    pub(super) fn unless_sent(&mut self, child: Child, result: io::Result<()>) {
        match result {
            // It is ending, and its end will be reported.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => self.tell(Event::Failed {
                child,
                reason: error.to_string(),
            }),
            Ok(()) => {}
        }
    }

    pub(super) fn unless_sent_to_gateway(&mut self, result: io::Result<()>) {
        if let Some(gateway) = &self.gateway {
            self.unless_sent(Child::Gateway(gateway.incarnation), result);
        }
    }

    /// Tells the gateway. One that was not sent its start message yet needs no telling: it has neither processes nor sessions.
    pub(super) fn send_gateway(&mut self, message: &ToRole) {
        let gateway = self.gateway.as_ref();
        let Some(outbox) = gateway.and_then(GatewayHandle::outbox_behind_start) else {
            return;
        };
        let result = outbox.send(message, Vec::new());
        self.unless_sent_to_gateway(result);
    }

    pub(super) fn send_process(&mut self, process: ProcessId, message: &ToRole) {
        if let Some(found) = self.processes.get(&process) {
            let result = found.outbox.send(message, Vec::new());
            self.unless_sent(Child::Process(process), result);
        }
    }

    pub(super) fn kill(&mut self, child: Child) {
        let pid = match child {
            Child::Gateway(incarnation) => self
                .gateway
                .as_ref()
                .filter(|gateway| gateway.incarnation == incarnation)
                .map(|gateway| gateway.pid)
                .or_else(|| self.others.pid(incarnation)),
            Child::Process(process) => self.processes.get(&process).map(|process| process.pid),
            Child::Helper(run) => self.helpers.get(&run).map(|helper| helper.pid),
        };
        if let Some(pid) = pid {
            kill_child(pid, Signal::SIGKILL);
        }
    }

    /// Closes the gateway's channel, which ends it.
    pub(super) fn release_gateway(&mut self, incarnation: u32) {
        let gateway = self.gateway.as_mut();
        if let Some(gateway) = gateway.filter(|gateway| gateway.incarnation == incarnation) {
            gateway.outbox = None;
        }
    }

    /// Tells the gateway that a process has ended.
    pub(super) fn process_is_dead(&mut self, process: ProcessId, fault: bool, forced: bool) {
        self.send_gateway(&ToRole::Dead {
            process,
            fault,
            forced,
        });
    }

    pub(super) fn terminate_helper(&self, run: u32) {
        if let Some(helper) = self.helpers.get(&run) {
            kill_child(helper.pid, Signal::SIGTERM);
        }
    }
}
