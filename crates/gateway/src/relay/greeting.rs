//! What goes to a peer before the client's bytes: the header of the PROXY protocol.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::proxy_header::writer::Ends;
use crate::relay::peer_greeting::Greeting;
use crate::relay::way::Delivery;
use crate::relay::{Relay, RelayStage};
use moorline_protocol::wire::Peer;

/// Sends it to the peer of the present attempt, whose socket is connected.
///
/// # Errors
/// The peer is gone.
pub(crate) fn greet(relay: &mut Relay) -> Result<Delivery, Errno> {
    let RelayStage::Connecting(connecting) = &mut relay.stage else {
        return Ok(Delivery::All);
    };
    let Some(attempt) = &mut connecting.present else {
        return Ok(Delivery::All);
    };
    let Some(version) = attempt.opening.header else {
        return Ok(Delivery::All);
    };
    let [client, upstream] = &relay.sides;
    let (Some(of_client), Some(to)) = (&client.socket, &upstream.socket) else {
        return Ok(Delivery::All);
    };
    let greeting = attempt.greeting.get_or_insert_with(|| {
        let ends = ends(&relay.client, of_client);
        Greeting::new(version, ends)
    });
    greeting.send(to)
}

/// The ends of the client's connection.
fn ends(client: &Peer, socket: &OwnedFd) -> Option<Ends> {
    let Peer::Ip(client) = *client else {
        return None;
    };
    let server = rustix::net::getsockname(socket).ok()?;
    let server = SocketAddr::try_from(server).ok()?;
    Some(Ends {
        is_datagram: false,
        client,
        server,
    })
}
