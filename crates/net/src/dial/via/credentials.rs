//! A user and a password for a proxy.

use std::fmt;

/// A user and a password.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password; never shown.
    pub password: String,
}

impl Credentials {
    /// A user and a password, as they are: not percent-encoded.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
