//! Two gateways beside each other, while one takes everything from the other.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use moorline_config::Listener;
use moorline_ipc::Channel;
use moorline_protocol::control::ToRole;
use nix::sys::signal::Signal;
use tokio::time::Instant;
use tracing::warn;

use super::super::child::{Held, kill_child};
use super::super::plan::{Child, Event, UpgradeAction};
use super::children::GatewayHandle;
use super::{Shell, milliseconds};

/// How long a gateway that another one has followed may take to end.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// The gateways beside the present one, and what else an upgrade needs.
#[derive(Default)]
pub(super) struct Others {
    /// The one that is to follow.
    pub(super) successor: Option<Successor>,
    /// Those that were followed, and since when.
    pub(super) followed: Vec<(GatewayHandle, Instant)>,
    /// What gateways are started from since an upgrade, until a reload commits another executable.
    pub(super) executable: Option<OwnedFd>,
    /// What cannot move is closed.
    closes_rest: bool,
    /// Listeners that accept nothing until the upgrade has ended, as their connections cannot move.
    pub(super) cleared: BTreeSet<String>,
}

/// A gateway that is to follow the present one.
pub(super) struct Successor {
    pub(super) handle: GatewayHandle,
    executable: OwnedFd,
    /// The present gateway's end of the channel between the two.
    channel: Option<Channel>,
}

impl Others {
    /// The process of this gateway.
    pub(super) fn pid(&self, incarnation: u32) -> Option<u32> {
        let successor = self.successor.iter().map(|it| &it.handle);
        let followed = self.followed.iter().map(|(handle, _)| handle);
        let mut all = successor.chain(followed);
        let found = all.find(|handle| handle.incarnation == incarnation);
        found.map(|handle| handle.pid)
    }

    /// Takes out a gateway that has ended.
    pub(super) fn take(&mut self, incarnation: u32) -> Option<GatewayHandle> {
        let is_it = |it: &mut Successor| it.handle.incarnation == incarnation;
        if let Some(successor) = self.successor.take_if(is_it) {
            return Some(successor.handle);
        }
        let is_it = |(handle, _): &(GatewayHandle, Instant)| handle.incarnation == incarnation;
        let at = self.followed.iter().position(is_it)?;
        Some(self.followed.remove(at).0)
    }
}

impl Shell {
    /// Carries out a step of an upgrade.
    pub(super) fn carry_out_upgrade(&mut self, step: UpgradeAction) {
        match step {
            UpgradeAction::SpawnSuccessor {
                incarnation,
                generation,
            } => self.spawn_successor(incarnation, generation),
            UpgradeAction::StartSuccessor { incarnation } => self.start_successor(incarnation),
            UpgradeAction::CloseRest {
                number,
                over,
                max_wait,
            } => self.close_rest(number, over, max_wait),
            UpgradeAction::AcceptAgain => self.accept_again(),
            UpgradeAction::HandOver { to } => self.hand_over(to),
            UpgradeAction::SwitchGateway { from, to } => self.switch_gateway(from, to),
            UpgradeAction::KeepGateway => self.keep_gateway(),
            UpgradeAction::Upgraded { pause } => {
                self.tally.upgrades_done += 1;
                self.tally.last_pause = Some(pause);
            }
            UpgradeAction::NotUpgraded => self.tally.upgrades_failed += 1,
        }
    }

    fn spawn_successor(&mut self, incarnation: u32, generation: u32) {
        let result = self.try_spawn_successor(incarnation, generation);
        self.unless_spawned(Child::Gateway(incarnation), result);
    }

    fn try_spawn_successor(&mut self, incarnation: u32, generation: u32) -> io::Result<()> {
        let executable = self.executable.open()?;
        let Some(present) = &self.gateway else {
            return Err(io::Error::other("there is no gateway to follow"));
        };
        let (board, board_fd) = (present.board.clone(), present.board_fd.try_clone()?);
        let handle = self.start_gateway_process(
            (incarnation, generation),
            executable.as_fd(),
            (board, board_fd),
        )?;
        self.others.successor = Some(Successor {
            handle,
            executable,
            channel: None,
        });
        self.note_started(Child::Gateway(incarnation));
        Ok(())
    }

    fn start_successor(&mut self, incarnation: u32) {
        let result = self.try_start_successor();
        self.unless_sent(Child::Gateway(incarnation), result);
    }

    fn try_start_successor(&mut self) -> io::Result<()> {
        let (ours, theirs) = Channel::pair()?;
        let (sockets, start) = self.gateway_start()?;
        let Some(successor) = &mut self.others.successor else {
            return Ok(());
        };
        successor.channel = Some(ours);
        let handle = &mut successor.handle;
        handle.sockets = sockets;
        start.send_to(handle, Some(theirs))
    }

    /// Has the present gateway close the connections of the listeners whose connections cannot move.
    fn close_rest(&mut self, number: u64, over: Duration, max_wait: Duration) {
        let [generation, _] = self.plan.generations();
        let present = self.deployments.get(&generation);
        let listeners: &[Listener] = present.map_or(&[], |present| &present.config.listeners);
        let rest = (0..).zip(listeners).filter(|(_, it)| !it.can_move());
        let (places, names): (Vec<u16>, BTreeSet<_>) = rest
            .map(|(place, it)| (place, it.host.as_ref().unwrap_or(&it.name).clone()))
            .unzip();
        self.others.closes_rest = true;
        self.others.cleared = names;
        self.tell_stopped_listeners();
        self.send_gateway(&ToRole::Drain {
            number,
            places: Some(places),
            over_ms: milliseconds(over),
            max_wait_ms: milliseconds(max_wait),
            ends_http: true,
        });
    }

    /// No upgrade is in progress any more: what it has stopped accepts.
    fn accept_again(&mut self) {
        self.others.closes_rest = false;
        if !std::mem::take(&mut self.others.cleared).is_empty() {
            self.tell_stopped_listeners();
        }
    }

    /// Has the present gateway hand everything over.
    fn hand_over(&mut self, to: u32) {
        let successor = self.others.successor.as_mut();
        let successor = successor.filter(|it| it.handle.incarnation == to);
        let channel = successor.and_then(|it| it.channel.take());
        let gateway = self.gateway.as_ref();
        let outbox = gateway.and_then(GatewayHandle::outbox_behind_start);
        let (Some(channel), Some(outbox), Some(gateway)) = (channel, outbox, gateway) else {
            return;
        };
        let incarnation = gateway.incarnation;
        let cuts_http = self.others.closes_rest;
        let sent = outbox.send(&ToRole::HandOver { cuts_http }, vec![channel.into()]);
        outbox.hold();
        if let Err(error) = sent {
            self.tell(Event::HandedOver {
                incarnation,
                failure: Some(error.to_string()),
            });
        }
    }

    /// The present gateway goes on, and gets what it was not told meanwhile.
    fn keep_gateway(&mut self) {
        let gateway = self.gateway.as_ref();
        if let Some(outbox) = gateway.and_then(GatewayHandle::outbox_behind_start) {
            let held = outbox.take_held();
            self.tell_gateway_to_go_on(held);
        }
    }

    /// The gateway that has taken everything is the present one from now on.
    fn switch_gateway(&mut self, from: u32, to: u32) {
        let Some(successor) = self.others.successor.take() else {
            return;
        };
        debug_assert_eq!(successor.handle.incarnation, to, "there is one successor");
        self.others.executable = Some(successor.executable);
        let followed = self.gateway.replace(successor.handle);
        let mut held = Vec::new();
        if let Some(mut followed) = followed {
            debug_assert_eq!(followed.incarnation, from, "it is the present one");
            if let Some(outbox) = followed.outbox.take() {
                held = outbox.take_held();
                // If it is gone already, that is what was wanted.
                let _ = outbox.send(&ToRole::Leave, Vec::new());
            }
            self.others.followed.push((followed, Instant::now()));
        }
        self.others.closes_rest = false;
        self.others.cleared.clear();
        if !self.stopped_listeners.is_empty() {
            // It accepts everywhere else.
            self.tell_stopped_listeners();
        }
        self.tell_gateway_to_go_on(held);
    }

    fn tell_gateway_to_go_on(&mut self, held: Held) {
        let gateway = self.gateway.as_ref();
        if let Some(outbox) = gateway.and_then(GatewayHandle::outbox_behind_start) {
            let mut result = outbox.send(&ToRole::GoOn, Vec::new());
            if result.is_ok() {
                result = outbox.send_held(held);
            }
            self.unless_sent_to_gateway(result);
        }
    }

    /// Ends gateways that were followed and did not end.
    pub(super) fn end_followed(&mut self) {
        for (handle, since) in &mut self.others.followed {
            if since.elapsed() > LEAVE_TIME {
                warn!(
                    pid = handle.pid,
                    "the gateway before the present one does not end, and is killed"
                );
                kill_child(handle.pid, Signal::SIGKILL);
                *since = Instant::now();
            }
        }
    }
}
