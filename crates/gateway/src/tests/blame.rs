//! Which messages count for the deaths of their workers.

use super::client::Client;
use super::script::{Script, config};
use moorline_protocol::control::Role;
use moorline_protocol::wire::CloseReason;

/// A worker that has a message of a client in progress, and dies again and again with it, naming this session. Returns after how
/// many deaths the client's session is closed.
fn deaths_until_closed(name: impl Fn(u64) -> Option<u64>) -> u32 {
    let text = "[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = { kind = \"line\" }\n\
                on_crash = \"redeliver\"\nattempts = 3\n";
    let mut script = Script::serving(config(text), 1);
    let mut clients: [Client; 1] = [script.connect(0)];
    clients[0].say(10);
    clients[0].send(usize::MAX);
    for deaths in 1..100 {
        script.pass(20);
        script.processes[0].take(usize::MAX);
        script.processes[0].flush();
        script.turn();
        let id = *script.processes[0].sessions.keys().next().expect("one");
        assert!(script.processes[0].has_in_hand(id));
        script.kill_naming(0, name(id));
        if script.closed(CloseReason::Crash) > 0 {
            return deaths;
        }
        script.attach(Role::Worker(0));
        script.activate(1);
    }
    panic!("it is delivered for ever");
}

#[test]
fn a_message_that_kills_its_workers_is_given_up_after_its_attempts() {
    assert_eq!(deaths_until_closed(|_| None), 3);
    assert_eq!(deaths_until_closed(Some), 3);
}

#[test]
fn a_worker_that_always_names_a_false_culprit_is_not_believed_for_ever() {
    assert_eq!(deaths_until_closed(|id| Some(id + 1)), 16);
}
