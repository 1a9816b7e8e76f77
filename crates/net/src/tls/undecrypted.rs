//! Why a private key cannot be decrypted.

use super::der::Malformed;

/// Why a key cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undecrypted {
    /// No password fits.
    WrongPassword,
    /// It is encrypted in a way that is not known here.
    UnknownWay,
    /// To try all passwords would take too long.
    TooLong,
}

impl From<Malformed> for Undecrypted {
    fn from(_: Malformed) -> Self {
        Self::UnknownWay
    }
}
