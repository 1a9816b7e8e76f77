//! Lockers outlive the process that serves the session.

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Wire, eventually};
use nix::sys::signal::Signal;

fn probe(more: &str) -> String {
    format!(
        "[workers]\ncount = 2\n{LENGTH_LISTENER}{more}\n[app]\njournal = \"{{folder}}/journal\"\n"
    )
}

#[test]
fn a_locker_survives_reloads_and_crashes() {
    let engine = Engine::start("probe", &probe("on_crash = \"drop\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("state"), "none");
    assert_eq!(client.ask("keep-state level 7"), "ok");
    assert_eq!(client.ask("state"), "level 7");

    engine.reload().expect_success();
    assert_eq!(client.ask("generation"), "2");
    assert_eq!(client.ask("state"), "level 7");

    let slot = client.ask_number("slot") as u16;
    engine.kill_worker(slot, Signal::SIGKILL);
    assert_eq!(client.ask("state"), "level 7");
    assert_eq!(other.ask("state"), "none");

    assert_eq!(client.ask("keep-state"), "ok");
    engine.reload().expect_success();
    assert_eq!(client.ask("state"), "none");
}

#[test]
fn a_value_is_read_by_the_next_build_by_its_version_and_refused_by_the_last_one_after_a_rollback() {
    let engine = Engine::start("probe", &probe("on_crash = \"drop\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("value"), "none");
    assert_eq!(client.ask("keep-value level 7"), "ok");
    assert_eq!(client.ask("value"), "level 7");

    engine.install("probe_next");
    engine.reload().expect_success();
    assert_eq!(client.ask("build"), "next");
    assert_eq!(client.ask("value"), "level 7, of version 1");
    assert_eq!(client.ask("keep-value level 8"), "ok");
    let slot = client.ask_number("slot") as u16;
    engine.kill_worker(slot, Signal::SIGKILL);
    assert_eq!(client.ask("value"), "level 8 (7)");

    engine.install("probe");
    engine.reload().expect_success();
    assert_eq!(client.ask("build"), "first");
    assert_eq!(
        client.ask("value"),
        "the locker holds version 2, and this build reads version 1"
    );
    assert_eq!(client.ask("keep-state raw"), "ok");
    assert_eq!(
        client.ask("value"),
        "the locker holds 3 raw bytes, not a value with a version"
    );
}

/// What was kept before an answer is there if the answer is, whatever becomes of the worker.
#[test]
fn a_value_kept_before_an_answer_is_there_after_a_crash() {
    let engine = Engine::start("probe", &probe("on_crash = \"drop\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("state-and-crash paid");
    assert_eq!(client.receive(), b"kept");
    engine.logged(&["was killed by SIGABRT"]);
    assert_eq!(client.ask("state"), "paid");
}

#[test]
fn a_locker_is_read_in_the_close_hook_even_of_a_process_that_never_had_the_session() {
    let engine = Engine::start("probe", &probe(""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("keep-much 5000"), "ok");
    client.send("crash");
    assert_eq!(client.try_receive().ok().flatten(), None);
    engine.journaled(&format!("close {id} crash"));
    engine.journaled(&format!("state {id} 5000 bytes"));
}

#[test]
fn a_locker_has_a_limit_and_counts_as_buffered() {
    let engine = Engine::start("probe", &probe(""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(
        client.ask("keep-much 8193"),
        "TooLarge { limit: Locker, size: 8193, max: 8192 }"
    );
    assert_eq!(client.ask("keep-much 8192"), "ok");
    assert_eq!(client.ask("state"), "8192 bytes");
    eventually("the locker is counted", || {
        engine.status().gateway.buffered_bytes >= 8192
    });
    drop(client);
    eventually("it is counted no more", || {
        engine.status().gateway.buffered_bytes == 0
    });
}

#[test]
fn only_the_process_that_serves_a_session_keeps_something_with_it() {
    let engine = Engine::start("probe", &probe(""));
    let mut clients: Vec<Client> = (0..2)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let slots: Vec<u64> = clients
        .iter_mut()
        .map(|client| client.ask_number("slot"))
        .collect();
    assert_ne!(slots[0], slots[1]);
    let id = clients[1].ask("id");
    assert_eq!(
        clients[0].ask(format!("keep-state-of {id} mine")),
        "Elsewhere"
    );
    assert_eq!(clients[1].ask("state"), "none");
}
