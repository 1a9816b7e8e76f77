//! Who gives no sign of life.

use super::*;

const KILL_AFTER: Duration = Duration::from_secs(5);

fn watched() -> World {
    World::serving(Shape {
        kill_gateway_after: Some(KILL_AFTER),
        kill_worker_after: Some(KILL_AFTER),
        ..shape(2, 0)
    })
}

/// What happens in this time: looks, with signs of life from everybody but these.
struct Looks<'a> {
    world: &'a mut World,
    silent: &'a [ProcessId],
    is_traced: bool,
    is_loop_still: bool,
    is_main_still: bool,
}

impl Looks<'_> {
    fn during(&mut self, time: Duration) -> Vec<Action> {
        let end = self.world.now + time;
        let mut seen = Vec::new();
        while self.world.now < end {
            let now = self.world.now.as_millis() as u64;
            let sign = |is_silent: bool| Sign {
                beats: if is_silent { 1 } else { now },
                is_traced: self.is_traced,
            };
            let living = self.world.children.iter().copied();
            let processes = living.filter_map(|child| match child {
                Child::Process(id) => Some((id, sign(self.silent.contains(&id)))),
                Child::Gateway(_) | Child::Helper(_) => None,
            });
            let processes = processes.collect();
            let gateway = match self.world.gateway() {
                Some(Child::Gateway(incarnation)) => Some(GatewaySigns {
                    incarnation,
                    main: sign(self.is_main_still),
                    loops: vec![sign(false), sign(self.is_loop_still)],
                }),
                _ => None,
            };
            self.world.take();
            self.world.tell(Event::Looked(Signs {
                gateway,
                processes,
                left: None,
            }));
            seen.extend(self.world.take());
            self.world.now += LOOK;
        }
        seen
    }
}

fn looks<'a>(world: &'a mut World, silent: &'a [ProcessId]) -> Looks<'a> {
    Looks {
        world,
        silent,
        is_traced: false,
        is_loop_still: false,
        is_main_still: false,
    }
}

#[test]
fn a_process_with_signs_of_life_is_left_alone() {
    let mut world = watched();
    assert_eq!(looks(&mut world, &[]).during(2 * KILL_AFTER), []);
}

#[test]
fn the_gateway_gets_a_silent_process_each_second_and_its_return_once() {
    let mut world = watched();
    let told = |seen: Vec<Action>| -> Vec<_> {
        let told = seen.into_iter().filter_map(|action| match action {
            Action::SaySilent { processes } => Some(processes),
            _ => None,
        });
        told.collect()
    };
    let seen = looks(&mut world, &[1]).during(Duration::from_secs(4));
    assert_eq!(told(seen), [[1], [1]]);
    assert!(world.plan.silent(1).is_some());
    assert_eq!(world.plan.silent(2), None);
    let seen = looks(&mut world, &[]).during(Duration::from_secs(4));
    assert_eq!(told(seen), [Vec::<ProcessId>::new()]);
    assert_eq!(world.plan.silent(1), None);
}

#[test]
fn a_silent_process_is_reported_ever_more_rarely() {
    let mut world = World::serving(shape(2, 0));
    let seen = looks(&mut world, &[1]).during(Duration::from_secs(60));
    let reports = seen
        .iter()
        .filter(|action| matches!(action, Action::ReportSilent { .. }));
    assert_eq!(
        reports.count(),
        5,
        "after 2.5, 5, 10, 20 and 40 s: {seen:?}"
    );
    let seen = looks(&mut world, &[]).during(Duration::from_secs(1));
    let silent = Duration::from_secs(60) - LOOK;
    assert!(
        seen.contains(&Action::ReportAnswers { process: 1, silent }),
        "{seen:?}"
    );
}

#[test]
fn a_process_that_is_silent_for_kill_after_is_replaced() {
    let mut world = watched();
    let seen = looks(&mut world, &[1]).during(KILL_AFTER + 2 * LOOK);
    let killed: Vec<_> = seen
        .iter()
        .filter(|action| matches!(action, Action::Kill(_)))
        .collect();
    assert_eq!(killed, [&Action::Kill(Child::Process(1))]);
    assert_eq!(world.starting(), [3]);
}

#[test]
fn a_process_in_a_debugger_is_silent_and_not_replaced() {
    let mut world = watched();
    let mut looks = looks(&mut world, &[1]);
    looks.is_traced = true;
    looks.is_loop_still = true;
    let seen = looks.during(10 * KILL_AFTER);
    assert!(!seen.iter().any(|action| matches!(action, Action::Kill(_))));
    assert!(world.plan.silent(1).is_some());
}

#[test]
fn a_gateway_with_one_loop_that_stands_still_is_replaced() {
    let mut world = watched();
    let mut looks = looks(&mut world, &[]);
    looks.is_loop_still = true;
    let seen = looks.during(KILL_AFTER + 2 * LOOK);
    assert!(seen.contains(&Action::Kill(Child::Gateway(1))), "{seen:?}");
    assert_eq!(world.gateway(), Some(Child::Gateway(2)));
}

#[test]
fn a_gateway_whose_main_thread_stands_still_is_replaced() {
    let mut world = watched();
    let mut looks = looks(&mut world, &[]);
    looks.is_main_still = true;
    let seen = looks.during(KILL_AFTER + 2 * LOOK);
    assert!(seen.contains(&Action::Kill(Child::Gateway(1))), "{seen:?}");
    assert_eq!(world.gateway(), Some(Child::Gateway(2)));
}

#[test]
fn time_in_which_nobody_looked_kills_no_process() {
    let mut world = watched();
    looks(&mut world, &[1]).during(Duration::from_secs(1));
    world.now += Duration::from_secs(3600);
    let seen = looks(&mut world, &[1]).during(LOOK);
    assert_eq!(seen, []);
}
