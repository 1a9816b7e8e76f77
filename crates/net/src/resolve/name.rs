//! A name as it is looked up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::resolver::{Answer, Families, ResolveError};
use crate::printable::printable;

/// The longest name, in bytes, without its trailing dot (RFC 1035 §2.3.4: 255 bytes as it travels).
pub const MAX_NAME_BYTES: usize = 253;
/// The longest part between dots, in bytes (RFC 1035 §2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;

/// A name as it is looked up: in lower case, well-formed.
///
/// A trailing dot is kept, since it keeps search lists (`search` in `resolv.conf`) away from the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Reads a name. [`ResolveError::InvalidName`] says why it cannot exist.
    pub fn parse(text: &str) -> Result<Self, ResolveError> {
        match problem(text.strip_suffix('.').unwrap_or(text)) {
            None => Ok(Self(text.to_ascii_lowercase().into())),
            Some(problem) => Err(ResolveError::InvalidName {
                name: shortened(text),
                problem,
            }),
        }
    }

    /// The name, with its trailing dot if it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without a trailing dot, as tables, certificates and SNI have it.
    pub fn relative(&self) -> &str {
        self.0.strip_suffix('.').unwrap_or(&self.0)
    }

    /// The loopback addresses if the name is `localhost` or below it: RFC 6761 §6.3 wants no server asked.
    pub fn loopback(&self, families: Families) -> Option<Answer> {
        let name = self.relative();
        if name != "localhost" && !name.ends_with(".localhost") {
            return None;
        }
        let addresses = [
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
        ];
        Some(Answer {
            addresses: addresses
                .into_iter()
                .filter(|ip| families.admit(*ip))
                .collect(),
            ttl: None,
            stale: false,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if !name.is_ascii() {
        return Some("write it in its ASCII form (xn--…)");
    }
    if name.len() > MAX_NAME_BYTES {
        return Some("it is longer than 253 bytes");
    }
    // Underscores are no part of host names, yet DNS carries them and people use them.
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        return Some("only letters, digits, `-`, `_` and `.` may be in it");
    }
    name.split('.').find_map(|label| {
        if label.is_empty() {
            Some("there is nothing between two of its dots")
        } else if label.len() > MAX_LABEL_BYTES {
            Some("one of its parts is longer than 63 bytes")
        } else {
            None
        }
    })
}

/// Enough of a bad name to recognise it: an error must not carry a megabyte around.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_LABEL_BYTES) {
        Some((end, _)) => format!("{}…", printable(&text[..end])),
        None => printable(text),
    }
}
