//! Who leads.

use super::*;

fn told(actions: &[Action]) -> Vec<Action> {
    let is_told = |action: &&Action| matches!(action, Action::Lead { .. } | Action::Resign { .. });
    actions.iter().filter(is_told).cloned().collect()
}

#[test]
fn a_reload_waits_for_the_old_leader_before_it_has_a_new_one() {
    let mut world = World::serving(shape(2, 1));
    let old = world.plan.leader().expect("somebody leads");
    let new = world.reload(1, shape(2, 1));
    world.take();
    for &process in &new {
        world.ready(process);
    }
    assert_eq!(told(&world.take()), [Action::Resign { process: old }]);
    assert_eq!(world.plan.leader(), None);
    world.tell(Event::Resigned(old));
    let next = world.plan.leader().expect("somebody leads");
    assert!(new.contains(&next));
    assert_eq!(told(&world.take()), [Action::Lead { process: next }]);
}

#[test]
fn a_leader_that_does_not_answer_is_followed_when_it_has_ended() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.ready(new[0]);
    assert_eq!(world.plan.leader(), None);
    world.pass(MAX_WAIT + Duration::from_secs(1));
    assert_eq!(world.plan.leader(), Some(new[0]));
}

#[test]
fn a_process_hears_once_that_it_serves_and_not_before_the_commit() {
    let serves = |actions: &[Action]| -> Vec<ProcessId> {
        let serve = |action: &Action| match action {
            Action::Serve { process } => Some(*process),
            _ => None,
        };
        actions.iter().filter_map(serve).collect()
    };
    let mut world = World::serving(shape(2, 0));
    world.take();
    let new = world.reload(1, shape(2, 0));
    world.ready(new[0]);
    assert!(serves(&world.take()).is_empty());
    world.ready(new[1]);
    assert_eq!(serves(&world.take()), new);
    let gateway = world.gateway().expect("there is one");
    world.exit(gateway, KILLED);
    world.ready_gateway();
    assert!(serves(&world.take()).is_empty());
}
