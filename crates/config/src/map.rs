//! `[map.NAME]`: from one text to another.

mod network;
mod pattern;
mod share;
mod text;

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::{Report, Reported};
use super::names::Named;
use super::tables::{TableKind, Tables, tables};
use super::variables::{Template, Variable, any_template};
use super::walk::{Field, Section};

pub use network::Addresses;
pub use pattern::MapPattern;
pub use share::Share;
pub use text::TextKey;

const MOST_MAPS: usize = 1024;
/// Entries of one map: as many networks as the largest tables of countries have.
const MOST_ENTRIES: usize = 1 << 20;

const HINT: &str = "write [map.NAME] and its keys below it";
const VALUES_HINT: &str =
    r#"write values = { "a.example" = "web" }, or values = [["a.example", "web"]]"#;

/// A table from one text to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// What `${map.NAME}` calls it. Unique.
    pub name: String,
    /// What is looked up.
    pub from: Template,
    /// The value of what has no entry. Default: empty.
    pub default: Template,
    /// Its entries.
    pub entries: MapEntries,
    /// Keys may be names of hosts with wildcards, and a dot at the end of what is looked up is left out.
    pub has_hostnames: bool,
}

/// The entries of a map, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapEntries {
    /// By text, without regard to case: an exact key, the longest `*.name`, the longest `name.*`, the first pattern.
    Text(Vec<(TextKey, Template)>),
    /// By IP address: the narrowest entry that has it.
    Network(Vec<(Addresses, Template)>),
    /// By chance that is the same for equal texts (MurmurHash2): the first entry whose share the hash is in.
    Share(Vec<(Share, Template)>),
}

impl Map {
    /// Every text in it.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        let values: Box<dyn Iterator<Item = &Template>> = match &self.entries {
            MapEntries::Text(entries) => Box::new(entries.iter().map(|(_, value)| value)),
            MapEntries::Network(entries) => Box::new(entries.iter().map(|(_, value)| value)),
            MapEntries::Share(entries) => Box::new(entries.iter().map(|(_, value)| value)),
        };
        [&self.from, &self.default].into_iter().chain(values)
    }

    /// What it may turn into.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &Template> {
        self.templates().skip(1)
    }
}

#[derive(Clone, Copy)]
enum MapForm {
    Text,
    Network,
    Share,
}

const KIND: TableKind = TableKind {
    one: "a map",
    all: "maps",
    most: MOST_MAPS,
    hint: HINT,
};

/// The maps of a file, by name.
pub(super) fn maps(root: &Section<'_>) -> Result<Vec<Map>, Reported> {
    let read = root.read("map", |field| {
        for (name, _) in field.entries(HINT)? {
            let names = &field.report.names;
            names.define(Named::Map, name.get_ref(), name.span());
        }
        tables(&field, &KIND, map)
    });
    Tables::of(read).parsed
}

fn map(field: &Field<'_>, name: &str) -> Result<Map, Reported> {
    let section = field.section("[map.NAME]", HINT)?;
    let kind = section.read("kind", |field| {
        field.choice(&[
            ("text", MapForm::Text),
            ("network", MapForm::Network),
            ("share", MapForm::Share),
        ])
    });
    let known = kind.unwrap_or_default().unwrap_or(MapForm::Text);
    let from = section.read("from", |field| any_template(&field, &[]));
    let default = section.read("default", |field| any_template(&field, &[]));
    let hostnames = section.read("hostnames", |field| field.flag());
    let has_hostnames = hostnames.unwrap_or_default().unwrap_or(false);
    let entries = section.require("values", VALUES_HINT, |field| {
        let entries = entries(&field)?;
        Ok(match known {
            MapForm::Text => MapEntries::Text(text::keys(&entries, has_hostnames)?),
            MapForm::Network => MapEntries::Network(network::keys(&entries)?),
            MapForm::Share => MapEntries::Share(share::keys(&entries)?),
        })
    });
    let fits = match known {
        MapForm::Text => Ok(()),
        _ => section.refuse_keys(&["hostnames"], "belongs to maps of kind \"text\""),
    };
    let from = match (from, known) {
        (Ok(None), MapForm::Network) => Ok(Template::of(Variable::ClientAddress)),
        (Ok(None), _) => Err(section.report.error(
            section.span.clone(),
            "[map.NAME] has no `from`",
            r#"write from = "${client.address}", or another text with variables"#,
        )),
        (from, _) => from.map(Option::unwrap_or_default),
    };
    section.finish()?;
    kind.and(hostnames.map(drop)).and(fits)?;
    Ok(Map {
        name: name.to_owned(),
        from: from?,
        default: default?.unwrap_or_default(),
        entries: entries?,
        has_hostnames,
    })
}

/// An entry as it is written.
struct Entry<'a> {
    key: String,
    /// Where the key is.
    span: Range<usize>,
    value: Field<'a>,
}

impl Entry<'_> {
    fn refuse(&self, problem: &str, hint: impl Into<String>) -> Reported {
        let message = format!("the key {:?} of a map {problem}", self.key);
        self.value.report.error(self.span.clone(), message, hint)
    }

    fn template(&self) -> Result<Template, Reported> {
        any_template(&self.value, &[])
    }
}

/// The entries in the order of the file: of a table, or of a list of pairs.
fn entries<'a>(field: &Field<'a>) -> Result<Vec<Entry<'a>>, Reported> {
    let mut entries = match field.is_array() {
        true => pairs(field)?,
        false => table(field)?,
    };
    if entries.len() > MOST_ENTRIES {
        let message = format!("`values` has over {MOST_ENTRIES} entries");
        return Err(field.refuse(message, "write several maps"));
    }
    entries.sort_by_key(|entry| entry.span.start);
    Ok(entries)
}

fn table<'a>(field: &Field<'a>) -> Result<Vec<Entry<'a>>, Reported> {
    let entry = |(key, value): (&'a Spanned<_>, Field<'a>)| Entry {
        key: String::from(AsRef::<str>::as_ref(key.get_ref())),
        span: key.span(),
        value,
    };
    Ok(field.entries(VALUES_HINT)?.map(entry).collect())
}

fn pairs<'a>(field: &Field<'a>) -> Result<Vec<Entry<'a>>, Reported> {
    let pair = |field: Field<'a>| {
        let mut both = field.array(VALUES_HINT)?;
        match (both.next(), both.next(), both.next()) {
            (Some(key), Some(value), None) => Ok(Entry {
                key: key.string()?.to_owned(),
                span: key.value.span(),
                value,
            }),
            _ => Err(field.refuse("an entry of `values` is no pair", VALUES_HINT)),
        }
    };
    field.array(VALUES_HINT)?.map(pair).collect()
}

/// Keys that were read so far, with the places where they are.
#[derive(Default)]
struct Seen(HashMap<String, usize>);

impl Seen {
    /// Refuses a key that means the same as an earlier one.
    fn take(&mut self, entry: &Entry<'_>, meaning: String) -> Result<(), Reported> {
        let Some(at) = self.0.insert(meaning, entry.span.start) else {
            return Ok(());
        };
        // A line is found by a search of the file.
        let report: &Report<'_> = entry.value.report;
        let line = report.line(at);
        Err(entry.refuse(
            &format!("means the same as the one in line {line}"),
            "remove one of them",
        ))
    }
}
