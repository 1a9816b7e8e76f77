//! Relays of datagrams in random orders: clients that come and go, peers that answer late, vanish and come back.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::script::{Script, config};
use crate::commands::{Command, Order};
use crate::ids::ListenerId;
use crate::sockets::Socket;
use moorline_protocol::control::LoopCounter;

/// Steps of one play.
const STEPS: usize = 300;
const PLAYS: u64 = 40;
const CLIENTS: usize = 6;

/// A peer that can vanish.
struct Peer {
    address: SocketAddr,
    /// None: it is gone.
    socket: Option<UdpSocket>,
    /// What it has received and not answered.
    pending: VecDeque<(Vec<u8>, SocketAddr)>,
}

impl Peer {
    /// At an address of this process, so that no client gets its port while it is gone.
    fn new() -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        let socket = open(([127, 77, high, low], 0).into());
        Self {
            address: socket.local_addr().expect("it is bound"),
            socket: Some(socket),
            pending: VecDeque::new(),
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 2048];
        while let Some(socket) = &self.socket
            && let Ok((length, from)) = socket.recv_from(&mut buffer)
        {
            self.pending.push_back((buffer[..length].to_vec(), from));
        }
    }

    fn answer(&mut self) {
        if let Some((datagram, to)) = self.pending.pop_front()
            && let Some(socket) = &self.socket
        {
            // The relay may have ended meanwhile.
            let _ = socket.send_to(&datagram, to);
        }
    }

    fn vanish(&mut self) {
        self.socket = None;
        self.pending.clear();
    }

    fn return_home(&mut self) {
        if self.socket.is_none() {
            self.socket = Some(open(self.address));
        }
    }
}

fn open(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("the address is free");
    socket.set_nonblocking(true).expect("an option");
    socket
}

/// Two peers, and a loop whose only listener relays datagrams to them.
struct Bench {
    script: Script,
    front: SocketAddr,
    peers: [Peer; 2],
    clients: Vec<UdpSocket>,
    last_client: u16,
    rng: Rng,
}

impl Bench {
    fn new(keys: &str, seed: u64) -> Self {
        let peers = [Peer::new(), Peer::new()];
        let list = peers
            .each_ref()
            .map(|peer| format!("\"udp://{}\"", peer.address));
        let text = format!(
            "[[listen]]\naddress = \"udp://127.0.0.1:1\"\nupstream = \"back\"\nidle_timeout = \"20s\"\n{keys}\n\
             [upstream.back]\npeers = [{}]\nfail_timeout = \"1s\"\n",
            list.join(", ")
        );
        let mut script = Script::serving(config(&text), 1);
        let front = open("127.0.0.1:0".parse().expect("an address"));
        let address = front.local_addr().expect("it is bound");
        let socket = Socket::Datagram {
            socket: Arc::new(front.into()),
            receives: true,
        };
        let listening = script.gateway.listen(ListenerId(0), socket);
        listening.expect("it is watched");
        let mut this = Self {
            script,
            front: address,
            peers,
            clients: Vec::new(),
            last_client: 0,
            rng: Rng::with_seed(seed),
        };
        this.clients = (0..CLIENTS).map(|_| this.client()).collect();
        this
    }

    /// At an address of its own, so that it gets no answers of a client before it.
    fn client(&mut self) -> UdpSocket {
        self.last_client += 1;
        let [high, low] = self.last_client.to_be_bytes();
        let client = open(([127, 88, high, low], 0).into());
        client.connect(self.front).expect("it is local");
        client
    }

    /// A client sends a datagram that has its number in it.
    fn send(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let mut datagram = vec![at as u8; self.rng.usize(1..1200)];
        if self.rng.u8(..) < 16 {
            datagram.clear();
        }
        self.clients[at].send(&datagram).expect("it is sent");
    }

    /// What has come for each client, which is of one datagram each. It may be of another client: a peer that answers long after a
    /// relay has ended may meet one that has its port.
    fn read(&self) -> Vec<Vec<u8>> {
        let (mut came, mut buffer) = (Vec::new(), [0; 2048]);
        for (at, client) in (0..).zip(&self.clients) {
            while let Ok(length) = client.recv(&mut buffer) {
                let datagram = &buffer[..length];
                assert!(datagram.windows(2).all(|pair| pair[0] == pair[1]));
                came.push([&[at], &datagram[..length.min(1)]].concat());
            }
        }
        came
    }

    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..45 => self.send(),
            45..70 => {
                let peer = &mut self.peers[self.rng.usize(..2)];
                peer.receive();
                peer.answer();
            }
            70..80 => {
                self.read();
            }
            80..84 => self.peers[self.rng.usize(..2)].vanish(),
            84..92 => self.peers[self.rng.usize(..2)].return_home(),
            92..94 => {
                let at = self.rng.usize(..self.clients.len());
                self.clients[at] = self.client();
            }
            94 => self.script.now += self.rng.u64(0..30_000),
            95 => self.script.command(Command::Drain(Box::new(Order {
                number: self.script.now,
                over: Duration::ZERO,
                max_wait: Duration::from_secs(1),
                listeners: None,
                seed: 1,
            }))),
            _ => self.script.now += self.rng.u64(0..300),
        }
        self.script.turn();
    }

    /// Lets everything end.
    fn end(&mut self) {
        for _ in 0..200 {
            for peer in &mut self.peers {
                peer.return_home();
                peer.receive();
                while !peer.pending.is_empty() {
                    peer.answer();
                }
            }
            self.script.turn();
            self.script.now += 200;
            self.read();
        }
    }
}

#[test]
fn random_plays_end_with_nothing_left() {
    let first = fastrand::u64(..u64::MAX - PLAYS);
    for seed in first..first + PLAYS {
        let keys = [
            "",
            "requests = 1\nresponses = 1",
            "requests = 3",
            "responses = 1",
            "responses = 0",
        ];
        let mut bench = Bench::new(keys[seed as usize % keys.len()], seed);
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..STEPS).for_each(|_| bench.step());
            bench.end();
            assert!(bench.script.count(LoopCounter::RelayedUp) > 0);
            assert_eq!(bench.script.gateway.udp_relays.len(), 0);
            let shared = &bench.script.gateway.tools.cx.shared;
            assert_eq!(shared.connections(), 0);
            let upstreams = shared.upstreams.all();
            let seen = upstreams[0].snapshot(0);
            assert!(seen.peers.iter().all(|peer| peer.open == 0), "{seen:?}");
            assert_eq!(bench.script.gateway.tools.memory.held(), 0);
        }));
        assert!(played.is_ok(), "seed {seed}");
    }
}

#[test]
fn nothing_is_lost_while_one_peer_stays_and_the_other_has_never_answered() {
    for seed in 0..20 {
        let mut bench = Bench::new("", seed);
        bench.peers[1].vanish();
        let mut sent = 0;
        for _ in 0..50 {
            bench.send();
            sent += 1;
            bench.script.turn();
            bench.script.turn();
        }
        bench.peers[0].receive();
        assert_eq!(bench.peers[0].pending.len(), sent, "seed {seed}");
        while !bench.peers[0].pending.is_empty() {
            bench.peers[0].answer();
            bench.script.turn();
            bench.script.turn();
        }
        let came = bench.read();
        assert_eq!(came.len(), sent, "seed {seed}");
        let is_own = |it: &Vec<u8>| it.get(1).is_none_or(|number| *number == it[0]);
        assert!(came.iter().all(is_own), "seed {seed}: {came:?}");
        assert_eq!(bench.script.count(LoopCounter::DatagramsDropped), 0);
    }
}
