//! The plan against children that are made up, with a clock that is a number.

mod app_reloads;
mod closing;
mod leader;
mod random;
mod reload;
mod start;
mod stop;
mod upgrade;
mod vitals;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use moorline_protocol::command::Scope;
use moorline_protocol::control::{ProcessId, Role};

use super::*;

const MAX_WAIT: Duration = Duration::from_secs(10);
const START_TIMEOUT: Duration = Duration::from_secs(10);

const KILLED: Ended = Ended {
    code: None,
    signal: Some(9),
};
const DONE: Ended = Ended {
    code: Some(0),
    signal: None,
};

fn shape(workers: u16, tasks: u16) -> Shape {
    Shape {
        workers,
        tasks,
        helpers: Vec::new(),
        max_wait: MAX_WAIT,
        start_timeout: START_TIMEOUT,
        stop_over: Duration::ZERO,
        kill_gateway_after: None,
        kill_worker_after: None,
        kill_task_after: None,
    }
}

fn helper(name: &str, command: &str) -> moorline_config::Helper {
    moorline_config::Helper {
        name: name.to_owned(),
        task: moorline_config::HelperTask::Command(vec![command.to_owned()]),
    }
}

fn tells_of_a_switch(action: &Action) -> bool {
    match action {
        Action::Announce | Action::Commit { .. } | Action::Serve { .. } | Action::Lead { .. } => {
            true
        }
        Action::Reply {
            reply: Reply::Done(text),
            ..
        } => text.starts_with("generation"),
        _ => false,
    }
}

/// A plan, and a world in which what it kills dies at once, and nothing else happens by itself.
struct World {
    plan: Plan,
    now: Now,
    /// What is alive.
    children: BTreeSet<Child>,
    /// The generation and role each process was started with.
    processes: BTreeMap<ProcessId, (Role, u32)>,
    /// The helper of each run.
    helpers: BTreeMap<u32, String>,
    /// How many of the next children cannot be started.
    failing_spawns: u32,
    /// What the gateway was told last.
    serving: Vec<ProcessId>,
    /// All actions since it was last asked.
    seen: Vec<Action>,
    /// The gateway does not answer by itself.
    is_mute: bool,
    /// How many `Activate` the gateway has not obeyed.
    disobeyed: u32,
    /// The hook before a stop does not end by itself.
    is_hook_slow: bool,
}

impl World {
    fn new(shape: Shape) -> Self {
        let mut world = Self {
            plan: Plan::new(shape, Duration::ZERO),
            now: Duration::ZERO,
            children: BTreeSet::new(),
            processes: BTreeMap::new(),
            helpers: BTreeMap::new(),
            failing_spawns: 0,
            serving: Vec::new(),
            seen: Vec::new(),
            is_mute: false,
            disobeyed: 0,
            is_hook_slow: false,
        };
        world.settle();
        world
    }

    /// An engine in which all serve.
    fn serving(shape: Shape) -> Self {
        let mut world = Self::new(shape);
        world.ready_gateway();
        for process in world.starting() {
            world.ready(process);
        }
        assert!(world.take().contains(&Action::Announce));
        world
    }

    fn tell(&mut self, event: Event) {
        self.plan.handle(event, self.now);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(action) = self.plan.next_action() {
            assert!(
                self.disobeyed == 0 || !tells_of_a_switch(&action),
                "{action:?} before the gateway has switched"
            );
            if action == Action::RunStopHook && !self.is_hook_slow {
                self.tell(Event::StopHookEnded);
                continue;
            }
            self.seen.push(action.clone());
            self.answer(action);
        }
    }

    /// Does what an action asks for, and tells what comes of it at once.
    fn answer(&mut self, action: Action) {
        match action {
            Action::SpawnGateway { incarnation, .. } => self.spawn(Child::Gateway(incarnation)),
            Action::SpawnProcess {
                process,
                role,
                generation,
            } => {
                self.processes.insert(process, (role, generation));
                self.spawn(Child::Process(process));
            }
            Action::SpawnHelper { run, helper, .. } => {
                self.helpers.insert(run, helper.name);
                self.spawn(Child::Helper(run));
            }
            Action::Activate { serving, .. } => {
                self.serving = serving;
                self.disobeyed += 1;
                if !self.is_mute {
                    self.obey();
                }
            }
            Action::Upgrade(UpgradeAction::SpawnSuccessor { incarnation, .. }) => {
                self.spawn(Child::Gateway(incarnation))
            }
            Action::Upgrade(UpgradeAction::SwitchGateway { from, to }) => {
                self.exit(Child::Gateway(from), DONE);
                if !self.is_mute {
                    self.tell(Event::GoesOn {
                        incarnation: to,
                        sessions: 1,
                        pause: Duration::ZERO,
                    });
                }
            }
            Action::Kill(child) => self.exit(child, KILLED),
            _ if self.is_mute => {}
            Action::StartProcess { process } | Action::NewGateway { process } => {
                self.attached(process, None);
            }
            Action::Prepare { generation, .. } => self.prepared(generation, None),
            Action::Upgrade(UpgradeAction::StartSuccessor { incarnation }) => {
                self.tell(Event::Waits(incarnation))
            }
            Action::Upgrade(UpgradeAction::CloseRest { number, .. }) => {
                if let Some(Child::Gateway(incarnation)) = self.gateway() {
                    self.tell(Event::DrainEnded {
                        incarnation,
                        number,
                        count: 1,
                    });
                }
            }
            Action::Upgrade(UpgradeAction::HandOver { to }) => self.hand_over_to(to),
            _ => {}
        }
    }

    /// The present gateway hands everything over, and the new one takes it.
    fn hand_over_to(&mut self, to: u32) {
        if let Some(Child::Gateway(incarnation)) = self.gateway() {
            self.tell(Event::HandedOver {
                incarnation,
                failure: None,
            });
            self.tell(Event::Ready(Child::Gateway(to)));
        }
    }

    fn spawn(&mut self, child: Child) {
        if self.failing_spawns == 0 {
            self.children.insert(child);
            return;
        }
        self.failing_spawns -= 1;
        self.tell(Event::SpawnFailed {
            child,
            reason: "no memory".to_owned(),
        });
    }

    fn exit(&mut self, child: Child, end: Ended) {
        if self.children.remove(&child) {
            if let Child::Gateway(incarnation) = child
                && self.plan.is_present(incarnation)
            {
                self.disobeyed = 0;
            }
            self.tell(Event::Exited { child, end });
        }
    }

    /// The gateway answers.
    fn attached(&mut self, process: ProcessId, failure: Option<&str>) {
        if let Some(Child::Gateway(incarnation)) = self.gateway() {
            self.tell(Event::Attached {
                incarnation,
                process,
                failure: failure.map(str::to_owned),
            });
        }
    }

    /// The gateway has obeyed an `Activate`.
    fn obey(&mut self) {
        if let Some(Child::Gateway(incarnation)) = self.gateway()
            && self.disobeyed > 0
        {
            self.disobeyed -= 1;
            self.tell(Event::Activated(incarnation));
        }
    }

    fn prepared(&mut self, generation: u32, failure: Option<&str>) {
        if let Some(Child::Gateway(incarnation)) = self.gateway() {
            self.tell(Event::Prepared {
                incarnation,
                generation,
                failure: failure.map(str::to_owned),
            });
        }
    }

    fn die(&mut self, process: ProcessId) {
        self.exit(Child::Process(process), KILLED);
    }

    fn ready(&mut self, process: ProcessId) {
        self.tell(Event::Hello(Child::Process(process)));
        self.tell(Event::Ready(Child::Process(process)));
    }

    fn ready_gateway(&mut self) {
        let gateway = self.gateway().expect("there is a gateway");
        self.tell(Event::Hello(gateway));
        self.tell(Event::Ready(gateway));
    }

    fn gateway(&self) -> Option<Child> {
        self.children
            .iter()
            .copied()
            .find(|child| matches!(child, Child::Gateway(_)))
    }

    fn starting(&self) -> Vec<ProcessId> {
        self.in_state(State::Starting)
    }

    fn in_state(&self, state: State) -> Vec<ProcessId> {
        self.processes
            .keys()
            .copied()
            .filter(|&id| self.plan.state(id) == Some(state))
            .collect()
    }

    /// Lets this time pass, with every timeout in it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.plan.next_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.tell(Event::Tick);
            let next = self.plan.next_timeout();
            assert!(
                next.is_none_or(|next| next > self.now),
                "a timeout that is over is asked for again"
            );
        }
        self.now = end;
    }

    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.seen)
    }

    /// Asks for a reload that finds this, and returns the new processes.
    fn reload(&mut self, caller: Caller, shape: Shape) -> Vec<ProcessId> {
        self.tell(Event::ReloadAsked {
            caller: Some(caller),
            scope: Scope::All,
        });
        self.tell(Event::Opened(Ok(shape)));
        self.starting()
    }

    fn replies(&mut self, to: Caller) -> Vec<Reply> {
        let (mine, others) = self.take().into_iter().partition(
            |action| matches!(action, Action::Reply { caller, reply } if *caller == to && !matches!(reply, Reply::Progress(_))),
        );
        self.seen = others;
        mine.into_iter()
            .filter_map(|action| match action {
                Action::Reply { reply, .. } => Some(reply),
                _ => None,
            })
            .collect()
    }

    fn generations_serving(&self) -> Vec<u32> {
        self.serving.iter().map(|id| self.processes[id].1).collect()
    }
}
