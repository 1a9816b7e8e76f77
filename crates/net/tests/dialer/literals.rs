//! Dialing IP addresses.

use std::net::TcpListener as StdListener;

use moorline_net::dial::{Outcome, StepKind};
use moorline_net::{ConnectCause, DatagramClient, DialOptions, Dialer};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{address, dialer, listener, refusal, refusing, steps, words};

#[tokio::test]
async fn a_connection_carries_bytes_both_ways_and_knows_how_it_came_about() {
    let (listener, at) = listener().await;
    let mut connection = dialer()
        .connect(&address(format!("tcp://{at}")))
        .await
        .unwrap();
    let (mut peer, from) = listener.accept().await.unwrap();

    assert_eq!(connection.peer(), Some(at));
    assert_eq!(connection.local(), Some(from));
    assert!(!connection.reused());
    assert_eq!(
        steps(connection.timeline().steps()),
        [(StepKind::Connect, at.to_string(), "ok".to_owned())]
    );
    assert_eq!(*connection.timeline().outcome(), Outcome::Done);
    assert!(connection.timeline().total().is_some());

    connection.write_all(b"ahoy").await.unwrap();
    let mut buffer = [0; 4];
    peer.read_exact(&mut buffer).await.unwrap();
    peer.write_all(&buffer).await.unwrap();
    connection.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"ahoy");
}

#[tokio::test]
async fn protocols_over_tcp_are_dialed_like_tcp() {
    let (_listener, at) = listener().await;
    for scheme in ["tcp", "http", "ws"] {
        let connection = dialer().connect(&address(format!("{scheme}://{at}"))).await;
        assert_eq!(connection.unwrap().peer(), Some(at));
    }
}

#[tokio::test]
async fn ipv6_is_dialed_with_and_without_a_zone() {
    let listener = StdListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["::1", "::1%lo", "::1%1"] {
        let connection = dialer()
            .connect(&address(format!("tcp://[{host}]:{port}")))
            .await;
        assert_eq!(connection.unwrap().peer().unwrap().port(), port);
    }
}

#[tokio::test]
async fn a_zone_without_an_interface_is_explained() {
    let (error, _) = refusal(&dialer(), &address("tcp://[fe80::1%nowhere]:1")).await;
    assert_eq!(
        error.to_string(),
        "cannot connect to tcp://[fe80::1%nowhere]:1: there is no interface `nowhere`: \
         write after the `%` of fe80::1 one that `ip link` lists"
    );
    assert_eq!(error.step(), None);
}

#[tokio::test]
async fn a_refused_connection_has_the_systems_code() {
    let (_socket, at) = refusing();
    let (error, _) = refusal(&dialer(), &address(format!("tcp://{at}"))).await;
    assert!(
        matches!(error.cause(), ConnectCause::Refused(_)),
        "{error:?}"
    );
    assert_eq!(error.errno(), Some(Errno::CONNREFUSED.raw_os_error()));
    assert_eq!(error.address(), format!("tcp://{at}"));
    assert_eq!(error.step(), Some(StepKind::Connect));
    assert_eq!(
        steps(error.timeline().steps()),
        [(StepKind::Connect, at.to_string(), words(Errno::CONNREFUSED))]
    );
    let step = &error.timeline().steps()[0];
    assert_eq!(step.errno, Some(Errno::CONNREFUSED.raw_os_error()));
}

#[tokio::test]
async fn a_socket_never_meets_itself() {
    let (socket, at) = refusing();
    drop(socket);
    let dialer = Dialer::new(DialOptions::default().bind(Some(at)));
    let (error, _) = refusal(&dialer, &address(format!("tcp://{at}"))).await;
    assert!(
        matches!(error.cause(), ConnectCause::Refused(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn addresses_without_a_stream_are_refused_with_the_way_out() {
    for scheme in ["udp://127.0.0.1:1", "unixgram:///run/a"] {
        let (error, _) = refusal(&dialer(), &address(scheme)).await;
        assert!(
            matches!(error.cause(), ConnectCause::Invalid(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains("datagram client"), "{error}");
        assert_eq!(error.step(), None);
    }
    // There is no KCP here, neither as a stream nor as datagrams.
    let kcp = address("kcp://127.0.0.1:1");
    let (stream, _) = refusal(&dialer(), &kcp).await;
    let datagrams = DatagramClient::connect(&dialer(), &kcp).await.unwrap_err();
    for error in [stream, datagrams] {
        assert_eq!(
            error.to_string(),
            "cannot connect to kcp://127.0.0.1:1: there is no KCP here: \
             write tcp://host:port, or udp://host:port for datagrams"
        );
    }
    let (error, _) = refusal(&dialer(), &address("tcp://127.0.0.1:0")).await;
    assert!(error.to_string().contains("port 0"), "{error}");
}

#[tokio::test]
async fn a_socket_that_the_caller_connected_is_taken_over() {
    let (listener, at) = listener().await;
    let socket = std::net::TcpStream::connect(at).unwrap();
    let mut connection = Dialer::from_socket(socket).unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"ahoy").await.unwrap();
    let mut buffer = [0; 4];
    connection.read_exact(&mut buffer).await.unwrap();
    assert_eq!(connection.peer(), Some(at));

    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(Dialer::from_socket(one).unwrap().peer(), None);
}

#[tokio::test]
async fn a_socket_that_is_not_connected_or_no_stream_is_not_taken() {
    let (socket, _) = refusing();
    let kind = |result: std::io::Result<_>| result.map(|_| ()).unwrap_err().kind();
    let taken = Dialer::from_socket(socket);
    assert_eq!(kind(taken), std::io::ErrorKind::NotConnected);
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = Dialer::from_socket(datagrams);
    assert_eq!(kind(taken), std::io::ErrorKind::InvalidInput);
}
