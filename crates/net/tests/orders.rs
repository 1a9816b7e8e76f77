//! What senders order of a client that its owner awaits.

#[allow(
    dead_code,
    reason = "not every test that includes this file needs all of it"
)]
mod recorder;

use std::time::Duration;

use moorline_net::client::{SendError, Sender, StreamError, Unsent};
use moorline_net::relay::RelayEnd;
use moorline_net::{Client, ClientOptions};
use recorder::{framed, listener, packet, reconnecting, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};

/// A close deadline that no test reaches.
fn patient() -> ClientOptions {
    ClientOptions::default()
        .close_deadline(recorder::PATIENCE * 2)
        .buffer(1 << 20)
}

async fn connected(options: ClientOptions) -> (Client, TcpStream, TcpListener) {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, options);
    client.connect().await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    (client, peer, listener)
}

/// A client that cannot send any more, because its peer reads nothing.
async fn stuck(options: ClientOptions) -> (Client, TcpStream, Sender) {
    let (mut client, peer, _) = connected(options).await;
    let sender = client.sender();
    while client.try_send(&[1; 64 * 1024]).is_ok() {}
    (client, peer, sender)
}

/// Does something that waits, while a sender closes the client.
async fn while_closed<T>(work: impl Future<Output = T>, order: impl FnOnce()) -> T {
    let (result, ()) = within(async {
        tokio::join!(work, async {
            tokio::task::yield_now().await;
            order();
        })
    })
    .await;
    result
}

#[tokio::test]
async fn a_senders_close_now_ends_whatever_the_owner_waits_in() {
    let (mut client, _peer, sender) = stuck(patient()).await;
    let sent = while_closed(client.send(b"x"), || sender.close_now()).await;
    assert!(matches!(sent, Err(SendError::Closing)), "{sent:?}");
    assert!(!client.is_connected() && !sender.is_connected());

    let (mut client, _peer, sender) = stuck(patient()).await;
    let flushed = while_closed(client.flush(), || sender.close_now()).await;
    assert!(matches!(flushed, Err(StreamError::Closed)), "{flushed:?}");
    assert!(!client.is_connected());

    let (mut client, _peer, sender) = stuck(patient()).await;
    let ended = while_closed(client.half_close(), || sender.close_now()).await;
    assert!(matches!(ended, Err(StreamError::Closed)), "{ended:?}");
    assert!(!client.is_connected());

    let (mut client, _peer, sender) = stuck(patient()).await;
    let closed = while_closed(client.close(), || sender.close_now()).await;
    assert!(matches!(closed, Err(StreamError::Closed)), "{closed:?}");
    assert!(!client.is_connected());

    let (mut client, _peer, _) = connected(patient()).await;
    let sender = client.sender();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &vec![1; 16 << 20]).unwrap();
    let sends = client.send_file(file.path(), 0, None);
    let sent = while_closed(sends, || sender.close_now()).await;
    assert!(
        matches!(
            sent,
            Err(SendError::Closing | SendError::Broken(StreamError::Closed))
        ),
        "{sent:?}"
    );
    assert!(!client.is_connected());

    let (mut client, mut peer, _) = connected(patient()).await;
    let sender = client.sender();
    let (other, mut far) = duplex(1024);
    let piped = while_closed(client.pipe_into(other, None), || sender.close_now()).await;
    assert!(matches!(piped.unwrap().end, RelayEnd::Closed));
    assert_eq!(within(peer.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(within(far.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn senders_hold_no_more_files_than_their_bound() {
    const LARGE: u64 = 32 << 20;
    let (mut client, mut peer, _) = connected(patient()).await;
    let sender = client.sender();
    let large = tempfile::tempfile().unwrap();
    large.set_len(LARGE).unwrap();
    sender.send_file(large, 0, None).await.unwrap();
    let small = tempfile::tempfile().unwrap();
    small.set_len(1).unwrap();
    let mut sent = 0;
    let refused = loop {
        // The client takes what its senders have.
        let polled = tokio::time::timeout(Duration::ZERO, client.receive_message()).await;
        assert!(polled.is_err());
        let small = small.try_clone().unwrap();
        match sender.send_file(small, 0, None).await {
            Ok(()) if sent < 1000 => sent += 1,
            refused => break refused,
        }
    };
    assert!(
        matches!(refused, Err(SendError::Full { .. })),
        "{refused:?}"
    );
    assert!(sent < 3 * 64, "{sent}");
    let mut all = vec![0; (LARGE + sent) as usize];
    within(async {
        tokio::select! {
            read = peer.read_exact(&mut all) => read.unwrap(),
            _ = client.receive_message() => unreachable!("the peer sends nothing"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_senders_close_ends_a_pipe_once_read_bytes_are_delivered() {
    let (mut client, mut peer, _) = connected(patient()).await;
    let sender = client.sender();
    let (other, mut far) = duplex(4);
    peer.write_all(b"0123456789").await.unwrap();
    let pipe = tokio::spawn(client.pipe_into(other, None));
    let mut first = [0; 4];
    within(far.read_exact(&mut first)).await.unwrap();
    sender.close();
    let mut rest = Vec::new();
    within(far.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"456789");
    drop(far);
    assert_eq!(within(peer.read(&mut [0])).await.unwrap(), 0);
    drop(peer);
    let piped = within(pipe).await.unwrap().unwrap();
    assert!(matches!(piped.end, RelayEnd::Closed), "{:?}", piped.end);
    assert_eq!(piped.ahead, 10);
}

#[tokio::test]
async fn a_senders_close_is_over_by_the_close_deadline_whatever_the_owner_waits_in() {
    let hasty = || patient().close_deadline(Duration::from_millis(50));
    let (mut client, _peer, sender) = stuck(hasty()).await;
    let received = while_closed(client.receive_message(), || sender.close()).await;
    assert!(matches!(received, Ok(None)), "{received:?}");
    assert!(!client.is_connected());

    let (mut client, _peer, sender) = stuck(hasty()).await;
    let sent = while_closed(client.send(b"x"), || sender.close()).await;
    assert!(matches!(sent, Err(SendError::Closing)), "{sent:?}");
    assert!(!client.is_connected());

    let (mut client, _peer, sender) = stuck(hasty()).await;
    let flushed = while_closed(client.flush(), || sender.close()).await;
    assert!(
        matches!(flushed, Err(StreamError::TimedOut(_))),
        "{flushed:?}"
    );
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_send_that_need_not_wait_heeds_an_order_too() {
    let (mut client, _peer, _) = connected(patient()).await;
    let sender = client.sender();
    sender.close_now();
    let sent = within(client.send(b"x")).await;
    assert!(matches!(sent, Err(SendError::Closing)), "{sent:?}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn queued_messages_of_senders_go_out_before_the_end() {
    let (mut client, mut peer, sender) = stuck(patient()).await;
    // The client has no room, so that it stays with the sender.
    sender.try_send(b"last words").unwrap();
    sender.half_close();
    let reads = tokio::spawn(async move {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.map(|_| got)
    });
    within(client.flush()).await.unwrap();
    let got = within(reads).await.unwrap().unwrap();
    assert!(got.ends_with(b"last words"));

    let (mut client, mut peer, _) = connected(patient()).await;
    let sender = client.sender();
    sender.try_send(b"last words").unwrap();
    sender.half_close();
    within(client.flush()).await.unwrap();
    let refused = sender.try_send(b"x");
    assert!(matches!(refused, Err(SendError::Closing)), "{refused:?}");
    let mut got = Vec::new();
    within(peer.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"last words");
}

/// A question of the client's and its answer: that its connection lives in both directions.
async fn assert_lives(client: &mut Client, listener: &TcpListener) {
    let (mut peer, _) = within(listener.accept()).await.unwrap();
    within(client.send(b"question")).await.unwrap();
    within(client.flush()).await.unwrap();
    let mut got = vec![0; packet(b"question").len()];
    within(peer.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, packet(b"question"));
    peer.write_all(&packet(b"answer")).await.unwrap();
    let answer = within(client.receive_message()).await.unwrap();
    assert_eq!(answer.as_deref(), Some(&b"answer"[..]));
}

#[tokio::test]
async fn an_order_about_an_earlier_connection_does_not_reach_the_next() {
    type Order = fn(&Sender);
    let orders: [Order; 5] = [
        |sender| sender.close_now(),
        |sender| sender.close(),
        |sender| sender.reconnect(),
        |sender| sender.half_close(),
        |sender| sender.pause(),
    ];
    for (which, order) in orders.into_iter().enumerate() {
        for reconnects in [false, true] {
            let options = match reconnects {
                true => reconnecting(Unsent::Fail),
                false => framed(),
            };
            let (mut client, peer, listener) = connected(options).await;
            let sender = client.sender();
            // Nobody polls the client until it has ended by itself.
            order(&sender);
            client.close_now();
            drop(peer);
            order(&sender);
            within(client.connect())
                .await
                .unwrap_or_else(|error| panic!("order {which}: {error}"));
            assert_lives(&mut client, &listener).await;
            assert_eq!(client.attempt(), 2, "order {which}");
        }
    }
}

#[tokio::test]
async fn two_orders_to_reconnect_make_one_new_connection() {
    let (mut client, _old, listener) = connected(reconnecting(Unsent::Fail)).await;
    let sender = client.sender();
    sender.reconnect();
    let lost = within(client.receive_message()).await;
    assert!(matches!(lost, Err(StreamError::NotConnected)), "{lost:?}");
    // By somebody who saw the old connection fail, too.
    sender.reconnect();
    within(client.reconnect()).await.unwrap();
    assert_lives(&mut client, &listener).await;
    assert_eq!(client.attempt(), 2);
}

#[tokio::test]
async fn messages_of_senders_are_dropped_with_their_connection_where_unsent_ones_fail() {
    let (mut client, peer, listener) = connected(reconnecting(Unsent::Fail)).await;
    let sender = client.sender();
    sender.try_send(b"for the old connection").unwrap();
    client.close_now();
    drop(peer);
    within(client.connect()).await.unwrap();
    assert_lives(&mut client, &listener).await;
}
