//! Drains: the answers to their callers.

use super::*;

fn drain(world: &mut World, caller: Caller, over: Option<Duration>) {
    let request = DrainRequest {
        over,
        listener: None,
        places: Ok(None),
    };
    world.tell(Event::DrainAsked { caller, request });
}

fn look(world: &mut World, left: u64) {
    world.tell(Event::Looked(Signs {
        left: Some(Left { left, of: 7 }),
        ..Signs::default()
    }));
}

fn progress(world: &mut World) -> Vec<String> {
    let actions = world.take().into_iter();
    let text = |action| match action {
        Action::Reply {
            caller: 1,
            reply: Reply::Progress(text),
        } => Some(text),
        _ => None,
    };
    actions.filter_map(text).collect()
}

#[test]
fn the_gateway_gets_a_drain_and_the_caller_its_end() {
    let mut world = World::serving(shape(1, 0));
    drain(&mut world, 1, None);
    let over = Duration::from_secs(30);
    let told = Action::Drain {
        number: 1,
        places: None,
        over,
        max_wait: MAX_WAIT,
    };
    assert_eq!(world.seen.first(), Some(&told));
    assert_eq!(progress(&mut world), ["closing all sessions over 30.0 s"]);
    world.pass(Duration::from_secs(5));
    look(&mut world, 3);
    look(&mut world, 3);
    assert_eq!(progress(&mut world), ["3 of 7 sessions are left"]);
    world.tell(Event::DrainEnded {
        incarnation: 1,
        number: 1,
        count: 7,
    });
    let done = Reply::Done("closed 7 sessions in 5.0 s".to_owned());
    assert_eq!(world.replies(1), [done]);
    assert!(world.plan.closing().is_none());
}

#[test]
fn a_second_drain_is_refused_and_so_is_one_before_the_engine_serves_or_without_a_gateway() {
    let refused = |world: &mut World| matches!(world.replies(2)[..], [Reply::Refused(_)]);
    let mut world = World::serving(shape(1, 0));
    drain(&mut world, 1, None);
    drain(&mut world, 2, None);
    assert!(refused(&mut world));
    let mut world = World::new(shape(1, 0));
    drain(&mut world, 2, None);
    assert!(refused(&mut world));
    let mut world = World::serving(shape(1, 0));
    world.exit(Child::Gateway(1), KILLED);
    drain(&mut world, 2, None);
    assert!(refused(&mut world));
}

#[test]
fn a_drain_ends_with_the_gateway_with_a_stop_and_when_it_is_late() {
    let one_second = Some(Duration::from_secs(1));
    let mut world = World::serving(shape(1, 0));
    drain(&mut world, 1, one_second);
    world.exit(Child::Gateway(1), KILLED);
    let refused = Reply::Refused("the gateway has ended".to_owned());
    assert_eq!(world.replies(1), [refused]);

    let mut world = World::serving(shape(1, 0));
    drain(&mut world, 1, one_second);
    world.tell(Event::StopAsked);
    let refused = Reply::Refused("the engine is stopping".to_owned());
    assert_eq!(world.replies(1), [refused]);

    let mut world = World::serving(shape(1, 0));
    drain(&mut world, 1, one_second);
    world.now += Duration::from_secs(17);
    look(&mut world, 2);
    let refused = Reply::Refused("the gateway is late: 2 of 7 sessions are left".to_owned());
    assert_eq!(world.replies(1), [refused]);
}
