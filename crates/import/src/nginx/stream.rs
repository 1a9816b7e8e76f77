//! The `stream` block: its servers become listeners, and what they pass to becomes upstreams.

use std::collections::BTreeMap;

use super::context::{Context, Made};
use super::directives::{self, Block};
use super::limit;
use super::listen::Listen;
use super::log::Logs;
use super::map;
use super::scope::Scope;
use super::server::{self, Server, Target};
use super::tree::Directive;
use super::upstream;
use super::variables::{has_variables, template};
use super::variants::{Upstreams, VariantKind};
use crate::note::{Place, Reported};
use crate::toml::{Document, Entry, Table, Value};

/// Imports the block.
pub(super) fn stream(block: &[Directive], cx: &mut Context<'_>) -> Document {
    directives::check(Block::Stream, block, &mut cx.report);
    map::define(block, cx);
    define_sets(block, cx);
    let mut listeners = Listeners {
        tables: Vec::new(),
        addresses: BTreeMap::new(),
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
    listeners.tables.sort_by_key(|(at, _)| *at);
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

struct Listeners {
    /// With the number of the server that each belongs to.
    tables: Vec<(usize, Table)>,
    /// Where each address was written.
    addresses: BTreeMap<String, Place>,
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
        let server = server::server(directive, scope, &mut self.logs, cx)?;
        for listen in &server.listens {
            if let Some(other) = self.addresses.get(&listen.address) {
                let message = format!("{} is listened on already: see {other}", listen.address);
                return Err(cx.report.error(&listen.place, message));
            }
            let (address, place) = (listen.address.clone(), listen.place.clone());
            self.addresses.insert(address.clone(), place);
            let mut table = Table::new("[[listen]]", Some(&directive.place));
            table.push(Entry::new("address", Value::text(address), &listen.place));
            table.extend(self.destination(&server, listen, cx)?);
            table.extend(server.entries(listen));
            self.tables.push((at, table));
        }
        Ok(())
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
