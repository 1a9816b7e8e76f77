//! Which header of the PROXY protocol goes to the peers of an upstream.

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::walk::Field;

/// A version of the PROXY protocol's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyVersion {
    /// A line of text.
    One,
    /// Binary.
    Two,
}

pub(super) fn proxy_version(field: &Field<'_>) -> Result<ProxyVersion, Reported> {
    field.number(1..=2).map(|number: u8| match number {
        1 => ProxyVersion::One,
        _ => ProxyVersion::Two,
    })
}
