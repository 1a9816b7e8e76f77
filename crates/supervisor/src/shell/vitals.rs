//! Reads signs of life from the scoreboards, and carries out what the plan decides about them.

use std::fs;
use std::time::Duration;

use tracing::{info, warn};

use moorline_process::log;
use moorline_protocol::control::{
    LOOP_ROW, LoopCounter, ProcessCounter, ProcessId, ToRole, main_row,
};

use super::super::plan::{Event, GatewaySigns, LOOK, Sign, Signs, role_name, seconds};
use super::super::status::{claimed, connections};
use super::Shell;

/// What has risen lately is looked at once a second.
const LOOKS_A_SECOND: u32 = (1000 / LOOK.as_millis()) as u32;

impl Shell {
    /// Reads the signs of life of all children.
    pub(super) fn look(&mut self) {
        self.end_followed();
        let gateway = self.gateway.as_ref().map(|gateway| {
            let is_traced = self.plan.is_gateway_doubtful() && is_traced(gateway.pid);
            let sign = |row| Sign {
                beats: gateway.board.get(row + LoopCounter::Beats as usize),
                is_traced,
            };
            let count = usize::from(gateway.loops);
            GatewaySigns {
                incarnation: gateway.incarnation,
                main: sign(main_row(count)),
                loops: (0..count).map(|index| sign(index * LOOP_ROW)).collect(),
            }
        });
        let processes = self.processes.iter().map(|(id, process)| {
            let sign = Sign {
                beats: process.board.get(ProcessCounter::Beats as usize),
                is_traced: self.plan.is_doubtful(*id) && is_traced(process.pid),
            };
            (*id, sign)
        });
        let processes = processes.collect();
        let left = self.left();
        self.tell(Event::Looked(Signs {
            gateway,
            processes,
            left,
        }));
        self.give_up_waiting();
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(LOOKS_A_SECOND) {
            let now = self.started.elapsed();
            let counts = self.counts();
            let (troubles, waits) = (counts.troubles(log::dropped()), counts.waits());
            let full = counts.full();
            self.lately.see_full(full);
            self.lately.see(troubles, now);
            self.lately.see_waits(waits, now);
            self.look_at_machine(now);
        }
    }

    /// Looks at the memory of all processes, and at the disks.
    fn look_at_machine(&mut self, now: Duration) {
        let gateway = self.gateway.iter();
        let gateway = gateway.map(|it| (it.pid, connections(&it.board, it.loops)));
        let processes = self.processes.values();
        let sessions = ProcessCounter::Sessions as usize;
        let processes = processes.map(|it| (it.pid, claimed(&it.board, sessions)));
        let own = std::iter::once((std::process::id(), 0));
        let looked_at = own.chain(gateway).chain(processes).collect();
        self.memory.look(&looked_at, now);
        let [generation, _] = self.plan.generations();
        if let Some(deployment) = self.deployments.get(&generation) {
            self.disks.look(&deployment.config, now);
        }
    }

    /// The gateway has counted the sessions that wait for silent processes.
    pub(super) fn waiting(&mut self, incarnation: u32, counts: Vec<(ProcessId, u64)>) {
        if self
            .gateway
            .as_ref()
            .is_none_or(|gateway| gateway.incarnation != incarnation)
        {
            return;
        }
        for (process, sessions) in counts {
            if let Some(process) = self.processes.get_mut(&process) {
                process.waiting = Some(sessions);
            }
        }
    }

    /// Most connections that a limit keeps out come from one address.
    pub(super) fn refused(&mut self, incarnation: u32, refused: [String; 3]) {
        if self.is_present(incarnation) {
            self.lately.refused(refused, self.started.elapsed());
        }
    }

    /// Tells the gateway which processes are silent.
    pub(super) fn say_silent(&mut self, processes: Vec<ProcessId>) {
        for (id, process) in &mut self.processes {
            if !processes.contains(id) {
                process.waiting = None;
            }
        }
        self.send_gateway(&ToRole::Silent { processes });
    }

    pub(super) fn report_silent(&self, id: ProcessId, silent: std::time::Duration) {
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        let waiting = process.waiting.map_or(String::new(), |sessions| {
            format!(", {}", sessions_wait(sessions))
        });
        let (name, pid) = (role_name(process.role), process.pid);
        let silent = seconds(silent);
        warn!(
            worker = name,
            pid,
            waiting = process.waiting,
            "{name} (pid {pid}) is not answering for {silent}{waiting}"
        );
    }

    pub(super) fn report_answers(&self, id: ProcessId, silent: std::time::Duration) {
        if let Some(process) = self.processes.get(&id) {
            let (name, pid) = (role_name(process.role), process.pid);
            let silent = seconds(silent);
            info!(
                worker = name,
                pid, "{name} (pid {pid}) answers again after {silent}"
            );
        }
    }
}

fn sessions_wait(sessions: u64) -> String {
    match sessions {
        1 => "1 session waits".to_owned(),
        sessions => format!("{sessions} sessions wait"),
    }
}

/// A debugger is attached to it.
fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}
