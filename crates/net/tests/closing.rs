//! Closing against peers that go on sending, as they may until they have read the end.

#[allow(
    dead_code,
    reason = "not every test that includes this file needs all of it"
)]
mod recorder;

use std::time::{Duration, Instant};

use moorline_net::client::StreamError;
use moorline_net::{Client, ClientOptions, EventLoopPool, Listener, ListenerOptions};
use recorder::{Event, listener, recorder, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const SENT_BYTES: usize = 1_000_000;

/// Long enough that no test waits for it.
fn patient() -> ClientOptions {
    ClientOptions::default()
        .close_deadline(recorder::PATIENCE / 2)
        .buffer(2 * SENT_BYTES as u64)
}

/// A peer that sends without pause until it has read the end, and begins to read late. Tells how many bytes it has
/// read, or how reading or sending has failed.
fn talkative(peer: TcpStream) -> JoinHandle<std::io::Result<usize>> {
    tokio::spawn(async move {
        let (mut reader, mut writer) = peer.into_split();
        let talks = tokio::spawn(async move {
            loop {
                // Only the end of the test's reading stops it.
                if let Err(error) = writer.write_all(&[7; 16 * 1024]).await {
                    return error;
                }
            }
        });
        let mut read = 0;
        let mut buffer = [0; 4096];
        loop {
            tokio::time::sleep(Duration::from_micros(200)).await;
            match reader.read(&mut buffer).await? {
                0 => break,
                bytes => read += bytes,
            }
        }
        if talks.is_finished() {
            return Err(talks.await.unwrap());
        }
        talks.abort();
        let _ = talks.await;
        Ok(read)
    })
}

#[tokio::test]
async fn a_close_delivers_everything_to_a_peer_that_goes_on_sending() {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, patient());
    client.connect().await.unwrap();
    let peer = talkative(listener.accept().await.unwrap().0);
    client.try_send(&vec![1; SENT_BYTES]).unwrap();
    within(client.close()).await.unwrap();
    assert!(!client.is_connected());
    assert_eq!(within(peer).await.unwrap().unwrap(), SENT_BYTES);
}

#[tokio::test]
async fn a_handlers_close_delivers_everything_to_a_peer_that_goes_on_sending() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|client, event| {
        if let Event::Connected(_) = event {
            client.try_send(&vec![1; SENT_BYTES]).unwrap();
            client.start_close();
        }
    });
    let running = Client::new(address, patient()).start(handler);
    let peer = talkative(listener.accept().await.unwrap().0);
    assert_eq!(within(peer).await.unwrap().unwrap(), SENT_BYTES);
    within(running.ended()).await.unwrap();
    let mut last = None;
    while let Some(event) = told.recv().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Closed(1, "closed by us".into())));
}

#[tokio::test]
async fn a_senders_close_delivers_everything_while_the_owner_receives() {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, patient());
    client.connect().await.unwrap();
    let peer = talkative(listener.accept().await.unwrap().0);
    let sender = client.sender();
    client.try_send(&vec![1; SENT_BYTES]).unwrap();
    sender.close();
    while within(client.receive_message()).await.unwrap().is_some() {}
    assert!(!sender.is_connected());
    assert_eq!(within(peer).await.unwrap().unwrap(), SENT_BYTES);
}

#[tokio::test]
async fn a_listener_that_stops_delivers_everything_to_peers_that_go_on_sending() {
    let pool = EventLoopPool::start(Default::default()).unwrap();
    let options = ListenerOptions::default().session(patient());
    let (sent, mut all_sent) = tokio::sync::mpsc::unbounded_channel();
    let address = "tcp://127.0.0.1:0".parse().unwrap();
    let mut listener = Listener::start(&pool, &address, options, move |_| {
        let sent = sent.clone();
        let (handler, _) = recorder(move |client: &mut Client, event: &Event| {
            if let Event::Connected(_) = event {
                client.try_send(&vec![1; SENT_BYTES]).unwrap();
                sent.send(()).unwrap();
            }
        });
        handler
    })
    .unwrap();
    let port = listener.address().host_port().unwrap().port;
    let peer = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let peer = talkative(peer);
    within(all_sent.recv()).await.unwrap();
    listener.stop();
    assert_eq!(within(peer).await.unwrap().unwrap(), SENT_BYTES);
    within(listener.ended()).await;
}

fn hasty() -> ClientOptions {
    ClientOptions::default().close_deadline(Duration::from_millis(100))
}

#[tokio::test]
async fn a_peer_that_has_everything_and_keeps_silent_is_not_waited_for_until_the_deadline() {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, patient());
    client.connect().await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    client.send(b"farewell").await.unwrap();
    let began = Instant::now();
    within(client.close()).await.unwrap();
    assert!(
        began.elapsed() < recorder::PATIENCE / 4,
        "{:?}",
        began.elapsed()
    );
    let mut got = Vec::new();
    within(peer.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"farewell");
}

#[tokio::test]
async fn a_peer_that_never_stops_sending_is_cut_off_at_the_deadline() {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, hasty());
    client.connect().await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let talks = tokio::spawn(async move { while peer.write_all(&[7; 4096]).await.is_ok() {} });
    client.send(b"farewell").await.unwrap();
    let began = Instant::now();
    // Its system has acknowledged everything.
    within(client.close()).await.unwrap();
    assert!(began.elapsed() >= hasty().close_deadline);
    within(talks).await.unwrap();
}

#[tokio::test]
async fn a_close_that_could_not_deliver_everything_by_its_deadline_is_an_error() {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, hasty());
    client.connect().await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    // As much as the system takes, and no more: the client's own queue is empty.
    while client.queued() == 0 {
        client.try_send(&[1; 16 * 1024]).unwrap();
    }
    let sent = client.queued();
    let late = within(client.close()).await;
    assert!(matches!(late, Err(StreamError::TimedOut(_))), "{late:?}");
    assert!(sent > 0);
    drop(peer);
}

#[tokio::test]
async fn a_close_that_was_given_up_goes_on_with_the_next_receive() {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, patient());
    client.connect().await.unwrap();
    let peer = talkative(listener.accept().await.unwrap().0);
    client.try_send(&vec![1; SENT_BYTES]).unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(1), client.close()).await;
    assert!(given_up.is_err(), "it was done too soon to be given up");
    assert!(within(client.receive_message()).await.unwrap().is_none());
    assert!(!client.is_connected());
    assert_eq!(within(peer).await.unwrap().unwrap(), SENT_BYTES);
}
