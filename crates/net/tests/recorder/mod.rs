//! A handler that notes what it is told, and what its tests need besides.

use std::net::SocketAddr;
use std::time::Duration;

use moorline_net::client::{CloseReason, Reconnect, Unsent};
use moorline_net::{Address, Client, ClientOptions, ConnectError, Framing, Handler, Length};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// Longer than anything here takes, and short enough that a test which hangs is noticed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a handler was told, with the attempt's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Connected(u64),
    Message(Vec<u8>),
    Closed(u64, String),
    Error(u64, String),
    Full,
    Drained,
    HalfClosed,
    Tick,
}

/// Notes what it is told, and does what it is asked.
pub(crate) struct Recorder<F> {
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) react: F,
}

impl<F: FnMut(&mut Client, &Event) + Send> Recorder<F> {
    fn note(&mut self, client: &mut Client, event: Event) {
        (self.react)(client, &event);
        let _ = self.events.send(event);
    }
}

impl<F: FnMut(&mut Client, &Event) + Send> Handler for Recorder<F> {
    fn connected(&mut self, client: &mut Client) {
        assert!(client.is_connected());
        let attempt = client.attempt();
        self.note(client, Event::Connected(attempt));
    }

    fn message(&mut self, client: &mut Client, message: &[u8]) {
        self.note(client, Event::Message(message.to_vec()));
    }

    fn closed(&mut self, client: &mut Client, reason: &CloseReason) {
        assert!(!client.is_connected(), "the socket is closed first");
        let attempt = client.attempt();
        self.note(client, Event::Closed(attempt, reason.to_string()));
    }

    fn error(&mut self, client: &mut Client, error: &ConnectError) {
        assert!(!client.is_connected(), "the socket is closed first");
        let attempt = client.attempt();
        self.note(client, Event::Error(attempt, error.cause().to_string()));
    }

    fn full(&mut self, client: &mut Client) {
        self.note(client, Event::Full);
    }

    fn drained(&mut self, client: &mut Client) {
        self.note(client, Event::Drained);
    }

    fn half_closed(&mut self, client: &mut Client) {
        self.note(client, Event::HalfClosed);
    }

    fn tick(&mut self, client: &mut Client) {
        self.note(client, Event::Tick);
    }
}

pub(crate) fn recorder<F: FnMut(&mut Client, &Event) + Send>(
    react: F,
) -> (Recorder<F>, UnboundedReceiver<Event>) {
    let (events, told) = unbounded_channel();
    (Recorder { events, react }, told)
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it takes too long")
}

pub(crate) fn framed() -> ClientOptions {
    ClientOptions::framed(Framing::Length(Length::default()))
}

pub(crate) fn reconnecting(queue: Unsent) -> ClientOptions {
    framed().reconnect(Some(
        Reconnect::default()
            .first(Duration::from_millis(1))
            .cap(Duration::from_millis(2))
            .queue(queue),
    ))
}

pub(crate) fn address(of: SocketAddr) -> Address {
    format!("tcp://{of}").parse().unwrap()
}

pub(crate) async fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = address(listener.local_addr().unwrap());
    (listener, address)
}

pub(crate) fn packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = (payload.len() as u32).to_be_bytes().to_vec();
    packet.extend_from_slice(payload);
    packet
}
