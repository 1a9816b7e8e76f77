//! Datagrams: no session, no window; a datagram without room is dropped and counted, as the network would.

use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use moorline_ipc::{Header, Record};
use rustc_hash::FxBuildHasher;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::ids::{ListenerId, ProcessKey, SlotId};
use crate::processes::dispatch::home;
use crate::sockets::Sockets;
use crate::sockets::is_datagram;
use crate::tools::Tools;
use moorline_config::Dispatch;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::{Peer, ToProcess, split_datagram};

/// Datagrams received from one socket in one turn.
const RECEIVES_PER_TURN: usize = 64;
/// How long receiving pauses after an error on this machine, in milliseconds.
const PAUSE_MS: u64 = 100;
/// The longest datagram, and room for the sender's address in front of it.
const LONGEST: usize = 65_536 + 256;

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
        match rustix::net::recvfrom(socket, &mut *scratch, RecvFlags::empty()) {
            Ok((length, _, sender)) => {
                if let Some(sender) = sender.and_then(|sender| SocketAddr::try_from(sender).ok()) {
                    pass_on(listener, sender, &scratch[..length], tools);
                }
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

fn pass_on(listener: ListenerId, sender: SocketAddr, bytes: &[u8], tools: &mut Tools) {
    let Tools { cx, processes, .. } = tools;
    let count = processes.slots.len();
    let slot = match cx.listener(listener).dispatch {
        Dispatch::Sticky | Dispatch::Key => {
            SlotId((FxBuildHasher.hash_one(sender) as usize % count.max(1)) as u16)
        }
        Dispatch::IpHash => {
            home(Dispatch::IpHash, &Peer::Ip(sender), &[], count).unwrap_or(SlotId(0))
        }
        dispatch => processes.choose_slot(dispatch, None, cx),
    };
    let slot = processes.slots.get(slot.index());
    let process = slot.and_then(|slot| slot.process);
    let address = postcard::to_stdvec(&Peer::Ip(sender)).unwrap_or_default();
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
            processes.mark_dirty(at);
        }
        None => cx.count(LoopCounter::DatagramsDropped, 1),
    }
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
    if record.len() > LONGEST {
        return Err(format!("a datagram of {} bytes", record.len()));
    }
    let mut bytes = Vec::with_capacity(record.len());
    record.copy_to(&mut bytes);
    let Some((Peer::Ip(address), payload)) = split_datagram(&bytes) else {
        return Err("a datagram to no address".into());
    };
    let Some(socket) = sockets.datagrams(listener) else {
        return lose(at, listener, tools);
    };
    if let Err(error) = rustix::net::sendto(socket, payload, SendFlags::empty(), &address) {
        tracing::debug!(%address, %error, "a datagram was not sent");
        tools.cx.count(LoopCounter::DatagramsDropped, 1);
    }
    Ok(())
}

/// There is no socket for a datagram any more, or there never was.
fn lose(at: ProcessKey, listener: ListenerId, tools: &Tools) -> Result<(), String> {
    let settings = &tools.processes[at].rules.listeners;
    let settings = settings.get(listener.index());
    if !settings.is_some_and(|listener| is_datagram(&listener.address)) {
        return Err(format!(
            "a datagram from listener {}, which has none",
            listener.0
        ));
    }
    tools.cx.count(LoopCounter::DatagramsDropped, 1);
    Ok(())
}
