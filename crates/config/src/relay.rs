//! Listeners with `upstream` or `return`: their connections are relayed to peers, or answered with a text, and no worker has a part in
//! it.

use std::time::Duration;

use moorline_net::Address;

use super::datagram_relay;
use super::destination::{self, Destination};
use super::error::Reported;
use super::names::Named;
use super::naming::check_name;
use super::upstream::Upstreams;
use super::variables::{Template, any_template};
use super::walk::{Field, Section};

/// What one listener sets: a connection looks for a name among all of them.
const MOST_SETS: usize = 64;
const SET_HINT: &str = r#"write set = { name = "${map.x}-1" }"#;

/// As long as other proxies wait.
pub(super) const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// What only sessions with messages have.
const SESSION_KEYS: &[&str] = &[
    "framing",
    "receive_timeout",
    "send_timeout",
    "half_close_timeout",
    "min_receive_rate",
    "high_watermark",
    "low_watermark",
    "hard_limit",
    "on_crash",
    "on_error",
    "attempts",
    "deliver_after_close",
    "dispatch",
];

/// What a listener that relays does with its connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Relaying {
    pub(super) destination: Option<Destination>,
    /// What it sets, by name.
    pub(super) sets: Vec<(String, Template)>,
}

/// Reads the keys of a listener. `upstreams`: those of the file.
pub(super) fn relaying(
    section: &Section<'_>,
    address: Option<&Address>,
    upstreams: &Upstreams,
) -> Result<Relaying, Reported> {
    let is_datagram = address.is_some_and(datagram_relay::is_udp);
    let destination = destination::destination(section, is_datagram, &upstreams.tables.names);
    let destination = destination.and_then(|it| {
        let encrypted = destination::check_encrypted(section, it.as_ref(), upstreams);
        encrypted.map(|()| it)
    });
    let sets = section.read("set", |field| sets(&field));
    if !destination::is_written(section) {
        section.refuse_keys(&["set"], "has no effect without `upstream` or `return`")?;
        return Ok(Relaying {
            destination: destination?,
            sets: sets?.unwrap_or_default(),
        });
    }
    let key = match section.has("upstream") {
        true => "upstream",
        false => "return",
    };
    let keys = section.refuse_keys(
        SESSION_KEYS,
        &format!("has no effect with `{key}`: bytes are relayed as they come"),
    );
    match address {
        None | Some(Address::Tcp(_) | Address::Tls(_) | Address::Udp(_)) => {}
        Some(Address::Unix(_)) => section.refuse_keys(
            &["websocket", "static", "route"],
            &format!("has no effect with `{key}`: requests are relayed as they come"),
        )?,
        Some(other) => {
            let message = format!(
                "{}:// listeners do not relay in this version",
                other.scheme()
            );
            let hint = "write tcp://host:port, also for HTTP, udp://host:port, or unix:///path";
            return Err(section
                .report
                .error(section.place("address"), message, hint));
        }
    }
    keys?;
    if let (Some(address), Ok(Some(Destination::Upstream(name)))) = (address, &destination)
        && let Some(upstream) = upstreams.named(name)
        && !upstream.peers.is_empty()
    {
        datagram_relay::check_kind(section, address, (name, upstream.is_datagram()))?;
    }
    Ok(Relaying {
        destination: destination?,
        sets: sets?.unwrap_or_default(),
    })
}

fn sets(field: &Field<'_>) -> Result<Vec<(String, Template)>, Reported> {
    let entries: Vec<_> = field.entries(SET_HINT)?.collect();
    if entries.len() > MOST_SETS {
        let message = format!("`set` has over {MOST_SETS} names");
        return Err(field.refuse(message, "write fewer of them"));
    }
    let sets = entries.into_iter().map(|(name, field)| {
        let (place, name) = (name.span(), name.get_ref());
        field.report.names.define(Named::Set, name, place.clone());
        let named = check_name(field.report, "a variable", name, place);
        let text = any_template(&field, &[]);
        named.and(text).map(|text| (name.to_string(), text))
    });
    let sets: Vec<_> = sets.collect();
    sets.into_iter().collect()
}
