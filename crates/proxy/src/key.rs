//! What a connection fills into a template: the key that is hashed.

use std::fmt::Write;
use std::net::SocketAddr;

use moorline_config::{Template, TemplatePart, Variable};

/// What a connection knows of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// The client; `None` on a Unix socket.
    pub client: Option<SocketAddr>,
    /// The name of the listener.
    pub listener: &'a str,
}

impl Facts<'_> {
    /// Appends a text with these facts in it. An IPv4 address within IPv6 is written as IPv4.
    pub fn fill(&self, template: &Template, text: &mut String) {
        let client = self.client;
        for part in template.parts() {
            // A string takes every write.
            let _ = match part {
                TemplatePart::Text(part) => text.write_str(part),
                TemplatePart::Variable(Variable::ClientAddress) => client
                    .map_or(Ok(()), |client| {
                        write!(text, "{}", client.ip().to_canonical())
                    }),
                TemplatePart::Variable(Variable::ClientPort) => {
                    client.map_or(Ok(()), |client| write!(text, "{}", client.port()))
                }
                TemplatePart::Variable(Variable::Listener) => text.write_str(self.listener),
            };
        }
    }
}
