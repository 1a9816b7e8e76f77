//! Peers of datagrams that cannot be reached, or do not answer.

use std::time::Duration;

use moorline_tests::{Engine, UdpPeer, eventually};

use super::udp::{client, udp_config};

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_peer_that_refuses_is_passed_over_and_no_datagram_is_lost() {
    let peer = UdpPeer::echo();
    let text = udp_config("", "", &[UdpPeer::absent(), peer.address]);
    let engine = Engine::start("moorline", &text);
    for round in 0..10 {
        let client = client(&engine);
        client.send(&[round, 1]);
        client.send(&[round, 2]);
        assert_eq!(client.receive(), [round, 1]);
        assert_eq!(client.receive(), [round, 2]);
    }
    engine.logged(&["peer taken out"]);
    let said = engine.run(&["upstreams"]).expect_success().stdout;
    assert!(said.contains("Connection refused"), "{said}");
}

#[test]
fn a_peer_that_refuses_is_passed_over_also_where_no_answer_is_expected() {
    let peer = UdpPeer::silent();
    let text = udp_config("responses = 0", "", &[UdpPeer::absent(), peer.address]);
    let engine = Engine::start("moorline", &text);
    let client = client(&engine);
    for round in 0..10 {
        client.send(&[round]);
        assert_eq!(peer.received().0, [round]);
    }
}

#[test]
fn a_backup_serves_while_the_primary_refuses() {
    let backup = UdpPeer::echo();
    let text = format!(
        "[workers]\ncount = 1\n[[listen]]\naddress = \"udp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [\"udp://{}\", {{ address = \"udp://{}\", backup = true }}]\n",
        UdpPeer::absent(),
        backup.address
    );
    let engine = Engine::start("moorline", &text);
    (0..5).for_each(|round| assert_eq!(client(&engine).ask(&[round]), [round]));
}

#[test]
fn datagrams_are_lost_while_no_peer_can_be_reached_and_pass_when_one_is_back() {
    let address = UdpPeer::absent();
    let engine = Engine::start("moorline", &udp_config("", "", &[address]));
    let client = client(&engine);
    client.ask_in_vain(b"x", SHORT);
    engine.logged(&["datagrams lost"]);
    eventually("it is counted", || {
        let relays = engine.status().gateway.relays;
        (relays.begun, relays.failed, relays.open) == (1, 1, 0)
    });
    let _peer = UdpPeer::at(address, |datagram| vec![datagram.to_vec()]);
    assert_eq!(client.ask(b"y"), b"y");
}

#[test]
fn the_session_of_a_peer_that_has_gone_ends_and_its_next_datagram_finds_another_one() {
    let (first, second) = (UdpPeer::echo(), UdpPeer::echo());
    let text = udp_config("", "", &[first.address, second.address]);
    let engine = Engine::start("moorline", &text);
    let client = client(&engine);
    client.ask(b"x");
    assert_eq!(first.count(), 1, "it is the first one's");
    drop(first);
    // It is lost with its peer, which nobody knows to be gone.
    client.send(b"lost");
    engine.logged(&["datagrams relayed", "reason=\"upstream\""]);
    for round in 0..5 {
        assert_eq!(client.ask(&[round]), [round]);
    }
    assert_eq!(second.count(), 5);
}

#[test]
fn a_peer_that_does_not_answer_has_failed_when_its_session_ends() {
    let (silent, echo) = (UdpPeer::silent(), UdpPeer::echo());
    let keys = "responses = 1\nidle_timeout = \"400ms\"";
    let text = udp_config(keys, "", &[silent.address, echo.address]);
    let engine = Engine::start("moorline", &text);
    let first = client(&engine);
    first.send(b"x");
    silent.received();
    engine.logged(&["peer taken out", "timed out"]);
    engine.logged(&["datagrams relayed", "unanswered"]);
    (0..4).for_each(|round| assert_eq!(first.ask(&[round]), [round]));
}

#[test]
fn a_check_asks_with_a_datagram() {
    let well = UdpPeer::answering(|datagram| match datagram {
        b"ping" => vec![b"pong".to_vec()],
        other => vec![other.to_vec()],
    });
    let silent = UdpPeer::answering(|datagram| match datagram {
        b"ping" => Vec::new(),
        _ => vec![b"wrong".to_vec()],
    });
    let keys = "check = { kind = \"expect\", send = \"ping\", expect = \"pong\", interval = \"100ms\", timeout = \"50ms\", fall = 2 }";
    let text = udp_config("", keys, &[silent.address, well.address]);
    let engine = Engine::start("moorline", &text);
    engine.logged(&["peer taken out: its checks fail"]);
    (0..4).for_each(|round| assert_eq!(client(&engine).ask(&[round]), [round]));
}
