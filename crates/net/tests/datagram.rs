//! Datagrams over UDP and Unix sockets, to one peer and to anyone.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use moorline_net::dial::{Family, Outcome, StepKind};
use moorline_net::{
    Address, Batch, ConnectCause, ConnectError, DatagramClient, DatagramError, DialOptions, Dialer,
    Peer, Received, SocketOptions,
};
use tokio::time::timeout;

/// Long enough for a busy machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn one_bound_socket_talks_to_all_peers_and_sees_each_sender() {
    let client = bound("udp://127.0.0.1:0");
    let others = [any_peer(), any_peer()];
    for other in &others {
        let peer = Peer::Ip(other.local_addr().unwrap());
        client.send_to(b"ahoy", &peer).await.unwrap();
        let mut bytes = [0; 16];
        let (length, sender) = other.recv_from(&mut bytes).unwrap();
        assert_eq!((length, Peer::Ip(sender)), (4, client.own().unwrap()));
        other.send_to(b"aye", sender).unwrap();
        let received = receive(&client).await.unwrap();
        assert_eq!(received, (b"aye".to_vec(), peer));
    }
    let error = client.send(b"to nobody").await.unwrap_err();
    assert!(matches!(error, DatagramError::NoPeer), "{error}");
}

#[tokio::test]
async fn a_proxy_that_would_be_ignored_is_refused() {
    let peer = any_peer();
    let options = DialOptions::default().via(Some("socks5://127.0.0.1:1".parse().unwrap()));
    let refused = |error: ConnectError| match error.cause() {
        ConnectCause::Invalid(reason) => assert!(reason.contains("`via`"), "{reason}"),
        cause => panic!("{cause}"),
    };
    let own = "udp://127.0.0.1:0".parse().unwrap();
    refused(DatagramClient::bind(&own, &options).unwrap_err());
    let through = Dialer::new(options);
    refused(
        DatagramClient::connect(&through, &udp(&peer))
            .await
            .unwrap_err(),
    );
    let mut client = bound("udp://127.0.0.1:0");
    refused(client.connect_to(&through, &udp(&peer)).await.unwrap_err());
    // A Unix socket has no proxy either, nor a local IP address.
    let unix = "unixgram:///nowhere".parse().unwrap();
    refused(DatagramClient::connect(&through, &unix).await.unwrap_err());
}

#[tokio::test]
async fn a_connected_one_hears_its_peer_alone() {
    let (peer, other_sender) = (any_peer(), any_peer());
    let client = connected(&peer).await;
    let Peer::Ip(own) = client.own().unwrap() else {
        panic!("it is bound to an IP address");
    };
    other_sender.send_to(b"psst", own).unwrap();
    peer.send_to(b"ahoy", own).unwrap();
    let expected = (b"ahoy".to_vec(), Peer::Ip(peer.local_addr().unwrap()));
    assert_eq!(receive(&client).await.unwrap(), expected);
}

#[tokio::test]
async fn connecting_drops_datagrams_queued_before() {
    let (peer, other_sender) = (any_peer(), any_peer());
    let mut client = bound("udp://127.0.0.1:0");
    let Peer::Ip(own) = client.own().unwrap() else {
        panic!("it is bound to an IP address");
    };
    for _ in 0..10 {
        // Over the loopback it is there when this returns.
        other_sender.send_to(b"psst", own).unwrap();
    }
    let address = udp(&peer);
    client.connect_to(&dialer(), &address).await.unwrap();
    peer.send_to(b"ahoy", own).unwrap();
    let expected = (b"ahoy".to_vec(), Peer::Ip(peer.local_addr().unwrap()));
    assert_eq!(receive(&client).await.unwrap(), expected);
}

#[tokio::test]
async fn one_that_is_disconnected_hears_anyone_at_the_port_that_it_had() {
    let (peer, other_sender) = (any_peer(), any_peer());
    let mut client = connected(&peer).await;
    let Peer::Ip(own) = client.own().unwrap() else {
        panic!("it is bound to an IP address");
    };
    client.disconnect().unwrap();
    other_sender.send_to(b"psst", own).unwrap();
    let expected = (
        b"psst".to_vec(),
        Peer::Ip(other_sender.local_addr().unwrap()),
    );
    assert_eq!(receive(&client).await.unwrap(), expected);
}

#[tokio::test]
async fn a_missing_peer_is_an_error_and_ends_nothing() {
    let gone = any_peer();
    let address = gone.local_addr().unwrap();
    let client = connected(&gone).await;
    drop(gone);
    for _ in 0..2 {
        client.send(b"anybody?").await.unwrap();
        let error = receive(&client).await.unwrap_err();
        assert!(matches!(error, DatagramError::Refused(_)), "{error}");
        assert_eq!(error.errno(), Some(nix::errno::Errno::ECONNREFUSED as i32));
    }
    let back = UdpSocket::bind(address).unwrap();
    client.send(b"anybody?").await.unwrap();
    let mut bytes = [0; 16];
    let (length, sender) = back.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"anybody?");
    back.send_to(b"aye", sender).unwrap();
    assert_eq!(receive(&client).await.unwrap().0, b"aye");
}

#[tokio::test]
async fn the_largest_datagrams_pass_and_larger_ones_are_refused() {
    for (own, most) in [("udp://127.0.0.1:0", 65_507), ("udp://[::1]:0", 65_527)] {
        let (one, other) = (bound(own), bound(own));
        let peer = other.own().unwrap();
        let bytes: Vec<u8> = (0..most + 1).map(|at| (at % 251) as u8).collect();
        one.send_to(&bytes[..most], &peer).await.unwrap();
        let (received, sender) = receive(&other).await.unwrap();
        assert!(received == bytes[..most]);
        assert_eq!(sender, one.own().unwrap());
        match one.send_to(&bytes, &peer).await.unwrap_err() {
            DatagramError::TooLarge { size, max } => {
                assert_eq!((size, max), (most + 1, Some(most)));
            }
            error => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_datagram_over_the_buffer_is_marked_as_cut() {
    let (one, other) = (bound("udp://127.0.0.1:0"), bound("udp://127.0.0.1:0"));
    let sender = one.own().unwrap();
    for (bytes, is_cut) in [(b"ahoy".as_slice(), false), (b"ahoy there", true)] {
        one.send_to(bytes, &other.own().unwrap()).await.unwrap();
        let mut buffer = [0; 4];
        let received = timeout(PATIENCE, other.receive(&mut buffer)).await.unwrap();
        let Received {
            bytes,
            peer,
            is_cut: was_cut,
            ..
        } = received.unwrap();
        assert_eq!((bytes, &buffer), (4, b"ahoy"));
        assert_eq!((peer, was_cut), (sender.clone(), is_cut));
    }
}

#[tokio::test]
async fn batches_arrive_whole_and_in_order() {
    for own in ["udp://127.0.0.1:0", "unixgram://@moorline-datagram-batch-"] {
        let unix = own.starts_with("unixgram");
        let name = |which: &str| match unix {
            true => format!("{own}{which}"),
            false => own.to_owned(),
        };
        let (one, other) = (bound(&name("one")), bound(&name("other")));
        let peer = other.own().unwrap();
        let texts: Vec<String> = (0..8).map(|at| "x".repeat(at * 100)).collect();
        let datagrams: Vec<_> = texts
            .iter()
            .map(|text| (text.as_bytes(), Some(peer.clone())))
            .collect();
        assert_eq!(one.send_batch(&datagrams).await.unwrap(), 8);
        let mut batch = Batch::new(5, 600);
        let mut received = Vec::new();
        for expected in [5, 3] {
            let count = timeout(PATIENCE, other.receive_batch(&mut batch));
            assert_eq!(count.await.unwrap().unwrap(), expected);
            for (bytes, what) in batch.iter() {
                assert_eq!(what.peer, one.own().unwrap());
                assert_eq!(what.is_cut, bytes.len() == 600 && received.len() == 7);
                received.push(String::from_utf8(bytes.to_vec()).unwrap());
            }
        }
        assert_eq!(received[..7], texts[..7]);
        assert_eq!(received[7], texts[7][..600]);
    }
}

#[tokio::test]
async fn a_batch_too_large_at_its_head_says_so_and_elsewhere_stops_there() {
    let peer = any_peer();
    let client = connected(&peer).await;
    let large = vec![0; 65_508];
    let datagrams: [(&[u8], _); 3] = [(b"one", None), (&large, None), (b"two", None)];
    assert_eq!(client.send_batch(&datagrams).await.unwrap(), 1);
    let error = client.send_batch(&[(&large, None)]).await.unwrap_err();
    assert!(matches!(error, DatagramError::TooLarge { .. }), "{error}");
    assert_eq!(client.send_batch(&[]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_unix_client_has_a_path_that_answers_find_and_that_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (own, theirs) = (folder.path().join("own"), folder.path().join("theirs"));
    let peer = UnixDatagram::bind(&theirs).unwrap();
    let mut client = bound(&format!("unixgram://{}", own.display()));
    let address = unixgram(&theirs);
    client.connect_to(&dialer(), &address).await.unwrap();
    client.send(b"ahoy").await.unwrap();
    let mut bytes = [0; 16];
    let (length, sender) = peer.recv_from(&mut bytes).unwrap();
    assert_eq!((length, sender.as_pathname()), (4, Some(own.as_path())));
    peer.send_to_addr(b"aye", &sender).unwrap();
    let expected = (b"aye".to_vec(), Peer::Unix(theirs));
    assert_eq!(receive(&client).await.unwrap(), expected);
    drop(client);
    assert!(!own.exists());
}

#[tokio::test]
async fn without_a_path_of_its_own_it_has_an_abstract_one() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    let peer = UnixDatagram::bind(&theirs).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = connect(&unixgram(&theirs)).await.unwrap();
    client.send(b"ahoy").await.unwrap();
    let (_, sender) = peer.recv_from(&mut [0; 16]).unwrap();
    peer.send_to_addr(b"aye", &sender).unwrap();
    assert_eq!(receive(&client).await.unwrap().0, b"aye");
}

#[tokio::test]
async fn the_file_of_a_crashed_client_is_replaced_a_live_ones_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    // As a crash leaves it: the file stays.
    drop(UnixDatagram::bind(&own).unwrap());
    assert!(own.exists());
    let client = bound(&format!("unixgram://{}", own.display()));
    let error = DatagramClient::bind(&unixgram(&own), &DialOptions::default()).unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Invalid(_)), "{error}");
    drop(client);
    assert!(!own.exists());

    std::fs::write(&own, "a letter").unwrap();
    let error = DatagramClient::bind(&unixgram(&own), &DialOptions::default()).unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Invalid(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&own).unwrap(), "a letter");
}

#[tokio::test]
async fn a_file_that_is_anothers_by_now_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    let client = bound(&format!("unixgram://{}", own.display()));
    std::fs::remove_file(&own).unwrap();
    let _successor = UnixDatagram::bind(&own).unwrap();
    drop(client);
    assert!(own.exists());
}

#[tokio::test]
async fn a_send_to_a_full_unix_peer_waits_if_connected_and_fails_if_not() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    let peer = UnixDatagram::bind(&theirs).unwrap();
    let client = connect(&unixgram(&theirs)).await.unwrap();
    let mut sent = 0;
    while timeout(Duration::from_millis(50), client.send(b"ahoy"))
        .await
        .is_ok()
    {
        sent += 1;
    }
    let other_sender = bound("unixgram://@moorline-datagram-full");
    let error = other_sender.send_to(b"ahoy", &Peer::Unix(theirs)).await;
    assert!(matches!(error, Err(DatagramError::Full)), "{error:?}");

    let waiting = tokio::spawn(async move { client.send(b"late").await });
    for _ in 0..sent {
        peer.recv(&mut [0; 16]).unwrap();
    }
    timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn options_are_the_same_as_for_a_dial() {
    let peer = any_peer();
    let options = DialOptions::default()
        .bind(Some("127.0.0.7:0".parse().unwrap()))
        .socket(SocketOptions::default().receive_buffer(Some(50_000)));
    let dialer = Dialer::new(options);
    let client = DatagramClient::connect(&dialer, &udp(&peer)).await.unwrap();
    let Peer::Ip(own) = client.own().unwrap() else {
        panic!("it is bound to an IP address");
    };
    assert_eq!(own.ip().to_string(), "127.0.0.7");
    // The kernel doubles it for its own needs (socket(7)).
    let buffer = rustix::net::sockopt::socket_recv_buffer_size(&client).unwrap();
    assert_eq!(buffer, 100_000);
}

#[tokio::test]
async fn names_are_resolved() {
    let peer = any_peer();
    let port = peer.local_addr().unwrap().port();
    let options = DialOptions::default().family(Family::Ipv4);
    let address: Address = format!("udp://localhost:{port}").parse().unwrap();
    let dialer = Dialer::new(options);
    let client = DatagramClient::connect(&dialer, &address).await.unwrap();
    client.send(b"ahoy").await.unwrap();
    assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 4);
    let steps = client.timeline().steps().iter();
    let steps: Vec<_> = steps
        .map(|step| (step.kind, step.target.to_string(), step.outcome.clone()))
        .collect();
    let named = format!("127.0.0.1:{port}");
    assert_eq!(
        steps,
        [
            (StepKind::Resolve, "localhost".to_owned(), Outcome::Done),
            (StepKind::Connect, named, Outcome::Done),
        ]
    );
    assert_eq!(client.timeline().outcome(), &Outcome::Done);
}

#[tokio::test]
async fn addresses_of_streams_are_refused() {
    for text in ["tcp://127.0.0.1:1", "unix:///tmp/x", "udp://127.0.0.1:0"] {
        let error = connect(&text.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error.cause(), ConnectCause::Invalid(_)), "{error}");
    }
}

fn dialer() -> Dialer {
    Dialer::new(DialOptions::default())
}

fn bound(own: &str) -> DatagramClient {
    DatagramClient::bind(&own.parse().unwrap(), &DialOptions::default()).unwrap()
}

async fn connected(peer: &UdpSocket) -> DatagramClient {
    connect(&udp(peer)).await.unwrap()
}

async fn connect(peer: &Address) -> Result<DatagramClient, ConnectError> {
    DatagramClient::connect(&dialer(), peer).await
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

async fn receive(client: &DatagramClient) -> Result<(Vec<u8>, Peer), DatagramError> {
    let mut buffer = vec![0; 65_536];
    let received = timeout(PATIENCE, client.receive(&mut buffer)).await;
    let received = received.expect("something comes in time")?;
    buffer.truncate(received.bytes);
    Ok((buffer, received.peer))
}
