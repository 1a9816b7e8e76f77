//! What looks after connections at rest.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::{DialOptions, Pool, PoolKey, PoolOptions};

async fn key() -> (TcpListener, PoolKey) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let key = PoolKey::new(address.parse().unwrap(), DialOptions::default());
    (listener, key)
}

/// Lets other tasks have their turns until it is so.
async fn until(is_so: impl Fn() -> bool) {
    let becomes_so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(20);
    timeout(patience, becomes_so).await.expect("it becomes so");
}

#[tokio::test]
async fn a_pool_that_is_dropped_leaves_no_task_behind() {
    let (_listener, key) = key().await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let pool = Pool::new(PoolOptions::default());
    drop(pool.borrow(&key).await.unwrap());
    tokio::task::yield_now().await;
    assert_eq!(tasks(), before + 1);
    drop(pool);
    until(|| tasks() == before).await;
}

#[tokio::test]
async fn connections_at_rest_are_watched_once_their_runtime_takes_the_descriptor() {
    let (listener, key) = key().await;
    let pool = Pool::new(PoolOptions {
        max_idle: Duration::from_secs(1),
        lead: Duration::ZERO,
        ..PoolOptions::default()
    });
    // As the task before does while it ends.
    let taken = pool.shared.watch().unwrap().on_runtime().unwrap();
    let first = pool.borrow(&key).await.unwrap();
    // It is older than the other one by this much, and what looks after both looks again when its time is over.
    sleep(Duration::from_millis(500)).await;
    let second = pool.borrow(&key).await.unwrap();
    let _first_peer = listener.accept().await.unwrap();
    let second_peer = listener.accept().await.unwrap();
    drop((first, second));
    tokio::task::yield_now().await;
    drop(taken);
    until(|| pool.counters().expired == 1).await;
    drop(second_peer);
    until(|| pool.counters().idle == 0).await;
    assert_eq!(pool.counters().dead, 1);
}
