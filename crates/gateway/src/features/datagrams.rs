//! Datagrams: no session, no window; a datagram without room is dropped and counted, as the network would.

use std::ffi::OsString;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use moorline_ipc::{Header, Record};
use rustc_hash::FxBuildHasher;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix};

use crate::ids::{ListenerId, ProcessKey, SlotId};
use crate::processes::dispatch::home;
use crate::sockets::Sockets;
use crate::tools::Tools;
use moorline_config::Dispatch;
use moorline_protocol::control::{ListenerCounter, LoopCounter};
use moorline_protocol::wire::{Peer, ToProcess, split_datagram};

/// Datagrams received from one socket in one turn.
const RECEIVES_PER_TURN: usize = 64;
/// How long receiving pauses after an error on this machine, in milliseconds.
const PAUSE_MS: u64 = 100;
/// The longest datagram in bytes: UDP has no longer ones, Unix sockets may.
const LONGEST: usize = 65_536;
/// Room for an address in front of it.
const ADDRESS: usize = 256;

/// Passes on the datagrams of a socket.
pub(crate) fn receive(listener: ListenerId, sockets: &Sockets, tools: &mut Tools) {
    let Some(socket) = sockets.received_from(listener) else {
        return;
    };
    let mut scratch = std::mem::take(&mut tools.scratch.received);
    let pause = receive_some(listener, socket, &mut scratch, tools);
    tools.scratch.received = scratch;
    if let Some(ms) = pause {
        let at = tools.cx.clock.ms + ms;
        tools.agenda.timers.accept_again(at, listener);
    }
}

/// Passes on one turn's share. `Some`: there may be more; look again after this many milliseconds.
fn receive_some(
    listener: ListenerId,
    socket: &OwnedFd,
    scratch: &mut [u8],
    tools: &mut Tools,
) -> Option<u64> {
    for _ in 0..RECEIVES_PER_TURN {
        match rustix::net::recvfrom(socket, &mut scratch[..LONGEST + 1], RecvFlags::empty()) {
            Ok((length, _, _)) if length > LONGEST => {
                tools.cx.count(LoopCounter::DatagramsDropped, 1);
            }
            Ok((length, _, sender)) => {
                pass_on(listener, &peer(sender), &scratch[..length], tools);
            }
            Err(Errno::AGAIN) => return None,
            // An ICMP error for something sent earlier: nothing to do with this socket.
            Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::INTR) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot receive datagrams, pausing");
                return Some(PAUSE_MS);
            }
        }
    }
    Some(0)
}

/// The sender of a datagram. A Unix socket that was not bound has no address.
fn peer(address: Option<SocketAddrAny>) -> Peer {
    let Some(address) = address else {
        return Peer::Unix;
    };
    if let Ok(ip) = SocketAddr::try_from(address.clone()) {
        return Peer::Ip(ip);
    }
    let Ok(unix) = SocketAddrUnix::try_from(address) else {
        return Peer::Unix;
    };
    let path = match (unix.path_bytes(), unix.abstract_name()) {
        (Some(path), _) => path.to_vec(),
        (None, Some(name)) => [b"\0", name].concat(),
        (None, None) => return Peer::Unix,
    };
    Peer::UnixNamed(PathBuf::from(OsString::from_vec(path)))
}

fn pass_on(listener: ListenerId, sender: &Peer, bytes: &[u8], tools: &mut Tools) {
    let Tools { cx, processes, .. } = tools;
    let count = processes.slots.len();
    let slot = match cx.listener(listener).dispatch {
        Dispatch::Sticky | Dispatch::Key => by_sender(sender, count),
        Dispatch::IpHash => {
            home(Dispatch::IpHash, sender, &[], count).unwrap_or_else(|| by_sender(sender, count))
        }
        dispatch => processes.choose_slot(dispatch, None, cx),
    };
    let slot = processes.slots.get(slot.index());
    let process = slot.and_then(|slot| slot.process);
    let address = postcard::to_stdvec(sender).unwrap_or_default();
    let header = Header {
        kind: ToProcess::Datagram as u8,
        aux: listener.0,
        time: cx.clock.ns,
        ..Header::default()
    };
    let pushed = process.filter(|at| {
        let producer = &mut processes[*at].producer;
        producer
            .push(&header, &[&[address.len() as u8], &address, bytes])
            .is_ok()
    });
    match pushed {
        Some(at) => {
            cx.count(LoopCounter::Messages, 1);
            cx.count_of(listener, ListenerCounter::Messages, 1);
            cx.count_of(listener, ListenerCounter::Received, bytes.len() as u64);
            processes.mark_dirty(at);
        }
        None => cx.count(LoopCounter::DatagramsDropped, 1),
    }
}

/// The slot of a sender.
fn by_sender(sender: &Peer, slots: usize) -> SlotId {
    let hash = match sender {
        Peer::Ip(address) => FxBuildHasher.hash_one(address),
        Peer::UnixNamed(path) => FxBuildHasher.hash_one(path),
        _ => 0,
    };
    SlotId((hash as usize % slots.max(1)) as u16)
}

/// Sends a datagram for an app.
///
/// # Errors
/// No honest worker writes that.
pub(crate) fn send(
    at: ProcessKey,
    record: &Record<'_>,
    sockets: &Sockets,
    tools: &Tools,
) -> Result<(), String> {
    let listener = ListenerId(record.header().aux);
    if record.len() > LONGEST + ADDRESS {
        return Err(format!("a datagram of {} bytes", record.len()));
    }
    let mut bytes = Vec::with_capacity(record.len());
    record.copy_to(&mut bytes);
    let Some((peer, payload)) = split_datagram(&bytes) else {
        return Err("a datagram to no address".into());
    };
    let Some(socket) = sockets.datagrams(listener) else {
        return lose(at, listener, tools);
    };
    let flags = SendFlags::empty();
    let sent = match &peer {
        Peer::Ip(address) => rustix::net::sendto(socket, payload, flags, address),
        Peer::UnixNamed(path) => unix_address(path.as_os_str().as_bytes())
            .and_then(|address| rustix::net::sendto(socket, payload, flags, &address)),
        _ => return Err("a datagram to no address".into()),
    };
    if let Err(error) = sent {
        tracing::debug!(%peer, %error, "a datagram was not sent");
        tools.cx.count(LoopCounter::DatagramsDropped, 1);
    }
    Ok(())
}

/// A Unix socket's address; an abstract one begins with a NUL byte.
fn unix_address(path: &[u8]) -> Result<SocketAddrUnix, Errno> {
    match path {
        [0, name @ ..] => SocketAddrUnix::new_abstract_name(name),
        _ => SocketAddrUnix::new(path),
    }
}

/// There is no socket for a datagram any more, or there never was.
fn lose(at: ProcessKey, listener: ListenerId, tools: &Tools) -> Result<(), String> {
    let settings = &tools.processes[at].rules.listeners;
    let settings = settings.get(listener.index());
    if !settings.is_some_and(|listener| listener.is_datagram()) {
        return Err(format!(
            "a datagram from listener {}, which has none",
            listener.0
        ));
    }
    tools.cx.count(LoopCounter::DatagramsDropped, 1);
    Ok(())
}
