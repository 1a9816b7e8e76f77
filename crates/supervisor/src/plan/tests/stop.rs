//! Stopping: in order, and in time.

use super::*;

#[test]
fn a_stop_ends_all_in_order() {
    let mut settings = shape(1, 1);
    settings.helpers = vec![helper("feeder", "./feeder")];
    let mut world = World::serving(settings);
    world.tell(Event::StopAsked);
    assert_eq!(
        world.take(),
        [Action::StopGateway {
            over: Duration::ZERO,
            max_wait: MAX_WAIT
        }]
    );
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
fn a_stop_is_bounded_even_if_no_process_answers() {
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
fn while_a_stop_is_spread_over_a_time_a_worker_that_dies_is_replaced() {
    let mut world = World::serving(Shape {
        stop_over: Duration::from_secs(60),
        ..shape(2, 0)
    });
    world.tell(Event::StopAsked);
    world.die(1);
    let [replacement] = world.starting()[..] else {
        panic!("{:?}", world.starting());
    };
    world.ready(replacement);
    assert_eq!(world.serving, [replacement, 2]);
    // The next one comes after a wait.
    world.die(replacement);
    assert!(world.starting().is_empty());
    world.pass(Duration::from_secs(1));
    let [replacement] = world.starting()[..] else {
        panic!("{:?}", world.starting());
    };
    world.ready(replacement);
    assert_eq!(world.serving, [replacement, 2]);
    world.tell(Event::Drained(1));
    world.exit(Child::Process(2), DONE);
    world.exit(Child::Process(replacement), DONE);
    world.exit(Child::Gateway(1), DONE);
    assert_eq!(world.take().last(), Some(&Action::Exit { failure: None }));
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
fn a_stop_waits_for_its_hook_and_everything_is_served_until_it_has_ended() {
    let mut world = World::serving(shape(1, 0));
    world.is_hook_slow = true;
    world.tell(Event::StopAsked);
    assert_eq!(world.take(), [Action::RunStopHook]);
    world.die(1);
    let replacement = world.starting();
    world.ready(replacement[0]);
    assert_eq!(world.serving, replacement);
    world.take();
    world.tell(Event::StopHookEnded);
    let stop = Action::StopGateway {
        over: Duration::ZERO,
        max_wait: MAX_WAIT,
    };
    assert_eq!(world.take(), [stop]);
}

#[test]
fn a_second_stop_does_not_wait_for_the_hook_which_then_means_nothing() {
    let mut world = World::serving(shape(1, 0));
    world.is_hook_slow = true;
    world.tell(Event::StopAsked);
    world.tell(Event::StopAsked);
    let stop = Action::StopGateway {
        over: Duration::ZERO,
        max_wait: MAX_WAIT,
    };
    assert_eq!(world.take(), [Action::RunStopHook, stop]);
    world.tell(Event::StopHookEnded);
    assert_eq!(world.take(), []);
}
