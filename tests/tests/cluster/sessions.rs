//! Sessions of other nodes.

use moorline_tests::{Nats, eventually};

use crate::fixture::{on_each_worker, session, three};

#[test]
fn a_message_reaches_a_session_of_another_node_from_each_worker() {
    let nats = Nats::start("");
    let nodes = three(&nats);
    for (number, to) in (1..).zip(&nodes) {
        for from in &nodes {
            let (mut receiver, id) = session(to);
            // The node's number begins at the tenth bit.
            let node = u64::from_str_radix(&id, 16).expect("an id") >> 54;
            assert_eq!(node, number);
            for sender in &mut on_each_worker(from) {
                assert_eq!(sender.ask(format!("tell {id} hello")), "ok");
                assert_eq!(receiver.receive(), b"hello");
            }
        }
    }
}

#[test]
fn messages_of_one_sender_to_one_session_stay_in_order() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (mut receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    sender.send(format!("count-to {id} 20000"));
    for number in 1..=20_000 {
        assert_eq!(receiver.receive(), number.to_string().as_bytes());
    }
    assert_eq!(sender.receive(), b"refused 0");
}

#[test]
fn a_large_message_goes_whole_and_one_that_nats_does_not_take_is_refused() {
    let nats = Nats::start("max_payload: 200000");
    let [a, b, _c] = three(&nats);
    let (mut receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    sender.send(format!("spray {id} 50 150000 x"));
    for _ in 0..50 {
        assert_eq!(receiver.receive(), vec![b'x'; 150_000]);
    }
    assert_eq!(sender.receive(), b"sprayed");
    let refused = sender.ask(format!("tell {id} {}", "y".repeat(200_000)));
    assert!(
        refused.contains("TooLarge") && refused.contains("NatsPayload"),
        "{refused}"
    );
}

#[test]
fn a_session_of_another_node_is_closed() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (mut receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    assert_eq!(sender.ask(format!("tell {id} farewell")), "ok");
    assert_eq!(sender.ask(format!("end-other {id}")), "Ok(())");
    assert_eq!(receiver.receive(), b"farewell");
    assert!(receiver.receive_to_end().is_empty());
}

#[test]
fn the_sender_to_a_session_that_has_ended_is_told() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    assert_eq!(sender.ask(format!("tell {id} hello")), "ok");
    drop(receiver);
    assert_eq!(
        sender.ask(format!("tell-until-refused {id}")),
        "NoSuchSession"
    );
    // One of a node that nobody has, and one of no node.
    assert_eq!(sender.ask("tell 7fc0000000000001 x"), "Gone");
    assert_eq!(sender.ask("tell ffc0000000000001 x"), "NoSuchSession");
    assert_eq!(sender.ask("tell 0000000000000001 x"), "NoSuchSession");
    eventually("the sender is served on", || sender.ask("hello") == "hello");
}
