//! The pool, against peers that answer, close, and speak out of turn.

#[path = "pool/framed.rs"]
mod framed;
#[path = "pool/peer.rs"]
mod peer;
mod tls_peer;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use moorline_net::{
    ConnectCause, DialOptions, Pool, PoolCounters, PoolError, PoolKey, PoolOptions, Stray,
    Unanswered,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::time::timeout;

use peer::{PATIENCE, Peer, echo, key_of, readable, until};

#[tokio::test]
async fn a_connection_given_back_is_lent_again() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());
    for round in 0..3 {
        let mut connection = pool.borrow(&peer.key()).await.unwrap();
        assert_eq!(connection.reused(), round > 0);
        echo(&mut connection).await.unwrap();
    }
    assert_eq!(peer.accepted(), 1);
    let mut expected = PoolCounters::default();
    (expected.fresh, expected.reused) = (1, 2);
    (expected.open, expected.idle) = (1, 1);
    assert_eq!(pool.counters(), expected);
}

#[tokio::test]
async fn a_dead_kept_connection_is_replaced() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());
    let mut connection = pool.borrow(&peer.key()).await.unwrap();
    echo(&mut connection).await.unwrap();
    let socket = rustix::io::dup(&connection).unwrap();
    drop(connection);
    peer.close_all();
    readable(&socket).await;
    let mut connection = pool.borrow(&peer.key()).await.unwrap();
    assert!(!connection.reused());
    echo(&mut connection).await.unwrap();
    let counters = pool.counters();
    assert_eq!((counters.fresh, counters.dead, counters.open), (2, 1, 1));
}

#[tokio::test]
async fn a_connection_with_stray_bytes_is_not_lent() {
    let (pool, peer) = with_stray_bytes(Stray::Close).await;
    let mut connection = pool.borrow(&peer.key()).await.unwrap();
    assert!(!connection.reused());
    echo(&mut connection).await.unwrap();
    assert_eq!(pool.counters().stray, 1);
}

#[tokio::test]
async fn stray_bytes_are_kept_for_the_next_where_that_is_wanted() {
    let (pool, peer) = with_stray_bytes(Stray::Keep).await;
    let mut connection = pool.borrow(&peer.key()).await.unwrap();
    assert!(connection.reused());
    let mut bytes = [0; 5];
    let read = timeout(PATIENCE, connection.read_exact(&mut bytes));
    read.await.unwrap().unwrap();
    assert_eq!(&bytes, b"stray");
    assert_eq!(pool.counters().stray, 1);
}

/// A pool whose one connection has bytes that nobody asked for.
async fn with_stray_bytes(stray: Stray) -> (Pool, Peer) {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default().stray(stray));
    let mut connection = pool.borrow(&peer.key()).await.unwrap();
    echo(&mut connection).await.unwrap();
    let socket = rustix::io::dup(&connection).unwrap();
    drop(connection);
    peer.say_to_all();
    readable(&socket).await;
    (pool, peer)
}

#[tokio::test]
async fn poisoned_failed_and_unanswered_connections_are_not_lent() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());

    let mut poisoned = pool.borrow(&peer.key()).await.unwrap();
    poisoned.poison();
    drop(poisoned);

    let mut shut = pool.borrow(&peer.key()).await.unwrap();
    shut.shutdown().await.unwrap();
    assert_eq!(shut.read(&mut [0]).await.unwrap(), 0);
    drop(shut);

    let mut unread = pool.borrow(&peer.key()).await.unwrap();
    unread.write_all(b"question").await.unwrap();
    drop(unread);

    let mut waiting = pool.borrow(&peer.key()).await.unwrap();
    assert!(now(waiting.read_u8()).is_none());
    drop(waiting);

    let counters = pool.counters();
    assert_eq!((counters.fresh, counters.dropped, counters.open), (4, 4, 0));
}

#[tokio::test]
async fn an_unanswered_write_is_no_harm_where_nothing_is_answered() {
    let peer = Peer::silent().await;
    let pool = Pool::new(PoolOptions::default().unanswered(Unanswered::Keep));
    for _ in 0..3 {
        let mut connection = pool.borrow(&peer.key()).await.unwrap();
        connection.write_all(b"count:1|c").await.unwrap();
    }
    let counters = pool.counters();
    assert_eq!((counters.fresh, counters.reused), (1, 2));
}

#[tokio::test]
async fn a_panic_while_a_connection_is_borrowed_does_not_give_it_back() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());
    let connection = pool.borrow(&peer.key()).await.unwrap();
    let task = tokio::spawn(async move {
        let _connection = connection;
        panic!("as the test wants");
    });
    assert!(task.await.unwrap_err().is_panic());
    let counters = pool.counters();
    assert_eq!((counters.dropped, counters.open), (1, 0));
}

#[tokio::test]
async fn waiters_are_served_in_turn() {
    let peer = Peer::echo().await;
    let pool = small(1, PATIENCE);
    let held = pool.borrow(&peer.key()).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for turn in 0..5 {
        let (borrower, key, order) = (pool.clone(), peer.key(), order.clone());
        tasks.push(tokio::spawn(async move {
            let mut connection = borrower.borrow(&key).await.unwrap();
            order.lock().unwrap().push(turn);
            echo(&mut connection).await.unwrap();
        }));
        until(|| pool.counters().waiting == turn + 1).await;
    }
    drop(held);
    for task in tasks {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!((peer.accepted(), pool.counters().waited), (1, 5));
}

#[tokio::test]
async fn a_wait_ends_at_its_deadline_and_leaves_the_queue() {
    let peer = Peer::echo().await;
    let pool = small(1, Duration::from_millis(30));
    let held = pool.borrow(&peer.key()).await.unwrap();
    let began = Instant::now();
    let error = pool.borrow(&peer.key()).await.unwrap_err();
    assert!(matches!(error, PoolError::Timeout { .. }), "{error}");
    assert!(began.elapsed() >= Duration::from_millis(30));
    let counters = pool.counters();
    assert_eq!((counters.waiting, counters.refused), (0, 1));
    drop(held);
    assert!(pool.borrow(&peer.key()).await.unwrap().reused());
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default().max_per_key(1).max_waiting(0));
    let _held = pool.borrow(&peer.key()).await.unwrap();
    let error = pool.borrow(&peer.key()).await.unwrap_err();
    assert!(
        matches!(error, PoolError::Full { waiting: 0, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_waiter_that_gives_up_with_a_connection_at_hand_loses_none() {
    let peer = Peer::echo().await;
    let pool = small(1, PATIENCE);
    let key = peer.key();
    let mut held = pool.borrow(&key).await.unwrap();
    echo(&mut held).await.unwrap();
    let mut given_up = Box::pin(pool.borrow(&key));
    assert!(poll_once(given_up.as_mut()).is_none());
    // It is handed over here, and never fetched.
    drop(held);
    drop(given_up);
    assert!(pool.borrow(&key).await.unwrap().reused());
    assert_eq!((peer.accepted(), pool.counters().waiting), (1, 0));
}

#[tokio::test]
async fn a_dropped_dial_frees_its_place() {
    let peer = Peer::echo().await;
    let pool = small(1, PATIENCE);
    let key = peer.key();
    let mut dial = Box::pin(pool.borrow(&key));
    if poll_once(dial.as_mut()).is_none() {
        assert_eq!(pool.counters().open, 1);
    }
    drop(dial);
    drop(pool.borrow(&key).await.unwrap());
    assert_eq!(pool.counters().open, 1);
}

#[tokio::test]
async fn a_failed_dial_frees_its_place_for_the_next_waiter() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = key_of(nobody.local_addr().unwrap());
    drop(nobody);
    let pool = small(1, PATIENCE);
    let dials: Vec<_> = (0..4)
        .map(|_| {
            let (pool, key) = (pool.clone(), key.clone());
            tokio::spawn(async move { pool.borrow(&key).await })
        })
        .collect();
    for dial in dials {
        match timeout(PATIENCE, dial).await.unwrap().unwrap() {
            Err(PoolError::Connect(error)) => {
                assert!(matches!(error.cause(), ConnectCause::Refused(_)), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let counters = pool.counters();
    assert_eq!((counters.failed, counters.open), (4, 0));
}

#[tokio::test]
async fn the_total_holds_over_keys_and_rest_gives_way_to_need() {
    let (one, other) = (Peer::echo().await, Peer::echo().await);
    let pool = Pool::new(PoolOptions::default().max_total(1));
    drop(pool.borrow(&one.key()).await.unwrap());
    let _lent = pool.borrow(&other.key()).await.unwrap();
    let counters = pool.counters();
    assert_eq!((counters.open, counters.idle), (1, 0));
}

#[tokio::test]
async fn other_options_or_another_id_mean_another_connection() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());
    let bound = DialOptions::default().bind(Some("127.0.0.9:0".parse().unwrap()));
    let keys = [
        peer.key(),
        peer.key().with_id("a"),
        peer.key().with_id("b"),
        PoolKey::new(peer.address(), bound),
    ];
    for key in &keys {
        assert!(!pool.borrow(key).await.unwrap().reused());
    }
    for key in &keys {
        assert!(pool.borrow(key).await.unwrap().reused());
    }
    assert_eq!(pool.counters().idle, 4);
}

#[tokio::test]
async fn one_id_for_two_addresses_is_refused_while_the_first_is_in_use() {
    let (one, other) = (Peer::echo().await, Peer::echo().await);
    let pool = Pool::new(PoolOptions::default());
    drop(pool.borrow(&one.key().with_id("db")).await.unwrap());
    match pool.borrow(&other.key().with_id("db")).await {
        Err(PoolError::IdTaken { id, address }) => {
            assert_eq!((id.as_str(), address), ("db", one.address().to_string()));
        }
        other => panic!("{other:?}"),
    }
    pool.clear();
    pool.borrow(&other.key().with_id("db")).await.unwrap();
}

#[tokio::test]
async fn warming_opens_the_missing_connections() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());
    for (wanted, opened) in [(3, 3), (5, 2), (5, 0)] {
        assert_eq!(pool.warm(&peer.key(), wanted).await.unwrap(), opened);
    }
    assert_eq!(pool.counters().idle, 5);
    assert!(pool.borrow(&peer.key()).await.unwrap().reused());
}

#[tokio::test]
async fn connections_that_are_too_old_are_closed_without_a_request() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default().max_idle(Duration::from_millis(200)));
    pool.warm(&peer.key(), 3).await.unwrap();
    until(|| pool.counters().idle == 0).await;
    let counters = pool.counters();
    assert_eq!((counters.expired, counters.open), (3, 0));
    until(|| peer.open() == 0).await;
}

#[tokio::test]
async fn dropping_the_pool_closes_resting_connections_and_leaves_lent_ones() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());
    let mut lent = pool.borrow(&peer.key()).await.unwrap();
    pool.warm(&peer.key(), 2).await.unwrap();
    until(|| peer.open() == 3).await;
    drop(pool);
    until(|| peer.open() == 1).await;
    echo(&mut lent).await.unwrap();
    drop(lent);
    until(|| peer.open() == 0).await;
}

#[test]
fn a_runtime_that_ends_with_a_connection_lent_does_not_hang() {
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.enable_all().build().unwrap();
        let pool = Pool::new(PoolOptions::default());
        runtime.block_on(async {
            let peer = Peer::echo().await;
            let connection = pool.borrow(&peer.key()).await.unwrap();
            tokio::spawn(async move {
                let _connection = connection;
                std::future::pending::<()>().await;
            });
        });
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            drop(runtime);
            tell.send(())
        });
        told.recv_timeout(PATIENCE).expect("it ends");
        assert_eq!(pool.counters().open, 1);
    }
}

#[tokio::test]
async fn a_connection_can_leave_the_pool() {
    let peer = Peer::echo().await;
    let pool = small(1, PATIENCE);
    let connection = pool.borrow(&peer.key()).await.unwrap().into_connection();
    assert_eq!(pool.counters().open, 0);
    drop(pool.borrow(&peer.key()).await.unwrap());
    assert!(connection.peer().is_some());
}

#[tokio::test]
async fn session_tickets_are_no_stray_bytes() {
    let peer = TlsPeer::new().await;
    let pool = Pool::new(PoolOptions::default());
    // Nothing is read, so the tickets wait in the socket.
    let (warmed, _stream) = tokio::join!(pool.warm(&peer.key, 1), peer.accept());
    assert_eq!(warmed.unwrap(), 1);
    for _ in 0..2 {
        assert!(pool.borrow(&peer.key).await.unwrap().reused());
    }
    assert_eq!(pool.counters().stray, 0);
}

#[tokio::test]
async fn stray_bytes_and_farewells_are_seen_through_tls() {
    let peer = TlsPeer::new().await;
    let pool = Pool::new(PoolOptions::default().stray(Stray::Keep));
    let (lent, stream) = tokio::join!(pool.borrow(&peer.key), peer.accept());
    let (mut lent, mut stream) = (lent.unwrap(), stream);
    lent.write_all(b"question").await.unwrap();
    stream.read_exact(&mut [0; 8]).await.unwrap();
    stream.write_all(b"answer").await.unwrap();
    lent.read_exact(&mut [0; 6]).await.unwrap();
    let socket = rustix::io::dup(&lent).unwrap();
    drop(lent);

    stream.write_all(b"stray").await.unwrap();
    readable(&socket).await;
    let mut lent = pool.borrow(&peer.key).await.unwrap();
    assert!(lent.reused());
    let mut stray = [0; 5];
    lent.read_exact(&mut stray).await.unwrap();
    assert_eq!(&stray, b"stray");
    drop(lent);

    stream.shutdown().await.unwrap();
    readable(&socket).await;
    let (lent, _stream) = tokio::join!(pool.borrow(&peer.key), peer.accept());
    assert!(!lent.unwrap().reused());
    let counters = pool.counters();
    assert_eq!((counters.stray, counters.dead), (1, 1));
}

/// A TLS server, for some connections only.
struct TlsPeer {
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    key: PoolKey,
}

impl TlsPeer {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tls://{}", listener.local_addr().unwrap());
        let options = DialOptions::default().tls(tls_peer::options());
        Self {
            listener,
            acceptor: tls_peer::server().into(),
            key: PoolKey::new(address.parse().unwrap(), options),
        }
    }

    async fn accept(&self) -> tokio_rustls::server::TlsStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        self.acceptor.accept(stream).await.unwrap()
    }
}

#[test]
fn many_tasks_on_many_threads_share_few_connections() {
    const TASKS: usize = 16;
    const ROUNDS: usize = 200;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let peer = Peer::echo().await;
        let pool = small(4, 6 * PATIENCE);
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (pool, key) = (pool.clone(), peer.key());
                tokio::spawn(async move {
                    for round in 0..ROUNDS {
                        // Now and then one gives up, wherever it is.
                        if (task + round) % 7 == 0 {
                            let _ = timeout(Duration::ZERO, pool.borrow(&key)).await;
                        }
                        let mut connection = pool.borrow(&key).await.unwrap();
                        echo(&mut connection).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            timeout(6 * PATIENCE, task).await.unwrap().unwrap();
        }
        let counters = pool.counters();
        assert_eq!((counters.waiting, counters.refused), (0, 0));
        assert_eq!(counters.open, counters.idle);
        assert!(counters.open <= 4, "{counters:?}");
        until(|| peer.open() == pool.counters().open).await;
    });
}

/// The peer closes after exactly the pool's `max_idle`; no request goes to a connection that it has closed.
#[tokio::test]
async fn requests_at_the_age_at_which_the_peer_closes_do_not_fail() {
    const AGE: Duration = Duration::from_millis(400);
    let peer = Peer::closing_idle_after(AGE).await;
    let pool = Pool::new(
        PoolOptions::default()
            .max_idle(AGE)
            // What a noisy machine may pause between the look and the write.
            .lead(AGE / 2),
    );
    let tasks: Vec<_> = (0..20u32)
        .map(|task| {
            let (pool, key) = (pool.clone(), peer.key());
            tokio::spawn(async move {
                for round in 0..8 {
                    let mut connection = pool.borrow(&key).await.unwrap();
                    echo(&mut connection).await.unwrap();
                    drop(connection);
                    // Shortly before, at and after the last moment, and at the peer's.
                    let eighths = [3, 4, 5, 8][((task + round) % 4) as usize];
                    tokio::time::sleep(AGE * eighths / 8).await;
                }
            })
        })
        .collect();
    for task in tasks {
        timeout(2 * PATIENCE, task).await.unwrap().unwrap();
    }
    let counters = pool.counters();
    assert_eq!(counters.fresh + counters.reused, 160);
}

fn small(max_per_key: usize, max_wait: Duration) -> Pool {
    Pool::new(
        PoolOptions::default()
            .max_per_key(max_per_key)
            .max_wait(max_wait),
    )
}

/// The result of a future that is not to wait.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    poll_once(std::pin::pin!(future))
}

fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(result) => Some(result),
        std::task::Poll::Pending => None,
    }
}
