//! Senders that wait learn at once that a session is full, however much lies in their ring.

use std::sync::Arc;

use moorline_ipc::Header;

use super::client::Client;
use super::script::{Script, config};
use crate::change::Setup;
use moorline_protocol::control::Role;
use moorline_protocol::wire::{CloseReason, FromProcess, LAST, ToProcess};

const KIB: usize = 1024;

/// Workers, and a client that reads nothing and has a session with the first of them.
fn stuck_reader(workers: u16, ring: usize, limits: &str) -> (Script, [Client; 1], u64) {
    let text = format!(
        "[workers]\ncount = {workers}\n[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\n\
         framing = {{ kind = \"line\", max = \"16KiB\" }}\nhigh_watermark = \"64KiB\"\nlow_watermark = \"16KiB\"\n{limits}"
    );
    let mut script = Script::with_rings(ring, config(&text), workers);
    let mut clients = [script.connect(0)];
    script.settle(&mut []);
    let holds = |at: &usize| !script.processes[*at].sessions.is_empty();
    let at = (0..usize::from(workers)).find(holds).expect("one has it");
    script.processes.swap(0, at);
    let id = *script.processes[0].sessions.keys().next().expect("one");
    clients[0].go_on();
    (script, clients, id)
}

/// Sends the session a message as an app does that waits for room.
fn send(script: &mut Script, at: usize, id: u64) {
    let header = Header {
        kind: FromProcess::Send as u8,
        session: id,
        flags: LAST,
        ..Header::default()
    };
    script.processes[at].send(header, &[b'x'; 8 * KIB]);
    script.processes[at].flush();
    script.turn();
}

/// Lines of other clients, until there is no room in the ring of the process in this place.
fn fill_ring(script: &mut Script) -> Vec<Client> {
    let mut others: Vec<_> = (0..40).map(|_| script.connect(0)).collect();
    for other in &mut others {
        other.say(8 * KIB);
        other.say(8 * KIB);
    }
    for _ in 0..20 {
        for other in &mut others {
            other.send(usize::MAX);
        }
        script.turn();
    }
    others
}

/// Records that mean nothing, until there is no room in any ring.
fn leave_no_room(script: &mut Script) {
    for (_, process) in script.gateway.tools.processes.iter_mut() {
        while process.tell(ToProcess::Unknown, 1) {}
        process.publish();
    }
}

/// Sessions of which processes were not told that they are full.
fn owed(script: &Script) -> usize {
    let processes = script.gateway.tools.processes.iter();
    processes.map(|(_, process)| process.owed.len()).sum()
}

fn took(script: &Script, at: usize, kind: ToProcess) -> u64 {
    let taken = &script.processes[at].taken;
    taken.get(&(kind as u8)).copied().unwrap_or(0)
}

#[test]
fn a_sender_is_held_from_the_moment_its_session_is_full_until_it_knows() {
    let (mut script, _clients, id) = stuck_reader(1, 4 << 20, "");
    let _others = fill_ring(&mut script);
    let mut sent = 0;
    while !script.processes[0].is_held() {
        sent += 1;
        assert!(sent < 1000, "it is never told");
        send(&mut script, 0, id);
    }
    assert_eq!(took(&script, 0, ToProcess::Full), 0);
    script.processes[0].take(usize::MAX);
    assert_eq!(took(&script, 0, ToProcess::Full), 1);
    assert!(!script.processes[0].is_held());
}

#[test]
fn a_sender_is_held_while_there_is_no_room_to_tell_it() {
    let (mut script, mut clients, id) = stuck_reader(1, 64 * KIB, "hard_limit = \"1MiB\"");
    leave_no_room(&mut script);
    while !script.processes[0].is_held() {
        send(&mut script, 0, id);
    }
    assert_eq!(owed(&script), 1);
    // It takes a little, which others fill at once.
    script.processes[0].take(1);
    leave_no_room(&mut script);
    script.turn();
    assert!(script.processes[0].is_held());
    script.settle(&mut []);
    assert_eq!((owed(&script), took(&script, 0, ToProcess::Full)), (0, 1));
    assert!(!script.processes[0].is_held());
    script.settle(&mut clients);
    assert_eq!(took(&script, 0, ToProcess::Drained), 1);
    assert_eq!(script.closed(CloseReason::Slow), 0);
}

#[test]
fn senders_go_on_if_the_session_of_which_they_were_not_told_ends() {
    let (mut script, clients, id) = stuck_reader(1, 64 * KIB, "hard_limit = \"1MiB\"");
    leave_no_room(&mut script);
    while !script.processes[0].is_held() {
        send(&mut script, 0, id);
    }
    drop(clients);
    script.settle(&mut []);
    assert_eq!((owed(&script), took(&script, 0, ToProcess::Close)), (0, 1));
    assert!(!script.processes[0].is_held());
}

#[test]
fn a_worker_that_sends_to_the_session_of_another_is_held_too() {
    let (mut script, mut clients, id) = stuck_reader(2, 64 * KIB, "hard_limit = \"1MiB\"");
    leave_no_room(&mut script);
    while !script.processes[1].is_held() {
        send(&mut script, 1, id);
    }
    assert_eq!(owed(&script), 2);
    script.settle(&mut []);
    assert_eq!((owed(&script), took(&script, 1, ToProcess::Full)), (0, 1));
    assert!(!script.processes[1].is_held());
    script.settle(&mut clients);
    assert_eq!(took(&script, 1, ToProcess::Drained), 1);
    assert_eq!(script.closed(CloseReason::Slow), 0);
}

#[test]
fn the_successor_of_a_dead_sender_is_told_that_a_session_is_full() {
    let (mut script, _clients, id) = stuck_reader(2, 64 * KIB, "hard_limit = \"1MiB\"");
    while script.processes[1].full.is_empty() {
        send(&mut script, 1, id);
        script.processes[1].take(usize::MAX);
    }
    script.kill(1);
    assert_eq!(script.attach(Role::Worker(1)), 1);
    script.activate(2);
    send(&mut script, 1, id);
    script.processes[1].take(usize::MAX);
    assert!(script.processes[1].full.contains(&id));
}

#[test]
fn a_sender_that_has_yet_to_learn_that_a_session_has_drained_learns_later_that_it_is_full_again() {
    let (mut script, mut clients, id) = stuck_reader(2, 64 * KIB, "hard_limit = \"1MiB\"");
    while script.processes[1].full.is_empty() {
        send(&mut script, 1, id);
        script.processes[1].take(usize::MAX);
    }
    // There is no room to tell it that the session has drained.
    leave_no_room(&mut script);
    for _ in 0..100 {
        clients[0].go_on();
        script.turn();
    }
    assert!(
        script
            .gateway
            .sessions
            .iter()
            .all(|it| it.output.queued() == 0)
    );
    while !script.processes[1].is_held() {
        send(&mut script, 1, id);
    }
    for _ in 0..4 {
        script.processes[1].take(usize::MAX);
        script.turn();
    }
    assert_eq!(took(&script, 1, ToProcess::Drained), 1);
    assert_eq!(took(&script, 1, ToProcess::Full), 2);
    assert!(script.processes[1].full.contains(&id));
    assert!(!script.processes[1].is_held());
}

/// What an old process has under way was begun by the limits that it knows.
#[test]
fn a_reload_that_makes_messages_smaller_cuts_off_no_old_sender() {
    let text = "[engine]\nring_memory = \"1MiB\"\ngateway_loops = 1\n[workers]\ncount = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\n\
                framing = { kind = \"line\", max = \"4MiB\" }\nhigh_watermark = \"64KiB\"\nlow_watermark = \"16KiB\"\nhard_limit = \"4MiB\"\n";
    let mut script = Script::with_rings(512 * KIB, config(text), 1);
    let _client = script.connect(0);
    script.settle(&mut []);
    let id = *script.processes[0].sessions.keys().next().expect("one");
    let mut smaller = script.config.as_ref().clone();
    smaller.listeners[0].hard_limit = 256 * KIB as u64;
    script.config = Arc::new(smaller);
    let setup = Setup {
        config: script.config.clone(),
        sockets: Vec::new(),
        tls: Arc::default(),
        counted: Arc::default(),
    };
    script.attach(Role::Worker(0));
    script.activate_with(1, Some(setup));
    let header = Header {
        kind: FromProcess::Send as u8,
        session: id,
        ..Header::default()
    };
    // What it has begun before it hears anything.
    for _ in 0..3 {
        script.processes[0].send(header, &[b'x'; 1 << 20]);
    }
    for _ in 0..40 {
        script.processes[0].flush();
        script.turn();
    }
    assert_eq!(script.gateway.sessions.iter().count(), 1);
    let queued = |script: &Script| {
        script
            .gateway
            .sessions
            .iter()
            .map(|it| it.output.queued())
            .sum::<u64>()
    };
    assert!(queued(&script) > 5 << 19);
    assert_eq!(script.closed(CloseReason::Slow), 0);
}
