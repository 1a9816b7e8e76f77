//! How fast the bytes of a session pass.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Issuer, PeerServer, Site, Stopwatch, Wire, eventually};

use super::{config, connect};

/// A peer that sends this number of bytes and ends.
fn source(bytes: usize) -> PeerServer {
    PeerServer::new(move |mut stream| {
        let _ = stream.write_all(&vec![b'x'; bytes]);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// All that comes until the end, and how long it took.
#[track_caller]
fn receive_all(mut client: TcpStream) -> (usize, Duration) {
    let begun = Instant::now();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("nothing breaks");
    assert!(bytes.iter().all(|byte| *byte == b'x'));
    (bytes.len(), begun.elapsed())
}

/// The first second's bytes pass at once. What is slower may be so for any reason.
#[track_caller]
fn assert_paced(took: Duration, bytes: usize, rate: usize) {
    let least = Duration::from_secs_f64((bytes - rate) as f64 / rate as f64);
    let slack = Duration::from_millis(20);
    assert!(took + slack >= least, "it took {took:?}, and not {least:?}");
    assert!(
        took < least + Duration::from_secs(3),
        "it took {took:?}, and not {least:?}"
    );
}

#[test]
fn bytes_to_a_client_pass_at_their_rate_also_through_a_pipe() {
    for (rate, bytes) in [(1_000, 2_500), (8 << 20, 16 << 20)] {
        let peer = source(bytes);
        let text = config(
            &format!("rate = {{ down = \"{rate}\" }}"),
            "",
            &[peer.address],
        );
        let engine = Engine::start("moorline", &text);
        let (came, took) = receive_all(connect(&engine));
        assert_eq!(came, bytes);
        assert_paced(took, bytes, rate);
    }
}

#[test]
fn bytes_to_a_peer_pass_at_their_rate_and_the_other_way_is_free() {
    let peer = PeerServer::new(|mut stream| {
        let begun = Instant::now();
        let mut bytes = Vec::new();
        if stream.read_to_end(&mut bytes).is_ok() {
            let answer = format!("{} {}", bytes.len(), begun.elapsed().as_millis());
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.write_all(&vec![b'x'; 1 << 20]);
        }
    });
    let text = config(
        "rate = { up = \"2KiB\", down = \"0\" }",
        "",
        &[peer.address],
    );
    let engine = Engine::start("moorline", &text);
    let mut client = connect(&engine);
    client.write_all(&[b'x'; 5_000]).expect("it is taken");
    client.shutdown(Shutdown::Write).expect("it is open");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("nothing breaks");
    let words: Vec<_> = answer.splitn(2, |byte| *byte == b'x').collect();
    let words = String::from_utf8_lossy(words[0]).into_owned();
    let (bytes, took) = words.split_once(' ').expect("two numbers");
    assert_eq!(bytes, "5000");
    assert_paced(
        Duration::from_millis(took.parse().expect("a number")),
        5_000,
        2_048,
    );
}

#[test]
fn an_encrypted_client_has_its_rate_too() {
    let (rate, bytes) = (200_000, 500_000);
    let peer = source(bytes);
    let text = config(
        &format!("rate = {{ down = \"{rate}\" }}"),
        "",
        &[peer.address],
    )
    .replace(
        "tcp://127.0.0.1:0\"",
        "tls://127.0.0.1:0\"\ntls = { certificate = \"one.pem\", key = \"one.key\" }",
    );
    let site = Site::new("moorline", &text);
    let issuer = Issuer::new();
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let client = Client::connect_tls(&engine, 0, Wire::Raw, &issuer.trust(), "one.test");
    let mut client = client.unwrap_or_else(|error| panic!("the handshake fails: {error}"));
    let begun = Instant::now();
    assert_eq!(client.receive_bytes_to_end().len(), bytes);
    assert_paced(begun.elapsed(), bytes, rate);
}

#[test]
fn a_variable_decides_about_the_rate_of_a_session() {
    let peer = source(3_000);
    let listener = |name: &str| {
        format!(
            "[[listen]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\nrate = {{ down = \"${{listener}}\" }}\n"
        )
    };
    let text = format!(
        "[workers]\ncount = 1\n{}{}{}[upstream.back]\npeers = [\"tcp://{}\"]\n",
        listener("1000"),
        listener("0"),
        listener("none"),
        peer.address
    );
    let engine = Engine::start("moorline", &text);
    let connect = |at: usize| TcpStream::connect(engine.socket_address(at)).expect("it accepts");
    let (came, took) = receive_all(connect(0));
    assert_eq!(came, 3_000);
    assert_paced(took, 3_000, 1_000);
    for free in [1, 2] {
        let stopwatch = Stopwatch::start();
        let (came, _) = receive_all(connect(free));
        let took = stopwatch.elapsed();
        assert_eq!(came, 3_000);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    engine.logged(&["a `rate` is", "none"]);
}

#[test]
fn what_waits_for_its_rate_is_neither_idle_nor_lost_when_its_peer_has_gone() {
    // One second's bytes pass at once, and the others one by one, longer than a session may be idle.
    let peer = PeerServer::new(|mut stream| {
        // It is gone at once.
        let _ = stream.write_all(&[b'x'; 4]);
    });
    let text = config(
        "rate = { down = \"1\" }\nidle_timeout = \"500ms\"",
        "",
        &[peer.address],
    );
    let engine = Engine::start("moorline", &text);
    let (came, took) = receive_all(connect(&engine));
    assert_eq!(came, 4);
    assert_paced(took, 4, 1);
}

#[test]
fn a_drain_waits_for_what_waits_for_its_rate() {
    let peer = source(3_000);
    let text = config("rate = { down = \"1000\" }", "", &[peer.address]);
    let engine = Engine::start("moorline", &text);
    let client = connect(&engine);
    eventually("it passes", || {
        engine.status().gateway.relays.bytes_down >= 1_000
    });
    let drains = thread::spawn(move || receive_all(client));
    engine.run(&["drain"]).expect_success();
    assert_eq!(drains.join().expect("it does not panic").0, 3_000);
}

#[test]
fn the_peer_that_takes_the_place_of_another_one_has_the_rate_of_the_listener() {
    let (rate, bytes) = (100_000, 250_000);
    // Its end comes before a byte has passed.
    let closes = PeerServer::new(drop);
    let right = source(bytes);
    let listen = format!("rate = {{ down = \"{rate}\" }}");
    let peers = [closes.address, right.address];
    let engine = Engine::start("moorline", &config(&listen, "", &peers));
    let (came, took) = receive_all(connect(&engine));
    assert_eq!(came, bytes);
    assert_paced(took, bytes, rate);
    assert_eq!((closes.connections(), right.connections()), (1, 1));
}
