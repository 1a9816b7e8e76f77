//! The upstreams of relays: their peers, shared by the loops.

mod implicit;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use moorline_config::{Balance, Bind, Config, Destination, Map, ProxyVersion, ResolverRules};
use moorline_net::tls::client::ClientTls;
use moorline_net::{Address, HostPort};
pub(crate) use moorline_proxy::{Attempts, Choice, Failure, NoPeer, PeerAddress, PeerKey};
use moorline_proxy::{
    Found, Maps, NamesOfListeners, NoSuchPeer, Probe, ServerNames, State, Turn, Unplaced, Upstream,
    UpstreamSeen,
};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::peer_tls::PeerTls;
use implicit::Implicit;
pub(crate) use implicit::NoDestination;
use moorline_protocol::control::PeerChange;

/// How soon a relay that waits for the first look-up of a name asks again, in milliseconds.
pub(crate) const NAMES_MS: u64 = 20;

/// What new connections are relayed to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Targets {
    /// The upstream of each listener that has one, by the listener's place.
    listeners: Arc<[Option<Arc<SharedUpstream>>]>,
    names: Arc<FxHashMap<String, Arc<SharedUpstream>>>,
    /// The maps that texts mean.
    pub(crate) maps: Arc<Maps>,
    /// The servers behind listeners.
    pub(crate) servers: Arc<ServerNames>,
}

impl Targets {
    /// The upstream that this listener's connections are relayed to.
    pub(crate) fn of_listener(&self, at: usize) -> Option<&Arc<SharedUpstream>> {
        self.listeners.get(at)?.as_ref()
    }

    /// The upstream of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<SharedUpstream>> {
        self.names.get(name)
    }
}

/// The upstreams of the gateway. They keep their state over reloads, by name.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    state: Mutex<Known>,
    /// Those of addresses that texts name. Locked before the state.
    implicit: Implicit,
    /// Look-ups or checks may be due.
    has_changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// In the order of the configuration.
    upstreams: Vec<Arc<SharedUpstream>>,
    targets: Targets,
    /// TLS towards the peers of each, for the next change.
    tls: FxHashMap<String, Arc<PeerTls>>,
    /// What the maps of the targets were made of.
    maps: Vec<Map>,
    /// What the servers of the targets were made of.
    names: NamesOfListeners,
}

impl Upstreams {
    /// Takes those of this configuration. Relays keep the upstream that they have.
    pub(crate) fn change(&self, config: &Config, now: u64) {
        let mut known = lock(&self.state);
        let mut present = std::mem::take(&mut known.upstreams);
        for wanted in &config.upstreams {
            let tls = known.tls.get(&wanted.name).cloned();
            let same = present.iter().position(|it| it.name == wanted.name);
            let upstream = match same {
                Some(at) => {
                    let upstream = present.swap_remove(at);
                    upstream.replace(wanted.clone(), tls, now);
                    upstream
                }
                None => {
                    let upstream = SharedUpstream::new(wanted.clone(), now);
                    Arc::new(upstream.with_tls(tls))
                }
            };
            known.upstreams.push(upstream);
        }
        let names = known
            .upstreams
            .iter()
            .map(|it| (it.name.clone(), it.clone()));
        let names: FxHashMap<_, _> = names.collect();
        let listeners = config.listeners.iter().map(|listener| {
            let Some(Destination::Upstream(name)) = &listener.destination else {
                return None;
            };
            names.get(name).cloned()
        });
        known.targets.listeners = listeners.collect();
        known.targets.names = Arc::new(names);
        if known.maps != config.maps {
            known.maps.clone_from(&config.maps);
            known.targets.maps = Arc::new(Maps::new(&config.maps));
        }
        let names = NamesOfListeners::of(&config.listeners);
        if known.names != names {
            known.targets.servers = Arc::new(ServerNames::new(&names));
            known.names = names;
        }
        // Who looks for an address locks that table first, and the state behind it.
        let tls = known.tls.clone();
        drop(known);
        self.implicit.change(config, &tls, now);
        self.note_change();
    }

    /// TLS towards peers, by the names of their upstreams, for the next [change](Self::change). `None`: it is as before, with the
    /// sessions that can be resumed.
    pub(crate) fn prepare_tls(&self, made: Vec<(String, Option<ClientTls>)>) {
        let mut known = lock(&self.state);
        let mut before = std::mem::take(&mut known.tls);
        known.tls = made
            .into_iter()
            .filter_map(|(name, made)| {
                let tls = match made {
                    Some(made) => Arc::new(PeerTls::new(made)),
                    None => before.remove(&name)?,
                };
                Some((name, tls))
            })
            .collect();
    }

    /// All of them, in the order of the configuration.
    pub(crate) fn all(&self) -> Vec<Arc<SharedUpstream>> {
        lock(&self.state).upstreams.clone()
    }

    /// The names and the checks that are due. They count as running from here.
    pub(crate) fn take_due(&self, now: u64) -> Due {
        let mut due = Due::default();
        for upstream in self.all() {
            upstream.take_due(now, &mut due);
        }
        // Not clones of them: one that somebody has does not give way to another.
        self.implicit
            .visit(now, |upstream| upstream.take_due(now, &mut due));
        due
    }

    /// The upstream of the address that this text names, with the settings of another one. With the text: whether it is for datagrams.
    ///
    /// # Errors
    /// It names none, or there are too many.
    pub(crate) fn of_address(
        &self,
        text: (&str, bool),
        like: Option<&moorline_config::Upstream>,
        now: u64,
    ) -> Result<Arc<SharedUpstream>, NoDestination> {
        let name = like.map(|like| like.name.as_str());
        // A loop may still have an earlier configuration than the one that the others get their settings from.
        let settings = || {
            let known = lock(&self.state);
            let present = name.and_then(|name| known.targets.named(name));
            let tls = name.and_then(|name| known.tls.get(name)).cloned();
            let settings = present.map(|it| it.locked().config().clone());
            (settings.or_else(|| like.cloned()), tls)
        };
        let (upstream, is_new) = self.implicit.get(text, name, settings, now)?;
        if is_new {
            // Its name must be looked up first.
            self.note_change();
        }
        Ok(upstream)
    }

    /// Something else may be due.
    pub(crate) fn note_change(&self) {
        self.has_changed.notify_one();
    }

    /// Waits until something else may be due. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.has_changed.notified().await;
    }

    /// What new connections are relayed to.
    pub(crate) fn targets(&self) -> Targets {
        lock(&self.state).targets.clone()
    }
}

/// How connections to the peers of an upstream begin.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The local address.
    pub(crate) bind: Option<Arc<Bind>>,
    /// The header that goes first.
    pub(crate) header: Option<ProxyVersion>,
    /// The handshake behind it.
    pub(crate) tls: Encryption,
}

/// Whether connections to peers are encrypted.
#[derive(Debug, Clone)]
pub(crate) enum Encryption {
    None,
    Ready(Arc<PeerTls>),
    /// They must be, and cannot.
    Missing,
}

impl Opening {
    fn new(upstream: &Upstream, tls: &Mutex<Option<Arc<PeerTls>>>) -> Self {
        let config = upstream.config();
        Self {
            bind: upstream.bind(),
            header: config.proxy_protocol,
            tls: match &config.tls {
                None => Encryption::None,
                Some(_) => lock(tls)
                    .clone()
                    .map_or(Encryption::Missing, Encryption::Ready),
            },
        }
    }
}

/// What is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) names: Vec<(Arc<SharedUpstream>, HostPort)>,
    pub(crate) probes: Vec<(Arc<SharedUpstream>, Probe)>,
    /// When something else will be.
    pub(crate) next: Option<u64>,
}

/// The look-ups of one name.
#[derive(Debug, Default)]
struct NameLookUp {
    /// When the next one is due. None: one is running.
    due: Option<u64>,
    /// There was an answer, or a failure.
    is_answered: bool,
    /// The last one was a failure.
    has_failed: bool,
}

/// What came of the look-up of a name.
#[derive(Debug)]
pub(crate) enum LookedUp {
    Found(Vec<Found>),
    /// It does not exist, or has no address: the servers have said so.
    Vanished,
    /// It cannot be found out now.
    Failed(String),
}

/// One upstream. Its lock is taken for each choice of a peer and for each result, never for a byte.
#[derive(Debug)]
pub(crate) struct SharedUpstream {
    pub(crate) name: String,
    /// Read for each connection, without the lock.
    is_hashed: AtomicBool,
    state: Mutex<Upstream>,
    /// TLS towards its peers. Locked behind the state.
    tls: Mutex<Option<Arc<PeerTls>>>,
    /// The look-ups of its names. Locked before the state.
    look_ups: Mutex<FxHashMap<HostPort, NameLookUp>>,
}

impl SharedUpstream {
    /// Times are in milliseconds of the clock that all loops share.
    pub(crate) fn new(config: moorline_config::Upstream, now: u64) -> Self {
        Self {
            name: config.name.clone(),
            is_hashed: AtomicBool::new(is_hashed(&config)),
            state: Mutex::new(Upstream::new(config, fastrand::u64(..), now)),
            tls: Mutex::default(),
            look_ups: Mutex::default(),
        }
    }

    /// The same with TLS towards its peers.
    fn with_tls(self, tls: Option<Arc<PeerTls>>) -> Self {
        *lock(&self.tls) = tls;
        self
    }

    /// One without peers, of relays that go nowhere.
    pub(crate) fn nowhere() -> Arc<Self> {
        static NOWHERE: OnceLock<Arc<SharedUpstream>> = OnceLock::new();
        let make = || {
            let path = Address::Unix(Default::default());
            let mut config = moorline_config::Upstream::of_address(String::new(), path, None);
            config.peers.clear();
            Arc::new(Self::new(config, 0))
        };
        NOWHERE.get_or_init(make).clone()
    }

    /// Whether its peers take datagrams.
    pub(crate) fn is_datagram(&self) -> bool {
        self.locked().config().is_datagram()
    }

    /// Whether a key decides which peer a connection gets.
    pub(crate) fn is_hashed(&self) -> bool {
        self.is_hashed.load(Ordering::Relaxed)
    }

    /// A peer for a connection that has made these attempts, and how the connection to it begins. `key`: the filled key of
    /// hashing.
    ///
    /// # Errors
    /// No peer can be given.
    pub(crate) fn choose(
        &self,
        now: u64,
        key: &[u8],
        attempts: &mut Attempts,
    ) -> Result<(Choice, Opening), NoPeer> {
        let mut upstream = self.locked();
        let choice = upstream.choose(now, key, attempts)?;
        Ok((choice, Opening::new(&upstream, &self.tls)))
    }

    /// The connection to a peer is made. True: it is to be told when the first byte comes.
    pub(crate) fn connected(
        &self,
        peer: (PeerKey, &PeerAddress),
        now: u64,
        took: Duration,
    ) -> bool {
        let mut upstream = self.locked();
        let turn = upstream.connected(peer.0, now, took);
        let wants_first_byte = upstream.wants_first_byte();
        drop(upstream);
        self.tell(turn, peer.1, None);
        wants_first_byte
    }

    /// The attempt has failed, or the connection has broken before anything was sent.
    pub(crate) fn failed(
        &self,
        peer: (PeerKey, &PeerAddress),
        now: u64,
        why: Failure,
        took: Duration,
    ) {
        let turn = self.locked().failed(peer.0, now, why, took);
        self.tell(turn, peer.1, Some(why));
    }

    /// The first byte of a peer has come.
    pub(crate) fn first_byte(&self, peer: PeerKey, now: u64, took: Duration) {
        self.locked().first_byte(peer, now, took);
    }

    /// A connection that was made has ended.
    pub(crate) fn closed(&self, peer: PeerKey, now: u64, lasted: Duration) {
        self.locked().closed(peer, now, lasted);
    }

    /// A client of datagrams has gone. Nothing has come from the peer, and nobody has said that it cannot be reached.
    pub(crate) fn undisturbed(&self, peer: PeerKey, address: SocketAddr, now: u64) {
        let turn = self.locked().undisturbed(peer, now);
        self.tell(turn, &PeerAddress::Udp(address), None);
    }

    /// The client has gone before the connection was made.
    pub(crate) fn abandoned(&self, peer: PeerKey) {
        self.locked().abandoned(peer);
    }

    fn tell(&self, turn: Option<Turn>, peer: &PeerAddress, why: Option<Failure>) {
        let upstream = &self.name;
        let error = why.map(tracing::field::display);
        match turn {
            None => {}
            Some(Turn::TakenOut) => {
                tracing::warn!(%upstream, %peer, error, "peer taken out: attempts to connect fail");
            }
            Some(Turn::Unhealthy) => {
                tracing::warn!(%upstream, %peer, error, "peer taken out: its checks fail");
            }
            Some(Turn::Back) => tracing::info!(%upstream, %peer, "peer is back"),
            Some(Turn::Healthy) => {
                tracing::info!(%upstream, %peer, "peer is back: its checks succeed");
            }
        }
    }

    /// How connections to its peers begin.
    pub(crate) fn opening(&self) -> Opening {
        Opening::new(&self.locked(), &self.tls)
    }

    /// The host that checks verify its peers by, if it is the same for all connections.
    pub(crate) fn server_name(&self) -> Option<String> {
        let upstream = self.locked();
        let template = upstream.config().tls.as_ref()?.server_name.as_ref()?;
        template.constant().map(str::to_owned)
    }

    /// Which servers know the names of its peers.
    pub(crate) fn resolver(&self) -> Option<ResolverRules> {
        self.locked().config().resolver.clone()
    }

    /// Whether some name was not looked up so far.
    pub(crate) fn is_resolving(&self) -> bool {
        let look_ups = lock(&self.look_ups);
        let is_open = |name| look_ups.get(name).is_none_or(|it| !it.is_answered);
        self.locked().names().any(is_open)
    }

    fn take_due(self: &Arc<Self>, now: u64, due: &mut Due) {
        let mut look_ups = lock(&self.look_ups);
        let mut upstream = self.locked();
        let names: Vec<_> = upstream.names().cloned().collect();
        look_ups.retain(|name, _| names.contains(name));
        let mut next = Vec::new();
        for name in names {
            let look_up = look_ups.entry(name.clone()).or_insert(NameLookUp {
                due: Some(0),
                ..NameLookUp::default()
            });
            if look_up.due.take_if(|at| *at <= now).is_some() {
                due.names.push((self.clone(), name));
            }
            next.extend(look_up.due);
        }
        while let Some(probe) = upstream.due_check(now) {
            due.probes.push((self.clone(), probe));
        }
        next.extend(upstream.next_check());
        due.next = next.into_iter().chain(due.next).min();
    }

    /// A name was looked up. It will be again after this time.
    pub(crate) fn answered(&self, name: &HostPort, looked_up: LookedUp, now: u64, again: Duration) {
        let mut look_ups = lock(&self.look_ups);
        let Some(look_up) = look_ups.get_mut(name) else {
            return;
        };
        look_up.due = Some(now + again.as_millis() as u64);
        look_up.is_answered = true;
        let has_failed = !matches!(looked_up, LookedUp::Found(_));
        let had_failed = std::mem::replace(&mut look_up.has_failed, has_failed);
        let mut upstream = self.locked();
        match looked_up {
            LookedUp::Found(found) => {
                let placed = upstream.found(name, found, now);
                drop(upstream);
                self.tell_unplaced(placed);
                if had_failed {
                    tracing::info!(upstream = %self.name, %name, "a peer's name can be resolved again");
                }
            }
            LookedUp::Vanished => {
                upstream.vanished(name, now);
                drop(upstream);
                if !had_failed {
                    tracing::warn!(upstream = %self.name, %name, "a peer's name has no address");
                }
            }
            LookedUp::Failed(error) => {
                upstream.unresolved(name, &error);
                drop(upstream);
                // Once, not each time.
                if had_failed {
                    return;
                }
                tracing::warn!(upstream = %self.name, %name, %error, "a peer's name cannot be resolved");
            }
        }
    }

    /// The last answer holds until then, unless the name is being looked up again by now.
    pub(crate) fn holds(&self, name: &HostPort, until: u64) {
        let mut look_ups = lock(&self.look_ups);
        let due = look_ups.get_mut(name).and_then(|it| it.due.as_mut());
        if let Some(due) = due {
            *due = until;
        }
    }

    /// A check has ended. Returns how the peer's health has changed.
    pub(crate) fn checked(
        &self,
        peer: (PeerKey, &PeerAddress),
        now: u64,
        result: Result<(), Failure>,
    ) -> Option<Turn> {
        let turn = self.locked().checked(peer.0, now, result);
        self.tell(turn, peer.1, result.err());
        turn
    }

    /// A check could not be made, for a reason of this machine.
    pub(crate) fn unchecked(&self, peer: PeerKey, now: u64) {
        self.locked().unchecked(peer, now);
    }

    /// A command changes peers. Returns how many.
    pub(crate) fn set(
        &self,
        peer: &str,
        change: PeerChange,
        now: u64,
    ) -> Result<usize, NoSuchPeer> {
        let mut upstream = self.locked();
        let peers = match change {
            PeerChange::Switch(switch) => upstream.switch(peer, switch, now)?,
            PeerChange::Weight(weight) => upstream.weigh(peer, weight)?,
        };
        drop(upstream);
        tracing::info!(upstream = %self.name, peer, ?change, "peer changed by a command");
        Ok(peers)
    }

    /// Whether peers were passed over for a connection that got none after this number of attempts: they are out, or full.
    pub(crate) fn passed_over(&self, why: NoPeer, made: u32, now: u64) -> bool {
        if matches!(why, NoPeer::TriesSpent | NoPeer::TimeSpent) {
            return false;
        }
        let peers = self.snapshot(now).peers.into_iter();
        let used = peers.filter(|peer| !matches!(peer.state, State::Gone | State::Down));
        made == 0 || made < used.count() as u32
    }

    /// What people see of it.
    pub(crate) fn snapshot(&self, now: u64) -> UpstreamSeen {
        self.locked().snapshot(now)
    }

    /// A reload has changed its configuration.
    fn replace(&self, config: moorline_config::Upstream, tls: Option<Arc<PeerTls>>, now: u64) {
        let is_hashed = is_hashed(&config);
        let mut look_ups = lock(&self.look_ups);
        let mut upstream = self.locked();
        if upstream.config().resolver != config.resolver {
            // Those that are running end by the earlier rules.
            for look_up in look_ups.values_mut() {
                look_up.due = look_up.due.and(Some(0));
            }
        }
        *lock(&self.tls) = tls;
        let replaced = upstream.replace(config, now);
        drop(upstream);
        self.is_hashed.store(is_hashed, Ordering::Relaxed);
        self.tell_unplaced(replaced);
    }

    fn tell_unplaced(&self, placed: Result<(), Unplaced>) {
        if let Err(Unplaced(addresses)) = placed {
            tracing::warn!(upstream = %self.name, addresses, "there are too many peers: these addresses are not used");
        }
    }

    fn locked(&self) -> MutexGuard<'_, Upstream> {
        lock(&self.state)
    }
}

fn is_hashed(config: &moorline_config::Upstream) -> bool {
    matches!(config.balance, Balance::Hash { .. })
}

/// A panic ends the process, so no lock is poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
