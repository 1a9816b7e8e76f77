//! Bytes pass both ways, all of them, and a slow reader keeps nobody else waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{
    Engine, PeerServer, Process, Random, Relays, Site, Stopwatch, eventually, exchange,
};

use super::{config, connect};

/// What a client sends before it half-closes.
const SENT: usize = 64 * 1024;
const THREADS: usize = 8;
const ROUNDS: usize = 100;

#[test]
fn bytes_pass_both_ways_and_are_counted() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let mut client = connect(&engine);
    for round in 0..10 {
        client.write_all(&[round; 100]).expect("it takes bytes");
        let mut echo = [0; 100];
        client.read_exact(&mut echo).expect("an echo comes");
        assert_eq!(echo, [round; 100]);
    }
    let relays = Relays {
        open: 1,
        begun: 1,
        failed: 0,
        bytes_up: 1000,
        bytes_down: 1000,
    };
    eventually("it is counted", || engine.status().gateway.relays == relays);
    let status = engine.status();
    assert_eq!((status.gateway.sessions, status.gateway.accepted), (0, 0));
    drop(client);
    let line = engine.logged(&["relay closed", "finished"]);
    for field in ["upstream=back", "received=1000", "sent=1000", "attempts=1"] {
        assert!(line.contains(field), "{field}: {line}");
    }
    eventually("it is gone", || engine.status().gateway.relays.open == 0);
}

#[test]
fn what_is_sent_before_a_half_close_comes_back_whole() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                let mut random = Random::new();
                for round in 0..ROUNDS {
                    let bytes = random.bytes(SENT);
                    let stream = connect(engine);
                    let came = exchange(&stream, &bytes).expect("nothing breaks");
                    assert!(
                        came == bytes,
                        "thread {thread}, round {round}: {}",
                        came.len()
                    );
                }
            });
        }
    });
    let all = (THREADS * ROUNDS * SENT) as u64;
    eventually("it is counted", || {
        let relays = engine.status().gateway.relays;
        (relays.bytes_up, relays.bytes_down, relays.open) == (all, all, 0)
    });
}

#[test]
fn a_peer_that_ends_first_is_heard_to_its_last_byte_and_still_receives() {
    let peer = PeerServer::new(|mut stream| {
        stream.write_all(&[7; 300_000]).expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("it is open");
        let mut late = Vec::new();
        stream.read_to_end(&mut late).expect("the client ends");
        assert_eq!(late, b"thank you");
    });
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let mut client = connect(&engine);
    let mut came = Vec::new();
    client.read_to_end(&mut came).expect("the peer ends");
    assert_eq!(came.len(), 300_000);
    client.write_all(b"thank you").expect("it is open that way");
    client.shutdown(Shutdown::Write).expect("it is open");
    engine.logged(&["relay closed", "finished", "received=9", "sent=300000"]);
}

#[test]
fn a_client_that_reads_slowly_slows_its_peer_and_gets_everything() {
    const BYTES: usize = 64 << 20;
    let peer = PeerServer::new(|mut stream| {
        let piece = [9; 1 << 16];
        for _ in 0..BYTES / piece.len() {
            stream
                .write_all(&piece)
                .expect("the client takes it some time");
        }
    });
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let gateway = engine.status().gateway.pid;
    let mut slow = connect(&engine);
    thread::sleep(Duration::from_millis(500));
    let before = engine.status().gateway.relays.bytes_down;
    assert!(before < BYTES as u64, "the peer was not slowed: {before}");
    assert!(Process::private_memory(gateway) < 24 << 20);
    // Others are served meanwhile.
    let mut other = connect(&engine);
    other.read_exact(&mut [0; 100_000]).expect("it is served");
    drop(other);
    let (mut buffer, mut came) = (vec![0; 1 << 16], 0);
    loop {
        match slow.read(&mut buffer).expect("nothing breaks") {
            0 => break,
            bytes => {
                assert!(buffer[..bytes].iter().all(|byte| *byte == 9));
                came += bytes;
            }
        }
    }
    assert_eq!(came, BYTES);
}

#[test]
fn an_idle_relay_is_closed_and_a_busy_one_is_not() {
    let peer = PeerServer::echo();
    let engine = Engine::start(
        "moorline",
        &config("idle_timeout = \"1s\"", "", &[peer.address]),
    );
    let (mut idle, mut busy) = (connect(&engine), connect(&engine));
    let (begun, stopwatch) = (Instant::now(), Stopwatch::start());
    busy.write_all(b"x").expect("it is open");
    let ended = thread::spawn(move || {
        let came = idle.read(&mut [0; 1]);
        (came.unwrap_or(0), begun.elapsed(), stopwatch.elapsed())
    });
    while begun.elapsed() < Duration::from_millis(2500) {
        busy.write_all(b"x").expect("it is open");
        busy.read_exact(&mut [0]).expect("an echo comes");
        thread::sleep(Duration::from_millis(50));
    }
    let (came, least, most) = ended.join().expect("it does not panic");
    assert_eq!(came, 0);
    assert!(
        least > Duration::from_millis(900) && most < Duration::from_millis(2400),
        "{least:?} {most:?}"
    );
    engine.logged(&["relay closed", "idle"]);
}

#[test]
fn a_client_that_breaks_off_leaves_nothing_and_its_peer_gets_what_it_sent() {
    let (sender, received) = std::sync::mpsc::channel();
    let peer = PeerServer::new(move |mut stream| {
        // It sends without end, so that the client has unread bytes when it closes.
        let mut reading = stream.try_clone().expect("a descriptor");
        let sending = thread::spawn(move || while stream.write_all(&[1; 4096]).is_ok() {});
        let mut came = Vec::new();
        let _ = reading.read_to_end(&mut came);
        let _ = sender.send(came);
        sending.join().expect("it does not panic");
    });
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let mut client = connect(&engine);
    client.write_all(&[5; 10_000]).expect("it is open");
    client.read_exact(&mut [0; 4096]).expect("bytes come");
    eventually("the bytes were relayed", || {
        engine.status().gateway.relays.bytes_up == 10_000
    });
    drop(client);
    let came = received
        .recv_timeout(moorline_tests::PATIENCE)
        .expect("the peer learns of the end");
    assert_eq!(came, [5; 10_000]);
    eventually("it is gone", || engine.status().gateway.relays.open == 0);
}

#[test]
fn unix_sockets_are_relayed_from_and_to() {
    let site = Site::new("moorline", "");
    PeerServer::unix_echo(&site.path("peer.sock"));
    site.configure(
        "[workers]\ncount = 1\n[[listen]]\naddress = \"unix://{folder}/front.sock\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [\"unix://{folder}/peer.sock\"]\n",
    );
    let engine = site.start();
    let bytes = Random::new().bytes(1 << 20);
    let mut client = UnixStream::connect(engine.path("front.sock")).expect("it accepts");
    let mut came = Vec::new();
    thread::scope(|scope| {
        let mut sending = client.try_clone().expect("a descriptor");
        let bytes = &bytes;
        scope.spawn(move || {
            sending.write_all(bytes).expect("it is taken");
            sending.shutdown(Shutdown::Write).expect("it is open");
        });
        client.read_to_end(&mut came).expect("nothing breaks");
    });
    assert!(came == bytes, "{} bytes came", came.len());
}

#[test]
fn thousands_of_idle_relays_need_little_memory() {
    const RELAYS: usize = 2_000;
    let peer = PeerServer::new(|stream| {
        let mut stream = stream;
        let _ = stream.write_all(b"x");
        let _ = stream.read(&mut [0; 1]);
    });
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let gateway = engine.status().gateway.pid;
    let open = |count: usize| -> Vec<TcpStream> {
        let clients = (0..count).map(|_| {
            let mut client = connect(&engine);
            client.read_exact(&mut [0]).expect("a byte comes");
            client
        });
        clients.collect()
    };
    let _first = open(200);
    let before = Process::private_memory(gateway);
    let clients = open(RELAYS);
    let each = Process::private_memory(gateway).saturating_sub(before) / RELAYS as u64;
    assert!(each <= 1536, "{each} bytes for each relay");
    drop(clients);
}

#[test]
fn a_connection_is_announced_by_its_proxy_first_where_that_is_so() {
    let peer = PeerServer::echo();
    let listen = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]";
    let engine = Engine::start("moorline", &config(listen, "", &[peer.address]));
    let mut client = connect(&engine);
    client
        .write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\nhello")
        .expect("it is taken");
    let mut echo = [0; 5];
    client.read_exact(&mut echo).expect("an echo comes");
    assert_eq!(&echo, b"hello");
    drop(client);
    engine.logged(&["relay closed", "client=192.0.2.7:5000"]);
}

#[test]
fn a_client_without_a_byte_to_say_hears_its_peer_first() {
    let peer = PeerServer::new(|mut stream| {
        stream.write_all(b"hello").expect("it is taken");
        let _ = stream.read(&mut [0; 1]);
    });
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let mut client = connect(&engine);
    let mut hello = [0; 5];
    client.read_exact(&mut hello).expect("a word comes");
    assert_eq!(&hello, b"hello");
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a time that is not zero");
    let silence = client.read(&mut hello).expect_err("nothing more comes");
    assert!(matches!(
        silence.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
}
