//! Events that workers send to groups whose members are in several loops.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use moorline_ipc::Header;

use super::client::Client;
use super::script::{Script, config};
use crate::memory::Class;
use moorline_config::Config;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::event::{EVENT, Event, write_event};
use moorline_protocol::wire::{FAILED, FromProcess, TEXT, ToProcess, WHOLE};

const CONFIG: &str = "[workers]\ncount = 2\n\
    [[listen]]\naddress = \"tcp://127.0.0.1:1001\"\nframing = { kind = \"line\", max = \"64KiB\" }\n";
const GROUP: &[u8] = b"room";
/// Random runs, and the steps of each.
const RUNS: u64 = 60;
const STEPS: usize = 600;

fn lines() -> Config {
    config(CONFIG)
}

/// Two loops and two workers, and a group that keeps this many events.
fn keeping(events: u32) -> Vec<Script> {
    let mut loops = Script::loops(lines(), 2, 2);
    keep(&mut loops[0], 0, GROUP, events);
    loops[0].turn();
    loops[1].turn();
    loops
}

fn keep(script: &mut Script, worker: usize, group: &[u8], events: u32) {
    let header = Header {
        kind: FromProcess::KeepEvents as u8,
        ..Header::default()
    };
    let payload = [&events.to_le_bytes(), group].concat();
    script.processes[worker].push(header, &payload);
    script.processes[worker].flush();
}

/// What a worker writes for an event; none if something of its own waits for room in a ring.
fn payload(loops: &[Script], worker: usize, group: &[u8], id: &str, data: &str) -> Option<Vec<u8>> {
    let mut payload = vec![group.len() as u8];
    payload.extend_from_slice(group);
    payload.extend_from_slice(&[0, 0, loops.len() as u8]);
    for script in loops {
        let position = script.processes[worker].position()?;
        payload.extend_from_slice(&position.to_le_bytes());
    }
    write_event(Event { id, name: "", data }, &mut payload);
    Some(payload)
}

/// A worker sends an event through this loop. False: something of its own waits for room in a ring.
fn send(loops: &mut [Script], worker: usize, home: usize, id: &str, data: &str) -> bool {
    for script in loops.iter_mut() {
        script.processes[worker].flush();
    }
    let Some(payload) = payload(loops, worker, GROUP, id, data) else {
        return false;
    };
    let process = &mut loops[home].processes[worker];
    let header = Header {
        kind: FromProcess::Broadcast as u8,
        flags: WHOLE,
        aux: EVENT,
        session: process.number(),
        ..Header::default()
    };
    process.push(header, &payload);
    process.flush();
    true
}

/// A worker asks for something for a session.
fn ask(script: &mut Script, worker: usize, kind: FromProcess, session: u64, payload: &[u8]) {
    let header = Header {
        kind: kind as u8,
        session,
        ..Header::default()
    };
    script.processes[worker].push(header, payload);
    script.processes[worker].flush();
}

fn join_after(script: &mut Script, worker: usize, session: u64, last_id: &str) {
    let payload = [&[GROUP.len() as u8], GROUP, last_id.as_bytes()].concat();
    ask(script, worker, FromProcess::JoinAfter, session, &payload);
}

/// A new client of a loop, and its session.
fn connect(script: &mut Script) -> (Client, u64) {
    let client = script.connect(0);
    let id = script.gateway.sessions.iter().map(|it| it.id).max();
    (client, id.expect("it is open"))
}

/// A loop hears what has rung, and takes it.
fn look(script: &mut Script) {
    script.turn();
    script.turn();
}

/// Turns until nothing is on its way.
fn settle(loops: &mut [Script], clients: &mut [&mut Client]) {
    let mut quiet = 0;
    while quiet < 20 {
        let mut is_busy = false;
        for script in loops.iter_mut() {
            is_busy |= script.turn() || script.gateway.poller.count() > 0;
            for process in &mut script.processes {
                is_busy |= process.serve(&script.config, usize::MAX);
            }
            script.now += 1;
        }
        for client in clients.iter_mut() {
            is_busy |= client.go_on();
        }
        quiet = if is_busy { 0 } else { quiet + 1 };
    }
}

#[test]
fn what_a_worker_did_before_an_event_comes_before_it_in_every_loop() {
    for home in 0..2 {
        let mut loops = Script::loops(lines(), 2, 1);
        let (mut client, id) = connect(&mut loops[1]);
        settle(&mut loops, &mut [&mut client]);
        ask(&mut loops[1], 0, FromProcess::Join, id, GROUP);
        assert!(send(&mut loops, 0, home, "", "hello"));
        // The other loop has not looked into its ring.
        look(&mut loops[home]);
        settle(&mut loops, &mut [&mut client]);
        assert_eq!(client.others, ["hello"]);
    }
}

#[test]
fn what_a_worker_does_once_an_event_is_taken_comes_behind_it_in_every_loop() {
    for home in 0..2 {
        let mut loops = Script::loops(lines(), 2, 1);
        let (mut client, id) = connect(&mut loops[1]);
        settle(&mut loops, &mut [&mut client]);
        ask(&mut loops[1], 0, FromProcess::Join, id, GROUP);
        settle(&mut loops, &mut [&mut client]);
        assert!(send(&mut loops, 0, home, "", "event"));
        while loops[home].processes[0].has_taken(ToProcess::EventTaken) == 0 {
            loops[home].turn();
            loops[home].processes[0].take(usize::MAX);
        }
        let message = Header {
            kind: FromProcess::Send as u8,
            flags: TEXT,
            session: id,
            ..Header::default()
        };
        loops[1].processes[0].send(message, b"message");
        loops[1].processes[0].flush();
        ask(&mut loops[1], 0, FromProcess::Leave, id, GROUP);
        settle(&mut loops, &mut [&mut client]);
        assert_eq!(client.others, ["event", "message"]);
    }
}

#[test]
fn a_worker_has_its_credit_again_once_all_members_in_all_loops_are_served() {
    let mut loops = Script::loops(lines(), 2, 1);
    let (mut client, id) = connect(&mut loops[1]);
    ask(&mut loops[1], 0, FromProcess::Join, id, GROUP);
    settle(&mut loops, &mut [&mut client]);
    assert!(send(&mut loops, 0, 0, "", "hello"));
    look(&mut loops[0]);
    loops[0].processes[0].take(usize::MAX);
    let done = |loops: &[Script]| {
        let process = &loops[0].processes[0];
        [ToProcess::EventTaken, ToProcess::BroadcastDone].map(|kind| process.has_taken(kind))
    };
    assert_eq!(done(&loops), [1, 0], "the other loop is behind");
    settle(&mut loops, &mut [&mut client]);
    assert_eq!(done(&loops), [1, 1]);
    assert_eq!(client.others, ["hello"]);
}

#[test]
fn a_session_that_joins_twice_gets_nothing_twice() {
    let mut loops = keeping(10);
    assert!(send(&mut loops, 0, 0, "1", "a"));
    settle(&mut loops, &mut []);
    let (mut client, id) = connect(&mut loops[1]);
    join_after(&mut loops[1], 0, id, "");
    join_after(&mut loops[1], 0, id, "");
    settle(&mut loops, &mut [&mut client]);
    assert!(send(&mut loops, 1, 1, "2", "b"));
    // Another worker repeats it.
    assert!(send(&mut loops, 0, 1, "2", "again"));
    join_after(&mut loops[1], 1, id, "1");
    settle(&mut loops, &mut [&mut client]);
    assert_eq!(client.others, ["a", "b"]);
}

#[test]
fn a_session_that_is_left_out_gets_nothing_of_it_later_either() {
    let mut loops = keeping(10);
    let (mut client, id) = connect(&mut loops[1]);
    settle(&mut loops, &mut [&mut client]);
    let mut draft = payload(&loops, 0, GROUP, "1", "a").expect("there is room");
    let (count, ids) = (1 + GROUP.len(), 3 + GROUP.len());
    draft[count] = 1;
    draft.splice(ids..ids, id.to_le_bytes());
    let process = &mut loops[0].processes[0];
    let header = Header {
        kind: FromProcess::Broadcast as u8,
        flags: WHOLE,
        aux: EVENT,
        session: process.number(),
        ..Header::default()
    };
    process.push(header, &draft);
    process.flush();
    assert!(send(&mut loops, 0, 0, "2", "b"));
    settle(&mut loops, &mut [&mut client]);
    join_after(&mut loops[1], 0, id, "");
    settle(&mut loops, &mut [&mut client]);
    assert_eq!(client.others, ["b"]);
}

#[test]
fn a_worker_that_writes_what_is_no_event_is_broken_and_no_other() {
    let long = "i".repeat(200);
    let malformed: [(u16, FromProcess, Vec<u8>); 6] = [
        (EVENT, FromProcess::Broadcast, Vec::new()),
        (EVENT, FromProcess::Broadcast, b"\x04room\0\0\x05".to_vec()),
        // Positions of too few loops.
        (
            EVENT,
            FromProcess::Broadcast,
            b"\x04room\0\0\x01........\0\0".to_vec(),
        ),
        (0, FromProcess::KeepEvents, b"\x01\0".to_vec()),
        (0, FromProcess::KeepEvents, vec![1; 300]),
        (
            0,
            FromProcess::JoinAfter,
            [b"\x04room", long.as_bytes()].concat(),
        ),
    ];
    for (aux, kind, payload) in malformed {
        let mut loops = keeping(10);
        let (mut client, id) = connect(&mut loops[0]);
        settle(&mut loops, &mut [&mut client]);
        let header = Header {
            kind: kind as u8,
            flags: WHOLE,
            aux,
            session: id,
            ..Header::default()
        };
        loops[0].processes[1].push(header, &payload);
        loops[0].processes[1].flush();
        look(&mut loops[0]);
        let reports = format!("{:?}", loops[0].reports());
        assert!(reports.contains("Garbage(2"), "{kind:?}: {reports}");
        join_after(&mut loops[0], 0, id, "");
        assert!(send(&mut loops, 0, 0, "1", "a"));
        settle(&mut loops, &mut [&mut client]);
        assert_eq!(client.others, ["a"]);
    }
}

#[test]
fn groups_that_keep_events_are_bounded_and_so_are_their_bytes() {
    let mut loops = Script::loops(lines(), 2, 1);
    for group in 0_u32..6000 {
        keep(&mut loops[0], 0, &group.to_le_bytes(), 5);
        if group % 100 == 0 {
            settle(&mut loops, &mut []);
        }
    }
    settle(&mut loops, &mut []);
    assert_eq!(loops[0].count(LoopCounter::Discarded), 6000 - 4096);
    let held = loops[0].gateway.tools.memory.held_of(Class::History);
    assert!(
        held > 0 && held < 4 << 20,
        "{held} bytes of empty histories"
    );
    // They end together.
    for script in &mut loops {
        script.now += 2 * 600_000;
        script.turn();
    }
    assert_eq!(loops[0].gateway.tools.memory.held_of(Class::History), 0);
}

#[test]
fn a_group_keeps_its_events_while_some_loop_has_members() {
    let mut config = lines();
    config.engine.history_timeout = Duration::from_secs(1);
    let mut loops = Script::loops(config, 2, 1);
    keep(&mut loops[0], 0, GROUP, 5);
    settle(&mut loops, &mut []);
    let (mut client, id) = connect(&mut loops[1]);
    join_after(&mut loops[1], 0, id, "");
    assert!(send(&mut loops, 0, 0, "1", "a"));
    settle(&mut loops, &mut [&mut client]);
    let pass = |loops: &mut [Script], ms: u64| {
        for _ in 0..ms / 50 {
            for script in loops.iter_mut() {
                script.now += 50;
                script.turn();
            }
        }
    };
    let held = |loops: &[Script]| loops[0].gateway.tools.memory.held_of(Class::History);
    pass(&mut loops, 5000);
    assert!(held(&loops) > 0, "it has a member");
    client.leave();
    pass(&mut loops, 500);
    assert!(held(&loops) > 0, "its time is not over");
    pass(&mut loops, 1500);
    assert_eq!(held(&loops), 0);
    // And again, now that no loop looked after it.
    keep(&mut loops[0], 0, GROUP, 5);
    settle(&mut loops, &mut []);
    assert!(held(&loops) > 0);
    pass(&mut loops, 2000);
    assert_eq!(held(&loops), 0);
}

#[test]
fn near_the_memory_limit_events_give_way_before_sessions_are_held_back() {
    let mut config = lines();
    config.engine.memory_limit = Some(8 << 20);
    let mut script = Script::loops(config, 1, 1);
    keep(&mut script[0], 0, GROUP, 10_000);
    let data = "d".repeat(10_000);
    for _ in 0..200 {
        assert!(send(&mut script, 0, 0, "", &data));
        settle(&mut script, &mut []);
    }
    let held = |script: &[Script]| script[0].gateway.tools.memory.held_of(Class::History);
    // A sixteenth of an eighth of the limit is for one group.
    assert!(
        (50_000..70_000).contains(&held(&script)),
        "{}",
        held(&script)
    );
    let memory = &mut script[0].gateway.tools.memory;
    memory.hold(Class::Tasks, 7 << 20);
    script[0].turn_unchecked();
    assert!(held(&script) < 1000, "{}", held(&script));
    script[0]
        .gateway
        .tools
        .memory
        .release(Class::Tasks, 7 << 20);
}

#[test]
fn an_event_for_which_there_is_no_memory_is_refused() {
    let mut config = lines();
    config.engine.memory_limit = Some(8 << 20);
    let mut script = Script::loops(config, 1, 1);
    script[0].gateway.tools.memory.hold(Class::Tasks, 9 << 20);
    assert!(send(&mut script, 0, 0, "", "a"));
    let process = &mut script[0];
    process.turn_unchecked();
    process.processes[0].take(usize::MAX);
    let done = [ToProcess::EventTaken, ToProcess::BroadcastDone];
    let done = done.map(|kind| process.processes[0].has_taken(kind));
    assert_eq!(done, [1, 1]);
    assert_eq!(process.processes[0].last_flags & FAILED, FAILED);
}

/// A client over all its sessions.
#[derive(Default)]
struct Returning {
    /// Its connection, its loop, its session.
    here: Option<(Client, usize, u64)>,
    got: Vec<u64>,
}

impl Returning {
    /// Takes what has come.
    fn read(&mut self) {
        if let Some((client, ..)) = &mut self.here {
            client.go_on();
            for line in std::mem::take(&mut client.others) {
                self.got.push(line.parse().expect("an event"));
            }
        }
    }
}

/// Whatever loops and workers do first.
fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut loops = keeping(10_000);
    let mut clients: Vec<_> = (0..5).map(|_| Returning::default()).collect();
    let mut sent = 0;
    for _ in 0..STEPS {
        let (worker, at) = (rng.usize(0..2), rng.usize(0..2));
        match rng.u8(0..100) {
            0..30 => {
                let id = sent.to_string();
                sent += u64::from(send(&mut loops, worker, at, &id, &id));
            }
            30..60 => {
                loops[at].turn();
            }
            60..75 => {
                loops[at].processes[worker].take(usize::MAX);
                loops[at].processes[worker].flush();
            }
            75..85 => {
                let client = &mut clients[rng.usize(0..5)];
                let (connection, id) = connect(&mut loops[at]);
                client.read();
                client.here = Some((connection, at, id));
                let last = client.got.last().map_or(String::new(), u64::to_string);
                join_after(&mut loops[at], worker, id, &last);
            }
            85..90 => {
                let client = &mut clients[rng.usize(0..5)];
                client.read();
                client.here = None;
            }
            _ => clients[rng.usize(0..5)].read(),
        }
    }
    for client in &mut clients {
        client.read();
        if client.here.is_none() {
            let (connection, id) = connect(&mut loops[1]);
            let last = client.got.last().map_or(String::new(), u64::to_string);
            join_after(&mut loops[1], 0, id, &last);
            client.here = Some((connection, 1, id));
        }
    }
    settle(&mut loops, &mut []);
    for client in &mut clients {
        for _ in 0..20 {
            client.read();
            settle(&mut loops, &mut []);
        }
    }
    let order = std::mem::take(&mut clients[0].got);
    let all: BTreeSet<u64> = order.iter().copied().collect();
    assert_eq!(all, (0..sent).collect(), "events that a client got");
    assert_eq!(order.len() as u64, sent, "some came twice");
    for client in &clients[1..] {
        assert_eq!(client.got, order, "the order for another client");
    }
}

#[test]
fn clients_that_come_back_on_any_loop_get_every_event_once_and_in_order() {
    for seed in 0..RUNS {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("the seed is {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
