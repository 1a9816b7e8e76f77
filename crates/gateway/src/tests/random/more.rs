//! The same crowd with plain requests, and with groups that keep their events.

use super::{Crowd, Named, TURNS, limited, seeds};
use moorline_config::Config;

/// A run with plain requests and groups that keep their events, and perhaps with a process that writes anything.
fn run(seed: u64, is_hostile: bool, change: impl Fn(&mut Config)) {
    let _named = Named::new(seed);
    let mut crowd = Crowd::new(seed, change);
    crowd.is_hostile = is_hostile;
    crowd.open_rooms();
    for _ in 0..TURNS {
        for _ in 0..crowd.rng.u32(1..6) {
            crowd.step();
        }
        for _ in 0..crowd.rng.u32(0..4) {
            crowd.step_requests();
        }
        for _ in 0..crowd.rng.u32(0..2) {
            crowd.step_rooms();
        }
        if is_hostile && crowd.rng.u32(0..10) == 0 {
            crowd.write_anything();
        }
        crowd.turn();
    }
    crowd.end_well();
}

#[test]
fn each_request_has_its_answer_once_and_each_client_of_a_group_its_events_in_order() {
    for seed in seeds() {
        run(seed, false, |_| ());
    }
}

#[test]
fn requests_and_events_hold_what_is_promised_near_the_memory_limit() {
    for seed in seeds() {
        run(seed, false, limited);
    }
}

#[test]
fn a_worker_that_writes_anything_about_requests_and_groups_breaks_no_invariant() {
    for seed in seeds() {
        run(seed, true, |_| ());
    }
}
