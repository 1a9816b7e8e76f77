//! What all services may use of a socket.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use moorline_actor::ServiceId;
use rustix::net::{SendFlags, sendto};

use super::foreign_io::ForeignIo;
use super::send_queue::{SendChunk, SendPriority, SendQueue};
use crate::foreign::ForeignClose;

/// What a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketKind {
    Stream,
    Listener,
    Datagram,
    /// A descriptor that the process had.
    Bound,
}

/// A socket of the process, known by its number.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    pub(crate) id: u32,
    pub(crate) kind: SocketKind,
    /// What it has instead of a descriptor, if it is a connection of the embedding program.
    pub(crate) foreign: Option<Box<ForeignIo>>,
    sending: Mutex<SocketSending>,
    ownership: Mutex<Ownership>,
    /// The owner has more to look at than its descriptor.
    is_asked: AtomicBool,
    /// Bytes received; connections accepted of a listening one.
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
}

#[derive(Debug)]
struct SocketSending {
    phase: SendPhase,
    descriptor: Option<Arc<OwnedFd>>,
    queue: SendQueue,
    /// Where datagrams go that name no receiver.
    peer: Option<SocketAddr>,
    failure: Option<String>,
}

/// What becomes of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendPhase {
    /// They wait for the connection.
    Connecting,
    Open,
    /// No more are taken. Those that wait are sent, and then the socket is closed.
    Closing,
    /// All are refused.
    Closed,
}

#[derive(Debug)]
struct Ownership {
    service: ServiceId,
    waker: Option<Waker>,
    /// Nobody reads it: it was accepted or abandoned, and not started since.
    is_silent: bool,
    /// The service that is to get it when the owner has let go.
    next: Option<ServiceTaking>,
    /// Its owner has ended: it waits for the service that is to get it, and for nobody else.
    is_orphan: bool,
    /// What the last owner has received and not read.
    left: Vec<u8>,
    /// The peer had ended its stream before.
    is_input_over: bool,
}

#[derive(Debug)]
struct ServiceTaking {
    service: ServiceId,
    waker: Waker,
}

/// What the owner finds when it was asked to look.
#[derive(Debug)]
pub(crate) struct SocketAsked {
    pub(crate) phase: SendPhase,
    pub(crate) is_queue_empty: bool,
    /// The owner has to let go of it.
    pub(crate) is_taken: bool,
    pub(crate) warning: Option<usize>,
    pub(crate) failure: Option<String>,
}

/// What a service gets that takes a socket.
#[derive(Debug)]
pub(crate) enum SocketClaim {
    Taken {
        /// None of a connection of the embedding program.
        descriptor: Option<Arc<OwnedFd>>,
        left: Vec<u8>,
        is_input_over: bool,
    },
    /// The owner is asked to let go. It wakes the service when it has.
    Later,
    /// Another service has asked since.
    Replaced,
    /// It is closed.
    Gone,
}

/// How a service asks for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimTurn {
    First,
    /// It has asked before, and was woken.
    Again,
}

/// What a socket is to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketStanding {
    /// It owns it.
    Own,
    /// It owns it and does not read it: any service may take it.
    Silent,
    Foreign,
}

impl SharedSocket {
    pub(crate) fn new(
        id: u32,
        kind: SocketKind,
        descriptor: Option<Arc<OwnedFd>>,
        service: ServiceId,
        waker: Option<Waker>,
    ) -> Self {
        let phase = match descriptor {
            Some(_) => SendPhase::Open,
            None => SendPhase::Connecting,
        };
        Self {
            id,
            kind,
            foreign: None,
            sending: Mutex::new(SocketSending {
                phase,
                descriptor,
                queue: SendQueue::default(),
                peer: None,
                failure: None,
            }),
            ownership: Mutex::new(Ownership {
                service,
                waker,
                is_silent: false,
                next: None,
                is_orphan: false,
                left: Vec::new(),
                is_input_over: false,
            }),
            is_asked: AtomicBool::new(false),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// A connection of the embedding program, or a socket that listens for those.
    pub(crate) fn foreign(
        id: u32,
        kind: SocketKind,
        io: ForeignIo,
        service: ServiceId,
        waker: Option<Waker>,
    ) -> Self {
        let mut this = Self::new(id, kind, None, service, waker);
        this.foreign = Some(Box::new(io));
        this.sending().phase = SendPhase::Open;
        this
    }

    /// It is connected: what was written meanwhile can be sent. False if it was closed meanwhile.
    pub(crate) fn connected(&self, descriptor: Arc<OwnedFd>) -> bool {
        let mut sending = self.sending();
        if sending.phase == SendPhase::Closed {
            return false;
        }
        sending.descriptor = Some(descriptor);
        if sending.phase == SendPhase::Connecting {
            sending.phase = SendPhase::Open;
        }
        true
    }

    /// Where datagrams go that name no receiver.
    pub(crate) fn set_peer(&self, peer: SocketAddr) {
        self.sending().peer = Some(peer);
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.sending().peer
    }

    pub(crate) fn descriptor(&self) -> Option<Arc<OwnedFd>> {
        self.sending().descriptor.clone()
    }

    pub(crate) fn queued(&self) -> usize {
        self.sending().queue.bytes()
    }

    /// Sends what the system takes at once, and keeps the rest until it takes more. False if the socket is closed.
    pub(crate) fn write(
        &self,
        bytes: Cow<'_, [u8]>,
        to: Option<SocketAddr>,
        priority: SendPriority,
    ) -> bool {
        let mut sending = self.sending();
        let sending = &mut *sending;
        if matches!(sending.phase, SendPhase::Closing | SendPhase::Closed) {
            return false;
        }
        if let Some(io) = &self.foreign {
            self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            return (io.functions.send)(self.id, &bytes);
        }
        if sending.queue.is_full() {
            let why = format!("{} bytes wait to be sent", sending.queue.bytes());
            sending.fail(why);
            self.ask();
            return false;
        }
        let to = to.or(sending.peer);
        let mut sent = 0;
        if let (SendPhase::Open, true, Some(descriptor)) =
            (sending.phase, sending.queue.is_empty(), &sending.descriptor)
        {
            match self.send(descriptor, &bytes, to) {
                Ok(count) if count == bytes.len() => return true,
                Ok(count) => sent = count,
                Err(error) if is_later(&error) => {}
                // One receiver of datagrams cannot be reached: that is not the end of the socket.
                Err(_) if self.kind == SocketKind::Datagram => return false,
                Err(error) => {
                    sending.fail(super::text::io_text(&error));
                    self.ask();
                    return true;
                }
            }
        }
        if self.kind == SocketKind::Datagram {
            let bytes = bytes.into_owned();
            sending.queue.push(SendChunk { bytes, to }, priority);
            self.ask();
        } else if !bytes.is_empty() {
            sending.queue.append(bytes, sent, priority);
            self.ask();
        }
        true
    }

    fn send(&self, to: &OwnedFd, bytes: &[u8], receiver: Option<SocketAddr>) -> io::Result<usize> {
        let count = match (self.kind, receiver) {
            (SocketKind::Bound, _) => rustix::io::write(to, bytes)?,
            (SocketKind::Datagram, Some(receiver)) => {
                sendto(to, bytes, SendFlags::NOSIGNAL, &receiver)?
            }
            _ => rustix::net::send(to, bytes, SendFlags::NOSIGNAL)?,
        };
        // Callers have locked what is sent.
        let sent = self.sent.load(Ordering::Relaxed);
        self.sent.store(sent + count as u64, Ordering::Relaxed);
        Ok(count)
    }

    /// Sends what waits, until the system takes no more or nothing is left.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut sending = self.sending();
        let sending = &mut *sending;
        let Some(descriptor) = &sending.descriptor else {
            return Ok(());
        };
        while let Some((bytes, to)) = sending.queue.next() {
            match self.send(descriptor, bytes, to) {
                Ok(count) => sending.queue.sent(count),
                Err(error) if is_later(&error) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(_) if self.kind == SocketKind::Datagram => sending.queue.skip(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes no more writes. The owner closes the socket when those that wait are sent. False if that was asked before.
    pub(crate) fn close(&self) -> bool {
        let mut sending = self.sending();
        let was_open = matches!(sending.phase, SendPhase::Open | SendPhase::Connecting);
        if was_open {
            sending.phase = SendPhase::Closing;
            drop(sending);
            self.close_foreign(ForeignClose::Flushed);
            self.ask();
        }
        was_open
    }

    /// Ends what is sent: the peer sees the end of the stream behind what the system has taken.
    pub(crate) fn finish(&self) {
        if let Some(descriptor) = self.descriptor() {
            // One that is not connected has nothing to end.
            let _ = rustix::net::shutdown(&descriptor, rustix::net::Shutdown::Write);
        }
    }

    /// Closes it at once: what waits is lost.
    pub(crate) fn shut_down(&self) {
        let mut sending = self.sending();
        sending.phase = SendPhase::Closed;
        sending.queue = SendQueue::default();
        drop(sending);
        self.close_foreign(ForeignClose::Now);
        self.ask();
    }

    /// Has the program close its connection, or give this socket no more of them. Again it does nothing.
    fn close_foreign(&self, how: ForeignClose) {
        match &self.foreign {
            Some(io) if self.kind == SocketKind::Listener => (io.functions.unlisten)(self.id),
            Some(io) => (io.functions.close)(self.id, how),
            None => {}
        }
    }

    /// It is over: nobody keeps the descriptor.
    pub(crate) fn end(&self) {
        let mut sending = self.sending();
        sending.phase = SendPhase::Closed;
        sending.queue = SendQueue::default();
        sending.descriptor = None;
        drop(sending);
        self.close_foreign(ForeignClose::Flushed);
        // A service that waits for it waits no more.
        if let Some(next) = &self.ownership().next {
            next.waker.wake_by_ref();
        }
    }

    /// What is written and not sent of a socket that was closed after it.
    pub(crate) fn closing_rest(&self) -> Option<(Arc<OwnedFd>, SendQueue)> {
        let mut sending = self.sending();
        let is_left = sending.phase == SendPhase::Closing && !sending.queue.is_empty();
        let descriptor = sending.descriptor.clone();
        descriptor
            .filter(|_| is_left && self.kind == SocketKind::Stream)
            .map(|descriptor| (descriptor, std::mem::take(&mut sending.queue)))
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.sending().phase, SendPhase::Closing | SendPhase::Closed)
    }

    /// Its owner, which does not read it, has ended. True if it is closed; another service may have taken it, or wait for it.
    pub(crate) fn end_if_silent(&self, service: ServiceId) -> bool {
        {
            let mut ownership = self.ownership();
            if ownership.service != service || !ownership.is_silent {
                return false;
            }
            ownership.is_orphan = true;
            if ownership.next.is_some() {
                return false;
            }
        }
        self.end();
        true
    }

    /// Its owner, which reads it, has ended. True if another service waits for it, and gets what is left.
    pub(crate) fn pass_on(&self, left: impl FnOnce() -> Vec<u8>, is_input_over: bool) -> bool {
        let mut ownership = self.ownership();
        let Some(next) = &ownership.next else {
            return false;
        };
        next.waker.wake_by_ref();
        ownership.is_silent = true;
        ownership.is_orphan = true;
        ownership.left = left();
        ownership.is_input_over = is_input_over;
        true
    }

    /// The owner has received so much. Nobody else counts it.
    pub(crate) fn add_received(&self, count: usize) {
        let received = self.received.load(Ordering::Relaxed);
        self.received
            .store(received + count as u64, Ordering::Relaxed);
    }

    /// Whether the owner has to look at what was asked.
    pub(crate) fn is_asked(&self) -> bool {
        // It mostly has nothing, and a look is cheaper than a change.
        self.is_asked.load(Ordering::Acquire) && self.is_asked.swap(false, Ordering::AcqRel)
    }

    /// What was asked of the owner.
    pub(crate) fn asked(&self) -> SocketAsked {
        let mut sending = self.sending();
        let is_over = sending.queue.is_over_warning().then_some(0);
        SocketAsked {
            phase: sending.phase,
            is_queue_empty: sending.queue.is_empty(),
            warning: sending.queue.warning().or(is_over),
            failure: sending.failure.take(),
            is_taken: self.ownership().next.is_some(),
        }
    }

    /// What was asked of a service about a socket that it does not read. None if it is not that service's any more.
    pub(crate) fn asked_silent(&self, service: ServiceId) -> Option<SocketAsked> {
        {
            let ownership = self.ownership();
            if ownership.service != service || !ownership.is_silent {
                return None;
            }
            // Who takes it looks at all again.
            self.is_asked.store(false, Ordering::Release);
        }
        Some(self.asked())
    }

    /// Wakes the owner: something has come from the program that the connection belongs to.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.ownership().waker {
            waker.wake_by_ref();
        }
    }

    /// Makes a service the owner of what it has accepted.
    pub(crate) fn belong_to(&self, service: ServiceId, waker: Waker) {
        let mut ownership = self.ownership();
        ownership.service = service;
        ownership.waker = Some(waker);
    }

    /// Asks the owner to look, and wakes it.
    fn ask(&self) {
        if !self.is_asked.swap(true, Ordering::AcqRel)
            && let Some(waker) = &self.ownership().waker
        {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn owner(&self) -> ServiceId {
        self.ownership().service
    }

    /// Whether nobody reads it.
    pub(crate) fn is_silent(&self) -> bool {
        self.ownership().is_silent
    }

    /// What it is to a service.
    pub(crate) fn standing(&self, service: ServiceId) -> SocketStanding {
        let ownership = self.ownership();
        match (ownership.service == service, ownership.is_silent) {
            (true, true) => SocketStanding::Silent,
            (true, false) => SocketStanding::Own,
            (false, _) => SocketStanding::Foreign,
        }
    }

    /// Its owner does not read it: any service may take it.
    pub(crate) fn silence(&self, left: Vec<u8>, is_input_over: bool) {
        let mut ownership = self.ownership();
        ownership.is_silent = true;
        ownership.left = left;
        ownership.is_input_over = is_input_over;
        if let Some(next) = &ownership.next {
            next.waker.wake_by_ref();
        }
    }

    /// Makes a service the owner, or asks the present owner to let go. Of two that ask, the one that has asked last gets it.
    pub(crate) fn claim(&self, service: ServiceId, waker: &Waker, turn: ClaimTurn) -> SocketClaim {
        let descriptor = {
            let sending = self.sending();
            match (sending.phase, &sending.descriptor) {
                (SendPhase::Open, Some(descriptor)) => Some(descriptor.clone()),
                (SendPhase::Open, None) if self.foreign.is_some() => None,
                _ => return SocketClaim::Gone,
            }
        };
        let mut ownership = self.ownership();
        let is_next = (ownership.next.as_ref()).is_some_and(|next| next.service == service);
        if turn == ClaimTurn::Again && !is_next {
            return SocketClaim::Replaced;
        }
        if let Some(next) = ownership.next.take_if(|_| !is_next) {
            next.waker.wake();
        }
        if !ownership.is_silent {
            ownership.next = Some(ServiceTaking {
                service,
                waker: waker.clone(),
            });
            drop(ownership);
            self.ask();
            // Its owner may have ended it before it could see who waits.
            return match self.sending().phase {
                SendPhase::Closed => SocketClaim::Gone,
                _ => SocketClaim::Later,
            };
        }
        ownership.next = None;
        ownership.is_orphan = false;
        let before = ownership.waker.replace(waker.clone());
        if ownership.service != service
            && let Some(before) = before
        {
            // It forgets that it had accepted it.
            before.wake();
        }
        ownership.service = service;
        ownership.is_silent = false;
        // What was written meanwhile waits to be sent.
        self.is_asked.store(true, Ordering::Release);
        SocketClaim::Taken {
            descriptor,
            left: std::mem::take(&mut ownership.left),
            is_input_over: ownership.is_input_over,
        }
    }

    /// A service waits for it no more. True if it is closed now: nobody else has it.
    pub(crate) fn withdraw_claim(&self, service: ServiceId) -> bool {
        {
            let mut ownership = self.ownership();
            let is_withdrawn = (ownership.next)
                .take_if(|next| next.service == service)
                .is_some();
            if !is_withdrawn || !ownership.is_orphan {
                return false;
            }
        }
        self.end();
        true
    }

    fn sending(&self) -> MutexGuard<'_, SocketSending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ownership(&self) -> MutexGuard<'_, Ownership> {
        self.ownership
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl SocketSending {
    fn fail(&mut self, why: String) {
        self.failure = Some(why);
        self.phase = SendPhase::Closed;
        self.queue = SendQueue::default();
    }
}

pub(crate) fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// A stream's peer, or none.
pub(crate) fn peer_of(descriptor: impl AsFd) -> Option<SocketAddr> {
    let peer = rustix::net::getpeername(descriptor).ok()??;
    peer.try_into().ok()
}

/// A socket's own address, or none.
pub(crate) fn local_of(descriptor: impl AsFd) -> Option<SocketAddr> {
    rustix::net::getsockname(descriptor).ok()?.try_into().ok()
}
