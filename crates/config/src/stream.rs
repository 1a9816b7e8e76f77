//! The rules for clients of a stream listener, apart from how it reads their bytes.

use moorline_net::Address;
use serde::{Deserialize, Serialize};

use super::access::{self, Access};
use super::error::Reported;
use super::listen::{is_datagram, is_http};
use super::preread::{self, Preread};
use super::walk::Section;

/// Keys of streams.
const KEYS: &[&str] = &["access"];

/// The rules for clients of a stream listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRules {
    /// Which clients may connect.
    pub access: Access,
    /// How the hello of a TLS client is read before a peer is chosen, if it is.
    pub preread: Option<Preread>,
}

/// Reads the keys of a listener.
pub(super) fn rules(
    section: &Section<'_>,
    address: Option<&Address>,
) -> Result<StreamRules, Reported> {
    let access = section.read("access", |field| access::access(&field));
    let preread = preread::preread(section);
    match address {
        Some(address) if is_http(section, address) => section.refuse_keys(
            KEYS,
            "has no effect on requests of HTTP: it belongs to listeners of streams",
        )?,
        Some(address) if is_datagram(address) && !section.has("upstream") => section.refuse_keys(
            KEYS,
            "has no effect on a listener of datagrams without `upstream`",
        )?,
        _ => {}
    }
    Ok(StreamRules {
        access: access?.unwrap_or_default(),
        preread: preread?,
    })
}
