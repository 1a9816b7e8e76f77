//! Sessions that wait until their process, which is behind, has taken more of its ring.

use std::sync::Arc;

use bytes::Bytes;
use moorline_ipc::Header;

use super::client::Client;
use super::process::Outcome;
use super::script::{Script, config};
use crate::change::Setup;
use crate::ids::ProcessKey;
use crate::session::Session;
use moorline_config::OnCrash;
use moorline_protocol::control::Role;
use moorline_protocol::wire::{CloseReason, ToProcess};

/// Bytes of a ring as an engine has it.
const RING: usize = 4 * 1024 * 1024;
/// A message of this many bytes is read straight into a ring, and fits into a socket.
const LONG: usize = 8 * 1024;
/// The message of one of the others: eight of them fill more of a ring than a process should have in it.
const OTHER: usize = 48 * 1024;
const LENGTHS: u16 = 0;
const LINES: u16 = 1;

/// One worker with a large ring. The listener for messages with lengths has these keys.
fn one_worker(listener: &str) -> Script {
    let text = format!(
        "[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = {{ kind = \"length\" }}\n{listener}\n\
         [[listen]]\naddress = \"tcp://127.0.0.1:1002\"\nframing = {{ kind = \"line\", max = \"256KiB\" }}\n"
    );
    Script::with_rings(RING, config(&text), 1)
}

/// Queues one long message.
fn say_long(client: &mut Client) {
    client.push(&(LONG as u32).to_be_bytes());
    client.push(&[b'.'; LONG]);
}

/// A client whose last message was long, and is done.
fn connect_long(script: &mut Script) -> [Client; 1] {
    let mut clients = [script.connect(LENGTHS)];
    say_long(&mut clients[0]);
    script.settle(&mut clients);
    assert_eq!(clients[0].received().len(), 4 + LONG);
    clients
}

/// Turns until the clients have sent what they have, if the loop reads it. No process takes anything.
fn send_all(script: &mut Script, clients: &mut [Client]) {
    for _ in 0..50 {
        for client in clients.iter_mut() {
            client.send(usize::MAX);
        }
        script.turn();
    }
}

/// Others, whose messages are in the ring.
fn fill_ring(script: &mut Script) -> Vec<Client> {
    let mut others: Vec<_> = (0..8).map(|_| script.connect(LINES)).collect();
    for other in &mut others {
        other.say(OTHER);
    }
    send_all(script, &mut others);
    others
}

/// The session of the client that connected to the listener for lengths, the last one.
fn long_session(script: &Script) -> &Session {
    let mut sessions = script.gateway.sessions.iter();
    let found = sessions.find(|it| it.listener.index() == usize::from(LENGTHS));
    found.expect("it is open")
}

/// Its messages that were delivered.
fn delivered(script: &Script) -> u64 {
    long_session(script).meters.messages
}

/// A client whose second long message is left in its socket, because others have filled the ring.
fn waiting(script: &mut Script) -> ([Client; 1], Vec<Client>) {
    let mut clients = connect_long(script);
    let others = fill_ring(script);
    say_long(&mut clients[0]);
    send_all(script, &mut clients);
    let session = long_session(script);
    assert!(session.listed.parked && session.input.readable);
    assert_eq!(session.meters.messages, 1);
    (clients, others)
}

#[test]
fn a_half_closed_session_is_not_closed_while_its_process_works_through_what_came_before() {
    let mut script = one_worker("half_close_timeout = \"5s\"");
    let (mut clients, _others) = waiting(&mut script);
    clients[0].finish();
    for _ in 0..3 {
        script.pass(3_000);
        assert!(script.processes[0].take(1));
    }
    script.pass(3_000);
    assert_eq!(script.closed(CloseReason::Peer), 0);
    script.settle(&mut clients);
    assert_eq!(clients[0].received().len(), 2 * (4 + LONG));
    assert!(clients[0].is_ended);
}

#[test]
fn a_half_closed_session_whose_process_takes_nothing_is_closed() {
    let mut script = one_worker("half_close_timeout = \"5s\"");
    let (mut clients, _others) = waiting(&mut script);
    clients[0].finish();
    script.pass(4_000);
    assert!(script.processes[0].take(1));
    script.pass(4_800);
    assert_eq!(script.closed(CloseReason::Peer), 0);
    script.pass(400);
    assert_eq!(script.closed(CloseReason::Peer), 1);
}

#[test]
fn sessions_that_come_from_a_list_of_waiters_are_not_idle_before_their_turn() {
    let text = "[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = { kind = \"line\" }\nidle_timeout = \"2s\"\n";
    let mut script = Script::new(config(text));
    // More than go on in one turn, and then others, whose timers are due when the first go on.
    let mut clients: Vec<_> = (0..300).map(|_| script.connect(0)).collect();
    script.pass(500);
    clients.extend((0..300).map(|_| script.connect(0)));
    for client in &mut clients {
        client.say(10);
        client.send(usize::MAX);
    }
    script.pass(2_990);
    script.attach(Role::Worker(0));
    script.activate(1);
    script.now += 10;
    script.turn();
    assert_eq!(script.closed(CloseReason::Idle), 0);
    script.settle(&mut clients);
    assert!(clients.iter().all(|client| client.echoes == [1]));
}

#[test]
fn a_flood_of_other_messages_does_not_keep_a_long_one_waiting_for_ever() {
    let mut script = one_worker("");
    let (_clients, mut others) = waiting(&mut script);
    let config = script.config.clone();
    let mut rounds = 0;
    while delivered(&script) == 1 {
        rounds += 1;
        assert!(rounds < 20, "it waits for ever");
        // One message is answered, and its client sends the next at once.
        assert!(script.processes[0].take(1));
        let ids: Vec<_> = script.processes[0].sessions.keys().copied().collect();
        for id in ids {
            script.processes[0].handle(&config, id, Outcome::Echoed);
        }
        for _ in 0..20 {
            script.processes[0].flush();
            script.turn();
            for other in &mut others {
                other.go_on();
                if other.echoes.len() as u64 == other.lines() {
                    other.say(OTHER);
                }
            }
        }
        let producer = &script.gateway.tools.processes[ProcessKey(0)].producer;
        assert!(producer.holds_more_than(200 * 1024));
    }
}

#[test]
fn a_session_that_comes_later_does_not_go_before_those_that_wait() {
    let mut script = one_worker("");
    let mut late = connect_long(&mut script);
    let late_id = long_session(&script).id;
    let mut early = connect_long(&mut script);
    let _others = fill_ring(&mut script);
    say_long(&mut early[0]);
    send_all(&mut script, &mut early);
    // So much is taken that one could go if nobody waited, but not so much that those who wait go on.
    script.processes[0].take(8 + 4);
    say_long(&mut late[0]);
    send_all(&mut script, &mut late);
    let waits = |script: &Script| script.gateway.tools.processes[ProcessKey(0)].waiters.len();
    assert_eq!(waits(&script), 2);
    // All is taken: the first goes on, and then the second.
    script.processes[0].take(usize::MAX);
    send_all(&mut script, &mut []);
    script.processes[0].take(1);
    assert!(!script.processes[0].has_in_hand(late_id));
    send_all(&mut script, &mut []);
    script.processes[0].take(1);
    assert!(script.processes[0].has_in_hand(late_id));
}

#[test]
fn a_message_in_parts_needs_room_for_a_quarter_of_the_ring_at_once() {
    let text = "[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = { kind = \"line\", max = \"256KiB\" }\n";
    // Rings of 64 KiB.
    let mut script = Script::serving(config(text), 1);
    let mut others: Vec<_> = (0..4).map(|_| script.connect(0)).collect();
    for other in &mut others {
        other.say(10 * 1024);
    }
    send_all(&mut script, &mut others);
    let mut long = [script.connect(0)];
    long[0].say(60 * 1024);
    send_all(&mut script, &mut long);
    let session = script.gateway.sessions.iter().last().expect("it is open");
    assert!(session.input.is_mid_message());
    script.settle(&mut long);
    assert_eq!(long[0].echoes, [1]);
}

#[test]
fn a_post_in_parts_needs_room_for_a_quarter_of_the_ring_at_once() {
    let text = "[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = { kind = \"line\", max = \"256KiB\" }\n";
    let mut script = Script::serving(config(text), 1);
    let mut others: Vec<_> = (0..4).map(|_| script.connect(0)).collect();
    for other in &mut others {
        other.say(10 * 1024);
    }
    send_all(&mut script, &mut others);
    let header = Header {
        kind: ToProcess::Post as u8,
        ..Header::default()
    };
    let (processes, memory) = {
        let tools = &mut script.gateway.tools;
        (&mut tools.processes, &mut tools.memory)
    };
    processes.transfer(
        ProcessKey(0),
        header,
        Bytes::from(vec![b'a'; 60 * 1024]),
        memory,
    );
    let transfers = &processes[ProcessKey(0)].transfers;
    assert!(transfers.front().is_some_and(|it| it.offset > 0));
}

#[test]
fn a_reload_to_redeliver_holds_for_the_next_long_message() {
    let mut script = one_worker("");
    let mut clients = connect_long(&mut script);
    let mut config = (*script.config).clone();
    config.listeners[usize::from(LENGTHS)].on_crash = OnCrash::Redeliver;
    script.config = Arc::new(config);
    let setup = Setup {
        config: script.config.clone(),
        sockets: Vec::new(),
        tls: Arc::default(),
        counted: Arc::default(),
    };
    script.attach(Role::Worker(0));
    script.activate_with(1, Some(setup));
    script.settle(&mut clients);
    script.end_released();
    say_long(&mut clients[0]);
    send_all(&mut script, &mut clients);
    assert_eq!(delivered(&script), 2);
    assert!(script.processes[0].take(usize::MAX));
    script.kill(0);
    script.attach(Role::Worker(0));
    script.activate(1);
    script.settle(&mut clients);
    assert_eq!(clients[0].received().len(), 2 * (4 + LONG));
}
