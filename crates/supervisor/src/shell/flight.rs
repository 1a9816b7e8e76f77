//! What the supervisor notes for the flight recorder, and when it records the last events of all processes.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use moorline_ipc::Scoreboard;
use moorline_process::utc::Utc;
use moorline_protocol::command::Response;
use moorline_protocol::control::{
    PROCESS_ROW, ProcessId, Role, StallReport, gateway_flight, process_name, role_name,
};
use moorline_protocol::flight::{
    FlightKind, FlightLog, FlightReason, MOST_RECORDS, RecordedThread, Recording, RecordingHead,
    ended_with, now_ns, role_detail,
};
use moorline_protocol::session_id::SessionId;
use tokio::task::{spawn_blocking, spawn_local};

use super::super::control_socket::Answers;
use super::super::flight::{last_events, listed, shown};
use super::super::plan::{Action, Child, Ended, Event, UpgradeAction, seconds};
use super::Shell;

impl Shell {
    /// Notes an event before the plan learns of it, and records it if it is a crash.
    pub(super) fn note_event(&mut self, event: &Event) {
        match event {
            Event::Ready(child) => self.note(FlightKind::Ready, *child, 0),
            Event::Exited { child, end } => self.note_end(*child, *end),
            Event::Garbage { process, reason } => {
                if let Some((role, pid)) = self.role_and_pid(Child::Process(*process)) {
                    let name = process_name(role, pid);
                    let what = format!("{name} wrote garbage into its ring: {reason}");
                    self.record(FlightReason::Crash, &role_name(role), what);
                }
            }
            Event::StopAsked => self.flight.log.note(FlightKind::StopAsked, 0, 0, 0),
            _ => {}
        }
    }

    /// Notes an action of the plan, and records it if it is the consequence of a failure.
    pub(super) fn note_action(&mut self, action: &Action) {
        let note = |kind, generation: u32| {
            self.flight.log.note(kind, 0, 0, u64::from(generation));
        };
        match action {
            Action::Open { generation, .. } => note(FlightKind::ReloadBegun, *generation),
            Action::Commit { generation, .. } => note(FlightKind::ReloadDone, *generation),
            Action::Abandon { generation, reason } => {
                note(FlightKind::ReloadFailed, *generation);
                let what = format!("the reload to generation {generation} failed: {reason}");
                self.record(FlightReason::Reload, "engine", what);
            }
            Action::Upgrade(step) => self.note_upgrade(*step),
            Action::Kill(child) => {
                self.note(FlightKind::Killed, *child, 0);
                // Others say before why they kill.
                if let Child::Gateway(_) = child
                    && !self.plan.is_stopping()
                    && let Some((role, pid)) = self.role_and_pid(*child)
                {
                    let what = format!("{} is killed", process_name(role, pid));
                    self.record(FlightReason::Stuck, &role_name(role), what);
                }
            }
            Action::ReportSilent { process, silent } => {
                let child = Child::Process(*process);
                self.note(FlightKind::Silent, child, 0);
                if let Some((role, pid)) = self.role_and_pid(child) {
                    let (name, silent) = (process_name(role, pid), seconds(*silent));
                    let what = format!("{name} is not answering for {silent}");
                    self.record(FlightReason::Stuck, &role_name(role), what);
                }
            }
            Action::ReportAnswers { process, .. } => {
                self.note(FlightKind::Answers, Child::Process(*process), 0);
            }
            _ => {}
        }
    }

    fn note_upgrade(&self, step: UpgradeAction) {
        let kind = match step {
            UpgradeAction::SpawnSuccessor { .. } => FlightKind::UpgradeBegun,
            UpgradeAction::Upgraded { .. } => FlightKind::UpgradeDone,
            UpgradeAction::NotUpgraded => FlightKind::UpgradeFailed,
            _ => return,
        };
        self.flight.log.note(kind, 0, 0, 0);
    }

    /// A child was started.
    pub(super) fn note_started(&self, child: Child) {
        self.note(FlightKind::Started, child, 0);
    }

    /// A process reports a stuck handler.
    pub(super) fn record_stall(&mut self, process: ProcessId, report: &StallReport) {
        let child = Child::Process(process);
        let session = report.session;
        self.note(FlightKind::Stalled, child, session.map_or(0, u64::from));
        let Some((role, pid)) = self.role_and_pid(child) else {
            return;
        };
        let session = session.map_or(String::new(), |id: SessionId| format!(" of session {id}"));
        let (name, verb) = (process_name(role, pid), report.kind.verb());
        let what = format!("{name}: a handler{session} {verb}");
        self.record(FlightReason::Stuck, &role_name(role), what);
    }

    /// Tells of the recordings, or of the events in one. Another thread reads the files.
    pub(super) fn tell_recordings(&self, file: Option<String>, answers: Answers) {
        let run_dir = self.run_dir.path().to_owned();
        spawn_local(async move {
            let read = spawn_blocking(move || match file {
                Some(file) => shown(&run_dir, &file),
                None => listed(&run_dir),
            });
            // The engine's end cancels it.
            let Ok(read) = read.await else {
                return;
            };
            answers.give(match read {
                Ok(told) => Response::Recorded(told),
                Err(reason) => Response::Refused(reason),
            });
        });
    }

    fn note_end(&mut self, child: Child, end: Ended) {
        self.note(FlightKind::Ended, child, ended_with(end.code, end.signal));
        if self.plan.is_expected(child, end) {
            return;
        }
        if let Some((role, pid)) = self.role_and_pid(child) {
            let what = format!("{} {end}", process_name(role, pid));
            self.record(FlightReason::Crash, &role_name(role), what);
        }
    }

    fn note(&self, kind: FlightKind, child: Child, session: u64) {
        if let Some((role, pid)) = self.role_and_pid(child) {
            let log = &self.flight.log;
            log.note(kind, role_detail(role), session, u64::from(pid));
        }
    }

    /// The role and pid of a child that runs, or has just ended.
    fn role_and_pid(&self, child: Child) -> Option<(Role, u32)> {
        match child {
            Child::Gateway(incarnation) => {
                let gateway = self.gateway.as_ref();
                let gateway = gateway.filter(|it| it.incarnation == incarnation)?;
                Some((Role::Gateway, gateway.pid))
            }
            Child::Process(id) => {
                let process = self.processes.get(&id)?;
                Some((process.role, process.pid))
            }
            Child::Helper(_) => None,
        }
    }

    /// Writes the last events of all processes to a file, unless there are many of this kind.
    fn record(&mut self, reason: FlightReason, process: &str, what: String) {
        if self.flight.may_record(reason, process, Instant::now()) {
            let recording = self.recording(reason, process, what);
            self.flight.write(recording);
        }
    }

    /// Tells the last events. They are copied now; another thread puts them in order.
    pub(super) fn tell_events(&self, answers: Answers) {
        let recording = self.recording(FlightReason::Reload, "engine", String::new());
        spawn_local(async move {
            // The engine's end cancels it.
            if let Ok(told) = spawn_blocking(move || last_events(&recording)).await {
                answers.give(Response::Recorded(told));
            }
        });
    }

    /// The last events of all processes.
    fn recording(&self, reason: FlightReason, process: &str, what: String) -> Recording {
        let [generation, _] = self.plan.generations();
        let config = self.deployments.get(&generation).map(|it| &it.config);
        let listeners = config.map_or(Vec::new(), |config| {
            let listeners = config.listeners.iter();
            listeners.map(|listener| listener.name.clone()).collect()
        });
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut recording = Recording::new(RecordingHead {
            moorline: env!("CARGO_PKG_VERSION").to_owned(),
            engine: config.map_or(String::new(), |config| config.name.clone()),
            reason,
            process: process.to_owned(),
            what,
            when: Utc::now().iso(),
            unix_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            at_ns: 0,
            listeners,
            threads: Vec::new(),
        });
        let rings = self.rings();
        let most = MOST_RECORDS / rings.len().max(1);
        for (thread, log) in rings {
            recording.push(thread, log.last(most));
        }
        // Behind all of them.
        recording.head.at_ns = now_ns();
        recording
    }

    /// The rings of all threads.
    fn rings(&self) -> Vec<(RecordedThread, FlightLog)> {
        let thread = |process: String, pid: u32, thread: Option<String>| RecordedThread {
            process,
            pid,
            thread,
            first: 0,
            records: 0,
        };
        let ring = |board: &Scoreboard, at: usize| FlightLog::new(board.row(at));
        let own = thread("supervisor".to_owned(), std::process::id(), None);
        let mut rings = vec![(own, self.flight.log.clone())];
        if let Some(gateway) = &self.gateway {
            let loops = usize::from(gateway.loops);
            for index in (0..=loops).rev() {
                let name = match index == loops {
                    true => "main".to_owned(),
                    false => format!("loop {index}"),
                };
                let its = thread(role_name(Role::Gateway), gateway.pid, Some(name));
                rings.push((its, ring(&gateway.board, gateway_flight(loops, index))));
            }
        }
        for process in self.processes.values() {
            let its = thread(role_name(process.role), process.pid, None);
            rings.push((its, ring(&process.board, PROCESS_ROW)));
        }
        rings
    }
}
