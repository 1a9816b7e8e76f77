//! Which slots sessions and messages go to.

use std::sync::Arc;
use std::time::Duration;

use super::script::{Script, config};
use crate::commands::{Command, Order};
use moorline_protocol::control::{ProcessId, Role};

fn round_robin(workers: u16) -> Script {
    let text = format!(
        "[workers]\ncount = {workers}\n[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\n\
         framing = {{ kind = \"line\" }}\ndispatch = \"round-robin\"\non_crash = \"redeliver\"\n"
    );
    Script::serving(config(&text), workers)
}

/// How many messages each process has taken.
fn messages(script: &Script) -> Vec<u64> {
    let message = moorline_protocol::wire::ToProcess::Message as u8;
    let taken = script.processes.iter().map(|it| it.taken.get(&message));
    taken.map(|taken| taken.copied().unwrap_or(0)).collect()
}

#[test]
fn round_robin_passes_over_slots_without_a_process() {
    let mut script = round_robin(3);
    script.kill(1);
    let mut clients = [script.connect(0)];
    for _ in 0..10 {
        clients[0].say(10);
        script.settle(&mut clients);
    }
    assert_eq!(clients[0].echoes.len(), 10);
    assert_eq!(messages(&script), [5, 5]);
    script.attach(Role::Worker(1));
    script.activate(3);
    for _ in 0..9 {
        clients[0].say(10);
        script.settle(&mut clients);
    }
    assert_eq!(messages(&script), [8, 8, 3]);
}

#[test]
fn round_robin_passes_over_processes_that_do_not_answer_while_others_do() {
    let mut script = round_robin(3);
    let ids: Vec<ProcessId> = script.processes.iter().map(|it| it.id).collect();
    let silent: Arc<[ProcessId]> = vec![ids[0], ids[2]].into();
    script.command(Command::Silent(silent));
    let mut clients = [script.connect(0)];
    for _ in 0..5 {
        clients[0].say(10);
        script.settle(&mut clients);
    }
    assert_eq!(messages(&script), [0, 5, 0]);
    // Better one that may answer late than none.
    script.command(Command::Silent(ids.into()));
    for _ in 0..6 {
        clients[0].say(10);
        script.settle(&mut clients);
    }
    assert_eq!(clients[0].echoes.len(), 11);
    assert_eq!(messages(&script), [2, 7, 2]);
}

#[test]
fn a_session_that_has_ended_while_it_waited_for_a_worker_does_not_go_to_another_slot() {
    let text = "[workers]\ncount = 2\nstart_timeout = \"1s\"\n[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\n\
                framing = { kind = \"line\" }\ndispatch = \"ip-hash\"\n";
    // All of one address have the same slot: one of the two.
    for dead in 0..2 {
        let mut script = Script::serving(config(text), 2);
        script.kill(dead);
        let mut clients = [script.connect(0), script.connect(0)];
        script.turn();
        script.command(Command::Drain(Box::new(Order {
            number: 1,
            over: Duration::ZERO,
            max_wait: Duration::ZERO,
            listeners: None,
            seed: 1,
        })));
        for _ in 0..150 {
            script.now += 10;
            script.turn();
        }
        script.settle(&mut clients);
        assert!(clients.iter().all(|client| client.is_ended));
    }
}
