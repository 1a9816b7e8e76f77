//! `close` and `accept`: what the page's buttons do, as commands.

use moorline_tests::{Client, Engine, Finish, Finished, LENGTH_LISTENER, Wire, eventually};

fn engine() -> Engine {
    let config = format!("{LENGTH_LISTENER}name = \"door\"\n[workers]\ncount = 1\n");
    Engine::start("probe", &config)
}

/// Runs a command whose other arguments have no end.
fn run(engine: &Engine, arguments: &[&str]) -> Finished {
    let site = engine.site();
    let config = site.path("moorline.toml").display().to_string();
    let mut command = site.command(arguments);
    command.args(["--config", &config]).finish()
}

#[test]
fn sessions_are_closed_by_their_ids_and_no_others() {
    let engine = engine();
    let mut clients = [0, 1, 2].map(|_| Client::connect(&engine, 0, Wire::LENGTH));
    let ids = clients.each_mut().map(|client| client.ask("id"));
    let said = run(&engine, &["close", &ids[0], &ids[1]]).expect_success();
    assert_eq!(said.said().lines().count(), 2, "{said:?}");
    for client in &mut clients[..2] {
        assert!(client.receive_to_end().is_empty(), "it is closed");
    }
    assert_eq!(clients[2].ask("id"), ids[2]);
    // Those that are there are closed although others are not.
    let refused = run(&engine, &["close", &ids[0], &ids[2]]);
    refused.expect_refusal(&["no session", &ids[0]]);
    assert!(clients[2].receive_to_end().is_empty(), "it is closed");
    let wrong = run(&engine, &["close", "door"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let none = run(&engine, &["close"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}

#[test]
fn a_listener_accepts_none_until_it_is_told_to() {
    let engine = engine();
    let state = || engine.status().listeners[0].state.clone();
    let mut before = Client::connect(&engine, 0, Wire::LENGTH);
    before.ask("pid");
    engine.run(&["accept", "door", "--none"]).expect_success();
    assert_eq!(state(), "stopped");
    let said = engine.run(&["status"]).expect_success().stdout;
    assert!(said.contains("Listener door accepts nothing"), "{said}");
    assert!(said.contains("moorline accept door"), "{said}");
    let mut waiting = Client::connect(&engine, 0, Wire::LENGTH);
    waiting.send("pid");
    before.ask("pid");
    assert_eq!(engine.status().gateway.sessions, 1);
    engine.run(&["accept", "door"]).expect_success();
    assert_eq!(state(), "accepting");
    waiting.receive();
    eventually("it is healthy", || {
        let said = engine.run(&["status"]).expect_success().stdout;
        said.starts_with("healthy\n")
    });
    let refused = engine.run(&["accept", "window"]);
    refused.expect_refusal(&["there are door"]);
}
