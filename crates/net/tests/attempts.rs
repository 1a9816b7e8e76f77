//! The report of each attempt, whatever peers and users do.

mod recorder;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use moorline_net::client::{Running, Sender, StreamError, Unsent};
use moorline_net::resolve::{Answer, Families, Lookups};
use moorline_net::{Address, Client, ConnectCause, ConnectError, ResolveError, Resolver};
use recorder::{Event, listener, packet, reconnecting, recorder, within};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
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

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one scenario, in order")]
async fn each_attempt_reports_one_error_or_connected_and_closed_once() {
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

/// Answers when it is told to. Nobody who gave up a look-up is there to hear it.
#[derive(Debug)]
struct Withheld(UnboundedSender<Answers>);

type Answers = oneshot::Sender<Result<Answer, ResolveError>>;

impl Resolver for Withheld {
    fn look_up(&self, _name: &str, _families: Families) -> Lookups {
        let (answers, answer) = oneshot::channel();
        self.0.send(answers).unwrap();
        Lookups::Together(Box::pin(async { answer.await.unwrap() }))
    }
}

/// A client that reconnects, of a name that resolves to nothing before its look-up is answered.
fn unresolved(at: SocketAddr) -> (Client, UnboundedReceiver<Answers>) {
    let (asked, look_ups) = unbounded_channel();
    let address: Address = format!("tcp://name.test:{}", at.port()).parse().unwrap();
    let client = Client::new(address, reconnecting(Unsent::Keep));
    (client.with_resolver(Arc::new(Withheld(asked))), look_ups)
}

/// The name is resolved, too late: nobody waits for it, nobody asks again, nobody connects.
async fn assert_nobody_waits(
    answers: Answers,
    mut look_ups: UnboundedReceiver<Answers>,
    listener: &TcpListener,
) {
    let answer = Answer::new(vec![listener.local_addr().unwrap().ip()]);
    assert!(answers.send(Ok(answer)).is_err(), "somebody waits for it");
    assert!(
        timeout(Duration::from_millis(20), listener.accept())
            .await
            .is_err(),
        "somebody connects"
    );
    assert!(look_ups.try_recv().is_err(), "somebody asks again");
}

#[tokio::test]
async fn a_started_client_closed_while_its_name_resolves_tells_one_error_and_stays_closed() {
    type End<H> = fn(Running<H>);
    fn ends<H>() -> [End<H>; 4] {
        [
            |running| running.close(),
            |running| running.close_now(),
            drop,
            |running| {
                running.try_send(b"never").unwrap();
                running.detach().close();
            },
        ]
    }
    for which in 0..ends::<()>().len() {
        let (listener, _) = listener().await;
        let (client, mut look_ups) = unresolved(listener.local_addr().unwrap());
        let (handler, mut told) = recorder(|client, _| {
            // Closed is closed, whatever the handler says to that.
            client.start_reconnect();
        });
        let running = client.start(handler);
        let sender = Sender::clone(&running);
        let answers = within(look_ups.recv()).await.unwrap();
        ends()[which](running);
        let closed = Event::Error(1, ConnectCause::Closed.to_string());
        assert_eq!(within(told.recv()).await, Some(closed), "end {which}");
        // It has ended: nothing can be told any more.
        assert_eq!(within(told.recv()).await, None, "end {which}");
        assert!(!sender.is_connected());
        sender.reconnect();
        assert!(sender.try_send(b"x").is_err());
        assert_nobody_waits(answers, look_ups, &listener).await;
    }
}

#[tokio::test]
async fn a_run_that_is_dropped_while_the_name_resolves_tells_nothing_and_can_begin_anew() {
    let (listener, _) = listener().await;
    let (mut client, mut look_ups) = unresolved(listener.local_addr().unwrap());
    let (mut handler, mut told) = recorder(|_, _| {});
    {
        let mut run = Box::pin(client.run(&mut handler));
        let pending = poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await;
        assert!(pending);
    }
    assert!(!client.is_connected());
    assert!(told.try_recv().is_err());
    let given_up = look_ups.try_recv().unwrap();
    assert!(given_up.is_closed(), "the look-up goes on");
    let run = async {
        let running = client.start(handler);
        let answers = within(look_ups.recv()).await.unwrap();
        running.close_now();
        within(running.ended()).await.unwrap();
        answers
    };
    let answers = run.await;
    let closed = Event::Error(2, ConnectCause::Closed.to_string());
    assert_eq!(told.recv().await, Some(closed));
    assert_eq!(told.recv().await, None);
    assert_nobody_waits(answers, look_ups, &listener).await;
}

#[tokio::test]
async fn a_connect_that_is_dropped_while_the_name_resolves_leaves_the_client_closed() {
    let (listener, _) = listener().await;
    let (mut client, mut look_ups) = unresolved(listener.local_addr().unwrap());
    {
        let mut connect = Box::pin(client.connect());
        let pending = poll_fn(|cx| Poll::Ready(connect.as_mut().poll(cx).is_pending())).await;
        assert!(pending);
    }
    let answers = look_ups.try_recv().unwrap();
    assert!(!client.is_connected());
    assert!(matches!(
        client.receive_message().await,
        Err(StreamError::NotConnected)
    ));
    client.close().await.unwrap();
    assert!(client.try_send(b"x").is_err());
    assert_nobody_waits(answers, look_ups, &listener).await;
}

/// An awaited client that somebody else closes while it does this.
async fn closed_by_a_sender(
    dials: impl AsyncFn(&mut Client) -> Result<(), ConnectError>,
) -> (Client, ConnectError) {
    let (listener, _) = listener().await;
    let (mut client, mut look_ups) = unresolved(listener.local_addr().unwrap());
    let sender = client.sender();
    let (refused, answers) = tokio::join!(within(dials(&mut client)), async {
        let answers = within(look_ups.recv()).await.unwrap();
        sender.close();
        answers
    });
    assert_nobody_waits(answers, look_ups, &listener).await;
    (client, refused.unwrap_err())
}

#[tokio::test]
async fn an_awaited_client_that_a_sender_closes_while_its_name_resolves_stays_closed() {
    for reconnects in [false, true] {
        let (mut client, error) = closed_by_a_sender(async move |client| {
            if reconnects {
                client.reconnect().await
            } else {
                client.connect().await
            }
        })
        .await;
        assert!(matches!(error.cause(), ConnectCause::Closed), "{error:?}");
        assert!(!client.is_connected());
        assert!(client.try_send(b"x").is_err());
    }
}

#[tokio::test]
async fn a_sender_closes_a_client_that_waits_for_its_next_attempt() {
    let (listener, address) = listener().await;
    drop(listener);
    let mut options = reconnecting(Unsent::Keep);
    if let Some(reconnect) = &mut options.reconnect {
        (reconnect.first, reconnect.cap) = (recorder::PATIENCE * 2, recorder::PATIENCE * 2);
    }
    let mut client = Client::new(address, options);
    let sender = client.sender();
    client.connect().await.unwrap_err();
    let (refused, ()) = tokio::join!(within(client.reconnect()), async {
        tokio::task::yield_now().await;
        sender.close();
    });
    let error = refused.unwrap_err();
    assert!(matches!(error.cause(), ConnectCause::Closed), "{error:?}");
    assert_eq!(client.attempt(), 1);
}

#[tokio::test]
async fn an_error_that_only_other_options_can_mend_is_not_tried_again() {
    let invalid = || {
        let mut options = reconnecting(Unsent::Keep);
        options.framing = moorline_net::Framing::WebSocket { max: 100 };
        options
    };
    let (_listener, address) = listener().await;
    let (handler, mut told) = recorder(|_, _| {});
    let running = Client::new(address.clone(), invalid()).start(handler);
    within(running.ended()).await.unwrap();
    assert!(matches!(told.recv().await, Some(Event::Error(1, _))));
    assert_eq!(told.recv().await, None);

    let mut client = Client::new(address, invalid());
    let error = within(client.reconnect()).await.unwrap_err();
    assert!(error.is_permanent(), "{error}");

    let mut options = reconnecting(Unsent::Keep);
    options.dial.tls.roots = moorline_net::tls::Roots::File("/no/such/file".into());
    let address = "tls://127.0.0.1:1".parse().unwrap();
    let mut client = Client::new(address, options);
    let error = within(client.reconnect()).await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert_eq!(client.attempt(), 1);
}

#[tokio::test]
async fn an_interface_that_is_absent_is_waited_for() {
    for (interface, address) in [
        (Some("nowhere0"), "tcp://127.0.0.1:1"),
        (None, "tcp://[fe80::1%nowhere0]:1"),
    ] {
        let mut options = reconnecting(Unsent::Keep);
        options.dial.interface = interface.map(Into::into);
        let (handler, mut told) = recorder(|client, event| {
            if let Event::Error(3, _) = event {
                client.close_now();
            }
        });
        let running = Client::new(address.parse().unwrap(), options).start(handler);
        within(running.ended()).await.unwrap();
        for attempt in 1..=3 {
            let event = told.recv().await;
            let Some(Event::Error(number, reason)) = event else {
                panic!("{event:?}");
            };
            assert_eq!(number, attempt);
            assert!(reason.contains("no interface `nowhere0`"), "{reason}");
        }
    }
}
