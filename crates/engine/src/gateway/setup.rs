//! What the gateway runs with, and how a reload changes it: the main thread's part.
//!
//! The supervisor says what is to change, and with the next `Activate` it does: each loop goes over in one command,
//! the one that accepts as the last, so that no loop hears of a listener that it does not know.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use moorline_net::tls::server::ServerTls;

use super::accept::{self, Socket};
use super::http::{Settings, Site};
use super::{Command, Gateway, connection_descriptors};
use crate::config::Config;
use crate::control::{FromRole, ProcessId};
use crate::credentials::Credentials;

/// What is to change with the next `Activate`.
pub(super) struct Change {
    config: Config,
    sockets: Vec<(u16, OwnedFd)>,
    folders: Vec<(u16, OwnedFd)>,
    credentials: Credentials,
    log: Option<OwnedFd>,
}

/// The same for one loop.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) config: Arc<Config>,
    /// The listeners that have another socket than before.
    pub(super) sockets: Vec<(u16, Socket)>,
    /// What each listener shows who connects.
    pub(super) tls: Arc<[Option<ServerTls>]>,
    /// The listeners whose sessions are counted by their addresses, and have not been.
    pub(super) counted: Arc<[u16]>,
}

impl Change {
    pub(super) fn new(
        config: Config,
        sockets: Vec<u16>,
        folders: Vec<u16>,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut with_descriptors = |places: Vec<u16>| {
            let pairs: Vec<_> = places.into_iter().zip(&mut descriptors).collect();
            pairs
        };
        let (many_sockets, many_folders) = (sockets.len(), folders.len());
        let sockets = with_descriptors(sockets);
        let folders = with_descriptors(folders);
        let credentials = descriptors.next();
        let log = descriptors.next();
        let is_whole = sockets.len() == many_sockets
            && folders.len() == many_folders
            && log.is_some() == config.engine.log.file.is_some();
        let Some(credentials) = credentials.filter(|_| is_whole) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a configuration came without its descriptors",
            ));
        };
        let credentials = Credentials::open(credentials)?;
        Ok(Self {
            config,
            sockets,
            folders,
            credentials,
            log,
        })
    }
}

impl Gateway {
    /// Has every loop go over to these processes, and to what is to change with them.
    pub(super) fn activate(&mut self, workers: u16, serving: Vec<ProcessId>) -> io::Result<()> {
        let mut setups: Vec<Option<Setup>> = match self.change.take() {
            Some(change) => self.change_to(change)?.into_iter().map(Some).collect(),
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
        Ok(())
    }

    /// What belongs to no loop goes over at once. Returns what the loops go over to.
    fn change_to(&mut self, change: Change) -> io::Result<Vec<Setup>> {
        let Change {
            config,
            sockets,
            folders,
            credentials,
            log,
        } = change;
        // The supervisor has made them ready, too, before anything was begun.
        let tls = credentials.ready(&config, &self.credentials, &self.tls);
        self.tls = tls.map_err(io::Error::other)?.into();
        self.credentials = credentials;
        crate::log::configure(&config.engine.log, log)?;
        crate::role::outlive(config.workers.max_wait);
        self.max_wait = config.workers.max_wait;
        let config = Arc::new(config);
        let descriptors = connection_descriptors(&config, self.loops.len());
        let counted: Arc<[u16]> = self.shared.prepare(&config, descriptors).into();
        self.change_sites(&config, folders);
        self.watch_retired(&config);
        let shares = accept::share_out(&config, sockets, self.loops.len());
        let setup = |sockets| Setup {
            config: config.clone(),
            sockets,
            tls: self.tls.clone(),
            counted: counted.clone(),
        };
        Ok(shares.into_iter().map(setup).collect())
    }

    /// Has the HTTP listeners serve what they are to serve.
    pub(super) fn change_sites(&mut self, config: &Config, folders: Vec<(u16, OwnedFd)>) {
        let mut folders = folders.into_iter().peekable();
        self.sites.resize(config.listeners.len(), None);
        for ((place, listener), site) in (0..).zip(&config.listeners).zip(&mut self.sites) {
            let folder = folders.next_if(|(of, _)| *of == place);
            if listener.is_retired || !listener.is_http() {
                // Connections that a removed one has go on with what it served.
                continue;
            }
            let tls = self.tls.get(usize::from(place)).cloned().flatten();
            let settings = Settings::new(listener, folder.map(|(_, folder)| folder), tls);
            match site {
                Some(site) if site.is_of(listener) => site.change(settings),
                // What another one in this place has served nobody asks for any more.
                _ => {
                    let name = listener.name.clone();
                    let (loops, shared) = (self.loops.clone(), self.shared.clone());
                    *site = Some(Arc::new(Site::new(place, name, settings, loops, shared)));
                }
            }
        }
    }

    /// Retired listeners are looked at until they have no connection any more.
    pub(super) fn watch_retired(&mut self, config: &Config) {
        let places = (0..).zip(&config.listeners);
        self.retired = places
            .filter(|(_, listener)| listener.is_retired)
            .map(|(place, _)| place)
            .collect();
    }

    /// Reports those that are vacant by now. Not before every loop has heard that they are retired: until then one could
    /// still accept a connection.
    pub(super) async fn look_at_retired(&mut self) -> io::Result<()> {
        if self
            .activated
            .iter()
            .any(|obeyed| *obeyed < self.activations)
        {
            return Ok(());
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
            return Ok(());
        }
        self.forget(&vacant);
        self.control.send(&FromRole::Vacant(vacant), &[]).await
    }

    /// Lets go of what these listeners served and showed.
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
