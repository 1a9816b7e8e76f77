//! Sessions that exchange messages without a pause, and gateways that follow one another meanwhile.

use moorline_tests::{Engine, Load, Plan, Troubles};

use crate::{config, upgrade};

#[test]
fn no_message_is_lost_doubled_or_reordered_over_ten_upgrades() {
    let loaded = config("[engine]\ngateway_loops = 2\n", "");
    let engine = Engine::start("probe", &loaded);
    let plan = Plan {
        sessions: 100,
        window: 4,
        ..Plan::default()
    };
    let load = Load::start(&engine, 0, plan);
    for _ in 0..10 {
        upgrade(&engine);
        load.progress(3);
    }
    assert_eq!(load.finish().troubles, Troubles::default());
    let status = engine.status();
    assert_eq!(status.closed("gateway_lost"), 0);
    assert_eq!(status.lost, Default::default());
}

/// Long messages travel in parts, both between the processes and to slow sockets.
#[test]
fn long_messages_go_on_in_the_middle() {
    let loaded = config("[engine]\ngateway_loops = 2\n", "");
    let engine = Engine::start("probe", &loaded);
    let plan = Plan {
        sessions: 10,
        size: 700_000,
        window: 2,
        ..Plan::default()
    };
    let load = Load::start(&engine, 0, plan);
    for _ in 0..5 {
        upgrade(&engine);
        load.progress(2);
    }
    assert_eq!(load.finish().troubles, Troubles::default());
}

#[test]
fn reloads_and_upgrades_follow_one_another() {
    let engine = Engine::start("probe", &config("", ""));
    let plan = Plan {
        sessions: 40,
        ..Plan::default()
    };
    let load = Load::start(&engine, 0, plan);
    for _ in 0..3 {
        upgrade(&engine);
        load.progress(2);
        engine.reload().expect_success();
        load.progress(2);
    }
    // One that is asked for while the processes of a reload still end waits.
    engine.reload().expect_success();
    upgrade(&engine);
    load.progress(2);
    assert_eq!(load.finish().troubles, Troubles::default());
}
