//! Upgrades: one gateway follows another, or the present one goes on.

use super::*;

const NEW: Child = Child::Gateway(2);

fn asked(caller: Caller) -> Event {
    Event::UpgradeAsked {
        caller,
        close_rest: None,
    }
}

/// An upgrade whose new gateway was told to start.
fn begun() -> World {
    let mut world = World::serving(shape(1, 0));
    world.is_mute = true;
    world.tell(asked(1));
    let spawned = Action::Upgrade(UpgradeAction::SpawnSuccessor {
        incarnation: 2,
        generation: 1,
    });
    assert_eq!(world.take(), [spawned]);
    world.tell(Event::Hello(NEW));
    assert_eq!(
        world.take(),
        [Action::Upgrade(UpgradeAction::StartSuccessor {
            incarnation: 2
        })]
    );
    world
}

/// The same, and the present one was told to hand everything over.
fn moving() -> World {
    let mut world = begun();
    world.tell(Event::Waits(2));
    assert_eq!(
        world.take(),
        [Action::Upgrade(UpgradeAction::HandOver { to: 2 })]
    );
    world
}

fn handed_over(world: &mut World, failure: Option<&str>) {
    world.tell(Event::HandedOver {
        incarnation: 1,
        failure: failure.map(str::to_owned),
    });
}

fn refused(world: &mut World) -> String {
    match &world.replies(1)[..] {
        [Reply::Refused(reason)] => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_new_gateway_is_the_gateway_once_both_have_said_so() {
    for is_ready_first in [false, true] {
        let mut world = moving();
        if is_ready_first {
            world.tell(Event::Ready(NEW));
            assert_eq!(world.take(), []);
            handed_over(&mut world, None);
        } else {
            handed_over(&mut world, None);
            assert_eq!(world.take(), []);
            world.tell(Event::Ready(NEW));
        }
        let switched = Action::Upgrade(UpgradeAction::SwitchGateway { from: 1, to: 2 });
        assert_eq!(world.take(), [switched]);
        assert!(!world.children.contains(&Child::Gateway(1)));
        world.tell(Event::GoesOn {
            incarnation: 2,
            sessions: 5,
            pause: Duration::from_millis(38),
        });
        let done = "gateway upgraded: 5 sessions moved, paused 38 ms".to_owned();
        assert_eq!(world.replies(1), [Reply::Done(done)]);
        // From now on its death is that of the gateway.
        world.take();
        world.exit(NEW, KILLED);
        let spawned = Action::SpawnGateway {
            incarnation: 3,
            generation: 1,
        };
        assert!(world.take().contains(&spawned));
    }
}

#[test]
fn whatever_fails_before_that_the_present_one_goes_on() {
    let mut world = begun();
    world.tell(Event::Failed {
        child: NEW,
        reason: "another version".to_owned(),
    });
    let actions = world.take();
    assert!(
        actions.contains(&Action::Kill(NEW))
            && !actions.contains(&Action::Upgrade(UpgradeAction::KeepGateway))
    );
    world.seen = actions;
    assert!(refused(&mut world).contains("another version"));

    let mut world = moving();
    handed_over(&mut world, Some("3 sessions with TLS cannot move"));
    let actions = world.take();
    assert!(
        actions.contains(&Action::Kill(NEW))
            && actions.contains(&Action::Upgrade(UpgradeAction::KeepGateway))
    );
    world.seen = actions;
    assert!(refused(&mut world).contains("TLS"));
    // Too late.
    world.take();
    world.tell(Event::Ready(NEW));
    assert_eq!(world.take(), []);

    let mut world = moving();
    handed_over(&mut world, None);
    world.exit(NEW, KILLED);
    assert!(
        world
            .seen
            .contains(&Action::Upgrade(UpgradeAction::KeepGateway))
    );
    assert!(refused(&mut world).contains("was killed"));

    let mut world = moving();
    world.pass(Duration::from_secs(20));
    assert!(
        world
            .seen
            .contains(&Action::Upgrade(UpgradeAction::KeepGateway))
    );
    assert!(refused(&mut world).contains("within"));
}

/// It has a deadline of its own for that.
#[test]
fn kill_after_does_not_count_while_the_gateway_stands_still_as_it_was_told() {
    let mut world = moving();
    world.plan.shape.kill_gateway_after = Some(Duration::from_secs(1));
    let look = |world: &mut World, time: Duration| {
        let end = world.now + time;
        while world.now < end {
            let still = Sign {
                beats: 1,
                is_traced: false,
            };
            world.tell(Event::Looked(Signs {
                gateway: Some(GatewaySigns {
                    incarnation: 1,
                    main: still,
                    loops: vec![still],
                }),
                ..Signs::default()
            }));
            world.now += LOOK;
        }
        world.take().contains(&Action::Kill(Child::Gateway(1)))
    };
    assert!(!look(&mut world, Duration::from_secs(3)));
    handed_over(&mut world, Some("it takes too long"));
    assert!(!look(&mut world, Duration::from_millis(900)));
    assert!(look(&mut world, Duration::from_secs(1)));
}

#[test]
fn the_present_ones_death_is_a_crash_and_ends_the_upgrade() {
    let mut world = moving();
    handed_over(&mut world, None);
    world.exit(Child::Gateway(1), KILLED);
    let actions = world.take();
    let spawned = Action::SpawnGateway {
        incarnation: 3,
        generation: 1,
    };
    assert!(actions.contains(&Action::Kill(NEW)) && actions.contains(&spawned));
    world.seen = actions;
    assert!(refused(&mut world).contains("the present gateway has ended"));
    assert_eq!(world.children.len(), 2, "{:?}", world.children);
}

#[test]
fn a_reload_and_an_upgrade_wait_for_each_other() {
    let mut world = moving();
    world.tell(Event::ReloadAsked {
        caller: Some(2),
        scope: Scope::All,
    });
    let is_open = |action: &Action| matches!(action, Action::Open { .. });
    assert!(!world.take().iter().any(is_open));
    handed_over(&mut world, Some("no"));
    assert!(world.take().iter().any(is_open));
    world.tell(asked(3));
    assert_eq!(world.take().len(), 1, "it waits");
    world.tell(Event::Opened(Err("broken".to_owned())));
    let is_spawn = |action: &Action| {
        matches!(
            action,
            Action::Upgrade(UpgradeAction::SpawnSuccessor { .. })
        )
    };
    assert!(world.take().iter().any(is_spawn));
}

#[test]
fn a_stop_ends_the_upgrade_and_all_gateways() {
    let mut world = moving();
    world.tell(Event::StopAsked);
    assert!(
        world
            .seen
            .contains(&Action::Upgrade(UpgradeAction::KeepGateway))
    );
    assert!(refused(&mut world).contains("stopping"));
    world.pass(Duration::from_secs(60));
    assert!(world.children.is_empty());
}

#[test]
fn what_cannot_move_is_closed_before_everything_else_moves() {
    let mut world = World::serving(shape(1, 0));
    world.is_mute = true;
    let over = Duration::from_secs(2);
    world.tell(Event::UpgradeAsked {
        caller: 1,
        close_rest: Some(over),
    });
    world.tell(Event::Hello(NEW));
    world.take();
    world.tell(Event::Waits(2));
    let actions = world.take();
    let number = actions.iter().find_map(|action| match action {
        Action::Upgrade(UpgradeAction::CloseRest { number, .. }) => Some(*number),
        _ => None,
    });
    let number = number.expect("it closes first");
    let hands_over = Action::Upgrade(UpgradeAction::HandOver { to: 2 });
    assert!(!actions.contains(&hands_over), "{actions:?}");
    let ended = |number| Event::DrainEnded {
        incarnation: 1,
        number,
        count: 3,
    };
    // Another drain's.
    world.tell(ended(number + 1));
    assert_eq!(world.take(), []);
    world.tell(ended(number));
    assert_eq!(world.take(), [hands_over]);
    handed_over(&mut world, Some("1 file that is being sent cannot move"));
    let actions = world.take();
    let accepts = Action::Upgrade(UpgradeAction::AcceptAgain);
    assert!(actions.contains(&accepts), "{actions:?}");
    world.seen = actions;
    assert!(refused(&mut world).contains("3 connections that cannot move were closed"));
}
