//! The `stream` block: its servers become listeners, and what they pass to becomes upstreams.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::directives::{self, Block};
use super::scope::Scope;
use super::server::{self, Target};
use super::tree::Directive;
use super::upstream::{self, Upstream};
use crate::note::{Place, Reported};
use crate::toml::{Document, Entry, Table, Value, key};

/// The longest name of an upstream that Moorline takes.
const LONGEST_NAME: usize = 64;

/// Imports the block.
pub(super) fn stream(block: &[Directive], cx: &mut Context<'_>) -> Document {
    directives::check(Block::Stream, block, &mut cx.report);
    let mut upstreams = Upstreams {
        declared: upstream::upstreams(block, cx),
        made: Vec::new(),
        used: BTreeSet::new(),
    };
    let mut listeners = Listeners::default();
    for directive in block.iter().filter(|it| it.name == "server") {
        // Its errors are reported, and those of the others are to be found, too.
        let _ = add_server(directive, block, &mut listeners, &mut upstreams, cx);
    }
    upstreams.make_unused(cx);
    let mut document = Document::default();
    for table in listeners.tables.into_iter().chain(upstreams.tables()) {
        document.push(table);
    }
    document
}

#[derive(Default)]
struct Listeners {
    tables: Vec<Table>,
    /// Where each address was written.
    addresses: BTreeMap<String, Place>,
}

fn add_server(
    directive: &Directive,
    stream: &[Directive],
    listeners: &mut Listeners,
    upstreams: &mut Upstreams,
    cx: &mut Context<'_>,
) -> Result<(), Reported> {
    let inner = directive.block(&mut cx.report)?;
    directives::check(Block::Server, inner, &mut cx.report);
    let scope = Scope {
        outer: stream,
        inner,
    };
    let server = server::server(directive, scope, cx)?;
    let upstream = match &server.target {
        Target::Peers { to, settings } => upstreams.name(to, settings, cx)?,
    };
    for listen in &server.listens {
        if let Some(other) = listeners.addresses.get(&listen.address) {
            let message = format!("{} is listened on already: see {other}", listen.address);
            return Err(cx.report.error(&listen.place, message));
        }
        let (address, place) = (listen.address.clone(), listen.place.clone());
        listeners.addresses.insert(address.clone(), place);
        let mut table = Table::new("[[listen]]", Some(&directive.place));
        table.push(Entry::new("address", Value::text(address), &listen.place));
        table.push(Entry {
            key: "upstream",
            value: Value::text(upstream.clone()),
            from: server.target_place.clone(),
        });
        table.extend(server.entries(listen));
        listeners.tables.push(table);
    }
    Ok(())
}

/// The upstreams that servers use.
struct Upstreams {
    /// By nginx's names.
    declared: BTreeMap<String, Upstream>,
    made: Vec<Variant>,
    used: BTreeSet<String>,
}

/// An upstream as some servers use it.
struct Variant {
    /// What the servers pass to.
    to: String,
    settings: Vec<Entry>,
    name: String,
    upstream: Upstream,
}

impl Upstreams {
    /// The name of the upstream that a server with these settings passes to.
    fn name(
        &mut self,
        to: &server::To,
        settings: &[Entry],
        cx: &mut Context<'_>,
    ) -> Result<String, Reported> {
        let (key, upstream) = match self.declared.get(&to.text.to_ascii_lowercase()) {
            Some(upstream) => (to.text.to_ascii_lowercase(), upstream.clone()),
            None => (to.text.clone(), server::direct(to, cx)?),
        };
        self.used.insert(key.clone());
        let is_same = |one: &[Entry]| {
            let same = one.iter().zip(settings).all(|(one, other)| one.same(other));
            same && one.len() == settings.len()
        };
        let mut variants = self.made.iter().filter(|it| it.to == key);
        if let Some(variant) = variants.find(|it| is_same(&it.settings)) {
            return Ok(variant.name.clone());
        }
        let is_other = self.made.iter().any(|it| it.to == key);
        let name = self.free_name(&key);
        if is_other {
            let message = format!(
                "upstream {key} is used with other settings than before: it becomes a second upstream, {name}, with a health and \
                 counts of its own"
            );
            cx.report.remark(&to.place, message);
        } else if name != to.text && self.declared.contains_key(&key) {
            let message = format!("upstream {} is called {name}", to.text);
            cx.report.remark(&upstream.place, message);
        }
        self.made.push(Variant {
            to: key,
            settings: settings.to_vec(),
            name: name.clone(),
            upstream,
        });
        Ok(name)
    }

    /// A name that Moorline takes, and that no other upstream has.
    fn free_name(&self, wanted: &str) -> String {
        let fit = |c: char| match c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            true => c,
            false => '-',
        };
        let mut base: String = wanted.chars().map(fit).take(LONGEST_NAME - 6).collect();
        base = base.trim_matches('-').to_owned();
        if base.is_empty() {
            base.push_str("upstream");
        }
        let is_free = |name: &String| self.made.iter().all(|it| it.name != *name);
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        // There are more numbers than upstreams.
        names.find(is_free).unwrap_or(base)
    }

    /// Those that no server uses are imported, too: a reload may bring one.
    fn make_unused(&mut self, cx: &mut Context<'_>) {
        let names: Vec<_> = self.declared.keys().cloned().collect();
        for key in names.into_iter().filter(|it| !self.used.contains(it)) {
            let upstream = self.declared[&key].clone();
            cx.report.remark(
                &upstream.place,
                format!("no server passes to upstream {key}"),
            );
            let name = self.free_name(&key);
            self.made.push(Variant {
                to: key,
                settings: Vec::new(),
                name,
                upstream,
            });
        }
    }

    fn tables(self) -> impl Iterator<Item = Table> {
        self.made.into_iter().map(|variant| {
            let heading = format!("[upstream.{}]", key(&variant.name));
            let mut table = Table::new(heading, Some(&variant.upstream.place));
            table.extend(variant.settings);
            table.extend(variant.upstream.entries);
            table
        })
    }
}
