//! Groups with members on several nodes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use moorline_tests::{Client, Engine, Nats, eventually};

use crate::fixture::{node, on_each_worker, session, three};

/// A session on each node, in this group, of which all nodes know.
fn members(nodes: &[Engine; 3], group: &str) -> [Client; 3] {
    let members = std::array::from_fn(|at| {
        let (mut client, _) = session(&nodes[at]);
        assert_eq!(client.ask(format!("join {group}")), "ok");
        client
    });
    for mut client in nodes.iter().flat_map(on_each_worker) {
        eventually("the members are known", || {
            client.ask(format!("members-count {group}")) == "3"
        });
    }
    members
}

#[test]
fn a_message_to_a_group_reaches_its_members_on_all_nodes_once() {
    let nats = Nats::start("");
    let nodes = three(&nats);
    let mut members = members(&nodes, "lobby");
    for from in &nodes {
        for sender in &mut on_each_worker(from) {
            sender.send("say lobby hello");
            for member in &mut members {
                assert_eq!(member.receive(), b"hello");
            }
        }
    }
    for (at, from) in members.iter_mut().enumerate() {
        from.send(format!("say-others lobby {at}"));
    }
    for (at, member) in members.iter_mut().enumerate() {
        let mut got: Vec<_> = (0..3).map(|_| member.receive()).collect();
        got.sort_unstable();
        let mut expected = vec![&b"0"[..], b"1", b"2", b"ok"];
        expected.remove(at);
        assert_eq!(got, expected);
        assert_eq!(member.ask("nothing more"), "nothing more");
    }
}

#[test]
fn events_reach_members_on_all_nodes_and_each_node_keeps_them() {
    let nats = Nats::start("");
    let nodes = three(&nats);
    let mut members = members(&nodes, "lobby");
    for member in &mut members {
        assert_eq!(member.ask("keep-events lobby 10"), "ok");
    }
    let (mut sender, _) = session(&nodes[0]);
    assert_eq!(sender.ask("event lobby first one"), "ok");
    // Where it is kept it is a repetition.
    assert_eq!(sender.ask("event lobby first again"), "ok");
    assert_eq!(sender.ask("event lobby second two"), "ok");
    for member in &mut members {
        assert_eq!(member.receive(), b"one");
        assert_eq!(member.receive(), b"two");
    }
}

#[test]
fn messages_of_one_worker_to_a_group_stay_in_order_over_reloads() {
    let nats = Nats::start("");
    let nodes = three(&nats);
    let mut members = members(&nodes, "lobby");
    let (mut sender, _) = session(&nodes[0]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                for number in sent..sent + 100 {
                    sender.send(format!("say lobby {number}"));
                }
                for member in &mut members {
                    for number in sent..sent + 100 {
                        assert_eq!(member.receive(), number.to_string().as_bytes());
                    }
                }
                sent += 100;
            }
        });
        for engine in [&nodes[1], &nodes[0]] {
            engine.reload().expect_success();
        }
        done.store(true, Ordering::Relaxed);
        reading.join().expect("the order holds");
    });
}

#[test]
fn a_session_of_another_node_joins_and_leaves() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (mut far, id) = session(&b);
    let (mut near, _) = session(&a);
    assert_eq!(near.ask(format!("join-other {id} lobby")), "ok");
    eventually("it is a member", || near.ask("members-count lobby") == "1");
    near.send("say lobby hello");
    assert_eq!(far.receive(), b"hello");
    assert_eq!(near.ask(format!("leave-other {id} lobby")), "ok");
    eventually("it has left", || far.ask("members-count lobby") == "0");
    let long = "x".repeat(256);
    assert!(
        near.ask(format!("join-other {id} {long}"))
            .contains("GroupName")
    );
}

#[test]
fn without_nats_a_group_goes_on_on_its_node_and_the_sender_is_told() {
    let mut nats = Nats::start("");
    let nodes = three(&nats);
    let mut members = members(&nodes, "lobby");
    let (mut sender, _) = session(&nodes[0]);
    nats.kill();
    // Until it is known that NATS is away, a message is lost on its way to other nodes.
    eventually("the sender is told", || {
        let told = sender.ask("say-others lobby alone");
        assert_eq!(members[0].receive(), b"alone");
        told == "Unreachable"
    });
    // A handler may fail with that: its session goes on.
    sender.send("say-much lobby 1 3");
    assert_eq!(members[0].receive(), b"mmm");
    assert_eq!(sender.ask("hello"), "hello");
    assert_eq!(nodes[0].settled().errors.handlers, 0);
    nats.restart();
    let [_, mut far, _] = members;
    eventually("others are reached again", || {
        sender.ask("say-others lobby again") == "ok"
    });
    while far.receive() != b"again" {}
}

#[test]
fn a_message_that_nats_does_not_take_is_told_and_reaches_its_own_node() {
    let nats = Nats::start("max_payload: 100000");
    let nodes = three(&nats);
    let mut members = members(&nodes, "lobby");
    let (mut sender, _) = session(&nodes[0]);
    let large = "x".repeat(100_000);
    let refused = sender.ask(format!("say-others lobby {large}"));
    assert!(refused.contains("NatsPayload"), "{refused}");
    assert_eq!(members[0].receive().len(), large.len());
    assert_eq!(sender.ask("say-others lobby small"), "ok");
    for member in &mut members {
        assert_eq!(member.receive(), b"small");
    }
    // A group without members elsewhere does not travel.
    eventually("no other node may have members", || {
        sender.ask(format!("say-others nobody {large}")) == "ok"
    });
}

#[test]
fn a_node_that_is_alone_sends_to_its_own_members() {
    let nats = Nats::start("");
    let a = node(&nats, "a", 1);
    let (mut member, _) = session(&a);
    assert_eq!(member.ask("join lobby"), "ok");
    assert_eq!(member.ask("say-others lobby x"), "ok");
}
