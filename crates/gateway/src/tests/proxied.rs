//! Connections behind proxies while limits and a reload change.

use super::client::Client;
use super::script::{Script, config};
use crate::commands::Command;
use crate::ids::ListenerId;
use crate::session::Phase;
use crate::shared::admission::Counted;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::{CloseReason, Peer};

/// An HTTP listener whose connections begin with a header, with room for two.
const HTTP: &str = "[[listen]]\naddress = \"http://127.0.0.1:1001\"\nwebsocket = \"/\"\nproxy_protocol = true\n\
    trusted_proxies = [\"10.0.0.1\"]\nmax_sessions = 2\nmax_sessions_per_address = 1\n";

fn peer(address: [u8; 4]) -> Peer {
    Peer::Ip((address, 4711).into())
}

/// A connection of this peer that another loop has accepted; the script's is to go on with it.
fn accept(script: &mut Script, peer: Peer, counted: Counted) -> Result<Client, Limit> {
    let (client, socket) = Client::pair(0);
    let admission = &script.gateway.tools.cx.shared.admissions[0];
    let counted = admission.admit(&peer, counted)?;
    admission.wait();
    script.command(Command::Accepted {
        socket,
        listener: ListenerId(0),
        peer,
        counted,
    });
    Ok(client)
}

#[test]
fn clients_of_a_proxy_that_are_over_their_limit_take_no_room() {
    let mut script = Script::serving(config(HTTP), 1);
    let mut clients = Vec::new();
    for _ in 0..70 {
        let client = accept(&mut script, peer([10, 0, 0, 1]), Counted::ForProxy);
        let mut client = client.expect("those over their limit take no room");
        client.push(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n");
        client.send(usize::MAX);
        clients.push(client);
        script.turn();
        script.turn();
    }
    let of_phase = |script: &Script, is_right: fn(Phase) -> bool| {
        let sessions = script.gateway.sessions.iter();
        sessions.filter(|it| is_right(it.phase)).count()
    };
    assert_eq!(of_phase(&script, |it| it == Phase::Request), 1);
    let turned_away = of_phase(&script, |it| matches!(it, Phase::TurnedAway(_)));
    assert_eq!(turned_away, 64, "the others are closed at once");
    assert_eq!(script.closed(CloseReason::Limit), 69);
    clients[1].push(b"GET / HTTP/1.1\r\n");
    script.settle(&mut clients);
    assert!(clients[1].others[0].starts_with("HTTP/1.1 429 "));
    // They have less time for their request than others.
    script.pass(6_000);
    assert_eq!(
        of_phase(&script, |it| matches!(it, Phase::TurnedAway(_))),
        0
    );
    assert_eq!(of_phase(&script, |it| it == Phase::Request), 1);
    assert_eq!(script.closed(CloseReason::Limit), 69);
}

#[test]
fn a_connection_that_was_accepted_before_the_proxy_protocol_was_on_is_closed() {
    let mut script = Script::serving(config(HTTP), 1);
    for (peer, counted) in [
        (peer([127, 0, 0, 1]), Counted::ADMITTED),
        (peer([127, 0, 0, 1]), Counted::ForProxy),
        (peer([10, 0, 0, 1]), Counted::ADMITTED),
    ] {
        let client = accept(&mut script, peer, counted);
        let mut clients = [client.expect("there is room")];
        script.settle(&mut clients);
        assert!(clients[0].is_ended);
    }
    assert_eq!(script.closed(CloseReason::Handshake), 3);
    let connections = &script.gateway.tools.cx.shared;
    assert_eq!(connections.connections(), 0);
    let client = accept(&mut script, peer([10, 0, 0, 1]), Counted::ForProxy);
    let mut clients = [client.expect("there is room")];
    script.settle(&mut clients);
    assert!(!clients[0].is_ended);
}
