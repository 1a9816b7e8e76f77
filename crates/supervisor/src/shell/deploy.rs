//! Deployments: a reload opens one, tells the gateway, and commits or abandons it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use serde_json::Value;
use tracing::{info, warn};

use moorline_config::Config;
use moorline_ipc::Channel;
use moorline_process::log;
use moorline_protocol::control::{ProcessId, ToRole};

use super::super::deployment::{Deployment, Present};
use super::super::listeners::Opened;
use super::super::plan::{Child, Event};
use super::super::status::{Counts, LastReload};
use super::super::systemd::Given;
use super::Shell;
use super::children::{GatewayHandle, Sockets};
use moorline_protocol::command::Scope;

impl Shell {
    /// Opens the deployment that a reload commits if all goes well.
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
            warnings: &present.warnings,
            listeners: &present.listeners,
            vacant: &self.vacant,
        };
        Deployment::open(
            &self.executable,
            &self.source,
            scope,
            &present,
            &mut self.given,
        )
    }

    /// What the engine runs with: the configuration of gateway and workers, and the task workers' part of theirs.
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
        self.tally.last_reload = Some(LastReload {
            generation,
            at: self.started.elapsed(),
            failure: None,
        });
        let used = self.plan.generations();
        // The next reload may already have opened its own deployment, or may be committed too and be confirmed later.
        // Dropping the old deployments closes the files that only they had open.
        let is_used = |opened: u32| used.contains(&opened) || opened >= generation;
        let (kept, old) = std::mem::take(&mut self.deployments)
            .into_iter()
            .partition(|(opened, _)| is_used(*opened));
        self.deployments = kept;
        if scope == Scope::All {
            self.others.executable = None;
            let old: Vec<Deployment> = old.into_values().collect();
            self.committed(generation, &old);
        }
        match scope {
            Scope::All => info!(generation, "reload done: generation {generation} serves"),
            Scope::Tasks => info!(
                generation,
                "reload done: the task workers of generation {generation} serve"
            ),
        }
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

    /// Starts the gateway with the committed generation.
    pub(super) fn start_gateway(&mut self, incarnation: u32) {
        let result = self.try_start_gateway();
        self.unless_sent(Child::Gateway(incarnation), result);
        if !self.stopped_listeners.is_empty() {
            self.tell_stopped_listeners();
        }
    }

    fn try_start_gateway(&mut self) -> io::Result<()> {
        let (sockets, start) = self.gateway_start()?;
        let Some(gateway) = &mut self.gateway else {
            return Ok(());
        };
        gateway.sockets = sockets;
        start.send_to(gateway, None)
    }

    /// What a gateway starts with now, and the sockets among it.
    pub(super) fn gateway_start(&mut self) -> io::Result<(Sockets, GatewayBegin)> {
        let config = self.effective()?;
        self.fill(&config);
        let [generation, _] = self.plan.generations();
        let last_serial = self.tally.last_serial();
        let deployment = self.deployment(generation)?;
        let mut descriptors = Vec::new();
        for (_, opened) in deployment.listeners.iter() {
            descriptors.push(opened.socket.as_fd().try_clone_to_owned()?);
            descriptors.extend(folders_of(opened)?);
        }
        descriptors.push(deployment.credentials.as_fd().try_clone_to_owned()?);
        let start = GatewayBegin {
            config: config.without_logins(),
            last_serial,
            descriptors,
            log: deployment.log_of_gateway()?,
        };
        Ok((sockets_of(deployment), start))
    }

    /// Tells the gateway what this generation changes, if it is committed.
    pub(super) fn prepare_gateway(&mut self, generation: u32, scope: Scope) {
        if let Err(error) = self.try_prepare_gateway(generation, scope) {
            self.not_prepared(generation, error.to_string());
        }
    }

    /// Sends the configuration of this generation, and the descriptors that the gateway does not have yet.
    ///
    /// # Errors
    /// A descriptor cannot be made. What the gateway answers comes as an event.
    fn try_prepare_gateway(&mut self, generation: u32, scope: Scope) -> io::Result<()> {
        let opened = self.deployment(generation)?;
        // A reload of task workers keeps the gateway's configuration.
        let (config, deployment) = match scope {
            Scope::All => (opened.config.clone(), opened),
            Scope::Tasks => {
                let [workers, _] = self.plan.generations();
                let present = self.deployment(workers)?;
                let config = Config {
                    tasks: opened.config.tasks.clone(),
                    ..present.config.clone()
                };
                (config, present)
            }
        };
        let file = deployment.log_of_gateway()?;
        let Some(gateway) = &self.gateway else {
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
            for folder in folders_of(opened)? {
                folders.push(place);
                folder_fds.push(folder);
            }
        }
        fds.append(&mut folder_fds);
        fds.push(deployment.credentials.as_fd().try_clone_to_owned()?);
        fds.extend(file);
        let will_have = sockets_of(deployment);
        let Some(outbox) = &gateway.outbox else {
            return Ok(());
        };
        let prepare = ToRole::Prepare {
            generation,
            config: Box::new(config.without_logins()),
            sockets,
            folders,
        };
        let sent = outbox.send(&prepare, fds);
        if let Some(gateway) = &mut self.gateway {
            gateway.prepared = Some((generation, will_have));
        }
        self.unless_sent_to_gateway(sent);
        Ok(())
    }

    /// The gateway does not take this generation.
    fn not_prepared(&mut self, generation: u32, reason: String) {
        if let Some(gateway) = &self.gateway {
            self.tell(Event::Prepared {
                incarnation: gateway.incarnation,
                generation,
                failure: Some(reason),
            });
        }
    }

    /// Tells the gateway which processes serve, and which generation applies.
    pub(super) fn activate(
        &mut self,
        workers: u16,
        serving: Vec<ProcessId>,
        prepared: Option<u32>,
    ) {
        self.switch_to(prepared);
        self.send_gateway(&ToRole::Activate {
            workers,
            serving,
            prepared,
        });
        // A reload may give them other places, and a new gateway accepts everywhere.
        if !self.stopped_listeners.is_empty() {
            self.tell_stopped_listeners();
        }
    }

    /// The gateway switches to what it prepared as this generation.
    fn switch_to(&mut self, prepared: Option<u32>) {
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        let is_meant = |(generation, _): &mut (u32, _)| Some(*generation) == prepared;
        let Some((_, sockets)) = gateway.prepared.take_if(is_meant) else {
            return;
        };
        gateway.sockets = sockets;
        match self.effective() {
            Ok(config) => self.fill(&config),
            Err(error) => warn!(%error, "retired listeners are not counted"),
        }
    }

    /// A reload has failed.
    pub(super) fn abandon(&mut self, generation: u32, reason: &str) {
        warn!(
            generation,
            reason, "reload failed; the processes before it go on serving"
        );
        self.tally.reloads_failed += 1;
        self.tally.last_reload = Some(LastReload {
            generation,
            at: self.started.elapsed(),
            failure: Some(reason.to_owned()),
        });
        self.forget_prepared(generation);
        self.say_ready();
        self.deployments.remove(&generation);
    }

    /// The gateway closes what it prepared for this generation.
    fn forget_prepared(&mut self, generation: u32) {
        let is_meant = |(prepared, _): &mut (u32, _)| *prepared == generation;
        let gateway = self.gateway.as_mut();
        if gateway.is_some_and(|gateway| gateway.prepared.take_if(is_meant).is_some()) {
            self.send_gateway(&ToRole::Forget);
        }
    }

    /// Where a listener of this configuration accepts, the place is not vacant any more.
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
            // A reload may have brought the listener back since the gateway sent this.
            let listener = deployment.config.listeners.get(usize::from(place));
            let Some(listener) = listener.filter(|listener| listener.is_retired) else {
                continue;
            };
            // The gateway sends it again after each reload.
            if self.vacant.insert(place) {
                info!(
                    listener = listener.name,
                    "the last session of a removed listener has ended"
                );
            }
        }
    }

    /// Clients cannot connect any more once the gateway has closed its copies, too.
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
    pub(super) fn listeners(&self, counts: &Counts<'_>) -> Vec<Value> {
        let [generation, _] = self.plan.generations();
        let Some(deployment) = self.deployments.get(&generation) else {
            return Vec::new();
        };
        let places = deployment.config.listeners.iter().zip(0..);
        let bound = deployment.bound();
        places
            .filter(|(_, place)| !self.vacant.contains(place))
            .map(|(listener, place)| {
                let opened = deployment.listeners.get(place);
                let host = listener.host.as_deref().filter(|_| !listener.is_retired);
                let opened = opened.or_else(|| bound.get(host?).copied());
                let address = opened.map_or(&listener.address, |opened| &opened.address);
                let mut row = counts.listener(place);
                let state = match listener.is_retired {
                    true => "retired",
                    false if self.stopped_listeners.contains(&listener.name) => "stopped",
                    false if counts.is_paused(place) => "paused",
                    false => "accepting",
                };
                for (key, text) in [
                    ("name", listener.name.clone()),
                    ("address", address.to_string()),
                    ("kind", listener.kind_word().to_owned()),
                    ("state", state.to_owned()),
                ] {
                    row.insert(key.to_owned(), text.into());
                }
                Value::Object(row)
            })
            .collect()
    }
}

/// What a gateway starts with.
pub(super) struct GatewayBegin {
    config: Config,
    last_serial: u64,
    /// The sockets and folders of the listeners, and the credentials.
    descriptors: Vec<OwnedFd>,
    log: Option<OwnedFd>,
}

impl GatewayBegin {
    /// Sends it to a gateway; with this channel, to one that follows another.
    pub(super) fn send_to(
        self,
        gateway: &mut GatewayHandle,
        follows: Option<Channel>,
    ) -> io::Result<()> {
        let Some(outbox) = &gateway.outbox else {
            return Ok(());
        };
        let mut all = vec![gateway.board_fd.try_clone()?];
        all.extend(self.descriptors);
        let start = ToRole::StartGateway {
            incarnation: gateway.incarnation,
            config: Box::new(self.config),
            last_serial: self.last_serial,
            follows: follows.is_some(),
        };
        all.extend(follows.map(OwnedFd::from));
        outbox.send(&start, all)?;
        gateway.has_start = true;
        match self.log {
            Some(file) => outbox.send(&ToRole::ReopenLog, vec![file]),
            None => Ok(()),
        }
    }
}

fn sockets_of(deployment: &Deployment) -> Sockets {
    let listeners = deployment.listeners.iter();
    listeners
        .map(|(place, opened)| (place, opened.socket.clone()))
        .collect()
}

fn folders_of(opened: &Opened) -> io::Result<Vec<OwnedFd>> {
    opened.folders.iter().map(OwnedFd::try_clone).collect()
}
