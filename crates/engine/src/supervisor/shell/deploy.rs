//! What the engine runs with: opened by a reload, told to the gateway, committed or given up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use serde_json::{Value, json};
use tracing::{info, warn};

use crate::config::Config;
use crate::control::ToRole;
use crate::log;

use super::super::deployment::{Deployment, Present};
use super::super::listeners::Opened;
use super::super::plan::{Event, Scope};
use super::super::systemd::Given;
use super::Shell;

impl Shell {
    /// Opens what a reload will commit, if all goes well.
    pub(super) fn open(&mut self, generation: u32, scope: Scope) {
        self.notifier.reloading();
        info!(generation, "reload: starting");
        let opened = self.open_deployment(scope).map(|deployment| {
            let shape = deployment.shape();
            self.deployments.insert(generation, deployment);
            shape
        });
        self.tell(Event::Opened(opened));
    }

    fn open_deployment(&mut self, scope: Scope) -> Result<Deployment, String> {
        let config = self.effective().map_err(|error| error.to_string())?;
        let [workers, _] = self.plan.generations();
        let present = self
            .deployments
            .get(&workers)
            .ok_or("the present configuration is lost")?;
        let present = Present {
            config: &config,
            listeners: &present.listeners,
            vacant: &self.vacant,
        };
        Deployment::open(
            &self.executable,
            &self.config_path,
            scope,
            &present,
            &mut self.given,
        )
    }

    /// What the engine as a whole runs with: the configuration of gateway and workers, and the task workers' part of theirs.
    fn effective(&self) -> io::Result<Config> {
        let [workers, tasks] = self.plan.generations();
        let config = self.deployment(workers)?.config.clone();
        Ok(Config {
            tasks: self.deployment(tasks)?.config.tasks.clone(),
            ..config
        })
    }

    pub(super) fn commit(&mut self, generation: u32, scope: Scope) {
        self.tally.reloads_done += 1;
        let used = self.plan.generations();
        // The next reload may have opened its own already, or be committed too and wait to be told after this one. What
        // only the old ones had open is closed with them.
        let is_used = |opened: u32| used.contains(&opened) || opened >= generation;
        let (kept, old) = std::mem::take(&mut self.deployments)
            .into_iter()
            .partition(|(opened, _)| is_used(*opened));
        self.deployments = kept;
        if scope == Scope::All {
            let old: Vec<Deployment> = old.into_values().collect();
            self.committed(generation, &old);
        }
        info!(generation, ?scope, "reload done: the new processes serve");
        self.say_ready();
    }

    fn committed(&mut self, generation: u32, old: &[Deployment]) {
        let Some(deployment) = self.deployments.get(&generation) else {
            return;
        };
        let log = &deployment.config.engine.log;
        if let Err(error) = deployment
            .log_file()
            .and_then(|file| log::configure(log, file))
        {
            warn!(%error, "the log of the supervisor stays as it is");
        }
        let lines_before: Vec<&str> = old.iter().flat_map(|old| old.listeners.lines()).collect();
        for line in deployment
            .listeners
            .lines()
            .filter(|line| !lines_before.contains(line))
        {
            info!("{line}");
        }
    }

    /// Starts the gateway with what is committed.
    pub(super) fn start_gateway(&mut self) -> io::Result<()> {
        let config = self.effective()?;
        self.fill(&config);
        let generations = self.plan.generations();
        let last_serial = self.tally.last_serial();
        let deployment = self.deployment(generations[0])?;
        let Deployment {
            listeners,
            credentials,
            ..
        } = deployment;
        let log = deployment.log_file()?;
        let mut sockets = Vec::new();
        let mut fds = Vec::new();
        for (place, opened) in listeners.iter() {
            sockets.push((place, opened.socket.clone()));
            fds.push(opened.socket.as_fd().try_clone_to_owned()?);
            fds.extend(folder(opened)?);
        }
        fds.push(credentials.as_fd().try_clone_to_owned()?);
        let Some(gateway) = &mut self.gateway else {
            return Ok(());
        };
        gateway.configured = Some(generations);
        gateway.sockets = sockets.into_iter().collect();
        let Some(outbox) = &gateway.outbox else {
            return Ok(());
        };
        let mut all = vec![gateway.board_fd.try_clone()?];
        all.append(&mut fds);
        let start = ToRole::StartGateway {
            incarnation: gateway.incarnation,
            config: Box::new(config),
            last_serial,
        };
        outbox.send(&start, all)?;
        match log {
            Some(file) => outbox.send(&ToRole::ReopenLog, vec![file]),
            None => Ok(()),
        }
    }

    /// Tells the gateway what is committed, unless it knows: it goes on with that from the next `Activate` on.
    pub(super) fn configure_gateway(&mut self) -> io::Result<()> {
        let generations = self.plan.generations();
        let knows = self
            .gateway
            .as_ref()
            .is_none_or(|gateway| gateway.configured == Some(generations));
        if knows {
            return Ok(());
        }
        let config = self.effective()?;
        self.fill(&config);
        let Some(deployment) = self.deployments.get(&generations[0]) else {
            return Ok(());
        };
        let file = deployment.log_file()?;
        let Some(gateway) = &mut self.gateway else {
            return Ok(());
        };
        let (mut sockets, mut folders) = (Vec::new(), Vec::new());
        let (mut fds, mut folder_fds) = (Vec::new(), Vec::new());
        for (place, opened) in deployment.listeners.iter() {
            let present = gateway.sockets.get(&place);
            if present.is_none_or(|present| !Rc::ptr_eq(present, &opened.socket)) {
                sockets.push(place);
                fds.push(opened.socket.as_fd().try_clone_to_owned()?);
            }
            if let Some(folder) = folder(opened)? {
                folders.push(place);
                folder_fds.push(folder);
            }
        }
        fds.append(&mut folder_fds);
        fds.push(deployment.credentials.as_fd().try_clone_to_owned()?);
        fds.extend(file);
        gateway.configured = Some(generations);
        gateway.sockets = deployment
            .listeners
            .iter()
            .map(|(place, opened)| (place, opened.socket.clone()))
            .collect();
        let Some(outbox) = &gateway.outbox else {
            return Ok(());
        };
        let configure = ToRole::Configure {
            config: Box::new(config),
            sockets,
            folders,
        };
        outbox.send(&configure, fds)
    }

    /// Where a listener of this configuration accepts it is vacant no more.
    fn fill(&mut self, config: &Config) {
        self.vacant.retain(|place| {
            let listener = config.listeners.get(usize::from(*place));
            listener.is_some_and(|listener| listener.is_retired)
        });
    }

    pub(super) fn are_vacant(&mut self, incarnation: u32, places: Vec<u16>) {
        let is_present = self
            .gateway
            .as_ref()
            .is_some_and(|gateway| gateway.incarnation == incarnation);
        let [generation, _] = self.plan.generations();
        let Some(deployment) = self.deployments.get(&generation).filter(|_| is_present) else {
            return;
        };
        for place in places {
            // Said of what was retired then; a reload may have brought it back since.
            let listener = deployment.config.listeners.get(usize::from(place));
            let Some(listener) = listener.filter(|listener| listener.is_retired) else {
                continue;
            };
            // Said again after each reload.
            if self.vacant.insert(place) {
                info!(
                    listener = listener.name,
                    "the last session of a removed listener has ended"
                );
            }
        }
    }

    /// Nobody connects any more, once the gateway has closed its copies too.
    pub(super) fn close_listeners(&mut self) {
        for deployment in self.deployments.values_mut() {
            deployment.listeners.close();
        }
        if let Some(gateway) = &mut self.gateway {
            gateway.sockets.clear();
        }
        self.given = Given::default();
    }

    /// The listeners as `status` shows them: those that accept, and those that only have sessions left.
    pub(super) fn listeners(&self) -> Vec<Value> {
        let [generation, _] = self.plan.generations();
        let Some(deployment) = self.deployments.get(&generation) else {
            return Vec::new();
        };
        let places = deployment.config.listeners.iter().zip(0..);
        places
            .filter(|(_, place)| !self.vacant.contains(place))
            .map(|(listener, place)| {
                let opened = deployment.listeners.get(place);
                let address = opened.map_or(&listener.address, |opened| &opened.address);
                json!({
                    "name": listener.name,
                    "address": address.to_string(),
                    "kind": listener.kind_word(),
                    "state": if listener.is_retired { "retired" } else { "accepting" },
                })
            })
            .collect()
    }
}

fn folder(opened: &Opened) -> io::Result<Option<OwnedFd>> {
    opened.folder.as_ref().map(OwnedFd::try_clone).transpose()
}
