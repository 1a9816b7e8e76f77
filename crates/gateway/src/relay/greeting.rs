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
        let announced = relay.notes.as_ref().and_then(|notes| notes.server);
        let ends = ends(&relay.client, announced, of_client);
        Greeting::new(version, ends)
    });
    greeting.send(to)
}

/// The ends of the client's connection. Where a trusted proxy names the client, it also names the other end.
fn ends(client: &Peer, announced: Option<SocketAddr>, socket: &OwnedFd) -> Option<Ends> {
    let Peer::Ip(client) = *client else {
        return None;
    };
    let own = || SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok();
    let server = announced.or_else(own)?;
    Some(Ends {
        is_datagram: false,
        client,
        server,
    })
}
