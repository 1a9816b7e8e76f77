//! One epoll set: sockets, the loop's doorbell and the processes' chimes, edge-triggered, and listeners, level-triggered.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use moorline_ipc::{Chime, Doorbell};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::ids::{
    ListenerId, ProcessKey, RelayKey, RelayTag, SessionKey, SessionRef, Side, UdpRelayKey,
    UdpRelayRef,
};

/// The mark of a listener among the tokens of events; its id is beside it.
const LISTENER: u64 = u64::MAX << 32;
/// The token of the loop's doorbell: no session has that place.
const DOORBELL: u64 = (u64::MAX - 1) << 32;
/// The mark of a process's chime; its place in the loop's list is beside it.
const CHIME: u64 = (u64::MAX - 2) << 32;

/// The mark of a relay's socket: the highest bit, without the next one, which all other marks have. Its place is beside it,
/// and in the lower half its side and its mark.
const RELAY: u64 = 1 << 63;
/// The two highest bits of a token say whether it is one of a session (0 or 1), of a relay, or a mark. A mark that is none of the
/// three above is one of a relay of datagrams: its place is in the rest of the upper half, the lower part of its serial in the other.
const KIND: u32 = 62;
const OF_RELAY: u64 = RELAY >> KIND;
const MARKED: u64 = 3;
/// The side of a relay among the lower half.
const SIDE: u64 = 1 << 31;
/// The place of a relay of datagrams among the upper half: fewer than what the marks have there.
const UDP_PLACE: u64 = (1 << 30) - 1;

/// What is waited for on a session's socket. Few sessions ever have output that their socket does not take at once.
const INPUT: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);

/// What a loop waits on.
pub(crate) struct Poller {
    epoll: OwnedFd,
    /// What wakes the loop for commands: it stays registered as long as it is open.
    _doorbell: Arc<Doorbell>,
    events: Vec<epoll::Event>,
}

/// What is waited for on a connection, edge-triggered.
const BOTH_WAYS: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::PRI)
    .union(epoll::EventFlags::OUT)
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);

/// What an event is about.
pub(crate) enum Source {
    Listener(ListenerId),
    Process(ProcessKey),
    /// There are commands.
    Doorbell,
    /// A side of a relay.
    Relay(RelayTag),
    /// The peer of a relay of datagrams in this place, if this is the lower half of its serial.
    UdpRelay(UdpRelayKey, u32),
    /// A session in this place, if these are the lower half of its id: an event may be older than the session there.
    Session(SessionKey, u32),
}

/// What has happened to a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readiness(epoll::EventFlags);

impl Readiness {
    /// That of a connection which has failed.
    #[cfg(test)]
    pub(crate) const FAILED: Self = Self(epoll::EventFlags::ERR.union(epoll::EventFlags::IN));

    /// The peer has hung up, for reading at least.
    pub(crate) fn is_hung_up(self) -> bool {
        let over = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        self.0.intersects(over)
    }

    /// The connection has failed.
    pub(crate) fn has_failed(self) -> bool {
        self.0.contains(epoll::EventFlags::ERR)
    }

    /// The connection is broken.
    pub(crate) fn is_broken(self) -> bool {
        let broken = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        self.0.intersects(broken)
    }

    /// There is urgent data.
    pub(crate) fn is_urgent(self) -> bool {
        self.0.contains(epoll::EventFlags::PRI)
    }

    pub(crate) fn is_readable(self) -> bool {
        self.is_hung_up() || self.0.contains(epoll::EventFlags::IN)
    }

    pub(crate) fn is_writable(self) -> bool {
        self.0.contains(epoll::EventFlags::OUT)
    }
}

impl Poller {
    /// Events taken from the kernel at once.
    pub(crate) const MOST: usize = 512;

    pub(crate) fn new(doorbell: Arc<Doorbell>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let token = epoll::EventData::new_u64(DOORBELL);
        epoll::add(&epoll, &*doorbell, token, Chime::EDGE)?;
        Ok(Self {
            epoll,
            _doorbell: doorbell,
            events: Vec::with_capacity(Self::MOST),
        })
    }

    /// Fetches the events that come until this time has passed.
    pub(crate) fn fetch(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many events were fetched and not taken.
    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    /// What the event in this place of the list is about, and what has happened.
    pub(crate) fn event(&self, at: usize) -> (Source, Readiness) {
        let event = self.events[at];
        let token = event.data.u64();
        let source = match token >> KIND {
            MARKED => match token & LISTENER {
                LISTENER => Source::Listener(ListenerId(token as u16)),
                CHIME => Source::Process(ProcessKey(token as u16)),
                DOORBELL => Source::Doorbell,
                place => {
                    let key = UdpRelayKey((place >> 32 & UDP_PLACE) as u32);
                    Source::UdpRelay(key, token as u32)
                }
            },
            OF_RELAY => {
                let key = RelayKey(((token & !RELAY) >> 32) as u32);
                let side = match token & SIDE {
                    0 => Side::Client,
                    _ => Side::Upstream,
                };
                let mark = token as u32 & RelayTag::MARK;
                Source::Relay(RelayTag { key, side, mark })
            }
            _ => Source::Session(SessionKey((token >> 32) as u32), token as u32),
        };
        (source, Readiness(event.flags))
    }

    /// Forgets the events that were fetched.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
    }

    /// Registers a session's socket, for what comes in. What has come in already is reported, too.
    pub(crate) fn watch_session(&self, name: SessionRef, socket: BorrowedFd<'_>) -> io::Result<()> {
        epoll::add(&self.epoll, socket, session_token(name), INPUT)?;
        Ok(())
    }

    /// Waits also for room in a session's socket, from now on. Room that is there already is reported, too.
    pub(crate) fn watch_output(&self, name: SessionRef, socket: BorrowedFd<'_>) -> io::Result<()> {
        let both = INPUT | epoll::EventFlags::OUT;
        epoll::modify(&self.epoll, socket, session_token(name), both)?;
        Ok(())
    }

    /// Registers the socket of one side of a relay. It stays registered until it is closed.
    pub(crate) fn watch_relay(&self, tag: RelayTag, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut token = RELAY | u64::from(tag.key.0) << 32 | u64::from(tag.mark);
        if tag.side == Side::Upstream {
            token |= SIDE;
        }
        let token = epoll::EventData::new_u64(token);
        epoll::add(&self.epoll, socket, token, BOTH_WAYS)
    }

    /// Registers the socket of a relay of datagrams for what its peer sends. It is reported until it is taken, so that nothing must
    /// be asked whether more has come.
    pub(crate) fn watch_udp_relay(
        &self,
        name: UdpRelayRef,
        socket: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        let place = MARKED << KIND | u64::from(name.key.0) << 32;
        let token = epoll::EventData::new_u64(place | u64::from(name.serial as u32));
        epoll::add(&self.epoll, socket, token, epoll::EventFlags::IN)
    }

    /// Waits on a connection's socket no more: another thread has it from now on.
    pub(crate) fn ignore_session(&self, socket: &OwnedFd) {
        // An error means that it was not in the set.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits for what comes in on a listener's socket. What waits there is reported until it is taken.
    pub(crate) fn watch_listener(
        &self,
        listener: ListenerId,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        epoll::add(
            &self.epoll,
            socket,
            listener_token(listener),
            epoll::EventFlags::IN,
        )?;
        Ok(())
    }

    /// Does not report what waits on a listener's socket, until [`hear_listener`](Self::hear_listener).
    pub(crate) fn mute_listener(&self, listener: ListenerId, socket: BorrowedFd<'_>) {
        // An error means that it is not in the set.
        let nothing = epoll::EventFlags::empty();
        let _ = epoll::modify(&self.epoll, socket, listener_token(listener), nothing);
    }

    /// Reports what waits on a listener's socket again.
    pub(crate) fn hear_listener(&self, listener: ListenerId, socket: BorrowedFd<'_>) {
        // An error means that it is not in the set.
        let input = epoll::EventFlags::IN;
        let _ = epoll::modify(&self.epoll, socket, listener_token(listener), input);
    }

    /// Waits on a listener's socket no more. Others may have the socket too, and what is not taken out of the set would go
    /// on being reported.
    pub(crate) fn ignore_listener(&self, socket: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Hears a process from now on.
    pub(crate) fn watch_process(&self, process: ProcessKey, chime: &Chime) -> io::Result<()> {
        let token = epoll::EventData::new_u64(CHIME | u64::from(process.0));
        epoll::add(&self.epoll, chime, token, Chime::EDGE)?;
        Ok(())
    }

    /// Hears a process no more. A child of it may still hold its doorbell, and what is not taken out of the set would go on
    /// being reported.
    pub(crate) fn ignore_process(&self, chime: &Chime) {
        // An error means that it was not in the set.
        let _ = epoll::delete(&self.epoll, chime);
    }
}

fn session_token(name: SessionRef) -> epoll::EventData {
    epoll::EventData::new_u64(u64::from(name.key.0) << 32 | u64::from(name.id as u32))
}

fn listener_token(listener: ListenerId) -> epoll::EventData {
    epoll::EventData::new_u64(LISTENER | u64::from(listener.0))
}
