//! Proxies that are trusted by their names: looked up at the start, at a reload and again and again.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use moorline_config::{Config, TrustedHost};
use moorline_net::HostPort;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, timeout};

use crate::main_thread::resolvers::Resolvers;
use crate::upstreams::LookedUp;

/// How long a start and a reload wait for new names: shorter than what makes this thread silent.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// How long the system may take to answer, and when it is asked again.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// How long addresses stay trusted while their name cannot be looked up: others may have them by then.
const KEPT: Duration = Duration::from_secs(3600);

/// The names that listeners trust, and their addresses.
#[derive(Default)]
pub(super) struct TrustedHosts {
    resolvers: Resolvers,
    names: RefCell<FxHashMap<String, KnownHost>>,
    /// Those of the present configuration.
    hosts: RefCell<Vec<TrustedHost>>,
    changed: Notify,
}

/// What is known of a name.
#[derive(Default)]
struct KnownHost {
    addresses: Vec<IpAddr>,
    /// When they were found.
    since: Option<Instant>,
    /// When it is looked up again. `None`: it is being looked up.
    due: Cell<Option<Instant>>,
    has_failed: bool,
}

impl TrustedHosts {
    /// Looks up the names of a configuration that are not known, and waits a little for the answers.
    pub(super) async fn prepare(self: &Rc<Self>, config: &Config) {
        let mut looking = JoinSet::new();
        for name in hosts(config).map(|it| it.name.clone()) {
            if !self.names.borrow().contains_key(&name) {
                self.names
                    .borrow_mut()
                    .insert(name.clone(), KnownHost::default());
                looking.spawn_local(self.clone().look_up(name));
            }
        }
        if !looking.is_empty() {
            let all = async { while looking.join_next().await.is_some() {} };
            let _ = timeout(FIRST_LOOK, all).await;
            // Those that take longer go on.
            looking.detach_all();
        }
    }

    /// Loops are about to have this configuration.
    pub(super) fn serve(&self, config: &Config) {
        *self.hosts.borrow_mut() = hosts(config).cloned().collect();
        let hosts = self.hosts.borrow();
        let mut names = self.names.borrow_mut();
        names.retain(|name, _| hosts.iter().any(|it| it.name == *name));
        for host in hosts.iter() {
            if let Some(known) = names.get(&host.name) {
                host.set(&known.addresses);
            }
        }
        self.changed.notify_one();
    }

    /// Looks names up as they become due, as long as the process lives.
    pub(super) async fn look_after(self: Rc<Self>) {
        loop {
            let now = Instant::now();
            let mut next = None;
            for (name, known) in &*self.names.borrow() {
                match known.due.get() {
                    Some(at) if at <= now => {
                        known.due.set(None);
                        spawn_local(self.clone().look_up(name.clone()));
                    }
                    due => next = next.into_iter().chain(due).min(),
                }
            }
            let changed = self.changed.notified();
            match next {
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    }

    async fn look_up(self: Rc<Self>, name: String) {
        let target = HostPort {
            host: name.clone(),
            port: 1,
        };
        let look_up = timeout(LONGEST_LOOK, self.resolvers.look_up_by_system(&target));
        let (looked_up, again) = look_up.await.unwrap_or_else(|_| {
            let problem = "the system does not answer".to_owned();
            (LookedUp::Failed(problem), LONGEST_LOOK)
        });
        self.answered(&name, &looked_up, again);
        let LookedUp::Found(found) = looked_up else {
            return;
        };
        if let Some(ttl) = self.resolvers.time_to_live(&name, &found).await {
            let names = self.names.borrow();
            if let Some(known) = names.get(&name).filter(|it| it.due.get().is_some()) {
                known.due.set(Some(Instant::now() + ttl));
                self.changed.notify_one();
            }
        }
    }

    fn answered(&self, name: &str, looked_up: &LookedUp, again: Duration) {
        let mut names = self.names.borrow_mut();
        // A reload may have removed it.
        let Some(known) = names.get_mut(name) else {
            return;
        };
        known.due.set(Some(Instant::now() + again));
        self.changed.notify_one();
        let has_failed = !matches!(looked_up, LookedUp::Found(_));
        let had_failed = std::mem::replace(&mut known.has_failed, has_failed);
        match looked_up {
            LookedUp::Found(_) if had_failed => {
                tracing::info!(name, "a trusted proxy's name can be resolved again");
            }
            LookedUp::Vanished if !had_failed => {
                tracing::warn!(name, "a trusted proxy's name has no address");
            }
            LookedUp::Failed(error) if !had_failed => {
                tracing::warn!(
                    name, %error,
                    "cannot resolve the name of a trusted proxy: its last known addresses stay trusted for up to an hour"
                );
            }
            _ => {}
        }
        if known.learn(looked_up, Instant::now()) {
            for host in self.hosts.borrow().iter().filter(|it| it.name == name) {
                host.set(&known.addresses);
            }
        }
    }
}

impl KnownHost {
    /// Takes an answer. True: its addresses are others now, perhaps.
    fn learn(&mut self, looked_up: &LookedUp, now: Instant) -> bool {
        match looked_up {
            LookedUp::Found(found) => {
                self.addresses = found.iter().map(|it| it.address.ip()).collect();
                self.since = Some(now);
            }
            LookedUp::Failed(_) if self.since.is_some_and(|since| now < since + KEPT) => {
                return false;
            }
            LookedUp::Vanished | LookedUp::Failed(_) => self.addresses.clear(),
        }
        true
    }
}

fn hosts(config: &Config) -> impl Iterator<Item = &TrustedHost> {
    let listeners = config.listeners.iter();
    listeners.flat_map(|it| &it.proxies.hosts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_proxy::Found;

    #[test]
    fn addresses_stay_trusted_for_an_hour_of_failures_and_not_behind_an_answer_without_any() {
        let now = Instant::now();
        let address = "10.0.0.1:1".parse().expect("an address");
        let found = LookedUp::Found(vec![Found {
            address,
            service: None,
        }]);
        let failed = LookedUp::Failed("no server answers".to_owned());
        let mut known = KnownHost::default();
        assert!(known.learn(&found, now));
        assert!(!known.learn(&failed, now + KEPT - Duration::from_secs(1)));
        assert_eq!(known.addresses, [address.ip()]);
        assert!(known.learn(&failed, now + KEPT));
        assert!(known.addresses.is_empty());
        assert!(known.learn(&found, now));
        assert!(known.learn(&LookedUp::Vanished, now));
        assert!(known.addresses.is_empty());
    }
}
