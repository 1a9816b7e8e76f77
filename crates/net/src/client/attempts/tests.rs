//! Attempts on a clock that the tests own.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SEED: u64 = 7;

fn reconnect() -> Reconnect {
    Reconnect {
        jitter: 0,
        ..Reconnect::default()
    }
}

/// The waits after each of `failures` failures in a row, in milliseconds.
fn waits(reconnect: Reconnect, failures: usize) -> Vec<u128> {
    let now = Instant::now();
    let mut attempts = Attempts::new(Some(reconnect), SEED, now);
    let mut waits = Vec::new();
    for _ in 0..failures {
        attempts.begin();
        attempts.dialed(attempts.attempt(), false, now);
        match attempts.phase() {
            AttemptsPhase::Waiting(until) => waits.push((until - now).as_millis()),
            _ => return waits,
        }
    }
    waits
}

#[test]
fn waits_double_up_to_the_cap() {
    assert_eq!(
        waits(reconnect(), 11),
        [
            100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000
        ]
    );
}

#[test]
fn a_wait_that_no_clock_can_hold_is_a_long_one() {
    let endless = Reconnect {
        first: Duration::MAX,
        cap: Duration::MAX,
        jitter: 100,
        ..Reconnect::default()
    };
    assert_eq!(waits(endless, 3).len(), 3);
}

#[test]
fn jitter_shortens_waits_and_a_seed_repeats_them() {
    let jittered = waits(Reconnect::default(), 12);
    assert_eq!(jittered, waits(Reconnect::default(), 12));
    for (wait, longest) in jittered.iter().zip(waits(reconnect(), 12)) {
        assert!(
            (longest / 2..=longest).contains(wait),
            "{wait} of {longest}"
        );
    }
}

#[test]
fn it_gives_up_after_max_failures_in_a_row() {
    let patient = Reconnect {
        attempts: Some(3),
        ..reconnect()
    };
    assert_eq!(waits(patient, 9), [100, 200, 400]);
}

#[test]
fn a_connection_that_lasted_forgets_the_failures_before_and_a_short_one_does_not() {
    let now = Instant::now();
    let mut attempts = Attempts::new(Some(reconnect()), SEED, now);
    let mut wait_after = |lasted: Duration| {
        attempts.begin();
        let attempt = attempts.attempt();
        assert_eq!(attempts.dialed(attempt, true, now), DialVerdict::Connected);
        assert!(attempts.lost(attempt, now + lasted));
        let AttemptsPhase::Waiting(until) = attempts.phase() else {
            panic!("it does not reconnect");
        };
        (until - (now + lasted)).as_millis()
    };
    let short = Duration::from_millis(4999);
    let good = Duration::from_secs(5);
    assert_eq!(
        [short, short, short, good, short].map(&mut wait_after),
        [100, 200, 400, 100, 200]
    );
}

#[test]
fn a_report_of_an_older_attempt_changes_nothing() {
    let now = Instant::now();
    let mut attempts = Attempts::new(Some(reconnect()), SEED, now);
    attempts.begin();
    assert_eq!(attempts.begin(), Some(Owed::Error));
    assert_eq!(attempts.dialed(1, true, now), DialVerdict::Late);
    assert_eq!(attempts.phase(), AttemptsPhase::Dialing);
    assert_eq!(attempts.dialed(2, true, now), DialVerdict::Connected);
    assert!(!attempts.lost(1, now));
    assert_eq!(attempts.phase(), AttemptsPhase::Connected);
    assert_eq!(attempts.begin(), Some(Owed::Closed));
    assert!(!attempts.lost(2, now), "it is told closed once");
}

/// What happens to a client, at any time and about any attempt.
#[derive(Debug, Clone)]
enum Input {
    Begin,
    Dialed { late_by: u64, succeeded: bool },
    Lost { late_by: u64 },
    End,
    Pass { milliseconds: u64 },
}

fn input() -> impl Strategy<Value = Input> {
    let late_by = || prop_oneof![4 => Just(0_u64), 1 => 1..4_u64];
    prop_oneof![
        3 => Just(Input::Begin),
        4 => (late_by(), any::<bool>())
            .prop_map(|(late_by, succeeded)| Input::Dialed { late_by, succeeded }),
        3 => late_by().prop_map(|late_by| Input::Lost { late_by }),
        1 => Just(Input::End),
        2 => (0..10_000_u64).prop_map(|milliseconds| Input::Pass { milliseconds }),
    ]
}

/// The report of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Connected,
    Error,
    Closed,
}

proptest! {
    #[test]
    fn each_attempt_ends_in_exactly_one_of_connect_and_error_and_closes_once(
        inputs in prop::collection::vec(input(), 0..200),
        most in prop::option::of(0..4_u32),
        reconnects in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let reconnect = reconnects.then(|| Reconnect { attempts: most, ..Reconnect::default() });
        let mut now = Instant::now();
        let mut attempts = Attempts::new(reconnect, seed, now);
        let mut told: BTreeMap<u64, Vec<Told>> = BTreeMap::new();
        for input in inputs {
            let current = attempts.attempt();
            match input {
                Input::Begin | Input::End => {
                    let owed = match input {
                        Input::Begin => attempts.begin(),
                        _ => attempts.end(),
                    };
                    match owed {
                        Some(Owed::Error) => told.entry(current).or_default().push(Told::Error),
                        Some(Owed::Closed) => told.entry(current).or_default().push(Told::Closed),
                        None => {}
                    }
                }
                Input::Dialed { late_by, succeeded } => {
                    let attempt = current.saturating_sub(late_by);
                    match attempts.dialed(attempt, succeeded, now) {
                        DialVerdict::Late => {}
                        DialVerdict::Connected => {
                            told.entry(attempt).or_default().push(Told::Connected);
                        }
                        DialVerdict::Failed => told.entry(attempt).or_default().push(Told::Error),
                    }
                }
                Input::Lost { late_by } => {
                    let attempt = current.saturating_sub(late_by);
                    if attempts.lost(attempt, now) {
                        told.entry(attempt).or_default().push(Told::Closed);
                    }
                }
                Input::Pass { milliseconds } => now += Duration::from_millis(milliseconds),
            }
            if let AttemptsPhase::Waiting(until) = attempts.phase() {
                prop_assert!(until <= now + Duration::from_secs(30));
            }
        }
        if attempts.end().is_some() {
            let last = told.entry(attempts.attempt()).or_default();
            last.push(if last.is_empty() { Told::Error } else { Told::Closed });
        }
        for attempt in 1..=attempts.attempt() {
            let story = told.remove(&attempt).unwrap_or_default();
            let is_whole = matches!(
                story[..],
                [Told::Error] | [Told::Connected, Told::Closed]
            );
            prop_assert!(is_whole, "attempt {}: {:?}", attempt, story);
        }
        prop_assert_eq!(told, BTreeMap::new());
    }
}
