//! A client as the stream and sink of its messages.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use moorline_net::client::{SendError, StreamError};
use moorline_net::{Address, Client, ClientOptions, DialOptions, Dialer, Framing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough for a busy machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it takes too long")
}

fn lines() -> ClientOptions {
    ClientOptions::framed(Framing::Line { max: 4096 })
}

/// A connected client and its peer.
async fn pair(options: ClientOptions) -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = format!("tcp://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let mut client = Client::new(address, options);
    client.connect().await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn messages_come_as_a_stream_until_the_peer_ends() {
    let (client, mut peer) = pair(lines()).await;
    peer.write_all(b"one\ntwo\nthree\n").await.unwrap();
    drop(peer);
    let received: Vec<_> = within(client.map(Result::unwrap).collect()).await;
    assert_eq!(received, ["one", "two", "three"]);
}

#[tokio::test]
async fn the_stream_ends_after_an_error() {
    let (mut client, mut peer) = pair(lines()).await;
    peer.write_all(b"half a li").await.unwrap();
    drop(peer);
    let error = within(client.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(error, StreamError::EndOfFile { unfinished: 9 }),
        "{error:?}"
    );
    assert!(within(client.next()).await.is_none());
}

#[tokio::test]
async fn without_a_connection_the_stream_is_at_its_end_and_the_sink_refuses() {
    let mut client = Client::new("tcp://127.0.0.1:1".parse().unwrap(), lines());
    assert!(within(client.next()).await.is_none());
    let refused = within(client.feed("hello")).await.unwrap_err();
    assert!(matches!(refused, SendError::NotConnected), "{refused:?}");
}

#[tokio::test]
async fn a_sink_sends_in_order_waits_while_it_is_full_and_closes() {
    let options = lines().buffer(1000);
    let (mut client, mut peer) = pair(options).await;
    let sizes = (0..4000_usize).map(|at| at % 4000);
    let expected: Vec<u8> = sizes
        .clone()
        .flat_map(|size| [vec![b'x'; size], vec![b'\n']].concat())
        .collect();
    let messages = sizes.map(|size| Ok::<_, SendError>(vec![b'x'; size]));
    let reads = tokio::spawn(async move {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        all
    });
    within(client.send_all(&mut stream::iter(messages)))
        .await
        .unwrap();
    within(SinkExt::<Vec<u8>>::close(&mut client))
        .await
        .unwrap();
    assert!(within(reads).await.unwrap() == expected);
    assert!(!client.is_connected());
}

#[tokio::test]
async fn stream_and_sink_work_on_the_halves_of_a_split_client() {
    let (client, mut peer) = pair(lines()).await;
    let (mut sink, mut stream) = client.split();
    within(sink.send("ping")).await.unwrap();
    let mut asked = [0; 5];
    within(peer.read_exact(&mut asked)).await.unwrap();
    assert_eq!(&asked, b"ping\n");
    peer.write_all(b"pong\n").await.unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "pong");
}

#[tokio::test]
async fn a_client_uses_the_dialer_that_it_is_given() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let mut options = DialOptions::default();
    options.bind = Some("127.0.0.9:0".parse().unwrap());
    let mut client =
        Client::new(address.parse().unwrap(), lines()).with_dialer(Dialer::new(options));
    client.connect().await.unwrap();
    let (_, from) = listener.accept().await.unwrap();
    assert_eq!(from.ip().to_string(), "127.0.0.9");
}
