//! From a client to a peer that it is joined with: attempts to connect, one after the other.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::cx::Cx;
use crate::ids::{ListenerId, RelayRef, RelayTag, Side};
use crate::memory::{Class, TLS_BYTES};
use crate::notes::Notes;
use crate::own_address::{OpenFault, OwnAddress};
use crate::poller::{Poller, Readiness};
use crate::relay::attempts::{Attempt, Connecting};
use crate::relay::greeting::greet;
use crate::relay::handshake::{HandshakeFault, encrypt_peer, shake_hands};
use crate::relay::peer_handshake::PeerHandshake;
use crate::relay::way::Delivery;
use crate::relay::{Cause, Fault, JoinedPeer, Relay, RelaySide, RelayStage, number};
use crate::tcp;
use crate::timers::Alarm;
use crate::tools::Tools;
use crate::upstreams::{
    Attempts, Choice, Failure, NAMES_MS, NoPeer, Opening, PeerAddress, SharedUpstream,
};
use moorline_config::Listener;
use moorline_protocol::flight::FlightKind;

/// How soon a peer whose backlog is full is asked again, in milliseconds: no event says that it has room.
const ASK_AGAIN_MS: u64 = 5;

/// A relay is looked at once within this time: a round of the wheel, and more.
const LOOKED_AT: Duration = Duration::from_secs(60);

/// How far the attempts have got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The relay is joined with a peer.
    Joined,
    /// One is under way. Its socket or a timer will say more.
    Waits,
    /// No peer can be connected to.
    Nobody(NoPeer),
    /// No peer can be shown the certificate that it must be shown.
    Unready,
}

/// Asks one peer after the other, until one answers, or must be waited for.
pub(crate) fn connect(relay: &mut Relay, poller: &Poller, tools: &mut Tools) -> Reached {
    let key = relay.facts(None, &tools.cx).hash_key(&relay.upstream);
    let mut has_looked_again = false;
    loop {
        let RelayStage::Connecting(connecting) = &mut relay.stage else {
            return Reached::Joined;
        };
        if connecting.present.is_none() {
            let upstream = &relay.upstream;
            let now = tools.cx.clock.ms;
            match choose(upstream, key.as_bytes(), &mut connecting.tried, tools) {
                Ok(choice) => {
                    note_attempt(relay.notes.as_deref_mut(), &choice, now);
                    connecting.begin(choice, &tools.cx.clock);
                }
                Err(NoPeer::Unresolved) if upstream.is_resolving() => {
                    let at = tools.cx.clock.ms + NAMES_MS;
                    let alarm = Alarm::Connect(relay.name);
                    tools.agenda.timers.set(at, alarm);
                    return Reached::Waits;
                }
                // The last answer may have come since the choice.
                Err(NoPeer::Unresolved) if !has_looked_again => {
                    has_looked_again = true;
                    continue;
                }
                Err(why) => return Reached::Nobody(why),
            }
        }
        match ask(relay, poller, tools) {
            Ok(reached) => return reached,
            Err(why) => fail(relay, why, tools),
        }
    }
}

/// A peer for this key.
fn choose(
    upstream: &SharedUpstream,
    key: &[u8],
    tried: &mut Attempts,
    tools: &Tools,
) -> Result<(Choice, Opening), NoPeer> {
    upstream.choose(tools.cx.clock.shared_ms(), key, tried)
}

fn note_attempt(notes: Option<&mut Notes>, (choice, _): &(Choice, Opening), now: u64) {
    if let Some(notes) = notes {
        notes.ask(&choice.address, now);
    }
}

/// Asks the peer of the present attempt.
fn ask(relay: &mut Relay, poller: &Poller, tools: &mut Tools) -> Result<Reached, Failure> {
    let RelayStage::Connecting(connecting) = &relay.stage else {
        return Ok(Reached::Joined);
    };
    let Some(attempt) = &connecting.present else {
        return Ok(Reached::Waits);
    };
    let own = attempt.opening.bind.as_ref().and_then(|bind| {
        let facts = relay.facts(None, &tools.cx);
        OwnAddress::of(bind, &facts, &mut tools.refusals)
    });
    let socket = match open(attempt, own, relay.listener, tools) {
        Ok(socket) => socket,
        Err(fault) => {
            fault.tell(
                (relay.listener, &relay.upstream.name, &attempt.address),
                tools,
            );
            return Err(fault.failure());
        }
    };
    let asked = connect_to(&socket, &attempt.address);
    let deadline = attempt.deadline;
    let is_unix = matches!(attempt.address, PeerAddress::Unix(_));
    if matches!(asked, Ok(()) | Err(Errno::INPROGRESS)) {
        let tag = relay.tag(Side::Upstream);
        poller.watch_relay(tag, socket.as_fd()).map_err(failure)?;
    }
    relay.side_mut(Side::Upstream).socket = Some(socket);
    match asked {
        Ok(()) => match open_up(relay, tools)? {
            Reached::Waits => watch(relay.name, deadline, tools),
            reached => return Ok(reached),
        },
        Err(Errno::INPROGRESS) => watch(relay.name, deadline, tools),
        // Its backlog is full.
        Err(Errno::AGAIN) if is_unix => ask_again_later(relay.name, deadline, tools),
        // No port is left: the peer has no part in it.
        Err(Errno::AGAIN) => return Err(failure(Errno::ADDRNOTAVAIL)),
        Err(error) => return Err(failure(error)),
    }
    Ok(Reached::Waits)
}

fn watch(name: RelayRef, deadline: u64, tools: &mut Tools) {
    tools.agenda.timers.set(deadline, Alarm::Connect(name));
}

fn ask_again_later(name: RelayRef, deadline: u64, tools: &mut Tools) {
    watch(name, deadline.min(tools.cx.clock.ms + ASK_AGAIN_MS), tools);
}

/// A socket for a peer.
fn open(
    attempt: &Attempt,
    own: Option<OwnAddress>,
    listener: ListenerId,
    tools: &mut Tools,
) -> Result<OwnedFd, OpenFault> {
    let family = match attempt.address {
        PeerAddress::Tcp(address) if address.is_ipv4() => AddressFamily::INET,
        PeerAddress::Tcp(_) => AddressFamily::INET6,
        PeerAddress::Unix(_) => AddressFamily::UNIX,
        // It takes no connections.
        PeerAddress::Udp(_) => return Err(Errno::PROTOTYPE.into()),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if socket.as_raw_fd() as u64 >= tools.allowed_descriptors() {
        return Err(Errno::MFILE.into());
    }
    if let PeerAddress::Tcp(address) = &attempt.address {
        sockopt::set_tcp_nodelay(&socket, true)?;
        let listener = tools.cx.listener(listener);
        if is_kept_alive_early(listener) {
            tcp::set_on_new(&socket, &listener.liveness);
        }
        if let Some(own) = own {
            own.put_on(&socket, address)?;
        }
    }
    Ok(socket)
}

/// Whether a connection needs the options of keep-alive from its beginning. Others get them when they are first looked at: most
/// connections are over by then.
fn is_kept_alive_early(listener: &Listener) -> bool {
    let liveness = &listener.liveness;
    listener.idle_timeout.is_none()
        || liveness.user_timeout.is_some_and(|time| time < LOOKED_AT)
        || liveness.keepalive.is_some_and(|idle| idle < LOOKED_AT)
}

/// Gives the connection to a peer the options of keep-alive, if it has none.
pub(crate) fn keep_alive(relay: &mut Relay, cx: &Cx) {
    let RelayStage::Joined(joined) = &mut relay.stage else {
        return;
    };
    if std::mem::replace(&mut joined.is_kept_alive, true) {
        return;
    }
    if let PeerAddress::Tcp(_) = joined.address
        && let Some(socket) = &relay.sides[Side::Upstream as usize].socket
    {
        tcp::set_on_new(socket, &cx.listener(relay.listener).liveness);
    }
}

fn connect_to(socket: &OwnedFd, address: &PeerAddress) -> Result<(), Errno> {
    match address {
        PeerAddress::Tcp(address) => rustix::net::connect(socket, address),
        PeerAddress::Unix(path) => rustix::net::connect(socket, &unix_address(path)?),
        PeerAddress::Udp(_) => Err(Errno::PROTOTYPE),
    }
}

/// The address of a Unix socket. That of an abstract one begins with a NUL byte.
fn unix_address(path: &Path) -> Result<SocketAddrUnix, Errno> {
    let bytes = path.as_os_str().as_bytes();
    match bytes.strip_prefix(&[0]) {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(bytes),
    }
}

/// The socket of the present attempt is connected: what goes before the client's bytes is sent, hands are shaken, and then the
/// relay is joined.
fn open_up(relay: &mut Relay, tools: &mut Tools) -> Result<Reached, Failure> {
    if greet(relay).map_err(failure)? == Delivery::Part {
        return Ok(Reached::Waits);
    }
    let plaintext = match shake_hands(relay, tools) {
        Ok(Some(plaintext)) => plaintext,
        Ok(None) => return Ok(Reached::Waits),
        Err(fault) => {
            tell_of(&fault, relay, tools);
            return match fault {
                HandshakeFault::NoCertificate(_) => Ok(Reached::Unready),
                fault => Err(fault.failure()),
            };
        }
    };
    let handshake = join(relay, tools);
    // The keys are new: what cannot be encrypted breaks the relay when it goes on.
    if let Err(fault) = encrypt_peer(relay, handshake, &plaintext, tools) {
        tracing::debug!(relay = relay.name.serial, %fault, "tls failed");
    }
    Ok(Reached::Joined)
}

/// An attempt is over: its timer would only be in the way.
pub(crate) fn forget_deadline(name: RelayRef, attempt: &Attempt, tools: &mut Tools) {
    let timers = &mut tools.agenda.timers;
    timers.cancel(attempt.deadline, Alarm::Connect(name));
}

/// The handshake with the peer of the present attempt has failed: the log says why, once a second.
fn tell_of(fault: &HandshakeFault, relay: &Relay, tools: &mut Tools) {
    let Tools { cx, refusals, .. } = tools;
    if let RelayStage::Connecting(connecting) = &relay.stage
        && let Some(attempt) = &connecting.present
        && let Some(unlogged) = refusals.tells(relay.listener, cx.clock.ms)
    {
        tracing::warn!(
            listener = %cx.listener(relay.listener).name, upstream = %relay.upstream.name, peer = %attempt.address, error = %fault,
            unlogged, "tls handshake with a peer failed"
        );
    }
}

/// The peer of the present attempt is ready for the client's bytes. Returns the handshake with it.
fn join(relay: &mut Relay, tools: &mut Tools) -> Option<Box<PeerHandshake>> {
    let RelayStage::Connecting(connecting) = &mut relay.stage else {
        return None;
    };
    let attempt = connecting.present.take()?;
    let now = tools.cx.clock.ms;
    forget_deadline(relay.name, &attempt, tools);
    let took = tools.cx.clock.since(attempt.begun_at);
    let shared = tools.cx.clock.shared_ms();
    let peer = (attempt.peer, &attempt.address);
    let mut awaits_first_byte = relay.upstream.connected(peer, shared, took);
    if let Some(notes) = &mut relay.notes {
        notes.note_connected(now);
        awaits_first_byte |= notes.attempts.is_some();
    }
    let attempts = connecting.made();
    let detail = u16::try_from(attempts).unwrap_or(u16::MAX);
    record(
        relay.name,
        (FlightKind::PeerJoined, detail),
        took,
        &tools.cx,
    );
    let tried = Box::new(Attempts::new(0));
    let retry = Some(std::mem::replace(&mut connecting.tried, tried));
    relay.stage = RelayStage::Joined(JoinedPeer {
        peer: attempt.peer,
        address: attempt.address,
        since: tools.cx.clock.precise_ns(),
        attempts,
        broken: None,
        awaits_first_byte,
        is_kept_alive: is_kept_alive_early(tools.cx.listener(relay.listener)),
        retry,
    });
    // The socket reports what comes, also what came while it connected.
    relay.meters.active_at = now;
    attempt.handshake
}

/// Notes the end of an attempt for the flight recorder.
fn record(name: RelayRef, (kind, detail): (FlightKind, u16), took: Duration, cx: &Cx) {
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    cx.flight.note(kind, detail, number(name.serial, cx), took);
}

/// The present attempt has failed.
fn fail(relay: &mut Relay, why: Failure, tools: &mut Tools) {
    *relay.side_mut(Side::Upstream) = RelaySide::default();
    let RelayStage::Connecting(connecting) = &mut relay.stage else {
        return;
    };
    let Some(attempt) = connecting.present.take() else {
        return;
    };
    forget_deadline(relay.name, &attempt, tools);
    let took = tools.cx.clock.since(attempt.begun_at);
    if let Some(notes) = &mut relay.notes {
        notes.note_end(tools.cx.clock.ms);
    }
    tracing::debug!(
        relay = relay.name.serial, upstream = %relay.upstream.name, peer = %attempt.address, error = %why, ?took,
        "attempt to connect failed"
    );
    let errno = match why {
        Failure::TimedOut => Errno::TIMEDOUT.raw_os_error(),
        Failure::System(number) | Failure::Local(number) => number,
        _ => 0,
    };
    let detail = u16::try_from(errno).unwrap_or(0);
    record(
        relay.name,
        (FlightKind::PeerFailed, detail),
        took,
        &tools.cx,
    );
    if is_local(why) {
        relay.upstream.abandoned(attempt.peer);
        return;
    }
    let shared = tools.cx.clock.shared_ms();
    let peer = (attempt.peer, &attempt.address);
    relay.upstream.failed(peer, shared, why, took);
}

/// Whether a failure is this machine's, and says nothing of the peer: no descriptor, no watch, no memory, no port is left.
pub(crate) fn is_local(why: Failure) -> bool {
    let local = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOSPC,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::ADDRNOTAVAIL,
        Errno::ADDRINUSE,
    ];
    match why {
        Failure::Local(_) => true,
        Failure::System(number) => local.iter().any(|it| it.raw_os_error() == number),
        _ => false,
    }
}

/// The same, as health counts it.
fn failure(error: Errno) -> Failure {
    match error {
        Errno::TIMEDOUT => Failure::TimedOut,
        error => Failure::System(error.raw_os_error()),
    }
}

/// Something has happened to the socket of the present attempt.
pub(crate) fn hear(
    relay: &mut Relay,
    readiness: Readiness,
    poller: &Poller,
    tools: &mut Tools,
) -> Reached {
    let Some(socket) = &relay.side(Side::Upstream).socket else {
        return Reached::Waits;
    };
    // The event is of this socket, if its tag tells it from all others, and says all.
    let is_certain = RelayTag::tells_attempt(relay.attempts());
    let is_connected = is_certain && readiness.is_writable() && !readiness.is_broken();
    let outcome = match is_connected {
        true => Ok(true),
        false => outcome(socket),
    };
    let reached = match outcome.map_err(failure) {
        Ok(true) => open_up(relay, tools),
        Ok(false) => Ok(Reached::Waits),
        Err(why) => Err(why),
    };
    go_on_after(reached, relay, poller, tools)
}

/// Whether a socket is connected by now. The event may be one of an earlier socket of the same relay.
fn outcome(socket: &OwnedFd) -> Result<bool, Errno> {
    sockopt::socket_error(socket)??;
    match rustix::net::getpeername(socket) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The timer of an attempt has come: of the present one, or of an earlier one.
pub(crate) fn look(relay: &mut Relay, poller: &Poller, tools: &mut Tools) -> Reached {
    let RelayStage::Connecting(connecting) = &relay.stage else {
        return Reached::Waits;
    };
    let Some(attempt) = &connecting.present else {
        // It waits for names.
        return connect(relay, poller, tools);
    };
    let is_over = attempt.deadline <= tools.cx.clock.ms;
    if is_over && attempt.awaits_certificate {
        // The peer has no part in it.
        let fault = HandshakeFault::NoCertificate("its file is not read yet".into());
        tell_of(&fault, relay, tools);
        return Reached::Unready;
    }
    if is_over {
        fail(relay, Failure::TimedOut, tools);
        return connect(relay, poller, tools);
    }
    if attempt.awaits_certificate {
        return ask_for_certificate(relay, poller, tools);
    }
    match attempt.address {
        // One that is connected is not asked again.
        PeerAddress::Unix(_) if attempt.greeting.is_none() && attempt.handshake.is_none() => {
            connect(relay, poller, tools)
        }
        _ => Reached::Waits,
    }
}

/// The certificate for the peer of the present attempt may have been read.
fn ask_for_certificate(relay: &mut Relay, poller: &Poller, tools: &mut Tools) -> Reached {
    if let RelayStage::Connecting(connecting) = &mut relay.stage
        && let Some(attempt) = &mut connecting.present
    {
        attempt.awaits_certificate = false;
    }
    go_on_after(open_up(relay, tools), relay, poller, tools)
}

/// Goes on after a step of the present attempt: with the next one, if it has failed.
fn go_on_after(
    reached: Result<Reached, Failure>,
    relay: &mut Relay,
    poller: &Poller,
    tools: &mut Tools,
) -> Reached {
    reached.unwrap_or_else(|why| {
        fail(relay, why, tools);
        connect(relay, poller, tools)
    })
}

/// The peer has gone before anything has passed: another one is asked, as if this one had never been connected. False: no
/// other one can be.
pub(crate) fn ask_another(relay: &mut Relay, fault: Fault, tools: &mut Tools) -> bool {
    let may_ask = match (fault.side, fault.cause) {
        (Side::Client, _) => false,
        (Side::Upstream, Cause::TakenOut) => relay.is_untouched(),
        (Side::Upstream, _) => relay.may_retry(tools.cx.clock.ns),
    };
    if !may_ask {
        return false;
    }
    let key = relay.facts(None, &tools.cx).hash_key(&relay.upstream);
    let RelayStage::Joined(joined) = &mut relay.stage else {
        return false;
    };
    let Some(mut tried) = joined.retry.take() else {
        return false;
    };
    if fault.cause == Cause::TakenOut {
        // Its client may have waited for longer than attempts may take.
        tried.renew(tools.cx.clock.shared_ms());
    }
    let Ok(choice) = choose(&relay.upstream, key.as_bytes(), &mut tried, tools) else {
        joined.retry = Some(tried);
        return false;
    };
    if let Some(notes) = &mut relay.notes {
        notes.note_end(tools.cx.clock.ms);
    }
    note_attempt(relay.notes.as_deref_mut(), &choice, tools.cx.clock.ms);
    let shared = tools.cx.clock.shared_ms();
    let why = match fault.cause {
        Cause::Error(error) => Some(failure(error)),
        Cause::EndedAtOnce => Some(Failure::Closed),
        // Its checks have counted that.
        Cause::TakenOut => None,
    };
    let took = tools.cx.clock.since(joined.since);
    let peer = (joined.peer, &joined.address);
    match why {
        Some(why) => relay.upstream.failed(peer, shared, why, took),
        None => relay.upstream.abandoned(joined.peer),
    }
    let mut connecting = Connecting {
        tried,
        present: None,
    };
    connecting.begin(choice, &tools.cx.clock);
    relay.stage = RelayStage::Connecting(Box::new(connecting));
    let side = std::mem::take(relay.side_mut(Side::Upstream));
    if let Some(tls) = side.tls {
        tools.memory.release(Class::Received, tls.unfinished());
        tools.memory.release(Class::Tls, TLS_BYTES);
    }
    true
}
