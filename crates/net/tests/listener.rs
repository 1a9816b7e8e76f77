//! Listeners for library use: a session object for each connection, on one loop of a pool.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use moorline_net::client::CloseReason;
use moorline_net::listener::{DatagramHandler, DatagramListenerOptions, DatagramSession};
use moorline_net::{
    Address, Client, ClientOptions, ConnectError, DatagramListener, EventLoopPool, Framing,
    Handler, Listener, ListenerError, ListenerOptions, LoopPoolOptions,
};

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn pool() -> EventLoopPool {
    EventLoopPool::start(LoopPoolOptions::default().size(Some(2))).expect("threads")
}

/// What happened to a session, with the name of its thread.
type Event = (String, String);

/// Answers each line with itself and what it counts; `panic` and `leave` do as they say.
struct Counting {
    tell: Sender<Event>,
    messages: u32,
}

impl Counting {
    fn note(&self, what: impl Into<String>) {
        let thread = thread::current().name().unwrap_or_default().to_owned();
        let _ = self.tell.send((what.into(), thread));
    }
}

impl Handler for Counting {
    fn connected(&mut self, session: &mut Client) {
        self.note("connected");
        session.try_send(b"welcome").expect("there is room");
    }

    fn message(&mut self, session: &mut Client, message: &[u8]) {
        self.messages += 1;
        match message {
            b"panic" => panic!("as asked"),
            b"leave" => session.start_close(),
            _ => {}
        }
        let mut answer = message.to_vec();
        answer.extend_from_slice(format!(" {}", self.messages).as_bytes());
        session.try_send(&answer).expect("there is room");
    }

    fn closed(&mut self, _: &mut Client, reason: &CloseReason) {
        self.note(format!("closed: {reason}"));
    }

    fn error(&mut self, _: &mut Client, error: &ConnectError) {
        self.note(format!("error: {error}"));
    }
}

fn line() -> ListenerOptions {
    ListenerOptions::default().session(ClientOptions::framed(Framing::Line { max: 1024 }))
}

fn counting(
    pool: &EventLoopPool,
    address: &str,
    options: ListenerOptions,
) -> (Listener, Receiver<Event>) {
    let (tell, told) = mpsc::channel();
    let address = address.parse().expect("an address");
    let listener = Listener::start(pool, &address, options, move |_| Counting {
        tell: tell.clone(),
        messages: 0,
    });
    (listener.expect("it can be bound"), told)
}

fn connect(listener: &Listener) -> TcpStream {
    let stream = TcpStream::connect(socket(listener.address())).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream
}

fn socket(address: &Address) -> SocketAddr {
    let host_port = address.host_port().expect("an internet address");
    (host_port.ip().expect("a literal"), host_port.port).into()
}

/// What the peer says until it closes.
fn rest(mut stream: impl Read) -> String {
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    said
}

fn next(told: &Receiver<Event>) -> Event {
    told.recv_timeout(PATIENCE).expect("something happens")
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, work).await })
        .expect("it ends");
}

#[test]
fn each_connection_has_a_session_of_its_own() {
    let pool = pool();
    let (listener, told) = counting(&pool, "tcp://127.0.0.1:0", line());
    let mut clients: Vec<_> = (0..4).map(|_| connect(&listener)).collect();
    let threads: BTreeSet<_> = (0..4).map(|_| next(&told)).collect();
    // One event each, spread over both loops.
    let connected = |thread: &str| ("connected".to_owned(), thread.to_owned());
    assert_eq!(threads, [connected("loop 0"), connected("loop 1")].into());
    assert_eq!(listener.sessions(), 4);
    for client in &mut clients {
        client.write_all(b"a\nb").expect("it listens");
        client.write_all(b"\nleave\n").expect("it listens");
    }
    for client in clients {
        assert_eq!(rest(client), "welcome\na 1\nb 2\nleave 3\n");
        assert_eq!(next(&told).0, "closed: closed by us");
    }
    wait("the sessions end", || listener.sessions() == 0);
}

#[test]
fn a_session_that_panics_ends_alone() {
    let pool = pool();
    let (listener, told) = counting(&pool, "tcp://127.0.0.1:0", line());
    let (mut first, mut second) = (connect(&listener), connect(&listener));
    assert_eq!(
        (next(&told).0, next(&told).0),
        ("connected".into(), "connected".into())
    );
    first.write_all(b"panic\n").expect("it listens");
    assert_eq!(rest(first), "welcome\n");
    second.write_all(b"a\nleave\n").expect("it listens");
    assert_eq!(rest(second), "welcome\na 1\nleave 2\n");
    wait("both end", || listener.sessions() == 0);
}

#[test]
fn past_the_limit_connections_wait_until_one_ends() {
    let pool = pool();
    let options = line().max_sessions(1);
    let (listener, told) = counting(&pool, "tcp://127.0.0.1:0", options);
    let first = connect(&listener);
    assert_eq!(next(&told).0, "connected");
    let mut second = connect(&listener);
    second.write_all(b"leave\n").expect("the system takes it");
    // It is in the backlog: nobody answers.
    let patience = Duration::from_millis(100);
    second.set_read_timeout(Some(patience)).expect("an option");
    let silence = second.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(silence, Err(ErrorKind::WouldBlock));
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).expect("an option");
    assert_eq!(rest(second), "welcome\nleave 1\n");
}

#[test]
fn stopping_closes_the_sessions_and_waits_for_them() {
    let pool = pool();
    let (mut listener, told) = counting(&pool, "tcp://127.0.0.1:0", line());
    let client = connect(&listener);
    assert_eq!(next(&told).0, "connected");
    listener.stop();
    block_on(listener.ended());
    assert_eq!(listener.sessions(), 0);
    assert_eq!(rest(client), "welcome\n");
    assert_eq!(next(&told).0, "closed: closed by us");
    let refused = TcpStream::connect(socket(listener.address())).map_err(|error| error.kind());
    assert_eq!(refused.map(drop), Err(ErrorKind::ConnectionRefused));
}

#[test]
fn a_unix_socket_goes_with_its_listener() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("echo.sock");
    let pool = pool();
    let (mut listener, _told) = counting(&pool, &format!("unix://{}", path.display()), line());
    let mut client = UnixStream::connect(&path).expect("it listens");
    client.write_all(b"leave\n").expect("it listens");
    assert_eq!(rest(client), "welcome\nleave 1\n");
    listener.stop();
    block_on(listener.ended());
    assert!(!path.exists());
}

#[test]
fn a_listener_that_ends_leaves_its_successors_socket_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("echo.sock");
    let address: Address = format!("unix://{}", path.display())
        .parse()
        .expect("an address");
    let pool = pool();
    let start = || {
        let (tell, _) = mpsc::channel();
        Listener::start(&pool, &address, ListenerOptions::default(), move |_| {
            Counting {
                tell: tell.clone(),
                messages: 0,
            }
        })
    };
    let mut current = start().expect("nobody else is there");
    for _ in 0..200 {
        current.stop();
        let patience = Instant::now() + PATIENCE;
        let next = loop {
            match start() {
                Ok(next) => break next,
                // The one before is still there.
                Err(_) if Instant::now() < patience => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        block_on(current.ended());
        UnixStream::connect(&path).expect("the successor listens");
        current = next;
    }
}

#[test]
fn unserved_addresses_are_refused() {
    let pool = pool();
    let start = |address: &str, framing: Framing| {
        let (tell, _) = mpsc::channel();
        let options = ListenerOptions::default().session(ClientOptions::framed(framing));
        let address = address.parse().expect("an address");
        Listener::start(&pool, &address, options, move |_| Counting {
            tell: tell.clone(),
            messages: 0,
        })
    };
    let udp = start("udp://127.0.0.1:0", Framing::Raw);
    assert!(matches!(udp, Err(ListenerError::Scheme(_))), "{udp:?}");
    let empty = start("tcp://127.0.0.1:0", Framing::Line { max: 0 });
    assert!(matches!(empty, Err(ListenerError::Framing(_))), "{empty:?}");
    let web = start("tcp://127.0.0.1:0", Framing::WebSocket { max: 1 });
    assert!(matches!(web, Err(ListenerError::WebSocket)), "{web:?}");
    let elsewhere = start("tcp://192.0.2.1:0", Framing::Raw);
    assert!(
        matches!(elsewhere, Err(ListenerError::Listen(_))),
        "{elsewhere:?}"
    );
}

/// Answers with how many datagrams the peer has sent.
struct CountingDatagrams {
    count: u32,
    tell: Sender<u32>,
}

impl DatagramHandler for CountingDatagrams {
    fn datagram(&mut self, session: &mut DatagramSession<'_>, payload: &[u8]) {
        self.count += 1;
        if payload == b"panic" {
            panic!("as asked");
        }
        let answer = format!("{} {}", String::from_utf8_lossy(payload), self.count);
        session.reply(answer.as_bytes()).expect("there is room");
        if payload == b"leave" {
            session.close();
        }
    }

    fn closed(&mut self) {
        let _ = self.tell.send(self.count);
    }
}

fn datagrams(
    pool: &EventLoopPool,
    options: DatagramListenerOptions,
) -> (DatagramListener, Receiver<u32>) {
    let (tell, told) = mpsc::channel();
    let address = "udp://127.0.0.1:0".parse().expect("an address");
    let listener = DatagramListener::start(pool, &address, options, move |_| CountingDatagrams {
        count: 0,
        tell: tell.clone(),
    });
    (listener.expect("it can be bound"), told)
}

fn peer(listener: &DatagramListener) -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    peer.connect(socket(listener.address()))
        .expect("it is local");
    peer.set_read_timeout(Some(PATIENCE)).expect("an option");
    peer
}

fn ask(peer: &UdpSocket, payload: &str) -> String {
    peer.send(payload.as_bytes()).expect("it is local");
    let mut answer = [0; 64];
    let length = peer.recv(&mut answer).expect("an answer comes");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn each_datagram_peer_has_a_session_of_its_own() {
    let pool = pool();
    let (listener, told) = datagrams(&pool, DatagramListenerOptions::default());
    let (first, second) = (peer(&listener), peer(&listener));
    assert_eq!(ask(&first, "a"), "a 1");
    assert_eq!(ask(&second, "a"), "a 1");
    assert_eq!(ask(&first, "leave"), "leave 2");
    assert_eq!(told.recv_timeout(PATIENCE), Ok(2));
    assert_eq!(ask(&first, "b"), "b 1");
    drop(listener);
    let counts = [told.recv_timeout(PATIENCE), told.recv_timeout(PATIENCE)];
    assert_eq!(counts, [Ok(1), Ok(1)]);
}

#[test]
fn a_datagram_handler_that_panics_ends_its_own_session_alone() {
    let pool = pool();
    let (listener, told) = datagrams(&pool, DatagramListenerOptions::default());
    let (first, second) = (peer(&listener), peer(&listener));
    assert_eq!(ask(&first, "a"), "a 1");
    assert_eq!(ask(&second, "a"), "a 1");
    first.send(b"panic").expect("it is local");
    assert_eq!(ask(&second, "b"), "b 2");
    assert_eq!(ask(&first, "c"), "c 1");
    drop(listener);
    let count = || told.recv_timeout(PATIENCE).expect("each is told its end");
    assert_eq!(BTreeSet::from([count(), count()]), BTreeSet::from([1, 2]));
}

#[test]
fn silent_datagram_peers_are_forgotten_and_too_many_not_heard() {
    let pool = pool();
    let options = DatagramListenerOptions::default()
        .idle_timeout(Duration::from_millis(200))
        .max_sessions(1);
    let (listener, told) = datagrams(&pool, options);
    let (first, second) = (peer(&listener), peer(&listener));
    assert_eq!(ask(&first, "a"), "a 1");
    second.send(b"lost").expect("it is local");
    assert_eq!(told.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(ask(&second, "b"), "b 1");
}
