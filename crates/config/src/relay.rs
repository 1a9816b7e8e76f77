//! `upstream` of a listener: its connections are relayed to peers, and no worker has a part in it.

use std::time::Duration;

use moorline_net::Address;

use super::error::Reported;
use super::upstream::Upstreams;
use super::walk::Section;
use super::{datagram_relay, near};

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

/// The upstream of a listener, if it has one. `upstreams`: those of the file.
pub(super) fn upstream(
    section: &Section<'_>,
    address: Option<&Address>,
    upstreams: &Upstreams,
) -> Result<Option<String>, Reported> {
    let names = &upstreams.names;
    let named = section.read("upstream", |field| {
        let name = field.text()?;
        if names.iter().any(|known| known == name) {
            return Ok(name.to_owned());
        }
        let hint = match near::nearest(name, names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write a table [upstream.{name}] with its peers"),
        };
        Err(field.refuse(format!("there is no upstream {name:?}"), hint))
    });
    if !section.has("upstream") {
        return named;
    }
    let keys = section.refuse_keys(
        SESSION_KEYS,
        "has no effect with `upstream`: bytes are relayed as they come",
    );
    match address {
        None | Some(Address::Tcp(_) | Address::Tls(_) | Address::Udp(_)) => {}
        Some(Address::Unix(_)) => section.refuse_keys(
            &["websocket", "static", "route"],
            "has no effect with `upstream`: requests are relayed as they come",
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
    if let (Some(address), Ok(Some(name))) = (address, &named)
        && let Some(upstream) = upstreams.named(name)
    {
        datagram_relay::check_kind(section, address, (name, upstream.is_datagram()))?;
    }
    named
}
