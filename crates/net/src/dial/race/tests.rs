//! Happy Eyeballs, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::dial::options::Family;

const RULES: Rules = Rules {
    order: Order::rfc(Family::PreferIpv6),
    attempt_delay: Duration::from_millis(250),
    resolution_delay: Duration::from_millis(50),
};

fn v6(last: u8) -> SocketAddr {
    format!("[2001:db8::{last}]:1").parse().unwrap()
}

fn v4(last: u8) -> SocketAddr {
    format!("192.0.2.{last}:1").parse().unwrap()
}

/// Each family has a way out, and nothing else tells two addresses of it apart.
fn reachable(address: SocketAddr) -> Option<IpAddr> {
    Some(match address {
        SocketAddr::V6(_) => "2001:db8:ffff::".parse().unwrap(),
        SocketAddr::V4(_) => "198.51.100.1".parse().unwrap(),
    })
}

/// A race whose clock is a number of milliseconds.
struct Clocked {
    race: Race,
    zero: Instant,
}

impl Clocked {
    fn new(rules: Rules, awaited: Which) -> Self {
        Self {
            race: Race::new(rules, awaited),
            zero: Instant::now(),
        }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.zero + Duration::from_millis(milliseconds)
    }

    fn answered(&mut self, which: Which, addresses: &[SocketAddr], at: u64) {
        let now = self.at(at);
        let addresses = addresses.iter().copied();
        self.race.answered(which, addresses, reachable, now);
    }

    fn failed(&mut self, at: u64) {
        self.race.failed(self.at(at));
    }

    fn next(&mut self, at: u64) -> Next {
        self.race.next(self.at(at))
    }

    fn until(&self, at: u64) -> Next {
        Next::WaitUntil(self.at(at))
    }
}

#[test]
fn families_alternate_one_attempt_delay_apart() {
    let mut race = Clocked::new(RULES, Which::Both);
    race.answered(Which::Both, &[v4(1), v4(2), v6(1), v6(2)], 0);
    for (at, address) in [(0, v6(1)), (250, v4(1)), (500, v6(2)), (750, v4(2))] {
        assert_eq!(race.next(at), Next::Start(address));
        if at < 750 {
            assert_eq!(race.next(at), race.until(at + 250));
        }
    }
    assert_eq!(race.next(1000), Next::Wait);
}

#[test]
fn a_failed_attempt_starts_the_next_at_once() {
    let mut race = Clocked::new(RULES, Which::Both);
    race.answered(Which::Both, &[v6(1), v4(1)], 0);
    assert_eq!(race.next(0), Next::Start(v6(1)));
    race.failed(3);
    assert_eq!(race.next(3), Next::Start(v4(1)));
    race.failed(5);
    assert_eq!(race.next(5), Next::Exhausted);
}

#[test]
fn the_other_family_s_answer_waits_for_the_preferred_one() {
    let mut race = Clocked::new(RULES, Which::Both);
    race.answered(Which::Ipv4, &[v4(1)], 10);
    assert_eq!(race.next(10), race.until(60));
    race.answered(Which::Ipv6, &[v6(1)], 30);
    assert_eq!(race.next(30), Next::Start(v6(1)));
    assert_eq!(race.next(30), race.until(280));
}

#[test]
fn it_does_not_wait_for_the_preferred_family_for_ever_and_takes_it_up_later() {
    let mut race = Clocked::new(RULES, Which::Both);
    race.answered(Which::Ipv4, &[v4(1), v4(2)], 10);
    assert_eq!(race.next(60), Next::Start(v4(1)));
    race.answered(Which::Ipv6, &[v6(1)], 100);
    assert_eq!(race.next(100), race.until(310));
    assert_eq!(race.next(310), Next::Start(v6(1)));
    assert_eq!(race.next(560), Next::Start(v4(2)));
}

#[test]
fn an_empty_answer_of_the_preferred_family_ends_the_wait() {
    let mut race = Clocked::new(RULES, Which::Both);
    race.answered(Which::Ipv4, &[v4(1)], 10);
    race.answered(Which::Ipv6, &[], 20);
    assert_eq!(race.next(20), Next::Start(v4(1)));
}

#[test]
fn the_preferred_family_s_answer_waits_for_nobody() {
    for (family, which, address) in [
        (Family::PreferIpv6, Which::Ipv6, v6(1)),
        (Family::PreferIpv4, Which::Ipv4, v4(1)),
    ] {
        let order = Order::rfc(family);
        let mut race = Clocked::new(Rules { order, ..RULES }, Which::Both);
        race.answered(which, &[address], 10);
        assert_eq!(race.next(10), Next::Start(address));
        assert_eq!(race.next(10), Next::Wait);
    }
}

#[test]
fn a_look_up_that_is_not_over_may_still_save_a_race_whose_attempts_all_failed() {
    let mut race = Clocked::new(RULES, Which::Both);
    race.answered(Which::Ipv6, &[v6(1)], 0);
    assert_eq!(race.next(0), Next::Start(v6(1)));
    race.failed(1);
    assert_eq!(race.next(1), Next::Wait);
    race.answered(Which::Ipv4, &[v4(1)], 4000);
    assert_eq!(race.next(4000), Next::Start(v4(1)));
}

#[test]
fn nothing_found_is_nothing_to_try() {
    let mut race = Clocked::new(RULES, Which::Both);
    assert_eq!(race.next(0), Next::Wait);
    race.answered(Which::Both, &[], 1);
    assert_eq!(race.next(1), Next::Exhausted);
}

#[test]
fn a_family_without_a_route_is_tried_last() {
    let mut race = Clocked::new(RULES, Which::Both);
    let now = race.at(0);
    let only_v4 = |address: SocketAddr| reachable(address).filter(|_| address.is_ipv4());
    race.race
        .answered(Which::Both, [v6(1), v4(1)], only_v4, now);
    assert_eq!(race.next(0), Next::Start(v4(1)));
    assert_eq!(race.next(250), Next::Start(v6(1)));
}

#[test]
fn one_address_alone_is_not_asked_about() {
    let mut race = Clocked::new(RULES, Which::Both);
    let now = race.at(0);
    let unasked = |_| panic!("there is nothing to choose from");
    race.race.answered(Which::Both, [v4(1)], unasked, now);
    assert_eq!(race.next(0), Next::Start(v4(1)));
}

#[test]
fn extreme_delays_are_bent_to_sane_ones() {
    let rules = Rules {
        attempt_delay: Duration::ZERO,
        resolution_delay: Duration::MAX,
        ..RULES
    };
    let mut race = Clocked::new(rules, Which::Both);
    race.answered(Which::Ipv4, &[v4(1), v4(2)], 0);
    assert_eq!(race.next(0), race.until(3_600_000));
    race.answered(Which::Ipv6, &[], 1);
    assert_eq!(race.next(1), Next::Start(v4(1)));
    assert_eq!(race.next(1), race.until(11));
}

/// What the world does with a race. Times are in milliseconds.
#[derive(Debug, Clone)]
struct World {
    rules: (u64, u64, bool),
    /// When the answers come: both together, or each alone.
    answers: Answers,
    ipv6: Vec<Fate>,
    ipv4: Vec<Fate>,
}

#[derive(Debug, Clone)]
enum Answers {
    Together(u64),
    Apart { ipv6: u64, ipv4: u64 },
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Connects(u64),
    Fails(u64),
    Hangs,
}

#[derive(Debug)]
enum Event {
    Answer(Which),
    Fails,
    Connects,
}

/// What was seen of a race: each start with its time, and how it ended.
#[derive(Debug)]
struct Course {
    starts: Vec<(u64, SocketAddr)>,
    failures: Vec<u64>,
    connected: Option<u64>,
    exhausted: bool,
}

#[expect(clippy::too_many_lines, reason = "a small simulator around one loop")]
fn run(world: &World) -> Course {
    let (attempt_delay, resolution_delay, prefers_ipv6) = world.rules;
    let rules = Rules {
        order: Order::rfc(if prefers_ipv6 {
            Family::PreferIpv6
        } else {
            Family::PreferIpv4
        }),
        attempt_delay: Duration::from_millis(attempt_delay),
        resolution_delay: Duration::from_millis(resolution_delay),
    };
    let mut race = Clocked::new(rules, Which::Both);
    let mut events: BTreeMap<(u64, usize), Event> = BTreeMap::new();
    let mut number = 0;
    let mut later = |events: &mut BTreeMap<(u64, usize), Event>, at, event| {
        number += 1;
        events.insert((at, number), event);
    };
    match world.answers {
        Answers::Together(at) => later(&mut events, at, Event::Answer(Which::Both)),
        Answers::Apart { ipv6, ipv4 } => {
            later(&mut events, ipv6, Event::Answer(Which::Ipv6));
            later(&mut events, ipv4, Event::Answer(Which::Ipv4));
        }
    }
    let ipv6: Vec<_> = (0..world.ipv6.len() as u8).map(v6).collect();
    let ipv4: Vec<_> = (0..world.ipv4.len() as u8).map(v4).collect();
    let mut course = Course {
        starts: Vec::new(),
        failures: Vec::new(),
        connected: None,
        exhausted: false,
    };
    let mut now = 0;
    loop {
        match race.next(now) {
            Next::Start(address) => {
                course.starts.push((now, address));
                let fates = ipv6.iter().zip(&world.ipv6);
                let mut fates = fates.chain(ipv4.iter().zip(&world.ipv4));
                let (_, fate) = fates.find(|(known, _)| **known == address).unwrap();
                match *fate {
                    Fate::Connects(after) => later(&mut events, now + after, Event::Connects),
                    Fate::Fails(after) => later(&mut events, now + after, Event::Fails),
                    Fate::Hangs => {}
                }
                continue;
            }
            Next::WaitUntil(then) => {
                let then = then.duration_since(race.zero).as_millis() as u64;
                assert!(then > now, "it waits for what has passed");
                if events.keys().next().is_none_or(|(at, _)| *at > then) {
                    now = then;
                    continue;
                }
            }
            Next::Wait => {}
            Next::Exhausted => {
                course.exhausted = true;
                return course;
            }
        }
        let Some(((at, _), event)) = events.pop_first() else {
            return course;
        };
        now = at;
        match event {
            Event::Answer(Which::Both) => {
                race.answered(Which::Both, &[ipv4.clone(), ipv6.clone()].concat(), now);
            }
            Event::Answer(Which::Ipv6) => race.answered(Which::Ipv6, &ipv6, now),
            Event::Answer(Which::Ipv4) => race.answered(Which::Ipv4, &ipv4, now),
            Event::Fails => {
                course.failures.push(now);
                race.failed(now);
            }
            Event::Connects => {
                course.connected = Some(now);
                return course;
            }
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0_u64..600).prop_map(Fate::Connects),
        (0_u64..600).prop_map(Fate::Fails),
        Just(Fate::Hangs),
    ]
}

fn world() -> impl Strategy<Value = World> {
    let answers = prop_oneof![
        (0_u64..300).prop_map(Answers::Together),
        (0_u64..300, 0_u64..300).prop_map(|(ipv6, ipv4)| Answers::Apart { ipv6, ipv4 }),
    ];
    let fates = || prop::collection::vec(fate(), 0..5);
    let rules = (10_u64..400, 0_u64..100, any::<bool>());
    (rules, answers, fates(), fates()).prop_map(|(rules, answers, ipv6, ipv4)| World {
        rules,
        answers,
        ipv6,
        ipv4,
    })
}

proptest! {
    #[test]
    fn every_race_keeps_the_rules(world in world()) {
        let course = run(&world);
        let (attempt_delay, resolution_delay, prefers_ipv6) = world.rules;

        let tried: BTreeSet<_> = course.starts.iter().map(|(_, address)| *address).collect();
        prop_assert_eq!(tried.len(), course.starts.len(), "none is tried twice");

        for pair in course.starts.windows(2) {
            let ((earlier, _), (later, _)) = (pair[0], pair[1]);
            let failed_between = course.failures.iter().any(|at| (earlier..=later).contains(at));
            prop_assert!(later - earlier >= attempt_delay || failed_between, "{course:?}");
        }

        let all = world.ipv6.len() + world.ipv4.len();
        let all_fail = world.ipv6.iter().chain(&world.ipv4).all(|fate| matches!(fate, Fate::Fails(_)));
        if course.exhausted {
            prop_assert_eq!(course.starts.len(), all);
        }
        prop_assert_eq!(course.exhausted, all_fail);
        let any_connects = world.ipv6.iter().chain(&world.ipv4).any(|fate| matches!(fate, Fate::Connects(_)));
        prop_assert_eq!(course.connected.is_some(), any_connects, "a live address is found");

        if let Answers::Apart { ipv6, ipv4 } = world.answers {
            let (preferred, other) = if prefers_ipv6 { (ipv6, ipv4) } else { (ipv4, ipv6) };
            if let Some((first, address)) = course.starts.first()
                && address.is_ipv6() != prefers_ipv6
            {
                prop_assert!(*first >= preferred.min(other + resolution_delay), "{course:?}");
            }
        }
    }

    #[test]
    fn dead_addresses_of_one_family_cost_at_most_one_attempt_delay(
        dead in 1_usize..5, at in 0_u64..300, after in 0_u64..200, dead_is_ipv6 in any::<bool>(),
    ) {
        let (dead, live) = (vec![Fate::Hangs; dead], vec![Fate::Connects(after)]);
        let (ipv6, ipv4) = if dead_is_ipv6 { (dead, live) } else { (live, dead) };
        let course = run(&World { rules: (250, 50, dead_is_ipv6), answers: Answers::Together(at), ipv6, ipv4 });
        prop_assert!(course.connected.unwrap() <= at + 250 + after);
    }
}
