//! A call to a service of this node.

use std::fmt;
use std::ops::Deref;

use crate::app::Message;

/// A call to a service, for the hook [`call`](crate::app::App::call). It reads as its bytes.
pub struct ServiceCall {
    service: String,
    node: u16,
    message: Message,
}

impl ServiceCall {
    pub(crate) fn new(service: String, node: u16, message: Message) -> Self {
        Self {
            service,
            node,
            message,
        }
    }

    /// The name of the service that is called. Other nodes choose it freely: what the app does not know is
    /// [`CallError::NoSuchService`](crate::app::CallError::NoSuchService).
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The number of the node that calls.
    pub fn node(&self) -> u16 {
        self.node
    }

    /// Its bytes, to keep.
    pub fn into_vec(self) -> Vec<u8> {
        self.message.into_vec()
    }
}

impl Deref for ServiceCall {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.message
    }
}

impl AsRef<[u8]> for ServiceCall {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl fmt::Debug for ServiceCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceCall")
            .field("service", &self.service)
            .field("node", &self.node)
            .field("len", &self.message.len())
            .finish()
    }
}
