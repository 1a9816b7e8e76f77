//! Connections and look-ups that are not finished.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;

use moorline_net::dial::{ConnectCause, Dialer};
use moorline_net::resolve::{Families, system};
use moorline_net::{Address, ConnectError, HostPort, Resolver};

use super::shared_socket::peer_of;
use super::text::io_text;

/// Something that is being opened.
pub(crate) type OpeningTask = Pin<Box<dyn Future<Output = Opened>>>;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Opened {
    Connection(Result<(OwnedFd, Option<SocketAddr>), String>),
    Addresses(Result<Vec<IpAddr>, String>),
}

/// Connects to a host, which is an address or a name.
pub(crate) fn connect(dialer: Arc<Dialer>, host: String, port: u16) -> OpeningTask {
    Box::pin(async move {
        let address = Address::Tcp(HostPort { host, port });
        let connected = dialer.connect(&address).await;
        let connected = connected.map_err(|error| connect_text(&error));
        Opened::Connection(connected.and_then(|connection| {
            // The dialer's registration with the loop ends with the connection; the descriptor is registered anew.
            let descriptor = connection.as_fd().try_clone_to_owned();
            let descriptor = descriptor.map_err(|error| io_text(&error))?;
            let peer = peer_of(&descriptor);
            Ok((descriptor, peer))
        }))
    })
}

/// Finds the addresses of a host.
pub(crate) fn look_up(host: String) -> OpeningTask {
    Box::pin(async move {
        if let Ok(ip) = host.parse() {
            return Opened::Addresses(Ok(vec![ip]));
        }
        let addresses = system().look_up(&host, Families::Both).all().await;
        Opened::Addresses(addresses.map_err(|error| error.to_string()))
    })
}

/// An error in the words of the system, where it has some.
fn connect_text(error: &ConnectError) -> String {
    match error.cause() {
        ConnectCause::TimedOut(error)
        | ConnectCause::Refused(error)
        | ConnectCause::Reset(error)
        | ConnectCause::Unreachable(error)
        | ConnectCause::Io(error) => io_text(error),
        ConnectCause::Timeout => "Connection timed out".to_owned(),
        ConnectCause::Resolve(error) => error.to_string(),
        ConnectCause::Invalid(why) => why.clone(),
        _ => error.to_string(),
    }
}
