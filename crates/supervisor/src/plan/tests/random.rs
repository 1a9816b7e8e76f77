//! Any order of deaths, answers and requests: what must hold whatever happens.

use proptest::prelude::*;

use super::super::slots::Next;
use super::*;

/// One thing that happens; numbers choose among what there is at that moment.
#[derive(Debug, Clone)]
enum Happening {
    Hello(usize),
    Ready(usize),
    Fail(usize),
    /// This many of the next children cannot be started.
    FailSpawns(u32),
    Garbage(usize),
    Die(usize),
    Exit(usize),
    Release(usize),
    Resigned(usize),
    /// From now on the gateway answers late, if at all; or it goes on answering.
    Mute(bool),
    Attached(usize, bool),
    Prepared(bool),
    /// The gateway has obeyed an `Activate`, late.
    Obeyed,
    Stopping(usize),
    Upgrade,
    Reload {
        tasks_only: bool,
    },
    Open {
        is_good: bool,
        workers: u16,
        tasks: u16,
        helpers: u8,
    },
    Pass {
        millis: u64,
    },
    Drained,
    Drain,
    DrainEnded(u64),
    /// Signs of life are looked at; `left` sessions are left.
    Look {
        left: u64,
    },
    /// Signs of life are looked at a number of times in a row.
    Watch {
        times: u32,
        /// The child that gives no sign; one more than there are is the gateway's loop.
        silent: usize,
        is_traced: bool,
    },
}

fn step() -> impl Strategy<Value = Happening> {
    let which = any::<usize>();
    prop_oneof![
        6 => which.prop_map(Happening::Hello),
        6 => any::<usize>().prop_map(Happening::Ready),
        1 => any::<usize>().prop_map(Happening::Fail),
        1 => (1..4u32).prop_map(Happening::FailSpawns),
        1 => any::<usize>().prop_map(Happening::Garbage),
        2 => any::<usize>().prop_map(Happening::Die),
        2 => any::<usize>().prop_map(Happening::Exit),
        3 => any::<usize>().prop_map(Happening::Release),
        3 => any::<usize>().prop_map(Happening::Resigned),
        1 => any::<bool>().prop_map(Happening::Mute),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, fails)| Happening::Attached(which, fails)),
        2 => any::<bool>().prop_map(Happening::Prepared),
        2 => Just(Happening::Obeyed),
        1 => any::<usize>().prop_map(Happening::Stopping),
        2 => Just(Happening::Upgrade),
        2 => any::<bool>().prop_map(|tasks_only| Happening::Reload { tasks_only }),
        3 => (any::<bool>(), 1..4u16, 0..3u16, any::<u8>())
            .prop_map(|(is_good, workers, tasks, helpers)| Happening::Open { is_good, workers, tasks, helpers }),
        2 => (0..6000u64).prop_map(|millis| Happening::Pass { millis }),
        1 => Just(Happening::Drained),
        1 => Just(Happening::Drain),
        1 => (0..4u64).prop_map(Happening::DrainEnded),
        1 => (0..4u64).prop_map(|left| Happening::Look { left }),
        2 => (1..40u32, any::<usize>(), any::<bool>())
            .prop_map(|(times, silent, is_traced)| Happening::Watch { times, silent, is_traced }),
    ]
}

/// Whatever is silent for this long is replaced.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// A shape with those of three helpers whose bit is set; a fourth bit changes the command of the first.
fn watched(workers: u16, tasks: u16, helpers: u8) -> Shape {
    let first = if helpers & 8 == 0 { "tail" } else { "watch" };
    let all = [
        ("logs", first),
        ("metrics", "collect"),
        ("proxy", "forward"),
    ];
    let chosen = all
        .iter()
        .enumerate()
        .filter(|(bit, _)| helpers & (1 << bit) != 0)
        .map(|(_, (name, command))| helper(name, command));
    Shape {
        helpers: chosen.collect(),
        kill_gateway_after: Some(KILL_AFTER),
        kill_worker_after: Some(KILL_AFTER),
        kill_task_after: Some(KILL_AFTER),
        ..shape(workers, tasks)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn only_ready_processes_serve_and_everyone_is_answered_and_gone_in_the_end(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::serving(watched(2, 1, 3));
        let mut callers = 0;
        let mut answered = BTreeMap::<Caller, u32>::new();
        for step in steps {
            play(&mut world, step, &mut callers);
            check(&mut world, &mut answered);
        }
        world.tell(Event::StopAsked);
        world.pass(MAX_WAIT + Duration::from_secs(10));
        let actions = world.seen.clone();
        check(&mut world, &mut answered);
        prop_assert_eq!(actions.last(), Some(&Action::Exit { failure: None }));
        prop_assert!(world.children.is_empty());
        prop_assert_eq!(world.plan.next_timeout(), None);
        prop_assert!((1..=callers).all(|caller| answered.get(&caller) == Some(&1)), "{:?}", answered);
    }

    #[test]
    fn a_committed_generation_is_never_left_for_an_older_one(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::serving(watched(1, 1, 1));
        let mut callers = 0;
        let mut last = [1, 1];
        for step in steps {
            play(&mut world, step, &mut callers);
            let committed = world.plan.generations();
            prop_assert!(committed[0] >= last[0] && committed[1] >= last[1]);
            last = committed;
            for action in world.take() {
                // Whatever is started is of a committed generation, or of the one being prepared.
                if let Action::SpawnProcess { generation, .. } = action {
                    prop_assert!(generation <= world.plan.last_generation);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn there_are_never_two_leaders_and_none_only_while_the_last_one_has_not_resigned(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::serving(watched(2, 1, 3));
        let mut callers = 0;
        // The process that was told to lead, and may still take itself for the leader.
        let mut leader = Some(world.plan.leader().expect("it serves"));
        for step in steps {
            let resigned = match &step {
                Happening::Resigned(place) => {
                    let children: Vec<_> = world.children.iter().copied().collect();
                    (!children.is_empty()).then(|| children[place % children.len()])
                }
                _ => None,
            };
            play(&mut world, step, &mut callers);
            if leader.is_some_and(|leader| {
                !world.children.contains(&Child::Process(leader))
                    || (resigned == Some(Child::Process(leader)) && world.plan.leader() != Some(leader))
            }) {
                leader = None;
            }
            let actions = world.take();
            for (place, action) in actions.iter().enumerate() {
                if let Action::Lead { process } = *action {
                    prop_assert_eq!(leader, None);
                    // It may have been silent for too long later in the step.
                    let is_killed = actions[place..].contains(&Action::Kill(Child::Process(process)));
                    let serves = world.plan.slots().any(|slot| slot.serving == Some(process));
                    prop_assert!(serves || is_killed);
                    leader = Some(process);
                }
            }
            let serves = world.plan.workers.iter().any(|slot| slot.serving.is_some());
            let is_deferred = world.disobeyed > 0;
            prop_assert!(leader.is_some() || !serves || is_deferred || !world.plan.is_serving());
        }
    }
}

fn play(world: &mut World, step: Happening, callers: &mut Caller) {
    match step {
        Happening::Hello(place) => on_child(world, place, |world, child| {
            world.tell(Event::Hello(child));
        }),
        Happening::Ready(place) => on_child(world, place, |world, child| {
            world.tell(Event::Ready(child));
        }),
        Happening::Fail(place) => on_child(world, place, |world, child| {
            let reason = "so it goes".to_owned();
            world.tell(Event::Failed { child, reason });
        }),
        Happening::FailSpawns(count) => world.failing_spawns = count,
        Happening::Garbage(place) => on_process(world, place, |world, process| {
            let reason = "length".to_owned();
            world.tell(Event::Garbage { process, reason });
        }),
        Happening::Die(place) => on_child(world, place, |world, child| world.exit(child, KILLED)),
        Happening::Exit(place) => on_child(world, place, |world, child| world.exit(child, DONE)),
        Happening::Release(place) => on_process(world, place, |world, process| {
            world.tell(Event::Released(process));
        }),
        Happening::Resigned(place) => on_process(world, place, |world, process| {
            world.tell(Event::Resigned(process));
        }),
        Happening::Stopping(place) => on_process(world, place, |world, process| {
            world.tell(Event::Stopping(process));
        }),
        Happening::Attached(place, fails) => on_process(world, place, |world, process| {
            world.attached(process, fails.then_some("no room"));
        }),
        Happening::Mute(is_mute) => world.is_mute = is_mute,
        Happening::Pass { millis } => world.pass(Duration::from_millis(millis)),
        Happening::Watch {
            times,
            silent,
            is_traced,
        } => {
            let count = world.children.len() + 1;
            let silent = world.children.iter().copied().nth(silent % count);
            // One death a step, so that a test sees each of its consequences.
            (0..times).any(|_| watch(world, silent, is_traced));
        }
        Happening::Look { left } => world.tell(Event::Looked(Signs {
            left: Some(Left { left, of: 3 }),
            ..Signs::default()
        })),
        Happening::Prepared(_)
        | Happening::Obeyed
        | Happening::DrainEnded(_)
        | Happening::Drained => play_gateway(world, step),
        Happening::Upgrade
        | Happening::Reload { .. }
        | Happening::Open { .. }
        | Happening::Drain => {
            play_command(world, step, callers);
        }
    }
}

/// Does something with the child in this place, if there is any.
fn on_child(world: &mut World, place: usize, act: impl FnOnce(&mut World, Child)) {
    let children: Vec<_> = world.children.iter().copied().collect();
    if !children.is_empty() {
        act(world, children[place % children.len()]);
    }
}

/// The same, if the child is a process.
fn on_process(world: &mut World, place: usize, act: impl FnOnce(&mut World, ProcessId)) {
    on_child(world, place, |world, child| {
        if let Child::Process(process) = child {
            act(world, process);
        }
    });
}

/// What the gateway does.
fn play_gateway(world: &mut World, step: Happening) {
    match (step, world.gateway()) {
        (Happening::Prepared(fails), _) => {
            let generation = world.plan.generations().into_iter().max().unwrap_or(1) + 1;
            world.prepared(generation, fails.then_some("no room"));
        }
        (Happening::Obeyed, _) => world.obey(),
        (Happening::DrainEnded(number), Some(Child::Gateway(incarnation))) => {
            world.tell(Event::DrainEnded {
                incarnation,
                number,
                count: 1,
            });
        }
        (Happening::Drained, Some(Child::Gateway(incarnation))) => {
            world.tell(Event::Drained(incarnation));
        }
        _ => {}
    }
}

/// What operators do, and what comes of it.
fn play_command(world: &mut World, step: Happening, callers: &mut Caller) {
    match step {
        Happening::Upgrade => {
            *callers += 1;
            let caller = *callers;
            let close_rest = caller.is_multiple_of(2).then_some(Duration::from_secs(1));
            world.tell(Event::UpgradeAsked { caller, close_rest });
        }
        Happening::Reload { tasks_only } => {
            *callers += 1;
            let scope = if tasks_only { Scope::Tasks } else { Scope::All };
            let caller = Some(*callers);
            world.tell(Event::ReloadAsked { caller, scope });
        }
        Happening::Open {
            is_good,
            workers,
            tasks,
            helpers,
        } => world.tell(Event::Opened(match is_good {
            true => Ok(watched(workers, tasks, helpers)),
            false => Err("broken".to_owned()),
        })),
        Happening::Drain => {
            *callers += 1;
            let caller = *callers;
            let request = DrainRequest {
                over: Some(Duration::from_secs(1)),
                listener: None,
                places: Ok(None),
            };
            world.tell(Event::DrainAsked { caller, request });
        }
        _ => {}
    }
}

/// One look at the signs of life of all children but one; without one, the gateway's loop gives no sign. True: it has cost
/// that one its life.
///
/// # Panics
/// A debugger holds it, and it is killed for its silence.
fn watch(world: &mut World, silent: Option<Child>, is_traced: bool) -> bool {
    world.pass(LOOK);
    let now = world.now.as_millis() as u64;
    let sign = |is_silent: bool| Sign {
        beats: if is_silent { 1 } else { now },
        is_traced,
    };
    let living = world.children.iter();
    let processes = living.filter_map(|child| match child {
        Child::Process(id) => Some((*id, sign(silent == Some(*child)))),
        Child::Gateway(_) | Child::Helper(_) => None,
    });
    let processes = processes.collect();
    let gateway = match world.gateway() {
        Some(Child::Gateway(incarnation)) => Some(GatewaySigns {
            incarnation,
            main: sign(silent == world.gateway()),
            loops: vec![sign(silent.is_none())],
        }),
        _ => None,
    };
    let before = world.seen.len();
    world.tell(Event::Looked(Signs {
        gateway,
        processes,
        left: None,
    }));
    let kills = world.seen[before..]
        .iter()
        .any(|action| matches!(action, Action::Kill(_)));
    assert!(
        !kills || !is_traced,
        "a child that a debugger holds was killed"
    );
    kills
}

fn check(world: &mut World, answered: &mut BTreeMap<Caller, u32>) {
    for action in world.take() {
        match action {
            Action::Reply {
                caller,
                reply: Reply::Done(_) | Reply::Unconfirmed(_) | Reply::Refused(_),
            } => {
                *answered.entry(caller).or_default() += 1;
            }
            Action::Activate {
                workers, serving, ..
            } => {
                let roles: Vec<_> = serving.iter().map(|id| world.processes[id].0).collect();
                let distinct: BTreeSet<_> = roles.iter().map(|role| format!("{role:?}")).collect();
                assert_eq!(distinct.len(), roles.len(), "one process a slot: {roles:?}");
                assert!(
                    roles
                        .iter()
                        .all(|role| !matches!(role, Role::Worker(slot) if *slot >= workers))
                );
            }
            _ => {}
        }
    }
    let living = world.children.iter().filter_map(|child| match child {
        Child::Helper(run) => Some(&world.helpers[run]),
        _ => None,
    });
    let names: Vec<_> = living.collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(
        distinct.len(),
        names.len(),
        "one run of a helper: {names:?}"
    );
    for slot in world.plan.slots() {
        if let Some(process) = slot.serving {
            assert_eq!(
                world.plan.state(process),
                Some(State::Ready),
                "only the ready serve"
            );
        }
        if !world.plan.is_stopping() && slot.serving.is_none() {
            assert_ne!(slot.next, Next::Nobody, "an empty slot is being filled");
        }
    }
}
