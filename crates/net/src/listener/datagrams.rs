//! Datagrams, with a session object for each peer.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ListenerError;
use crate::address::Address;
use crate::event_loop::{EventLoopPool, Task, contained};
use crate::scratch;
use crate::setters::setters;
use crate::socket::{listen, local_address};

/// Datagrams taken in one turn, so that other work of the loop has its own.
const DATAGRAMS_PER_TURN: usize = 64;
/// How often the idle are looked for, as a part of the idle timeout.
const IDLE_PRECISION: u32 = 4;
/// Longer pauses between looks save nothing, and this one can be added to any clock.
const LONGEST_LOOK: Duration = Duration::from_secs(3600);

/// The receiver of a peer's datagrams: one call at a time, on one loop.
///
/// A call that panics ends its session, which gets no further call; the others continue.
pub trait DatagramHandler {
    /// A datagram has come.
    fn datagram(&mut self, session: &mut DatagramSession<'_>, payload: &[u8]);

    /// The session ends: it was closed, was silent for too long, or the listener ends.
    fn closed(&mut self) {}
}

/// Takes datagrams on one UDP port and keeps a session object for each peer, all on one loop.
///
/// Dropping it ends the sessions and closes the port.
///
/// ```no_run
/// use moorline_net::listener::{DatagramHandler, DatagramListenerOptions, DatagramSession};
/// use moorline_net::{DatagramListener, EventLoopPool, LoopPoolOptions};
///
/// struct Echo;
///
/// impl DatagramHandler for Echo {
///     fn datagram(&mut self, session: &mut DatagramSession<'_>, payload: &[u8]) {
///         // A datagram that finds no room is lost, as on the way.
///         let _ = session.reply(payload);
///     }
/// }
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = EventLoopPool::start(LoopPoolOptions::default())?;
/// let address = "udp://127.0.0.1:7000".parse()?;
/// let options = DatagramListenerOptions::default();
/// let listener = DatagramListener::start(&pool, &address, options, |_| Echo)?;
/// println!("{}", listener.address());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DatagramListener {
    address: Address,
    ending: watch::Sender<bool>,
    serving: Task<()>,
}

/// Options of a datagram listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DatagramListenerOptions {
    /// A peer that is silent for this long is forgotten. 60 s.
    pub idle_timeout: Duration,
    /// The most peers at the same time; those beyond are not heard. 10,000: sender addresses can be forged.
    pub max_sessions: usize,
}

setters! {
    DatagramListenerOptions {
        idle_timeout: Duration,
        max_sessions: usize,
    }
}

impl Default for DatagramListenerOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(60),
            max_sessions: 10_000,
        }
    }
}

/// A peer, while its datagram is handled.
pub struct DatagramSession<'a> {
    socket: &'a UdpSocket,
    peer: SocketAddr,
    is_closed: bool,
}

impl DatagramSession<'_> {
    /// The sender of the datagram.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends a datagram to it. Does not block.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the socket's buffer is full, so that the datagram is lost as on the
    /// network; what the system says of one too large, or of an earlier one that was not delivered.
    pub fn reply(&self, payload: &[u8]) -> io::Result<()> {
        self.socket.try_send_to(payload, self.peer).map(drop)
    }

    /// Ends the session once this call returns. Its next datagram begins another.
    pub fn close(&mut self) {
        self.is_closed = true;
    }
}

impl fmt::Debug for DatagramSession<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramSession")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl DatagramListener {
    /// Binds a `udp://` address and listens on the least loaded loop. `make` makes the handler of each peer, on that
    /// loop. A name in the address is resolved by the system, which blocks.
    ///
    /// # Errors
    /// The address cannot be bound or is not UDP's.
    pub fn start<H: DatagramHandler + 'static>(
        pool: &EventLoopPool,
        address: &Address,
        options: DatagramListenerOptions,
        make: impl FnMut(SocketAddr) -> H + Send + 'static,
    ) -> Result<Self, ListenerError> {
        if !matches!(address, Address::Udp(_)) {
            return Err(ListenerError::Scheme(address.clone()));
        }
        let socket = std::net::UdpSocket::from(listen(address).map_err(ListenerError::Listen)?);
        let address = local_address(&socket, address);
        let ending = watch::Sender::new(false);
        let mut ended = ending.subscribe();
        let event_loop = pool.least_loaded();
        let socket = {
            let _runtime = event_loop.handle().enter();
            UdpSocket::from_std(socket).map_err(ListenerError::Io)?
        };
        let name = event_loop.name().to_owned();
        let serving = event_loop.spawn(move || async move {
            let mut peers = Peers {
                event_loop: name,
                socket,
                options,
                make,
                sessions: HashMap::new(),
                is_full: false,
            };
            tokio::select! {
                () = peers.serve() => {}
                _ = ended.wait_for(|ended| *ended) => {}
            }
            let left: Vec<_> = peers.sessions.keys().copied().collect();
            left.into_iter().for_each(|peer| peers.end(peer));
        });
        Ok(Self {
            address,
            ending,
            serving,
        })
    }

    /// Where it listens; port 0 is replaced by the real one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Ends the sessions and closes the port. Does not wait for that.
    pub fn stop(&self) {
        self.ending.send_replace(true);
    }

    /// Waits until that is done. Cancel-safe: dropping the future changes nothing.
    pub async fn ended(&mut self) {
        if !self.serving.is_finished() {
            let _ = (&mut self.serving).await;
        }
    }
}

impl Drop for DatagramListener {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The sessions of one port.
struct Peers<F, H> {
    /// The name of the loop.
    event_loop: String,
    socket: UdpSocket,
    options: DatagramListenerOptions,
    make: F,
    sessions: HashMap<SocketAddr, DatagramEntry<H>>,
    /// That there are too many was logged, and still holds.
    is_full: bool,
}

struct DatagramEntry<H> {
    handler: H,
    heard: Instant,
}

impl<F, H> Peers<F, H>
where
    F: FnMut(SocketAddr) -> H,
    H: DatagramHandler,
{
    async fn serve(&mut self) {
        let look = self.options.idle_timeout / IDLE_PRECISION;
        let look = look.clamp(Duration::from_millis(1), LONGEST_LOOK);
        let mut looks = interval(look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                readable = self.socket.readable() => {
                    if let Err(error) = readable {
                        tracing::error!(%error, "a datagram listener stopped: it cannot receive");
                        return;
                    }
                    self.receive();
                    tokio::task::yield_now().await;
                }
                now = looks.tick() => self.forget_idle(now),
            }
        }
    }

    fn receive(&mut self) {
        scratch::with(|scratch| {
            for _ in 0..DATAGRAMS_PER_TURN {
                match self.socket.try_recv_from(scratch) {
                    Ok((length, peer)) => self.deliver(peer, &scratch[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    // An error of an earlier datagram (ICMP); it ends nothing.
                    Err(_) => {}
                }
            }
        });
    }

    fn deliver(&mut self, peer: SocketAddr, payload: &[u8]) {
        if !self.sessions.contains_key(&peer) && self.sessions.len() >= self.options.max_sessions {
            if !std::mem::replace(&mut self.is_full, true) {
                tracing::warn!(
                    sessions = self.sessions.len(),
                    "too many peers: ignoring datagrams of new ones"
                );
            }
            return;
        }
        let Self {
            event_loop,
            socket,
            make,
            sessions,
            ..
        } = self;
        let mut shown = DatagramSession {
            socket,
            peer,
            is_closed: false,
        };
        let handled = contained(event_loop, || {
            let heard = Instant::now();
            let session = sessions.entry(peer).or_insert_with(|| DatagramEntry {
                handler: make(peer),
                heard,
            });
            session.heard = heard;
            session.handler.datagram(&mut shown, payload);
        });
        match handled {
            Ok(()) if shown.is_closed => self.end(peer),
            Ok(()) => {}
            // The state of its handler is unknown by now.
            Err(_) => {
                let session = self.sessions.remove(&peer);
                let _ = contained(&self.event_loop, || drop(session));
            }
        }
    }

    fn forget_idle(&mut self, now: Instant) {
        let timeout = self.options.idle_timeout;
        let is_idle =
            |session: &DatagramEntry<H>| now.saturating_duration_since(session.heard) >= timeout;
        let idle = self.sessions.iter().filter(|(_, session)| is_idle(session));
        let idle: Vec<_> = idle.map(|(peer, _)| *peer).collect();
        idle.into_iter().for_each(|peer| self.end(peer));
        self.is_full &= self.sessions.len() >= self.options.max_sessions;
    }

    fn end(&mut self, peer: SocketAddr) {
        if let Some(mut session) = self.sessions.remove(&peer) {
            let _ = contained(&self.event_loop, move || session.handler.closed());
        }
    }
}
