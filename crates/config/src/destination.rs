//! Where the connections of a listener go: to an upstream, to an address, or nowhere, with a text as the answer.

use std::collections::BTreeSet;

use moorline_net::{Address, AddressError};
use serde::{Deserialize, Serialize};

use super::error::{Report, Reported};
use super::names::{NameId, Named};
use super::naming::known_name;
use super::upstream::Upstreams;
use super::variables::{Template, TemplatePart, any_template};
use super::walk::{Field, Section};
use super::{Map, datagram_relay, peer_address, variables};

const HINT: &str =
    r#"write upstream = "NAME", a text with variables, or an address such as "10.0.0.1:3306""#;

/// Where the connections of a listener go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// To a peer of the upstream with this name.
    Upstream(String),
    /// To what the filled text names: an upstream, or else an address.
    Text {
        /// It may be constant: then it is an address.
        text: Template,
        /// The upstream whose settings hold for addresses. Default: those of an upstream without any.
        like: Option<String>,
    },
    /// Nowhere: the client gets this text, and then the end.
    Return(Template),
}

impl Destination {
    /// The text that each connection fills in, if there is one.
    pub fn text(&self) -> Option<&Template> {
        match self {
            Self::Upstream(_) => None,
            Self::Text { text, .. } | Self::Return(text) => Some(text),
        }
    }

    /// The upstream whose settings hold for addresses.
    pub fn like(&self) -> Option<&String> {
        match self {
            Self::Text { like, .. } => like.as_ref(),
            Self::Upstream(_) | Self::Return(_) => None,
        }
    }

    /// The name of the upstream that it is, if it is the same for all.
    pub fn upstream(&self) -> Option<&str> {
        match self {
            Self::Upstream(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it may lead to a peer of this upstream.
    pub fn may_reach(&self, upstream: &str) -> bool {
        match self {
            Self::Upstream(name) => name == upstream,
            Self::Text { .. } => true,
            Self::Return(_) => false,
        }
    }
}

/// Whether a listener sends its connections somewhere.
pub(super) fn is_written(section: &Section<'_>) -> bool {
    section.has("upstream") || section.has("return")
}

/// Reads the keys of a listener. `names`: the upstreams of the file.
pub(super) fn destination(
    section: &Section<'_>,
    is_datagram: bool,
    names: &[String],
) -> Result<Option<Destination>, Reported> {
    let like = section.read("upstream_like", |field| known(&field, names));
    let is_like = section.has("upstream_like");
    let upstream = section.read("upstream", |field| {
        upstream_or_address(&field, is_datagram, names)
    });
    let answer = section.read("return", |field| any_template(&field, &[]));
    let (upstream, like, answer) = (upstream?, like?, answer?);
    let destination = match (upstream, answer) {
        (Some(_), Some(_)) => {
            return Err(section.report.error(
                section.key_place("return"),
                "`return` and `upstream` exclude each other",
                "remove one of them",
            ));
        }
        (Some(Destination::Text { text, .. }), None) => Some(Destination::Text { text, like }),
        (Some(other), None) => Some(other),
        (None, answer) => answer.map(Destination::Return),
    };
    if is_like && !matches!(destination, Some(Destination::Text { .. })) {
        section.refuse_keys(
            &["upstream_like"],
            "belongs to an `upstream` with variables or with an address",
        )?;
    }
    Ok(destination)
}

/// Refuses an address with `tls://` where nothing says how its peer is verified.
pub(super) fn check_encrypted(
    section: &Section<'_>,
    destination: Option<&Destination>,
    upstreams: &Upstreams,
) -> Result<(), Reported> {
    let Some(Destination::Text { text, like }) = destination else {
        return Ok(());
    };
    let is_encrypted =
        matches!(text.parts(), [TemplatePart::Text(first), ..] if first.starts_with("tls://"));
    let Ok(parsed) = &upstreams.tables.parsed else {
        return Ok(());
    };
    let of_name = |name: &String| parsed.iter().find(|it| it.name == *name);
    let like = like.as_ref().and_then(of_name);
    match is_encrypted && like.is_none_or(|like| like.tls.is_none()) {
        true => Err(section.report.error(
            section.key_place("upstream"),
            "`upstream` has a `tls://` address, and nothing says how its peer is verified",
            "write upstream_like = \"NAME\" beside it, of an [upstream.NAME] with `tls`",
        )),
        false => Ok(()),
    }
}

fn upstream_or_address(
    field: &Field<'_>,
    is_datagram: bool,
    names: &[String],
) -> Result<Destination, Reported> {
    let name = field.text()?;
    if names.iter().any(|known| known == name) {
        return Ok(Destination::Upstream(name.to_owned()));
    }
    let text = variables::template(field)?;
    match text.constant() {
        Some(text) if !text.contains(':') => drop(known(field, names)?),
        Some(text) => {
            address(text, is_datagram)
                .map_err(|problem| field.refuse(format!("`upstream`: {problem}"), HINT))?;
        }
        None => {}
    }
    Ok(Destination::Text { text, like: None })
}

/// The name of an upstream that the file has.
fn known(field: &Field<'_>, names: &[String]) -> Result<String, Reported> {
    known_name(field, ("upstream", "upstream", "peers"), names)
}

/// The address that a filled text names: as that of a peer, or without its scheme, or as nginx writes it (`unix:/path`).
/// `is_datagram`: it is for datagrams.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn address(text: &str, is_datagram: bool) -> Result<Address, String> {
    let whole = match text.strip_prefix("unix:") {
        _ if text.contains("://") => text.to_owned(),
        Some(path) => format!("unix://{path}"),
        None if is_datagram => format!("udp://{text}"),
        None => format!("tcp://{text}"),
    };
    let parsed = whole.parse();
    let address: Address = parsed.map_err(|error: AddressError| error.problem().to_owned())?;
    match peer_address::unfit(&address) {
        Some(problem) => Err(problem),
        None if datagram_relay::is_udp(&address) == is_datagram => Ok(address),
        None if is_datagram => Err("datagrams are relayed to udp:// addresses only".to_owned()),
        None => Err("connections are not relayed to udp:// addresses".to_owned()),
    }
}

/// Refuses maps that are destinations and have values that cannot be one.
pub(super) fn check_maps<'a>(
    report: &Report<'_>,
    destinations: impl Iterator<Item = &'a Destination>,
    maps: &[Map],
    upstreams: &[String],
) -> Result<(), Reported> {
    let (mut left, mut seen) = (Vec::new(), BTreeSet::new());
    for destination in destinations {
        if let Destination::Text { text, .. } = destination {
            left.extend(only_map(text));
        }
    }
    let mut result = Ok(());
    while let Some(id) = left.pop() {
        let Some(map) = maps.iter().find(|map| NameId::of(&map.name) == id) else {
            continue;
        };
        if !seen.insert(id) {
            continue;
        }
        for value in map.outcomes() {
            left.extend(only_map(value));
            let Some(text) = value.constant() else {
                continue;
            };
            let is_right = text.is_empty()
                || upstreams.iter().any(|it| it == text)
                || [false, true]
                    .into_iter()
                    .any(|is_datagram| address(text, is_datagram).is_ok());
            if !is_right {
                let place = report.names.place(Named::Map, &map.name);
                let message = format!(
                    "the map {:?} is a destination, and its value {text:?} is neither an upstream nor an address",
                    map.name
                );
                let hint = r#"write the name of an upstream, "host:port" or "unix:///path""#;
                result = Err(report.error(place, message, hint));
            }
        }
    }
    result
}

/// The map that is the whole text.
fn only_map(text: &Template) -> Option<NameId> {
    match text.parts() {
        [TemplatePart::Map(name)] => Some(*name),
        _ => None,
    }
}
