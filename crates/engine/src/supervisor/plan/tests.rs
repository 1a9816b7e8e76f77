//! The plan against children that are made up, with a clock that is a number.

mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config;
use crate::control::{ProcessId, Role};

use super::*;

const MAX_WAIT: Duration = Duration::from_secs(10);
const START_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const KILLED: Ended = Ended {
    code: None,
    signal: Some(9),
};
pub(super) const DONE: Ended = Ended {
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
    }
}

fn helper(name: &str, command: &str) -> config::Helper {
    config::Helper {
        name: name.to_owned(),
        command: vec![command.to_owned()],
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
    /// What the gateway was told last.
    serving: Vec<ProcessId>,
    /// All actions since it was last asked.
    seen: Vec<Action>,
}

impl World {
    fn new(shape: Shape) -> Self {
        let mut world = Self {
            plan: Plan::new(shape, Duration::ZERO),
            now: Duration::ZERO,
            children: BTreeSet::new(),
            processes: BTreeMap::new(),
            serving: Vec::new(),
            seen: Vec::new(),
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
            match &action {
                Action::SpawnGateway { incarnation, .. } => {
                    self.children.insert(Child::Gateway(*incarnation));
                }
                Action::SpawnProcess {
                    process,
                    role,
                    generation,
                } => {
                    self.children.insert(Child::Process(*process));
                    self.processes.insert(*process, (*role, *generation));
                }
                Action::SpawnHelper { run, .. } => {
                    self.children.insert(Child::Helper(*run));
                }
                Action::Activate { serving, .. } => self.serving = serving.clone(),
                Action::Kill(child) => {
                    let child = *child;
                    self.seen.push(action);
                    self.exit(child, KILLED);
                    continue;
                }
                _ => {}
            }
            self.seen.push(action);
        }
    }

    fn exit(&mut self, child: Child, end: Ended) {
        if self.children.remove(&child) {
            self.tell(Event::Exited { child, end });
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

    /// Lets so much time pass, with every timeout in it.
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

#[test]
fn everything_is_started_in_order_and_announced_once_all_are_ready() {
    let mut world = World::new(shape(2, 1));
    assert_eq!(
        world.take(),
        [Action::SpawnGateway {
            incarnation: 1,
            generation: 1
        }]
    );
    world.tell(Event::Hello(Child::Gateway(1)));
    assert_eq!(world.take(), [Action::StartGateway { incarnation: 1 }]);
    world.tell(Event::Ready(Child::Gateway(1)));
    let spawn = |process, role| Action::SpawnProcess {
        process,
        role,
        generation: 1,
    };
    assert_eq!(
        world.take(),
        [
            spawn(1, Role::Worker(0)),
            spawn(2, Role::Worker(1)),
            spawn(3, Role::Task(0))
        ]
    );
    world.tell(Event::Hello(Child::Process(1)));
    assert_eq!(
        world.take(),
        [
            Action::StartProcess { process: 1 },
            Action::Attach { process: 1 }
        ]
    );
    world.tell(Event::Ready(Child::Process(1)));
    world.ready(2);
    world.take();
    world.ready(3);
    assert_eq!(
        world.take()[2..],
        [
            Action::Activate {
                workers: 2,
                serving: vec![1, 2, 3],
                reload: false
            },
            Action::Announce
        ]
    );
}

#[test]
fn a_failure_before_the_engine_serves_ends_it_with_the_reason() {
    let mut world = World::new(shape(2, 0));
    world.ready_gateway();
    world.ready(1);
    world.tell(Event::Failed {
        child: Child::Process(2),
        reason: "no database".to_owned(),
    });
    assert_eq!(
        world.take().last(),
        Some(&Action::Exit {
            failure: Some("worker 1: no database".to_owned())
        })
    );
    assert!(world.children.is_empty());
}

#[test]
fn a_worker_that_never_gets_ready_ends_the_start() {
    let mut world = World::new(shape(1, 0));
    world.ready_gateway();
    world.pass(START_TIMEOUT);
    let failure = Some("worker 0: was not ready within 10s".to_owned());
    assert_eq!(world.take().last(), Some(&Action::Exit { failure }));
}

#[test]
fn a_dead_worker_is_replaced_at_once_and_its_replacement_serves_when_ready() {
    let mut world = World::serving(shape(2, 0));
    world.pass(Duration::from_secs(1));
    world.die(1);
    assert_eq!(
        world.take(),
        [
            Action::Dead {
                process: 1,
                fault: false,
                forced: false
            },
            Action::SpawnProcess {
                process: 3,
                role: Role::Worker(0),
                generation: 1
            },
        ]
    );
    world.ready(3);
    assert_eq!(world.serving, [3, 2]);
}

#[test]
fn a_fault_is_told_from_a_kill() {
    let mut world = World::serving(shape(1, 0));
    world.exit(
        Child::Process(1),
        Ended {
            code: None,
            signal: Some(11),
        },
    );
    assert!(world.take().contains(&Action::Dead {
        process: 1,
        fault: true,
        forced: false
    }));
}

#[test]
fn what_dies_young_is_started_again_after_longer_and_longer_waits() {
    let mut world = World::serving(shape(1, 0));
    world.die(1);
    assert_eq!(world.starting(), [2]);
    world.die(2);
    assert!(world.starting().is_empty());
    world.pass(Duration::from_millis(99));
    assert!(world.starting().is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.starting(), [3]);
    world.tell(Event::SpawnFailed {
        child: Child::Process(3),
        reason: "no memory".to_owned(),
    });
    world.pass(Duration::from_millis(200));
    assert_eq!(world.starting(), [4]);
}

#[test]
fn a_crash_after_a_failed_reload_is_mended_from_the_committed_generation() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.die(new[0]);
    let refused = Reply::Refused("worker 0 was ended by SIGKILL before it was ready".to_owned());
    assert_eq!(world.replies(1), [refused]);
    world.take();
    world.die(1);
    assert!(world.take().contains(&Action::SpawnProcess {
        process: 3,
        role: Role::Worker(0),
        generation: 1
    }));
}

#[test]
fn nothing_switches_while_one_of_two_is_not_ready() {
    let mut world = World::serving(shape(2, 0));
    let new = world.reload(1, shape(2, 0));
    world.ready(new[0]);
    assert_eq!(world.serving, [1, 2]);
    world.pass(START_TIMEOUT);
    assert_eq!(world.serving, [1, 2]);
    assert_eq!(
        world.replies(1),
        [Reply::Refused(
            "worker 1: was not ready within 10s".to_owned()
        )]
    );
    assert_eq!(world.children.len(), 3, "both new ones were ended");
    let actions = world.take();
    assert!(
        actions
            .iter()
            .all(|action| !matches!(action, Action::Commit { .. }))
    );
    assert!(actions.contains(&Action::Dead {
        process: new[0],
        fault: false,
        forced: false
    }));
}

#[test]
fn a_reload_switches_all_at_once_and_the_old_are_stopped_when_released() {
    let mut world = World::serving(shape(2, 1));
    let new = world.reload(1, shape(2, 1));
    world.take();
    for &process in &new {
        world.ready(process);
    }
    let actions = world.take();
    assert!(actions.contains(&Action::Activate {
        workers: 2,
        serving: new.clone(),
        reload: true
    }));
    assert!(actions.contains(&Action::Commit {
        generation: 2,
        scope: Scope::All
    }));
    assert!(actions.contains(&Action::Reply {
        caller: 1,
        reply: Reply::Done("generation 2 serves".to_owned())
    }));
    assert_eq!(world.in_state(State::Draining), [1, 2, 3]);
    world.pass(Duration::from_secs(4));
    world.tell(Event::Released(2));
    assert_eq!(
        world.take(),
        [Action::StopProcess {
            process: 2,
            max_wait: Duration::from_secs(6)
        }]
    );
    world.exit(Child::Process(2), DONE);
    assert_eq!(
        world.take(),
        [Action::Dead {
            process: 2,
            fault: false,
            forced: false
        }]
    );
}

#[test]
fn what_has_not_ended_at_max_wait_after_a_reload_is_killed_and_counted_as_forced() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.ready(new[0]);
    world.take();
    world.pass(MAX_WAIT);
    assert_eq!(
        world.take(),
        [
            Action::Kill(Child::Process(1)),
            Action::Dead {
                process: 1,
                fault: false,
                forced: true
            }
        ]
    );
}

#[test]
fn a_reload_asked_for_meanwhile_waits_and_further_ones_join_it() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.tell(Event::ReloadAsked {
        caller: Some(2),
        scope: Scope::All,
    });
    world.tell(Event::ReloadAsked {
        caller: Some(3),
        scope: Scope::All,
    });
    world.ready(new[0]);
    assert_eq!(
        world.replies(1),
        [Reply::Done("generation 2 serves".to_owned())]
    );
    let opens = |actions: &[Action]| {
        actions
            .iter()
            .filter(|action| matches!(action, Action::Open { .. }))
            .count()
    };
    assert_eq!(opens(&world.take()), 1, "the old worker has not ended");
    world.tell(Event::Released(1));
    world.exit(Child::Process(1), DONE);
    assert_eq!(opens(&world.take()), 1);
    world.tell(Event::Opened(Ok(shape(1, 0))));
    let newer = world.starting();
    world.ready(newer[0]);
    let done = [Reply::Done("generation 3 serves".to_owned())];
    assert_eq!(
        (world.replies(2), world.replies(3)),
        (done.to_vec(), done.to_vec())
    );
    assert_eq!(world.generations_serving(), [3]);
}

#[test]
fn a_refused_reload_of_tasks_leaves_later_ones_possible() {
    let mut world = World::serving(shape(1, 0));
    world.tell(Event::ReloadAsked {
        caller: Some(1),
        scope: Scope::Tasks,
    });
    assert!(matches!(world.replies(1)[..], [Reply::Refused(_)]));
    let new = world.reload(2, shape(1, 0));
    world.ready(new[0]);
    assert!(matches!(world.replies(2)[..], [Reply::Done(_)]));
}

#[test]
fn a_reload_of_tasks_leaves_the_workers_and_their_generation_alone() {
    let mut world = World::serving(shape(1, 1));
    world.tell(Event::ReloadAsked {
        caller: Some(1),
        scope: Scope::Tasks,
    });
    world.tell(Event::Opened(Ok(shape(1, 1))));
    assert_eq!(world.starting(), [3]);
    world.ready(3);
    assert_eq!(world.serving, [1, 3]);
    assert_eq!(world.plan.generations(), [1, 2]);
    world.take();
    world.die(1);
    assert!(world.take().contains(&Action::SpawnProcess {
        process: 4,
        role: Role::Worker(0),
        generation: 1
    }));
}

#[test]
fn a_configuration_that_cannot_be_used_fails_the_reload_before_anything_is_started() {
    let mut world = World::serving(shape(1, 0));
    world.tell(Event::ReloadAsked {
        caller: Some(1),
        scope: Scope::All,
    });
    world.tell(Event::Opened(Err("unknown key".to_owned())));
    assert_eq!(world.replies(1), [Reply::Refused("unknown key".to_owned())]);
    assert!(world.starting().is_empty());
}

#[test]
fn a_reload_can_change_the_number_of_workers() {
    let mut world = World::serving(shape(3, 0));
    let new = world.reload(1, shape(1, 0));
    assert_eq!(new.len(), 1);
    world.take();
    world.ready(new[0]);
    assert!(world.take().contains(&Action::Activate {
        workers: 1,
        serving: new,
        reload: true
    }));
    assert_eq!(world.in_state(State::Draining), [1, 2, 3]);
}

#[test]
fn an_old_worker_that_dies_during_the_preparation_is_replaced_and_the_reload_goes_on() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.die(1);
    let replacement = *world.starting().last().expect("a replacement");
    assert_eq!(world.processes[&replacement].1, 1);
    world.ready(new[0]);
    assert_eq!(world.serving, new);
    assert!(!world.children.contains(&Child::Process(replacement)));
}

#[test]
fn the_gateways_death_during_a_reload_does_not_end_the_reload() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.tell(Event::Hello(Child::Process(new[0])));
    world.exit(Child::Gateway(1), KILLED);
    world.take();
    world.ready_gateway();
    let joined = |process| [Action::NewGateway { process }, Action::Attach { process }];
    assert_eq!(
        world.take()[1..],
        [
            &joined(1)[..],
            &joined(new[0])[..],
            &[Action::Activate {
                workers: 1,
                serving: vec![1],
                reload: false
            }]
        ]
        .concat()
    );
    world.tell(Event::Ready(Child::Process(new[0])));
    assert_eq!(world.serving, new);
}

#[test]
fn the_gateways_death_stops_what_was_draining() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.ready(new[0]);
    world.take();
    world.exit(Child::Gateway(1), KILLED);
    assert!(world.take().contains(&Action::StopProcess {
        process: 1,
        max_wait: MAX_WAIT
    }));
}

#[test]
fn a_process_that_starts_without_a_gateway_waits_for_one() {
    let mut world = World::serving(shape(1, 0));
    world.exit(Child::Gateway(1), KILLED);
    world.die(1);
    world.take();
    world.tell(Event::Hello(Child::Process(2)));
    assert!(world.take().is_empty());
    world.ready_gateway();
    assert!(world.take().contains(&Action::StartProcess { process: 2 }));
}

#[test]
fn a_worker_that_was_told_to_stop_serves_until_its_replacement_is_ready() {
    let mut world = World::serving(shape(2, 0));
    world.tell(Event::Stopping(1));
    world.tell(Event::Stopping(1));
    assert_eq!(world.starting(), [3]);
    assert_eq!(world.serving, [1, 2]);
    world.take();
    world.ready(3);
    assert_eq!(world.serving, [3, 2]);
    world.take();
    world.tell(Event::Released(1));
    assert_eq!(
        world.take(),
        [Action::StopProcess {
            process: 1,
            max_wait: MAX_WAIT
        }]
    );
    world.exit(Child::Process(1), DONE);
    assert!(world.starting().is_empty());
}

#[test]
fn garbage_ends_a_worker_and_it_is_replaced() {
    let mut world = World::serving(shape(1, 0));
    world.tell(Event::Garbage {
        process: 1,
        reason: "length".to_owned(),
    });
    assert_eq!(world.take()[0], Action::Kill(Child::Process(1)));
    assert_eq!(world.starting(), [2]);
}

#[test]
fn a_stop_ends_all_in_order() {
    let mut settings = shape(1, 1);
    settings.helpers = vec![helper("feeder", "./feeder")];
    let mut world = World::serving(settings);
    world.tell(Event::StopAsked);
    assert_eq!(world.take(), [Action::StopGateway { max_wait: MAX_WAIT }]);
    world.pass(Duration::from_secs(2));
    world.tell(Event::Drained(1));
    assert_eq!(
        world.take(),
        [Action::StopProcess {
            process: 1,
            max_wait: Duration::from_secs(8)
        }]
    );
    world.exit(Child::Process(1), DONE);
    let dead = |process| Action::Dead {
        process,
        fault: false,
        forced: false,
    };
    assert_eq!(
        world.take(),
        [
            dead(1),
            Action::StopProcess {
                process: 2,
                max_wait: Duration::from_secs(8)
            }
        ]
    );
    world.exit(Child::Process(2), DONE);
    assert_eq!(world.take(), [dead(2), Action::TerminateHelper { run: 1 }]);
    world.exit(Child::Helper(1), DONE);
    assert_eq!(world.take(), [Action::ReleaseGateway { incarnation: 1 }]);
    world.exit(Child::Gateway(1), DONE);
    assert_eq!(world.take(), [Action::Exit { failure: None }]);
}

#[test]
fn a_stop_is_bounded_whoever_does_not_answer() {
    let mut settings = shape(2, 1);
    settings.helpers = vec![helper("feeder", "./feeder")];
    let mut world = World::serving(settings);
    world.tell(Event::StopAsked);
    world.pass(MAX_WAIT + Duration::from_secs(5));
    assert_eq!(world.take().last(), Some(&Action::Exit { failure: None }));
    assert!(world.children.is_empty());
}

#[test]
fn a_second_stop_is_at_once() {
    let mut world = World::serving(shape(2, 1));
    world.tell(Event::StopAsked);
    world.tell(Event::StopAsked);
    assert_eq!(world.take().last(), Some(&Action::Exit { failure: None }));
}

#[test]
fn a_stop_during_a_reload_refuses_it_and_ends_the_new_processes() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.tell(Event::ReloadAsked {
        caller: Some(2),
        scope: Scope::All,
    });
    world.tell(Event::StopAsked);
    let refused = [Reply::Refused("the engine is stopping".to_owned())];
    assert_eq!(
        (world.replies(1), world.replies(2)),
        (refused.to_vec(), refused.to_vec())
    );
    assert!(!world.children.contains(&Child::Process(new[0])));
    world.tell(Event::ReloadAsked {
        caller: Some(3),
        scope: Scope::All,
    });
    assert_eq!(world.replies(3), refused);
}

#[test]
fn nothing_is_started_again_while_stopping() {
    let mut world = World::serving(shape(2, 0));
    world.tell(Event::StopAsked);
    world.die(1);
    world.exit(Child::Gateway(1), KILLED);
    assert!(world.starting().is_empty());
    assert_eq!(world.gateway(), None);
    world.exit(Child::Process(2), DONE);
    assert_eq!(world.take().last(), Some(&Action::Exit { failure: None }));
}

#[test]
fn a_reload_touches_only_helpers_that_changed() {
    let mut settings = shape(1, 0);
    settings.helpers = vec![
        helper("same", "a"),
        helper("changed", "b"),
        helper("removed", "c"),
    ];
    let mut world = World::serving(settings.clone());
    settings.helpers = vec![
        helper("same", "a"),
        helper("changed", "B"),
        helper("added", "d"),
    ];
    let new = world.reload(1, settings);
    world.take();
    world.ready(new[0]);
    let actions: Vec<_> = world
        .take()
        .into_iter()
        .filter(|action| {
            matches!(
                action,
                Action::TerminateHelper { .. } | Action::SpawnHelper { .. }
            )
        })
        .collect();
    let spawn = |run, spec| Action::SpawnHelper {
        run,
        generation: 2,
        helper: spec,
    };
    assert_eq!(
        actions,
        [
            Action::TerminateHelper { run: 2 },
            Action::TerminateHelper { run: 3 },
            spawn(4, helper("added", "d"))
        ]
    );
    world.exit(Child::Helper(3), DONE);
    assert!(world.take().is_empty());
    world.exit(Child::Helper(2), DONE);
    assert_eq!(world.take(), [spawn(5, helper("changed", "B"))]);
    world.exit(Child::Helper(1), KILLED);
    assert_eq!(
        world.take(),
        [Action::SpawnHelper {
            run: 6,
            generation: 2,
            helper: helper("same", "a")
        }]
    );
}
