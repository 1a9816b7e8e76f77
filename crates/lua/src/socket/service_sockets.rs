//! The sockets of one service.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use moorline_actor::{Port, ServiceId};
use moorline_net::{Dialer, KeepAlive};
use rustc_hash::FxHashMap;
use socket2::{SockRef, TcpKeepalive};
use tokio::task::spawn_local;

use super::descriptor_io::send_rest;
use super::event::{SocketEvent, SocketMode};
use super::foreign_io::ForeignIo;
use super::listening_socket::{ListenStep, ListeningSocket};
use super::opening::{Opened, OpeningTask, connect, look_up};
use super::owned_socket::OwnedSocket;
use super::receive_buffer::ReadNeed;
use super::registration::watch;
use super::shared_socket::{
    ClaimTurn, SendPhase, SharedSocket, SocketClaim, SocketKind, SocketStanding,
};
use super::socket_registry::SocketRegistry;
use super::step::{ReadOutcome, ReadStart, SocketStep};
use super::text::{io_text, peer_text};
use crate::foreign::ForeignStreams;
use crate::sys::StateMemory;

/// What a service owns, by its numbers.
#[derive(Default)]
pub(crate) struct ServiceSockets {
    sockets: FxHashMap<u32, OwnedSocket>,
    listeners: FxHashMap<u32, ListeningSocket>,
    /// Those that nobody has started, and how the service learns of their end.
    accepted: FxHashMap<u32, SocketMode>,
    /// Those that could not be started, and why: a script that gets messages is told by one.
    refused: FxHashMap<u32, String>,
    look_ups: FxHashMap<u32, (OpeningTask, u32)>,
    /// Those that wait until another service lets go, and how they want to learn of it.
    claims: FxHashMap<u32, OwnerRequest>,
}

/// A request to own a socket.
#[derive(Debug, Clone, Copy)]
struct OwnerRequest {
    mode: SocketMode,
    session: u32,
}

/// What a service's sockets need of the process.
pub(crate) struct SocketPlace<'a> {
    pub(crate) port: &'a Port,
    pub(crate) memory: &'a Rc<StateMemory>,
    pub(crate) registry: &'a SocketRegistry,
}

/// A step of the socket with this number, or of a look-up.
#[derive(Debug)]
pub(crate) enum ServiceStep {
    Socket(SocketMode, SocketStep),
    Addresses(u32, Result<Vec<String>, String>),
}

/// Whether a socket is the service's at once.
#[derive(Debug)]
pub(crate) enum Started {
    Done,
    /// The coroutine waits.
    Later,
    Failed(String),
}

impl SocketPlace<'_> {
    fn me(&self) -> ServiceId {
        self.port.id()
    }

    fn own(&self, shared: Arc<SharedSocket>, mode: SocketMode) -> OwnedSocket {
        let waker = self.port.waker(shared.id);
        OwnedSocket::new(shared, self.memory.clone(), waker, mode)
    }

    fn share(&self, kind: SocketKind, descriptor: Option<OwnedFd>) -> Arc<SharedSocket> {
        let id = self.registry.number();
        let (descriptor, waker) = (descriptor.map(Arc::new), Some(self.port.waker(id)));
        let shared = Arc::new(SharedSocket::new(id, kind, descriptor, self.me(), waker));
        self.registry.add(shared.clone());
        shared
    }
}

impl ServiceSockets {
    /// Begins to connect. The number is valid at once: what is written is sent when it is connected.
    pub(crate) fn connect(
        &mut self,
        place: &SocketPlace<'_>,
        (dialer, host, port): (Arc<Dialer>, String, u16),
        mode: SocketMode,
        session: u32,
    ) -> u32 {
        let shared = place.share(SocketKind::Stream, None);
        let id = shared.id;
        let mut socket = place.own(shared, mode);
        socket.starter = Some(session);
        socket.open(connect(dialer, host, port));
        self.sockets.insert(id, socket);
        id
    }

    /// Keeps a socket that listens, until it is started.
    pub(crate) fn listen(
        &mut self,
        place: &SocketPlace<'_>,
        listener: OwnedFd,
        mode: SocketMode,
    ) -> u32 {
        let shared = place.share(SocketKind::Listener, Some(listener));
        let id = shared.id;
        let mut listener = ListeningSocket::new(shared, place.port.waker(id), mode);
        if mode == SocketMode::Raw {
            listener.tell_bound();
        }
        self.listeners.insert(id, listener);
        id
    }

    /// Keeps a socket of this number for connections of the embedding program, until it is started.
    pub(crate) fn listen_foreign(
        &mut self,
        place: &SocketPlace<'_>,
        id: u32,
        (functions, address): (ForeignStreams, SocketAddr),
        mode: SocketMode,
    ) {
        let waker = place.port.waker(id);
        let io = ForeignIo::new(functions, address.to_string());
        let kind = SocketKind::Listener;
        let shared = SharedSocket::foreign(id, kind, io, place.me(), Some(waker.clone()));
        let shared = Arc::new(shared);
        place.registry.add(shared.clone());
        let mut listener = ListeningSocket::new(shared, waker, mode);
        if mode == SocketMode::Raw {
            listener.tell_bound_to(address);
        }
        self.listeners.insert(id, listener);
    }

    /// Takes a descriptor in that is ready: of a datagram socket, or one that the process had.
    ///
    /// # Errors
    /// The system does not tell when such a descriptor is ready.
    pub(crate) fn adopt(
        &mut self,
        place: &SocketPlace<'_>,
        descriptor: OwnedFd,
        kind: SocketKind,
        mode: SocketMode,
    ) -> io::Result<u32> {
        let shared = place.share(kind, Some(descriptor));
        let id = shared.id;
        let mut socket = place.own(shared.clone(), mode);
        let registered = match shared.descriptor() {
            Some(descriptor) => socket.register(descriptor),
            None => Ok(()),
        };
        if let Err(error) = registered {
            place.registry.remove(id);
            return Err(error);
        }
        self.sockets.insert(id, socket);
        Ok(id)
    }

    /// Has the script told by a message that it did not get a socket.
    pub(crate) fn refuse(&mut self, place: &SocketPlace<'_>, id: u32, why: String) {
        self.refused.insert(id, why);
        place.port.waker(id).wake();
    }

    /// Makes the service the owner of a socket, and has it read.
    pub(crate) fn start(
        &mut self,
        place: &SocketPlace<'_>,
        id: u32,
        mode: SocketMode,
        session: u32,
    ) -> Started {
        if let Some(listener) = self.listeners.get_mut(&id) {
            return start_listener(listener, mode);
        }
        if let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.is_closed) {
            if mode == SocketMode::Buffered && socket.mode == mode {
                return Started::Failed("socket is not closed".to_owned());
            }
            socket.resume();
            socket.tell_started("transfer".to_owned());
            return Started::Done;
        }
        let Some(shared) = place.registry.find(id) else {
            return Started::Failed("invalid socket".to_owned());
        };
        if self.claims.contains_key(&id) {
            return Started::Failed("another coroutine waits for the socket".to_owned());
        }
        let request = OwnerRequest { mode, session };
        self.claim(place, &shared, request, ClaimTurn::First)
    }

    fn claim(
        &mut self,
        place: &SocketPlace<'_>,
        shared: &Arc<SharedSocket>,
        request: OwnerRequest,
        turn: ClaimTurn,
    ) -> Started {
        let id = shared.id;
        let waker = place.port.waker(id);
        match shared.claim(place.me(), &waker, turn) {
            SocketClaim::Later => {
                self.claims.insert(id, request);
                Started::Later
            }
            SocketClaim::Replaced => {
                Started::Failed("another service starts the socket".to_owned())
            }
            SocketClaim::Gone => {
                if shared.withdraw_claim(place.me()) {
                    place.registry.remove(id);
                }
                Started::Failed("invalid socket".to_owned())
            }
            SocketClaim::Taken {
                descriptor,
                left,
                is_input_over,
            } => {
                self.accepted.remove(&id);
                if shared.kind == SocketKind::Listener {
                    let listener = ListeningSocket::new(shared.clone(), waker, request.mode);
                    let listener = self.listeners.entry(id).insert_entry(listener);
                    return start_listener(listener.into_mut(), request.mode);
                }
                let mut socket = place.own(shared.clone(), request.mode);
                if let Err(error) = descriptor.map_or(Ok(()), |it| socket.register(it)) {
                    shared.end();
                    place.registry.remove(id);
                    return Started::Failed(io_text(&error));
                }
                socket.tell_started("start".to_owned());
                socket.inherit(&left, is_input_over);
                socket.waker.wake_by_ref();
                self.sockets.insert(id, socket);
                Started::Done
            }
        }
    }

    /// The next thing that has happened to what has this number.
    pub(crate) fn poll(
        &mut self,
        place: &SocketPlace<'_>,
        id: u32,
        scratch: &mut [u8],
    ) -> Option<ServiceStep> {
        if let Some(socket) = self.sockets.get_mut(&id) {
            let step = socket.poll(scratch)?;
            let mode = socket.mode;
            if matches!(step, SocketStep::Gone) {
                let socket = self.sockets.remove(&id)?;
                self.forget(place, &socket.shared, mode);
            }
            return Some(ServiceStep::Socket(mode, step));
        }
        if self.listeners.contains_key(&id) {
            return self.poll_listener(place, id);
        }
        if let Some(request) = self.claims.remove(&id) {
            return self.poll_claim(place, id, request);
        }
        if let Some(why) = self.refused.remove(&id) {
            let failed = SocketStep::Event(SocketEvent::Failed(why));
            return Some(ServiceStep::Socket(SocketMode::Raw, failed));
        }
        if let Some(mode) = self.accepted.get(&id).copied() {
            let event = self.look_at_accepted(place, id)?;
            return Some(ServiceStep::Socket(mode, SocketStep::Event(event)));
        }
        self.poll_look_up(place, id)
    }

    /// Whether the socket that was polled is woken when there is something to do: no other look is needed.
    pub(crate) fn is_waiting(&self, id: u32) -> bool {
        self.sockets.get(&id).is_some_and(OwnedSocket::is_waiting)
    }

    fn poll_claim(
        &mut self,
        place: &SocketPlace<'_>,
        id: u32,
        request: OwnerRequest,
    ) -> Option<ServiceStep> {
        let shared = place.registry.find(id);
        let started = match &shared {
            Some(shared) => self.claim(place, shared, request, ClaimTurn::Again),
            None => Started::Failed("invalid socket".to_owned()),
        };
        let step = match (started, request.mode) {
            (Started::Later, _) | (Started::Done, SocketMode::Raw) => return None,
            (Started::Done, SocketMode::Buffered) => {
                SocketStep::Answer(request.session, ReadOutcome::Opened(Ok(id)))
            }
            (Started::Failed(why), SocketMode::Buffered) => {
                SocketStep::Answer(request.session, ReadOutcome::Opened(Err(why)))
            }
            (Started::Failed(why), SocketMode::Raw) => SocketStep::Event(SocketEvent::Failed(why)),
        };
        Some(ServiceStep::Socket(request.mode, step))
    }

    fn poll_listener(&mut self, place: &SocketPlace<'_>, id: u32) -> Option<ServiceStep> {
        let listener = self.listeners.get_mut(&id)?;
        let mode = listener.mode;
        let event = match listener.poll()? {
            ListenStep::Accepted(descriptor, from) => {
                prepare(&descriptor);
                listener.shared.add_received(1);
                let shared = place.share(SocketKind::Stream, Some(descriptor));
                shared.silence(Vec::new(), false);
                self.accepted.insert(shared.id, mode);
                let from = from.map(peer_text).unwrap_or_default();
                SocketEvent::Accepted(shared.id, from)
            }
            ListenStep::AcceptedForeign(number, from) => {
                listener.shared.received.fetch_add(1, Ordering::Relaxed);
                if let Some(shared) = place.registry.find(number) {
                    shared.belong_to(place.me(), place.port.waker(number));
                }
                self.accepted.insert(number, mode);
                SocketEvent::Accepted(number, from)
            }
            ListenStep::Event(event) => event,
            ListenStep::Closed => {
                if let Some(listener) = self.listeners.remove(&id) {
                    end_listener(place, &listener.shared);
                }
                SocketEvent::Closed
            }
            ListenStep::Released => {
                if let Some(listener) = self.listeners.remove(&id) {
                    self.forget(place, &listener.shared, mode);
                }
                return Some(ServiceStep::Socket(mode, SocketStep::Gone));
            }
        };
        Some(ServiceStep::Socket(mode, SocketStep::Event(event)))
    }

    /// Somebody has taken or closed a socket that nobody had started.
    fn look_at_accepted(&mut self, place: &SocketPlace<'_>, id: u32) -> Option<SocketEvent> {
        let shared = place.registry.find(id);
        let Some((shared, asked)) =
            shared.and_then(|shared| Some((shared.clone(), shared.asked_silent(place.me())?)))
        else {
            self.accepted.remove(&id);
            return None;
        };
        if !matches!(asked.phase, SendPhase::Closing | SendPhase::Closed) {
            return asked.warning.map(SocketEvent::Warning);
        }
        self.accepted.remove(&id);
        if let Some((descriptor, queue)) = shared.closing_rest() {
            spawn_local(send_rest(descriptor, queue));
        }
        shared.end();
        place.registry.remove(id);
        Some(
            asked
                .failure
                .map_or(SocketEvent::Closed, SocketEvent::Failed),
        )
    }

    fn poll_look_up(&mut self, place: &SocketPlace<'_>, id: u32) -> Option<ServiceStep> {
        let (task, session) = self.look_ups.get_mut(&id)?;
        let waker = place.port.waker(id);
        let Poll::Ready(opened) = task.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return None;
        };
        let session = *session;
        self.look_ups.remove(&id);
        let addresses = match opened {
            Opened::Addresses(addresses) => addresses,
            Opened::Connection(_) => return None,
        };
        let texts = |ips: Vec<IpAddr>| ips.iter().map(IpAddr::to_string).collect();
        Some(ServiceStep::Addresses(session, addresses.map(texts)))
    }

    /// Begins to look a name up, for a coroutine.
    pub(crate) fn look_up(&mut self, place: &SocketPlace<'_>, host: String, session: u32) {
        let id = place.registry.number();
        self.look_ups.insert(id, (look_up(host), session));
        place.port.waker(id).wake();
    }

    /// Begins to read.
    ///
    /// # Errors
    /// The service has no such socket, or another coroutine reads it.
    pub(crate) fn read(
        &mut self,
        id: u32,
        need: ReadNeed,
        session: u32,
    ) -> Result<ReadStart, String> {
        match self.socket(id) {
            Some(socket) => socket.read(need, session),
            None => Err(format!("socket {id} is not one of this service")),
        }
    }

    /// Closes a socket of this service or of another one, when what waits is sent.
    pub(crate) fn close(&mut self, place: &SocketPlace<'_>, id: u32) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.shared.close();
            socket.is_closed = true;
            // Also if it has ended before: then it is forgotten now.
            socket.waker.wake_by_ref();
        } else if let Some(shared) = place.registry.find(id) {
            shared.close();
        }
    }

    /// The coroutine that waits for this session's answer has ended: another one may read.
    pub(crate) fn withdraw(&mut self, place: &SocketPlace<'_>, session: u32) {
        let mut sockets = self.sockets.values_mut();
        if sockets.any(|socket| socket.withdraw(session)) {
            return;
        }
        self.look_ups.retain(|_, (_, waiting)| *waiting != session);
        let given_up = |_: &u32, request: &mut OwnerRequest| request.session == session;
        let withdrawn: Vec<_> = self.claims.extract_if(given_up).collect();
        withdraw_claims(place, withdrawn.into_iter().map(|(id, _)| id));
    }

    /// Lets go of a socket, for another service to start it. The coroutine that reads it is told that it is over.
    pub(crate) fn abandon(&mut self, place: &SocketPlace<'_>, id: u32) -> Option<u32> {
        if let Some(mut listener) = self.listeners.remove(&id) {
            listener.io = None;
            listener.shared.silence(Vec::new(), false);
            self.accepted.insert(id, listener.mode);
            listener.waker.wake();
            return None;
        }
        self.socket(id)?;
        let socket = self.sockets.remove(&id)?;
        if socket.is_ended() {
            place.registry.remove(id);
        } else {
            self.accepted.insert(id, socket.mode);
            // It may be closing.
            socket.waker.wake_by_ref();
        }
        socket.abandon()
    }

    /// The service ends: what it owns is closed, unless another service waits for it.
    pub(crate) fn end(&mut self, place: &SocketPlace<'_>) {
        let registry = place.registry;
        // First, so that a client which sees its connection end finds nobody there.
        for (_, listener) in self.listeners.drain() {
            end_listener(place, &listener.shared);
        }
        for (id, socket) in self.sockets.drain() {
            if !socket.end_with_service() {
                registry.remove(id);
            }
        }
        for (id, _) in self.accepted.drain() {
            if let Some(shared) = registry.find(id)
                && shared.end_if_silent(place.me())
            {
                registry.remove(id);
            }
        }
        withdraw_claims(place, self.claims.drain().map(|(id, _)| id));
    }

    /// A socket of this service has ended, or waits for another service.
    fn forget(&mut self, place: &SocketPlace<'_>, shared: &SharedSocket, mode: SocketMode) {
        match shared.standing(place.me()) {
            SocketStanding::Silent => {
                self.accepted.insert(shared.id, mode);
            }
            SocketStanding::Own => place.registry.remove(shared.id),
            SocketStanding::Foreign => {}
        }
    }

    /// The socket with this number, unless the script has closed it.
    pub(crate) fn socket(&mut self, id: u32) -> Option<&mut OwnedSocket> {
        self.sockets.get_mut(&id).filter(|socket| !socket.is_closed)
    }

    pub(crate) fn listener(&mut self, id: u32) -> Option<&mut ListeningSocket> {
        self.listeners.get_mut(&id)
    }
}

/// The service does not wait for these sockets any more. One that has no owner left is closed.
fn withdraw_claims(place: &SocketPlace<'_>, ids: impl Iterator<Item = u32>) {
    for id in ids {
        if let Some(shared) = place.registry.find(id)
            && shared.withdraw_claim(place.me())
        {
            place.registry.remove(id);
        }
    }
}

/// A socket listens no more. Connections of the embedding program that the owner does not know yet end with it.
fn end_listener(place: &SocketPlace<'_>, listener: &SharedSocket) {
    listener.end();
    place.registry.remove(listener.id);
    let next = || listener.foreign.as_ref()?.next_accepted();
    while let Some((id, _)) = next() {
        if let Some(shared) = place.registry.find(id) {
            shared.end();
            place.registry.remove(id);
        }
    }
}

fn start_listener(listener: &mut ListeningSocket, mode: SocketMode) -> Started {
    listener.mode = mode;
    listener.is_paused = false;
    listener.waker.wake_by_ref();
    listener.is_started = true;
    if listener.io.is_some() || listener.shared.foreign.is_some() {
        return Started::Done;
    }
    let descriptor = listener.shared.descriptor();
    let registered = descriptor.map(watch).transpose();
    match registered {
        Ok(Some(io)) => {
            listener.io = Some(io);
            Started::Done
        }
        Ok(None) => Started::Failed("invalid socket".to_owned()),
        Err(error) => Started::Failed(io_text(&error)),
    }
}

/// Gives an accepted connection what dialed ones have: keep-alive probes, and no delay of small writes.
fn prepare(descriptor: &OwnedFd) {
    let times = KeepAlive::default();
    let keep_alive = TcpKeepalive::new()
        .with_time(times.idle)
        .with_interval(times.interval)
        .with_retries(times.count);
    let socket = SockRef::from(descriptor);
    // A connection that is broken already says so when it is read.
    let _ = socket.set_tcp_keepalive(&keep_alive);
    let _ = socket.set_tcp_nodelay(true);
}
