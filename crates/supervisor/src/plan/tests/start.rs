//! Starting, and starting again what has died.

use super::*;

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
    assert_eq!(world.take(), [Action::StartProcess { process: 1 }]);
    world.tell(Event::Ready(Child::Process(1)));
    world.ready(2);
    world.take();
    world.ready(3);
    assert_eq!(
        world.take()[1..],
        [
            Action::Activate {
                workers: 2,
                serving: vec![1, 2, 3],
                prepared: None
            },
            Action::Serve { process: 1 },
            Action::Serve { process: 2 },
            Action::Serve { process: 3 },
            Action::Announce,
            Action::Lead { process: 1 },
        ]
    );
}

#[test]
fn processes_are_started_and_joined_with_a_new_gateway_a_few_at_a_time() {
    const AT_ONCE: usize = 8;
    let mut world = World::new(shape(64, 0));
    world.ready_gateway();
    let mut started = BTreeSet::new();
    while started.len() < 64 {
        assert!(world.children.len() <= 1 + started.len() + AT_ONCE);
        let next = world
            .starting()
            .into_iter()
            .find(|id| !started.contains(id));
        let next = next.expect("one is started");
        started.insert(next);
        // Once it has its start message, the next one has its turn: apps may take long to start.
        world.tell(Event::Hello(Child::Process(next)));
    }
    for process in started {
        world.tell(Event::Ready(Child::Process(process)));
    }
    assert!(world.take().contains(&Action::Announce));

    world.is_mute = true;
    world.exit(Child::Gateway(1), KILLED);
    world.ready_gateway();
    let asked = |world: &mut World| -> Vec<ProcessId> {
        let actions = world.take().into_iter();
        actions
            .filter_map(|action| match action {
                Action::NewGateway { process } => Some(process),
                _ => None,
            })
            .collect()
    };
    let mut waiting = asked(&mut world);
    assert_eq!(waiting.len(), AT_ONCE);
    while let Some(process) = waiting.pop() {
        assert!(world.serving.is_empty(), "the sessions would all go there");
        world.attached(process, None);
        waiting.extend(asked(&mut world));
        assert!(waiting.len() <= AT_ONCE);
    }
    assert_eq!(world.serving.len(), 64);
}

#[test]
fn a_process_that_a_new_gateway_cannot_serve_keeps_no_other_from_serving() {
    let mut world = World::serving(shape(3, 0));
    world.is_mute = true;
    world.exit(Child::Gateway(1), KILLED);
    world.ready_gateway();
    world.attached(1, None);
    world.attached(2, Some("no room"));
    assert!(world.serving.is_empty());
    world.attached(3, None);
    assert_eq!(world.serving, [1, 3]);
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
    let failure = Some("worker 0: was not ready within 10s (`start_timeout` in [workers]): its `main` has not called `run`".to_owned());
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
            Action::Lead { process: 2 },
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
fn a_fault_differs_from_a_kill() {
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
fn a_process_that_dies_young_is_started_again_after_longer_and_longer_waits() {
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
fn a_new_gateway_gets_the_serving_processes_once_it_is_joined_with_all_of_them() {
    let mut world = World::serving(shape(2, 1));
    world.exit(Child::Gateway(1), KILLED);
    world.is_mute = true;
    world.ready_gateway();
    world.attached(1, None);
    world.attached(3, None);
    assert_eq!(world.serving, [] as [ProcessId; 0]);
    world.attached(2, None);
    assert_eq!(world.serving, [1, 2, 3]);
}

#[test]
fn a_death_among_those_that_a_new_gateway_is_joined_with_keeps_the_others_from_nothing() {
    let mut world = World::serving(shape(2, 0));
    world.exit(Child::Gateway(1), KILLED);
    world.is_mute = true;
    world.ready_gateway();
    world.attached(1, None);
    world.die(2);
    assert_eq!(world.serving, [1]);
}
