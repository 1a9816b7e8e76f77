//! What apps ask for: reloads and their own replacement.

use super::*;

fn refused(reason: &str) -> [Reply; 1] {
    [Reply::Refused(reason.to_owned())]
}

impl World {
    fn app_asks(&mut self, by: ProcessId, caller: Caller) {
        self.tell(Event::AppReloadAsked { by, caller });
    }

    /// Carries out the reload that an app has asked for, and lets the old process end.
    fn finish(&mut self, old: ProcessId) -> ProcessId {
        self.tell(Event::Opened(Ok(shape(1, 0))));
        let new = self.starting()[0];
        self.ready(new);
        self.tell(Event::Released(old));
        self.exit(Child::Process(old), DONE);
        new
    }
}

#[test]
fn a_process_that_a_reload_replaces_does_not_wait_for_another_reload() {
    let mut world = World::serving(shape(1, 0));
    let new = world.reload(1, shape(1, 0));
    world.app_asks(1, 2);
    assert_eq!(world.replies(2), refused("a reload is under way"));
    world.ready(new[0]);
    assert_eq!(world.in_state(State::Draining), [1]);
    world.app_asks(1, 3);
    assert_eq!(world.replies(3), refused("this process is being replaced"));
    world.app_asks(new[0], 4);
    let reason = "a process of worker 0 is still ending";
    assert_eq!(world.replies(4), refused(reason));
}

#[test]
fn an_app_that_reloads_whenever_it_serves_is_held_back_more_each_time() {
    let mut world = World::serving(shape(1, 0));
    let (mut process, mut waits) = (1, Vec::new());
    for caller in 1..=9 {
        let begun = world.now;
        world.app_asks(process, caller);
        while !world.replies(caller).is_empty() {
            world.pass(Duration::from_millis(500));
            world.app_asks(process, caller);
        }
        waits.push((world.now - begun).as_secs());
        process = world.finish(process);
        let text = format!("generation {} serves", caller + 1);
        assert_eq!(world.replies(caller), [Reply::Done(text)]);
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    world.pass(Duration::from_secs(300));
    world.app_asks(process, 10);
    process = world.finish(process);
    world.app_asks(process, 11);
    let reason = "apps reload too often: the next may begin in 1.0 s";
    assert_eq!(world.replies(11), refused(reason));
}

#[test]
fn a_process_that_asks_for_its_replacement_as_soon_as_it_serves_waits_longer_each_time() {
    let mut world = World::serving(shape(1, 0));
    let (mut process, mut waits) = (1, Vec::new());
    for _ in 0..9 {
        let begun = world.now;
        world.tell(Event::Stopping(process));
        while world.starting().is_empty() {
            world.pass(Duration::from_millis(100));
        }
        waits.push((world.now - begun).as_millis());
        let new = world.starting()[0];
        world.ready(new);
        world.tell(Event::Released(process));
        world.exit(Child::Process(process), DONE);
        process = new;
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    // One that dies meanwhile is replaced as if it had not asked.
    world.pass(Duration::from_millis(500));
    world.tell(Event::Stopping(process));
    world.ready(world.starting()[0]);
    world.exit(Child::Process(process), DONE);
    process = world.in_state(State::Ready)[0];
    world.tell(Event::Stopping(process));
    assert!(world.starting().is_empty());
    world.pass(Duration::from_millis(50));
    world.die(process);
    world.pass(Duration::from_millis(200));
    process = world.starting()[0];
    world.ready(process);
    // One that has served for a while is replaced at once.
    world.pass(Duration::from_millis(500));
    world.tell(Event::Stopping(process));
    assert_eq!(world.starting().len(), 1);
}
