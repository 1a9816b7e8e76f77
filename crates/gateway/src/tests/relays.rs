//! Relays in random orders: clients and peers that send, read slowly, half-close, break off and vanish.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use fastrand::Rng;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};
use tempfile::TempDir;

use super::client::Client;
use super::script::{Script, config};
use crate::arrival::Arrival;
use crate::commands::{Command, Order};
use crate::ids::ListenerId;
use crate::shared::admission::Counted;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::Peer;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
/// Bytes that a socket holds, so that slow readers are soon felt.
const SOCKET_BYTES: usize = 8 * 1024;

/// A peer that sends back what it gets.
pub(super) struct EchoPeer {
    listener: OwnedFd,
    pub(super) connections: Vec<Connection>,
}

pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pending: VecDeque<u8>,
    has_ended: bool,
}

impl EchoPeer {
    fn new(folder: &TempDir, name: &str) -> Self {
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None);
        let listener = listener.expect("a socket");
        let path = SocketAddrUnix::new(folder.path().join(name)).expect("a short path");
        rustix::net::bind(&listener, &path).expect("the path is free");
        rustix::net::listen(&listener, 1).expect("it is bound");
        Self {
            listener,
            connections: Vec::new(),
        }
    }

    /// Accepts, reads and sends. True: something went on.
    pub(super) fn go_on(&mut self, most: usize) -> bool {
        let mut is_busy = false;
        while let Ok(socket) = rustix::net::accept_with(&self.listener, FLAGS) {
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BYTES)
                .expect("a smaller buffer");
            self.connections.push(Connection {
                socket,
                pending: VecDeque::new(),
                has_ended: false,
            });
            is_busy = true;
        }
        self.connections.retain_mut(|connection| {
            let went_on = connection.go_on(most);
            is_busy |= went_on == Some(true);
            went_on.is_some()
        });
        is_busy
    }
}

impl Connection {
    /// Reads at most so much, and sends what it has. `None`: it is over.
    fn go_on(&mut self, most: usize) -> Option<bool> {
        let mut is_busy = false;
        let mut buffer = vec![0; most.min(64 * 1024)];
        if !self.has_ended && !buffer.is_empty() {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => (self.has_ended, is_busy) = (true, true),
                Ok((bytes, _)) => {
                    self.pending.extend(&buffer[..bytes]);
                    is_busy = true;
                }
                Err(Errno::AGAIN) => {}
                Err(_) => return None,
            }
        }
        let (pending, _) = self.pending.as_slices();
        let pending = &pending[..pending.len().min(most)];
        if !pending.is_empty() {
            match rustix::net::send(&self.socket, pending, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.pending.drain(..sent);
                    is_busy = true;
                }
                Err(Errno::AGAIN) => {}
                Err(_) => return None,
            }
        }
        if self.has_ended && self.pending.is_empty() {
            return None;
        }
        Some(is_busy)
    }
}

/// Two peers, and a loop whose only listener relays to them.
pub(super) struct Bench {
    pub(super) script: Script,
    pub(super) peers: Vec<EchoPeer>,
    pub(super) clients: Vec<Client>,
    _folder: TempDir,
}

fn text(folder: &TempDir, keys: &str) -> String {
    let folder = folder.path().display();
    format!(
        "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"back\"\nidle_timeout = \"60s\"\n\
         [upstream.back]\npeers = [\"unix://{folder}/a\", \"unix://{folder}/b\"]\nconnect_timeout = \"100ms\"\n{keys}\n"
    )
}

impl Bench {
    pub(super) fn new(keys: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = Script::serving(config(&text(&folder, keys)), 1);
        Self {
            script,
            peers: vec![EchoPeer::new(&folder, "a"), EchoPeer::new(&folder, "b")],
            clients: Vec::new(),
            _folder: folder,
        }
    }

    pub(super) fn connect(&mut self) {
        let (client, socket) = Client::pair(0);
        let peer = Peer::Ip(([127, 0, 0, 1], 2000 + client.number() as u16).into());
        self.script.accept(0, socket, peer);
        self.clients.push(client);
    }

    /// A client whose bytes the test sends and reads itself.
    pub(super) fn connect_plain(&mut self) -> UnixStream {
        let (client, socket) = UnixStream::pair().expect("a pair");
        client.set_nonblocking(true).expect("an option");
        socket.set_nonblocking(true).expect("an option");
        let peer = Peer::Ip(([127, 0, 0, 1], 1999).into());
        self.script.accept(0, socket.into(), peer);
        client
    }

    /// The peer's end of the only relay.
    pub(super) fn take_connection(&mut self) -> OwnedFd {
        let taken = self.peers.iter_mut().find_map(|it| it.connections.pop());
        taken.expect("it is connected").socket
    }

    /// What comes for a client until nothing more does, and whether the end came, too.
    pub(super) fn read_all(&mut self, client: &mut UnixStream) -> (usize, bool) {
        let (mut count, mut buffer) = (0, vec![0; 64 * 1024]);
        for _ in 0..100 {
            self.script.turn();
            match client.read(&mut buffer) {
                Ok(0) => return (count, true),
                Ok(bytes) => count += bytes,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        (count, false)
    }

    pub(super) fn relays(&self) -> usize {
        self.script.gateway.relays.len()
    }

    /// Turns until nothing happens any more.
    pub(super) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..20_000 {
            let mut is_busy = self.script.turn();
            for peer in &mut self.peers {
                is_busy |= peer.go_on(usize::MAX);
            }
            for client in &mut self.clients {
                is_busy |= client.go_on();
            }
            self.script.now += 1;
            quiet = if is_busy { 0 } else { quiet + 1 };
            if quiet == 20 {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

/// Reads what has come for a peer.
pub(super) fn read_peer(peer: &OwnedFd) -> usize {
    let (mut count, mut buffer) = (0, vec![0; 64 * 1024]);
    while let Ok((bytes @ 1.., _)) = rustix::net::recv(peer, &mut buffer[..], RecvFlags::empty()) {
        count += bytes;
    }
    count
}

/// The engine stops.
fn stop() -> Command {
    Command::Stop(Box::new(Order {
        number: u64::MAX,
        over: std::time::Duration::ZERO,
        max_wait: std::time::Duration::from_secs(10),
        listeners: None,
        seed: 1,
    }))
}

#[test]
fn lines_come_back_and_a_half_close_goes_both_ways() {
    let mut bench = Bench::new("");
    bench.connect();
    bench.clients[0].say(100);
    bench.clients[0].say(100_000);
    bench.settle();
    assert_eq!(bench.clients[0].echoes, [1, 2]);
    assert_eq!(bench.relays(), 1);
    bench.clients[0].finish();
    bench.settle();
    assert!(bench.clients[0].is_ended);
    assert_eq!(bench.relays(), 0);
    let count = |counter| bench.script.count(counter);
    assert_eq!(count(LoopCounter::RelaysBegun), 1);
    assert_eq!(
        count(LoopCounter::RelayedUp),
        count(LoopCounter::RelayedDown)
    );
}

#[test]
fn a_full_backlog_is_asked_again_until_the_attempt_ends() {
    let mut bench = Bench::new("balance = { kind = \"hash\", key = \"x\" }");
    for _ in 0..8 {
        bench.connect();
    }
    // Nobody accepts, and a backlog of one holds two.
    bench.script.pass(50);
    assert_eq!(bench.relays(), 8);
    bench.settle();
    for client in &mut bench.clients {
        client.say(10);
    }
    bench.settle();
    let echoed = bench.clients.iter().filter(|client| client.echoes == [1]);
    assert_eq!(echoed.count(), 8);
}

#[test]
fn a_client_that_reads_late_gets_everything_of_a_peer_that_was_reset() {
    for asks_on in [false, true] {
        let mut bench = Bench::new("");
        let mut client = bench.connect_plain();
        bench.settle();
        let peer = bench.take_connection();
        client.write_all(b"never read").expect("it fits");
        bench.script.turn();
        bench.script.turn();
        let mut count = 0;
        for _ in 0..100 {
            let sent = rustix::net::send(&peer, &[7; 4096], SendFlags::NOSIGNAL);
            count += sent.unwrap_or(0);
            bench.script.turn();
        }
        assert!(
            count > 200_000,
            "it does not keep the loop waiting: {count}"
        );
        drop(peer);
        if asks_on {
            client.write_all(b"more").expect("it fits");
        }
        for _ in 0..4 {
            bench.script.turn();
        }
        assert_eq!(bench.read_all(&mut client), (count, true));
    }
}

#[test]
fn an_answer_arrives_although_its_peer_has_gone_before_the_question_comes() {
    for has_spoken in [false, true] {
        let mut bench = Bench::new("");
        let mut client = bench.connect_plain();
        bench.settle();
        let peer = bench.take_connection();
        if has_spoken {
            client.write_all(b"hello").expect("it fits");
            bench.script.turn();
            bench.script.turn();
            assert_eq!(read_peer(&peer), 5);
        }
        client.write_all(b"question").expect("it fits");
        let sent = rustix::net::send(&peer, b"answer", SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(6));
        drop(peer);
        assert_eq!(bench.read_all(&mut client), (6, true), "{has_spoken}");
    }
}

#[test]
fn what_a_client_has_sent_arrives_although_it_closes_before_a_peer_is_connected() {
    let mut bench = Bench::new("balance = { kind = \"hash\", key = \"x\" }");
    let clients: Vec<_> = (0..8).map(|_| bench.connect_plain()).collect();
    bench.script.pass(50);
    for mut client in clients {
        client.write_all(b"farewell").expect("it fits");
    }
    bench.script.turn();
    bench.script.turn();
    bench.settle();
    assert_eq!(bench.script.count(LoopCounter::RelayedUp), 8 * 8);
}

#[test]
fn urgent_data_of_a_client_that_sends_much_holds_nothing_back() {
    for (ends, ahead) in [(false, 0), (true, 0), (false, 500), (true, 500)] {
        let mut bench = Bench::new("");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (socket, _) = listener.accept().expect("a client waits");
        socket.set_nonblocking(true).expect("an option");
        bench.script.accept(0, socket.into(), Peer::Ip(address));
        bench.settle();
        let peer = bench.take_connection();
        let mut count = 0;
        for _ in 0..8 {
            client.write_all(&[7; 30_000]).expect("it fits");
            for _ in 0..4 {
                bench.script.turn();
                count += read_peer(&peer);
            }
        }
        assert_eq!(count, 8 * 30_000);
        client.write_all(&vec![9; ahead]).expect("it fits");
        let urgent = rustix::net::send(&client, b"!", SendFlags::OOB);
        assert_eq!(urgent, Ok(1));
        client.write_all(&[8; 1000]).expect("it fits");
        if ends {
            let ended = client.shutdown(std::net::Shutdown::Write);
            ended.expect("it is open");
        }
        count = 0;
        for _ in 0..10 {
            bench.script.turn();
            count += read_peer(&peer);
        }
        assert_eq!(count, 1000 + ahead, "ends: {ends}");
    }
}

#[test]
fn an_idle_relay_is_closed() {
    let mut bench = Bench::new("");
    bench.connect();
    bench.settle();
    bench.script.pass(59_000);
    assert_eq!(bench.relays(), 1);
    bench.script.pass(2_000);
    assert_eq!(bench.relays(), 0);
}

#[test]
fn a_stop_closes_relays_that_have_their_answer_at_once_and_the_others_with_it() {
    let mut bench = Bench::new("");
    bench.connect();
    bench.connect();
    bench.settle();
    bench.clients[1].say(10);
    bench.clients[1].go_on();
    bench.script.turn();
    bench.script.command(stop());
    bench.script.turn();
    assert_eq!(bench.relays(), 1);
    bench.settle();
    assert_eq!(bench.clients[1].echoes, [1]);
    assert_eq!(bench.relays(), 0);
}

#[test]
fn a_stop_cuts_off_nothing_of_what_has_come_already() {
    let mut bench = Bench::new("");
    let mut client = bench.connect_plain();
    bench.settle();
    let peer = bench.take_connection();
    rustix::net::sockopt::set_socket_send_buffer_size(&peer, 200_000).expect("a larger buffer");
    let sent = rustix::net::send(&peer, &[7; 150_000], SendFlags::NOSIGNAL);
    let sent = sent.expect("it fits");
    assert!(sent > 0);
    bench.script.command(stop());
    assert_eq!(bench.read_all(&mut client), (sent, true));
    assert_eq!(bench.relays(), 0);
}

#[test]
fn a_connection_that_is_relayed_only_after_a_stop_closes_with_its_answer() {
    let mut bench = Bench::new("");
    bench.script.command(stop());
    let (mut client, socket) = UnixStream::pair().expect("a pair");
    client.set_nonblocking(true).expect("an option");
    socket.set_nonblocking(true).expect("an option");
    let peer = Peer::Ip(([127, 0, 0, 1], 1999).into());
    let admissions = &bench.script.gateway.tools.cx.shared.admissions;
    let counted = admissions[0].admit(&peer, Counted::ADMITTED);
    let arrival = Arrival {
        received: b"question".to_vec(),
        counted: counted.expect("there is no limit"),
        ..Arrival::default()
    };
    let gateway = &mut bench.script.gateway;
    gateway.begin_relay(socket.into(), (ListenerId(0), peer), arrival);
    assert_eq!(bench.relays(), 1);
    for _ in 0..20 {
        bench.script.turn();
        for peer in &mut bench.peers {
            peer.go_on(usize::MAX);
        }
    }
    assert_eq!(bench.read_all(&mut client), (8, true));
    assert_eq!(bench.relays(), 0);
}

#[test]
fn whatever_clients_and_peers_do_nothing_is_lost_forgotten_or_leaked() {
    for seed in 0..60 {
        play(seed);
    }
}

/// One random play. The loop checks its invariants after each turn.
fn play(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let keys = ["", "balance = \"least-connections\"", "max_fails = 0"];
    let mut bench = Bench::new(keys[rng.usize(0..3)]);
    let mut finished = Vec::new();
    for _ in 0..400 {
        step(&mut bench, &mut finished, &mut rng);
        bench.script.turn();
    }
    // Those that only wait for their answers get them, unless their peer has gone.
    bench.clients.append(&mut finished);
    bench.settle();
    for client in &mut bench.clients {
        client.finish();
    }
    bench.settle();
    for client in &bench.clients {
        assert!(client.is_ended, "seed {seed}: {client:?}");
        let echoes = &client.echoes;
        assert!(
            echoes.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "seed {seed}: lines are missing: {echoes:?}"
        );
    }
    bench.clients.clear();
    bench.script.pass(3_000);
    assert_eq!(bench.relays(), 0, "seed {seed}: relays are left");
}

/// One thing that happens to one of them.
fn step(bench: &mut Bench, finished: &mut Vec<Client>, rng: &mut Rng) {
    match rng.u32(0..20) {
        0..3 if bench.clients.len() < 12 => bench.connect(),
        3..8 => {
            if let Some(at) = pick(rng, bench.clients.len()) {
                bench.clients[at].say([10, 1000, 50_000][rng.usize(0..3)]);
            }
        }
        8 => {
            if let Some(at) = pick(rng, bench.clients.len()) {
                let mut client = bench.clients.swap_remove(at);
                client.leave();
            }
        }
        9 => {
            if let Some(at) = pick(rng, bench.clients.len()) {
                finished.push(bench.clients.swap_remove(at));
            }
        }
        10 => {
            let peer = &mut bench.peers[rng.usize(0..2)];
            if let Some(at) = pick(rng, peer.connections.len()) {
                peer.connections.swap_remove(at);
            }
        }
        11 => {
            let peer = &bench.peers[rng.usize(0..2)];
            if let Some(at) = pick(rng, peer.connections.len()) {
                let socket = &peer.connections[at].socket;
                let _ = rustix::net::shutdown(socket, Shutdown::Write);
            }
        }
        12..15 => {
            let most = [1, 100, 20_000][rng.usize(0..3)];
            for peer in &mut bench.peers {
                peer.go_on(most);
            }
        }
        15..18 => {
            let most = [1, 100, 20_000][rng.usize(0..3)];
            for client in &mut bench.clients {
                client.send(most);
                client.receive(most);
            }
        }
        _ => bench.script.now += rng.u64(0..200),
    }
}

fn pick(rng: &mut Rng, count: usize) -> Option<usize> {
    (count > 0).then(|| rng.usize(0..count))
}
