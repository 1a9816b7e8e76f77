//! The upstreams that servers use. Settings towards peers are a server's with nginx and an upstream's with Moorline: where
//! they differ, one upstream becomes several.

use std::collections::BTreeMap;

use super::context::Context;
use super::upstream::{To, Upstream, direct};
use crate::note::Reported;
use crate::toml::{Entry, Table, Value, key};

/// The longest name of an upstream that Moorline takes.
const LONGEST_NAME: usize = 64;

/// What upstreams carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VariantKind {
    Connections,
    Datagrams,
}

/// The upstreams of a file.
pub(super) struct Upstreams {
    /// By nginx's names.
    declared: BTreeMap<String, Upstream>,
    made: Vec<Variant>,
}

/// An upstream as some servers use it.
struct Variant {
    /// What the servers pass to.
    to: String,
    kind: VariantKind,
    settings: Vec<Entry>,
    name: String,
    upstream: Upstream,
}

impl Upstreams {
    pub(super) fn new(declared: BTreeMap<String, Upstream>) -> Self {
        Self {
            declared,
            made: Vec::new(),
        }
    }

    /// The name of the upstream that a server with these settings passes to.
    pub(super) fn name(
        &mut self,
        to: &To,
        kind: VariantKind,
        settings: &[Entry],
        cx: &mut Context<'_>,
    ) -> Result<String, Reported> {
        let (key, upstream) = match self.declared.get(&to.text.to_ascii_lowercase()) {
            Some(upstream) => (to.text.to_ascii_lowercase(), upstream.clone()),
            None => (to.text.clone(), direct(to, cx)?),
        };
        let mut variants = self
            .made
            .iter()
            .filter(|it| it.to == key && it.kind == kind);
        if let Some(variant) = variants.find(|it| same(&it.settings, settings)) {
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
        self.make(key, kind, settings, name.clone(), upstream);
        Ok(name)
    }

    /// The name of an upstream whose settings hold where a variable names an address. Upstreams that it may name get them, too,
    /// unless a server that passes to them alone has others.
    pub(super) fn like(
        &mut self,
        to: &To,
        kind: VariantKind,
        settings: &[Entry],
        cx: &mut Context<'_>,
    ) -> String {
        for (key, upstream) in self.declared.clone() {
            let mut made = self.made.iter();
            if let Some(other) = made.find(|it| it.to == key && it.kind == kind) {
                if !same_safety(&other.settings, settings) {
                    let message = format!(
                        "a variable may name upstream {key}, whose TLS or PROXY header is that of another server: give both servers \
                         the same, or write a second upstream"
                    );
                    cx.report.error(&to.place, message);
                }
                continue;
            }
            let name = self.free_name(&key);
            if name != key {
                let message = format!(
                    "upstream {key} is called {name}, and variables that name it must say so"
                );
                cx.report.error(&upstream.place, message);
            }
            self.make(key, kind, settings, name, upstream);
        }
        let is_it =
            |it: &&Variant| it.to == to.text && it.kind == kind && same(&it.settings, settings);
        if let Some(variant) = self.made.iter().find(is_it) {
            return variant.name.clone();
        }
        let name = self.free_name(&format!("settings-{}", to.place.line));
        let upstream = Upstream {
            place: to.place.clone(),
            entries: vec![Entry::default("peers", Value::List(Vec::new()))],
        };
        self.make(to.text.clone(), kind, settings, name.clone(), upstream);
        name
    }

    fn make(
        &mut self,
        to: String,
        kind: VariantKind,
        settings: &[Entry],
        name: String,
        upstream: Upstream,
    ) {
        self.made.push(Variant {
            to,
            kind,
            settings: settings.to_vec(),
            name,
            upstream,
        });
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
    pub(super) fn make_unused(&mut self, cx: &mut Context<'_>) {
        for (key, upstream) in self.declared.clone() {
            if self.made.iter().any(|it| it.to == key) {
                continue;
            }
            let message = format!("no server passes to upstream {key}");
            cx.report.remark(&upstream.place, message);
            let name = self.free_name(&key);
            self.make(key, VariantKind::Connections, &[], name, upstream);
        }
    }

    pub(super) fn tables(self) -> impl Iterator<Item = Table> {
        self.made.into_iter().map(|variant| {
            let heading = format!("[upstream.{}]", key(&variant.name));
            let mut table = Table::new(heading, Some(&variant.upstream.place));
            table.extend(variant.settings);
            let entries = variant.upstream.entries.into_iter();
            table.extend(entries.map(|entry| match variant.kind {
                VariantKind::Datagrams if entry.key == "peers" => Entry {
                    value: of_datagrams(entry.value),
                    ..entry
                },
                _ => entry,
            }));
            table
        })
    }
}

/// Whether settings are the same, wherever they were written.
fn same(one: &[Entry], other: &[Entry]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.same(other))
}

/// Whether peers are spoken to by the same TLS, apart from the name in it, and get the same header.
fn same_safety(one: &[Entry], other: &[Entry]) -> bool {
    let of = |settings: &[Entry]| {
        let settings = settings.iter();
        let safety = settings.filter(|it| matches!(it.key, "tls" | "proxy_protocol"));
        let mut safety: Vec<_> = safety.map(|it| (it.key, it.value.clone())).collect();
        for (_, value) in &mut safety {
            if let Value::Table(table) = value {
                table.retain(|(key, _)| key != "server_name");
            }
        }
        safety
    };
    of(one) == of(other)
}

/// The same peers, for datagrams.
fn of_datagrams(peers: Value) -> Value {
    match peers {
        Value::Text(address) => match address.strip_prefix("tcp://") {
            Some(rest) => Value::text(format!("udp://{rest}")),
            None => Value::Text(address),
        },
        Value::List(peers) => Value::List(peers.into_iter().map(of_datagrams).collect()),
        Value::Lines(peers) => {
            let peers = peers.into_iter();
            Value::Lines(
                peers
                    .map(|(peer, from)| (of_datagrams(peer), from))
                    .collect(),
            )
        }
        Value::Table(entries) => {
            let entries = entries.into_iter().map(|(key, value)| match &key[..] {
                "address" => (key, of_datagrams(value)),
                _ => (key, value),
            });
            Value::Table(entries.collect())
        }
        other => other,
    }
}
