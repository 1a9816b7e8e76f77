//! The client with callbacks, against peers made by hand.

mod recorder;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use moorline_net::client::{CloseReason, SendError, Sender, StreamError, Unsent};
use moorline_net::resolve::{Families, Lookups};
use moorline_net::{
    Address, Client, ConnectCause, EventLoop, EventLoopPool, LoopPoolOptions, Resolver,
};
use recorder::{Event, address, framed, listener, packet, reconnecting, recorder, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

async fn next(told: &mut UnboundedReceiver<Event>) -> Event {
    within(told.recv()).await.expect("the handler lives")
}

async fn read_packet(peer: &mut TcpStream) -> Vec<u8> {
    let size = peer.read_u32().await.unwrap() as usize;
    let mut payload = vec![0; size];
    peer.read_exact(&mut payload).await.unwrap();
    payload
}

#[tokio::test]
async fn a_handler_gets_connected_then_each_message_then_closed() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|client, event| match event {
        Event::Connected(_) => client.try_send(b"hello").unwrap(),
        Event::Message(message) => client.try_send(message).unwrap(),
        _ => {}
    });
    let running = Client::new(address, framed()).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"hello");
    let many = [packet(b"one"), packet(b"two"), packet(b"three")].concat();
    peer.write_all(&many).await.unwrap();
    for expected in [&b"one"[..], b"two", b"three"] {
        assert_eq!(within(read_packet(&mut peer)).await, expected);
    }
    drop(peer);
    within(running.ended()).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = told.recv().await {
        events.push(event);
    }
    assert_eq!(
        events,
        [
            Event::Connected(1),
            Event::Message(b"one".to_vec()),
            Event::Message(b"two".to_vec()),
            Event::Message(b"three".to_vec()),
            Event::Closed(1, "closed by the peer".into()),
        ]
    );
}

#[tokio::test]
async fn large_and_small_messages_come_through_in_order() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let _running = Client::new(address, framed()).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    let sizes = [
        0, 1, 100, 40_000, 5, 70_000, 65_532, 65_536, 7, 1_000_000, 3, 200_000,
    ];
    let payloads: Vec<_> = (0..)
        .zip(sizes)
        .map(|(serial, size)| vec![serial; size])
        .collect();
    let stream: Vec<u8> = payloads
        .iter()
        .flat_map(|payload| packet(payload))
        .collect();
    let writes = tokio::spawn(async move {
        peer.write_all(&stream).await.unwrap();
        peer
    });
    for payload in payloads {
        assert!(next(&mut told).await == Event::Message(payload));
    }
    drop(writes.await.unwrap());
    assert!(matches!(next(&mut told).await, Event::Closed(1, _)));
}

#[tokio::test]
async fn a_refused_attempt_is_one_error_and_the_end() {
    let (listener, address) = listener().await;
    drop(listener);
    let (handler, mut told) = recorder(|_, _| {});
    let running = Client::new(address, framed()).start(handler);
    within(running.ended()).await.unwrap();
    let Some(Event::Error(1, reason)) = told.recv().await else {
        panic!("no error was told");
    };
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn it_reconnects_and_messages_sent_meanwhile_go_out_first() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|client, event| {
        if let Event::Closed(..) = event {
            client.try_send(b"while away").unwrap();
        }
    });
    let running = Client::new(address, reconnecting(Unsent::Keep)).start(handler);
    let (peer, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    drop(peer);
    assert!(matches!(next(&mut told).await, Event::Closed(1, _)));
    let (mut peer, _) = within(listener.accept()).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(2));
    running.try_send(b"back").unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"while away");
    assert_eq!(within(read_packet(&mut peer)).await, b"back");
    assert_eq!(running.attempt(), 2);
}

#[tokio::test]
async fn where_unsent_messages_fail_nothing_is_taken_until_connected_again() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|client, event| {
        if let Event::Closed(..) = event {
            assert!(matches!(
                client.try_send(b"x"),
                Err(SendError::NotConnected)
            ));
        }
    });
    let running = Client::new(address, reconnecting(Unsent::Fail)).start(handler);
    running.try_send(b"before it is connected").unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(
        within(read_packet(&mut peer)).await,
        b"before it is connected"
    );
    assert_eq!(next(&mut told).await, Event::Connected(1));
    drop(peer);
    assert!(matches!(next(&mut told).await, Event::Closed(1, _)));
    let (mut peer, _) = within(listener.accept()).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(2));
    running.send(b"anew").await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"anew");
}

#[tokio::test]
async fn reconnecting_a_connected_client_replaces_its_socket() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let running = Client::new(address, framed()).start(handler);
    let (mut old, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    running.reconnect();
    let (mut new, _) = within(listener.accept()).await.unwrap();
    assert_eq!(
        next(&mut told).await,
        Event::Closed(1, "replaced by a new connection".into())
    );
    assert_eq!(next(&mut told).await, Event::Connected(2));
    assert_eq!(within(old.read(&mut [0])).await.unwrap(), 0);
    let _ = old.write_all(&packet(b"late")).await;
    new.write_all(&packet(b"new")).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Message(b"new".to_vec()));
}

/// A listener whose backlog is full, so that connecting to it hangs; and what fills it.
async fn full_listener() -> (TcpListener, Address, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let local = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = timeout(Duration::from_millis(100), TcpStream::connect(local)).await {
        fillers.push(filler.unwrap());
    }
    (listener, address(local), fillers)
}

#[tokio::test]
async fn a_client_closed_while_it_connects_tells_one_error_and_ticks_until_then() {
    let (_listener, address, _fillers) = full_listener().await;
    let options = framed().tick(Duration::from_millis(1));
    let (handler, mut told) = recorder(|_, _| {});
    let running = Client::new(address, options).start(handler);
    for _ in 0..3 {
        assert_eq!(next(&mut told).await, Event::Tick);
    }
    running.close();
    within(running.ended()).await.unwrap();
    let mut last = Vec::new();
    while let Some(event) = told.recv().await {
        if event != Event::Tick {
            last.push(event);
        }
    }
    assert_eq!(last, [Event::Error(1, ConnectCause::Closed.to_string())]);
}

#[tokio::test]
async fn a_client_closed_while_its_name_resolves_stays_closed() {
    let asked = Arc::new(Notify::new());
    let looks = Arc::new(());
    let unanswered = Arc::downgrade(&looks);
    let resolver = Unanswered(asked.clone(), Mutex::new(Some(looks)));
    let (handler, mut told) = recorder(|_, _| {});
    let client = Client::new("tcp://name.test:1".parse().unwrap(), framed());
    let running = client.with_resolver(Arc::new(resolver)).start(handler);
    within(asked.notified()).await;
    assert_eq!(unanswered.strong_count(), 1);
    running.close();
    within(running.ended()).await.unwrap();
    assert_eq!(unanswered.strong_count(), 0, "the look-up is over, too");
    let error = Event::Error(1, ConnectCause::Closed.to_string());
    assert_eq!(told.recv().await, Some(error));
    assert_eq!(told.recv().await, None);
}

/// Says when it is asked, and never answers. What it holds lives as long as its look-up.
#[derive(Debug)]
struct Unanswered(Arc<Notify>, Mutex<Option<Arc<()>>>);

impl Resolver for Unanswered {
    fn look_up(&self, _: &str, _: Families) -> Lookups {
        let held = self.1.lock().unwrap().take();
        self.0.notify_one();
        Lookups::Together(Box::pin(async move {
            let _held = held;
            std::future::pending().await
        }))
    }
}

#[tokio::test]
async fn its_calls_run_on_its_loop_and_any_thread_may_send() {
    let (listener, address) = listener().await;
    let pool = EventLoopPool::start(LoopPoolOptions::default().size(Some(2))).unwrap();
    let home = pool.least_loaded().clone();
    let name = home.name().to_owned();
    let (handler, mut told) = recorder(move |client, event| {
        let here = EventLoop::current().map(|here| here.name().to_owned());
        assert_eq!(here.as_ref(), Some(&name), "{event:?}");
        if let Event::Message(message) = event {
            client.try_send(message).unwrap();
        }
    });
    let start = home.spawn(move || async move { Client::new(address, framed()).start(handler) });
    let running = within(start).await.unwrap();
    let (mut peer, _) = within(listener.accept()).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    let sender = running.clone();
    let sent = std::thread::spawn(move || sender.try_send(b"from elsewhere"));
    sent.join().unwrap().unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"from elsewhere");
    peer.write_all(&packet(b"back")).await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"back");
    assert_eq!(next(&mut told).await, Event::Message(b"back".to_vec()));
    running.close();
    within(running.ended()).await.unwrap();
    assert_eq!(
        next(&mut told).await,
        Event::Closed(1, CloseReason::ByUs.to_string())
    );
}

#[tokio::test]
async fn ticks_without_a_pause_leave_the_loop_its_time() {
    let (listener, address) = listener().await;
    let options = framed().tick(Duration::ZERO);
    let (handler, mut told) = recorder(|_, _| {});
    let began = Instant::now();
    let _running = Client::new(address, options).start(handler);
    let _peer = listener.accept().await.unwrap();
    let mut ticks = 0;
    while ticks < 20 {
        ticks += u32::from(next(&mut told).await == Event::Tick);
    }
    assert!(began.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn ticks_come_while_connected_and_may_send() {
    let (listener, address) = listener().await;
    let options = framed().tick(Duration::from_millis(1));
    let (handler, _told) = recorder(|client, event| {
        if *event == Event::Tick && client.is_connected() {
            client.try_send(b"beat").unwrap();
        }
    });
    let _running = Client::new(address, options).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    for _ in 0..5 {
        assert_eq!(within(read_packet(&mut peer)).await, b"beat");
    }
}

#[tokio::test]
async fn paused_it_delivers_nothing_until_resumed() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|client, event| {
        if *event == Event::Message(b"pause".to_vec()) {
            client.pause();
        }
    });
    let running = Client::new(address, framed()).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    let stream = [packet(b"pause"), packet(b"later"), packet(b"last")].concat();
    peer.write_all(&stream).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Message(b"pause".to_vec()));
    // It still sends.
    running.send(b"paused").await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"paused");
    assert!(told.try_recv().is_err());
    running.resume();
    assert_eq!(next(&mut told).await, Event::Message(b"later".to_vec()));
    assert_eq!(next(&mut told).await, Event::Message(b"last".to_vec()));
}

#[tokio::test]
async fn a_slow_peer_makes_it_full_and_reading_drains_it() {
    let (listener, address) = listener().await;
    let mut sent = 0_u32;
    let options = framed().buffer(1 << 20);
    let (handler, mut told) = recorder(move |client, event| match event {
        Event::Connected(_) | Event::Tick => {
            while client.try_send(&[1; 32 * 1024]).is_ok() {
                sent += 1;
            }
        }
        Event::Drained => {
            client.try_send(&sent.to_be_bytes()).unwrap();
            client.start_close();
        }
        _ => {}
    });
    let running = Client::new(address, options.tick(Duration::from_secs(60))).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    assert_eq!(next(&mut told).await, Event::Full);
    assert!(matches!(
        running.try_send(b"no room"),
        Err(SendError::Full { .. })
    ));
    let mut large = 0;
    let announced = loop {
        let payload = within(read_packet(&mut peer)).await;
        match <[u8; 4]>::try_from(&payload[..]) {
            Ok(announced) => break u32::from_be_bytes(announced),
            Err(_) => large += 1,
        }
    };
    assert_eq!(announced, large);
    assert_eq!(next(&mut told).await, Event::Drained);
    assert_eq!(
        next(&mut told).await,
        Event::Closed(1, "closed by us".into())
    );
}

#[tokio::test]
async fn a_stream_that_does_not_fit_the_framing_is_closed_with_that_reason() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let running = Client::new(address, framed()).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(&packet(b"good")).await.unwrap();
    peer.write_all(&[0xff; 4]).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    assert_eq!(next(&mut told).await, Event::Message(b"good".to_vec()));
    let reason = StreamError::Framing(moorline_net::FramingError::TooLarge {
        size: u64::from(u32::MAX) + 4,
        max: 2 << 20,
    });
    assert_eq!(next(&mut told).await, Event::Closed(1, reason.to_string()));
    within(running.ended()).await.unwrap();
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn a_peer_that_half_closes_gets_the_whole_answer() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|client, event| {
        if let Event::Message(_) = event {
            client.try_send(&vec![9; 2_000_000]).unwrap();
        }
    });
    let _running = Client::new(address, framed()).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(&packet(b"question")).await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await.len(), 2_000_000);
    assert_eq!(within(peer.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(next(&mut told).await, Event::Connected(1));
    assert_eq!(next(&mut told).await, Event::Message(b"question".to_vec()));
    assert_eq!(
        next(&mut told).await,
        Event::Closed(1, "closed by the peer".into())
    );
}

#[tokio::test]
async fn dropping_a_started_client_closes_it_and_a_detached_one_lives_on() {
    let (listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let running = Client::new(address.clone(), framed()).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    running.try_send(b"farewell").unwrap();
    drop(running);
    assert_eq!(within(read_packet(&mut peer)).await, b"farewell");
    assert_eq!(within(peer.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(
        next(&mut told).await,
        Event::Closed(1, "closed by us".into())
    );

    let (handler, mut told) = recorder(|_, _| {});
    let sender = Client::new(address, framed()).start(handler).detach();
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    peer.write_all(&packet(b"still there?")).await.unwrap();
    assert_eq!(
        next(&mut told).await,
        Event::Message(b"still there?".to_vec())
    );
    sender.close_now();
    assert_eq!(
        next(&mut told).await,
        Event::Closed(1, "closed by us".into())
    );
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_own_client_and_nothing_else() {
    let (listener, address) = listener().await;
    let (handler, _told) = recorder(|_, event| {
        assert!(!matches!(event, Event::Message(_)), "a panic of the test's");
    });
    let running = Client::new(address.clone(), framed()).start(handler);
    let (mut peer, _) = listener.accept().await.unwrap();
    let (other, mut told) = recorder(|_, _| {});
    let _other = Client::new(address, framed()).start(other);
    let (mut other_peer, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    peer.write_all(&packet(b"boom")).await.unwrap();
    let sender = Sender::clone(&running);
    let error = within(running.ended()).await.map(|_| ()).unwrap_err();
    assert!(error.is_panic());
    assert!(matches!(
        sender.try_send(b"x"),
        Err(SendError::NotConnected)
    ));
    assert_eq!(within(peer.read(&mut [0])).await.unwrap(), 0);
    other_peer.write_all(&packet(b"fine")).await.unwrap();
    assert_eq!(next(&mut told).await, Event::Message(b"fine".to_vec()));
}

#[tokio::test]
async fn senders_that_wait_are_let_go_when_the_client_ends() {
    let (listener, address) = listener().await;
    let options = framed()
        .buffer(100_000)
        .close_deadline(Duration::from_millis(1));
    let (handler, mut told) = recorder(|_, _| {});
    let running = Client::new(address, options).start(handler);
    let (_peer, _) = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Event::Connected(1));
    let sender = Sender::clone(&running);
    let waits = tokio::spawn(async move {
        loop {
            if let Err(error) = sender.send(&[0; 50_000]).await {
                return error;
            }
        }
    });
    assert_eq!(next(&mut told).await, Event::Full);
    running.close();
    let error = within(waits).await.unwrap();
    assert!(matches!(error, SendError::NotConnected), "{error}");
}
