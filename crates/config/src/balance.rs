//! `balance` of an upstream: how a connection gets its peer.

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::variables::{self, Template};
use super::walk::{Field, Section};

const HINT: &str = r#"write balance = "round-robin", "least-connections", "random-two" or "least-time", or balance = { kind = "hash", key = "${client.address}" }"#;

/// How a connection gets its peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Balance {
    /// Each peer in turn, as often as it weighs, spread evenly (smooth weighted).
    #[default]
    RoundRobin,
    /// The peer with the fewest open connections for its weight; of several, each in turn.
    LeastConnections,
    /// Of two random peers, the one with less load.
    RandomTwo(Load),
    /// The peer that is expected to be done first: its average time, times its open connections, for its weight.
    LeastTime(TimeOf),
    /// The peer that the key means. If it cannot be used, another one that the key means.
    Hash {
        /// Connections with equal keys get the same peer. An empty key: each peer in turn.
        key: Template,
        /// How the key is mapped to a peer.
        method: HashMethod,
    },
}

/// What two random peers are compared by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Open connections for the weight.
    #[default]
    Connections,
    /// This time, as with `least-time`.
    Time(TimeOf),
}

/// Which time of a peer is measured. It decays: old ones count ever less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeOf {
    /// Until it is connected.
    #[default]
    Connect,
    /// From then until its first byte.
    FirstByte,
    /// From then until the connection's end.
    LastByte,
}

/// How a key is mapped to a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashMethod {
    /// CRC-32 of the key, modulo all weights. A peer more or less moves most keys. The same as nginx's `hash`.
    Plain,
    /// 160 points a weight on a ring. A peer more or less moves its own keys. The same as nginx's `hash … consistent`.
    #[default]
    Ketama,
    /// A table of 65,537 places. It spreads keys more evenly, and moves a few more.
    Maglev,
}

#[derive(Clone, Copy)]
enum BalanceKind {
    RoundRobin,
    LeastConnections,
    RandomTwo,
    LeastTime,
    Hash,
}

const LOADS: &[(&str, Load)] = &[
    ("connections", Load::Connections),
    ("connect", Load::Time(TimeOf::Connect)),
    ("first-byte", Load::Time(TimeOf::FirstByte)),
    ("last-byte", Load::Time(TimeOf::LastByte)),
];

const KINDS: &[(&str, BalanceKind)] = &[
    ("round-robin", BalanceKind::RoundRobin),
    ("least-connections", BalanceKind::LeastConnections),
    ("random-two", BalanceKind::RandomTwo),
    ("least-time", BalanceKind::LeastTime),
    ("hash", BalanceKind::Hash),
];

pub(super) fn balance(field: &Field<'_>) -> Result<Balance, Reported> {
    if field.is_text() {
        return match field.choice(KINDS)? {
            BalanceKind::RoundRobin => Ok(Balance::RoundRobin),
            BalanceKind::LeastConnections => Ok(Balance::LeastConnections),
            BalanceKind::RandomTwo => Ok(Balance::RandomTwo(Load::default())),
            BalanceKind::LeastTime => Ok(Balance::LeastTime(TimeOf::default())),
            BalanceKind::Hash => Err(field.refuse("`balance` by hash needs a `key`", KEY_HINT)),
        };
    }
    let section = field.section("`balance`", HINT)?;
    let kind = section.require("kind", HINT, |field| field.choice(KINDS));
    let by = section.read("by", |field| field.choice(LOADS));
    let key = section.read("key", |field| variables::template(&field));
    let method = section.read("method", |field| {
        field.choice(&[
            ("plain", HashMethod::Plain),
            ("ketama", HashMethod::Ketama),
            ("maglev", HashMethod::Maglev),
        ])
    });
    let kind = kind.and_then(|kind| refuse_others(&section, kind).map(|()| kind));
    if matches!(kind, Ok(BalanceKind::Hash)) && !section.has("key") {
        let (report, span) = (section.report, section.span.clone());
        section.finish()?;
        return Err(report.error(span, "`balance` by hash needs a `key`", KEY_HINT));
    }
    let by_place = section.place("by");
    section.finish()?;
    Ok(match kind? {
        BalanceKind::RoundRobin => Balance::RoundRobin,
        BalanceKind::LeastConnections => Balance::LeastConnections,
        BalanceKind::RandomTwo => Balance::RandomTwo(by?.unwrap_or_default()),
        BalanceKind::LeastTime => match by?.unwrap_or(Load::Time(TimeOf::default())) {
            Load::Time(time) => Balance::LeastTime(time),
            Load::Connections => {
                return Err(field.report.error(
                    by_place,
                    "`balance` of kind \"least-time\" is by a time",
                    "write \"connect\", \"first-byte\" or \"last-byte\", or kind = \"least-connections\"",
                ));
            }
        },
        BalanceKind::Hash => Balance::Hash {
            key: key?.unwrap_or_default(),
            method: method?.unwrap_or_default(),
        },
    })
}

const KEY_HINT: &str = r#"write balance = { kind = "hash", key = "${client.address}" }"#;

/// Keys of another kind than the one that is written.
fn refuse_others(section: &Section<'_>, kind: BalanceKind) -> Result<(), Reported> {
    let mut result = Ok(());
    for (is_its, keys, reason) in [
        (
            matches!(kind, BalanceKind::RandomTwo | BalanceKind::LeastTime),
            &["by"][..],
            "belongs to balance of kind \"random-two\" or \"least-time\"",
        ),
        (
            matches!(kind, BalanceKind::Hash),
            &["key", "method"],
            "belongs to balance of kind \"hash\"",
        ),
    ] {
        if !is_its {
            result = section.refuse_keys(keys, reason).and(result);
        }
    }
    result
}
