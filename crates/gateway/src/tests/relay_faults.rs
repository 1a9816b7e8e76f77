//! Relays when something else goes wrong or changes at the same time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::client::Client;
use super::relays::{Bench, read_peer};
use super::script::{Script, config};
use crate::arrival::Arrival;
use crate::commands::{Command, Order};
use crate::ids::{ListenerId, Side};
use crate::poller::Readiness;
use crate::shared::admission::Counted;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::{CloseReason, Peer};

fn peer(port: u16) -> Peer {
    Peer::Ip(([127, 0, 0, 1], port).into())
}

/// A drain of all connections over this time.
fn drain(over: Duration) -> Command {
    Command::Drain(Box::new(Order {
        number: 1,
        over,
        max_wait: Duration::from_secs(10),
        listeners: None,
        seed: 1,
    }))
}

#[test]
fn a_connection_that_is_relayed_only_after_a_drain_has_begun_closes_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let text = format!(
        "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"back\"\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [upstream.back]\npeers = [\"tcp://{address}\"]\n"
    );
    let mut script = Script::serving(config(&text), 1);
    let accept = |script: &mut Script| {
        let (client, socket) = Client::pair(0);
        let admission = &script.gateway.tools.cx.shared.admissions[0];
        let counted = admission.admit(&peer(1), Counted::ForProxy);
        admission.wait();
        script.command(Command::Accepted {
            socket,
            listener: ListenerId(0),
            peer: peer(1),
            counted: counted.expect("there is room"),
        });
        script.turn();
        client
    };
    let begin = |client: &mut Client, script: &mut Script| {
        client.push(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n");
        client.send(usize::MAX);
        for _ in 0..3 {
            script.turn();
        }
    };
    let mut before = accept(&mut script);
    script.command(drain(Duration::from_secs(10)));
    script.turn();
    begin(&mut before, &mut script);
    let mut after = accept(&mut script);
    begin(&mut after, &mut script);
    assert_eq!(script.gateway.relays.len(), 2);
    script.pass(21_000);
    assert_eq!(script.gateway.relays.len(), 1, "the later one stays");
    drop(before);
}

#[test]
fn an_attempt_that_is_over_leaves_no_timer_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let text = format!(
        "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"back\"\n[upstream.back]\npeers = [\"tcp://{address}\"]\n"
    );
    let mut script = Script::serving(config(&text), 1);
    let before = script.gateway.tools.agenda.timers.len();
    let mut clients = Vec::new();
    for port in 0..20 {
        let (client, socket) = Client::pair(0);
        script.accept(0, socket, peer(2000 + port));
        clients.push(client);
        let _peer = listener.accept().expect("it is asked");
    }
    script.turn();
    script.turn();
    assert_eq!(script.count(LoopCounter::RelaysBegun), 20);
    assert_eq!(script.gateway.tools.agenda.timers.len(), before);
}

#[test]
fn an_event_of_a_peer_that_has_gone_does_not_harm_the_next_one() {
    let mut bench = Bench::new("max_fails = 0");
    let mut client = bench.connect_plain();
    bench.settle();
    let relay = bench.script.gateway.relays.iter().next();
    let of_first = relay.expect("it is open").tag(Side::Upstream);
    drop(bench.take_connection());
    bench.settle();
    let relay = bench.script.gateway.relays.iter().next();
    let of_second = relay.expect("another peer is asked").tag(Side::Upstream);
    assert_ne!(of_first, of_second);
    let gateway = &mut bench.script.gateway;
    gateway.relay_is_ready(of_first, Readiness::FAILED);
    client.write_all(b"hello\n").expect("it is open");
    bench.settle();
    assert_eq!(bench.read_all(&mut client), (6, false));
    let gateway = &mut bench.script.gateway;
    gateway.relay_is_ready(of_second, Readiness::FAILED);
    assert_eq!(bench.read_all(&mut client), (0, true));
}

#[test]
fn relays_that_move_much_leave_the_others_their_turn() {
    let mut bench = Bench::new("");
    let mut clients: Vec<_> = (0..60).map(|_| bench.connect_plain()).collect();
    bench.settle();
    let mut small = bench.connect_plain();
    bench.settle();
    let fill = |client: &mut UnixStream| {
        let mut sent = 0;
        loop {
            match client.write(&[7; 30_000]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let drink = |bench: &Bench| {
        let connections = bench.peers.iter().flat_map(|it| &it.connections);
        let came = connections.map(|it| read_peer(&it.socket));
        came.sum::<usize>()
    };
    let (mut sent, mut came) = (0, 0);
    for _ in 0..6 {
        sent += clients.iter_mut().map(fill).sum::<usize>();
        for _ in 0..8 {
            bench.script.turn();
            came += drink(&bench);
        }
    }
    assert_eq!(came, sent);
    // All of them prove to move much by now.
    sent = clients.iter_mut().map(fill).sum();
    small.write_all(b"x").expect("it fits");
    let up = |bench: &Bench| bench.script.count(LoopCounter::RelayedUp);
    // Its events come at the end of a turn.
    let before = up(&bench);
    bench.script.turn();
    assert_eq!(up(&bench), before);
    bench.script.turn();
    let moved = (up(&bench) - before) as usize;
    let is_bounded = (2_000_000..6_000_000).contains(&moved);
    assert!(sent > 8_000_000 && is_bounded, "{moved} of {sent}");
    let is_small = |it: &crate::relay::Relay| it.way(Side::Client).bytes == 1;
    assert!(bench.script.gateway.relays.iter().any(is_small));
    came = drink(&bench);
    for _ in 0..20 {
        bench.script.turn();
        came += drink(&bench);
    }
    assert_eq!(came, sent + 1);
}

#[test]
fn a_connection_whose_listener_relays_no_more_is_closed_and_counted() {
    let mut bench = Bench::new("");
    bench.script.gateway.relays.targets = crate::upstreams::Targets::default();
    let (mut client, socket) = UnixStream::pair().expect("a pair");
    let admissions = &bench.script.gateway.tools.cx.shared.admissions;
    let counted = admissions[0].admit(&peer(7), Counted::ADMITTED);
    let arrival = Arrival {
        counted: counted.expect("there is no limit"),
        ..Arrival::default()
    };
    let gateway = &mut bench.script.gateway;
    let begun = gateway.begin_relay(socket.into(), (ListenerId(0), peer(7)), arrival);
    assert_eq!(begun, None);
    assert_eq!(client.read(&mut [0]).expect("it is closed"), 0);
    assert_eq!(bench.script.closed(CloseReason::Handshake), 1);
    let shared = &bench.script.gateway.tools.cx.shared;
    assert_eq!(shared.connections(), 0);
}

#[test]
fn a_peer_has_no_part_in_it_if_no_descriptor_is_left() {
    let mut bench = Bench::new("");
    let shared = bench.script.gateway.tools.cx.shared.clone();
    shared.keep_free(u64::MAX);
    bench.script.pass(20);
    let mut client = bench.connect_plain();
    assert_eq!(bench.read_all(&mut client), (0, true));
    assert_eq!(bench.script.count(LoopCounter::RelaysFailed), 1);
    for upstream in shared.upstreams.all() {
        let seen = upstream.snapshot(0);
        assert!(seen.peers.iter().all(|it| it.failures == 0), "{seen:?}");
    }
    shared.keep_free(0);
    bench.script.pass(20);
    bench.connect();
    bench.clients[0].say(10);
    bench.settle();
    assert_eq!(bench.clients[0].echoes, [1]);
}
