//! `service` of a peer: servers that the DNS names, with their ports, priorities and weights.

use moorline_net::resolve::Name;
use moorline_net::{Address, HostPort};

use super::error::Reported;
use super::walk::Field;

const HINT: &str = r#"write service = "_http._tcp.example.com""#;

/// The address of a service has no port: each of its servers says its own.
pub(super) const NO_PORT: u16 = 0;

/// Reads the key of a peer.
pub(super) fn service(field: &Field<'_>) -> Result<Address, Reported> {
    let text = field.text()?;
    let name = match Name::parse(text) {
        Ok(name) => name,
        Err(error) => return Err(field.refuse(format!("`service`: {error}"), HINT)),
    };
    let mut labels = name.as_str().split('.');
    let is_label =
        |label: Option<&str>| label.is_some_and(|it| it.len() > 1 && it.starts_with('_'));
    let (service, protocol) = (labels.next(), labels.next());
    if !is_label(service) || !is_label(protocol) {
        let message = format!("`service`: {text:?} does not begin with a service and its protocol");
        return Err(field.refuse(message, HINT));
    }
    let host_port = HostPort {
        host: name.as_str().to_owned(),
        port: NO_PORT,
    };
    Ok(match protocol {
        Some("_udp") => Address::Udp(host_port),
        _ => Address::Tcp(host_port),
    })
}
