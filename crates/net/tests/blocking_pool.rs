//! The pool of blocking clients, against real servers.

mod tls_peer;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use moorline_net::blocking::{Client, ClientOptions, Pool, ReceiveError, SendError, Timeout};
use moorline_net::{
    ConnectCause, Delimiter, DialOptions, Framing, PoolCounters, PoolError, PoolKey, PoolOptions,
    Stray, Unanswered,
};

/// Long enough for a busy machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(10);

fn lines() -> ClientOptions {
    ClientOptions::default()
        .framing(Framing::Line { max: 1 << 20 })
        .timeout(Timeout::After(PATIENCE))
}

/// A pool that lends one connection at a time.
fn one_at_a_time(max_wait: Duration) -> Pool {
    Pool::new(PoolOptions::default().max_per_key(1).max_wait(max_wait))
}

fn ask(client: &mut Client, question: &str) -> String {
    client.send(question.as_bytes()).unwrap();
    let answer = client.receive_message().unwrap();
    String::from_utf8(answer.expect("the peer has not ended").to_vec()).unwrap()
}

fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never became so");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A server whose connections a test holds.
struct Peer {
    key: PoolKey,
    accepted: Receiver<TcpStream>,
}

impl Peer {
    /// Answers each line with the same; connections come to the test too.
    fn echo() -> Self {
        Self::with(|stream| {
            let mut write = stream.try_clone().unwrap();
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(mut line) = line else { return };
                line.push(b'\n');
                if line != b"silence\n" && write.write_all(&line).is_err() {
                    return;
                }
            }
        })
    }

    fn with(serve: fn(TcpStream)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let (accept, accepted) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = accept.send(stream.try_clone().unwrap());
                thread::spawn(move || serve(stream));
            }
        });
        Self {
            key: PoolKey::new(address.parse().unwrap(), DialOptions::default()),
            accepted,
        }
    }

    fn next(&self) -> TcpStream {
        self.accepted.recv_timeout(PATIENCE).unwrap()
    }
}

#[test]
fn a_client_that_is_dropped_clean_is_lent_again() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default());
    for round in 0..3 {
        let mut client = pool.borrow(&peer.key, lines()).unwrap();
        assert_eq!(client.reused(), round > 0);
        assert_eq!(ask(&mut client, "ahoy"), "ahoy");
    }
    let mut expected = PoolCounters::default();
    (expected.fresh, expected.reused) = (1, 2);
    (expected.open, expected.idle) = (1, 1);
    assert_eq!(pool.counters(), expected);
    // Raw bytes are judged as such.
    let mut raw = pool.borrow(&peer.key, ClientOptions::default()).unwrap();
    assert!(raw.reused());
    raw.send(b"one\ntwo\n").unwrap();
    raw.receive_exact(&mut [0; 8]).unwrap();
    drop(raw);
    assert_eq!((pool.counters().idle, pool.counters().fresh), (1, 1));
}

/// Does something to a client that leaves it dirty, and checks that its connection is closed and not lent again.
fn assert_closed(options: PoolOptions, soil: impl FnOnce(&mut Client)) {
    let peer = Peer::echo();
    let pool = Pool::new(options);
    let mut soiled = pool.borrow(&peer.key, lines()).unwrap();
    soil(&mut soiled);
    drop(soiled);
    assert_eq!((pool.counters().open, pool.counters().dropped), (0, 1));
    let mut next = pool.borrow(&peer.key, lines()).unwrap();
    assert!(!next.reused());
    assert_eq!(ask(&mut next, "mine"), "mine");
}

fn keeping() -> PoolOptions {
    PoolOptions::default()
        .unanswered(Unanswered::Keep)
        .stray(Stray::Keep)
}

#[test]
fn a_client_that_is_not_clean_is_closed() {
    assert_closed(PoolOptions::default(), |client| {
        client.send(b"unanswered").unwrap();
    });
    assert_closed(PoolOptions::default(), |client| {
        client.send(b"one").unwrap();
        client.send(b"other").unwrap();
        client.receive_message().unwrap();
    });
    assert_closed(PoolOptions::default(), |client| {
        client.send(b"silence").unwrap();
        client.set_timeout(Timeout::After(Duration::from_millis(20)));
        let error = client.receive_message().unwrap_err();
        assert!(matches!(error, ReceiveError::Timeout), "{error}");
    });
    assert_closed(keeping(), |client| {
        client.send(b"ahoy").unwrap();
        assert!(client.peek(&mut [0; 8]).unwrap() > 0);
    });
    assert_closed(keeping(), |client| {
        client.set_timeout(Timeout::After(Duration::from_millis(20)));
        let line = vec![b'x'; 1 << 19];
        let error = std::iter::repeat_with(|| client.send(&line))
            .find_map(Result::err)
            .unwrap();
        assert!(matches!(error, SendError::Timeout { .. }), "{error}");
    });
    assert_closed(keeping(), |client| client.half_close().unwrap());
    assert_closed(keeping(), Client::poison);
}

#[test]
fn bytes_that_a_framed_client_takes_are_no_answer() {
    assert_closed(PoolOptions::default(), |client| {
        client.send(b"ahoy").unwrap();
        client.receive_exact(&mut [0; 5]).unwrap();
    });
    assert_closed(PoolOptions::default(), |client| {
        client.send(b"ahoy").unwrap();
        assert_eq!(client.receive_until(b"\n", 64).unwrap(), "ahoy\n");
    });
}

#[test]
fn each_message_of_one_send_is_owed_an_answer() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default());
    let options = lines().framing(Framing::Delimiter(Delimiter::new(b"\n", 64).keep(true)));
    let mut client = pool.borrow(&peer.key, options).unwrap();
    client.send(b"ahoy\nsilence\n").unwrap();
    assert_eq!(client.receive_message().unwrap().unwrap(), "ahoy\n");
    drop(client);
    assert_eq!((pool.counters().open, pool.counters().dropped), (0, 1));
}

#[test]
fn a_connection_marked_answered_goes_back() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default());
    let mut client = pool.borrow(&peer.key, lines()).unwrap();
    client.send(b"silence").unwrap();
    client.mark_answered();
    drop(client);
    assert!(pool.borrow(&peer.key, lines()).unwrap().reused());
}

#[test]
fn a_peer_that_ends_while_its_connection_rests_is_noticed_though_nobody_asks() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default());
    assert_eq!(pool.warm(&peer.key, 3).unwrap(), 3);
    let lent = pool.borrow(&peer.key, lines()).unwrap();
    for _ in 0..3 {
        peer.next().shutdown(std::net::Shutdown::Both).unwrap();
    }
    until(|| pool.counters().idle == 0);
    assert_eq!((pool.counters().dead, pool.counters().open), (2, 1));
    drop(lent);
}

#[test]
fn a_byte_that_nobody_asked_for_closes_a_connection_at_rest_or_is_kept_as_wanted() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default());
    pool.warm(&peer.key, 1).unwrap();
    peer.next().write_all(b"?").unwrap();
    until(|| pool.counters().idle == 0);
    assert_eq!((pool.counters().stray, pool.counters().open), (1, 0));

    let pool = Pool::new(keeping());
    pool.warm(&peer.key, 1).unwrap();
    peer.next().write_all(b"psst\n").unwrap();
    let mut client = pool.borrow(&peer.key, lines()).unwrap();
    assert!(client.reused());
    assert_eq!(client.receive_message().unwrap().unwrap(), "psst");
}

#[test]
fn at_its_bound_a_pool_makes_wait_in_turn_and_for_so_long() {
    let peer = Peer::echo();
    let pool = one_at_a_time(PATIENCE);
    let held = pool.borrow(&peer.key, lines()).unwrap();
    let (tell, told) = mpsc::channel();
    for turn in 0..4 {
        let (borrower, key, tell) = (pool.clone(), peer.key.clone(), tell.clone());
        thread::spawn(move || {
            let mut client = borrower.borrow(&key, lines()).unwrap();
            ask(&mut client, "ahoy");
            tell.send((turn, client.reused())).unwrap();
        });
        until(|| pool.counters().waiting == turn + 1);
    }
    drop(held);
    let turns: Vec<_> = (0..4)
        .map(|_| told.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(turns, [(0, true), (1, true), (2, true), (3, true)]);
    assert_eq!((pool.counters().fresh, pool.counters().waited), (1, 4));

    let pool = one_at_a_time(Duration::from_millis(30));
    let held = pool.borrow(&peer.key, lines()).unwrap();
    let began = Instant::now();
    let error = pool.borrow(&peer.key, lines()).unwrap_err();
    assert!(matches!(error, PoolError::Timeout { .. }), "{error}");
    assert!(began.elapsed() >= Duration::from_millis(30));
    assert_eq!((pool.counters().waiting, pool.counters().refused), (0, 1));
    drop(held);
    assert!(pool.borrow(&peer.key, lines()).unwrap().reused());
}

#[test]
fn a_full_queue_refuses_at_once() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default().max_total(1).max_waiting(0));
    let _held = pool.borrow(&peer.key, lines()).unwrap();
    let error = pool.borrow(&peer.key, lines()).unwrap_err();
    assert!(
        matches!(error, PoolError::Full { waiting: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_failed_dial_is_an_error_and_frees_its_place() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", nobody.local_addr().unwrap());
    let key = PoolKey::new(address.parse().unwrap(), DialOptions::default());
    drop(nobody);
    let pool = one_at_a_time(PATIENCE);
    for _ in 0..3 {
        match pool.borrow(&key, lines()).unwrap_err() {
            PoolError::Connect(error) => {
                assert!(matches!(error.cause(), ConnectCause::Refused(_)), "{error}");
            }
            error => panic!("{error}"),
        }
    }
    assert_eq!((pool.counters().failed, pool.counters().open), (3, 0));
    let websocket = ClientOptions::default().framing(Framing::WebSocket { max: 64 });
    let error = pool.borrow(&key, websocket).unwrap_err();
    assert!(error.to_string().contains("websocket"), "{error}");
    assert_eq!(pool.counters().open, 0);
}

#[test]
fn connections_that_are_too_old_are_closed_without_a_request() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default().max_idle(Duration::from_millis(200)));
    pool.warm(&peer.key, 2).unwrap();
    until(|| pool.counters().idle == 0);
    assert_eq!((pool.counters().expired, pool.counters().open), (2, 0));
}

#[test]
fn dropping_the_pool_closes_resting_connections_and_leaves_lent_ones() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default());
    let mut lent = pool.borrow(&peer.key, lines()).unwrap();
    let mut lent_peer = peer.next();
    pool.warm(&peer.key, 1).unwrap();
    let resting_peer = peer.next();
    resting_peer.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(pool);
    // The server's thread may have read the end before.
    let ended = (&resting_peer).read(&mut [0]);
    assert_eq!(ended.unwrap(), 0);
    assert_eq!(ask(&mut lent, "ahoy"), "ahoy");
    drop(lent);
    assert_eq!(lent_peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn unix_sockets_are_kept_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let key = PoolKey::new(
        format!("unix://{}", path.display()).parse().unwrap(),
        DialOptions::default(),
    );
    let pool = Pool::new(PoolOptions::default());
    for round in 0..2 {
        let client = pool.borrow(&key, lines()).unwrap();
        assert_eq!(client.reused(), round > 0);
    }
    let (stream, _) = listener.accept().unwrap();
    drop(stream);
    until(|| pool.counters().idle == 0);
    assert_eq!(pool.counters().dead, 1);
}

#[test]
fn tls_connections_are_lent_again_and_their_tickets_are_no_stray_bytes() {
    let server = tls_peer::server();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tls://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut session = rustls::ServerConnection::new(server).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    let options = DialOptions::default().tls(tls_peer::options());
    let key = PoolKey::new(address.parse().unwrap(), options);
    let pool = Pool::new(PoolOptions::default());
    for round in 0..20 {
        let mut client = pool.borrow(&key, lines()).unwrap();
        assert_eq!(client.reused(), round > 0);
        if round % 2 == 1 {
            assert_eq!(ask(&mut client, "ahoy"), "ahoy");
        }
    }
    let counters = pool.counters();
    assert_eq!(
        (counters.fresh, counters.reused, counters.stray),
        (1, 19, 0)
    );
}

#[test]
fn it_works_where_a_runtime_runs_already() {
    let peer = Peer::echo();
    let pool = one_at_a_time(PATIENCE);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = pool.borrow(&peer.key, lines()).unwrap();
        assert_eq!(ask(&mut client, "ahoy"), "ahoy");
    });
    drop(runtime);
    let mut client = pool.borrow(&peer.key, lines()).unwrap();
    assert!(client.reused());
    assert_eq!(ask(&mut client, "ahoy"), "ahoy");
}

#[test]
fn threads_that_borrow_and_stop_in_the_middle_hand_nothing_on() {
    let peer = Peer::echo();
    let pool = Pool::new(PoolOptions::default().max_per_key(3).max_wait(PATIENCE));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (pool, key) = (pool.clone(), peer.key.clone());
            thread::spawn(move || {
                for round in 0..100 {
                    let question = format!("{thread} {round}");
                    let mut client = pool.borrow(&key, lines()).unwrap();
                    assert_eq!(ask(&mut client, &question), question);
                    match fastrand::u8(0..4) {
                        0 => client.send(b"dropped").unwrap(),
                        1 => {
                            client.send(b"dropped").unwrap();
                            let _ = client.peek(&mut [0; 3]);
                        }
                        _ => {}
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let counters = pool.counters();
    assert_eq!(counters.fresh + counters.reused, 800);
    assert!(counters.open <= 3 && counters.dropped > 0);
}
