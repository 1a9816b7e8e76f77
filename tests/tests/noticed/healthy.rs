//! Engines of which nothing is named.

use std::time::Duration;

use moorline_tests::{Engine, LENGTH_LISTENER, Load, Onlooker, Plan, Troubles};

/// Longer than what is looked at to find growing memory, and than alerts wait.
const LOOKED_AT: Duration = Duration::from_secs(15);

fn config() -> String {
    let admin = Onlooker::ADMIN;
    format!("[workers]\ncount = 2\n[tasks]\ncount = 1\n{LENGTH_LISTENER}{admin}")
}

#[test]
fn of_an_engine_that_does_nothing_and_was_reloaded_nothing_is_named() {
    let engine = Engine::start("probe", &config());
    let onlooker = Onlooker::new(&engine);
    engine.reload().expect_success();
    onlooker.sees_nothing_for(LOOKED_AT);
}

#[test]
fn of_an_engine_that_is_busy_nothing_is_named() {
    let engine = Engine::start("probe", &config());
    let onlooker = Onlooker::new(&engine);
    let plan = Plan {
        sessions: 40,
        ..Plan::default()
    };
    let load = Load::start(&engine, 0, plan);
    onlooker.sees_nothing_for(LOOKED_AT);
    assert_eq!(load.finish().troubles, Troubles::default());
}
