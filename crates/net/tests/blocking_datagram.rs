//! Blocking datagram clients, over UDP and Unix sockets.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use moorline_net::blocking::{DatagramClient, DatagramOptions, Timeout, Watch, select};
use moorline_net::dial::Family;
use moorline_net::{
    Address, ConnectCause, ConnectError, DatagramError, DialOptions, Peer, SocketOptions,
};

/// Long enough for a busy machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn one_bound_socket_talks_to_all_peers_and_sees_each_sender() {
    let client = bound("udp://127.0.0.1:0");
    for other in [any_peer(), any_peer()] {
        let peer = Peer::Ip(other.local_addr().unwrap());
        client.send_to(b"ahoy", &peer).unwrap();
        let mut bytes = [0; 16];
        let (length, sender) = other.recv_from(&mut bytes).unwrap();
        assert_eq!((length, Peer::Ip(sender)), (4, client.own().unwrap()));
        other.send_to(b"aye", sender).unwrap();
        let received = client.receive(&mut bytes).unwrap();
        assert_eq!((received.bytes, received.peer), (3, peer));
    }
    let error = client.send(b"to nobody").unwrap_err();
    assert!(matches!(error, DatagramError::NoPeer), "{error}");
}

#[test]
fn a_connected_one_hears_its_peer_alone_until_it_is_disconnected() {
    let (peer, other_sender) = (any_peer(), any_peer());
    let mut client = bound("udp://127.0.0.1:0");
    let own = own(&client);
    // Over the loopback it is there when this returns.
    other_sender.send_to(b"early", own).unwrap();
    client.connect_to(&udp(&peer)).unwrap();
    other_sender.send_to(b"psst", own).unwrap();
    peer.send_to(b"ahoy", own).unwrap();
    let mut bytes = [0; 16];
    let received = client.receive(&mut bytes).unwrap();
    assert_eq!(&bytes[..received.bytes], b"ahoy");
    client.send(b"aye").unwrap();
    assert_eq!(peer.recv(&mut bytes).unwrap(), 3);
    client.disconnect().unwrap();
    other_sender.send_to(b"psst", own).unwrap();
    let received = client.receive(&mut bytes).unwrap();
    assert_eq!(&bytes[..received.bytes], b"psst");
}

#[test]
fn a_receive_ends_at_its_deadline_and_the_next_one_is_served() {
    let peer = any_peer();
    let mut client = connect(&udp(&peer)).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(50)] {
        client.set_timeout(Timeout::After(timeout));
        let began = Instant::now();
        let error = client.receive(&mut [0; 16]).unwrap_err();
        assert!(matches!(error, DatagramError::TimedOut), "{error}");
        assert!(began.elapsed() >= timeout);
    }
    client.set_timeout(Timeout::Never);
    let own = own(&client);
    let sends = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        peer.send_to(b"late", own).unwrap();
    });
    assert_eq!(client.receive(&mut [0; 16]).unwrap().bytes, 4);
    sends.join().unwrap();
}

#[test]
fn a_missing_peer_is_an_error_and_ends_nothing() {
    let gone = any_peer();
    let address = gone.local_addr().unwrap();
    let client = connect(&udp(&gone)).unwrap();
    drop(gone);
    client.send(b"anybody?").unwrap();
    let error = client.receive(&mut [0; 16]).unwrap_err();
    assert!(matches!(error, DatagramError::Refused(_)), "{error}");
    assert_eq!(error.errno(), Some(nix::errno::Errno::ECONNREFUSED as i32));
    let back = UdpSocket::bind(address).unwrap();
    back.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(b"anybody?").unwrap();
    assert_eq!(back.recv(&mut [0; 16]).unwrap(), 8);
}

#[test]
fn the_largest_datagrams_pass_larger_ones_are_refused_and_those_over_the_buffer_are_cut() {
    for (own, most) in [("udp://127.0.0.1:0", 65_507), ("udp://[::1]:0", 65_527)] {
        let (one, other) = (bound(own), bound(own));
        let peer = other.own().unwrap();
        let bytes = vec![7; most + 1];
        one.send_to(&bytes[..most], &peer).unwrap();
        let mut room = [0; 100];
        let received = other.receive(&mut room).unwrap();
        assert_eq!((received.bytes, received.is_cut), (100, true));
        match one.send_to(&bytes, &peer).unwrap_err() {
            DatagramError::TooLarge { size, max } => {
                assert_eq!((size, max), (most + 1, Some(most)));
            }
            error => panic!("{error}"),
        }
    }
}

#[test]
fn a_unix_client_has_a_path_that_answers_find_and_that_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (own, peer) = (folder.path().join("own"), folder.path().join("peer"));
    let server = UnixDatagram::bind(&peer).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = bound(&format!("unixgram://{}", own.display()));
    client.connect_to(&unixgram(&peer)).unwrap();
    client.send(b"ahoy").unwrap();
    let mut bytes = [0; 16];
    let (length, sender) = server.recv_from(&mut bytes).unwrap();
    assert_eq!((length, sender.as_pathname()), (4, Some(&*own)));
    server.send_to(b"aye", &own).unwrap();
    let received = client.receive(&mut bytes).unwrap();
    assert_eq!((received.bytes, received.peer), (3, Peer::Unix(peer)));
    drop(client);
    assert!(!own.exists());
}

#[test]
fn a_send_to_a_full_unix_peer_waits_until_the_deadline_if_connected_and_fails_if_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peer");
    let peer = UnixDatagram::bind(&path).unwrap();
    let mut client = connect(&unixgram(&path)).unwrap();
    client.set_timeout(Timeout::After(Duration::from_millis(50)));
    let mut sent = 0;
    let error = loop {
        match client.send(b"ahoy") {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, DatagramError::TimedOut), "{error}");
    let other_sender = bound("unixgram://@moorline-blocking-other-sender");
    let error = other_sender
        .send_to(b"ahoy", &Peer::Unix(path))
        .unwrap_err();
    assert!(matches!(error, DatagramError::Full), "{error}");
    client.set_timeout(Timeout::After(PATIENCE));
    let reads = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        for _ in 0..=sent {
            peer.recv(&mut [0; 16]).unwrap();
        }
    });
    client.send(b"ahoy").unwrap();
    reads.join().unwrap();
}

#[test]
fn a_proxy_that_would_be_ignored_is_refused() {
    let through = || {
        DatagramOptions::default()
            .dial(DialOptions::default().via(Some("socks5://127.0.0.1:1".parse().unwrap())))
    };
    let refused = |error: ConnectError| match error.cause() {
        ConnectCause::Invalid(reason) => assert!(reason.contains("`via`"), "{reason}"),
        cause => panic!("{cause}"),
    };
    let own: Address = "udp://127.0.0.1:0".parse().unwrap();
    refused(DatagramClient::bind(&own, through()).unwrap_err());
    let peer = udp(&any_peer());
    refused(DatagramClient::connect(&peer, through()).unwrap_err());
    let unix = "unixgram:///nowhere".parse().unwrap();
    refused(DatagramClient::connect(&unix, through()).unwrap_err());
}

#[test]
fn options_are_the_same_as_for_a_dial() {
    let peer = any_peer();
    let options: DatagramOptions = toml::from_str(
        "timeout = \"3s\"\n[dial]\nbind = \"127.0.0.7:0\"\nfamily = \"ipv4\"\n[dial.socket]\nreceive_buffer = 50000",
    )
    .unwrap();
    let expected = DatagramOptions::default()
        .dial(
            DialOptions::default()
                .bind(Some("127.0.0.7:0".parse().unwrap()))
                .family(Family::Ipv4)
                .socket(SocketOptions::default().receive_buffer(Some(50_000))),
        )
        .timeout(Timeout::After(Duration::from_secs(3)));
    assert_eq!(options, expected);
    let port = peer.local_addr().unwrap().port();
    let named = format!("udp://localhost:{port}").parse().unwrap();
    let client = DatagramClient::connect(&named, options).unwrap();
    assert_eq!(own(&client).ip().to_string(), "127.0.0.7");
    // The kernel doubles it for its own needs (socket(7)).
    let buffer = rustix::net::sockopt::socket_recv_buffer_size(&client).unwrap();
    assert_eq!(buffer, 100_000);
    assert_eq!(client.timeline().steps().len(), 2);
}

#[test]
fn addresses_of_streams_or_of_another_kind_are_refused() {
    let invalid = |error: ConnectError| {
        assert!(matches!(error.cause(), ConnectCause::Invalid(_)), "{error}");
    };
    for text in ["tcp://127.0.0.1:1", "unix:///tmp/x", "udp://127.0.0.1:0"] {
        invalid(connect(&text.parse().unwrap()).unwrap_err());
    }
    let mut client = bound("udp://127.0.0.1:0");
    invalid(
        client
            .connect_to(&unixgram(Path::new("/nowhere")))
            .unwrap_err(),
    );
}

#[test]
fn datagrams_are_waited_for_beside_others() {
    let (one, other) = (bound("udp://127.0.0.1:0"), bound("udp://127.0.0.1:0"));
    let wait = |timeout| {
        let mut watched = [Watch::ReceiveDatagram(&one), Watch::ReceiveDatagram(&other)];
        select(&mut watched, Timeout::After(timeout)).unwrap()
    };
    assert_eq!(wait(Duration::from_millis(10)), []);
    one.send_to(b"ahoy", &other.own().unwrap()).unwrap();
    assert_eq!(wait(PATIENCE), [1]);
}

fn bound(own: &str) -> DatagramClient {
    DatagramClient::bind(&own.parse().unwrap(), DatagramOptions::default()).unwrap()
}

fn connect(peer: &Address) -> Result<DatagramClient, ConnectError> {
    DatagramClient::connect(peer, DatagramOptions::default())
}

fn own(client: &DatagramClient) -> std::net::SocketAddr {
    match client.own().unwrap() {
        Peer::Ip(own) => own,
        peer => panic!("{peer}"),
    }
}

fn any_peer() -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

fn udp(peer: &UdpSocket) -> Address {
    format!("udp://{}", peer.local_addr().unwrap())
        .parse()
        .unwrap()
}

fn unixgram(path: &Path) -> Address {
    format!("unixgram://{}", path.display()).parse().unwrap()
}
