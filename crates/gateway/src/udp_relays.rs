//! Relayed datagrams in the loop: how a client gets a peer, and what passes between the two.

mod begins;
mod ends;
mod looks;

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::event_loop::Loop;
use crate::ids::{ListenerId, Side, UdpRelayKey, UdpRelayRef};
use crate::memory::Class;
use crate::own_address::{OpenFault, OwnAddress};
use crate::poller::Poller;
use crate::proxy_header::writer::{Ends, write};
use crate::relay::connecting::is_local;
use crate::tools::Tools;
use crate::udp_relay::socket::{self, Control};
use crate::udp_relay::{UdpClient, UdpEnd, UdpPeer, UdpRelay, is_unreachable};
use crate::upstreams::{Choice, Failure, NoPeer, Opening, PeerAddress, PeerKey};
use moorline_config::ProxyVersion;
use moorline_protocol::control::{ListenerCounter, LoopCounter};

/// How long receiving pauses after an error on this machine, in milliseconds.
const PAUSE_MS: u64 = 100;
/// Answers of one peer that are taken in one turn.
const MOST_ANSWERS: u8 = 32;
/// Room for the longest datagram.
const LONGEST: usize = 65_536;
/// What all relays of a loop keep until their peers answer, in bytes: senders that do not exist must not fill the memory.
const MOST_KEPT: usize = 16 << 20;

/// Whether a relay has taken a datagram of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassedUp {
    Yes,
    /// It has ended, and the datagram was not sent.
    No,
}

impl Loop {
    /// Relays some of the datagrams that clients have sent to a listener.
    pub(crate) fn relay_datagrams(&mut self, listener: ListenerId) {
        let Some(front) = self.acceptor.sockets.received_from(listener).cloned() else {
            return;
        };
        let mut buffer = std::mem::take(&mut self.tools.scratch.received);
        let mut control = self.udp_relays.take_control(listener);
        let result = self.relay_some((listener, &front), &mut buffer, control.as_mut());
        self.tools.scratch.received = buffer;
        self.udp_relays.put_control(listener, control);
        if let Err(error) = result {
            tracing::warn!(%error, "cannot receive datagrams, pausing");
            let at = self.tools.cx.clock.ms + PAUSE_MS;
            self.tools.agenda.timers.accept_again(at, listener);
        }
    }

    fn relay_some(
        &mut self,
        (listener, front): (ListenerId, &Arc<OwnedFd>),
        buffer: &mut [u8],
        mut control: Option<&mut Control>,
    ) -> Result<(), Errno> {
        for _ in 0..self.acceptor.gate.burst(listener) {
            match socket::receive(front, &mut buffer[..LONGEST], control.as_deref_mut()) {
                Ok(Some((length, address, local))) => {
                    let client = UdpClient {
                        listener,
                        address,
                        local,
                    };
                    self.relay_datagram(client, front, &buffer[..length]);
                }
                // An ICMP error for something sent earlier: nothing to do with this socket.
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) if is_unreachable(error) => {}
                Err(Errno::AGAIN) => {
                    self.acceptor.gate.has_emptied(listener);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.acceptor.gate.may_have_more(listener);
        Ok(())
    }

    /// A client has sent a datagram.
    fn relay_datagram(&mut self, client: UdpClient, front: &Arc<OwnedFd>, datagram: &[u8]) {
        if let Some(key) = self.udp_relays.of_client(&client)
            && self.pass_up(key, datagram) == PassedUp::Yes
        {
            return;
        }
        if let Some(key) = self.begin_udp_relay(client, front, datagram) {
            self.pass_up(key, datagram);
        }
    }

    /// Passes a client's datagram on to its peer.
    fn pass_up(&mut self, key: UdpRelayKey, datagram: &[u8]) -> PassedUp {
        let is_kept = self.keep(key, datagram);
        let (relay, tools) = (&mut self.udp_relays[key], &mut self.tools);
        let name = relay.name;
        let sent = match &mut relay.peer {
            Some(peer) => send_up(peer, datagram, tools).map_err(Some),
            None => Err(None),
        };
        if let Err(error) = sent {
            if let Some(error) = error {
                fail(relay, failure(error), tools);
            }
            if relay.unanswered.is_none() {
                self.end_udp_relay(key, UdpEnd::Upstream);
                return PassedUp::No;
            }
        }
        relay.note(Side::Client, datagram.len(), tools);
        if sent.is_err() {
            self.reach(key);
            let Some(relay) = self.udp_relays.named_mut(name) else {
                return PassedUp::Yes;
            };
            if !is_kept {
                match &mut relay.peer {
                    // A second failure is noticed with the next datagram.
                    Some(peer) => drop(send_up(peer, datagram, &self.tools)),
                    None => self.tools.cx.count(LoopCounter::DatagramsDropped, 1),
                }
            }
        }
        self.after_request(key);
        PassedUp::Yes
    }

    /// Keeps a datagram for another peer, or until there is one. False: there is no need or no room for it.
    fn keep(&mut self, key: UdpRelayKey, datagram: &[u8]) -> bool {
        let (relays, memory) = (&mut self.udp_relays, &mut self.tools.memory);
        let kept = relays.kept;
        let Some(unanswered) = &mut relays[key].unanswered else {
            return false;
        };
        let more = unanswered.room_for(datagram);
        let Some(more) =
            more.filter(|more| kept + more <= MOST_KEPT && !memory.would_pass_limit(*more))
        else {
            return false;
        };
        unanswered.keep(datagram);
        relays.kept += more;
        memory.hold(Class::Queued, more);
        true
    }

    /// A datagram of the client has been passed on.
    fn after_request(&mut self, key: UdpRelayKey) {
        let relay = &self.udp_relays[key];
        let rules = self.tools.cx.listener(relay.client.listener).datagrams;
        let name = relay.name;
        if rules.is_full(relay.meters.requests) {
            self.udp_relays.unbind(key);
        }
        while let Some(relay) = self.udp_relays.named_mut(name)
            && let Some(peer) = &relay.peer
            && relay.is_over(rules)
        {
            // Nobody will look at its socket any more.
            let error = rustix::net::sockopt::socket_error(&peer.socket);
            match error {
                Ok(Err(error)) if is_unreachable(error) && relay.unanswered.is_some() => {
                    fail(relay, failure(error), &self.tools);
                    self.reach(key);
                }
                _ => self.end_udp_relay(key, UdpEnd::Finished),
            }
        }
    }

    /// Asks one peer after the other, until one takes the datagrams that are kept. The relay ends if none does.
    fn reach(&mut self, key: UdpRelayKey) {
        let relay = &self.udp_relays[key];
        let hash_key = relay.facts(None, &self.tools.cx).hash_key(&relay.upstream);
        let mut has_looked_again = false;
        loop {
            let (relay, tools) = (&mut self.udp_relays[key], &mut self.tools);
            let Some(unanswered) = &mut relay.unanswered else {
                return;
            };
            let (attempts, now) = (&mut unanswered.attempts, tools.cx.clock.shared_ms());
            let chosen = relay.upstream.choose(now, hash_key.as_bytes(), attempts);
            relay.attempts = attempts.made();
            match chosen {
                Ok((choice, opening)) => {
                    let timeout = choice.timeout.as_millis() as u64;
                    unanswered.until = tools.cx.clock.ms + timeout;
                    if join(relay, (choice, opening), &self.poller, tools) {
                        self.watch_udp_relay(key);
                        return;
                    }
                }
                Err(NoPeer::Unresolved) if relay.upstream.is_resolving() => {
                    self.look_for_names(key);
                    return;
                }
                // The last answer may have come since the choice.
                Err(NoPeer::Unresolved) if !has_looked_again => has_looked_again = true,
                Err(why) => {
                    self.tell_unreachable(key, why);
                    self.end_udp_relay(key, UdpEnd::Unreachable);
                    return;
                }
            }
        }
    }

    /// The peer of a relay has sent something, or cannot be reached.
    pub(crate) fn udp_relay_is_ready(&mut self, key: UdpRelayKey, serial: u32) {
        // An event may be older than the relay that has its place now.
        if !self.udp_relays.heard(key, serial) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.tools.scratch.received);
        self.take_answers(key, &mut buffer);
        self.tools.scratch.received = buffer;
    }

    fn take_answers(&mut self, key: UdpRelayKey, buffer: &mut [u8]) {
        let name = self.udp_relays[key].name;
        for _ in 0..self.udp_relays[key].burst.size() {
            let Some(relay) = self.udp_relays.named_mut(name) else {
                return;
            };
            let Some(peer) = &relay.peer else {
                return;
            };
            match socket::take(&peer.socket, &mut buffer[..LONGEST]) {
                Ok(length) => self.pass_down(key, &buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    relay.burst.has_emptied();
                    return;
                }
                Err(error) => {
                    fail(relay, failure(error), &self.tools);
                    match relay.unanswered {
                        Some(_) => self.reach(key),
                        None => self.end_udp_relay(key, UdpEnd::Upstream),
                    }
                    return;
                }
            }
        }
        if let Some(relay) = self.udp_relays.named_mut(name) {
            relay.burst.may_have_more(MOST_ANSWERS);
        }
    }

    /// Passes a peer's datagram on to its client.
    fn pass_down(&mut self, key: UdpRelayKey, datagram: &[u8]) {
        self.forget_kept(key);
        let (relay, tools) = (&mut self.udp_relays[key], &mut self.tools);
        if relay.meters.responses == 0
            && let Some(peer) = &relay.peer
        {
            let now = tools.cx.clock.shared_ms();
            let took = Duration::from_millis(tools.cx.clock.ms - peer.since);
            let address = PeerAddress::Udp(peer.address);
            if let Some(notes) = &mut relay.notes {
                notes.note_first_byte(tools.cx.clock.ms);
            }
            if relay.upstream.connected((peer.key, &address), now, took) {
                relay.upstream.first_byte(peer.key, now, took);
            }
        }
        relay.note(Side::Upstream, datagram.len(), tools);
        let UdpClient { address, local, .. } = &relay.client;
        if let Err(error) = socket::answer(&relay.front, address, *local, datagram) {
            tracing::debug!(relay = relay.name.serial, client = %address, %error, "an answer was not sent");
            tools.cx.count(LoopCounter::DatagramsDropped, 1);
        }
        let rules = tools.cx.listener(relay.client.listener).datagrams;
        if relay.is_over(rules) {
            self.end_udp_relay(key, UdpEnd::Finished);
        } else if relay.is_leaving {
            self.end_udp_relay(key, UdpEnd::Stopped);
        }
    }
}

impl UdpRelay {
    /// A side has sent a datagram.
    fn note(&mut self, from: Side, bytes: usize, tools: &Tools) {
        let meters = &mut self.meters;
        meters.active_at = tools.cx.clock.ms;
        meters.spoke_last = from;
        meters.bytes[from as usize] += bytes as u64;
        let counter = match from {
            Side::Client => {
                meters.requests += 1;
                LoopCounter::RelayedUp
            }
            Side::Upstream => {
                meters.responses += 1;
                LoopCounter::RelayedDown
            }
        };
        tools.cx.count(counter, bytes as u64);
        let of_listener = match from {
            Side::Client => ListenerCounter::Received,
            Side::Upstream => ListenerCounter::Sent,
        };
        let listener = self.client.listener;
        tools.cx.count_of(listener, of_listener, bytes as u64);
    }
}

/// Opens a socket for a peer, and sends it the datagrams that are kept. False: it cannot be reached.
fn join(
    relay: &mut UdpRelay,
    (choice, opening): (Choice, Opening),
    poller: &Poller,
    tools: &mut Tools,
) -> bool {
    let PeerAddress::Udp(address) = choice.address else {
        relay.upstream.abandoned(choice.peer);
        return false;
    };
    if let Some(notes) = &mut relay.notes {
        notes.ask(&choice.address, tools.cx.clock.ms);
    }
    let own = opening.bind.as_ref().and_then(|bind| {
        let facts = relay.facts(None, &tools.cx);
        OwnAddress::of(bind, &facts, &mut tools.refusals)
    });
    match open(&address, own, relay.name, poller, tools) {
        Ok(socket) => {
            relay.last_peer = Some(address);
            if let Some(notes) = &mut relay.notes {
                notes.note_connected(tools.cx.clock.ms);
            }
            relay.peer = Some(UdpPeer {
                key: choice.peer,
                address,
                socket,
                since: tools.cx.clock.ms,
                header: opening.header.map(|it| header(it, relay)),
            });
        }
        Err(fault) => {
            let peer = (choice.peer, address);
            relay.note_end(&tools.cx);
            fault.tell(
                (relay.client.listener, &relay.upstream.name, &address),
                tools,
            );
            report(relay, peer, fault.failure(), Duration::ZERO, tools);
            return false;
        }
    }
    if let Err(error) = send_kept(relay, tools) {
        fail(relay, failure(error), tools);
        return false;
    }
    true
}

fn send_kept(relay: &mut UdpRelay, tools: &Tools) -> Result<(), Errno> {
    if let (Some(peer), Some(unanswered)) = (&mut relay.peer, &relay.unanswered) {
        for datagram in unanswered.iter() {
            send_up(peer, datagram, tools)?;
        }
    }
    Ok(())
}

/// Whose datagrams the peer gets.
fn header(version: ProxyVersion, relay: &UdpRelay) -> Vec<u8> {
    let front = rustix::net::getsockname(&relay.front).ok();
    let front = front.and_then(|it| SocketAddr::try_from(it).ok());
    let ends = front.map(|front| Ends {
        is_datagram: true,
        client: relay.client.address,
        server: match relay.client.local {
            Some(ip) => SocketAddr::new(ip, front.port()),
            None => front,
        },
    });
    write(version, ends)
}

/// A socket for a peer, whose answers are reported.
fn open(
    peer: &SocketAddr,
    own: Option<OwnAddress>,
    name: UdpRelayRef,
    poller: &Poller,
    tools: &mut Tools,
) -> Result<OwnedFd, OpenFault> {
    let socket = socket::connect(peer, own)?;
    if socket.as_raw_fd() as u64 >= tools.allowed_descriptors() {
        return Err(Errno::MFILE.into());
    }
    poller.watch_udp_relay(name, socket.as_fd())?;
    Ok(socket)
}

/// Sends a client's datagram. One that the kernel does not take is lost, as on the network.
///
/// # Errors
/// The peer cannot be reached. This datagram was not sent.
fn send_up(peer: &mut UdpPeer, datagram: &[u8], tools: &Tools) -> Result<(), Errno> {
    let sent = match &peer.header {
        None => socket::send(&peer.socket, datagram),
        Some(header) => socket::send(&peer.socket, &[header, datagram].concat()),
    };
    if sent.is_ok() {
        // Until then the next one is the first that the peer gets: a client must not write the header itself.
        peer.header = None;
    }
    match sent {
        Err(error) if is_unreachable(error) => Err(error),
        Err(error) => {
            tracing::debug!(peer = %peer.address, %error, "a datagram was not sent");
            tools.cx.count(LoopCounter::DatagramsDropped, 1);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// The peer of a relay cannot be reached.
fn fail(relay: &mut UdpRelay, why: Failure, tools: &Tools) {
    let Some(peer) = relay.peer.take() else {
        return;
    };
    let took = Duration::from_millis(tools.cx.clock.ms - peer.since);
    relay.note_end(&tools.cx);
    report(relay, (peer.key, peer.address), why, took, tools);
}

/// Tells the upstream that a peer cannot be reached, unless this machine is the reason.
fn report(
    relay: &UdpRelay,
    (key, address): (PeerKey, SocketAddr),
    why: Failure,
    took: Duration,
    tools: &Tools,
) {
    tracing::debug!(
        relay = relay.name.serial, upstream = %relay.upstream.name, peer = %address, error = %why,
        "peer cannot be reached"
    );
    if is_local(why) {
        relay.upstream.abandoned(key);
        return;
    }
    let now = tools.cx.clock.shared_ms();
    let address = PeerAddress::Udp(address);
    relay.upstream.failed((key, &address), now, why, took);
}

fn failure(error: Errno) -> Failure {
    Failure::System(error.raw_os_error())
}
