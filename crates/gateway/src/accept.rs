//! How connections come in: accepted by loop 0, handed to the least loaded loop, opened as sessions.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use moorline_net::Decoder;
use moorline_net::tls::TlsRecords;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::arrival::Arrival;
use crate::commands::{Command, Report};
use crate::cx::{Cx, unix_ms};
use crate::ending::{Onward, act};
use crate::entry::{
    EntryRefusal, EntryRefused, is_allowed, log_refusal, note_denied, note_tickets, report_refused,
    take_tickets,
};
use crate::event_loop::Loop;
use crate::event_loop::acceptor::Acceptor;
use crate::features::datagrams;
use crate::forwarded::trusts;
use crate::ids::{ListenerId, SessionKey, SessionRef, SlotId};
use crate::input::hello::watch_hello;
use crate::input::request::give_up_asking;
use crate::memory::{Class, TLS_BYTES};
use crate::processes::dispatch::home;
use crate::session::app::App;
use crate::session::link::{Interest, Link};
use crate::session::stay::Placement;
use crate::session::{
    Cut, End, Farewell, Input, Kind, Listed, Meters, Output, Phase, Session, Timer, Transport,
};
use crate::shared::admission::Counted;
use crate::timeouts::{watch_handshake, watch_idle, watch_turned_away};
use crate::tools::Tools;
use moorline_config::{AnnouncedConnections, Listener};
use moorline_process::open_files;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::{CloseReason, Peer};

/// How long accepting pauses while too many handshakes wait: some of them are over then.
const HANDSHAKES_PAUSE: Duration = Duration::from_millis(1);
/// How long accepting pauses when descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Loop {
    /// Something came in on a listener.
    pub(crate) fn listener_is_ready(&mut self, listener: ListenerId) {
        let (acceptor, tools) = (&self.acceptor, &mut self.tools);
        if tools.agenda.timers.pauses(listener) {
            return;
        }
        if acceptor.gate.is_stopped(listener) {
            self.mute_if_paused(listener);
            return;
        }
        match acceptor.sockets.datagrams(listener) {
            None => self.accept(listener),
            Some(_) if tools.cx.listener(listener).is_relay() => self.relay_datagrams(listener),
            Some(_) => datagrams::receive(listener, &acceptor.sockets, tools),
        }
        self.mute_if_paused(listener);
    }

    /// A pause is over.
    pub(crate) fn resume_accepting(&mut self, listener: ListenerId) {
        self.tools.agenda.timers.resume(listener);
        if let Some(socket) = self.acceptor.sockets.waited_for(listener) {
            self.poller.hear_listener(listener, socket);
        }
        self.listener_is_ready(listener);
    }

    /// What waits is reported until it is taken: not while nobody takes it.
    pub(crate) fn mute_if_paused(&self, listener: ListenerId) {
        let is_stopped = self.acceptor.gate.is_stopped(listener);
        if (is_stopped || self.tools.agenda.timers.pauses(listener))
            && let Some(socket) = self.acceptor.sockets.waited_for(listener)
        {
            self.poller.mute_listener(listener, socket);
        }
    }

    /// From now on these listeners, and no others, leave new connections in the kernel's queue.
    pub(crate) fn stop_accepting(&mut self, listeners: Vec<ListenerId>) {
        let before = self.acceptor.gate.stop(listeners);
        for listener in (0..)
            .map(ListenerId)
            .take(self.tools.cx.config.listeners.len())
        {
            match self.acceptor.gate.is_stopped(listener) {
                true => self.mute_if_paused(listener),
                false if before.contains(&listener) => self.resume_accepting(listener),
                false => {}
            }
        }
    }

    /// Accepts some of those that wait.
    fn accept(&mut self, listener: ListenerId) {
        for _ in 0..self.acceptor.gate.burst(listener) {
            let tools = &mut self.tools;
            let now = tools.cx.clock.ms;
            let Acceptor { sockets, gate, .. } = &mut self.acceptor;
            let Some(socket) = sockets.stream(listener) else {
                return;
            };
            if let Some(again) = gate.waits_until(listener, now) {
                // Those that wait do so in the kernel's backlog. The gateway does not see more of them than this.
                tools.cx.count_limit(Limit::AcceptRate);
                tools.agenda.timers.accept_again(again, listener);
                return;
            }
            let most = u64::from(tools.cx.listener(listener).max_handshakes);
            if tools.cx.shared.admissions[listener.index()].waiting() >= most {
                tools.cx.count_limit(Limit::Handshakes);
                let again = now + HANDSHAKES_PAUSE.as_millis() as u64;
                tools.agenda.timers.accept_again(again, listener);
                return;
            }
            let descriptors = tools.allowed_descriptors();
            if gate.is_shut(|| open_files::lowest_free(socket) < descriptors) {
                self.pause_accepting(listener, &"no descriptor is left for connections");
                return;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(socket, flags) {
                Ok((connection, address)) => {
                    let peer = address
                        .and_then(|address| SocketAddr::try_from(address).ok())
                        .map_or(Peer::Unix, Peer::Ip);
                    // The rest is kept for new processes: without their descriptors the gateway could not serve on.
                    let is_last = connection.as_raw_fd() as u64 >= descriptors;
                    gate.spend(listener);
                    tools.cx.note_paused(listener, false);
                    self.assign(connection, listener, peer);
                    if is_last {
                        self.acceptor.gate.shut();
                        self.pause_accepting(listener, &"no descriptor is left for connections");
                        return;
                    }
                }
                Err(Errno::AGAIN) => {
                    gate.has_emptied(listener);
                    tools.cx.note_paused(listener, false);
                    if let Some(paused_ms) = gate.resume(now) {
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
        self.acceptor.gate.may_have_more(listener);
    }

    /// Descriptors or memory have run out. The warning is logged once, until all waiting connections have been
    /// accepted.
    fn pause_accepting(&mut self, listener: ListenerId, error: &dyn fmt::Display) {
        let Tools { cx, agenda, .. } = &mut self.tools;
        let now = cx.clock.ms;
        if self.acceptor.gate.pause(now) {
            tracing::warn!(
                listener = %cx.listener(listener).name, %error, connections = cx.shared.connections(),
                "accepting pauses until there are descriptors again: raise the limit (ulimit -n) or lower max_sessions"
            );
            cx.count_limit(Limit::Descriptors);
        }
        cx.note_paused(listener, true);
        let again = now + ACCEPT_PAUSE.as_millis() as u64;
        agenda.timers.accept_again(again, listener);
    }

    /// Gives a connection to the least loaded loop.
    fn assign(&mut self, socket: OwnedFd, listener: ListenerId, peer: Peer) {
        let cx = &self.tools.cx;
        let settings = cx.listener(listener);
        let proxies = &settings.proxies;
        let is_of_proxy = trusts(proxies, &peer);
        let is_announced = match proxies.announced {
            AnnouncedConnections::None => false,
            AnnouncedConnections::OnlyTrusted if !is_of_proxy => {
                self.refuse_untrusted(listener, &peer, &socket);
                return;
            }
            AnnouncedConnections::OnlyTrusted | AnnouncedConnections::All => true,
            AnnouncedConnections::Trusted => is_of_proxy,
        };
        if !is_announced && !is_allowed(settings, &peer) {
            let newcomer = self
                .relays
                .newcomer((listener, &peer), &socket, &self.tools.cx);
            note_denied(&newcomer, &mut self.tools);
            return;
        }
        let counted = match is_announced || (settings.is_http() && is_of_proxy) {
            true => Counted::ForProxy,
            false => Counted::ADMITTED,
        };
        let counted = match cx.shared.admissions[listener.index()].admit(&peer, counted) {
            Ok(counted) => counted,
            Err(limit) => {
                self.refuse_connection(socket, listener, peer, limit);
                return;
            }
        };
        let least = cx.shared.least_loaded();
        if least == usize::from(cx.index) {
            self.open_new(socket, listener, peer, counted);
        } else {
            cx.shared.admissions[listener.index()].wait();
            cx.peers[least].send(Command::Accepted {
                socket,
                listener,
                peer,
                counted,
            });
        }
    }

    /// A connection does not come from a proxy that is believed, and the listener serves no others.
    fn refuse_untrusted(&mut self, listener: ListenerId, peer: &Peer, socket: &OwnedFd) {
        let newcomer = self
            .relays
            .newcomer((listener, peer), socket, &self.tools.cx);
        log_refusal(&newcomer, EntryRefusal::DENIED, &self.tools.cx);
        let Tools { cx, refusals, .. } = &mut self.tools;
        if let Some(unlogged) = refusals.tells(listener, cx.clock.ms) {
            tracing::warn!(
                listener = %cx.listener(listener).name, %peer, reason = %CloseReason::Handshake, unlogged,
                "connection refused: its peer is none of `trusted_proxies`, and `proxy_protocol` is on"
            );
        }
        cx.count_closed(CloseReason::Handshake);
    }

    /// This limit leaves no room for a connection. A client of HTTP without TLS is told, if not too many are.
    fn refuse_connection(
        &mut self,
        socket: OwnedFd,
        listener: ListenerId,
        peer: Peer,
        limit: Limit,
    ) {
        let newcomer = self
            .relays
            .newcomer((listener, &peer), &socket, &self.tools.cx);
        log_refusal(&newcomer, EntryRefusal::LIMITED, &self.tools.cx);
        let Tools { cx, refusals, .. } = &mut self.tools;
        let settings = cx.listener(listener);
        if let Some(unlogged) = refusals.tells(listener, cx.clock.ms) {
            tracing::warn!(
                listener = %settings.name, %peer, reason = %CloseReason::Limit, unlogged,
                "connection refused: {} is reached", limit.as_str()
            );
        }
        cx.count_closed(CloseReason::Limit);
        cx.count_limit(limit);
        report_refused((listener, &peer, limit), refusals, cx);
        let is_told = settings.is_http() && settings.tls.is_none() && !cx.is_stopping();
        if is_told && cx.shared.admissions[listener.index()].turn_away() {
            let arrival = Arrival {
                counted: Counted::TurnedAway,
                ..Arrival::default()
            };
            let phase = Phase::TurnedAway(limit);
            self.begin(socket, (listener, peer), phase, arrival);
        }
    }

    /// Makes a session of a connection that was just accepted.
    pub(crate) fn open_new(
        &mut self,
        socket: OwnedFd,
        listener: ListenerId,
        peer: Peer,
        counted: Counted,
    ) {
        let mut arrival = Arrival {
            counted,
            ..Arrival::default()
        };
        let cx = &self.tools.cx;
        let Ok(is_announced) = is_announced(cx.listener(listener), &peer, counted) else {
            tracing::info!(
                listener = %cx.listener(listener).name, %peer, reason = %CloseReason::Handshake,
                "connection closed: it was accepted before `proxy_protocol` was on"
            );
            cx.count_closed(CloseReason::Handshake);
            cx.shared.release(listener, &peer, counted);
            return;
        };
        if !is_announced {
            let newcomer = self
                .relays
                .newcomer((listener, &peer), &socket, &self.tools.cx);
            match take_tickets(&newcomer, &mut self.tools) {
                Ok(tickets) => note_tickets(&mut arrival.notes, tickets),
                Err(EntryRefused) => {
                    self.tools.cx.shared.release(listener, &peer, counted);
                    return;
                }
            }
        }
        let Some((phase, arrival)) = self.prepare(listener, &peer, arrival) else {
            return;
        };
        match phase {
            _ if is_announced => {
                self.begin(socket, (listener, peer), Phase::Announced, arrival);
            }
            // Without a stay in the table of sessions.
            Phase::Relayed => {
                self.begin_relay(socket, (listener, peer), arrival);
            }
            phase => self.begin(socket, (listener, peer), phase, arrival),
        }
    }

    /// Makes a session of a connection that has got somewhere.
    pub(crate) fn open(
        &mut self,
        socket: OwnedFd,
        listener: ListenerId,
        peer: Peer,
        arrival: Arrival,
    ) {
        if let Some((phase, arrival)) = self.prepare(listener, &peer, arrival) {
            self.begin(socket, (listener, peer), phase, arrival);
        }
    }

    /// Where a connection begins, and its bytes so far. `None`: it was given up.
    fn prepare(
        &self,
        listener: ListenerId,
        peer: &Peer,
        arrival: Arrival,
    ) -> Option<(Phase, Arrival)> {
        let cx = &self.tools.cx;
        let counted = arrival.counted;
        // Loops do not switch at the same time: it may have been accepted while there still were workers.
        let is_unserved = cx.has_no_workers() && cx.listener(listener).needs_app();
        let prepared = match cx.is_stopping() || is_unserved {
            false => prepare(listener, arrival, cx),
            true => None,
        };
        if prepared.is_none() {
            cx.shared.release(listener, peer, counted);
        }
        prepared
    }

    /// A connection is in the table from now on, in this phase.
    fn begin(
        &mut self,
        socket: OwnedFd,
        (listener, peer): (ListenerId, Peer),
        phase: Phase,
        mut arrival: Arrival,
    ) {
        let tools = &mut self.tools;
        tools.welcome(&mut arrival, (listener, &peer));
        let Arrival {
            received,
            tls,
            unsent,
            counted,
            notes,
        } = arrival;
        let slot = first_slot(listener, &peer, tools);
        tools.processes[slot].enter(&tools.cx.shared.slots[slot.index()]);
        tools.memory.hold(Class::Received, received.len());
        let now = tools.cx.clock.ms;
        // What a new connection has sent already is reported with the next events.
        let was_read = !received.is_empty() || (tls.is_some() && phase != Phase::Handshake);
        let session = self.sessions.insert(|name| {
            let mut session = new_session(name, listener, peer, slot, now);
            session.input.readable = was_read;
            session.phase = phase;
            session.counted = counted;
            session.transport.tls = tls;
            session.notes = notes;
            session.take_received(received);
            session
        });
        let key = session.key;
        tools.cx.enters(listener);
        if let Err(error) = self.poller.watch_session(session.name(), socket.as_fd()) {
            tracing::warn!(%error, "cannot watch a new connection");
            let end = End::Now(CloseReason::Limit);
            act(session, end, &mut self.groups, tools);
            return;
        }
        session.transport.socket = Some(socket);
        if tools.cx.begins_at_once(listener) {
            tools.cx.note_begun(listener, slot, session.id);
        }
        if !unsent.is_empty() {
            // The kernel did not take all of it; the socket reports when it takes more.
            let queue = session.output.queue.get_or_insert_default();
            queue.push_sealed(&unsent);
            tools.memory.hold(Class::Queued, unsent.len());
            tools.agenda.await_room(session);
        }
        match phase {
            Phase::Announced | Phase::Handshake | Phase::Request => {
                watch_handshake(session, tools);
            }
            Phase::Preread => watch_hello(session, tools),
            Phase::TurnedAway(_) => watch_turned_away(session, tools),
            _ => watch_idle(session, tools),
        }
        self.service(key);
    }

    /// Lets go of a connection that has become no session.
    pub(crate) fn let_on(&mut self, key: SessionKey, onward: Onward) {
        let Some(mut session) = self.sessions.remove(key) else {
            return;
        };
        give_up_asking(&mut session, &mut self.tools);
        let Tools {
            cx,
            memory,
            processes,
            ..
        } = &mut self.tools;
        cx.leaves(session.listener);
        let slot = session.placement.slot;
        processes[slot].leave(&cx.shared.slots[slot.index()]);
        memory.release(Class::Received, session.received());
        let tls = session.transport.tls.take();
        if tls.is_some() {
            memory.release(Class::Tls, TLS_BYTES);
        }
        let queue = session.output.queue.take();
        let unsent = queue.map_or_else(Vec::new, |queue| queue.sealed().to_vec());
        memory.release(Class::Queued, unsent.len());
        let (listener, peer, counted) = (session.listener, session.peer, session.counted);
        match session.transport.socket {
            Some(socket) if onward != Onward::Closed => {
                self.poller.ignore_session(&socket);
                let received = session.input.tail;
                let arrival = Arrival {
                    received,
                    tls,
                    unsent,
                    counted,
                    notes: session.notes.take(),
                };
                if onward == Onward::Relay {
                    let name = self.begin_relay(socket, (listener, peer), arrival);
                    if let (Some(name), Some(drain)) = (name, &mut self.drain) {
                        drain.follow((session.id, listener), name);
                    }
                    return;
                }
                cx.report(Report::Http {
                    socket,
                    listener,
                    peer,
                    arrival,
                });
            }
            _ => cx.shared.release(listener, &peer, counted),
        }
    }
}

/// A connection was accepted by rules that hold no more, and cannot go on by the new ones.
struct Outdated;

/// Whether the header of the PROXY protocol begins a connection. The loops do not switch at the same time: it may have been
/// accepted by an earlier configuration.
fn is_announced(settings: &Listener, peer: &Peer, counted: Counted) -> Result<bool, Outdated> {
    let is_for_proxy = counted == Counted::ForProxy;
    match settings.proxies.announced {
        AnnouncedConnections::All if is_for_proxy => Ok(true),
        AnnouncedConnections::OnlyTrusted if is_for_proxy && trusts(&settings.proxies, peer) => {
            Ok(true)
        }
        AnnouncedConnections::All | AnnouncedConnections::OnlyTrusted => Err(Outdated),
        AnnouncedConnections::Trusted => Ok(is_for_proxy),
        // Without HTTP only that header is a reason to wait for the client's address.
        AnnouncedConnections::None => Ok(is_for_proxy && !settings.is_http()),
    }
}

/// Where a new session begins, and its bytes so far. `None`: it cannot be encrypted.
fn prepare(listener: ListenerId, mut arrival: Arrival, cx: &Cx) -> Option<(Phase, Arrival)> {
    let phase = Phase::first(cx.listener(listener));
    if arrival.tls.is_some() {
        return Some((phase, arrival));
    }
    let records = match cx.tls.get(listener.index()) {
        Some(Some(tls)) => TlsRecords::server(tls).map_err(|error| error.to_string()),
        // A connection without its TLS state is closed: its plaintext must never be sent.
        _ if cx.listener(listener).tls.is_some() => Err("it shows nothing".to_owned()),
        _ => return Some((phase, arrival)),
    };
    match records {
        Ok(records) => {
            arrival.tls = Some(Box::new(records));
            Some((Phase::Handshake, arrival))
        }
        Err(error) => {
            tracing::error!(%error, "connection refused: tls cannot begin");
            cx.count_closed(CloseReason::Handshake);
            None
        }
    }
}

/// The slot that a new session belongs to.
fn first_slot(listener: ListenerId, peer: &Peer, tools: &mut Tools) -> SlotId {
    let Tools { cx, processes, .. } = tools;
    let dispatch = cx.listener(listener).dispatch;
    // If its home is a silent process, the session starts elsewhere, and moves home once that process is replaced.
    home(dispatch, peer, &[], processes.slots.len())
        .filter(|home| !processes.is_silent(*home))
        .unwrap_or_else(|| processes.choose_slot(dispatch, None, cx))
}

/// An open session without a socket.
fn new_session(
    name: SessionRef,
    listener: ListenerId,
    peer: Peer,
    slot: SlotId,
    now: u64,
) -> Session {
    Session {
        id: name.id,
        key: name.key,
        listener,
        peer,
        phase: Phase::Open,
        counted: Counted::ADMITTED,
        kind: Kind::Framed,
        transport: Transport {
            socket: None,
            tls: None,
            link: Link::Open,
            watched: Interest::Input,
        },
        input: Input {
            readable: false,
            tail: Vec::new(),
            cut: Cut::Exhausted,
            expected: 0,
            direct: 0,
            decoder: Decoder::new(),
            window: Default::default(),
            kept: None,
            farewell: Farewell::None,
            measurement: None,
        },
        output: Output::new(),
        compression: None,
        placement: Placement::new(slot),
        app: App {
            is_paused: false,
            is_kept: false,
            state: None,
        },
        meters: Meters {
            connected_at: unix_ms(),
            received_at: now,
            sent_at: now,
            asked: None,
            half_closed_at: None,
            idle_timer: Timer::Set,
            messages: 0,
            bytes_in: 0,
            bytes_out: 0,
        },
        notes: None,
        listed: Listed::default(),
    }
}
