//! `[upstream.NAME]`: sets of servers that connections are relayed to.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use moorline_net::{Address, AddressError};
use serde::{Deserialize, Serialize};

use super::Listener;
use super::balance::{self, Balance, HashMethod};
use super::bind::{Bind, bind, check_families};
use super::datagram_relay;
use super::error::{Report, Reported};
use super::peer_address;
use super::peer_check::{self, Check, MOST};
use super::peer_tls::{self, PeerTls};
use super::proxy_version::{ProxyVersion, proxy_version};
use super::resolver::{self, ResolverRules};
use super::service;
use super::tables::{TableKind, Tables, tables};
use super::walk::{Field, Section};

/// A peer of the same network answers in a millisecond, one across the world in a second with two lost packets.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than most clients wait.
const DEFAULT_NEXT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_MAX_FAILS: u32 = 1;
const DEFAULT_FAIL_TIMEOUT: Duration = Duration::from_secs(10);

const MOST_UPSTREAMS: usize = 1024;
/// Peers of one upstream, also those that its names resolve to: each choice looks at all of them.
pub const MOST_PEERS: usize = 1024;
/// The weight of one peer.
const MOST_WEIGHT: u64 = 65_535;
/// The weights of an upstream with `ketama`: each has 160 points of 8 bytes.
const MOST_KETAMA_WEIGHT: u64 = 4096;

const HINT: &str = "write [upstream.NAME] and its keys below it";
const PEERS_HINT: &str =
    r#"write peers = ["tcp://10.0.0.1:3306", { address = "tcp://10.0.0.2:3306", weight = 2 }]"#;
const PEER_HINT: &str = "write tcp://host:port, tls://host:port, udp://host:port, or unix:///path";

/// A set of servers that connections are relayed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// What listeners, commands and log lines call it. Unique. It stays the same upstream over reloads.
    pub name: String,
    /// How a connection gets its peer.
    pub balance: Balance,
    /// How long an attempt to connect to a peer may take. Default 5 s.
    pub connect_timeout: Duration,
    /// When a connection that failed to reach a peer stops trying others.
    pub next: Next,
    /// Over how much time a peer that comes back, or is new, gets its whole weight. Default: at once.
    pub slow_start: Option<Duration>,
    /// How peers are checked while nobody uses them. Default: not at all.
    pub check: Option<Check>,
    /// The local address of connections to TCP peers, and of datagrams. Default: the kernel's choice.
    pub bind: Option<Bind>,
    /// The header that goes to each peer before the client's bytes. Default: none.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How connections to them are encrypted, if they are.
    pub tls: Option<PeerTls>,
    /// Which servers know the names of peers. Default: the system's resolver.
    pub resolver: Option<ResolverRules>,
    /// As written. Empty where only the settings are used, for addresses that a text names.
    pub peers: Vec<UpstreamPeer>,
}

impl Upstream {
    /// Whether its peers take datagrams.
    pub fn is_datagram(&self) -> bool {
        let mut peers = self.peers.iter();
        peers.any(|peer| datagram_relay::is_udp(&peer.address))
    }
}

impl Upstream {
    /// The upstream of one address: with the settings of another one, or else with those of an upstream without any.
    pub fn of_address(name: String, address: Address, like: Option<&Self>) -> Self {
        let address = match address {
            Address::Tls(host_port) => Address::Tcp(host_port),
            address => address,
        };
        let peers = vec![UpstreamPeer {
            address,
            weight: 1,
            max_connections: None,
            max_fails: DEFAULT_MAX_FAILS,
            fail_timeout: DEFAULT_FAIL_TIMEOUT,
            is_backup: false,
            is_down: false,
        }];
        match like {
            Some(like) => Self {
                name,
                balance: Balance::default(),
                check: None,
                peers,
                ..like.clone()
            },
            None => Self {
                name,
                balance: Balance::default(),
                connect_timeout: DEFAULT_CONNECT_TIMEOUT,
                next: Next {
                    tries: None,
                    timeout: DEFAULT_NEXT_TIMEOUT,
                },
                slow_start: None,
                check: None,
                bind: None,
                proxy_protocol: None,
                tls: None,
                resolver: None,
                peers,
            },
        }
    }
}

impl UpstreamPeer {
    /// Whether its name is that of a service of the DNS.
    pub fn is_service(&self) -> bool {
        let host_port = self.address.host_port();
        host_port.is_some_and(|it| it.port == service::NO_PORT)
    }
}

/// When a connection that failed to reach a peer stops trying others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Attempts in all. Default: as many as there are peers.
    pub tries: Option<u32>,
    /// The time for all attempts together. Default 30 s.
    pub timeout: Duration,
}

/// An entry of `peers`. A name may mean several addresses: each of them is a peer with these settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamPeer {
    /// `tcp://` or `unix://`, also with TLS; in an upstream of datagrams `udp://`. With port 0 it names a service, whose servers have
    /// ports.
    pub address: Address,
    /// Its share of connections, in proportion to those of the others. Default 1.
    pub weight: u32,
    /// It gets no more connections while it has this number. Default: no limit.
    pub max_connections: Option<u32>,
    /// Failures within `fail_timeout` that take it out. Default 1; 0: none do.
    pub max_fails: u32,
    /// The time in which failures are counted, and for which they take it out. Default 10 s.
    pub fail_timeout: Duration,
    /// It is used only while no other peer can be.
    pub is_backup: bool,
    /// It is not used.
    pub is_down: bool,
}

/// The upstreams of a file.
pub(super) struct Upstreams {
    pub(super) tables: Tables<Upstream>,
    /// Those with an empty list of peers, and where that is.
    empty: Vec<(String, Range<usize>)>,
}

const KIND: TableKind = TableKind {
    one: "an upstream",
    all: "upstreams",
    most: MOST_UPSTREAMS,
    hint: HINT,
};

pub(super) fn upstreams(root: &Section<'_>, base: &Path) -> Upstreams {
    let mut empty = Vec::new();
    let read = root.read("upstream", |field| {
        empty.extend(field.entries(HINT)?.filter_map(|(name, field)| {
            let peers = field.value.get_ref().as_table()?.get("peers")?;
            let is_empty = peers.get_ref().as_array()?.is_empty();
            is_empty.then(|| (name.get_ref().to_string(), peers.span()))
        }));
        tables(&field, &KIND, |field, name| upstream(field, name, base))
    });
    Upstreams {
        tables: Tables::of(read),
        empty,
    }
}

impl Upstreams {
    /// The upstream of this name, unless there is a mistake in some.
    pub(super) fn named(&self, name: &str) -> Option<&Upstream> {
        let parsed = self.tables.parsed.as_ref().ok()?;
        parsed.iter().find(|upstream| upstream.name == name)
    }

    /// Refuses an upstream without peers whose settings no listener uses, or that one relays to.
    pub(super) fn refuse_empty(
        &self,
        report: &Report<'_>,
        listeners: &[Listener],
    ) -> Result<(), Reported> {
        let mut result = Ok(());
        let destinations = || listeners.iter().filter_map(|it| it.destination.as_ref());
        for (name, place) in &self.empty {
            if destinations().any(|it| it.upstream() == Some(name))
                || !destinations().any(|it| it.like() == Some(name))
            {
                result = Err(report.error(place.clone(), "`peers` is empty", PEERS_HINT));
            }
        }
        result
    }

    /// Warns of upstreams that no listener has.
    pub(super) fn warn_of_unused(&self, report: &Report<'_>, listeners: &[Listener]) {
        self.tables
            .warn_of_unused(report, ("upstream", "relays to"), |name| {
                let mut destinations = listeners.iter().filter_map(|it| it.destination.as_ref());
                destinations.any(|it| it.may_reach(name) || it.like().is_some_and(|it| it == name))
            });
    }
}

fn upstream(field: &Field<'_>, name: &str, base: &Path) -> Result<Upstream, Reported> {
    let section = field.section("[upstream.NAME]", HINT)?;
    let balance = section.read("balance", |field| balance::balance(&field));
    let connect_timeout = section.read("connect_timeout", |field| field.timeout());
    let next = section.read("next", |field| next(&field));
    let slow_start = section.read("slow_start", |field| field.timeout());
    let check = section.read("check", |field| peer_check::check(&field));
    let bind = section.read("bind", |field| bind(&field));
    let proxy_protocol = section.read("proxy_protocol", |field| proxy_version(&field));
    let tls = section.read("tls", |field| peer_tls::peer_tls(&field, base));
    let resolver = section.read("resolver", |field| resolver::resolver(&field));
    let max_fails = section.read("max_fails", |field| field.number(0..=MOST));
    let fail_timeout = section.read("fail_timeout", |field| field.timeout());
    let passive = Passive {
        max_fails: max_fails.unwrap_or_default().unwrap_or(DEFAULT_MAX_FAILS),
        fail_timeout: fail_timeout
            .unwrap_or_default()
            .unwrap_or(DEFAULT_FAIL_TIMEOUT),
    };
    let peers = section.require("peers", PEERS_HINT, |field| peers(&field, passive));
    let fits = match &peers {
        Ok(peers) => {
            let balance = balance.as_ref().ok().and_then(Option::as_ref);
            let bind = bind.as_ref().ok().and_then(Option::as_ref);
            let check = check.as_ref().ok().and_then(Option::as_ref);
            check_peers(&section, peers, balance, bind, check)
        }
        Err(Reported) => Ok(()),
    };
    let mut peers = peers;
    let tls = match (tls, &mut peers) {
        (Ok(tls), Ok(peers)) => {
            let mut addresses: Vec<_> = peers.iter_mut().map(|peer| &mut peer.address).collect();
            peer_tls::encrypted(&section, tls, &mut addresses)
        }
        _ => Err(Reported),
    };
    let checked = match (&tls, &check) {
        (Ok(tls), Ok(Some(check))) => peer_check::check_encrypted(&section, tls.is_some(), check),
        _ => Ok(()),
    };
    section.finish()?;
    fits.and(checked)?;
    max_fails.and(fail_timeout.map(drop))?;
    let (tls, peers) = (tls?, peers?);
    Ok(Upstream {
        name: name.to_owned(),
        balance: balance?.unwrap_or_default(),
        connect_timeout: connect_timeout?.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        next: next?.unwrap_or(Next {
            tries: None,
            timeout: DEFAULT_NEXT_TIMEOUT,
        }),
        slow_start: slow_start?,
        check: check?,
        bind: bind?,
        proxy_protocol: proxy_protocol?,
        tls,
        resolver: resolver?,
        peers,
    })
}

/// Whether the peers fit to each other, and to other keys.
fn check_peers(
    section: &Section<'_>,
    peers: &[UpstreamPeer],
    balance: Option<&Balance>,
    bind: Option<&Bind>,
    check: Option<&Check>,
) -> Result<(), Reported> {
    let light = check_weights(section, balance, peers);
    let addresses = peers.iter().map(|peer| &peer.address);
    let checked = check.map(|check| check.kind.checked());
    let fits = datagram_relay::check_peers(section, addresses.clone(), checked);
    check_families(section, bind, addresses)
        .and(light)
        .and(fits)
}

fn next(field: &Field<'_>) -> Result<Next, Reported> {
    let section = field.section("`next`", r#"write next = { tries = 3, timeout = "10s" }"#)?;
    let tries = section.read("tries", |field| field.number(1..=MOST));
    let timeout = section.read("timeout", |field| field.timeout());
    section.finish()?;
    Ok(Next {
        tries: tries?,
        timeout: timeout?.unwrap_or(DEFAULT_NEXT_TIMEOUT),
    })
}

/// What takes a peer out, unless its entry says otherwise.
#[derive(Clone, Copy)]
struct Passive {
    max_fails: u32,
    fail_timeout: Duration,
}

fn peers(field: &Field<'_>, passive: Passive) -> Result<Vec<UpstreamPeer>, Reported> {
    let fields = field.array(PEERS_HINT)?;
    if fields.len() == 0 {
        // Those whose settings alone are used: `refuse_empty` looks at it.
        return Ok(Vec::new());
    }
    if fields.len() > MOST_PEERS {
        let message = format!("`peers` has over {MOST_PEERS} entries");
        return Err(field.refuse(message, "write several upstreams"));
    }
    let peers: Vec<_> = fields.map(|field| peer(&field, passive)).collect();
    let peers = peers.into_iter().collect::<Result<Vec<_>, _>>()?;
    if peers.iter().all(|peer| peer.is_backup) {
        let message = "every peer is a backup: there is nothing that they could stand in for";
        return Err(field.refuse(message, "remove `backup` from at least one"));
    }
    Ok(peers)
}

/// An address alone, or a table with one.
fn peer(field: &Field<'_>, passive: Passive) -> Result<UpstreamPeer, Reported> {
    if field.is_text() {
        return Ok(UpstreamPeer {
            address: peer_address(field)?,
            weight: 1,
            max_connections: None,
            max_fails: passive.max_fails,
            fail_timeout: passive.fail_timeout,
            is_backup: false,
            is_down: false,
        });
    }
    let section = field.section("an entry of `peers`", PEERS_HINT)?;
    let service = section.read("service", |field| service::service(&field));
    let address = match section.has("service") {
        true => service.and_then(|it| it.ok_or(Reported)),
        false => section.require("address", PEER_HINT, |field| peer_address(&field)),
    };
    let weight = section.read("weight", |field| field.number(1..=MOST_WEIGHT));
    let max_connections = section.read("max_connections", |field| field.number(1..=MOST));
    let max_fails = section.read("max_fails", |field| field.number(0..=MOST));
    let fail_timeout = section.read("fail_timeout", |field| field.timeout());
    let is_backup = section.read("backup", |field| field.flag());
    let is_down = section.read("down", |field| field.flag());
    let excess = match section.has("service") {
        true => section.refuse_keys(
            &["address", "weight"],
            "has no effect with `service`: its servers have their own",
        ),
        false => Ok(()),
    };
    // They were read, or refused.
    let _ = section.read("address", |_| Ok(()));
    section.finish()?;
    excess?;
    Ok(UpstreamPeer {
        address: address?,
        weight: weight?.unwrap_or(1),
        max_connections: max_connections?,
        max_fails: max_fails?.unwrap_or(passive.max_fails),
        fail_timeout: fail_timeout?.unwrap_or(passive.fail_timeout),
        is_backup: is_backup?.unwrap_or(false),
        is_down: is_down?.unwrap_or(false),
    })
}

fn peer_address(field: &Field<'_>) -> Result<Address, Reported> {
    let text = field.text()?;
    let address = text.parse().map_err(|error: AddressError| {
        field.refuse(
            format!("the peer's address: {}", error.problem()),
            error.hint(),
        )
    })?;
    match peer_address::unfit(&address) {
        None => Ok(address),
        Some(problem) => {
            let hint = match address.host_port() {
                Some(host_port) if host_port.port == 0 => "write the port that the peer listens on",
                _ => PEER_HINT,
            };
            Err(field.refuse(problem, hint))
        }
    }
}

/// Each weight has its points on the ring.
fn check_weights(
    section: &Section<'_>,
    balance: Option<&Balance>,
    peers: &[UpstreamPeer],
) -> Result<(), Reported> {
    let ketama = matches!(
        balance,
        Some(Balance::Hash {
            method: HashMethod::Ketama,
            ..
        })
    );
    let weight: u64 = peers.iter().map(|peer| u64::from(peer.weight)).sum();
    if ketama && weight > MOST_KETAMA_WEIGHT {
        return Err(section.report.error(
            section.place("peers"),
            format!("the peers weigh {weight} in all: `ketama` makes 160 points of each"),
            format!("write weights of at most {MOST_KETAMA_WEIGHT} in all, in the same proportion"),
        ));
    }
    Ok(())
}
