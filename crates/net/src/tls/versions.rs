//! The versions of TLS that are spoken.

use rustls::{SupportedProtocolVersion, version};
use serde::{Deserialize, Serialize};

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

impl Versions {
    pub(super) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

        match self {
            Self::Both => &ALL,
            Self::Tls12 => &ALL[1..],
            Self::Tls13 => &ALL[..1],
        }
    }
}
