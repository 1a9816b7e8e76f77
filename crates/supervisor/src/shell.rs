//! The supervisor's one thread: carries the plan's actions out, and tells it what comes of them.

mod answers;
mod closing;
mod deploy;
mod launch;
mod log_files;
mod moments;
mod vitals;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use moorline_ipc::{Doorbell, Scoreboard};
use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{error, info, warn};

use crate::control_socket::{self, Answers};
use moorline_protocol::command::{Answer, Request};
use moorline_protocol::control::{ListPlace, ProcessId, Role, SessionRow, StallReport, ToRole};

use self::answers::Listing;
use self::closing::{Closing, stop};
use super::child::{Outbox, kill_child};
use super::deployment::{Deployment, ExecutablePath};
use super::hooks::Moment;
use super::listeners::Listening;
use super::output::{Outputs, Writer};
use super::plan::{Action, Caller, Child, Ended, Event, LOOK, Plan, Reply, State};
use super::run_dir::RunDir;
use super::signals;
use super::stalls::Stall;
use super::status::Tally;
use super::systemd::{Given, Notifier};

/// Inputs that may wait while one is dealt with; whoever has more to say waits.
const WAITING_INPUTS: usize = 256;
/// When nothing else is due. Far enough never to matter.
const IDLE: Duration = Duration::from_secs(3600);

/// What comes to the supervisor.
#[derive(Debug)]
pub(crate) enum Input {
    /// For the plan.
    Event(Event),
    /// Someone asks for something over the control socket.
    Asked(Request, Answers),
    /// An asker for sessions has taken those before this place.
    ListSessions(ListPlace, Answers),
    /// The gateway of this incarnation answers `ListSessions`.
    Sessions {
        incarnation: u32,
        question: u64,
        rows: Vec<SessionRow>,
        next: Option<ListPlace>,
    },
    /// In the gateway of this incarnation the retired listeners in these places have no connection any more.
    Vacant(u32, Vec<u16>),
    /// A worker or task worker has found one of its handlers stuck.
    Stalled(ProcessId, StallReport),
    /// In the gateway of this incarnation the sessions of the drain of this number are closed.
    DrainEnded(u32, u64),
    /// The gateway of this incarnation says how many sessions wait for each process that does not answer.
    Waiting(u32, Vec<(ProcessId, u64)>),
    /// Log files have been moved away and are to be opened anew.
    ReopenLog,
}

pub(super) struct Shell {
    plan: Plan,
    started: Instant,
    started_at: SystemTime,
    inputs: mpsc::Sender<Input>,
    received: mpsc::Receiver<Input>,
    executable: ExecutablePath,
    config_path: PathBuf,
    deployments: BTreeMap<u32, Deployment>,
    given: Given,
    /// Places of retired listeners that have no connection any more.
    vacant: BTreeSet<u16>,
    gateway: Option<Gateway>,
    processes: BTreeMap<ProcessId, Process>,
    helpers: BTreeMap<u32, Helper>,
    tally: Tally,
    /// The latest ones, oldest first.
    stalls: VecDeque<Stall>,
    callers: HashMap<Caller, Answers>,
    last_caller: Caller,
    /// Who waits for lists of sessions, in the order in which the gateway was asked.
    listing: HashMap<u64, Listing>,
    /// The number of the last question to a gateway.
    last_question: u64,
    /// Sessions are being closed, by a stop or a drain.
    closing: Option<Closing>,
    last_drain: u64,
    notifier: Notifier,
    outputs: Outputs,
    over: Option<Result<(), String>>,
    /// Last, so that the files go when everything else has.
    run_dir: RunDir,
}

/// Listening sockets, by their listeners' places.
type Sockets = BTreeMap<u16, Rc<Listening>>;

/// The present gateway.
struct Gateway {
    incarnation: u32,
    pid: u32,
    loops: u16,
    board: Scoreboard,
    board_fd: OwnedFd,
    /// The listening sockets it has.
    sockets: Sockets,
    /// Those it will have once this generation is committed.
    prepared: Option<(u32, Sockets)>,
    /// `None` once its channel was closed to end it.
    outbox: Option<Outbox>,
    is_killed: bool,
}

/// A worker or task worker.
struct Process {
    role: Role,
    generation: u32,
    pid: u32,
    board: Scoreboard,
    board_fd: OwnedFd,
    /// The gateway rings it; the process has its chime.
    doorbell: Doorbell,
    outbox: Outbox,
    /// While it does not answer: how many sessions wait for it, as the gateway counted last.
    waiting: Option<u64>,
    /// Its pipes to the log and to standard error are read for as long as it lives.
    writers: Vec<Writer>,
    is_killed: bool,
}

/// One run of a helper.
struct Helper {
    name: String,
    pid: u32,
}

impl Shell {
    /// To be called inside the runtime that [`run`](Self::run) will run in.
    pub(super) fn new(
        executable: ExecutablePath,
        config_path: PathBuf,
        deployment: Deployment,
        given: Given,
        run_dir: RunDir,
        notifier: Notifier,
    ) -> io::Result<Self> {
        let (inputs, received) = mpsc::channel(WAITING_INPUTS);
        let plan = Plan::new(deployment.shape(), Duration::ZERO);
        Ok(Self {
            plan,
            started: Instant::now(),
            started_at: SystemTime::now(),
            inputs,
            received,
            executable,
            config_path,
            deployments: BTreeMap::from([(1, deployment)]),
            given,
            vacant: BTreeSet::new(),
            gateway: None,
            processes: BTreeMap::new(),
            helpers: BTreeMap::new(),
            tally: Tally::default(),
            stalls: VecDeque::new(),
            callers: HashMap::new(),
            last_caller: 0,
            listing: HashMap::new(),
            last_question: 0,
            closing: None,
            last_drain: 0,
            notifier,
            outputs: Outputs::new()?,
            over: None,
            run_dir,
        })
    }

    /// Until the engine has ended. An error says why it did so without being told to.
    pub(super) async fn run(mut self) -> Result<(), String> {
        signals::listen(&self.inputs).map_err(|error| format!("signals: {error}"))?;
        let socket = self
            .run_dir
            .bind()
            .map_err(|error| format!("the control socket: {error}"))?;
        control_socket::listen(socket, &self.inputs)
            .map_err(|error| format!("the control socket: {error}"))?;
        info!(pid = std::process::id(), "supervisor started");
        let mut watchdog = self.notifier.watchdog().map(interval);
        if let Some(watchdog) = &mut watchdog {
            // After a machine has slept one sign of life is enough.
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(action) = self.plan.next_action() {
                self.carry_out(action);
            }
            if let Some(result) = self.over.take() {
                if let Some(hook) = self.hook(Moment::Stopped) {
                    hook.ended().await;
                }
                self.outputs.finish();
                return result;
            }
            let due = self
                .plan
                .next_timeout()
                .map_or(Instant::now() + IDLE, |at| self.started + at);
            tokio::select! {
                // There is always an input sender: ours.
                Some(input) = self.received.recv() => self.take(input),
                () = sleep_until(due) => self.tell(Event::Tick),
                // Said by this very loop, so that one that hangs says nothing.
                () = tick(&mut watchdog) => self.notifier.alive(),
                _ = look.tick() => self.look(),
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.plan.handle(event, self.started.elapsed());
        if self.plan.is_stopping() {
            self.close_listeners();
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => {
                match event {
                    Event::Exited { child, end } => self.bury(child, end),
                    Event::StopAsked => self.notifier.stopping(),
                    _ => {}
                }
                self.tell(event);
            }
            Input::Asked(request, answers) => self.asked(request, answers),
            Input::ListSessions(from, answers) => self.list_sessions(from, answers),
            Input::Sessions {
                incarnation,
                question,
                rows,
                next,
            } => {
                let gateway = self.gateway.as_ref();
                if gateway.is_some_and(|gateway| gateway.incarnation == incarnation) {
                    self.sessions(question, rows, next);
                }
            }
            Input::Vacant(incarnation, places) => self.are_vacant(incarnation, places),
            Input::DrainEnded(incarnation, number) => self.drain_ended(incarnation, number),
            Input::Waiting(incarnation, counts) => self.waiting(incarnation, counts),
            Input::Stalled(process, report) => self.stalled(process, report),
            Input::ReopenLog => self.reopen_log(),
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::SpawnGateway {
                incarnation,
                generation,
            } => {
                let result = self.spawn_gateway(incarnation, generation);
                self.unless_spawned(Child::Gateway(incarnation), result);
            }
            Action::SpawnProcess {
                process,
                role,
                generation,
            } => {
                let result = self.spawn_process(process, role, generation);
                self.unless_spawned(Child::Process(process), result);
            }
            Action::SpawnHelper {
                run,
                generation,
                helper,
            } => {
                let result = self.spawn_helper(run, generation, &helper);
                self.unless_spawned(Child::Helper(run), result);
            }
            Action::StartGateway { incarnation } => {
                let result = self.start_gateway();
                self.unless_sent(Child::Gateway(incarnation), result);
            }
            Action::StartProcess { process } => {
                let result = self.start_process(process);
                self.unless_sent(Child::Process(process), result);
            }
            Action::NewGateway { process } => {
                let result = self.new_gateway(process);
                self.unless_sent(Child::Process(process), result);
            }
            Action::Prepare { generation, scope } => {
                if let Err(error) = self.prepare_gateway(generation, scope) {
                    self.not_prepared(generation, error.to_string());
                }
            }
            Action::Activate {
                workers,
                serving,
                reload,
                prepared,
            } => {
                self.goes_over(prepared);
                self.send_gateway(&ToRole::Activate {
                    workers,
                    serving,
                    reload,
                    prepared,
                });
            }
            Action::Dead {
                process,
                fault,
                forced,
            } => {
                self.send_gateway(&ToRole::Dead {
                    process,
                    fault,
                    forced,
                });
            }
            Action::SaySilent { processes } => self.say_silent(processes),
            Action::ReportSilent { process, silent } => self.report_silent(process, silent),
            Action::ReportAnswers { process, silent } => self.report_answers(process, silent),
            Action::RunStopHook => self.run_stop_hook(),
            Action::StopGateway { over, max_wait } => {
                self.stop_begins(over);
                self.send_gateway(&stop(over, max_wait));
            }
            Action::StopProcess { process, max_wait } => {
                self.send_process(process, &stop(Duration::ZERO, max_wait))
            }
            Action::Serve { process } => self.send_process(process, &ToRole::Serving),
            Action::Lead { process } => self.send_process(process, &ToRole::Lead),
            Action::Resign { process } => self.send_process(process, &ToRole::Resign),
            Action::ReleaseGateway { incarnation } => {
                if let Some(gateway) = self
                    .gateway
                    .as_mut()
                    .filter(|gateway| gateway.incarnation == incarnation)
                {
                    gateway.outbox = None;
                }
            }
            Action::TerminateHelper { run } => {
                if let Some(helper) = self.helpers.get(&run) {
                    kill_child(helper.pid, Signal::SIGTERM);
                }
            }
            Action::Kill(child) => self.kill(child),
            Action::Open { generation, scope } => self.open(generation, scope),
            Action::Commit { generation, scope } => self.commit(generation, scope),
            Action::Abandon { generation, reason } => {
                warn!(
                    generation,
                    reason, "reload failed; the processes before it go on serving"
                );
                self.tally.reloads_failed += 1;
                self.forget_prepared(generation);
                self.say_ready();
                self.deployments.remove(&generation);
            }
            Action::Announce => self.announce(),
            Action::Reply { caller, reply } => self.reply(caller, reply),
            Action::Exit { failure } => {
                info!("stopped");
                self.over = Some(failure.map_or(Ok(()), Err));
            }
        }
    }

    fn unless_spawned(&mut self, child: Child, result: io::Result<()>) {
        if let Err(error) = result {
            // A path that has been renamed since is still the one that the operator knows.
            let reason = format!("{}: {error}", self.executable.as_path().display());
            error!(reason, "{} cannot be started", self.plan.name(child));
            self.tell(Event::SpawnFailed { child, reason });
        }
    }

    /// What cannot be made or sent for a child is told as its failure. Only what concerns the gateway alone is told as the
    /// gateway's: it holds every session.
    fn unless_sent(&mut self, child: Child, result: io::Result<()>) {
        match result {
            // It is ending, which will be heard of.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => self.tell(Event::Failed {
                child,
                reason: error.to_string(),
            }),
            Ok(()) => {}
        }
    }

    fn unless_sent_to_gateway(&mut self, result: io::Result<()>) {
        if let Some(gateway) = &self.gateway {
            self.unless_sent(Child::Gateway(gateway.incarnation), result);
        }
    }

    fn send_gateway(&mut self, message: &ToRole) {
        let Some(outbox) = self
            .gateway
            .as_ref()
            .and_then(|gateway| gateway.outbox.as_ref())
        else {
            return;
        };
        let result = outbox.send(message, Vec::new());
        self.unless_sent_to_gateway(result);
    }

    fn send_process(&mut self, process: ProcessId, message: &ToRole) {
        if let Some(found) = self.processes.get(&process) {
            let result = found.outbox.send(message, Vec::new());
            self.unless_sent(Child::Process(process), result);
        }
    }

    fn kill(&mut self, child: Child) {
        let pid = match child {
            Child::Gateway(incarnation) => self
                .gateway
                .as_mut()
                .filter(|gateway| gateway.incarnation == incarnation)
                .map(|gateway| {
                    gateway.is_killed = true;
                    gateway.pid
                }),
            Child::Process(process) => self.processes.get_mut(&process).map(|process| {
                process.is_killed = true;
                process.pid
            }),
            Child::Helper(run) => self.helpers.get(&run).map(|helper| helper.pid),
        };
        if let Some(pid) = pid {
            kill_child(pid, Signal::SIGKILL);
        }
    }

    /// Logs the end of a child and keeps what it has counted. The plan does not know of it yet.
    fn bury(&mut self, child: Child, end: Ended) {
        let name = self.plan.name(child);
        match child {
            Child::Gateway(incarnation) => {
                let Some(gateway) = self
                    .gateway
                    .take_if(|gateway| gateway.incarnation == incarnation)
                else {
                    return;
                };
                let lost = self.tally.add_gateway(&gateway.board, gateway.loops);
                for (_, listing) in self.listing.drain() {
                    listing
                        .answers
                        .give(Answer::Refused("the gateway has ended".to_owned()));
                }
                self.drain_is_lost();
                let pid = gateway.pid;
                let sessions = match lost {
                    0 => String::new(),
                    1 => ": 1 session was lost".to_owned(),
                    lost => format!(": {lost} sessions were lost"),
                };
                let was_told = gateway.is_killed || gateway.outbox.is_none() && end.is_success();
                if was_told && lost == 0 {
                    info!(pid, "{name} (pid {pid}) ended");
                } else if was_told {
                    warn!(pid, sessions = lost, "{name} (pid {pid}) ended{sessions}");
                } else {
                    error!(
                        pid,
                        code = end.code,
                        signal = end.signal,
                        sessions = lost,
                        "{name} (pid {pid}) {end}{sessions}"
                    );
                }
            }
            Child::Process(id) => {
                let Some(process) = self.processes.remove(&id) else {
                    return;
                };
                self.tally.add_process(&process.board);
                let Process {
                    pid, generation, ..
                } = process;
                let was_told = self.plan.state(id) == Some(State::Draining);
                if process.is_killed || was_told && end.is_success() {
                    info!(worker = name, pid, generation, "{name} (pid {pid}) ended");
                } else {
                    self.tally.worker_exits += 1;
                    // An app that calls exit(0) takes what is in hand with it, as a crash does.
                    let untold = match end.is_success() {
                        true => " without being told to stop",
                        false => "",
                    };
                    error!(
                        worker = name,
                        pid,
                        generation,
                        code = end.code,
                        signal = end.signal,
                        "{name} (pid {pid}) {end}{untold}"
                    );
                }
            }
            Child::Helper(run) => {
                if let Some(helper) = self.helpers.remove(&run) {
                    info!(
                        helper = helper.name,
                        pid = helper.pid,
                        code = end.code,
                        signal = end.signal,
                        "helper {end}"
                    );
                }
            }
        }
    }

    fn reply(&mut self, caller: Caller, reply: Reply) {
        let is_last = !matches!(reply, Reply::Progress(_));
        if let Some(answers) = self.callers.get(&caller) {
            answers.give(match reply {
                Reply::Progress(text) => Answer::Progress(text),
                Reply::Done(text) => Answer::Done(text),
                Reply::Unconfirmed(reason) => Answer::Unconfirmed(reason),
                Reply::Refused(reason) => Answer::Refused(reason),
            });
        }
        if is_last {
            self.callers.remove(&caller);
        }
    }
}

/// The next tick; never one without an interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
