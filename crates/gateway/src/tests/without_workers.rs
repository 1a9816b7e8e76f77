//! A reload leaves no worker while connections for the app are still there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::client::Client;
use super::process::Outcome;
use super::script::{Script, config};
use crate::change::Setup;
use moorline_config::live_change;
use moorline_protocol::control::Role;
use moorline_protocol::wire::CloseReason;

const RELAY: &str =
    "[[listen]]\nname = \"relay\"\naddress = \"tcp://127.0.0.1:1002\"\nreturn = \"\"\n";

fn with_workers() -> Script {
    let text = format!(
        "[[listen]]\nname = \"chat\"\naddress = \"tcp://127.0.0.1:1001\"\nframing = {{ kind = \"line\" }}\n\
         [[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:1003\"\nwebsocket = \"/\"\n{RELAY}"
    );
    Script::serving(config(&text), 2)
}

/// What the loop gets when the supervisor commits a configuration without workers.
fn commit(script: &mut Script) {
    let new = config(&format!("[workers]\ncount = 0\n{RELAY}"));
    let merged = live_change(&script.config, new, &BTreeSet::new());
    let merged = merged.expect("a reload may do that");
    script.config = Arc::new(merged);
    let setup = Setup {
        config: script.config.clone(),
        sockets: Vec::new(),
        tls: script.config.listeners.iter().map(|_| None).collect(),
        counted: Arc::default(),
    };
    script.activate_with(0, Some(setup));
}

/// Connections of the listener in this place.
fn open(script: &Script, listener: usize) -> usize {
    let sessions = script.gateway.sessions.iter();
    let mut count = 0;
    for session in sessions {
        count += usize::from(session.listener.index() == listener && !session.has_ended());
    }
    count
}

fn settle_without_workers(script: &mut Script, clients: &mut [Client]) {
    for _ in 0..200 {
        script.turn();
        for client in clients.iter_mut() {
            client.go_on();
        }
        script.now += 1;
    }
}

/// A client says something, and a process works on it: its place, and the session.
fn deliver(script: &mut Script, client: &mut Client) -> (usize, u64) {
    client.say(10);
    client.send(usize::MAX);
    for _ in 0..100 {
        script.turn();
        for (at, process) in script.processes.iter_mut().enumerate() {
            process.take(usize::MAX);
            let mut ids = process.sessions.keys().copied();
            if let Some(id) = ids.find(|id| process.has_in_hand(*id)) {
                return (at, id);
            }
        }
    }
    panic!("nothing was delivered");
}

#[test]
fn connections_that_were_accepted_before_the_commit_close_at_once() {
    let mut script = with_workers();
    let mut clients = [script.connect(0), script.connect(0), script.connect(1)];
    script.settle(&mut clients);
    // No process knows these: one has said something, one nothing, one has not asked yet.
    script.processes.iter_mut().for_each(|it| it.lies = true);
    let mut new = vec![script.connect(0), script.connect(1)];
    new[0].say(10);
    new[0].send(usize::MAX);
    commit(&mut script);
    // And this one came through the loop that switches last.
    new.push(script.connect(0));
    settle_without_workers(&mut script, &mut new);
    for at in 0..2 {
        assert_eq!(open(&script, at), 0, "listener {at}");
    }
    assert!(new.iter().all(|client| client.is_ended));
    script.settle(&mut clients);
    script.end_released();
    assert!(script.processes.is_empty(), "all were let go");
    assert!(clients.iter().all(|client| client.is_ended));
}

#[test]
fn a_message_in_progress_is_answered_before_its_session_closes() {
    let mut script = with_workers();
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    let (at, id) = deliver(&mut script, &mut clients[0]);
    commit(&mut script);
    script.pass(1_000);
    assert_eq!(open(&script, 0), 1);
    let config = script.config.clone();
    assert!(script.processes[at].handle(&config, id, Outcome::Echoed));
    script.settle(&mut clients);
    assert_eq!(clients[0].echoes, [1]);
    assert!(clients[0].is_ended);
    assert_eq!(script.closed(CloseReason::Stopped), 1);
}

#[test]
fn a_session_whose_last_worker_dies_meanwhile_closes() {
    let mut script = with_workers();
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    deliver(&mut script, &mut clients[0]);
    commit(&mut script);
    script.pass(100);
    script.kill(0);
    script.kill(0);
    settle_without_workers(&mut script, &mut clients);
    assert_eq!(open(&script, 0), 0);
    assert!(clients[0].is_ended);
    assert!(
        script
            .gateway
            .sessions
            .iter()
            .all(|it| it.phase == crate::session::Phase::Lingering)
    );
    // A later reload with workers finds nothing left.
    script.attach(Role::Worker(0));
    script.activate(1);
    settle_without_workers(&mut script, &mut clients);
}
