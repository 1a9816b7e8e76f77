//! `[limit.NAME]`: limits of connections by any key, and `limits` of a listener.

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::naming::known_name;
use super::tables::{TableKind, Tables, tables};
use super::variables::{self, Template};
use super::walk::{Field, Section};

const DEFAULT_MAX_KEYS: u32 = 100_000;
/// Each key takes some 100 bytes.
const MOST_KEYS: u64 = 10_000_000;
/// Any larger number of connections is a slip.
const MOST_CONNECTIONS: u64 = 10_000_000;
const MOST_TABLES: usize = 1024;
/// Limits of one listener: each connection is counted in all of them.
const MOST_USED: usize = 16;

const TABLE_HINT: &str = "write [limit.NAME] and its keys below it";
const HINT: &str =
    r#"write limits = [{ limit = "NAME", most = 10 }], and a table [limit.NAME] with its key"#;

/// Connections that are counted by a key, for all listeners that have the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLimit {
    /// What listeners and log lines call it. Unique.
    pub name: String,
    /// What connections have in common that are counted together. One whose key is empty is not counted.
    pub key: Template,
    /// Keys that are counted at the same time. A connection with another one is refused while there are this many. Default
    /// 100,000.
    pub max_keys: u32,
}

/// A limit of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUse {
    /// The name of the limit.
    pub limit: String,
    /// Connections with the same key at the same time, those of other listeners with the limit, too.
    pub most: u32,
    /// A connection over it is counted and told, and goes on.
    pub is_dry_run: bool,
}

const KIND: TableKind = TableKind {
    one: "[limit.NAME]",
    all: "tables [limit.NAME]",
    most: MOST_TABLES,
    hint: TABLE_HINT,
};

pub(super) fn limits(root: &Section<'_>) -> Tables<ConnectionLimit> {
    let fields = root.read("limit", |field| tables(&field, &KIND, limit));
    Tables::of(fields)
}

fn limit(field: &Field<'_>, name: &str) -> Result<ConnectionLimit, Reported> {
    let section = field.section("[limit.NAME]", TABLE_HINT)?;
    let key = section.require("key", r#"write key = "${client.address}""#, |field| {
        variables::template(&field)
    });
    let max_keys = section.read("max_keys", |field| field.number(1..=MOST_KEYS));
    section.finish()?;
    Ok(ConnectionLimit {
        name: name.to_owned(),
        key: key?,
        max_keys: max_keys?.unwrap_or(DEFAULT_MAX_KEYS),
    })
}

/// Reads `limits` of a listener. `names`: those of the file's limits.
pub(super) fn used(field: &Field<'_>, names: &[String]) -> Result<Vec<LimitUse>, Reported> {
    let entries = field.array(HINT)?;
    if entries.len() > MOST_USED {
        let message = format!("`limits` has over {MOST_USED} entries");
        return Err(field.refuse(message, "write fewer of them"));
    }
    let used: Vec<_> = entries.map(|entry| use_of(&entry, names)).collect();
    used.into_iter().collect()
}

fn use_of(entry: &Field<'_>, names: &[String]) -> Result<LimitUse, Reported> {
    let section = entry.section("an entry of `limits`", HINT)?;
    let limit = section.require("limit", HINT, |field| {
        known_name(&field, ("limit", "limit", "key"), names)
    });
    let most = section.require("most", HINT, |field| field.number(1..=MOST_CONNECTIONS));
    let is_dry_run = section.read("dry_run", |field| field.flag());
    section.finish()?;
    Ok(LimitUse {
        limit: limit?,
        most: most?,
        is_dry_run: is_dry_run?.unwrap_or(false),
    })
}
