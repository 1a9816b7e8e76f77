//! Where something listens or is reached.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where something listens or is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    /// `tcp://host:port`
    Tcp(HostPort),
    /// `udp://host:port`
    Udp(HostPort),
    /// `unix:///path`
    Unix(PathBuf),
    /// `http://host:port`
    Http(HostPort),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no address.
#[derive(Debug)]
pub struct AddressError;
