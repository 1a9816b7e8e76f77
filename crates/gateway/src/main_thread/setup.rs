//! The gateway's configuration, and how a reload changes it: the main thread's part.
//!
//! The supervisor announces the change, and the answer says whether it can be made: everything that may fail is done
//! then. With the `Activate` that commits it, each loop switches in one command. The loop that accepts switches last,
//! so that no loop receives a connection of a listener that it does not know.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::change::{Change, Setup};
use crate::commands::Command;
use crate::http::{Settings, Site};
use crate::ids::ListenerId;
use crate::main_thread::Gateway;
use crate::main_thread::raise_descriptors;
use crate::own_address::warn_of_missing_right;
use crate::shared::admission::Admission;
use crate::sockets::share_out;
use moorline_config::Config;
use moorline_process::open_files;
use moorline_protocol::control::{FromRole, ProcessId};
use moorline_protocol::flight::FlightKind;

impl Gateway {
    /// Makes every loop switch to these processes, and to what was prepared as this generation.
    pub(crate) fn activate(
        &mut self,
        workers: u16,
        serving: Vec<ProcessId>,
        prepared: Option<u32>,
    ) {
        self.activations += 1;
        let generation = u64::from(prepared.unwrap_or(0));
        self.flight.note(FlightKind::Activated, 0, 0, generation);
        let is_meant = |change: &mut Change| Some(change.generation) == prepared;
        let mut setups: Vec<Option<Setup>> = match self.change.take_if(is_meant) {
            Some(change) => self.change_to(change).into_iter().map(Some).collect(),
            None => self.loops.iter().map(|_| None).collect(),
        };
        let serving: Arc<[ProcessId]> = serving.into();
        // Loop 0 accepts for all.
        for inbox in self.loops.iter().rev() {
            inbox.send(Command::Activate {
                workers,
                serving: serving.clone(),
                setup: setups.pop().flatten().map(Box::new),
            });
        }
    }

    /// Switches the state that belongs to no loop. Returns the setup for each loop.
    fn change_to(&mut self, change: Change) -> Vec<Setup> {
        let Change {
            generation: _,
            config,
            sockets,
            folders,
            credentials,
            tls,
            peer_tls,
            log,
        } = change;
        warn_of_missing_right(&config);
        self.trusted_hosts.serve(&config);
        self.shared.upstreams.prepare_tls(peer_tls);
        self.tls = tls.into();
        self.credentials = credentials;
        if let Err(error) = moorline_process::log::configure(&config.engine.log, log) {
            tracing::warn!(%error, "the log of the gateway stays as it is");
        }
        moorline_process::orphan::outlive(config.workers.max_wait);
        self.max_wait = config.workers.max_wait;
        let config = Arc::new(config);
        self.config = config.clone();
        raise_descriptors();
        let reserve = open_files::reserve(&config, &config);
        let counted: Arc<[ListenerId]> = self.shared.prepare(&config, reserve).into();
        self.change_sites(&config, folders);
        self.watch_retired(&config);
        let shares = share_out(&config, sockets, self.loops.len());
        let setup = |sockets| Setup {
            config: config.clone(),
            sockets,
            tls: self.tls.clone(),
            counted: counted.clone(),
        };
        shares.into_iter().map(setup).collect()
    }

    /// Refuses a configuration without workers as long as there are connections that need one. All of them are of removed
    /// listeners.
    pub(crate) fn leaves_nobody(&self, config: &Config) -> io::Result<()> {
        if config.workers.count > 0 {
            return Ok(());
        }
        let listeners = self.config.listeners.iter().enumerate();
        let of_app = listeners.filter(|(_, listener)| listener.needs_app());
        let admissions = of_app.filter_map(|(at, _)| self.shared.admissions.get(at));
        let open: u64 = admissions.map(Admission::connections).sum();
        if open == 0 {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "`workers.count` is 0, but {open} open connections need a worker: keep a worker until they end, or close them first by \
             `drain --listener NAME`"
        )))
    }

    /// Gives the HTTP listeners their new settings.
    pub(crate) fn change_sites(&mut self, config: &Config, folders: Vec<(u16, OwnedFd)>) {
        let mut folders = folders.into_iter().peekable();
        self.sites.resize(config.listeners.len(), None);
        for ((place, listener), site) in (0..).zip(&config.listeners).zip(&mut self.sites) {
            let its = std::iter::from_fn(|| folders.next_if(|(of, _)| *of == place));
            let its: Vec<_> = its.map(|(_, folder)| folder).collect();
            if listener.is_retired || !listener.is_http() {
                // Connections of a removed site keep what it served.
                continue;
            }
            let settings = Settings::new(listener, its);
            match site {
                Some(site) if site.is_of(listener) => site.change(settings),
                // The earlier site at this place gets no requests any more.
                _ => {
                    let name = listener.name.clone();
                    let (loops, shared) = (self.loops.clone(), self.shared.clone());
                    *site = Some(Arc::new(Site::new(
                        ListenerId(place),
                        name,
                        settings,
                        loops,
                        shared,
                    )));
                }
            }
        }
    }

    /// Retired listeners are checked until they have no connection any more.
    pub(crate) fn watch_retired(&mut self, config: &Config) {
        let places = (0..).zip(&config.listeners);
        self.retired = places
            .filter(|(_, listener)| listener.is_retired)
            .map(|(place, _)| place)
            .collect();
    }

    /// Reports those that are vacant by now. Not before every loop has heard that they are retired: until then one could
    /// still accept a connection.
    pub(crate) async fn look_at_retired(&mut self) {
        if self
            .activated
            .iter()
            .any(|obeyed| *obeyed < self.activations)
        {
            return;
        }
        let admissions = &self.shared.admissions;
        let is_vacant = |place: &u16| {
            let admission = admissions.get(usize::from(*place));
            admission.is_none_or(|admission| admission.connections() == 0)
        };
        let (vacant, retired) = self.retired.iter().partition(|place| is_vacant(place));
        self.retired = retired;
        let vacant: Vec<u16> = vacant;
        if vacant.is_empty() {
            return;
        }
        self.forget(&vacant);
        self.say(&FromRole::Vacant(vacant)).await;
    }

    /// Drops what these listeners served and showed.
    fn forget(&mut self, vacant: &[u16]) {
        let mut tls = self.tls.to_vec();
        for at in vacant.iter().copied().map(usize::from) {
            if let Some(site) = self.sites.get_mut(at) {
                *site = None;
            }
            if let Some(shown) = tls.get_mut(at) {
                *shown = None;
            }
        }
        self.tls = tls.into();
        self.tell_loops(|_| Command::Show(self.tls.clone()));
    }
}
