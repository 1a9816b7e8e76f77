//! The bytes that go to one peer before the client's, and how much of them it has.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::proxy_header::writer::{Ends, write};
use crate::relay::way::{Delivery, send};
use moorline_config::ProxyVersion;

/// What goes to one peer before the client's bytes.
#[derive(Debug)]
pub(crate) struct Greeting {
    bytes: Vec<u8>,
    /// How much of it the socket has taken.
    sent: usize,
}

impl Greeting {
    pub(crate) fn new(version: ProxyVersion, ends: Option<Ends>) -> Self {
        Self {
            bytes: write(version, ends),
            sent: 0,
        }
    }

    /// A new socket has room for it, unless the system has no memory for sockets.
    pub(crate) fn send(&mut self, to: &OwnedFd) -> Result<Delivery, Errno> {
        self.sent += send(to, &self.bytes[self.sent..])?;
        match self.sent < self.bytes.len() {
            true => Ok(Delivery::Part),
            false => Ok(Delivery::All),
        }
    }
}
