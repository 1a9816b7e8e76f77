//! The blocking client: exact amounts, peeks, delimiters, messages, deadlines and signals.

mod tls_peer;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use moorline_net::blocking::{
    Client, ClientOptions, ReceiveError, SendError, Timeout, Watch, select,
};
use moorline_net::dial::StepKind;
use moorline_net::{Address, ConnectCause, Counts, DialOptions, Endian, Framing, Length};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;

/// Long enough for a busy machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of a wait that is to end in vain.
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn receiving_exactly_so_much_takes_as_many_reads_as_it_needs() {
    let (mut client, mut peer) = pair(ClientOptions::default());
    let sender = thread::spawn(move || {
        for byte in 0..100u8 {
            peer.write_all(&[byte]).unwrap();
        }
        peer
    });
    let mut all = [0; 100];
    client.receive_exact(&mut all).unwrap();
    let expected: Vec<u8> = (0..100).collect();
    assert_eq!(all[..], expected);
    drop(sender.join().unwrap());
    assert_eq!(client.receive(&mut all).unwrap(), 0);
}

#[test]
fn bytes_of_a_failed_receive_exact_are_not_lost() {
    let (mut client, mut peer) = pair(ClientOptions::default());
    client.set_timeout(Timeout::After(SHORT));
    peer.write_all(b"half").unwrap();
    let mut all = [0; 8];
    let error = client.receive_exact(&mut all).unwrap_err();
    assert!(matches!(error, ReceiveError::Timeout), "{error}");
    client.set_timeout(Timeout::After(PATIENCE));
    peer.write_all(b"done").unwrap();
    client.receive_exact(&mut all).unwrap();
    assert_eq!(&all, b"halfdone");
    peer.write_all(b"cut").unwrap();
    drop(peer);
    match client.receive_exact(&mut all).unwrap_err() {
        ReceiveError::EndOfFile { unfinished } => assert_eq!(unfinished, 3),
        error => panic!("{error}"),
    }
}

#[test]
fn peeking_takes_nothing() {
    let (mut client, mut peer) = pair(ClientOptions::default());
    peer.write_all(b"ahoy").unwrap();
    let mut two = [0; 2];
    for _ in 0..2 {
        // A peek shows what is there, which may be less than all.
        assert!(client.peek(&mut two).unwrap() > 0);
        assert_eq!(two[0], b'a');
    }
    let mut all = [0; 4];
    client.receive_exact(&mut all).unwrap();
    assert_eq!(&all, b"ahoy");
    drop(peer);
    assert_eq!(client.peek(&mut two).unwrap(), 0);
}

#[test]
fn a_delimiter_is_found_however_it_arrives() {
    let (mut client, mut peer) = pair(ClientOptions::default());
    let sender = thread::spawn(move || {
        for byte in b"one\r\ntwo\r\nthree" {
            peer.write_all(&[*byte]).unwrap();
        }
    });
    assert_eq!(client.receive_until(b"\r\n", 64).unwrap(), "one\r\n");
    assert_eq!(client.receive_until(b"\r\n", 64).unwrap(), "two\r\n");
    match client.receive_until(b"\r\n", 4).unwrap_err() {
        ReceiveError::Unended { max: 4 } => {}
        error => panic!("{error}"),
    }
    match client.receive_until(b"\r\n", 64).unwrap_err() {
        ReceiveError::EndOfFile { unfinished: 5 } => {}
        error => panic!("{error}"),
    }
    let mut rest = [0; 5];
    client.receive_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"three");
    sender.join().unwrap();
}

#[test]
fn messages_come_whole_and_one_by_one() {
    let length = Length::default()
        .width(4)
        .endian(Endian::Big)
        .offset(0)
        .counts(Counts::Payload)
        .max(1024)
        .keep_header(false);
    let framing = Framing::Length(length);
    let (mut client, mut peer) = pair(ClientOptions::default().framing(framing));
    client.send(b"ahoy").unwrap();
    let mut packet = [0; 8];
    peer.read_exact(&mut packet).unwrap();
    assert_eq!(&packet, b"\0\0\0\x04ahoy");
    peer.write_all(b"\0\0\0\x03one\0\0\0\x03two\0\0\0\x05fi")
        .unwrap();
    assert_eq!(client.receive_message().unwrap().unwrap(), "one");
    assert_eq!(client.receive_message().unwrap().unwrap(), "two");
    peer.write_all(b"ve!").unwrap();
    assert_eq!(client.receive_message().unwrap().unwrap(), "five!");
    match client.send(&[0; 2000]).unwrap_err() {
        SendError::Unfit(error) => assert_eq!(
            error.to_string(),
            "a message of 2000 bytes is too large: the framing allows 1020"
        ),
        error => panic!("{error}"),
    }
    peer.write_all(b"\0\0\x10\0").unwrap();
    match client.receive_message().unwrap_err() {
        ReceiveError::Framing(error) => assert_eq!(
            error.to_string(),
            "a message of 4100 bytes is announced, and the largest may have 1024"
        ),
        error => panic!("{error}"),
    }
}

#[test]
fn the_stream_ends_between_messages_only() {
    let framing = Framing::Line { max: 100 };
    let (mut client, mut peer) = pair(ClientOptions::default().framing(framing));
    peer.write_all(b"whole\r\ncut").unwrap();
    drop(peer);
    assert_eq!(client.receive_message().unwrap().unwrap(), "whole");
    match client.receive_message().unwrap_err() {
        ReceiveError::EndOfFile { unfinished: 3 } => {}
        error => panic!("{error}"),
    }
    let (mut client, peer) = pair(ClientOptions::default());
    drop(peer);
    assert_eq!(client.receive_message().unwrap(), None);
}

#[test]
fn a_send_that_nobody_takes_ends_at_its_deadline() {
    let (mut client, peer) = pair(ClientOptions::default());
    client.set_timeout(Timeout::After(SHORT));
    let began = Instant::now();
    match client.send(&vec![7; 64 << 20]).unwrap_err() {
        SendError::Timeout { sent } => assert!(sent > 0 && sent < 64 << 20, "{sent}"),
        error => panic!("{error}"),
    }
    assert!(began.elapsed() >= SHORT && began.elapsed() < PATIENCE);
    drop(peer);
}

#[test]
fn a_message_that_was_cut_is_not_followed_by_another() {
    let (mut client, _peer) = pair(
        ClientOptions::default()
            .framing(Framing::Line { max: u64::MAX })
            .timeout(Timeout::After(SHORT)),
    );
    let error = client.send(&vec![7; 64 << 20]).unwrap_err();
    assert!(matches!(error, SendError::Timeout { .. }), "{error}");
    let error = client.send(b"next").unwrap_err();
    assert!(matches!(error, SendError::Closed), "{error}");
}

#[test]
fn a_wait_without_a_limit_is_only_had_by_asking_for_it() {
    let default = ClientOptions::default();
    assert_eq!(default.timeout, Timeout::After(Duration::from_secs(5)));
    let options: ClientOptions = toml::from_str("timeout = \"never\"").unwrap();
    assert_eq!(options.timeout, Timeout::Never);
    let options: ClientOptions =
        toml::from_str("timeout = \"250ms\"\n[dial]\ndeadline = \"1s\"").unwrap();
    assert_eq!(options.timeout, Timeout::After(Duration::from_millis(250)));
    assert_eq!(options.dial.deadline, Duration::from_secs(1));
    assert!(toml::from_str::<ClientOptions>("patience = \"1s\"").is_err());
}

#[test]
fn signals_neither_end_a_call_nor_cost_it_its_time() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // A handler, so that the signal interrupts instead of kills.
    let kind = tokio::signal::unix::SignalKind::user_defined1();
    let _handled = runtime.block_on(async { tokio::signal::unix::signal(kind).unwrap() });

    let (mut client, mut peer) = pair(ClientOptions::default());
    let (tell, told) = mpsc::channel();
    let receiver = thread::spawn(move || {
        tell.send(pthread_self()).unwrap();
        let mut all = [0; 8];
        client.receive_exact(&mut all).unwrap();
        client.set_timeout(Timeout::After(10 * SHORT));
        let began = Instant::now();
        let error = client.receive(&mut all).unwrap_err();
        (error, began.elapsed())
    });
    let target = told.recv().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let signals = Arc::new(AtomicUsize::new(0));
    let (until, counted) = (over.clone(), signals.clone());
    let storm = thread::spawn(move || {
        while !until.load(Ordering::SeqCst) {
            // Until it is joined below its handle is good, even if it has ended.
            let _ = pthread_kill(target, Signal::SIGUSR1);
            counted.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
    });
    for byte in 0..8 {
        let before = signals.load(Ordering::SeqCst);
        let began = Instant::now();
        while signals.load(Ordering::SeqCst) < before + 3 {
            assert!(began.elapsed() < PATIENCE);
            thread::yield_now();
        }
        peer.write_all(&[byte]).unwrap();
    }
    let began = Instant::now();
    while !receiver.is_finished() && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    over.store(true, Ordering::SeqCst);
    storm.join().unwrap();
    let (error, took) = receiver.join().unwrap();
    assert!(matches!(error, ReceiveError::Timeout), "{error}");
    assert!(took >= 10 * SHORT, "{took:?}");
}

#[test]
fn several_are_waited_for_at_once() {
    let (mut one, to_one) = pair(ClientOptions::default());
    let (mut other, mut to_other) = pair(ClientOptions::default());
    let mut receive = |timeout| {
        let mut watched = [Watch::Receive(&mut one), Watch::Receive(&mut other)];
        select(&mut watched, timeout).unwrap()
    };
    let began = Instant::now();
    assert_eq!(receive(Timeout::After(SHORT)), []);
    assert!(began.elapsed() >= SHORT);
    to_other.write_all(b"ahoy").unwrap();
    assert_eq!(receive(Timeout::After(PATIENCE)), [1]);
    // It stays ready, though the client has read already.
    assert_eq!(receive(Timeout::Never), [1]);
    to_one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive_both(receive), [0, 1]);
    let mut bytes = [0; 8];
    assert_eq!(one.receive(&mut bytes).unwrap(), 0);
    assert_eq!(other.receive(&mut bytes).unwrap(), 4);
    assert_eq!(
        select(&mut [Watch::Send(&mut other)], Timeout::Never).unwrap(),
        [0]
    );
}

/// Waits until both are ready: the end of one travels.
fn receive_both(mut receive: impl FnMut(Timeout) -> Vec<usize>) -> Vec<usize> {
    let began = Instant::now();
    loop {
        let ready = receive(Timeout::After(PATIENCE));
        if ready.len() == 2 || began.elapsed() > PATIENCE {
            return ready;
        }
    }
}

#[test]
fn dials_are_waited_for_beside_receiving() {
    let (mut client, _peer) = pair(ClientOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = address_of(&listener);
    let nobody = address_of(&TcpListener::bind("127.0.0.1:0").unwrap());
    let options = ClientOptions::default();
    let mut dials = [open, nobody].map(|address| Client::begin(&address, options.clone()).unwrap());
    let began = Instant::now();
    loop {
        let [first, second] = &mut dials;
        let mut watched = [
            Watch::Receive(&mut client),
            Watch::Connect(first),
            Watch::Connect(second),
        ];
        let ready = select(&mut watched, Timeout::After(PATIENCE)).unwrap();
        assert!(!ready.contains(&0) && began.elapsed() < PATIENCE);
        if ready == [1, 2] {
            break;
        }
    }
    let [first, second] = dials.map(|dial| dial.wait());
    first.unwrap().send(b"ahoy").unwrap();
    let error = second.unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Refused(_)), "{error}");
    assert_eq!(error.errno(), Some(nix::errno::Errno::ECONNREFUSED as i32));
}

#[test]
fn a_dial_that_is_given_up_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tls://{}", listener.local_addr().unwrap());
    let dial = Client::begin(&address.parse().unwrap(), over_tls()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    // Its first flight has come; nothing answers it.
    assert!(peer.read(&mut [0; 16 << 10]).unwrap() > 0);
    drop(dial);
    assert_eq!(peer.read(&mut [0; 16 << 10]).unwrap(), 0);
}

#[test]
fn a_dial_ends_at_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tls://{}", listener.local_addr().unwrap());
    let mut options = over_tls();
    options.dial.deadline = SHORT;
    let error = Client::connect(&address.parse().unwrap(), options).unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Timeout), "{error}");
    assert_eq!(error.step(), Some(StepKind::Tls));
}

#[test]
fn tls_changes_nothing_but_the_address() {
    let (mut client, mut peer) = tls_pair();
    assert_eq!(client.tls().unwrap().names, ["127.0.0.1"]);
    client.send(b"ahoy").unwrap();
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ahoy");

    let large: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    let sent = large.clone();
    let sender = thread::spawn(move || {
        peer.write_all(&sent).unwrap();
        peer.flush().unwrap();
        peer
    });
    let mut all = vec![0; large.len()];
    client.receive_exact(&mut all).unwrap();
    assert!(all == large);
    let mut peer = sender.join().unwrap();

    client.set_timeout(Timeout::After(SHORT));
    let error = client.receive(&mut bytes).unwrap_err();
    assert!(matches!(error, ReceiveError::Timeout), "{error}");
    assert!(client.is_connected());

    peer.write_all(b"one\ntwo\n").unwrap();
    peer.flush().unwrap();
    client.set_timeout(Timeout::After(PATIENCE));
    assert_eq!(client.receive_until(b"\n", 16).unwrap(), "one\n");
    assert_eq!(client.receive_until(b"\n", 16).unwrap(), "two\n");

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&large).unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        peer.conn.send_close_notify();
        peer.flush().unwrap();
        all
    });
    client.send_file(&file, 7, 200_000).unwrap();
    client.half_close().unwrap();
    assert!(reader.join().unwrap() == large[7..200_007]);
    assert_eq!(client.receive(&mut bytes).unwrap(), 0);
    assert!(!client.is_connected());
}

#[test]
fn session_tickets_make_nothing_ready() {
    let (mut client, mut peer) = tls_pair();
    // The tickets have come by now, or come while it waits.
    let ready = select(
        &mut [Watch::Receive(&mut client)],
        Timeout::After(2 * SHORT),
    );
    assert_eq!(ready.unwrap(), []);
    peer.write_all(b"ahoy").unwrap();
    peer.flush().unwrap();
    let ready = select(&mut [Watch::Receive(&mut client)], Timeout::After(PATIENCE));
    assert_eq!(ready.unwrap(), [0]);
}

#[test]
fn a_tls_peer_that_vanishes_did_not_end_the_stream() {
    let (mut client, peer) = tls_pair();
    drop(peer.sock);
    match client.receive(&mut [0; 4]).unwrap_err() {
        ReceiveError::EndOfFile { unfinished: 0 } => {}
        error => panic!("{error}"),
    }
}

type TlsPeer = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

/// A client and its peer, who have shaken hands.
fn tls_pair() -> (Client, TlsPeer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Address = format!("tls://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let accepting = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        let mut session = rustls::ServerConnection::new(tls_peer::server()).unwrap();
        session.complete_io(&mut socket).unwrap();
        rustls::StreamOwned::new(session, socket)
    });
    let client = Client::connect(&address, over_tls()).unwrap();
    (client, accepting.join().unwrap())
}

fn over_tls() -> ClientOptions {
    ClientOptions::default().dial(DialOptions::default().tls(tls_peer::options()))
}

#[test]
fn it_works_where_a_runtime_runs_already() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut answer = [0; 4];
    runtime.block_on(async {
        let (mut client, mut peer) = pair(ClientOptions::default());
        peer.write_all(b"ahoy").unwrap();
        client.receive_exact(&mut answer).unwrap();
    });
    assert_eq!(&answer, b"ahoy");
}

#[test]
fn a_range_of_a_file_is_sent() {
    let (mut client, mut peer) = pair(ClientOptions::default());
    let mut file = tempfile::tempfile().unwrap();
    let content: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
    file.write_all(&content).unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        all
    });
    client.send_file(&file, 1000, 2 << 20).unwrap();
    let past = client.send_file(&file, 3 << 20, 1).unwrap_err();
    assert!(matches!(past, SendError::File(_)), "{past}");
    let unreadable = File::options()
        .write(true)
        .open("/dev/null")
        .map(|null| client.send_file(&null, 0, 1).unwrap_err());
    assert!(matches!(unreadable, Ok(SendError::File(_))));
    client.half_close().unwrap();
    let error = client.send(b"more").unwrap_err();
    assert!(matches!(error, SendError::Closed), "{error}");
    assert!(reader.join().unwrap() == content[1000..1000 + (2 << 20)]);
}

#[test]
fn it_tells_whether_the_peer_is_there() {
    let (mut client, peer) = pair(ClientOptions::default());
    assert!(client.is_connected());
    drop(peer);
    let ready = select(&mut [Watch::Receive(&mut client)], Timeout::After(PATIENCE));
    assert_eq!(ready.unwrap(), [0]);
    assert!(!client.is_connected());
}

#[test]
fn a_look_at_the_connection_does_not_take_a_reset_away() {
    let (mut client, peer) = pair(ClientOptions::default());
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert!(!client.is_connected());
    assert!(!client.is_connected());
    let error = client.receive(&mut [0]).unwrap_err();
    assert!(matches!(error, ReceiveError::Reset(_)), "{error}");
}

#[test]
fn a_framing_that_no_client_has_is_refused() {
    let options = ClientOptions::default().framing(Framing::WebSocket { max: 100 });
    let error = Client::begin(&"tcp://127.0.0.1:1".parse().unwrap(), options).unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Invalid(_)), "{error}");
}

#[test]
fn a_framing_is_written_as_for_every_other_client() {
    for written in [
        r#"framing = { kind = "raw" }"#,
        r#"framing = { kind = "length", width = 2, endian = "little", max = "1MiB" }"#,
        r#"framing = { kind = "delimiter", delimiter = "\r\n" }"#,
        r#"framing = { kind = "line" }"#,
    ] {
        let blocking: ClientOptions = toml::from_str(written).unwrap();
        let other: moorline_net::ClientOptions = toml::from_str(written).unwrap();
        assert_eq!(blocking.framing, other.framing, "{written}");
        let again = toml::to_string(&blocking).unwrap();
        assert_eq!(toml::from_str::<ClientOptions>(&again).unwrap(), blocking);
    }
}

#[test]
fn unix_sockets_are_spoken_to_alike() {
    let listener = UnixListener::bind_addr(&abstract_name("alike")).unwrap();
    let address: Address = "unix://@moorline-blocking-alike".parse().unwrap();
    let mut client = Client::connect(&address, ClientOptions::default()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    client.send(b"ahoy").unwrap();
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes).unwrap();
    peer.write_all(&bytes).unwrap();
    client.receive_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ahoy");
}

fn abstract_name(name: &str) -> std::os::unix::net::SocketAddr {
    use std::os::linux::net::SocketAddrExt;
    std::os::unix::net::SocketAddr::from_abstract_name(format!("moorline-blocking-{name}")).unwrap()
}

/// A client and its peer.
fn pair(options: ClientOptions) -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::connect(&address_of(&listener), options).unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_nodelay(true).unwrap();
    (client, peer)
}

fn address_of(listener: &TcpListener) -> Address {
    format!("tcp://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap()
}
