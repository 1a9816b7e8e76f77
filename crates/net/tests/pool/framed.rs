//! Framed clients on connections that a pool lends: clean ones go back, others are closed.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use moorline_net::client::StreamError;
use moorline_net::{
    Client, ClientOptions, Delimiter, Framing, Pool, PoolKey, PoolOptions, Stray, Unanswered,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::peer::{PATIENCE, Peer, key_of, readable, until};

fn lines() -> ClientOptions {
    ClientOptions::framed(Framing::Line { max: 1 << 20 })
}

/// A pool that lends one connection at a time.
fn one_at_a_time() -> Pool {
    Pool::new(PoolOptions::default().max_per_key(1).max_wait(PATIENCE))
}

async fn client(pool: &Pool, key: &PoolKey) -> Client {
    Client::on(pool.borrow(key).await.unwrap(), lines())
}

async fn ask(client: &mut Client, question: &str) -> String {
    client.send(question.as_bytes()).await.unwrap();
    let answer = timeout(PATIENCE, client.receive_message()).await;
    let answer = answer.unwrap().unwrap().expect("the peer has not ended");
    String::from_utf8(answer.to_vec()).unwrap()
}

/// Polls once, and gives the future up.
fn give_up<T>(future: impl Future<Output = T>) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
}

fn is_reused(client: &Client) -> bool {
    client.connection().unwrap().reused()
}

/// A server of lines: `n` is answered by `n` lines, one after the other, `half` by a line without an end, `end` by
/// the end.
struct Answerer {
    key: PoolKey,
    accepted: Arc<AtomicUsize>,
}

impl Answerer {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = key_of(listener.local_addr().unwrap());
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut lines = BufReader::new(read).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        let answer = match line.parse() {
                            Ok(count) => (1..=count).map(|nth: u32| format!("{nth}\n")).collect(),
                            Err(_) if line == "half" => "ha".to_owned(),
                            Err(_) if line == "end" => return,
                            Err(_) => format!("{line}\n"),
                        };
                        if write.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { key, accepted }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_framed_client_goes_back_when_its_answers_have_come() {
    let peer = Answerer::new().await;
    let pool = one_at_a_time();
    for round in 0..3 {
        let mut client = client(&pool, &peer.key).await;
        assert_eq!(is_reused(&client), round > 0);
        assert_eq!(ask(&mut client, "ahoy").await, "ahoy");
        assert_eq!(ask(&mut client, "aye").await, "aye");
    }
    // One that did nothing is clean too.
    drop(client(&pool, &peer.key).await);
    assert_eq!(pool.counters().idle, 1);
    assert_eq!((peer.accepted(), pool.counters().dropped), (1, 0));
}

#[tokio::test]
async fn a_client_of_another_framing_gets_the_same_connection() {
    let peer = Peer::echo().await;
    let pool = one_at_a_time();
    let framings = [
        Framing::Raw,
        Framing::Line { max: 64 },
        Framing::Length(moorline_net::Length::default()),
    ];
    for framing in framings {
        let pooled = pool.borrow(&peer.key()).await.unwrap();
        let mut client = Client::on(pooled, ClientOptions::framed(framing));
        assert_eq!(ask(&mut client, "ahoy").await, "ahoy");
    }
    assert_eq!((peer.accepted(), pool.counters().reused), (1, 2));
}

/// Does something to a client that leaves it dirty, and checks that its connection is closed and not lent again.
async fn assert_closed(options: PoolOptions, soil: impl AsyncFnOnce(&mut Client)) {
    let peer = Answerer::new().await;
    let pool = Pool::new(options);
    let mut soiled = client(&pool, &peer.key).await;
    soil(&mut soiled).await;
    drop(soiled);
    assert_eq!(pool.counters().open, 0);
    let mut next = client(&pool, &peer.key).await;
    assert!(!is_reused(&next));
    assert_eq!(ask(&mut next, "mine").await, "mine");
    assert_eq!((peer.accepted(), pool.counters().dropped), (2, 1));
}

#[tokio::test]
async fn a_receive_that_was_given_up_closes_the_connection() {
    assert_closed(PoolOptions::default(), async |client| {
        client.send(b"ahoy").await.unwrap();
        give_up(client.receive_message());
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_was_not_fetched_closes_the_connection() {
    assert_closed(PoolOptions::default(), async |client| {
        client.send(b"ahoy").await.unwrap();
    })
    .await;
    // One answer does not make up for another.
    assert_closed(PoolOptions::default(), async |client| {
        client.send(b"one").await.unwrap();
        client.send(b"other").await.unwrap();
        client.receive_message().await.unwrap();
    })
    .await;
}

/// Even where unanswered messages are no reason to close.
fn keeping() -> PoolOptions {
    PoolOptions::default()
        .unanswered(Unanswered::Keep)
        .stray(Stray::Keep)
}

#[tokio::test]
async fn a_message_that_is_half_read_closes_the_connection() {
    assert_closed(keeping(), async |client| {
        client.send(b"half").await.unwrap();
        client.peek().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn messages_that_came_and_were_not_taken_close_the_connection() {
    assert_closed(keeping(), async |client| {
        client.send(b"2").await.unwrap();
        let first = client.receive_message().await.unwrap().unwrap();
        assert_eq!(first, "1");
    })
    .await;
}

#[tokio::test]
async fn a_message_that_waits_to_be_sent_closes_the_connection() {
    assert_closed(keeping(), async |client| {
        // More than the socket takes while the peer reads nothing of it: its line does not end.
        let part = [b'x'; 256 * 1024];
        while client.queued() == 0 {
            client.try_send(&part).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_send_that_was_given_up_closes_the_connection() {
    assert_closed(keeping(), async |client| {
        let part = [b'x'; 1 << 20];
        loop {
            let mut sending = pin!(client.send(&part));
            let polled = sending
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if polled.is_pending() {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_half_closed_one_is_closed() {
    assert_closed(keeping(), async |client| {
        client.half_close().await.unwrap();
    })
    .await;
    assert_closed(keeping(), async |client| client.start_half_close()).await;
}

#[tokio::test]
async fn a_sender_with_an_order_or_a_message_pending_closes_the_connection() {
    assert_closed(keeping(), async |client| client.sender().close()).await;
    assert_closed(keeping(), async |client| client.sender().half_close()).await;
    assert_closed(keeping(), async |client| {
        client.sender().try_send(b"late").unwrap();
    })
    .await;
}

#[tokio::test]
async fn messages_of_senders_are_owed_an_answer_too() {
    assert_closed(PoolOptions::default(), async |client| {
        client.sender().try_send(b"ahoy").unwrap();
        client.flush().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn each_message_of_one_send_is_owed_an_answer() {
    let peer = Answerer::new().await;
    let pool = one_at_a_time();
    let options = ClientOptions::framed(Framing::Delimiter(Delimiter::new(b"\n", 64).keep(true)));
    for from_elsewhere in [false, true] {
        let mut client = Client::on(pool.borrow(&peer.key).await.unwrap(), options.clone());
        assert!(!is_reused(&client));
        // The second one is not answered.
        let both = b"ahoy\n0\n";
        match from_elsewhere {
            true => client.sender().try_send(both).unwrap(),
            false => client.send(both).await.unwrap(),
        }
        let answer = timeout(PATIENCE, client.receive_message()).await;
        assert_eq!(answer.unwrap().unwrap().unwrap(), "ahoy\n");
        drop(client);
    }
    assert_eq!((peer.accepted(), pool.counters().dropped), (2, 2));
}

#[tokio::test]
async fn bytes_that_a_framed_client_takes_are_no_answer() {
    assert_closed(PoolOptions::default(), async |client| {
        client.send(b"ahoy").await.unwrap();
        assert_eq!(client.receive_exact(5).await.unwrap(), "ahoy\n");
    })
    .await;
}

#[tokio::test]
async fn a_sender_that_outlives_its_client_reaches_no_other() {
    let peer = Answerer::new().await;
    let pool = one_at_a_time();
    let mut first = client(&pool, &peer.key).await;
    let sender = first.sender();
    assert_eq!(ask(&mut first, "ahoy").await, "ahoy");
    drop(first);
    assert!(!sender.is_connected());
    sender.try_send(b"psst").unwrap_err();
    sender.close_now();
    let mut second = client(&pool, &peer.key).await;
    assert!(is_reused(&second));
    assert_eq!(ask(&mut second, "mine").await, "mine");
}

#[tokio::test]
async fn one_that_is_closed_or_ended_is_not_lent_again() {
    assert_closed(keeping(), async |client| {
        client.send(b"end").await.unwrap();
        assert!(client.receive_message().await.unwrap().is_none());
    })
    .await;
    let peer = Answerer::new().await;
    let pool = one_at_a_time();
    let mut closed = client(&pool, &peer.key).await;
    closed.close().await.unwrap();
    assert_eq!(pool.counters().open, 0);
    let mut cut = client(&pool, &peer.key).await;
    cut.close_now();
    // Its place is free at once.
    assert_eq!(pool.counters().open, 0);
    let error = cut.reconnect().await.unwrap_err();
    assert!(error.to_string().contains("given"), "{error}");
    let error = cut.receive_message().await.unwrap_err();
    assert!(matches!(error, StreamError::NotConnected), "{error}");
}

#[tokio::test]
async fn several_answers_to_one_message_and_one_to_several_leave_it_clean() {
    let peer = Answerer::new().await;
    let pool = one_at_a_time();
    let mut many = client(&pool, &peer.key).await;
    assert_eq!(ask(&mut many, "3").await, "1");
    for nth in ["2", "3"] {
        let next = many.receive_message().await.unwrap().unwrap();
        assert_eq!(next, nth);
    }
    drop(many);
    let mut one = client(&pool, &peer.key).await;
    assert!(is_reused(&one));
    one.send(b"0").await.unwrap();
    one.send(b"0").await.unwrap();
    assert_eq!(ask(&mut one, "all").await, "all");
    one.mark_answered();
    drop(one);
    assert!(is_reused(&client(&pool, &peer.key).await));
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn a_task_that_is_aborted_in_the_middle_of_a_message_hands_nothing_on() {
    let peer = Answerer::new().await;
    let pool = one_at_a_time();
    for _ in 0..20 {
        let (borrower, key) = (pool.clone(), peer.key.clone());
        let task = tokio::spawn(async move {
            let mut client = client(&borrower, &key).await;
            loop {
                ask(&mut client, "theirs").await;
            }
        });
        until(|| pool.counters().open == 1).await;
        for _ in 0..fastrand::u32(0..50) {
            tokio::task::yield_now().await;
        }
        task.abort();
        let mut next = timeout(PATIENCE, client(&pool, &peer.key)).await.unwrap();
        assert_eq!(ask(&mut next, "mine").await, "mine");
    }
}

#[tokio::test]
async fn a_waiter_for_a_framed_client_gets_its_connection() {
    let peer = Answerer::new().await;
    let pool = one_at_a_time();
    let mut held = client(&pool, &peer.key).await;
    let (borrower, key) = (pool.clone(), peer.key.clone());
    let waits = tokio::spawn(async move {
        let mut client = client(&borrower, &key).await;
        ask(&mut client, "second").await;
        is_reused(&client)
    });
    until(|| pool.counters().waiting == 1).await;
    assert_eq!(ask(&mut held, "first").await, "first");
    drop(held);
    assert!(timeout(PATIENCE, waits).await.unwrap().unwrap());
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn a_connection_taken_out_of_a_client_leaves_the_pool() {
    let peer = Answerer::new().await;
    let pool = one_at_a_time();
    let client = client(&pool, &peer.key).await;
    let (connection, unread) = client.into_connection().unwrap();
    assert!(unread.is_empty());
    assert_eq!(pool.counters().open, 0);
    drop(connection);
}

#[tokio::test]
async fn a_piped_connection_is_not_lent_again() {
    let peer = Peer::echo().await;
    let pool = one_at_a_time();
    let client = Client::on(
        pool.borrow(&peer.key()).await.unwrap(),
        ClientOptions::default(),
    );
    let (mut user, other) = tokio::io::duplex(64);
    let piped = tokio::spawn(client.pipe_into(other, None));
    user.shutdown().await.unwrap();
    drop(user);
    timeout(PATIENCE, piped).await.unwrap().unwrap().unwrap();
    assert_eq!(pool.counters().open, 0);
}

#[tokio::test]
async fn a_peer_that_ends_while_its_connection_rests_is_noticed_though_nobody_asks() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());
    pool.warm(&peer.key(), 3).await.unwrap();
    let lent = pool.borrow(&peer.key()).await.unwrap();
    until(|| peer.open() == 3).await;
    peer.close_all();
    until(|| pool.counters().idle == 0).await;
    let counters = pool.counters();
    // The lent one is its borrower's.
    assert_eq!((counters.dead, counters.open), (2, 1));
    drop(lent);
}

#[tokio::test]
async fn stray_bytes_on_a_connection_at_rest_close_it_though_nobody_asks() {
    let peer = Peer::echo().await;
    let pool = Pool::new(PoolOptions::default());
    pool.warm(&peer.key(), 3).await.unwrap();
    until(|| peer.open() == 3).await;
    peer.say_to_all();
    until(|| pool.counters().idle == 0).await;
    assert_eq!((pool.counters().stray, pool.counters().open), (3, 0));
}

#[tokio::test]
async fn stray_bytes_that_are_kept_are_the_next_clients_first_message() {
    let peer = Peer::echo().await;
    let pool = Pool::new(keeping());
    let pooled = pool.borrow(&peer.key()).await.unwrap();
    let socket = rustix::io::dup(&pooled).unwrap();
    drop(Client::on(pooled, lines()));
    until(|| peer.open() == 1).await;
    peer.say_to_all();
    readable(&socket).await;
    // The pool's own look has its turn.
    tokio::task::yield_now().await;
    let mut client = Client::on(
        pool.borrow(&peer.key()).await.unwrap(),
        ClientOptions::default(),
    );
    assert!(is_reused(&client));
    let message = timeout(PATIENCE, client.receive_message()).await.unwrap();
    assert_eq!(message.unwrap().unwrap(), "stray");
    assert_eq!(pool.counters().stray, 1);
}

#[tokio::test]
async fn a_connection_lent_again_and_again_is_still_watched_at_rest() {
    let peer = Answerer::new().await;
    let pool = Pool::new(PoolOptions::default());
    for _ in 0..50 {
        let mut client = client(&pool, &peer.key).await;
        assert_eq!(ask(&mut client, "ahoy").await, "ahoy");
    }
    let mut client = client(&pool, &peer.key).await;
    client.send(b"end").await.unwrap();
    client.mark_answered();
    drop(client);
    until(|| pool.counters().idle == 0).await;
    assert_eq!((pool.counters().dead, peer.accepted()), (1, 1));
}
