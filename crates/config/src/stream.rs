//! The rules for clients of a stream listener, apart from how it reads their bytes.

use moorline_net::Address;
use serde::{Deserialize, Serialize};

use super::Listener;
use super::access::{self, Access};
use super::access_log::{self, AccessLog};
use super::address_kind::{is_datagram, is_http};
use super::destination;
use super::error::{Report, Reported};
use super::known::Known;
use super::limit::{self, ConnectionLimit, LimitUse};
use super::preread::{self, Preread};
use super::rate::{self, Rates};
use super::tables::Tables;
use super::walk::Section;

/// Keys of streams.
const KEYS: &[&str] = &["access", "limits"];

/// The rules for clients of a stream listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRules {
    /// Which clients may connect.
    pub access: Access,
    /// How the hello of a TLS client is read before a peer is chosen, if it is.
    pub preread: Option<Preread>,
    /// How fast the bytes of a session pass.
    pub rate: Option<Rates>,
    /// Limits of connections by a key.
    pub limits: Vec<LimitUse>,
    /// The names of the logs where its connections leave a line; `None`: the engine's log.
    pub access_log: Option<Vec<String>>,
}

/// Reads the keys of a listener.
pub(super) fn rules(
    section: &Section<'_>,
    address: Option<&Address>,
    known: Known<'_>,
) -> Result<StreamRules, Reported> {
    let access = section.read("access", |field| access::access(&field));
    let preread = preread::preread(section);
    let limits = section.read("limits", |field| limit::used(&field, known.limits));
    let access_log = section.read("access_log", |field| {
        access_log::used(&field, known.access_logs)
    });
    let rate = section.read("rate", |field| rate::rates(&field));
    match address {
        Some(address) if is_http(section, address) => section.refuse_keys(
            KEYS,
            "has no effect on requests of HTTP: it belongs to listeners of streams",
        )?,
        Some(address) if is_datagram(address) && !destination::is_written(section) => section
            .refuse_keys(
                KEYS,
                "has no effect on a listener of datagrams without `upstream` or `return`",
            )?,
        _ => {}
    }
    if !destination::is_written(section) {
        let reason =
            "belongs to listeners with `upstream`: sessions leave their lines in the engine's log";
        section.refuse_keys(&["access_log"], reason)?;
    }
    if !section.has("upstream") {
        section.refuse_keys(&["rate"], "belongs to listeners with `upstream`")?;
    }
    if address.is_some_and(is_datagram) && section.has("rate") {
        let line = section.report.line(section.span.start);
        section.report.warn(format!(
            "the listener of line {line}: `rate` has no effect on datagrams, which are neither split nor delayed nor dropped"
        ));
    }
    Ok(StreamRules {
        access: access?.unwrap_or_default(),
        preread: preread?,
        limits: limits?.unwrap_or_default(),
        rate: rate?,
        access_log: access_log?,
    })
}

/// The same for a server behind a listener.
pub(super) fn rules_of_server(
    section: &Section<'_>,
    known: Known<'_>,
) -> Result<StreamRules, Reported> {
    let access = section.read("access", |field| access::access(&field));
    let limits = section.read("limits", |field| limit::used(&field, known.limits));
    let access_log = section.read("access_log", |field| {
        access_log::used(&field, known.access_logs)
    });
    let rate = section.read("rate", |field| rate::rates(&field));
    Ok(StreamRules {
        access: access?.unwrap_or_default(),
        preread: None,
        limits: limits?.unwrap_or_default(),
        rate: rate?,
        access_log: access_log?,
    })
}

/// Warns of tables of such rules that no listener has.
pub(super) fn warn_of_unused_rules(
    report: &Report<'_>,
    listeners: &[Listener],
    limits: &Tables<ConnectionLimit>,
    access_logs: &Tables<AccessLog>,
) {
    let used = listeners.iter().flat_map(|it| &it.stream.limits);
    limits.warn_of_unused(report, ("limit", "uses"), |name| {
        used.clone().any(|it| it.limit == name)
    });
    let used = listeners
        .iter()
        .filter_map(|it| it.stream.access_log.as_ref());
    access_logs.warn_of_unused(report, ("access log", "uses"), |name| {
        used.clone().flatten().any(|it| it == name)
    });
}
