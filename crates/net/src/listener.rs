//! A server without processes: accepts, and runs a session object for each connection.
//!
//! For tests and small tools. It knows nothing of reloads or crashes; the engine does.

mod datagrams;
mod error;
mod shared;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, watch};

pub use datagrams::{DatagramHandler, DatagramListener, DatagramListenerOptions, DatagramSession};
pub use error::ListenerError;

use shared::ListenerShared;

use crate::address::Address;
use crate::client::{ClientOptions, Handler};
use crate::connection::Connection;
use crate::event_loop::{EventLoopPool, Task};
#[cfg(feature = "websocket")]
use crate::framing::Framing;
use crate::setters::setters;
use crate::socket::{SocketFile, listen, local_address};

/// Accepts TCP or Unix connections. Each is a [`Client`](crate::Client) with a [`Handler`] of its own, on the least
/// loaded loop of a pool.
///
/// Dropping it stops accepting and closes the sessions as [`stop`](Self::stop) does. They need the pool for that.
///
/// ```
/// use moorline_net::client::{CloseReason, Handler};
/// use moorline_net::{Client, ConnectError, EventLoopPool, Listener, ListenerOptions};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn connected(&mut self, _: &mut Client) {}
///     fn message(&mut self, session: &mut Client, message: &[u8]) {
///         let _ = session.try_send(message);
///     }
///     fn closed(&mut self, _: &mut Client, _: &CloseReason) {}
///     fn error(&mut self, _: &mut Client, _: &ConnectError) {}
/// }
///
/// let pool = EventLoopPool::start(Default::default()).unwrap();
/// let address = "tcp://127.0.0.1:0".parse().unwrap();
/// let listener = Listener::start(&pool, &address, ListenerOptions::default(), |_| Echo).unwrap();
/// println!("{}", listener.address());
/// ```
#[derive(Debug)]
pub struct Listener {
    address: Address,
    shared: Arc<ListenerShared>,
    accepting: Task<()>,
}

/// Options of a listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenerOptions {
    /// Framing, watermarks, tick and close deadline of each session. How to dial and reconnect does not matter here.
    pub session: ClientOptions,
    /// The most sessions at the same time; further connections wait in the system's backlog until one ends. 10,000:
    /// with idle sessions of a few KiB each that is no burden.
    pub max_sessions: u32,
}

setters! {
    ListenerOptions {
        session: ClientOptions,
        max_sessions: u32,
    }
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            session: ClientOptions::default(),
            max_sessions: 10_000,
        }
    }
}

impl Listener {
    /// Binds `address` and accepts. `make` makes the handler of each connection, on its loop.
    ///
    /// The handler's `connected` is called first; `error` is never called, because nothing is dialed. The system
    /// resolves a name in the address, which blocks. A Unix socket's file is removed when the listener ends.
    ///
    /// # Errors
    /// The address cannot be bound or is no stream's; the framing makes no sense or is WebSocket's, which begins with
    /// a handshake that is not made here.
    pub fn start<H: Handler + 'static>(
        pool: &EventLoopPool,
        address: &Address,
        options: ListenerOptions,
        make: impl Fn(&Connection) -> H + Send + Sync + 'static,
    ) -> Result<Self, ListenerError> {
        if !matches!(address, Address::Tcp(_) | Address::Unix(_)) {
            return Err(ListenerError::Scheme(address.clone()));
        }
        let framing = &options.session.framing;
        #[cfg(feature = "websocket")]
        if let Framing::WebSocket { .. } = framing {
            return Err(ListenerError::WebSocket);
        }
        framing.validate().map_err(ListenerError::Framing)?;
        let socket = listen(address).map_err(ListenerError::Listen)?;
        let address = local_address(&socket, address);
        let file = address.socket_file().map(SocketFile::at).transpose();
        let file = file.map_err(ListenerError::Io)?;
        let max_sessions = options.max_sessions.max(1);
        let shared = Arc::new(ListenerShared {
            sessions: AtomicUsize::new(0),
            places: Arc::new(Semaphore::new(max_sessions as usize)),
            max_sessions,
            ending: watch::Sender::new(false),
        });
        let acceptor = streams::Acceptor {
            pool: pool.clone(),
            address: address.clone(),
            file,
            options: options.session,
            shared: shared.clone(),
            make: Arc::new(make),
        };
        let accepting = pool.least_loaded().spawn(move || acceptor.run(socket));
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// Where it listens; port 0 is replaced by the real one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// Stops accepting, and closes each session once what waits there is sent, at the latest after its close deadline.
    /// Does not wait for that.
    pub fn stop(&self) {
        self.shared.ending.send_replace(true);
    }

    /// Waits until it accepts nothing any more and all sessions have ended; [`stop`](Self::stop) makes that happen.
    /// Cancel-safe: dropping the future changes nothing.
    pub async fn ended(&mut self) {
        if !self.accepting.is_finished() {
            let _ = (&mut self.accepting).await;
        }
        // A session holds its place until its end.
        let all = self.shared.places.acquire_many(self.shared.max_sessions);
        let _ = all.await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}
