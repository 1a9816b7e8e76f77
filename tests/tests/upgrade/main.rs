//! Upgrade: another gateway takes everything from the present one, and neither clients nor workers notice.

mod failures;
mod kept;
mod load;
mod refusals;
mod rest;
mod state;

use moorline_tests::{Engine, Finished};

/// A listener for messages with a length, two workers, and what else is said.
pub(crate) fn config(head: &str, more: &str) -> String {
    format!(
        "{head}\n[workers]\ncount = 2\nmax_wait = \"5s\"\n[tasks]\ncount = 1\n[[listen]]\nname = \"main\"\n\
         address = \"tcp://127.0.0.1:0\"\nframing = {{ kind = \"length\", counts = \"payload\" }}\n{more}\n\
         [app]\njournal = \"{{folder}}/journal\"\n"
    )
}

/// Upgrades an engine, and looks whether another process is the gateway from then on.
#[track_caller]
pub(crate) fn upgrade(engine: &Engine) -> Finished {
    let before = engine.status().gateway;
    let upgraded = engine.run(&["upgrade"]).expect_success();
    assert!(upgraded.said().contains("gateway upgraded"), "{upgraded:?}");
    let after = engine.status().gateway;
    assert_ne!(before.pid, after.pid);
    assert_eq!(before.sessions, after.sessions);
    assert!(after.accepted >= before.accepted && after.messages >= before.messages);
    upgraded
}
