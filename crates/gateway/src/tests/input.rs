//! Input that a process has taken and not used: it is kept for the next one, up to a bound.

use moorline_ipc::Header;

use super::client::Client;
use super::script::{Script, config};
use moorline_protocol::control::Role;
use moorline_protocol::wire::{FromProcess, INPUT_PART, MOST_INPUT, ToProcess};

/// A worker that has one session.
fn serving() -> (Script, [Client; 1], u64) {
    let text = "[workers]\ncount = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = { kind = \"raw\" }\n";
    let mut script = Script::serving(config(text), 1);
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    let id = *script.processes[0].sessions.keys().next().expect("one");
    (script, clients, id)
}

fn say(script: &mut Script, at: usize, id: u64, kind: FromProcess, bytes: &[u8]) {
    let header = Header {
        kind: kind as u8,
        session: id,
        ..Header::default()
    };
    script.processes[at].send(header, bytes);
    script.processes[at].flush();
    for _ in 0..3 {
        script.turn();
    }
}

fn kept(script: &mut Script, id: u64) -> (usize, bool) {
    let session = script.gateway.sessions.find_mut(id).expect("it is open");
    let state = session.app.state.as_deref();
    state.map_or((0, false), |state| (state.input.len(), state.is_input_lost))
}

fn messages(script: &Script, at: usize) -> u64 {
    let taken = &script.processes[at].taken;
    taken.get(&(ToProcess::Message as u8)).copied().unwrap_or(0)
}

#[test]
fn input_that_was_not_used_is_the_first_message_of_the_next_process() {
    let (mut script, mut clients, id) = serving();
    say(&mut script, 0, id, FromProcess::KeepInput, b"old");
    say(&mut script, 0, id, FromProcess::DropInput, b"");
    assert_eq!(kept(&mut script, id), (0, false));
    say(&mut script, 0, id, FromProcess::KeepInput, b"ab");
    say(&mut script, 0, id, FromProcess::KeepInput, b"c");
    assert_eq!(kept(&mut script, id), (3, false));
    let next = script.attach(Role::Worker(0));
    // It is not this one's to keep.
    say(&mut script, next, id, FromProcess::KeepInput, b"lie");
    script.activate(1);
    for _ in 0..4 {
        script.turn();
        for process in &mut script.processes {
            process.take(usize::MAX);
            process.flush();
        }
    }
    assert_eq!(messages(&script, next), 1);
    assert!(script.processes[next].has_in_hand(id));
    assert_eq!(kept(&mut script, id), (0, false));
    script.settle(&mut clients);
    assert_eq!(clients[0].received(), b"abc");
}

#[test]
fn more_input_than_is_kept_is_lost_and_the_next_process_is_told() {
    let (mut script, _clients, id) = serving();
    let part = vec![7; INPUT_PART];
    for count in 1..=MOST_INPUT / INPUT_PART {
        say(&mut script, 0, id, FromProcess::KeepInput, &part);
        assert_eq!(kept(&mut script, id), (count * INPUT_PART, false));
    }
    for _ in 0..3 {
        say(&mut script, 0, id, FromProcess::KeepInput, &part);
        assert_eq!(kept(&mut script, id), (0, true));
    }
    let session = script.gateway.sessions.find_mut(id).expect("it is open");
    let data = session.data().expect("the next process is told");
    assert!(data.is_input_lost);
    say(&mut script, 0, id, FromProcess::DropInput, b"");
    assert_eq!(kept(&mut script, id), (0, false));
}
