//! The supervisor's one thread: executes the plan's actions, and tells it the results.

mod accepting;
mod answers;
mod app_requests;
mod children;
mod closing;
mod deploy;
mod ended;
mod flight;
mod launch;
mod log_files;
mod moments;
mod upgrade;
mod vitals;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::time::{Duration, SystemTime};

use moorline_protocol::command::Response;
use moorline_protocol::control::{ProcessId, ToRole};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::info;

use self::answers::Listing;
use self::children::{GatewayHandle, HelperHandle, ProcessHandle};
use self::upgrade::Others;
use super::control_socket::{self, Answers};
use super::deployment::{ConfigSource, Deployment, ExecutablePath};
use super::disks::Disks;
use super::flight::FlightRecorder;
use super::hooks::Moment;
use super::input::Input;
use super::lately::Lately;
use super::memory::ProcessMemory;
use super::output::Outputs;
use super::plan::{Action, Caller, Event, LOOK, Plan, Reply};
use super::run_dir::RunDir;
use super::signals;
use super::stalls::Stall;
use super::status::Tally;
use super::systemd::{Given, Notifier};

/// Inputs that may wait while one is handled; further senders wait.
const WAITING_INPUTS: usize = 256;
/// The tick when nothing is due. Far enough never to matter.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct Shell {
    plan: Plan,
    started: Instant,
    started_at: SystemTime,
    inputs: mpsc::Sender<Input>,
    received: mpsc::Receiver<Input>,
    executable: ExecutablePath,
    source: ConfigSource,
    deployments: BTreeMap<u32, Deployment>,
    given: Given,
    /// Places of retired listeners that have no connection left.
    vacant: BTreeSet<u16>,
    gateway: Option<GatewayHandle>,
    /// Gateways beside it.
    others: Others,
    processes: BTreeMap<ProcessId, ProcessHandle>,
    helpers: BTreeMap<u32, HelperHandle>,
    tally: Tally,
    lately: Lately,
    memory: ProcessMemory,
    disks: Disks,
    /// How often signs of life were read.
    looks: u32,
    /// The latest ones, oldest first.
    stalls: VecDeque<Stall>,
    callers: HashMap<Caller, Answers>,
    last_caller: Caller,
    /// The callers that wait for lists of sessions, in the order in which the gateway was asked.
    listing: HashMap<u64, Listing>,
    /// The names of listeners that accept nothing, by an order.
    stopped_listeners: BTreeSet<String>,
    /// The number of the last question to a gateway.
    last_question: u64,
    /// What apps that ask for the state get, and since when.
    app_status: Option<(Instant, String)>,
    notifier: Notifier,
    outputs: Outputs,
    flight: FlightRecorder,
    over: Option<Result<(), String>>,
    /// Last, so that the files are removed after everything else.
    run_dir: RunDir,
}

impl Shell {
    /// Call it inside the runtime in which [`run`](Self::run) will run.
    pub(super) fn new(
        executable: ExecutablePath,
        source: ConfigSource,
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
            source,
            deployments: BTreeMap::from([(1, deployment)]),
            given,
            vacant: BTreeSet::new(),
            gateway: None,
            others: Others::default(),
            processes: BTreeMap::new(),
            helpers: BTreeMap::new(),
            tally: Tally::default(),
            lately: Lately::default(),
            memory: ProcessMemory::default(),
            disks: Disks::default(),
            looks: 0,
            stalls: VecDeque::new(),
            callers: HashMap::new(),
            last_caller: 0,
            listing: HashMap::new(),
            stopped_listeners: BTreeSet::new(),
            last_question: 0,
            app_status: None,
            notifier,
            outputs: Outputs::new()?,
            flight: FlightRecorder::new(run_dir.path())?,
            over: None,
            run_dir,
        })
    }

    /// Runs until the engine has ended. An error says why it ended without an order.
    pub(super) async fn run(mut self) -> Result<(), String> {
        signals::listen(&self.inputs).map_err(|error| format!("signals: {error}"))?;
        let socket = self
            .run_dir
            .bind()
            .map_err(|error| format!("the control socket: {error}"))?;
        control_socket::listen(socket, self.inputs.clone())
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
                self.flight.finish();
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
                // This very loop sends it, so that a loop that hangs sends nothing.
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
                self.note_event(&event);
                match event {
                    Event::Exited { child, end } => self.child_ended(child, end),
                    Event::StopAsked => self.notifier.stopping(),
                    Event::Drained(_) => self.stop_ended(),
                    _ => {}
                }
                self.tell(event);
            }
            Input::Asked(request, answers) => self.asked(request, answers),
            Input::ListSessions(list, answers) => self.list_sessions(list, answers),
            Input::Sessions {
                incarnation,
                question,
                rows,
                next,
            } => {
                if self.is_present(incarnation) {
                    self.sessions(question, rows, next);
                }
            }
            Input::ListUpstreams(from, answers) => self.list_upstreams(from, answers),
            Input::Upstreams {
                incarnation,
                question,
                seen,
                next,
            } => {
                if self.is_present(incarnation) {
                    self.upstreams(question, seen, next);
                }
            }
            Input::SessionClosed(from, question, is_there) if self.is_present(from) => {
                self.session_closed(question, is_there);
            }
            Input::PeerSet(from, question, result) if self.is_present(from) => {
                self.peer_set(question, result);
            }
            // Of a gateway that has ended.
            Input::SessionClosed(..) | Input::PeerSet(..) => {}
            Input::Vacant(incarnation, places) => self.are_vacant(incarnation, places),
            Input::Refused(incarnation, refused) => self.refused(incarnation, refused),
            Input::DrainEnded(incarnation, number) => {
                let count = self.left().map_or(0, |left| left.of);
                self.tell(Event::DrainEnded {
                    incarnation,
                    number,
                    count,
                });
            }
            Input::Waiting(incarnation, counts) => self.waiting(incarnation, counts),
            Input::Stalled(process, report) => self.stalled(process, report),
            Input::AppAsks(process, number, request) => self.app_asks(process, number, request),
            Input::AppAnswered(process, number, outcome) => {
                self.app_answered(process, number, outcome);
            }
            Input::AppStatusDue(process, number) => self.tell_app_status(process, number),
            Input::ReopenLog => self.reopen_log(),
        }
    }

    /// Whether this is the gateway that serves now.
    fn is_present(&self, incarnation: u32) -> bool {
        let gateway = self.gateway.as_ref();
        gateway.is_some_and(|gateway| gateway.incarnation == incarnation)
    }

    fn carry_out(&mut self, action: Action) {
        self.note_action(&action);
        match action {
            Action::SpawnGateway {
                incarnation,
                generation,
            } => self.spawn_gateway(incarnation, generation),
            Action::SpawnProcess {
                process,
                role,
                generation,
            } => self.spawn_process(process, role, generation),
            Action::SpawnHelper {
                run,
                generation,
                helper,
            } => self.spawn_helper(run, generation, &helper),
            Action::StartGateway { incarnation } => self.start_gateway(incarnation),
            Action::Upgrade(step) => self.carry_out_upgrade(step),
            Action::StartProcess { process } => self.start_process(process),
            Action::NewGateway { process } => self.new_gateway(process),
            Action::Prepare { generation, scope } => self.prepare_gateway(generation, scope),
            Action::Activate {
                workers,
                serving,
                prepared,
            } => self.activate(workers, serving, prepared),
            Action::Dead {
                process,
                fault,
                forced,
            } => self.process_is_dead(process, fault, forced),
            Action::SaySilent { processes } => self.say_silent(processes),
            Action::ReportSilent { process, silent } => self.report_silent(process, silent),
            Action::ReportAnswers { process, silent } => self.report_answers(process, silent),
            Action::StopGateway { over, max_wait } => self.stop_gateway(over, max_wait),
            Action::Drain {
                number,
                places,
                over,
                max_wait,
            } => self.drain_gateway(number, places, over, max_wait),
            Action::StopProcess { process, max_wait } => self.stop_process(process, max_wait),
            Action::Serve { process } => self.send_process(process, &ToRole::Serving),
            Action::Lead { process } => self.send_process(process, &ToRole::Lead),
            Action::Resign { process } => self.send_process(process, &ToRole::Resign),
            Action::ReleaseGateway { incarnation } => self.release_gateway(incarnation),
            Action::TerminateHelper { run } => self.terminate_helper(run),
            Action::Kill(child) => self.kill(child),
            Action::Open { generation, scope } => self.open(generation, scope),
            Action::Commit { generation, scope } => self.commit(generation, scope),
            Action::Abandon { generation, reason } => self.abandon(generation, &reason),
            Action::RunStopHook => self.run_stop_hook(),
            Action::Announce => self.announce(),
            Action::Reply { caller, reply } => self.reply(caller, reply),
            Action::Exit { failure } => {
                info!("stopped");
                self.over = Some(failure.map_or(Ok(()), Err));
            }
        }
    }

    /// Keeps the way back to a caller.
    fn new_caller(&mut self, answers: Answers) -> Caller {
        self.last_caller += 1;
        self.callers.insert(self.last_caller, answers);
        self.last_caller
    }

    fn reply(&mut self, caller: Caller, reply: Reply) {
        let is_last = !matches!(reply, Reply::Progress(_));
        if let Some(answers) = self.callers.get(&caller) {
            answers.give(match reply {
                Reply::Progress(text) => Response::Progress(text),
                Reply::Done(text) => Response::Done(text),
                Reply::Unconfirmed(reason) => Response::Unconfirmed(reason),
                Reply::Refused(reason) => Response::Refused(reason),
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

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
