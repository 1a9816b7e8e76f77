//! Any sequence of events: no count goes wrong, and no peer is chosen that must not be.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Open(u8),
    /// Goes on with the connection of this number: it is connected, or fails and tries again.
    Answer(usize, bool),
    Close(usize),
    Wait(u64),
    Switch(u8, Switch),
    Check(bool),
    Reload(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let switch = prop_oneof![Just(Switch::Up), Just(Switch::Down), Just(Switch::Drain)];
    prop_oneof![
        6 => any::<u8>().prop_map(Step::Open),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(at, is)| Step::Answer(at, is)),
        4 => any::<usize>().prop_map(Step::Close),
        2 => (0..20_000_u64).prop_map(Step::Wait),
        1 => (1..5_u8, switch).prop_map(|(peer, switch)| Step::Switch(peer, switch)),
        2 => any::<bool>().prop_map(Step::Check),
        1 => (0..FILES.len()).prop_map(Step::Reload),
    ]
}

const FILES: &[&str] = &[
    r#"peers = [{ address = "tcp://10.0.0.1:1", weight = 3 }, "tcp://10.0.0.1:2", { address = "tcp://10.0.0.1:3", backup = true }]
       slow_start = "5s""#,
    r#"peers = ["tcp://10.0.0.1:1", { address = "tcp://10.0.0.1:2", max_connections = 2 }, { address = "tcp://10.0.0.1:2", max_connections = 2 },
       { address = "tcp://10.0.0.1:4", down = true }]
       balance = "least-connections"
       check = { kind = "connect" }"#,
    r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:3", { address = "tcp://10.0.0.1:4", weight = 9, max_fails = 3 }]
       balance = { kind = "hash", key = "${client.address}" }
       next = { tries = 2 }"#,
    r#"peers = ["tcp://10.0.0.1:2"]
       balance = { kind = "hash", key = "${client.address}", method = "plain" }"#,
    r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2", "tcp://10.0.0.1:3", "tcp://10.0.0.1:4"]
       balance = "random-two"
       check = { kind = "connect" }"#,
    r#"peers = ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2", { address = "tcp://10.0.0.1:3", max_connections = 3 }]
       balance = "least-time"
       fail_timeout = "1s""#,
];

/// A connection of the model.
struct Connection {
    attempts: Attempts,
    key: Vec<u8>,
    choice: Choice,
    tried: HashSet<PeerKey>,
    is_connected: bool,
}

struct Run {
    upstream: Upstream,
    now: u64,
    connections: Vec<Connection>,
}

impl Run {
    fn step(&mut self, step: Step) {
        let number = self.connections.len();
        match step {
            Step::Open(key) => {
                let key = vec![key; usize::from(key % 3)];
                self.choose(Attempts::new(self.now), key, HashSet::new());
            }
            Step::Answer(at, is_reached) if number > 0 => self.answer(at % number, is_reached),
            Step::Close(at) if number > 0 => {
                let it = self.connections.swap_remove(at % number);
                let peer = it.choice.peer;
                match it.is_connected {
                    true => self
                        .upstream
                        .closed(peer, self.now, Duration::from_millis(3)),
                    false => self.upstream.abandoned(peer),
                }
            }
            Step::Wait(time) => self.now += time,
            Step::Switch(peer, switch) => {
                // The file of the moment may not have it.
                let _ = self
                    .upstream
                    .switch(&format!("10.0.0.1:{peer}"), switch, self.now);
            }
            Step::Check(is_live) => {
                if let Some(probe) = self.upstream.due_check(self.now) {
                    let result = is_live.then_some(()).ok_or(Failure::TimedOut);
                    self.upstream.checked(probe.peer, self.now, result);
                }
            }
            Step::Reload(file) => {
                let replaced = self.upstream.replace(config(FILES[file]), self.now);
                replaced.expect("few peers");
            }
            Step::Answer(..) | Step::Close(_) => {}
        }
    }

    fn answer(&mut self, at: usize, is_reached: bool) {
        let took = Duration::from_millis(1);
        let it = &mut self.connections[at];
        if is_reached || it.is_connected {
            self.upstream.connected(it.choice.peer, self.now, took);
            it.is_connected = true;
            return;
        }
        let it = self.connections.swap_remove(at);
        self.upstream
            .failed(it.choice.peer, self.now, Failure::TimedOut, took);
        self.choose(it.attempts, it.key, it.tried);
    }

    fn choose(&mut self, mut attempts: Attempts, key: Vec<u8>, mut tried: HashSet<PeerKey>) {
        let before = self.upstream.snapshot(self.now);
        let Ok(choice) = self.upstream.choose(self.now, &key, &mut attempts) else {
            return;
        };
        let address = choice.address.to_string();
        let may_be_chosen = before.peers.iter().any(|peer| {
            let is_it = address == format!("tcp://{}", peer.address);
            is_it && matches!(peer.state, State::Up | State::Out)
        });
        assert!(may_be_chosen, "{address} of {before:?}");
        let primaries = before.peers.iter().filter(|peer| !peer.is_backup);
        let is_backup = before
            .peers
            .iter()
            .any(|peer| peer.is_backup && address == format!("tcp://{}", peer.address));
        let has_primary = primaries.clone().any(|peer| peer.state == State::Up);
        assert!(
            !is_backup || !has_primary || !tried.is_empty(),
            "a backup while {before:?}"
        );
        assert!(tried.insert(choice.peer), "it was tried already");
        self.connections.push(Connection {
            attempts,
            key,
            choice,
            tried,
            is_connected: false,
        });
    }

    fn check(&self) {
        let mut open: HashMap<String, u32> = HashMap::new();
        for connection in &self.connections {
            let address = connection.choice.address.to_string();
            *open.entry(address).or_default() += 1;
        }
        let mut counted: HashMap<String, u32> = HashMap::new();
        for peer in self.upstream.snapshot(self.now).peers {
            *counted
                .entry(format!("tcp://{}", peer.address))
                .or_default() += peer.open;
        }
        counted.retain(|_, open| *open > 0);
        assert_eq!(counted, open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_right_and_only_usable_peers_are_chosen(
        file in 0..FILES.len(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut run = Run {
            upstream: upstream(FILES[file]),
            now: 0,
            connections: Vec::new(),
        };
        for step in steps {
            run.step(step);
            run.check();
        }
        while !run.connections.is_empty() {
            run.step(Step::Close(0));
        }
        run.check();
        let seen = run.upstream.snapshot(run.now);
        prop_assert!(seen.peers.iter().all(|peer| peer.state != State::Gone));
    }
}
