//! How connections come in: accepted by loop 0, handed to the least loaded loop, opened as sessions.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moorline_net::Decoder;
use moorline_net::tls::server::ServerRecords;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::dispatch::home;
use super::event_loop::Loop;
use super::memory::{Class, TLS_BYTES};
use super::session::{Phase, Session};
use super::{Command, Report, is_datagram};
use crate::config::Config;
use crate::control::{Limit, LoopCounter};
use crate::wire::{CloseReason, Peer};
use moorline_process::open_files;

/// Connections accepted from one listener in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How long accepting pauses when descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How far a connection has got before it becomes a session.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It was just accepted.
    Fresh,
    /// It was HTTP and has become a WebSocket.
    Upgraded(Upgrade),
}

/// What HTTP leaves behind.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// What came after the request, as plaintext.
    pub(super) received: Vec<u8>,
    /// What encrypts the connection.
    pub(super) tls: Option<Box<ServerRecords>>,
    /// What is still to be sent, as it goes on the wire.
    pub(super) unsent: Vec<u8>,
}

/// The listening sockets of one loop, by their place in the configuration.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Streams that this loop accepts from.
    streams: Vec<Option<OwnedFd>>,
    /// Datagram sockets: every loop may send from them.
    pub(super) datagrams: Vec<Option<Arc<OwnedFd>>>,
    /// Those of them that this loop receives from.
    pub(super) receives: Vec<bool>,
}

impl Sockets {
    /// The listener's socket, if this loop waits for what comes in there.
    pub(super) fn waited_for(&self, listener: u16) -> Option<BorrowedFd<'_>> {
        let at = usize::from(listener);
        if let Some(Some(stream)) = self.streams.get(at) {
            return Some(stream.as_fd());
        }
        match (self.datagrams.get(at), self.receives.get(at)) {
            (Some(Some(socket)), Some(true)) => Some(socket.as_fd()),
            _ => None,
        }
    }

    /// A listener has this socket from now on.
    pub(super) fn put(&mut self, listener: u16, socket: Socket) {
        let at = usize::from(listener);
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
            self.datagrams.resize(at + 1, None);
            self.receives.resize(at + 1, false);
        }
        match socket {
            Socket::Stream(socket) => self.streams[at] = Some(socket),
            Socket::Datagram { socket, receives } => {
                self.datagrams[at] = Some(socket);
                self.receives[at] = receives;
            }
        }
    }

    /// Lets go of a listener's socket.
    pub(super) fn take(&mut self, listener: u16) {
        let at = usize::from(listener);
        if at < self.streams.len() {
            self.streams[at] = None;
            self.datagrams[at] = None;
            self.receives[at] = false;
        }
    }

    /// Closes them.
    pub(super) fn close(&mut self) {
        self.streams.clear();
        self.receives.clear();
    }
}

/// A listening socket, as one loop has it.
#[derive(Debug)]
pub(super) enum Socket {
    Stream(OwnedFd),
    Datagram {
        socket: Arc<OwnedFd>,
        /// This is the loop that receives from it.
        receives: bool,
    },
}

/// Divides the listeners among the loops: streams to loop 0, which hands connections on; each datagram socket to
/// one loop for receiving and to all for sending.
pub(super) fn share_out(
    config: &Config,
    sockets: Vec<(u16, OwnedFd)>,
    loops: usize,
) -> Vec<Vec<(u16, Socket)>> {
    let mut shares: Vec<_> = (0..loops).map(|_| Vec::new()).collect();
    for (place, socket) in sockets {
        let Some(listener) = config.listeners.get(usize::from(place)) else {
            continue;
        };
        if !is_datagram(&listener.address) {
            shares[0].push((place, Socket::Stream(socket)));
            continue;
        }
        let socket = Arc::new(socket);
        for (index, share) in shares.iter_mut().enumerate() {
            let socket = Socket::Datagram {
                socket: socket.clone(),
                receives: usize::from(place) % loops == index,
            };
            share.push((place, socket));
        }
    }
    shares
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}

impl Loop {
    /// Something came in on a listener.
    pub(super) fn listener_is_ready(&mut self, listener: u16) {
        if self.timers.pauses(listener) {
            return;
        }
        if self
            .sockets
            .datagrams
            .get(usize::from(listener))
            .is_some_and(Option::is_some)
        {
            self.receive_datagrams(listener);
        } else {
            self.accept(listener);
        }
    }

    /// Accepts what waits, up to the turn's share.
    pub(super) fn accept(&mut self, listener: u16) {
        let at = usize::from(listener);
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(socket) = self.sockets.streams.get(at).and_then(Option::as_ref) else {
                return;
            };
            if let Some(again) = self.accept_gate.waits_until(listener, self.clock.ms) {
                // Those that wait do so in the kernel's backlog, and are heard of no more than this.
                self.count_limit(Limit::AcceptRate);
                self.timers.accept_again(again, listener);
                return;
            }
            let has_free = || open_files::lowest_free(socket) < self.shared.descriptors();
            if self.accept_gate.is_shut(has_free) {
                self.pause_accepting(listener, &"none is left for connections");
                return;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(socket, flags) {
                Ok((connection, address)) => {
                    let peer = address
                        .and_then(|address| SocketAddr::try_from(address).ok())
                        .map_or(Peer::Unix, Peer::Ip);
                    // The rest is kept for new processes: without their descriptors the gateway could not serve on.
                    let is_last = connection.as_raw_fd() as u64 >= self.shared.descriptors();
                    self.accept_gate.spend(listener);
                    self.assign(connection, listener, peer);
                    if is_last {
                        self.accept_gate.shut();
                    }
                }
                Err(Errno::AGAIN) => {
                    if let Some(paused_ms) = self.accept_gate.resume(self.clock.ms) {
                        tracing::info!(paused_ms, "accepting again");
                    }
                    return;
                }
                // The connection was gone before it was accepted, or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::PERM) => {}
                Err(error) => {
                    self.pause_accepting(listener, &error);
                    return;
                }
            }
        }
        // More may wait, and no edge will say so.
        self.timers.accept_again(self.clock.ms, listener);
    }

    /// Descriptors or memory have run out. It is warned of once, until all that wait have been accepted.
    fn pause_accepting(&mut self, listener: u16, error: &dyn fmt::Display) {
        let now = self.clock.ms;
        if self.accept_gate.pause(now) {
            let name = &self.config.listeners[usize::from(listener)].name;
            tracing::warn!(
                listener = %name, %error, connections = self.shared.connections(),
                "accepting pauses until there are descriptors again: raise the limit (ulimit -n) or lower max_sessions"
            );
            self.count_limit(Limit::Descriptors);
        }
        self.timers
            .accept_again(now + ACCEPT_PAUSE.as_millis() as u64, listener);
    }

    /// Gives a connection to the least loaded loop.
    fn assign(&mut self, socket: OwnedFd, listener: u16, peer: Peer) {
        let settings = &self.config.listeners[usize::from(listener)];
        if let Err(limit) = self.shared.admissions[usize::from(listener)].admit(&peer) {
            tracing::warn!(
                listener = %settings.name, %peer, reason = %CloseReason::Limit,
                "connection refused: {} is reached", limit.as_str()
            );
            self.count_closed(CloseReason::Limit);
            self.count_limit(limit);
            return;
        }
        if settings.is_http() {
            // The main thread lives as long as the process.
            let _ = self.reports.send(Report::Http {
                socket,
                listener,
                peer,
            });
            return;
        }
        let least = self.shared.least_loaded();
        if least == usize::from(self.index) {
            self.open(socket, listener, peer, Arrival::Fresh);
        } else {
            self.peers[least].send(Command::Accepted {
                socket,
                listener,
                peer,
            });
        }
    }

    /// Makes a session of a connection.
    pub(super) fn open(&mut self, socket: OwnedFd, listener: u16, peer: Peer, arrival: Arrival) {
        let prepared = match self.stop_at {
            None => self.prepare(listener, arrival),
            Some(_) => None,
        };
        let Some((phase, upgrade)) = prepared else {
            self.shared.release(listener, &peer);
            return;
        };
        let Upgrade {
            received,
            tls,
            unsent,
        } = upgrade;
        let now = self.clock.ms;
        let dispatch = self.config.listeners[usize::from(listener)].dispatch;
        // Who is at home with a process that does not answer goes there when it has been replaced.
        let slot = home(dispatch, &peer, &[], self.slots.len())
            .filter(|home| !self.is_silent(usize::from(*home)))
            .unwrap_or_else(|| self.choose_slot(dispatch, None));
        let key = self.table.insert(|id| Session {
            id,
            socket: None,
            tls,
            trickle: None,
            listener,
            phase,
            slot,
            process: None,
            opening: false,
            adopted: false,
            moving: false,
            // Data often comes with the connection; the first read says.
            readable: true,
            hangup: false,
            ended_input: false,
            scheduled: false,
            parked: false,
            told_full: false,
            full: false,
            starved: received.is_empty(),
            deaf: false,
            paused: false,
            kept: false,
            held_back: false,
            watches_output: false,
            unwatched: false,
            sent: 0,
            done: 0,
            window_bytes: 0,
            decoder: Decoder::new(),
            tail: Vec::new(),
            inbound: None,
            outbound: None,
            extras: None,
            peer,
            connected_at: unix_ms(),
            received_at: now,
            sent_at: now,
            half_closed_at: None,
            messages: 0,
            bytes_in: received.len() as u64,
            bytes_out: 0,
        });
        self.slots[usize::from(slot)].enter(&self.shared.slots[usize::from(slot)]);
        self.memory.change(Class::Received, 0, received.len());
        if self.table[key].tls.is_some() {
            self.memory.hold(Class::Tls, TLS_BYTES);
        }
        self.table[key].tail = received;
        if let Err(error) = self.register(key, socket.as_fd()) {
            tracing::warn!(%error, "cannot watch a new connection");
            self.finish(key, CloseReason::Limit);
        }
        self.table[key].socket = Some(socket);
        self.count(LoopCounter::Accepted, 1);
        if !unsent.is_empty() {
            // It was not taken before; the socket says when it takes more.
            let outbound = self.table[key].outbound.get_or_insert_default();
            outbound.push_sealed(&unsent);
            self.memory.change(Class::Queued, 0, unsent.len());
        }
        match phase {
            Phase::Handshake => self.start_handshake_timer(key),
            _ => self.start_timer(key),
        }
        self.service(key);
    }

    /// Where a new session begins, and what it has by then. `None`: it cannot be encrypted.
    fn prepare(&self, listener: u16, arrival: Arrival) -> Option<(Phase, Upgrade)> {
        let mut upgrade = match arrival {
            Arrival::Upgraded(upgrade) => return Some((Phase::Open, upgrade)),
            Arrival::Fresh => Upgrade {
                received: Vec::new(),
                tls: None,
                unsent: Vec::new(),
            },
        };
        let at = usize::from(listener);
        let records = match self.tls.get(at) {
            Some(Some(tls)) => ServerRecords::new(tls).map_err(|error| error.to_string()),
            // Never in the clear what is to be encrypted, whatever has happened here.
            _ if self.config.listeners[at].tls.is_some() => Err("it shows nothing".to_owned()),
            _ => return Some((Phase::Open, upgrade)),
        };
        match records {
            Ok(records) => {
                upgrade.tls = Some(Box::new(records));
                Some((Phase::Handshake, upgrade))
            }
            Err(error) => {
                tracing::error!(%error, "connection refused: tls cannot begin");
                self.count_closed(CloseReason::Handshake);
                None
            }
        }
    }
}
