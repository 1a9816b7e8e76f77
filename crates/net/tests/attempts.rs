//! What a handler is told of each attempt, whatever peers and users do. // C17

mod recorder;

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_net::Client;
use moorline_net::client::{Sender, Unsent};
use recorder::{Event, listener, packet, reconnecting, recorder, within};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What a peer does with the next connection, and a user with the client.
async fn disturb(random: &mut fastrand::Rng, peer: TcpStream, user: &Sender) {
    let mut peer = peer;
    match random.u8(..8) {
        0 => peer.set_zero_linger().unwrap(),
        1 => user.reconnect(),
        2 => peer.write_all(&[0xff; 8]).await.unwrap_or_default(),
        3 => peer.write_all(&packet(b"x")[..3]).await.unwrap_or_default(),
        4 => {
            let _ = peer.write_all(&packet(b"one message")).await;
            user.reconnect();
            user.reconnect();
        }
        5 => {
            let _ = peer.shutdown().await;
        }
        _ => {}
    }
    for _ in 0..random.u8(..20) {
        tokio::task::yield_now().await;
    }
}

// C17
#[tokio::test]
async fn each_attempt_is_told_as_one_error_or_as_connected_and_closed_once() {
    for round in 0..12 {
        let seed = fastrand::u64(..);
        println!("round {round}: seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (first, address) = listener().await;
        let local = first.local_addr().unwrap();
        let mut listener = Some(first);
        let (handler, mut told) = recorder(|client, event| {
            let _ = client.try_send(b"whatever");
            if let Event::Message(_) = event {
                client.start_reconnect();
            }
        });
        let mut options = reconnecting(if random.bool() {
            Unsent::Keep
        } else {
            Unsent::Fail
        });
        options.close_deadline = Duration::from_millis(5);
        let running = Client::new(address, options).start(handler);
        for _ in 0..random.u8(5..40) {
            if random.u8(..6) == 0 {
                // Refuses for a while.
                listener = None;
                for _ in 0..random.u8(..50) {
                    tokio::task::yield_now().await;
                }
            }
            let accepting = match listener.take() {
                Some(listener) => listener,
                None => TcpListener::bind(local).await.unwrap(),
            };
            if let Ok(accepted) = timeout(Duration::from_millis(20), accepting.accept()).await {
                disturb(&mut random, accepted.unwrap().0, &running).await;
            }
            listener = Some(accepting);
        }
        match random.u8(..3) {
            0 => running.close(),
            1 => running.close_now(),
            _ => {
                running.reconnect();
                running.close();
            }
        }
        let sender = Sender::clone(&running);
        within(running.ended()).await.unwrap();
        assert!(!sender.is_connected());
        let mut stories: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        let mut latest = 0;
        while let Some(event) = told.recv().await {
            let (attempt, what) = match event {
                Event::Connected(attempt) => (attempt, "connected"),
                Event::Closed(attempt, _) => (attempt, "closed"),
                Event::Error(attempt, _) => (attempt, "error"),
                _ => continue,
            };
            assert!(attempt >= latest, "attempts are told in order");
            latest = attempt;
            stories.entry(attempt).or_default().push(what);
        }
        for (attempt, story) in &stories {
            assert!(
                matches!(story[..], ["error"] | ["connected", "closed"]),
                "seed {seed}, attempt {attempt}: {story:?}"
            );
        }
        assert_eq!(
            stories.into_keys().collect::<Vec<_>>(),
            (1..=latest).collect::<Vec<_>>(),
            "seed {seed}: every attempt is told"
        );
    }
}
