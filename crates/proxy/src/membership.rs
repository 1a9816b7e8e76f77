//! What becomes of the peers when a name is resolved, and at a reload.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use moorline_net::HostPort;

use super::balance::Rule;
use super::members::{Found, Unplaced};
use super::upstream::Upstream;

impl Upstream {
    /// The names to resolve, each once. A host is a name, or an IPv6 address with a zone.
    pub fn names(&self) -> impl Iterator<Item = &HostPort> {
        self.members.names.keys()
    }

    /// A name has these addresses now: each is a peer. One that is new begins with a slow start if others were there
    /// before; one that is missing gets no new connections, and those that it has stay. No address at all changes nothing, as
    /// with [`unresolved`](Self::unresolved). A name that no entry has (any more) is ignored.
    ///
    /// # Errors
    /// How many addresses became no peers because there are too many. All others did.
    pub fn resolved(
        &mut self,
        name: &HostPort,
        addresses: &[IpAddr],
        now: u64,
    ) -> Result<(), Unplaced> {
        let found = addresses.iter().map(|ip| Found {
            address: SocketAddr::new(*ip, name.port),
            service: None,
        });
        self.found(name, found.collect(), now)
    }

    /// The same with ports; those of a service also with weights and priorities.
    ///
    /// # Errors
    /// As for [`resolved`](Self::resolved).
    pub fn found(
        &mut self,
        name: &HostPort,
        mut found: Vec<Found>,
        now: u64,
    ) -> Result<(), Unplaced> {
        let Some(known) = self.members.names.get_mut(name) else {
            return Ok(());
        };
        if found.is_empty() {
            known.problem = Some(NO_ADDRESS.to_owned());
            return Ok(());
        }
        known.problem = None;
        found.sort_unstable();
        found.dedup_by_key(|found| found.address);
        known.found = found;
        let enlisted = self.enlist(now, true);
        if let Some(known) = self.members.names.get_mut(name) {
            known.warms_up = true;
        }
        enlisted
    }

    /// The name does not exist any more, or has no address: it means no peers.
    pub fn vanished(&mut self, name: &HostPort, now: u64) {
        let Some(known) = self.members.names.get_mut(name) else {
            return;
        };
        known.problem = Some(NO_ADDRESS.to_owned());
        known.found = Vec::new();
        // Fewer peers cannot be too many.
        let _ = self.enlist(now, true);
    }

    /// A name cannot be resolved. Peers that it meant before stay.
    pub fn unresolved(&mut self, name: &HostPort, why: &str) {
        if let Some(known) = self.members.names.get_mut(name) {
            known.problem = Some(why.chars().take(LONGEST_PROBLEM).collect());
        }
    }

    /// A reload has changed the configuration. Peers are known by their addresses: their health, counters and open
    /// connections stay. What a command has set stays, too, but for a weight that the file has changed. A removed peer gets no
    /// new connections, and those that it has stay.
    ///
    /// # Errors
    /// As for [`resolved`](Self::resolved).
    pub fn replace(&mut self, config: moorline_config::Upstream, now: u64) -> Result<(), Unplaced> {
        let is_checked = config.check.is_some();
        self.bind = config.bind.clone().map(Arc::new);
        self.members.config = config;
        self.members.know_names(true);
        let enlisted = self.enlist(now, true);
        self.rule = Rule::new(&self.members);
        if !is_checked {
            self.forget_checks();
        }
        enlisted
    }

    fn enlist(&mut self, now: u64, warms_up: bool) -> Result<(), Unplaced> {
        let (has_changed, unplaced) = self.members.enlist(now, warms_up);
        if has_changed {
            self.rule = Rule::new(&self.members);
        }
        match unplaced {
            Unplaced(0) => Ok(()),
            unplaced => Err(unplaced),
        }
    }
}

const NO_ADDRESS: &str = "it has no address";

/// Characters of an error that are kept.
const LONGEST_PROBLEM: usize = 200;
