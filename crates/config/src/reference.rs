//! Every key of the configuration: its type, its default, its effect, and how a reload treats a change of it.
//!
//! The parser refuses to read a key that is not in [`SECTIONS`] (in debug builds), the tests write each default and each
//! example into a file, and [`page`] is `docs/reference/configuration.md`.

mod access;
mod access_log;
mod cluster;
mod framing;
mod listeners;
mod maps;
mod processes;
mod servers;
mod tls;
mod upstreams;
mod web;

use std::fmt::Write;

use access::{ACCESS, LIMIT, LIMITS, RATE};
use access_log::ACCESS_LOG;
use cluster::{CLUSTER, CLUSTER_TLS};
use framing::{DELIMITER, FRAMING, LENGTH, LINE, RAW};
use listeners::{APP, LISTEN};
use maps::MAP;
use processes::{ADMIN, ENGINE, FILE, HELPERS, HOOKS, LOG, OTLP, TASKS, WORKERS};
use servers::SERVER;
use tls::{CERTIFICATES, PEER_TLS, PREREAD, TLS};
use upstreams::{BALANCE, BIND, CHECK, NEXT, PEER, RESOLVER, UPSTREAM};
use web::{COMPRESSION, FILES, ROUTE};

/// Every table, in the order of the page.
pub const SECTIONS: &[SectionReference] = &[
    FILE,
    ENGINE,
    LOG,
    HOOKS,
    WORKERS,
    TASKS,
    HELPERS,
    ADMIN,
    OTLP,
    CLUSTER,
    CLUSTER_TLS,
    LISTEN,
    ACCESS,
    LIMITS,
    RATE,
    SERVER,
    ROUTE,
    FILES,
    COMPRESSION,
    FRAMING,
    RAW,
    LENGTH,
    DELIMITER,
    LINE,
    PREREAD,
    TLS,
    PEER_TLS,
    CERTIFICATES,
    LIMIT,
    ACCESS_LOG,
    UPSTREAM,
    PEER,
    BALANCE,
    NEXT,
    CHECK,
    BIND,
    RESOLVER,
    MAP,
    APP,
];

/// A table of the configuration.
#[derive(Debug)]
pub struct SectionReference {
    /// As the parser's errors name it; empty for the file itself.
    pub title: &'static str,
    /// The page's heading.
    pub heading: &'static str,
    /// What the table is for.
    pub about: &'static str,
    /// Its keys, in the order of the page.
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// As it is written in a file.
    pub name: &'static str,
    /// What a value is, and its unit.
    pub kind: &'static str,
    /// The value if the key is absent.
    pub default: Default,
    /// A value in TOML, other than the default.
    pub example: &'static str,
    /// When a changed value takes effect.
    pub reload: Reload,
    /// What the key does.
    pub about: &'static str,
}

/// The value if a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// The key must be written.
    Required,
    /// The same as this value, in TOML.
    Value(&'static str),
    /// Described in words: it depends on the machine or on other keys, or there is none.
    Words(&'static str),
}

/// When a reload makes a changed value take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At once, for the sessions that are open too.
    Yes,
    /// It applies to connections accepted afterwards.
    NewConnections,
    /// A reload that would change it is refused.
    Restart,
}

const fn key(
    name: &'static str,
    kind: &'static str,
    default: Default,
    example: &'static str,
    reload: Reload,
    about: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        example,
        reload,
        about,
    }
}

/// Whether there is this key in the table with this title.
pub(crate) fn is_known(title: &str, key: &str) -> bool {
    let keys = SECTIONS
        .iter()
        .filter(|section| section.title == title)
        .flat_map(|section| section.keys);
    keys.into_iter().any(|known| known.name == key)
}

const HEAD: &str = "\
# Configuration

<!-- Written by `cargo xtask docs` from crates/config/src/reference. -->

A configuration is a TOML file. The engine refuses unknown keys. `check` prints every error with file, line, column
and a hint.

- A duration is a string with a unit: `\"10ms\"`, `\"5s\"`, `\"2m\"`, `\"1h\"`.
- A size is a string with a unit: `\"512B\"`, `\"64KiB\"`, `\"2MiB\"`, `\"1GiB\"`.
- A relative path starts at the folder of the file.

`reload` applies the whole file and closes no session. The column *reload* says when a changed value takes effect:

- *yes*: at once, for open sessions too.
- *new*: for connections that are accepted after the reload.
- *restart*: never. A reload that would change this key is refused, names the key, and changes nothing.

A reload also changes nothing if a new address cannot be bound, or if a new worker does not become ready.
`reload --tasks` applies `[tasks]`, and `[app]` in task workers.
";

/// `docs/reference/configuration.md`.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        // A string takes every write.
        let _ = write!(page, "\n## {}\n\n{}\n", section.heading, section.about);
        if !section.keys.is_empty() {
            page.push_str("\n| key | type | default | reload | what it does |\n");
            page.push_str("| --- | --- | --- | --- | --- |\n");
        }
        for key in section.keys {
            let _ = writeln!(page, "{}", row(key));
        }
    }
    page
}

fn row(key: &Key) -> String {
    let default = match key.default {
        Default::Required => "required".to_owned(),
        Default::Value(value) => format!("`{value}`"),
        Default::Words(words) => words.to_owned(),
    };
    let reload = match key.reload {
        Reload::Yes => "yes",
        Reload::NewConnections => "new",
        Reload::Restart => "restart",
    };
    let Key {
        name,
        kind,
        example,
        about,
        ..
    } = key;
    // Words and tables need none.
    let example = match kind.starts_with('`') || example.starts_with('[') && kind.contains("table")
    {
        true => String::new(),
        false => format!(", as in `{example}`"),
    };
    format!("| `{name}` | {kind}{example} | {default} | {reload} | {about} |")
}
