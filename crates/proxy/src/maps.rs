//! Maps from one text to another, ready for use.

mod hosts;
mod murmur;
mod networks;

use std::net::IpAddr;

use moorline_config::{Map, MapEntries, NameId, Share, Template, TextKey};
use regex::bytes::{Captures, Regex};
use rustc_hash::FxHashMap;

pub(crate) use hosts::Hosts;
use murmur::murmur_hash2;
use networks::Networks;

/// What a pattern has found.
pub(crate) type Groups<'a> = Captures<'a>;

/// The maps of a configuration, ready for use.
#[derive(Debug, Default)]
pub struct Maps(FxHashMap<NameId, ReadyMap>);

/// A map, ready for use.
#[derive(Debug)]
pub(crate) struct ReadyMap {
    from: Template,
    has_hostnames: bool,
    default: Template,
    entries: ReadyEntries,
}

#[derive(Debug)]
enum ReadyEntries {
    Text {
        hosts: Hosts<Template>,
        patterns: Vec<(Regex, Template)>,
    },
    Network(Networks),
    Share(Vec<(Share, Template)>),
}

impl Maps {
    /// Makes maps ready for use. It compiles every pattern, which takes up to some milliseconds for each.
    pub fn new(maps: &[Map]) -> Self {
        let ready = maps.iter().map(|map| {
            let ready = ReadyMap {
                from: map.from.clone(),
                has_hostnames: map.has_hostnames,
                default: map.default.clone(),
                entries: ready(&map.entries),
            };
            (NameId::of(&map.name), ready)
        });
        Self(ready.collect())
    }

    pub(crate) fn get(&self, name: NameId) -> Option<&ReadyMap> {
        self.0.get(&name)
    }
}

fn ready(entries: &MapEntries) -> ReadyEntries {
    match entries {
        MapEntries::Text(entries) => {
            let (mut hosts, mut patterns) = (Hosts::default(), Vec::new());
            for (key, value) in entries {
                match key {
                    TextKey::Exact(name) => hosts.add_exact(name, value),
                    TextKey::Below(name) => hosts.add_below(name, value),
                    TextKey::Domain(name) => hosts.add_domain(name, value),
                    TextKey::Begin(name) => hosts.add_begin(name, value),
                    // It was compiled once when the configuration was checked.
                    TextKey::Pattern(pattern) => {
                        patterns.extend(pattern.compile().ok().map(|it| (it, value.clone())));
                    }
                }
            }
            ReadyEntries::Text { hosts, patterns }
        }
        MapEntries::Network(entries) => ReadyEntries::Network(Networks::new(entries)),
        MapEntries::Share(entries) => ReadyEntries::Share(entries.clone()),
    }
}

impl ReadyMap {
    /// What is looked up.
    pub(crate) fn from(&self) -> &Template {
        &self.from
    }

    /// Passes the value of this text on, with what a pattern has found in the text.
    pub(crate) fn look_up(&self, text: &[u8], found: impl FnOnce(&Template, Option<&Groups<'_>>)) {
        let value = match &self.entries {
            ReadyEntries::Text { hosts, patterns } => {
                // As nginx does, which takes a name with the dot of the root for the one without.
                let text = match text.strip_suffix(b".") {
                    Some(bare) if self.has_hostnames => bare,
                    _ => text,
                };
                let host = hosts.find(text);
                if host.is_none() {
                    // To look for groups costs more, also where there is no match.
                    let is_match = |(pattern, _): &&(_, _)| Regex::is_match(pattern, text);
                    if let Some((pattern, value)) = patterns.iter().find(is_match) {
                        return found(value, pattern.captures(text).as_ref());
                    }
                }
                host
            }
            ReadyEntries::Network(networks) => {
                let address = str::from_utf8(text).ok().and_then(|it| it.parse().ok());
                address.and_then(|it: IpAddr| networks.find(it.to_canonical()))
            }
            ReadyEntries::Share(shares) => {
                let hash = murmur_hash2(text);
                let is_in = |(share, _): &&(Share, Template)| match share {
                    Share::Below(below) => hash < *below,
                    Share::Rest => true,
                };
                shares.iter().find(is_in).map(|(_, value)| value)
            }
        };
        found(value.unwrap_or(&self.default), None);
    }
}
