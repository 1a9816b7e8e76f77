//! Pings find out that peers have vanished.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::process::Outcome;
use super::script::{Script, config};
use crate::change::Setup;
use crate::memory::Class;
use crate::session::Session;
use crate::session::compression::Compression;
use moorline_config::Ping;
use moorline_net::framing::websocket::deflate::{Deflater, Direction, Parameters};
use moorline_protocol::wire::CloseReason::{Idle, Vanished};

const PING: &[u8] = &[0x89, 0];
/// A pong without a payload, masked.
const PONG: &[u8] = &[0x8a, 0x80, 1, 2, 3, 4];
/// What a time on the wheel may be late, in milliseconds, with the steps of the clock.
const LATE: u64 = 150;

/// A worker, and a WebSocket session that is open.
fn open(listener: &str) -> (Script, Client) {
    let text =
        format!("[[listen]]\naddress = \"http://127.0.0.1:1001\"\nwebsocket = \"/\"\n{listener}");
    let mut script = Script::serving(config(&text), 1);
    let mut client = script.connect_websocket(0);
    script.turn();
    script.processes[0].take(usize::MAX);
    script.processes[0].flush();
    script.turn();
    client.go_on();
    (script, client)
}

fn session(script: &mut Script) -> &mut Session {
    let mut sessions = script.gateway.sessions.iter_mut();
    sessions.next().expect("it is open")
}

/// Queues a message of `bytes` bytes.
fn say(client: &mut Client, bytes: usize) {
    match bytes {
        0..126 => client.push(&[0x82, 0x80 | bytes as u8]),
        _ => {
            client.push(&[0x82, 0x80 | 127]);
            client.push(&(bytes as u64).to_be_bytes());
        }
    }
    client.push(&[0; 4]);
    client.push(&vec![b'.'; bytes]);
}

/// Passes time; the client answers every ping.
fn pass_answering(script: &mut Script, client: &mut Client, ms: u64) -> usize {
    let mut pings = 0;
    for _ in 0..ms / 10 {
        script.pass(10);
        client.go_on();
        if client.received().ends_with(PING) {
            client.take_received();
            client.push(PONG);
            pings += 1;
        }
    }
    pings
}

#[test]
fn a_silent_peer_is_pinged_and_closed_as_vanished_when_it_does_not_answer() {
    let (mut script, mut client) = open("ping_interval = \"25s\"\npong_timeout = \"20s\"");
    script.pass(24_900);
    client.go_on();
    assert_eq!(client.received(), b"");
    script.pass(100 + LATE);
    client.go_on();
    assert_eq!(client.take_received(), PING);
    script.pass(19_700);
    assert_eq!(script.closed(Vanished), 0);
    script.pass(300 + LATE);
    assert_eq!(script.closed(Vanished), 1);
    client.go_on();
    client.go_on();
    // Its going away is said, should somebody hear it.
    assert_eq!(client.received(), [0x88, 2, 0x03, 0xe9]);
    assert!(client.is_ended);
}

#[test]
fn a_peer_that_answers_stays_and_is_not_idle() {
    let (mut script, mut client) = open(
        "ping_interval = \"25s\"\npong_timeout = \"20s\"\nidle_timeout = \"60s\"\nreceive_timeout = \"60s\"",
    );
    assert_eq!(pass_answering(&mut script, &mut client, 255_000), 10);
    assert_eq!((script.closed(Vanished), script.closed(Idle)), (0, 0));
}

#[test]
fn a_session_at_rest_gives_back_what_it_compresses_with() {
    let (mut script, mut client) = open("ping_interval = \"25s\"");
    let direction = |context_takeover| Direction {
        context_takeover,
        window_bits: 15,
    };
    let mut compression = Compression::new(Parameters {
        server: direction(true),
        client: direction(false),
    });
    compression.deflater = Some(Deflater::new(1, direction(true)));
    let held = compression.held();
    let memory = &mut script.gateway.tools.memory;
    memory.hold(Class::Compression, held);
    session(&mut script).compression = Some(Box::new(compression));
    let of = |script: &Script| script.gateway.tools.memory.of(Class::Compression);
    script.pass(20_000);
    session(&mut script).meters.sent_at = script.now;
    assert_eq!(pass_answering(&mut script, &mut client, 5_000 + LATE), 1);
    // The loop has an inflater by now.
    let pinged = of(&script);
    assert!(pinged >= held as u64);
    let again = pass_answering(&mut script, &mut client, 25_000 + 2 * LATE);
    assert_eq!(again, 1);
    assert_eq!(of(&script), pinged - held as u64);
}

#[test]
fn a_shorter_idle_timeout_closes_a_peer_before_it_is_pinged() {
    let (mut script, mut client) = open("ping_interval = \"25s\"\nidle_timeout = \"10s\"");
    assert_eq!(pass_answering(&mut script, &mut client, 10_100), 0);
    assert_eq!(script.closed(Idle), 1);
}

#[test]
fn a_peer_that_sends_is_not_pinged() {
    let (mut script, mut client) = open("ping_interval = \"5s\"");
    let config = script.config.clone();
    for _ in 0..20 {
        say(&mut client, 20);
        client.send(usize::MAX);
        script.pass(4_000);
        script.processes[0].serve(&config, usize::MAX);
        script.pass(10);
        client.go_on();
        assert_eq!(client.take_received()[..2], [0x82, 20], "its echo alone");
    }
}

#[test]
fn a_peer_that_vanishes_soon_after_an_answer_is_found_out_in_time() {
    // The answer to a ping may take much longer than the time between two.
    let (mut script, mut client) = open("ping_interval = \"2s\"\npong_timeout = \"20s\"");
    assert_eq!(pass_answering(&mut script, &mut client, 2_000 + LATE), 1);
    client.send(usize::MAX);
    script.pass(22_000 + 2 * LATE);
    assert_eq!(script.closed(Vanished), 1);
}

#[test]
fn a_peer_that_takes_queued_output_slowly_stays_until_it_takes_no_more() {
    let (mut script, mut client) = open("ping_interval = \"5s\"\npong_timeout = \"5s\"");
    let config = script.config.clone();
    say(&mut client, 600_000);
    client.reads = false;
    for _ in 0..400 {
        client.go_on();
        script.turn();
        script.processes[0].serve(&config, usize::MAX);
    }
    for _ in 0..12 {
        client.receive(40_000);
        script.pass(4_000);
    }
    assert_eq!(script.closed(Vanished), 0);
    script.pass(10_000 + 2 * LATE);
    assert_eq!(script.closed(Vanished), 1);
}

#[test]
fn a_peer_whose_answers_are_not_read_for_now_stays() {
    let (mut script, mut client) = open("ping_interval = \"5s\"\npong_timeout = \"5s\"");
    session(&mut script).app.is_paused = true;
    assert_eq!(pass_answering(&mut script, &mut client, 5_000 + LATE), 1);
    // It reads the following pings, which its system acknowledges, and the engine does not read its answers.
    assert!(pass_answering(&mut script, &mut client, 60_000) > 5);
    assert_eq!(script.closed(Vanished), 0);
    client.reads = false;
    script.pass(10_000 + 2 * LATE);
    assert_eq!(script.closed(Vanished), 1);
}

#[test]
fn a_peer_that_is_silent_while_the_app_pauses_it_is_closed() {
    let (mut script, _client) = open("ping_interval = \"5s\"\npong_timeout = \"5s\"");
    session(&mut script).app.is_paused = true;
    script.pass(10_000 + 2 * LATE);
    assert_eq!(script.closed(Vanished), 1);
}

#[test]
fn answers_that_came_while_the_gateway_stood_still_count() {
    let (mut script, mut client) = open("ping_interval = \"5s\"\npong_timeout = \"5s\"");
    script.pass(5_000 + LATE);
    client.push(PONG);
    client.send(usize::MAX);
    // Its event is not fetched before the timer.
    script.gateway.poller.clear();
    script.now += 60_000;
    script.turn();
    assert_eq!(script.closed(Vanished), 0);
}

#[test]
fn a_reload_changes_the_intervals_of_sessions_that_are_open() {
    let (mut script, mut client) = open("ping_interval = \"1h\"");
    let reload = |script: &mut Script, ping: Option<Ping>| {
        let mut config = (*script.config).clone();
        config.listeners[0].liveness.ping = ping;
        script.config = Arc::new(config);
        let setup = Setup {
            config: script.config.clone(),
            sockets: Vec::new(),
            tls: Arc::default(),
            counted: Arc::default(),
        };
        script.activate_with(1, Some(setup));
    };
    let short = Ping {
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
    };
    reload(&mut script, Some(short));
    assert_eq!(pass_answering(&mut script, &mut client, 21_000), 4);
    reload(&mut script, None);
    assert_eq!(pass_answering(&mut script, &mut client, 60_000), 0);
    reload(&mut script, Some(short));
    // It was silent for longer, and is asked at once.
    script.pass(4_900);
    assert_eq!(script.closed(Vanished), 0);
    script.pass(100 + 2 * LATE);
    assert_eq!(script.closed(Vanished), 1);
}

#[test]
fn a_handler_that_works_does_not_keep_a_vanished_peer() {
    let (mut script, mut client) = open("ping_interval = \"5s\"\npong_timeout = \"5s\"");
    say(&mut client, 10);
    client.send(usize::MAX);
    script.pass(10);
    script.processes[0].take(usize::MAX);
    script.pass(10_000 + 2 * LATE);
    assert_eq!(script.closed(Vanished), 1);
    let id = *script.processes[0]
        .sessions
        .keys()
        .next()
        .expect("it was open");
    let config = script.config.clone();
    script.processes[0].handle(&config, id, Outcome::Echoed);
}
