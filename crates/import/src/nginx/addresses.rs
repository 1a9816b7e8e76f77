//! The addresses that servers listen on, and which servers share one.

use std::collections::BTreeSet;

use super::context::Context;
use super::listen::{self, Listen};
use super::scope::Scope;
use super::server_name::{self, ServerName};
use super::tree::Directive;

/// The addresses of a `stream` block, in the order of the file.
#[derive(Default)]
pub(super) struct Addresses(Vec<SharedAddress>);

/// An address, and the servers that listen there.
struct SharedAddress {
    address: String,
    members: Vec<Member>,
}

/// A server that listens on an address.
struct Member {
    /// The server's number.
    server: usize,
    listen: Listen,
    /// Those that no server before it has.
    names: Vec<ServerName>,
    /// It has names, be they of others or wrong.
    is_named: bool,
    /// It reads what TLS clients ask for.
    has_preread: bool,
}

/// What a server is for one address.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// It has the address: alone, or for clients that ask for no name of the others. With the names that it must have.
    Host(Vec<ServerName>),
    /// It is behind the server with this number, for these names.
    Behind(usize, Vec<ServerName>),
    /// No connection comes there.
    Idle,
}

impl Addresses {
    /// Those of the block's servers. What is wrong with single ones is reported where they are imported.
    pub(super) fn of(stream: &[Directive], cx: &mut Context<'_>) -> Self {
        let mut addresses = Self::default();
        let servers = stream.iter().filter(|it| it.name == "server");
        for (server, directive) in servers.enumerate() {
            let inner = directive.block.as_deref().unwrap_or_default();
            let names = server_name::names(inner, cx);
            let scope = Scope {
                outer: stream,
                inner,
            };
            let is_named = inner
                .iter()
                .any(|it| it.name == "server_name" && it.arguments != [""]);
            let preread = scope.flag("ssl_preread", cx);
            let has_preread = matches!(preread, Some((true, _)));
            for written in inner.iter().filter(|it| it.name == "listen") {
                for listen in listen::listens(written, &mut cx.report).unwrap_or_default() {
                    addresses.push(Member {
                        server,
                        listen,
                        names: names.clone(),
                        is_named,
                        has_preread,
                    });
                }
            }
        }
        for shared in &mut addresses.0 {
            shared.settle(cx);
        }
        addresses
    }

    /// The groups of the patterns by which servers are chosen.
    pub(super) fn groups(&self) -> BTreeSet<String> {
        let chosen = self.0.iter().filter(|it| it.knows_names());
        let members = chosen.flat_map(|it| &it.members);
        members
            .flat_map(|it| server_name::all_groups(&it.names))
            .collect()
    }

    fn push(&mut self, member: Member) {
        let address = &member.listen.address;
        match self.0.iter_mut().find(|it| it.address == *address) {
            Some(shared) => shared.members.push(member),
            None => self.0.push(SharedAddress {
                address: address.clone(),
                members: vec![member],
            }),
        }
    }

    fn shared(&self, listen: &Listen) -> Option<(usize, &SharedAddress)> {
        let mut all = self.0.iter().enumerate();
        all.find(|(_, it)| it.address == listen.address)
    }

    /// The place of an address among all.
    pub(super) fn number(&self, listen: &Listen) -> usize {
        self.shared(listen).map_or(0, |(at, _)| at)
    }

    /// The options of a socket are those of all servers that share it.
    pub(super) fn amended(&self, listen: Listen) -> Listen {
        let Some((_, shared)) = self.shared(&listen) else {
            return listen;
        };
        let mut all = shared.members.iter().map(|it| &it.listen);
        Listen {
            ssl: all.clone().any(|it| it.ssl),
            proxy_protocol: all.clone().any(|it| it.proxy_protocol),
            keepalive: all.find_map(|it| it.keepalive),
            ..listen
        }
    }

    /// What the server with this number is there.
    pub(super) fn part(&self, server: usize, listen: &Listen) -> Part {
        match self.shared(listen) {
            Some((_, shared)) => shared.part(server),
            None => Part::Host(Vec::new()),
        }
    }
}

impl SharedAddress {
    fn host(&self) -> &Member {
        let mut members = self.members.iter();
        let default = members.find(|it| it.listen.is_default);
        default.unwrap_or(&self.members[0])
    }

    /// Whether it is known which name a client asks for.
    fn knows_names(&self) -> bool {
        let is_tcp = !self.host().listen.udp;
        let is_encrypted = self.members.iter().any(|it| it.listen.ssl);
        is_tcp && (is_encrypted || self.host().has_preread)
    }

    fn part(&self, server: usize) -> Part {
        let Some(member) = self.members.iter().find(|it| it.server == server) else {
            return Part::Idle;
        };
        let host = self.host().server;
        let names = member.names.clone();
        let has_patterns = names.iter().any(ServerName::is_pattern);
        match server == host {
            true if self.knows_names() && (self.members.len() > 1 || has_patterns) => {
                Part::Host(names)
            }
            true => Part::Host(Vec::new()),
            false if self.knows_names() && !names.is_empty() => Part::Behind(host, names),
            false => Part::Idle,
        }
    }

    /// Reports what keeps servers from being used, and gives each name to one of them.
    fn settle(&mut self, cx: &mut Context<'_>) {
        let mut taken = BTreeSet::new();
        for member in &mut self.members {
            member.names.retain(|name| {
                let is_new = meanings(&name.text).all(|it| taken.insert(it));
                if !is_new {
                    let text = format!(
                        "{:?} is a name of another server on {}: this one is ignored",
                        name.text, self.address
                    );
                    cx.report.remark(&name.place, text);
                }
                is_new
            });
        }
        let host = self.host();
        let (host_server, knows_names) = (host.server, self.knows_names());
        let first = host.listen.place.clone();
        let mut seen = BTreeSet::new();
        for member in &self.members {
            let place = &member.listen.place;
            let is_second = !seen.insert(member.server);
            let is_host = member.server == host_server;
            if is_second || (member.listen.is_default && !is_host) {
                let message = format!("{} is listened on already: see {first}", self.address);
                cx.report.error(place, message);
            } else if is_host {
                continue;
            } else if member.listen.udp || !member.is_named {
                let other = &host.listen.place;
                let message = format!(
                    "{} is listened on already: see {other}. Give each server of it a `server_name`",
                    self.address
                );
                cx.report.error(place, message);
            } else if !knows_names {
                let text = format!(
                    "no connection on {} gets to this server: with neither `ssl` nor `ssl_preread` the name that a client asks for is not known",
                    self.address
                );
                cx.report.remark(place, text);
            }
        }
        let patterns = |member: &Member| member.names.iter().any(ServerName::is_pattern);
        let before = self
            .members
            .iter()
            .take_while(|it| it.server != host_server);
        if knows_names && patterns(host) && before.into_iter().any(patterns) {
            let text = "the patterns of the default server are tried before those of others";
            cx.report.remark(&first, text);
        }
    }
}

/// What a name takes, so that no other server may have it.
fn meanings(name: &str) -> impl Iterator<Item = String> {
    let meanings = match name.strip_prefix('.') {
        Some(domain) => vec![domain.to_owned(), format!("*.{domain}")],
        None => vec![name.to_owned()],
    };
    meanings.into_iter()
}
