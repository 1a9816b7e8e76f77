//! Reloads: what they switch, what they leave, and their answers.

use super::*;

#[test]
fn a_crash_after_a_failed_reload_is_mended_from_the_committed_generation() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.die(new[0]);
    let refused = Reply::Refused("worker 0 was killed by SIGKILL before it was ready".to_owned());
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
fn the_number_of_a_generation_that_failed_is_not_used_again() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.die(new[0]);
    let new = world.reload(2, shape(1, 0));
    world.ready(new[0]);
    let done = [Reply::Done("generation 3 serves".to_owned())];
    assert_eq!(world.replies(2), done);
    assert_eq!(world.generations_serving(), [3]);
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
            "worker 1: was not ready within 10s (`start_timeout` in [workers]): its `main` has not called `run`".to_owned()
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
        prepared: Some(2)
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
fn a_process_that_has_not_ended_at_max_wait_after_a_reload_is_killed_and_counted_as_forced() {
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
            },
            // It had never said that it does not lead any more.
            Action::Lead { process: 2 },
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
        prepared: Some(2)
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
    let serving = |serving: &[ProcessId]| Action::Activate {
        workers: 1,
        serving: serving.to_vec(),
        prepared: None,
    };
    assert_eq!(
        world.take()[1..],
        [
            serving(&[]),
            Action::Prepare {
                generation: 2,
                scope: Scope::All
            },
            Action::NewGateway { process: 1 },
            Action::NewGateway { process: new[0] },
            serving(&[1]),
        ]
    );
    world.tell(Event::Ready(Child::Process(new[0])));
    assert_eq!(world.serving, new);
}

#[test]
fn nothing_switches_before_the_gateway_has_answered_for_each() {
    let mut world = World::serving(shape(1, 0));
    world.is_mute = true;
    let new = world.reload(1, shape(1, 0));
    world.ready(new[0]);
    assert_eq!(world.serving, [1]);
    world.attached(new[0], None);
    assert_eq!(world.serving, [1]);
    world.prepared(2, None);
    assert_eq!(world.serving, new);
}

#[test]
fn a_new_gateway_must_be_joined_with_all_before_anything_switches() {
    let mut world = World::serving(shape(2, 0));
    world.is_mute = true;
    let new = world.reload(1, shape(2, 0));
    world.prepared(2, None);
    for process in &new {
        world.attached(*process, None);
    }
    world.ready(new[0]);
    world.exit(Child::Gateway(1), KILLED);
    world.ready_gateway();
    world.ready(new[1]);
    world.prepared(2, None);
    world.attached(new[0], None);
    world.attached(1, None);
    world.take();
    assert!(world.serving.is_empty());
    world.attached(new[1], None);
    assert_eq!(world.serving, new);
    // The new gateway was never told that one of the old serves: there is nothing to wait for.
    let stopped = |process| move |action: &Action| matches!(action, Action::StopProcess { process: it, .. } if *it == process);
    let actions = world.take();
    assert!(actions.iter().any(stopped(1)) && actions.iter().any(stopped(2)));
}

#[test]
fn new_processes_that_hang_keep_no_place_from_what_replaces_a_crashed_one() {
    let mut world = World::serving(shape(8, 0));
    world.reload(1, shape(8, 0));
    assert!(world.children.len() < 1 + 8 + 8, "a few at a time");
    world.die(3);
    let replacement = *world.processes.keys().last().expect("there are some");
    assert!(world.children.contains(&Child::Process(replacement)));
    assert_eq!(world.processes[&replacement], (Role::Worker(2), 1));
}

#[test]
fn replacements_that_hang_keep_no_place_from_the_processes_of_a_reload() {
    let mut world = World::serving(shape(8, 0));
    for process in 1..=8 {
        world.die(process);
    }
    world.reload(1, shape(8, 0));
    world.pass(START_TIMEOUT + Duration::from_secs(1));
    let are_new = world
        .processes
        .values()
        .any(|(_, generation)| *generation == 2);
    assert!(are_new, "{:?}", world.processes);
}

#[test]
fn a_process_that_the_gateway_cannot_serve_fails_the_reload_and_nothing_else() {
    let mut world = World::serving(shape(1, 0));
    world.is_mute = true;
    let new = world.reload(1, shape(1, 0));
    world.tell(Event::Hello(Child::Process(new[0])));
    world.prepared(2, None);
    world.attached(new[0], Some("too many open files"));
    let reason = "worker 0: it cannot be joined with the gateway: too many open files";
    assert_eq!(world.replies(1), [Reply::Refused(reason.to_owned())]);
    assert_eq!(world.serving, [1]);
    let left = BTreeSet::from([Child::Gateway(1), Child::Process(1)]);
    assert_eq!(world.children, left);
}

#[test]
fn a_gateway_that_cannot_go_on_with_the_configuration_fails_the_reload_and_nothing_else() {
    let mut world = World::serving(shape(1, 0));
    world.is_mute = true;
    let new = world.reload(1, shape(1, 0));
    world.tell(Event::Hello(Child::Process(new[0])));
    world.attached(new[0], None);
    world.tell(Event::Ready(Child::Process(new[0])));
    world.prepared(2, Some("too many open files"));
    let reason = "the gateway cannot go on with it: too many open files";
    assert_eq!(world.replies(1), [Reply::Refused(reason.to_owned())]);
    let left = BTreeSet::from([Child::Gateway(1), Child::Process(1)]);
    assert_eq!((&world.serving[..], world.children), (&[1][..], left));
}

#[test]
fn a_gateway_that_never_answers_fails_the_reload_in_time() {
    let mut world = World::serving(shape(1, 0));
    world.is_mute = true;
    world.reload(1, shape(1, 0));
    world.pass(START_TIMEOUT);
    assert!(matches!(world.replies(1)[..], [Reply::Refused(_)]));
    assert!(world.children.contains(&Child::Gateway(1)));
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

#[test]
fn no_process_learns_of_a_commit_before_the_gateway_has_switched() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.tell(Event::Hello(Child::Process(new[0])));
    world.is_mute = true;
    world.take();
    world.tell(Event::Ready(Child::Process(new[0])));
    assert_eq!(world.serving, new);
    let told = |actions: Vec<Action>| -> Vec<Action> {
        let actions = actions.into_iter();
        actions
            .filter(|it| {
                !matches!(
                    it,
                    Action::Reply {
                        reply: Reply::Progress(_),
                        ..
                    }
                )
            })
            .collect()
    };
    assert!(matches!(told(world.take())[..], [Action::Activate { .. }]));
    world.obey();
    let process = new[0];
    let generation = 2;
    assert_eq!(
        world.take(),
        [
            Action::Serve { process },
            Action::Commit {
                generation,
                scope: Scope::All
            },
            Action::Reply {
                caller: 1,
                reply: Reply::Done("generation 2 serves".to_owned())
            },
            Action::Resign { process: 1 },
        ]
    );
}

#[test]
fn the_caller_of_a_reload_learns_that_the_gateway_is_late_to_switch() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.tell(Event::Hello(Child::Process(new[0])));
    world.is_mute = true;
    world.tell(Event::Ready(Child::Process(new[0])));
    world.pass(Duration::from_secs(10));
    let late = "the gateway is late, though its threads take turns".to_owned();
    assert_eq!(world.replies(1), [Reply::Unconfirmed(late)]);
    world.take();
    world.exit(Child::Gateway(1), KILLED);
    let actions = world.take();
    assert!(actions.iter().any(|it| matches!(it, Action::Commit { .. })));
    assert!(world.replies(1).is_empty());
}
