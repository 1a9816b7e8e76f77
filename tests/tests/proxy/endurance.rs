//! Many relays over many reloads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use moorline_tests::{
    Client, Engine, Issuer, PeerServer, Site, Trust, Wire, eventually, exchange, sized,
};

use super::connect;

/// Clients of one thread.
const CLIENTS: usize = 25;

/// Listeners and upstreams of one round: an encrypted and a plain one that stay, and one that is there every other time.
fn text(round: usize, peers: &[PeerServer; 2]) -> String {
    let [one, other] = peers.each_ref().map(|peer| peer.address);
    let peers = match round % 3 {
        0 => format!("\"tcp://{one}\", \"tcp://{other}\""),
        1 => format!("\"tcp://{other}\""),
        _ => format!("{{ address = \"tcp://{one}\", weight = 3 }}, \"tcp://{other}\""),
    };
    let third = match round % 2 {
        0 => "[[listen]]\nname = \"third\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n",
        _ => "",
    };
    let balance = ["round-robin", "least-connections"][round % 2];
    format!(
        "[engine]\ngateway_loops = 2\n[workers]\ncount = 2\n[[listen]]\nname = \"plain\"\naddress = \"tcp://127.0.0.1:0\"\n\
         upstream = \"back\"\n[[listen]]\nname = \"sealed\"\naddress = \"tls://127.0.0.1:0\"\nupstream = \"back\"\n\
         tls = {{ certificate = \"one.pem\", key = \"one.key\" }}\n{third}\
         [upstream.back]\nbalance = \"{balance}\"\npeers = [{peers}]\n"
    )
}

/// What one thread needs.
struct Course<'a> {
    engine: &'a Engine,
    trust: &'a Trust,
    is_over: &'a AtomicBool,
    rounds: &'a AtomicU64,
}

/// Clients that send and compare what comes back, one round after the other. One of five is encrypted, and one of five comes by
/// the listener that is removed again.
fn go_round(thread: usize, course: &Course<'_>) {
    let mut plain: Vec<_> = (0..CLIENTS)
        .filter(|at| at % 5 != 0)
        .map(|at| {
            let listener = if at % 5 == 1 { 2 } else { 0 };
            Client::connect(course.engine, listener, Wire::Raw)
        })
        .collect();
    let sealed = (0..CLIENTS / 5).map(|_| {
        let client = Client::connect_tls(course.engine, 1, Wire::Raw, course.trust, "one.test");
        client.unwrap_or_else(|error| panic!("the handshake fails: {error}"))
    });
    plain.extend(sealed);
    let bytes = |at: usize| vec![(thread + at) as u8; 500 + at * 300];
    while !course.is_over.load(Ordering::Relaxed) {
        for (at, client) in plain.iter_mut().enumerate() {
            client.send_bytes(&bytes(at)).expect("it is open");
        }
        for (at, client) in plain.iter_mut().enumerate() {
            let sent = bytes(at);
            assert!(client.receive_exactly(sent.len()) == sent);
        }
        course.rounds.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn no_relay_closes_while_reloads_change_upstreams_certificates_listeners_and_workers() {
    let threads = sized(4, 80);
    let peers = [PeerServer::echo(), PeerServer::echo()];
    let issuer = Issuer::new();
    let site = Site::new("moorline", &text(0, &peers));
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let trust = issuer.trust();
    let (is_over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let course = Course {
        engine: &engine,
        trust: &trust,
        is_over: &is_over,
        rounds: &rounds,
    };
    let all = (threads * CLIENTS) as u64;
    thread::scope(|scope| {
        for thread in 0..threads {
            let course = &course;
            scope.spawn(move || go_round(thread, course));
        }
        eventually("all are connected", || {
            rounds.load(Ordering::Relaxed) >= threads as u64
                && engine.status().gateway.relays.open == all
        });
        for round in 1..=sized(5, 20) {
            issuer.issue(&["one.test"]).write(&site, "one");
            site.configure(&text(round, &peers));
            engine.reload().expect_success();
            let before = rounds.load(Ordering::Relaxed);
            eventually("bytes pass", || {
                rounds.load(Ordering::Relaxed) > before + threads as u64
            });
        }
        assert_eq!(engine.status().gateway.relays.open, all);
        is_over.store(true, Ordering::Relaxed);
    });
    let relays = engine.status().gateway.relays;
    assert_eq!((relays.begun, relays.failed), (all, 0));
    eventually("every byte is counted", || {
        let relays = engine.status().gateway.relays;
        relays.bytes_up == relays.bytes_down && relays.open == 0
    });
    println!(
        "{all} relays, {} rounds of {threads} threads, {} bytes each way",
        rounds.load(Ordering::Relaxed),
        relays.bytes_up
    );
}

#[test]
fn a_half_close_behind_64_kib_never_costs_a_byte() {
    let peer = PeerServer::echo();
    let issuer = Issuer::new();
    let peers = [PeerServer::echo(), peer];
    let site = Site::new("moorline", &text(0, &peers));
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let trust = issuer.trust();
    let (threads, each) = (8, sized(25, 1250));
    thread::scope(|scope| {
        for thread in 0..threads {
            let (engine, trust) = (&engine, &trust);
            scope.spawn(move || {
                let mut random = moorline_tests::Random::new();
                for round in 0..each {
                    let bytes = random.bytes(64 * 1024);
                    let came = exchange(&connect(engine), &bytes).expect("nothing breaks");
                    assert!(came == bytes, "plain, thread {thread}, round {round}");
                    let client = Client::connect_tls(engine, 1, Wire::Raw, trust, "one.test");
                    let mut client = client.expect("a handshake");
                    client.send_bytes(&bytes).expect("it is taken");
                    client.finish_sending();
                    let came = client.receive_bytes_to_end();
                    assert!(came == bytes, "encrypted, thread {thread}, round {round}");
                }
            });
        }
    });
    let bytes = (2 * threads * each * 64 * 1024) as u64;
    eventually("all bytes are counted", || {
        let relays = engine.status().gateway.relays;
        (relays.bytes_up, relays.bytes_down, relays.open) == (bytes, bytes, 0)
    });
    println!("{} of each kind", threads * each);
}
