//! Bytes are counted while they are held, and no longer.

use moorline_ipc::Header;

use super::client::Client;
use super::script::{Script, config};
use crate::memory::Class;
use moorline_config::Config;
use moorline_protocol::control::Role;
use moorline_protocol::wire::{CloseReason, FIRST, FromProcess, LAST, ToProcess};

const LIMIT: usize = 1024 * 1024;

fn limited() -> Config {
    let mut config = config(
        "[workers]\ncount = 2\n[tasks]\ncount = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\n\
         framing = { kind = \"line\", max = \"256KiB\" }\n",
    );
    // Lower than a configuration may set it.
    config.engine.memory_limit = Some(LIMIT as u64);
    config
}

/// Three serving processes: two workers, and a task worker. The first has a session with this much unread.
fn scene(unread: usize) -> (Script, [Client; 1]) {
    let mut script = Script::serving(limited(), 2);
    script.attach(Role::Task(0));
    script.activate(2);
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    clients[0].begin(unread);
    for _ in 0..100 {
        clients[0].go_on();
        script.turn();
    }
    assert_eq!(
        script.gateway.tools.memory.of(Class::Received),
        unread as u64
    );
    (script, clients)
}

fn closed_for_memory(script: &Script) -> u64 {
    script.closed(CloseReason::Memory)
}

/// Sends `bytes` bytes as a message of this kind, without its last part.
fn send_unfinished(script: &mut Script, at: usize, kind: FromProcess, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let length = left.min(8000);
        let header = Header {
            kind: kind as u8,
            flags: if left == bytes { FIRST } else { 0 },
            session: 5,
            ..Header::default()
        };
        script.processes[at].push(header, &vec![b'p'; length]);
        left -= length;
    }
    for _ in 0..1000 {
        script.processes[at].flush();
        script.turn();
    }
}

#[test]
fn unfinished_messages_of_a_worker_are_refused_at_the_limit_and_close_no_session() {
    for kind in [FromProcess::Post, FromProcess::Task, FromProcess::Broadcast] {
        // More than a fair share of the limit.
        let (mut script, mut clients) = scene(200_000);
        send_unfinished(&mut script, 1, kind, 4 * LIMIT);
        assert!(
            script.gateway.tools.memory.total() <= LIMIT as u64,
            "{kind:?}"
        );
        let last = Header {
            kind: kind as u8,
            flags: LAST,
            session: 5,
            ..Header::default()
        };
        script.processes[1].push(last, b"end");
        clients[0].end_line();
        script.settle(&mut clients);
        assert_eq!(closed_for_memory(&script), 0, "{kind:?}");
        assert_eq!(clients[0].echoes, [1], "{kind:?}");
        let answer = match kind {
            FromProcess::Post => ToProcess::PostDone,
            FromProcess::Task => ToProcess::TaskDone,
            _ => ToProcess::BroadcastDone,
        };
        assert_eq!(script.processes[1].taken[&(answer as u8)], 1, "{kind:?}");
        assert_eq!(script.gateway.tools.memory.total(), 0, "{kind:?}");
    }
}

#[test]
fn unfinished_messages_of_a_worker_give_way_to_sessions() {
    let (mut script, mut clients) = scene(100);
    send_unfinished(&mut script, 1, FromProcess::Post, LIMIT - 50_000);
    assert!(script.gateway.tools.memory.of(Class::Parts) > 900_000);
    // The session's message would pass the limit: what holds most is not the session.
    clients[0].more(100_000);
    for _ in 0..1000 {
        clients[0].go_on();
        script.turn();
        script.now += 1;
    }
    assert_eq!(script.gateway.tools.memory.of(Class::Parts), 0);
    clients[0].end_line();
    script.settle(&mut clients);
    assert_eq!(closed_for_memory(&script), 0);
    assert_eq!(clients[0].echoes, [1]);
}

#[test]
fn posts_that_wait_for_room_are_counted_until_they_are_in_the_ring() {
    let (mut script, mut clients) = scene(100);
    for _ in 0..10 {
        let process = &mut script.processes[0];
        let header = Header {
            kind: FromProcess::Post as u8,
            aux: 1,
            session: process.number(),
            ..Header::default()
        };
        process.send(header, &[b'p'; 15_000]);
        process.flush();
        script.turn();
    }
    // The ring that they go to has 64 KiB.
    let held = script.gateway.tools.memory.of(Class::Transfers);
    assert!((90_000..150_000).contains(&held), "{held}");
    script.settle(&mut clients);
    assert_eq!(script.gateway.tools.memory.of(Class::Transfers), 0);
}

#[test]
fn the_end_of_a_session_is_counted_until_a_process_has_taken_it() {
    let (mut script, mut clients) = scene(100);
    clients[0].leave();
    script.turn();
    script.turn();
    assert!(script.gateway.tools.memory.of(Class::Transfers) > 0);
    let at = usize::from(script.processes[0].sessions.is_empty());
    script.kill(at);
    assert!(script.gateway.tools.memory.of(Class::Transfers) > 0);
    script.attach(Role::Worker(at as u16));
    script.activate(2);
    script.settle(&mut clients);
    assert_eq!(script.gateway.tools.memory.total(), 0);
}
