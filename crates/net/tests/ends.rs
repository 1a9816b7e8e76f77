//! What a handler must not miss, however busy its peer is and however little it reads.

#[allow(
    dead_code,
    reason = "not every test that includes this file needs all of it"
)]
mod recorder;

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use moorline_net::client::{Running, Unsent};
use moorline_net::{
    Client, ClientOptions, DialOptions, Dialer, Framing, Pool, PoolKey, PoolOptions, SocketOptions,
};
use recorder::{Event, framed, listener, packet, reconnecting, recorder, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::coop;

/// The next event that is no tick.
async fn next(told: &mut UnboundedReceiver<Event>) -> Event {
    loop {
        match within(told.recv()).await.expect("the handler lives") {
            Event::Tick => {}
            event => return event,
        }
    }
}

fn quick_ticks(options: ClientOptions) -> ClientOptions {
    options.tick(Duration::from_millis(5))
}

#[tokio::test]
async fn it_ticks_while_its_peer_never_stops_sending() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = recorder::address(listener.local_addr().unwrap());
    // A thread of its own, so that there is always more to read.
    let floods = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        while peer.write_all(&[1; 256 * 1024]).is_ok() {}
    });
    let mut ticks = 0;
    let (handler, _told) = recorder(move |client, event| {
        ticks += u32::from(*event == Event::Tick);
        if ticks == 5 {
            client.close_now();
        }
        // As slow as work is.
        std::thread::sleep(Duration::from_micros(200));
    });
    let running = Client::new(address, quick_ticks(ClientOptions::default())).start(handler);
    within(running.ended()).await.unwrap();
    floods.join().unwrap();
}

#[tokio::test]
async fn it_ticks_while_its_messages_take_all_that_the_runtime_lets_a_task_do() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = recorder::address(listener.local_addr().unwrap());
    let floods = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        while peer.write_all(&[1; 256 * 1024]).is_ok() {}
    });
    let mut ticks = 0;
    let (handler, _told) = recorder(move |client, event| {
        ticks += u32::from(*event == Event::Tick);
        if ticks == 5 {
            client.close_now();
        }
        if let Event::Message(_) = event {
            // As slow as work is, so that the peer is never waited for.
            std::thread::sleep(Duration::from_micros(200));
            // As sending and receiving elsewhere does.
            while coop::has_budget_remaining() {
                let consumed = std::pin::pin!(coop::consume_budget());
                let _ = consumed.poll(&mut Context::from_waker(Waker::noop()));
            }
        }
    });
    let running = Client::new(address, quick_ticks(ClientOptions::default())).start(handler);
    within(running.ended()).await.unwrap();
    floods.join().unwrap();
}

/// A client that has paused itself, its peer, and what it is told from then on.
async fn paused(
    options: ClientOptions,
) -> (
    Running<impl Sized>,
    TcpStream,
    UnboundedReceiver<Event>,
    TcpListener,
) {
    let (listener, address) = listener().await;
    let mut pauses = true;
    let (handler, mut told) = recorder(move |client, event| {
        if let Event::Message(_) = event
            && std::mem::take(&mut pauses)
        {
            client.pause();
        }
    });
    let running = Client::new(address, quick_ticks(options)).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(&packet(b"pause")).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    assert_eq!(next(&mut told).await, Event::Message(b"pause".to_vec()));
    (running, peer, told, listener)
}

#[tokio::test]
async fn a_paused_client_learns_that_its_peer_has_ended() {
    let (_running, peer, mut told, _) = paused(framed()).await;
    drop(peer);
    let closed = Event::Closed(1, "closed by the peer".into());
    assert_eq!(next(&mut told).await, closed);
}

#[tokio::test]
async fn a_paused_client_learns_of_a_reset_even_with_bytes_unread() {
    let (_running, mut peer, mut told, _) = paused(framed()).await;
    peer.write_all(&packet(b"never read")).await.unwrap();
    peer.set_zero_linger().unwrap();
    drop(peer);
    let Event::Closed(1, reason) = next(&mut told).await else {
        panic!("something else was told");
    };
    assert!(reason.contains("reset"), "{reason}");
}

#[tokio::test]
async fn a_paused_client_learns_of_a_reset_with_nothing_unread() {
    let (_running, peer, mut told, _) = paused(framed()).await;
    peer.set_zero_linger().unwrap();
    drop(peer);
    let Event::Closed(1, reason) = next(&mut told).await else {
        panic!("something else was told");
    };
    assert!(reason.contains("reset"), "{reason}");
}

#[tokio::test]
async fn a_paused_client_need_not_wait_for_a_tick_to_see_its_peers_end() {
    let (listener, address) = listener().await;
    let pool = Pool::new(PoolOptions::default());
    let key = PoolKey::new(address, DialOptions::default());
    let mut lent = pool.borrow(&key).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"taken").await.unwrap();
    // As much as was wanted: for all that the runtime knows there is more.
    within(lent.read_exact(&mut [0; 5])).await.unwrap();
    let options = ClientOptions::default().tick(recorder::PATIENCE * 2);
    let (handler, mut told) = recorder(|client, event| {
        if let Event::Connected(_) = event {
            client.pause();
        }
    });
    let _running = Client::on(lent, options).start(handler);
    assert!(matches!(next(&mut told).await, Event::Connected(_)));
    drop(peer);
    let closed = next(&mut told).await;
    assert!(matches!(closed, Event::Closed(..)), "{closed:?}");
}

#[tokio::test]
async fn input_before_the_end_is_delivered_once_a_paused_client_resumes() {
    let (running, mut peer, mut told, _) = paused(framed()).await;
    peer.write_all(&packet(b"last")).await.unwrap();
    drop(peer);
    for _ in 0..3 {
        assert_eq!(within(told.recv()).await, Some(Event::Tick));
    }
    running.resume();
    assert_eq!(next(&mut told).await, Event::Message(b"last".to_vec()));
    let closed = Event::Closed(1, "closed by the peer".into());
    assert_eq!(next(&mut told).await, closed);
}

#[tokio::test]
async fn a_pause_ends_with_its_connection() {
    let (_running, peer, mut told, listener) = paused(reconnecting(Unsent::Fail)).await;
    drop(peer);
    assert!(matches!(next(&mut told).await, Event::Closed(1, _)));
    let (mut peer, _) = within(listener.accept()).await.unwrap();
    peer.write_all(&packet(b"read again")).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(2));
    let message = Event::Message(b"read again".to_vec());
    assert_eq!(next(&mut told).await, message);
}

fn half_closing(timeout: Duration) -> ClientOptions {
    framed().half_closed_timeout(Some(timeout))
}

#[tokio::test]
async fn a_half_closed_peer_gets_an_answer_that_comes_later() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let options = half_closing(recorder::PATIENCE);
    let running = Client::new(address, options).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(&packet(b"question")).await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    assert_eq!(next(&mut told).await, Event::Message(b"question".to_vec()));
    assert_eq!(next(&mut told).await, Event::HalfClosed);
    running.try_send(b"answer").unwrap();
    running.close();
    let mut got = Vec::new();
    within(peer.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, packet(b"answer"));
    let closed = Event::Closed(1, "closed by us".into());
    assert_eq!(next(&mut told).await, closed);
}

#[tokio::test]
async fn a_half_closed_client_that_sends_nothing_is_closed_after_its_timeout() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let options = half_closing(Duration::from_millis(50));
    let _running = Client::new(address, options).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.shutdown().await.unwrap();
    let began = Instant::now();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    assert_eq!(next(&mut told).await, Event::HalfClosed);
    let closed = Event::Closed(1, "closed by the peer".into());
    assert_eq!(next(&mut told).await, closed);
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_file_that_a_half_closed_peer_does_not_read_does_not_put_its_end_off() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let options = quick_ticks(half_closing(Duration::from_millis(50)))
        .framing(Framing::Raw)
        .close_deadline(Duration::from_millis(50));
    let running = Client::new(address, options).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    assert_eq!(next(&mut told).await, Event::HalfClosed);
    let file = tempfile::tempfile().unwrap();
    // More than the system takes for a peer that reads nothing.
    file.set_len(64 << 20).unwrap();
    running.send_file(file, 0, None).await.unwrap();
    let closed = next(&mut told).await;
    assert!(matches!(closed, Event::Closed(1, _)), "{closed:?}");
}

#[tokio::test]
async fn a_half_closed_client_learns_of_a_reset() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let options = quick_ticks(half_closing(recorder::PATIENCE));
    let _running = Client::new(address, options).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    assert_eq!(next(&mut told).await, Event::HalfClosed);
    peer.set_zero_linger().unwrap();
    drop(peer);
    let Event::Closed(1, reason) = next(&mut told).await else {
        panic!("something else was told");
    };
    // What the system says of a reset after the end of a peer's sending.
    assert!(reason.contains("Broken pipe"), "{reason}");
}

#[tokio::test]
async fn a_connection_that_resets_on_close_does() {
    let (listener, address) = listener().await;
    let options = DialOptions::default().socket(SocketOptions::default().reset_on_close(true));
    let connection = Dialer::new(options).connect(&address).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    drop(connection);
    let reset = within(peer.read(&mut [0])).await.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn closing_a_socket_that_was_told_to_linger_does_not_hold_the_loop_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    let seconds = Some(recorder::PATIENCE);
    rustix::net::sockopt::set_socket_linger(&stream, seconds).unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 64 * 1024]).is_ok() {}
    let connection = Dialer::from_socket(OwnedFd::from(stream)).unwrap();
    let began = Instant::now();
    drop(connection);
    assert!(began.elapsed() < recorder::PATIENCE / 4);
    peer.shutdown(Shutdown::Both).unwrap();
}
