//! The client as it is awaited, against peers made by hand.

use std::net::SocketAddr;
use std::time::Duration;

use moorline_net::client::{Reconnect, SendError, StreamError, Unsent};
use moorline_net::{
    Address, Client, ClientOptions, ConnectCause, Counts, Framing, FramingError, Length,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longer than anything here takes, and short enough that a test which hangs is noticed.
const PATIENCE: Duration = Duration::from_secs(20);

fn framed() -> ClientOptions {
    ClientOptions::framed(Framing::Length(Length::default()))
}

fn address(of: SocketAddr) -> Address {
    format!("tcp://{of}").parse().unwrap()
}

async fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = address(listener.local_addr().unwrap());
    (listener, address)
}

/// A connected client and its peer.
async fn pair(options: ClientOptions) -> (Client, TcpStream) {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, options);
    client.connect().await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    (client, peer)
}

/// What goes over the wire for a payload.
fn packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = (payload.len() as u32).to_be_bytes().to_vec();
    packet.extend_from_slice(payload);
    packet
}

async fn read_packet(peer: &mut TcpStream) -> Vec<u8> {
    let size = peer.read_u32().await.unwrap() as usize;
    let mut payload = vec![0; size];
    peer.read_exact(&mut payload).await.unwrap();
    payload
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it takes too long")
}

#[tokio::test]
async fn messages_are_delivered_whole_and_one_by_one_however_the_bytes_come() {
    let (mut client, mut peer) = pair(framed()).await;
    let stream = [packet(b"one"), packet(b""), packet(b"three")].concat();
    let writes = tokio::spawn(async move {
        for byte in stream {
            peer.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        peer
    });
    for expected in [&b"one"[..], b"", b"three"] {
        let message = within(client.receive_message()).await.unwrap();
        assert_eq!(message.as_deref(), Some(expected));
    }
    let mut peer = writes.await.unwrap();
    client.send(b"answer").await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"answer");
}

#[tokio::test]
async fn a_message_over_the_maximum_is_an_error_that_names_both_sizes() {
    let length = Length::default().max(100);
    let (mut client, mut peer) = pair(ClientOptions::framed(Framing::Length(length))).await;
    peer.write_all(&97_u32.to_be_bytes()).await.unwrap();
    let refused = within(client.receive_message()).await;
    assert!(matches!(
        refused,
        Err(StreamError::Framing(FramingError::TooLarge {
            size: 101,
            max: 100
        }))
    ));
    assert!(!client.is_connected());
    let too_large = client.try_send(&[0; 97]);
    assert!(matches!(too_large, Err(SendError::NotConnected)));
}

#[tokio::test]
async fn a_payload_over_the_maximum_is_refused_and_the_connection_undisturbed() {
    let length = Length::default().max(100);
    let (mut client, mut peer) = pair(ClientOptions::framed(Framing::Length(length))).await;
    let refused = client.send(&[0; 97]).await;
    assert!(matches!(refused, Err(SendError::Unfit(_))), "{refused:?}");
    client.send(&[1; 96]).await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, [1; 96]);
}

#[tokio::test]
async fn connecting_a_connected_client_is_an_error_and_does_not_disturb_it() {
    let (mut client, mut peer) = pair(framed()).await;
    let error = client.connect().await.unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::AlreadyConnected));
    client.send(b"still there").await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"still there");
}

#[tokio::test]
async fn a_refused_client_is_not_connected_and_may_try_again() {
    let (listener, address) = listener().await;
    let local = listener.local_addr().unwrap();
    drop(listener);
    let mut client = Client::new(address, framed());
    let error = client.connect().await.unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Refused(_)), "{error}");
    assert!(!client.is_connected());
    assert!(matches!(
        client.try_send(b"lost"),
        Err(SendError::NotConnected)
    ));
    assert!(matches!(
        client.receive_message().await,
        Err(StreamError::NotConnected)
    ));
    let listener = TcpListener::bind(local).await.unwrap();
    client.connect().await.unwrap();
    assert_eq!(client.attempt(), 2);
    drop(listener);
}

#[tokio::test]
async fn a_receive_that_is_given_up_loses_nothing() {
    let (mut client, mut peer) = pair(framed()).await;
    let packet = packet(b"in two halves");
    peer.write_all(&packet[..9]).await.unwrap();
    for _ in 0..3 {
        let given_up = timeout(Duration::from_millis(5), client.receive_message()).await;
        assert!(given_up.is_err());
    }
    peer.write_all(&packet[9..]).await.unwrap();
    let message = within(client.receive_message()).await.unwrap().unwrap();
    assert_eq!(message, &b"in two halves"[..]);
}

#[tokio::test]
async fn an_end_between_messages_is_no_error_and_within_one_it_is() {
    let (mut client, mut peer) = pair(framed()).await;
    peer.write_all(&packet(b"last")).await.unwrap();
    drop(peer);
    assert!(within(client.receive_message()).await.unwrap().is_some());
    assert!(within(client.receive_message()).await.unwrap().is_none());

    let (mut client, mut peer) = pair(framed()).await;
    peer.write_all(&packet(b"torn")[..6]).await.unwrap();
    drop(peer);
    let torn = within(client.receive_message()).await;
    assert!(
        matches!(torn, Err(StreamError::EndOfFile { unfinished: 6 })),
        "{torn:?}"
    );
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_reset_has_the_systems_code() {
    let (mut client, peer) = pair(framed()).await;
    peer.set_zero_linger().unwrap();
    drop(peer);
    let error = within(client.receive_message()).await.unwrap_err();
    assert!(matches!(error, StreamError::Reset(_)), "{error:?}");
    assert_eq!(
        error.errno(),
        Some(rustix::io::Errno::CONNRESET.raw_os_error())
    );
}

#[tokio::test]
async fn a_slow_peer_makes_it_full_and_send_waits_until_it_has_drained() {
    let options = framed().buffer(1 << 20);
    let (mut client, mut peer) = pair(options).await;
    let payload = vec![7; 64 * 1024];
    let mut sent = 0;
    let queued = loop {
        match client.try_send(&payload) {
            Ok(()) => sent += 1,
            Err(SendError::Full { queued }) => break queued,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(queued > 800 * 1024 && queued <= 1 << 20, "{queued} bytes");
    let waits = timeout(Duration::from_millis(20), client.send(&payload)).await;
    assert!(waits.is_err(), "there was room");
    let reads = tokio::spawn(async move {
        for _ in 0..sent {
            assert_eq!(read_packet(&mut peer).await, vec![7; 64 * 1024]);
        }
        read_packet(&mut peer).await
    });
    within(client.send(b"after the flood")).await.unwrap();
    assert!(client.queued() <= 256 * 1024 + 19, "it has drained");
    within(client.flush()).await.unwrap();
    assert_eq!(within(reads).await.unwrap(), b"after the flood");
}

#[tokio::test]
async fn a_message_larger_than_the_buffer_passes() {
    let options = framed().buffer(10_000);
    let (mut client, mut peer) = pair(options).await;
    let reads = tokio::spawn(async move {
        let sizes = [
            read_packet(&mut peer).await.len(),
            read_packet(&mut peer).await.len(),
        ];
        (sizes, peer)
    });
    within(client.send(&vec![1; 1 << 20])).await.unwrap();
    within(client.send(&vec![2; 1 << 20])).await.unwrap();
    within(client.flush()).await.unwrap();
    let (sizes, _peer) = within(reads).await.unwrap();
    assert_eq!(sizes, [1 << 20, 1 << 20]);
}

#[tokio::test]
async fn raw_bytes_are_peeked_at_and_taken_exactly() {
    let (mut client, mut peer) = pair(ClientOptions::default()).await;
    peer.write_all(b"0123456789").await.unwrap();
    assert_eq!(within(client.receive_exact(2)).await.unwrap(), &b"01"[..]);
    let peeked = within(client.peek()).await.unwrap().to_vec();
    assert!(b"23456789".starts_with(&peeked) && !peeked.is_empty());
    assert_eq!(
        within(client.receive_exact(7)).await.unwrap(),
        &b"2345678"[..]
    );
    let rest = within(client.receive_message()).await.unwrap();
    assert_eq!(rest.as_deref(), Some(&b"9"[..]));
    peer.write_all(b"x").await.unwrap();
    drop(peer);
    let short = within(client.receive_exact(2)).await;
    assert!(matches!(
        short,
        Err(StreamError::EndOfFile { unfinished: 1 })
    ));
}

#[tokio::test]
async fn a_greeting_can_be_taken_raw_before_the_framing_begins() {
    let line = Framing::Line { max: 100 };
    let (mut client, mut peer) = pair(ClientOptions::framed(line)).await;
    peer.write_all(b"hello").await.unwrap();
    // The decoder looks for a line's end in the greeting first.
    let given_up = timeout(Duration::from_millis(5), client.receive_message()).await;
    assert!(given_up.is_err());
    assert_eq!(
        within(client.receive_exact(5)).await.unwrap(),
        &b"hello"[..]
    );
    peer.write_all(b"a line\r\n").await.unwrap();
    let message = within(client.receive_message()).await.unwrap();
    assert_eq!(message.as_deref(), Some(&b"a line"[..]));
}

#[tokio::test]
async fn half_closed_it_still_receives() {
    let (mut client, mut peer) = pair(ClientOptions::default()).await;
    client.send(b"all of it").await.unwrap();
    client.half_close().await.unwrap();
    assert!(matches!(client.try_send(b"x"), Err(SendError::Closing)));
    let mut got = Vec::new();
    within(peer.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"all of it");
    peer.write_all(b"answer").await.unwrap();
    let answer = within(client.receive_message()).await.unwrap();
    assert_eq!(answer.as_deref(), Some(&b"answer"[..]));
}

#[tokio::test]
async fn a_close_delivers_waiting_messages_even_with_bytes_unread() {
    let (mut client, mut peer) = pair(ClientOptions::default()).await;
    peer.write_all(b"never read").await.unwrap();
    client.connection().unwrap();
    let reads = tokio::spawn(async move {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.map(|_| got.len())
    });
    within(client.send(&vec![1; 3 << 20])).await.unwrap();
    within(client.close()).await.unwrap();
    assert!(!client.is_connected());
    assert_eq!(within(reads).await.unwrap().unwrap(), 3 << 20);
}

#[tokio::test]
async fn a_close_gives_up_at_its_deadline() {
    let options = ClientOptions::default().close_deadline(Duration::from_millis(50));
    let (mut client, _peer) = pair(options).await;
    while client.try_send(&[0; 64 * 1024]).is_ok() {}
    let late = within(client.close()).await;
    assert!(matches!(late, Err(StreamError::TimedOut(_))), "{late:?}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn dropping_a_client_closes_it() {
    let (client, mut peer) = pair(framed()).await;
    drop(client);
    assert_eq!(within(peer.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn corked_sends_go_out_together() {
    let (mut client, mut peer) = pair(framed()).await;
    let mut corked = client.cork();
    corked.try_send(b"one").unwrap();
    corked.try_send(b"two").unwrap();
    assert_eq!(corked.queued(), 14);
    drop(corked);
    assert_eq!(client.queued(), 0);
    let mut got = [0; 100];
    let bytes = within(peer.read(&mut got)).await.unwrap();
    assert_eq!(got[..bytes], [packet(b"one"), packet(b"two")].concat());
}

fn reconnecting(queue: Unsent) -> ClientOptions {
    framed().reconnect(Some(
        Reconnect::default()
            .first(Duration::from_millis(1))
            .queue(queue),
    ))
}

#[tokio::test]
async fn waiting_messages_are_kept_for_the_next_connection_if_so_chosen() {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, reconnecting(Unsent::Keep));
    client.connect().await.unwrap();
    drop(listener.accept().await.unwrap());
    assert!(within(client.receive_message()).await.unwrap().is_none());
    // The peer has gone, so this one's reset comes sooner or later, and what is sent then is kept.
    while client.is_connected() {
        client.try_send(b"into the void").unwrap();
        let _ = timeout(Duration::from_millis(1), client.receive_message()).await;
    }
    client.try_send(b"first").unwrap();
    client.try_send(b"second").unwrap();
    within(client.reconnect()).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    client.flush().await.unwrap();
    let mut message = within(read_packet(&mut peer)).await;
    while message == b"into the void" {
        message = within(read_packet(&mut peer)).await;
    }
    assert_eq!(message, b"first");
    assert_eq!(within(read_packet(&mut peer)).await, b"second");
}

#[tokio::test]
async fn waiting_messages_are_dropped_otherwise() {
    let (listener, address) = listener().await;
    let mut client = Client::new(address, reconnecting(Unsent::Fail));
    client.connect().await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    while client.try_send(&[1; 64 * 1024]).is_ok() {}
    peer.set_zero_linger().unwrap();
    drop(peer);
    within(client.receive_message()).await.unwrap_err();
    assert_eq!(client.queued(), 0);
    assert!(matches!(
        client.try_send(b"x"),
        Err(SendError::NotConnected)
    ));
    within(client.reconnect()).await.unwrap();
    client.send(b"anew").await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"anew");
}

#[tokio::test]
async fn reconnecting_tries_until_a_server_listens_and_gives_up_after_max_failures() {
    let (listener, address) = listener().await;
    let local = listener.local_addr().unwrap();
    drop(listener);
    let options = framed().reconnect(Some(
        Reconnect::default()
            .first(Duration::from_millis(1))
            .attempts(Some(3)),
    ));
    let mut client = Client::new(address.clone(), options);
    let error = within(client.reconnect()).await.unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Refused(_)), "{error}");
    assert_eq!(client.attempt(), 4);

    let mut client = Client::new(address, reconnecting(Unsent::Fail));
    let listens = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        TcpListener::bind(local).await.unwrap()
    };
    let (connected, _listener) = within(async { tokio::join!(client.reconnect(), listens) }).await;
    connected.unwrap();
}

#[tokio::test]
async fn senders_of_other_threads_keep_their_order_and_wait_for_room() {
    let options = framed().buffer(64 * 1024);
    let (mut client, mut peer) = pair(options).await;
    let sender = client.sender();
    let threads: Vec<_> = (0..3_u8)
        .map(|thread| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    for serial in 0..200_u32 {
                        let mut payload = vec![thread; 2000];
                        payload[1..5].copy_from_slice(&serial.to_be_bytes());
                        sender.send(&payload).await.unwrap();
                    }
                });
            })
        })
        .collect();
    let reads = tokio::spawn(async move {
        let mut next = [0_u32; 3];
        for _ in 0..600 {
            let payload = read_packet(&mut peer).await;
            let serial = u32::from_be_bytes(payload[1..5].try_into().unwrap());
            let thread = usize::from(payload[0]);
            assert_eq!(serial, next[thread]);
            next[thread] += 1;
        }
        next
    });
    let receives = tokio::spawn(async move { client.receive_message().await });
    assert_eq!(within(reads).await.unwrap(), [200; 3]);
    for thread in threads {
        thread.join().unwrap();
    }
    sender.close();
    assert!(within(receives).await.unwrap().unwrap().is_none());
    assert!(!sender.is_connected());
    assert!(matches!(
        sender.try_send(b"x"),
        Err(SendError::NotConnected)
    ));
}

#[tokio::test]
async fn a_connection_can_be_taken_out_with_its_received_bytes() {
    let (mut client, mut peer) = pair(framed()).await;
    peer.write_all(&[packet(b"one"), packet(b"two")].concat())
        .await
        .unwrap();
    assert!(within(client.receive_message()).await.unwrap().is_some());
    let (mut connection, unread) = client.into_connection().unwrap();
    let mut got = unread.to_vec();
    peer.write_all(b"!").await.unwrap();
    while got.len() < 8 {
        let mut byte = [0];
        within(connection.read_exact(&mut byte)).await.unwrap();
        got.push(byte[0]);
    }
    assert_eq!(got, [packet(b"two"), b"!".to_vec()].concat());

    let mut client = Client::from_connection(connection, framed());
    client.send(b"again").await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"again");
    assert!(matches!(
        client.reconnect().await.unwrap_err().cause(),
        ConnectCause::Invalid(_)
    ));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn options_are_written_by_the_same_names_and_unknown_ones_refused() {
    let options: ClientOptions = toml::from_str(
        r#"
        buffer = "1MiB"
        low_watermark = "64KiB"
        framing = { kind = "delimiter", delimiter = "\r\n" }
        reconnect = { cap = "10s", queue = "keep" }
        dial = { deadline = "500ms" }
        "#,
    )
    .unwrap();
    let expected = ClientOptions::default()
        .buffer(1 << 20)
        .low_watermark(Some(64 << 10))
        .framing(Framing::Delimiter(moorline_net::Delimiter::new(
            b"\r\n",
            2 << 20,
        )))
        .reconnect(Some(
            Reconnect::default()
                .cap(Duration::from_secs(10))
                .queue(Unsent::Keep),
        ))
        .dial(moorline_net::DialOptions::default().deadline(Duration::from_millis(500)));
    assert_eq!(options, expected);
    let again: ClientOptions = toml::from_str(&toml::to_string(&options).unwrap()).unwrap();
    assert_eq!(again, expected);
    let defaults: ClientOptions = toml::from_str(r#"framing = { kind = "length" }"#).unwrap();
    assert_eq!(defaults, framed());
    let counted = |text: &str| {
        let options: ClientOptions = toml::from_str(text).unwrap();
        match options.framing {
            Framing::Length(length) => (length.counts, length.keep_header),
            other => panic!("{other:?}"),
        }
    };
    for (written, counts, keep_header) in [
        (
            r#"framing = { kind = "length", counts = "payload" }"#,
            Counts::Payload,
            false,
        ),
        (
            r#"framing = { kind = "length", counts = "message" }"#,
            Counts::Message,
            false,
        ),
        (
            r#"framing = { kind = "length", body = 2 }"#,
            Counts::From(2),
            false,
        ),
        (
            r#"framing = { kind = "length", body = 8 }"#,
            Counts::From(8),
            true,
        ),
        (
            r#"framing = { kind = "length", offset = 1 }"#,
            Counts::Payload,
            true,
        ),
    ] {
        assert_eq!(counted(written), (counts, keep_header), "{written}");
    }
    for unknown in [
        r#"framing = { kind = "length", counts = "payload", body = 4 }"#,
        r#"framing = { kind = "length", counts = "header" }"#,
        r#"bufer = "1MiB""#,
        r#"framing = { kind = "length", widht = 4 }"#,
        r#"framing = { kind = "lines" }"#,
        r#"reconnect = { frist = "1s" }"#,
    ] {
        assert!(
            toml::from_str::<ClientOptions>(unknown).is_err(),
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn the_servers_side_of_websocket_is_refused() {
    let (_listener, address) = listener().await;
    let options = ClientOptions::framed(Framing::WebSocket { max: 100 });
    let error = Client::new(address, options).connect().await.unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Invalid(_)), "{error}");
}
