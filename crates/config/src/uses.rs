//! What texts need: whether names lead back to themselves, and what the connections of each listener must note for the texts that
//! they fill in later. What no text has is not kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::error::{Report, Reported};
use super::names::{NameId, Named};
use super::variables::{Template, TemplatePart, Variable};
use super::{AccessLog, Balance, Bind, ConnectionLimit, Listener, Map, PeerTls, Rates, Upstream};

/// What the connections of a listener must note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses {
    /// The address that the connection itself comes from.
    pub connection: bool,
    /// The header of the PROXY protocol.
    pub header: bool,
    /// The address that a believed header says the client has connected to: peers are told.
    pub announced: bool,
    /// Each attempt to connect to a peer, and its times.
    pub attempts: bool,
    /// What a TLS client asks for, before anything is decrypted.
    pub hello: bool,
    /// What it offers to choose from.
    pub offer: bool,
}

impl Uses {
    fn note(&mut self, variable: Variable) {
        match variable {
            Variable::ConnectionAddress | Variable::ConnectionPort => self.connection = true,
            Variable::ProxyAddress
            | Variable::ProxyPort
            | Variable::ProxyServerAddress
            | Variable::ProxyServerPort
            | Variable::ProxyTlv(_)
            | Variable::ProxySslTlv(_)
            | Variable::ProxySslVerify => self.header = true,
            Variable::UpstreamAddress
            | Variable::UpstreamConnectTime
            | Variable::UpstreamFirstByteTime
            | Variable::UpstreamSessionTime
            | Variable::UpstreamBytesSent
            | Variable::UpstreamBytesReceived => self.attempts = true,
            Variable::Tls(variable) if variable.is_of_hello() => {
                self.hello = true;
                self.offer |= variable.is_of_offer();
            }
            Variable::Match(_) => self.hello = true,
            _ => {}
        }
    }
}

/// What some texts refer to.
#[derive(Default)]
struct Needs {
    variables: BTreeSet<Variable>,
    names: BTreeSet<Name>,
}

type Name = (Named, NameId);

impl Needs {
    fn of<'a>(texts: impl IntoIterator<Item = &'a Template>) -> Self {
        let mut needs = Self::default();
        for part in texts.into_iter().flat_map(Template::parts) {
            match part {
                TemplatePart::Text(_) | TemplatePart::Group(_) => {}
                TemplatePart::Variable(variable) => {
                    needs.variables.insert(*variable);
                }
                TemplatePart::Map(name) => {
                    needs.names.insert((Named::Map, *name));
                }
                TemplatePart::Set(name) => {
                    needs.names.insert((Named::Set, *name));
                }
            }
        }
        needs
    }
}

/// What each map refers to.
pub(super) struct MapNeeds<'a>(BTreeMap<Name, (&'a Map, Needs)>);

impl<'a> MapNeeds<'a> {
    pub(super) fn of(maps: &'a [Map]) -> Self {
        let needs = maps.iter().map(|map| {
            let name = (Named::Map, NameId::of(&map.name));
            (name, (map, Needs::of(map.templates())))
        });
        Self(needs.collect())
    }

    /// Refuses maps that lead back to themselves, by other maps or by what listeners set.
    pub(super) fn refuse_circles(
        &self,
        report: &Report<'_>,
        listeners: &[Listener],
    ) -> Result<(), Reported> {
        let mut sets: BTreeMap<Name, (String, Needs)> = BTreeMap::new();
        for (name, text) in listeners.iter().flat_map(|it| &it.sets) {
            let needs = Needs::of([text]);
            let id = (Named::Set, NameId::of(name));
            let known = sets
                .entry(id)
                .or_insert_with(|| (name.clone(), Needs::default()));
            known.1.names.extend(needs.names);
        }
        let follow = |name: &Name| match self.0.get(name) {
            Some((_, needs)) => Some(needs),
            None => sets.get(name).map(|(_, needs)| needs),
        };
        let mut result = Ok(());
        let maps = self.0.iter().map(|(name, (map, _))| (name, &map.name));
        for (name, text) in maps.chain(sets.iter().map(|(name, (text, _))| (name, text))) {
            if leads_back(*name, &follow) {
                let (what, message) = match name.0 {
                    Named::Map => (Named::Map, format!("the map {text:?} needs its own value")),
                    Named::Set | Named::Match => {
                        (Named::Set, format!("`set` of {text:?} needs its own value"))
                    }
                };
                let place = report.names.place(what, text);
                result = Err(report.error(place, message, "break the circle"));
            }
        }
        result
    }

    /// Fills in what the listeners use.
    pub(super) fn fill_in(
        &self,
        listeners: &mut [Listener],
        upstreams: &[Upstream],
        limits: &[ConnectionLimit],
        access_logs: &[AccessLog],
    ) {
        for listener in &mut *listeners {
            let reaches = |it: &&Upstream| {
                let destination = listener.destination.as_ref();
                destination.is_some_and(|destination| destination.may_reach(&it.name))
            };
            let reached = upstreams.iter().filter(reaches);
            let mut told = reached.clone();
            let announced = told.any(|it| it.proxy_protocol.is_some());
            let counted = |it: &&ConnectionLimit| {
                let mut used = listener.stream.limits.iter();
                used.any(|one| one.limit == it.name)
            };
            let of_limits = limits.iter().filter(counted).map(|limit| &limit.key);
            let of_upstreams = reached.flat_map(of_upstream);
            let logged = |it: &&AccessLog| {
                let used = listener.stream.access_log.as_ref();
                used.is_some_and(|used| used.contains(&it.name))
            };
            let of_logs = access_logs.iter().filter(logged).flat_map(AccessLog::texts);
            let texts = of_upstreams.chain(of_limits).chain(of_logs);
            let of_rates = listener.stream.rate.iter().flat_map(Rates::texts);
            let texts = texts.chain(of_rates).chain(listener.texts());
            let mut left = vec![Needs::of(texts)];
            let (mut uses, mut seen) = (Uses::default(), BTreeSet::new());
            uses.announced = announced;
            while let Some(needs) = left.pop() {
                needs.variables.iter().for_each(|it| uses.note(*it));
                for name in needs.names {
                    if !seen.insert(name) {
                        continue;
                    }
                    if let Some((_, needs)) = self.0.get(&name) {
                        let (variables, names) = (needs.variables.clone(), needs.names.clone());
                        left.push(Needs { variables, names });
                    }
                    if name.0 == Named::Set {
                        left.push(Needs::of(listener.set(name.1)));
                    }
                }
            }
            listener.uses = uses;
            if uses.hello && reads_hello(listener) {
                listener.stream.preread.get_or_insert_default();
            }
        }
        for_servers(listeners);
    }
}

/// Whether the hello tells what a client asks for: TLS passes through.
fn reads_hello(listener: &Listener) -> bool {
    listener.is_relay()
        && listener.host.is_none()
        && listener.tls.is_none()
        && !listener.is_datagram()
}

/// Has listeners note what the servers behind them need, and read the name by which one is chosen.
fn for_servers(listeners: &mut [Listener]) {
    let mut needs: BTreeMap<String, Uses> = BTreeMap::new();
    for server in listeners.iter() {
        if let Some(host) = &server.host {
            let uses = needs.entry(host.clone()).or_default();
            uses.connection |= server.uses.connection;
            uses.header |= server.uses.header;
            uses.announced |= server.uses.announced;
            uses.offer |= server.uses.offer;
        }
    }
    for listener in listeners.iter_mut().filter(|it| it.host.is_none()) {
        if let Some(needs) = needs.get(&listener.name) {
            // Both come before the name.
            listener.uses.connection |= needs.connection;
            listener.uses.header |= needs.header;
            listener.uses.announced |= needs.announced;
            listener.uses.offer |= needs.offer;
            if reads_hello(listener) {
                listener.stream.preread.get_or_insert_default();
            }
        }
    }
}

/// Whether this name leads back to itself.
fn leads_back<'a>(name: Name, follow: &impl Fn(&Name) -> Option<&'a Needs>) -> bool {
    let (mut left, mut seen) = (vec![name], BTreeSet::new());
    while let Some(next) = left.pop() {
        for next in follow(&next).into_iter().flat_map(|needs| &needs.names) {
            if *next == name {
                return true;
            }
            if seen.insert(*next) {
                left.push(*next);
            }
        }
    }
    false
}

/// The texts of an upstream.
fn of_upstream(upstream: &Upstream) -> impl Iterator<Item = &Template> {
    let key = match &upstream.balance {
        Balance::Hash { key, .. } => Some(key),
        _ => None,
    };
    let tls = upstream.tls.as_ref();
    key.into_iter()
        .chain(tls.into_iter().flat_map(PeerTls::texts))
        .chain(upstream.bind.as_ref().and_then(Bind::text))
}
