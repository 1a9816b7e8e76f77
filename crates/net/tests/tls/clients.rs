//! Clients, handlers, files and relays over TLS.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use moorline_net::client::{CloseReason, Reconnect, SendError, StreamError, Unsent};
use moorline_net::relay::RelayEnd;
use moorline_net::tls::TlsOptions;
use moorline_net::{
    Address, Client, ClientOptions, ConnectError, DialOptions, Framing, Handler, Length, Relay,
};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::authority::{Authority, Dates};
use crate::server::Server;
use crate::{PATIENCE, tls_peer, trusting};

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it takes too long")
}

fn options(tls: TlsOptions, framing: Framing) -> ClientOptions {
    ClientOptions::framed(framing).dial(DialOptions::default().tls(tls))
}

fn framed() -> ClientOptions {
    let length = Length::default().max(64 << 20);
    options(tls_peer::options(), Framing::Length(length))
}

fn reconnecting() -> ClientOptions {
    framed().reconnect(Some(
        Reconnect::default()
            .first(Duration::from_millis(1))
            .cap(Duration::from_millis(2))
            .queue(Unsent::Keep),
    ))
}

type Peer = TlsStream<TcpStream>;

/// A rustls server that a test drives by hand.
struct Listener {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Listener {
    async fn bind() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            config: tls_peer::server(),
        }
    }

    fn address(&self) -> Address {
        let at = self.listener.local_addr().unwrap();
        format!("tls://{at}").parse().unwrap()
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let acceptor = TlsAcceptor::from(self.config.clone());
        within(acceptor.accept(stream)).await.unwrap()
    }

    /// A connected client and its peer.
    async fn pair(&self, options: ClientOptions) -> (Client, Peer) {
        let mut client = Client::new(self.address(), options);
        let (connected, peer) = tokio::join!(client.connect(), self.accept());
        connected.unwrap();
        (client, peer)
    }
}

/// A connection that its owner lets go of without TLS's farewell.
fn leave(peer: Peer) {
    drop(peer.into_inner().0);
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = (payload.len() as u32).to_be_bytes().to_vec();
    packet.extend_from_slice(payload);
    packet
}

async fn write(peer: &mut Peer, bytes: &[u8]) {
    peer.write_all(bytes).await.unwrap();
    peer.flush().await.unwrap();
}

async fn read_packet(peer: &mut Peer) -> Vec<u8> {
    let size = within(peer.read_u32()).await.unwrap() as usize;
    let mut payload = vec![0; size];
    within(peer.read_exact(&mut payload)).await.unwrap();
    payload
}

/// Notes what it is told.
struct Told(UnboundedSender<String>);

impl Handler for Told {
    fn connected(&mut self, client: &mut Client) {
        let _ = self.0.send(format!("connected {}", client.attempt()));
    }

    fn message(&mut self, client: &mut Client, message: &[u8]) {
        let _ = self.0.send(String::from_utf8_lossy(message).into_owned());
        let _ = client.try_send(b"heard");
    }

    fn closed(&mut self, client: &mut Client, reason: &CloseReason) {
        let attempt = client.attempt();
        let _ = self.0.send(format!("closed {attempt}: {reason}"));
    }

    fn error(&mut self, _: &mut Client, error: &ConnectError) {
        let _ = self.0.send(format!("error: {error}"));
    }
}

fn told() -> (Told, UnboundedReceiver<String>) {
    let (tells, told) = unbounded_channel();
    (Told(tells), told)
}

async fn next(told: &mut UnboundedReceiver<String>) -> String {
    within(told.recv()).await.expect("the client lives")
}

#[tokio::test]
async fn an_awaited_client_talks_to_openssl() {
    for version in ["-tls1_2", "-tls1_3"] {
        let authority = Authority::new("root");
        let identity = authority.issue(&["127.0.0.1"], Dates::Now);
        let server = Server::start(&identity, &[version]);
        let address = format!("tls://{}", server.address).parse().unwrap();
        let lines = Framing::Line { max: 1000 };
        let mut client = Client::new(address, options(trusting(&authority.root), lines));
        within(client.connect()).await.unwrap();
        for _ in 0..3 {
            client.send(b"moor").await.unwrap();
            let answer = within(client.receive_message()).await.unwrap();
            assert_eq!(answer.as_deref(), Some(&b"room"[..]), "{version}");
        }
        // Openssl's answer to many lines at once comes in records of its own.
        {
            let mut corked = client.cork();
            for at in 0..100 {
                corked.try_send(format!("{at:03}").as_bytes()).unwrap();
            }
        }
        for at in 0..100 {
            let answer = within(client.receive_message()).await.unwrap().unwrap();
            let expected: String = format!("{at:03}").chars().rev().collect();
            assert_eq!(answer, expected.as_bytes());
        }
        within(client.close()).await.unwrap();
    }
}

#[tokio::test]
async fn a_handler_talks_to_openssl_and_learns_of_its_death() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["127.0.0.1"], Dates::Now);
    let server = Server::start(&identity, &[]);
    let address = format!("tls://{}", server.address).parse().unwrap();
    let lines = Framing::Line { max: 1000 };
    let (handler, mut told) = told();
    let running = Client::new(address, options(trusting(&authority.root), lines)).start(handler);
    assert_eq!(next(&mut told).await, "connected 1");
    running.try_send(b"moor").unwrap();
    assert_eq!(next(&mut told).await, "room");
    assert_eq!(next(&mut told).await, "draeh");
    // Killed, it leaves without a word. It may have had an answer unread: then its system resets.
    drop(server);
    loop {
        let event = next(&mut told).await;
        if let Some(reason) = event.strip_prefix("closed 1: ") {
            assert_ne!(reason, CloseReason::ByPeer.to_string());
            break;
        }
    }
    within(running.ended()).await.unwrap();
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn much_goes_both_ways_at_once_through_a_slow_peer() {
    const MESSAGES: usize = 200;
    let payload = |at: usize| vec![at as u8; 10_000 + at * 400];
    let options = framed().buffer(256 << 10);
    let listener = Listener::bind().await;
    let (mut client, peer) = listener.pair(options).await;
    let (mut reads, mut writes) = tokio::io::split(peer);
    let answers = tokio::spawn(async move {
        for at in 0..MESSAGES {
            writes.write_all(&packet(&payload(at))).await.unwrap();
        }
        writes.flush().await.unwrap();
    });
    let echo = tokio::spawn(async move {
        for at in 0..MESSAGES {
            let size = reads.read_u32().await.unwrap() as usize;
            let mut got = vec![0; size];
            reads.read_exact(&mut got).await.unwrap();
            assert!(got == payload(at), "message {at}");
            tokio::task::yield_now().await;
        }
    });
    for at in 0..MESSAGES {
        within(client.send(&payload(at))).await.unwrap();
    }
    for at in 0..MESSAGES {
        let message = within(client.receive_message()).await.unwrap().unwrap();
        assert!(message == payload(at), "message {at}");
    }
    within(client.flush()).await.unwrap();
    within(echo).await.unwrap();
    within(answers).await.unwrap();
}

/// Sends much as soon as it can, says when it was full and drained, and counts what comes.
struct Much {
    told: UnboundedSender<String>,
    sent: usize,
    received: usize,
}

impl Much {
    const MESSAGES: usize = 300;

    fn payload(at: usize) -> Vec<u8> {
        vec![at as u8; 10_000 + at * 100]
    }

    fn send(&mut self, client: &mut Client) {
        while self.sent < Self::MESSAGES {
            match client.try_send(&Self::payload(self.sent)) {
                Ok(()) => self.sent += 1,
                Err(SendError::Full { .. }) => return,
                Err(error) => panic!("{error}"),
            }
        }
        client.start_half_close();
    }
}

impl Handler for Much {
    fn connected(&mut self, client: &mut Client) {
        self.send(client);
    }

    fn drained(&mut self, client: &mut Client) {
        let _ = self.told.send("drained".into());
        self.send(client);
    }

    fn message(&mut self, _: &mut Client, message: &[u8]) {
        assert!(message == Self::payload(self.received));
        self.received += 1;
    }

    fn closed(&mut self, _: &mut Client, reason: &CloseReason) {
        let _ = self.told.send(format!("closed: {reason}"));
    }

    fn error(&mut self, _: &mut Client, error: &ConnectError) {
        panic!("{error}");
    }
}

#[tokio::test]
async fn a_handler_sends_much_and_half_closes_while_as_much_comes() {
    let options = framed().buffer(256 << 10);
    let listener = Listener::bind().await;
    let (told, mut events) = unbounded_channel();
    let handler = Much {
        told,
        sent: 0,
        received: 0,
    };
    let running = Client::new(listener.address(), options).start(handler);
    let (mut reads, mut writes) = tokio::io::split(listener.accept().await);
    let read = async {
        let mut got = Vec::new();
        reads.read_to_end(&mut got).await.expect("with a farewell");
        got
    };
    let write = async {
        for at in 0..Much::MESSAGES {
            let packet = packet(&Much::payload(at));
            writes.write_all(&packet).await.unwrap();
        }
        writes.flush().await.unwrap();
    };
    let (got, ()) = within(async { tokio::join!(read, write) }).await;
    let sent: Vec<u8> = (0..Much::MESSAGES)
        .flat_map(|at| packet(&Much::payload(at)))
        .collect();
    assert!(got == sent);
    // It has ended its sending, and hears until the peer has too.
    within(writes.shutdown()).await.unwrap();
    assert_eq!(next(&mut events).await, "drained");
    let last = loop {
        let event = next(&mut events).await;
        if event != "drained" {
            break event;
        }
    };
    assert_eq!(last, format!("closed: {}", CloseReason::ByPeer));
    let handler = within(running.ended()).await.unwrap();
    assert_eq!(handler.received, Much::MESSAGES);
}

#[tokio::test]
async fn a_farewell_is_an_end_and_its_absence_an_error() {
    let listener = Listener::bind().await;
    let (mut client, mut peer) = listener.pair(framed()).await;
    write(&mut peer, &packet(b"last")).await;
    peer.shutdown().await.unwrap();
    assert_eq!(
        within(client.receive_message()).await.unwrap().as_deref(),
        Some(&b"last"[..])
    );
    assert_eq!(within(client.receive_message()).await.unwrap(), None);

    // Between two messages, and within one: what is whole is delivered first.
    for (torn, expected) in [(&b""[..], 0), (&packet(b"torn")[..6], 6)] {
        let (mut client, mut peer) = listener.pair(framed()).await;
        write(&mut peer, &packet(b"last")).await;
        write(&mut peer, torn).await;
        leave(peer);
        assert_eq!(
            within(client.receive_message()).await.unwrap().as_deref(),
            Some(&b"last"[..])
        );
        let error = within(client.receive_message()).await.unwrap_err();
        assert!(
            matches!(error, StreamError::EndOfFile { unfinished } if unfinished == expected),
            "{error:?}"
        );
        assert!(!client.is_connected());
    }
}

#[tokio::test]
async fn a_handler_learns_whether_the_peer_ended_tls_properly() {
    let listener = Listener::bind().await;
    let cut_off = |unfinished| CloseReason::Broken(StreamError::EndOfFile { unfinished });
    let torn = packet(b"torn");
    for (rest, reason) in [
        (None, CloseReason::ByPeer),
        (Some(&[][..]), cut_off(0)),
        (Some(&torn[..6]), cut_off(6)),
    ] {
        let (handler, mut told) = told();
        let running = Client::new(listener.address(), framed()).start(handler);
        let mut peer = listener.accept().await;
        write(&mut peer, &packet(b"word")).await;
        assert_eq!(read_packet(&mut peer).await, b"heard");
        match rest {
            None => peer.shutdown().await.unwrap(),
            Some(rest) => {
                write(&mut peer, rest).await;
                leave(peer);
            }
        }
        assert_eq!(next(&mut told).await, "connected 1");
        assert_eq!(next(&mut told).await, "word");
        assert_eq!(next(&mut told).await, format!("closed 1: {reason}"));
        within(running.ended()).await.unwrap();
        assert_eq!(told.recv().await, None);
    }
}

#[tokio::test]
async fn closing_and_half_closing_say_farewell_once_all_is_sent() {
    let large = vec![3; 6 << 20];
    let listener = Listener::bind().await;
    let (mut client, mut peer) = listener.pair(framed()).await;
    let reads = tokio::spawn(async move {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.expect("with a farewell");
        (got, peer)
    });
    client.send(&large).await.unwrap();
    within(client.half_close()).await.unwrap();
    let (got, mut peer) = within(reads).await.unwrap();
    assert!(got == packet(&large));
    // The other way goes on.
    write(&mut peer, &packet(b"answer")).await;
    assert_eq!(
        within(client.receive_message()).await.unwrap().as_deref(),
        Some(&b"answer"[..])
    );

    let (mut client, mut peer) = listener.pair(framed()).await;
    let reads = tokio::spawn(async move {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.expect("with a farewell");
        got
    });
    client.send(&large).await.unwrap();
    within(client.close()).await.unwrap();
    assert!(within(reads).await.unwrap() == packet(&large));
}

#[tokio::test]
async fn a_file_goes_out_encrypted_as_one_message_between_others() {
    let contents: Vec<u8> = (0..5_000_000)
        .map(|at| (at % 251) as u8 ^ (at / 4096) as u8)
        .collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&contents).unwrap();
    let listener = Listener::bind().await;
    let (mut client, mut peer) = listener.pair(framed()).await;
    let reads = tokio::spawn(async move {
        let mut messages = Vec::new();
        for _ in 0..4 {
            messages.push(read_packet(&mut peer).await);
        }
        messages
    });
    client.send(b"before").await.unwrap();
    within(client.send_file(file.path(), 0, None))
        .await
        .unwrap();
    within(client.send_file(file.path(), 1001, Some(70_000)))
        .await
        .unwrap();
    client.send(b"after").await.unwrap();
    let messages = within(reads).await.unwrap();
    assert_eq!(messages[0], b"before");
    assert!(messages[1] == contents);
    assert!(messages[2] == contents[1001..71_001]);
    assert_eq!(messages[3], b"after");
}

#[tokio::test]
async fn a_started_client_reconnects_resumes_its_session_and_sends_files() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[5; 300_000]).unwrap();
    let listener = Listener::bind().await;
    let (handler, mut told) = told();
    let running = Client::new(listener.address(), reconnecting()).start(handler);
    for attempt in 1..=3 {
        let mut peer = listener.accept().await;
        assert_eq!(next(&mut told).await, format!("connected {attempt}"));
        let kind = peer.get_ref().1.handshake_kind();
        let resumed = attempt > 1;
        assert_eq!(
            kind == Some(HandshakeKind::Resumed),
            resumed,
            "attempt {attempt}: {kind:?}"
        );
        write(&mut peer, &packet(b"word")).await;
        assert_eq!(read_packet(&mut peer).await, b"heard");
        assert_eq!(next(&mut told).await, "word");
        running.send_file(file.path(), 0, None).await.unwrap();
        assert!(read_packet(&mut peer).await == [5; 300_000]);
        leave(peer);
        let reason = StreamError::EndOfFile { unfinished: 0 };
        assert_eq!(next(&mut told).await, format!("closed {attempt}: {reason}"));
    }
    let mut peer = listener.accept().await;
    running.close();
    let mut rest = Vec::new();
    within(peer.read_to_end(&mut rest))
        .await
        .expect("with a farewell");
    within(running.ended()).await.unwrap();
}

#[tokio::test]
async fn an_awaited_client_reconnects_and_waiting_messages_go_out() {
    let listener = Listener::bind().await;
    let (mut client, mut peer) = listener.pair(reconnecting()).await;
    client.send(b"one").await.unwrap();
    assert_eq!(read_packet(&mut peer).await, b"one");
    leave(peer);
    within(client.receive_message()).await.unwrap_err();
    client.try_send(b"two").unwrap();
    let (connected, mut peer) = tokio::join!(within(client.reconnect()), listener.accept());
    connected.unwrap();
    within(client.flush()).await.unwrap();
    assert_eq!(read_packet(&mut peer).await, b"two");
    write(&mut peer, &packet(b"three")).await;
    assert_eq!(
        within(client.receive_message()).await.unwrap().as_deref(),
        Some(&b"three"[..])
    );
}

#[tokio::test]
async fn a_relay_joins_two_encrypted_streams_and_keeps_half_closes() {
    let listener = Listener::bind().await;
    let (client, mut first) = listener.pair(framed()).await;
    let (other, mut second) = listener.pair(framed()).await;
    let (other, _) = other.into_connection().unwrap();
    let relay = tokio::spawn(client.pipe_into(other, None));
    let large: Vec<u8> = (0..3_000_000).map(|at| (at % 241) as u8).collect();
    let (mut ahead, mut back) = (Vec::new(), Vec::new());
    let exchange = async {
        let ahead = async {
            let (wrote, read) = tokio::join!(
                async {
                    first.write_all(&large).await?;
                    first.shutdown().await
                },
                second.read_to_end(&mut ahead)
            );
            wrote.unwrap();
            read.unwrap();
        };
        ahead.await;
        second.write_all(b"answer").await.unwrap();
        second.shutdown().await.unwrap();
        first.read_to_end(&mut back).await.unwrap();
    };
    within(exchange).await;
    assert!(ahead == large);
    assert_eq!(back, b"answer");
    let done = within(relay).await.unwrap().unwrap();
    assert_eq!((done.ahead, done.back), (3_000_000, 6));
    assert!(matches!(done.end, RelayEnd::Finished), "{}", done.end);
}

#[tokio::test]
async fn a_relay_tells_which_side_left_without_a_farewell() {
    let listener = Listener::bind().await;
    let (client, mut first) = listener.pair(framed()).await;
    let (connection, _) = client.into_connection().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, accepted) = tokio::join!(
        TcpStream::connect(plain.local_addr().unwrap()),
        plain.accept()
    );
    let mut second = accepted.unwrap().0;
    let relay = tokio::spawn(Relay::new(connection, near.unwrap()).run());
    write(&mut first, b"last words").await;
    leave(first);
    let mut words = Vec::new();
    within(second.read_to_end(&mut words)).await.unwrap();
    assert_eq!(words, b"last words");
    drop(second);
    let done = within(relay).await.unwrap();
    let RelayEnd::First(error) = done.end else {
        panic!("{}", done.end);
    };
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(done.ahead, 10);
}
