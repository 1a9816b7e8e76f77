//! Listeners and upstreams of datagrams: what they have beside those of connections, and what they have not.

use moorline_net::Address;
use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::walk::Section;

/// Any larger number of datagrams is a slip.
const MOST: u64 = 1_000_000_000;

/// What only connections have.
const CONNECTION_KEYS: &[&str] = &[
    "accept_rate",
    "max_handshakes",
    "handshake_timeout",
    "trusted_proxies",
    "proxy_protocol",
    "preread",
];

/// When the session of a client of datagrams ends, beside `idle_timeout`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramRules {
    /// After this number of datagrams of a client, its next one begins another session. Default: none does.
    pub requests: Option<u32>,
    /// The answers that a peer gives to each datagram. Default: unknown, so that only `idle_timeout` ends a session.
    pub responses: Option<u32>,
}

impl DatagramRules {
    /// Whether a session that has passed on this many datagrams gets no further one of its client.
    pub fn is_full(&self, requests: u64) -> bool {
        self.requests
            .is_some_and(|most| requests >= u64::from(most))
    }

    /// Whether all answers to this many datagrams have come.
    pub fn is_answered(&self, requests: u64, responses: u64) -> bool {
        let expected = |each: u32| u64::from(each).saturating_mul(requests);
        self.responses
            .is_some_and(|each| responses >= expected(each))
    }

    /// Whether a session is over by the numbers of its datagrams.
    pub fn is_over(&self, requests: u64, responses: u64) -> bool {
        let may_have_more = self.requests.is_some() && !self.is_full(requests);
        !may_have_more && self.is_answered(requests, responses)
    }
}

/// Reads the keys of a listener, which may be one that relays.
pub(super) fn rules(
    section: &Section<'_>,
    address: Option<&Address>,
    is_relay: bool,
) -> Result<DatagramRules, Reported> {
    let requests = section.read("requests", |field| field.number(1..=MOST));
    let responses = section.read("responses", |field| field.number(0..=MOST));
    let relays_datagrams = matches!(address, None | Some(Address::Udp(_))) && is_relay;
    match relays_datagrams {
        true => section.refuse_keys(
            CONNECTION_KEYS,
            "has no effect on a udp:// listener: datagrams have no connections",
        )?,
        false => section.refuse_keys(
            &["requests", "responses"],
            "belongs to udp:// listeners with `upstream` or `return`",
        )?,
    }
    Ok(DatagramRules {
        requests: requests?,
        responses: responses?,
    })
}

/// What the checks of peers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Connecting,
    Listening,
    Asking,
}

/// Whether it is an address of datagrams, as the peers of one upstream all are, or none is.
pub(super) fn is_udp(address: &Address) -> bool {
    matches!(address, Address::Udp(_))
}

/// Refuses peers of both kinds, and checks that find out nothing about datagrams.
pub(super) fn check_peers<'a>(
    section: &Section<'_>,
    mut peers: impl Iterator<Item = &'a Address> + Clone,
    checked: Option<Checked>,
) -> Result<(), Reported> {
    if !peers.clone().any(is_udp) {
        return Ok(());
    }
    if let Some(other) = peers.find(|peer| !is_udp(peer)) {
        return Err(section.report.error(
            section.place("peers"),
            format!(
                "udp:// peers and {} in one upstream",
                // A service has no port.
                other.to_string().trim_end_matches(":0")
            ),
            "write an upstream for each: datagrams are relayed to udp:// peers only",
        ));
    }
    let (problem, hint) = match checked {
        Some(Checked::Connecting) => (
            "a check of kind \"connect\" finds out nothing about udp:// peers: there is no connection",
            r#"write check = { kind = "expect", send = "…", expect = "…" }"#,
        ),
        Some(Checked::Listening) => (
            "a check of udp:// peers has no `send`: a peer answers to a datagram only",
            r#"write `send` beside `expect`"#,
        ),
        _ => return Ok(()),
    };
    Err(section.report.error(section.place("check"), problem, hint))
}

/// Datagrams are relayed to peers of datagrams, and connections to others. `is_datagram`: what the upstream has.
pub(super) fn check_kind(
    section: &Section<'_>,
    address: &Address,
    upstream: (&str, bool),
) -> Result<(), Reported> {
    let (name, is_datagram) = upstream;
    let takes_datagrams = is_udp(address);
    if takes_datagrams == is_datagram {
        return Ok(());
    }
    let (has, hint) = match is_datagram {
        true => ("udp:// peers", "write a udp:// address for this listener"),
        false => (
            "no udp:// peers",
            "write peers = [\"udp://host:port\"] there",
        ),
    };
    let message = format!(
        "a {}:// listener cannot relay to upstream {name:?}, which has {has}",
        address.scheme()
    );
    Err(section
        .report
        .error(section.place("upstream"), message, hint))
}
