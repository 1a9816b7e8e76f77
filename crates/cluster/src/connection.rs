//! One connection to NATS.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerError, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use moorline_config::{Cluster, ClusterLogin};
use moorline_net::tls::TlsConnector;
use tokio::sync::watch;
use tokio::task::unconstrained;

use crate::link_state::{LinkState, Unpublished};
use crate::queue::ClientQueue;
use crate::subjects;

/// Messages that wait for the connection.
const MOST_COMMANDS: usize = 4096;
/// Messages of one subscription that wait to be read here; those beyond are lost, and counted.
const MOST_UNREAD: usize = 64 * 1024;
/// A server that answers none of three pings is gone.
const PING: Duration = Duration::from_secs(1);
/// How often the log has the same trouble, at most.
const TOLD_AGAIN: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(2);
/// How long after a failed attempt the next one comes, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection, which is made again when it breaks.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    state: watch::Receiver<LinkState>,
    queue: RefCell<ClientQueue>,
}

/// What arrives on a subject.
#[derive(Debug)]
pub(crate) struct Arriving(Subscriber);

impl Connection {
    /// Begins to connect, and goes on until the connection is there.
    ///
    /// # Errors
    /// The settings cannot be used: why.
    pub(crate) async fn open(settings: &Cluster, name: &str) -> Result<Rc<Self>, String> {
        let notices = Notices {
            needed: subjects::needed(&settings.subject, settings.number),
            ..Notices::default()
        };
        let (say, state) = watch::channel(LinkState::Away(None));
        let mut options = ConnectOptions::new()
            .name(name)
            .no_echo()
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .client_capacity(MOST_COMMANDS)
            .subscription_capacity(MOST_UNREAD)
            .reconnect_delay_callback(|attempt| {
                let doubled = Duration::from_millis(25) * 2u32.pow(attempt.min(6) as u32);
                doubled.min(LONGEST_PAUSE)
            })
            .event_callback(move |event| {
                note(&say, &notices, event);
                async {}
            });
        options = match &settings.login {
            None => options,
            Some(ClusterLogin::Password { user, password }) => {
                options.user_and_password(user.clone(), password.reveal().to_owned())
            }
            Some(ClusterLogin::Token(token)) => options.token(token.reveal().to_owned()),
            Some(ClusterLogin::Nkey(seed)) => options.nkey(seed.reveal().to_owned()),
            Some(ClusterLogin::Credentials(text)) => options
                .credentials(text.reveal())
                .map_err(|error| format!("`credentials_file` of [cluster]: {error}"))?,
            Some(_) => return Err("[cluster]: this program cannot log in this way".to_owned()),
        };
        if settings.tls.is_some() || settings.servers.iter().any(|it| it.starts_with("tls:")) {
            let tls = settings.tls.clone().unwrap_or_default();
            let connector =
                TlsConnector::new(&tls).map_err(|error| format!("`tls` of [cluster]: {error}"))?;
            options = options
                .tls_client_config(connector.config().as_ref().clone())
                .require_tls(true)
                // A server tells of others before it is verified: a liar would be sent the login.
                .ignore_discovered_servers();
        }
        let client = options
            .connect(&settings.servers)
            .await
            .map_err(|error| format!("[cluster]: {error}"))?;
        Ok(Rc::new(Self {
            client,
            state,
            queue: RefCell::default(),
        }))
    }

    /// Whether there is a connection, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// How it is, and why.
    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Hands a message to the connection, if there is one and room.
    pub(crate) fn publish(&self, subject: &str, payload: Bytes) -> Result<(), Unpublished> {
        if !self.is_up() {
            return Err(Unpublished::Away);
        }
        let most = self.client.max_payload();
        if payload.len() > most {
            return Err(Unpublished::TooLarge(most));
        }
        let bytes = (payload.len() + subject.len()) as u64;
        let mut queue = self.queue.borrow_mut();
        let statistics = self.client.statistics();
        queue.taken(statistics.out_messages.load(Ordering::Relaxed));
        if !queue.has_room(bytes) {
            return Err(Unpublished::Full);
        }
        // It waits only for a place in the queue. What is dropped before it has one is not sent.
        let published = unconstrained(self.client.publish(subject.to_owned(), payload));
        match published.now_or_never() {
            Some(Ok(())) => {
                queue.hand(bytes);
                Ok(())
            }
            Some(Err(_)) => Err(Unpublished::Away),
            None => Err(Unpublished::Full),
        }
    }

    /// Follows a subject.
    ///
    /// # Errors
    /// The connection has been given up.
    pub(crate) async fn follow(&self, subject: String) -> Result<Arriving, String> {
        let subscribed = self.client.subscribe(subject).await;
        subscribed
            .map(Arriving)
            .map_err(|error| format!("[cluster]: {error}"))
    }

    /// Waits until all that was handed to it is on its way.
    pub(crate) async fn flush(&self) {
        // Without a connection there is nothing to wait for.
        if self.is_up() {
            let _ = self.client.flush().await;
        }
    }
}

impl Arriving {
    /// The next message. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        Some(self.0.next().await?.payload)
    }
}

/// What is told now and then.
#[derive(Debug, Default)]
struct Notices {
    lost: Notice,
    refused: Notice,
    /// What the user of NATS must be allowed to do.
    needed: String,
}

/// When the log last had something.
#[derive(Debug, Default)]
struct Notice(Mutex<Option<Instant>>);

impl Notice {
    /// Whether it is due again.
    fn is_due(&self) -> bool {
        // The lock is held for this look only, and no look panics.
        let Ok(mut last) = self.0.lock() else {
            return false;
        };
        let is_due = last.is_none_or(|last| last.elapsed() > TOLD_AGAIN);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

impl Notices {
    fn lost(&self) {
        if self.lost.is_due() {
            tracing::warn!(
                "messages of other nodes are lost: they come faster than this worker reads them"
            );
        }
    }

    fn refused(&self, error: &ServerError) {
        if self.refused.is_due() {
            let needed = &self.needed;
            tracing::error!(%error, "NATS refuses something: allow the user of [cluster] to {needed}");
        }
    }
}

/// Notes what the client tells of its connection.
fn note(state: &watch::Sender<LinkState>, notices: &Notices, event: Event) {
    match event {
        Event::Connected => {
            state.send_replace(LinkState::Up);
        }
        Event::Disconnected | Event::Closed => {
            state.send_if_modified(|state| {
                let was_up = *state == LinkState::Up;
                if was_up {
                    *state = LinkState::Away(None);
                }
                was_up
            });
        }
        Event::ServerError(error) if *state.borrow() == LinkState::Up => notices.refused(&error),
        Event::ServerError(error) => fail(state, error.to_string()),
        Event::ClientError(error) => fail(state, error.to_string()),
        Event::SlowConsumer(_) => notices.lost(),
        Event::LameDuckMode | Event::Draining => {}
    }
}

/// Notes why there is no connection.
fn fail(state: &watch::Sender<LinkState>, reason: String) {
    state.send_if_modified(|state| match state {
        LinkState::Up => false,
        LinkState::Away(known) => {
            let is_new = known.as_ref() != Some(&reason);
            *known = Some(reason);
            is_new
        }
    });
}
