//! What a loop notes for the flight recorder.

use super::script::{Script, config};
use moorline_ipc::FLIGHT_RECORDS;
use moorline_protocol::control::{Limit, Role};
use moorline_protocol::flight::{FlightEvent, FlightKind};
use moorline_protocol::wire::CloseReason;

const CONFIG: &str = "[workers]\ncount = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = { kind = \"line\" }\n";

fn events(script: &Script) -> Vec<FlightEvent> {
    let tail = script.gateway.tools.cx.flight.last(usize::MAX);
    let numbered = tail.records.iter().zip(tail.first..);
    let read = numbered.map(|(record, number)| FlightEvent::read(record, number));
    read.map(|event| event.expect("it was written whole"))
        .collect()
}

/// The kinds and details of events apart from what is summed up.
fn kinds(script: &Script) -> Vec<(FlightKind, u16)> {
    let events = events(script).into_iter();
    let single = events.filter(|event| event.kind != FlightKind::Worked);
    single.map(|event| (event.kind, event.detail)).collect()
}

#[test]
fn a_session_is_noted_from_its_beginning_over_its_moves_to_its_end() {
    let mut script = Script::serving(config(CONFIG), 1);
    let mut clients = [script.connect(0)];
    clients[0].say(10);
    script.settle(&mut clients);
    script.kill(0);
    script.attach(Role::Worker(0));
    script.activate(1);
    script.settle(&mut clients);
    clients[0].leave();
    script.settle(&mut []);
    assert_eq!(
        kinds(&script),
        [
            (FlightKind::Opened, 0),
            (FlightKind::ProcessLost, 0),
            (FlightKind::Moved, 0),
            (FlightKind::Closed, CloseReason::Peer as u16),
        ]
    );
    let events = events(&script);
    let sessions = events
        .iter()
        .filter(|event| matches!(event.kind, FlightKind::Opened | FlightKind::Closed));
    let sessions: Vec<_> = sessions.map(|event| event.session).collect();
    assert_eq!(sessions[0], sessions[1]);
    let closed = events.iter().find(|it| it.kind == FlightKind::Closed);
    assert_eq!(closed.map(|event| event.number), Some(1));
}

#[test]
fn what_is_frequent_is_summed_up_twice_a_second() {
    let mut script = Script::serving(config(CONFIG), 1);
    let mut clients = [script.connect(0)];
    script.settle(&mut clients);
    script.pass(600);
    let before = events(&script).len();
    for _ in 0..20 {
        clients[0].say(10);
        script.settle(&mut clients);
    }
    for _ in 0..3 {
        script.gateway.tools.cx.count_limit(Limit::AcceptRate);
    }
    script.pass(1200);
    let events = &events(&script)[before..];
    let of = |kind| events.iter().filter(move |event| event.kind == kind);
    assert_eq!(of(FlightKind::Worked).map(|it| it.number).sum::<u64>(), 20);
    let limits: Vec<_> = of(FlightKind::LimitReached)
        .map(|it| (it.detail, it.number))
        .collect();
    assert_eq!(limits, [(Limit::AcceptRate as u16, 3)]);
    // Nothing happens, and nothing is noted.
    let noted = self::events(&script).len();
    script.pass(2000);
    assert_eq!(self::events(&script).len(), noted);
}

#[test]
fn many_sessions_leave_the_last_events_alone() {
    let mut script = Script::serving(config(CONFIG), 1);
    for _ in 0..FLIGHT_RECORDS / 2 + 10 {
        let client = script.connect(0);
        script.turn();
        drop(client);
        script.settle(&mut []);
    }
    let events = events(&script);
    assert_eq!(events.len(), FLIGHT_RECORDS - 1);
    assert_eq!(
        events.last().map(|event| event.kind),
        Some(FlightKind::Closed)
    );
}
