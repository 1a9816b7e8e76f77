//! The `stream` block: its servers become listeners, and what they pass to becomes upstreams.

use std::collections::BTreeMap;

use super::addresses::{Addresses, Part};
use super::context::{Context, Made};
use super::directives::{self, Block};
use super::limit;
use super::listen::Listen;
use super::log::Logs;
use super::map;
use super::scope::Scope;
use super::server::{self, Server, Target};
use super::server_name;
use super::tree::Directive;
use super::upstream;
use super::variables::{has_variables, template};
use super::variants::{Upstreams, VariantKind};
use crate::note::Reported;
use crate::toml::{Document, Entry, Table, Value};

/// Imports the block.
pub(super) fn stream(block: &[Directive], cx: &mut Context<'_>) -> Document {
    directives::check(Block::Stream, block, &mut cx.report);
    map::define(block, cx);
    define_sets(block, cx);
    server_name::define_groups(block, cx);
    let addresses = Addresses::of(block, cx);
    cx.matched = addresses.groups();
    let mut listeners = Listeners {
        tables: Vec::new(),
        hosts: BTreeMap::new(),
        behind: Vec::new(),
        addresses,
        logs: Logs::new(block, cx),
        upstreams: Upstreams::new(upstream::upstreams(block, cx)),
    };
    let servers = block.iter().filter(|it| it.name == "server");
    let mut servers: Vec<_> = servers.enumerate().collect();
    // Those that name an upstream have its name before others may mean it.
    servers.sort_by_key(|(_, server)| names_by_variable(server));
    for (at, directive) in servers {
        // Its errors are reported, and those of the others are to be found, too.
        let _ = listeners.add(at, directive, block, cx);
    }
    listeners.make_servers(cx);
    listeners.tables.sort_by_key(|(order, _)| *order);
    listeners.upstreams.make_unused(cx);
    let mut document = Document::default();
    let tables = listeners.tables.into_iter().map(|(_, table)| table);
    let tables = tables.chain(listeners.upstreams.tables());
    let tables = tables.chain(map::tables(block, cx));
    let tables = tables.chain(limit::tables(block, cx));
    for table in tables.chain(listeners.logs.tables()) {
        document.push(table);
    }
    document
}

/// Whether a server passes to what a variable names.
fn names_by_variable(server: &Directive) -> bool {
    let mut inner = server.block.iter().flatten();
    let pass = inner.find(|it| it.name == "proxy_pass");
    pass.is_some_and(|it| it.arguments.iter().any(|text| has_variables(text)))
}

/// Makes the variables known that servers set.
fn define_sets(stream: &[Directive], cx: &mut Context<'_>) {
    let servers = stream.iter().filter(|it| it.name == "server");
    let inner = servers.flat_map(|it| it.block.iter().flatten());
    for directive in inner.filter(|it| it.name == "set") {
        let Ok((name, _)) = server::named(directive, cx) else {
            continue;
        };
        let written = format!("set.{name}");
        match cx.made.get(name) {
            Some(before) if before.written != written => {
                let why = format!("sets ${name}, which is made already: see {}", before.place);
                directive.refuse(&mut cx.report, why);
            }
            _ => {
                let place = directive.place.clone();
                cx.made.insert(name.to_owned(), Made { written, place });
            }
        }
    }
}

/// The number of the server that has an address, that of the address, and for one behind it its own and 1.
type Order = (usize, usize, usize);

struct Listeners {
    /// In the order of their servers and addresses, and those behind a listener below it.
    tables: Vec<(Order, Table)>,
    /// The keys of listeners, by their order.
    hosts: BTreeMap<Order, Vec<Entry>>,
    /// Servers behind other listeners, each with its table so far.
    behind: Vec<(Order, Server, Listen, Table)>,
    addresses: Addresses,
    logs: Logs,
    upstreams: Upstreams,
}

impl Listeners {
    fn add(
        &mut self,
        at: usize,
        directive: &Directive,
        stream: &[Directive],
        cx: &mut Context<'_>,
    ) -> Result<(), Reported> {
        let inner = directive.block(&mut cx.report)?;
        directives::check(Block::Server, inner, &mut cx.report);
        let scope = Scope {
            outer: stream,
            inner,
        };
        let names = server_name::names(inner, cx);
        cx.groups = server_name::most_groups(&names);
        let with = (&self.addresses, &mut self.logs);
        let server = server::server((at, directive), scope, with, cx);
        let added = server.and_then(|server| self.add_listens((at, directive), &server, cx));
        cx.groups = 0;
        added
    }

    fn add_listens(
        &mut self,
        (at, directive): (usize, &Directive),
        server: &Server,
        cx: &mut Context<'_>,
    ) -> Result<(), Reported> {
        for listen in &server.listens {
            let number = self.addresses.number(listen);
            match self.addresses.part(at, listen) {
                Part::Idle => {}
                Part::Host(names) => {
                    let mut table = Table::new("[[listen]]", Some(&directive.place));
                    let address = Value::text(&listen.address);
                    table.push(Entry::new("address", address, &listen.place));
                    if !names.is_empty() {
                        table.push(Entry::default("names", server_name::list(&names)));
                    }
                    table.extend(self.destination(server, listen, cx)?);
                    let entries = server.entries(listen);
                    table.extend(entries.clone());
                    let order = (at, number, 0);
                    self.hosts.insert(order, entries);
                    self.tables.push((order, table));
                }
                Part::Behind(host, names) => {
                    let mut table = Table::new("[[listen.server]]", Some(&directive.place));
                    table.push(Entry::default("names", server_name::list(&names)));
                    table.extend(self.destination(server, listen, cx)?);
                    let order = (host, number, at + 1);
                    self.behind
                        .push((order, server.clone(), listen.clone(), table));
                }
            }
        }
        Ok(())
    }

    /// Completes the tables of servers behind listeners, once those are known.
    fn make_servers(&mut self, cx: &mut Context<'_>) {
        for (order, server, listen, mut table) in std::mem::take(&mut self.behind) {
            let host = self.hosts.get(&(order.0, order.1, 0));
            let host = host.map_or(&[][..], Vec::as_slice);
            table.extend(server.entries_behind(&listen, host, cx));
            self.tables.push((order, table));
        }
    }

    /// Where the connections of a listener go.
    fn destination(
        &mut self,
        server: &Server,
        listen: &Listen,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Entry>, Reported> {
        let place = &server.target_place;
        let (to, settings) = match &server.target {
            Target::Peers { to, settings } => (to, settings),
            Target::Return(text) => {
                let text = Value::text(text);
                return Ok(vec![Entry::new("return", text, place)]);
            }
        };
        let kind = match listen.udp {
            true => VariantKind::Datagrams,
            false => VariantKind::Connections,
        };
        if !has_variables(&to.text) {
            let name = self.upstreams.name(to, kind, settings, cx)?;
            return Ok(vec![Entry::new("upstream", Value::text(name), place)]);
        }
        let text = template(&to.text, place, cx)?;
        let like = self.upstreams.like(to, kind, settings, cx);
        Ok(vec![
            Entry::new("upstream", Value::text(text), place),
            Entry::new("upstream_like", Value::text(like), place),
        ])
    }
}
