//! How long the loop waits for peers.

use std::time::Duration;

use super::client::Client;
use super::process::Outcome;
use super::script::{Script, config};
use crate::commands::{Command, Order, Report};
use crate::memory::Class;
use moorline_protocol::wire::CloseReason;

/// Bytes that neither a socket pair nor its peer takes.
const MUCH: usize = 600_000;

fn one_worker(listener: &str) -> Script {
    let text = format!(
        "[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = {{ kind = \"line\" }}\n{listener}"
    );
    Script::serving(config(&text), 1)
}

/// A session whose output waits for a peer that takes nothing, and that still has a message in progress.
fn stuck(listener: &str) -> (Script, Client) {
    let mut script = one_worker(listener);
    let mut client = script.connect(0);
    // Two messages: the first is answered with more than the socket takes, the second stays in progress.
    client.say(MUCH);
    client.say(10);
    client.reads = false;
    for _ in 0..200 {
        client.go_on();
        script.turn();
        script.processes[0].take(usize::MAX);
    }
    let mut ids = script.processes[0].sessions.keys();
    let id = *ids.next().expect("it is open");
    let config = script.config.clone();
    assert!(script.processes[0].handle(&config, id, Outcome::Echoed));
    for _ in 0..200 {
        script.processes[0].flush();
        script.turn();
        script.processes[0].take(usize::MAX);
    }
    assert!(
        script.gateway.tools.memory.of(Class::Queued) > 0,
        "output waits"
    );
    (script, client)
}

#[test]
fn a_peer_that_takes_no_output_is_closed_while_its_handler_works_on() {
    for (listener, reason) in [
        ("send_timeout = \"2s\"", CloseReason::Slow),
        ("idle_timeout = \"2s\"", CloseReason::Idle),
    ] {
        let (mut script, _client) = stuck(listener);
        script.pass(1800);
        assert_eq!(script.closed(reason), 0, "{listener}");
        script.pass(400);
        assert_eq!(script.closed(reason), 1, "{listener}");
    }
}

#[test]
fn a_peer_that_takes_no_output_while_the_engine_drains_is_closed_by_the_same_timeout_or_after_30_s()
{
    for (listener, timeout) in [("send_timeout = \"2s\"", 2_000), ("", 30_000)] {
        let (mut script, _client) = stuck(listener);
        let order = Order {
            number: 1,
            over: Duration::ZERO,
            max_wait: Duration::from_secs(600),
            listeners: None,
            seed: 1,
        };
        script.command(Command::Drain(Box::new(order)));
        script.pass(timeout - 200);
        assert_eq!(script.closed(CloseReason::Slow), 0, "{listener}");
        script.pass(400);
        assert_eq!(script.closed(CloseReason::Slow), 1, "{listener}");
    }
}

#[test]
fn a_half_closed_session_that_the_app_has_paused_ends_too() {
    let mut script = one_worker("half_close_timeout = \"5s\"");
    let mut client = script.connect(0);
    client.say(10);
    client.go_on();
    script.pass(50);
    script.processes[0].take(usize::MAX);
    let session = script.gateway.sessions.iter_mut().next();
    session.expect("it is open").app.is_paused = true;
    client.finish();
    script.pass(4_800);
    assert_eq!(script.closed(CloseReason::Peer), 0);
    script.pass(400);
    assert_eq!(script.closed(CloseReason::Peer), 1);
}

#[test]
fn a_peer_that_takes_a_little_now_and_then_is_not_closed() {
    let mut script = one_worker("send_timeout = \"2s\"");
    let mut client = script.connect(0);
    client.say(MUCH);
    client.reads = false;
    for _ in 0..200 {
        client.go_on();
        script.turn();
        let config = script.config.clone();
        script.processes[0].serve(&config, usize::MAX);
    }
    for _ in 0..10 {
        script.pass(1500);
        client.receive(50_000);
    }
    assert_eq!(script.closed(CloseReason::Slow), 0);
    client.reads = true;
    script.settle(std::slice::from_mut(&mut client));
    assert_eq!(client.echoes, [1]);
}

#[test]
fn a_half_closed_session_ends_when_nothing_is_done_for_it() {
    let mut script = one_worker("half_close_timeout = \"5s\"");
    let mut client = script.connect(0);
    for _ in 0..3 {
        client.say(10);
    }
    client.go_on();
    script.pass(50);
    script.processes[0].take(usize::MAX);
    client.finish();
    script.pass(4000);
    let config = script.config.clone();
    let id = *script.processes[0]
        .sessions
        .keys()
        .next()
        .expect("it is open");
    // A message that is done counts as progress, one that is not ended does not.
    assert!(script.processes[0].handle(&config, id, Outcome::Echoed));
    script.processes[0].flush();
    script.pass(4000);
    client.go_on();
    assert_eq!(
        (client.echoes.as_slice(), client.is_ended),
        (&[1][..], false)
    );
    script.pass(1500);
    assert_eq!(script.closed(CloseReason::Peer), 1);
    client.go_on();
    assert!(client.is_ended);
}

#[test]
fn requests_that_wait_for_a_silent_process_are_counted() {
    let text = "[[listen]]\naddress = \"http://127.0.0.1:1001\"\nwebsocket = \"/\"\n";
    let mut script = Script::serving(config(text), 1);
    // It may be asked about 512 at a time.
    let _clients: Vec<_> = (0..600).map(|_| script.ask_for_websocket(0)).collect();
    script.pass(500);
    let id = script.processes[0].id;
    script.command(Command::Silent([id].into()));
    script.pass(100);
    let counts = script
        .reports()
        .into_iter()
        .find_map(|report| match report {
            Report::Waiting(_, counts) => Some(counts),
            _ => None,
        });
    assert_eq!(counts, Some(vec![(id, 600)]));
}
