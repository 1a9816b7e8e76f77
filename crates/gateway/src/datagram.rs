//! Datagrams: no session, no window; what does not fit is dropped and counted, as the network would.

use std::hash::BuildHasher;
use std::net::SocketAddr;

use moorline_ipc::{Header, Record};
use rustc_hash::FxBuildHasher;
use rustix::io::Errno;

use super::dispatch::home;
use super::event_loop::Loop;
use super::is_datagram;
use crate::config::Dispatch;
use crate::control::LoopCounter;
use crate::wire::{Peer, ToProcess, split_datagram};

/// Datagrams received from one socket in one turn.
const RECEIVES_PER_TURN: usize = 64;
/// How long receiving pauses after an error of this machine's, in milliseconds.
const PAUSE_MS: u64 = 100;
/// The longest datagram, and room for the sender's address in front of it.
const LONGEST: usize = 65_536 + 256;

impl Loop {
    /// Passes on what has come in on a datagram socket.
    pub(super) fn receive_datagrams(&mut self, listener: u16) {
        if self.sockets.receives.get(usize::from(listener)) != Some(&true) {
            return;
        }
        let Some(Some(socket)) = self.sockets.datagrams.get(usize::from(listener)).cloned() else {
            return;
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        for _ in 0..RECEIVES_PER_TURN {
            match rustix::net::recvfrom(&*socket, &mut scratch[..], rustix::net::RecvFlags::empty())
            {
                Ok((length, _, sender)) => {
                    if let Some(sender) =
                        sender.and_then(|sender| SocketAddr::try_from(sender).ok())
                    {
                        self.pass_datagram(listener, sender, &scratch[..length]);
                    }
                }
                Err(Errno::AGAIN) => {
                    self.scratch = scratch;
                    return;
                }
                // An ICMP error for something sent earlier: nothing to do with this socket.
                Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot receive datagrams, pausing");
                    self.scratch = scratch;
                    self.timers.accept_again(self.clock.ms + PAUSE_MS, listener);
                    return;
                }
            }
        }
        self.scratch = scratch;
        self.timers.accept_again(self.clock.ms, listener);
    }

    fn pass_datagram(&mut self, listener: u16, sender: SocketAddr, bytes: &[u8]) {
        let slot = match self.config.listeners[usize::from(listener)].dispatch {
            Dispatch::Sticky | Dispatch::Key => {
                (FxBuildHasher.hash_one(sender) as usize % self.slots.len().max(1)) as u16
            }
            Dispatch::IpHash => {
                home(Dispatch::IpHash, &Peer::Ip(sender), &[], self.slots.len()).unwrap_or_default()
            }
            dispatch => self.choose_slot(dispatch, None),
        };
        let process = self
            .slots
            .get(usize::from(slot))
            .and_then(|slot| slot.process);
        let address = postcard::to_stdvec(&Peer::Ip(sender)).unwrap_or_default();
        let header = Header {
            kind: ToProcess::Datagram as u8,
            aux: listener,
            time: self.clock.ns,
            ..Header::default()
        };
        let pushed = process.is_some_and(|at| {
            let producer = &mut self.processes[usize::from(at)].producer;
            producer
                .push(&header, &[&[address.len() as u8], &address, bytes])
                .is_ok()
        });
        match process.filter(|_| pushed) {
            Some(at) => {
                self.count(LoopCounter::Messages, 1);
                self.mark_dirty(at);
            }
            None => self.count(LoopCounter::DatagramsDropped, 1),
        }
    }

    /// Sends a datagram for an app.
    pub(super) fn send_datagram(&mut self, at: u16, record: &Record<'_>) -> Result<(), String> {
        let listener = record.header().aux;
        if record.len() > LONGEST {
            return Err(format!("a datagram of {} bytes", record.len()));
        }
        let mut bytes = Vec::with_capacity(record.len());
        record.copy_to(&mut bytes);
        let Some((Peer::Ip(address), payload)) = split_datagram(&bytes) else {
            return Err("a datagram to no address".into());
        };
        let Some(Some(socket)) = self.sockets.datagrams.get(usize::from(listener)) else {
            return self.lose_datagram(at, listener);
        };
        if let Err(error) = rustix::net::sendto(
            &**socket,
            payload,
            rustix::net::SendFlags::empty(),
            &address,
        ) {
            tracing::debug!(%address, %error, "a datagram was not sent");
            self.count(LoopCounter::DatagramsDropped, 1);
        }
        Ok(())
    }

    /// There is no socket for a datagram: not any more, or never.
    fn lose_datagram(&mut self, at: u16, listener: u16) -> Result<(), String> {
        let settings = &self.processes[usize::from(at)].rules.listeners;
        let settings = settings.get(usize::from(listener));
        if !settings.is_some_and(|listener| is_datagram(&listener.address)) {
            return Err(format!(
                "a datagram from listener {listener}, which has none"
            ));
        }
        self.count(LoopCounter::DatagramsDropped, 1);
        Ok(())
    }
}
