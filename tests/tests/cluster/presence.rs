//! The members of groups of all nodes.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Nats, Random, eventually, kill};
use nix::sys::signal::Signal;

use crate::faults::Liar;
use crate::fixture::{config, node, on_each_worker, session, three};

/// A member of the lobby with this label.
fn member(engine: &Engine, label: &str) -> Client {
    let (mut client, _) = session(engine);
    assert_eq!(client.ask(format!("label {label}")), "ok");
    assert_eq!(client.ask("join lobby"), "ok");
    client
}

/// Waits until each worker of each of these nodes lists these members.
#[track_caller]
fn list<'a>(nodes: impl IntoIterator<Item = &'a Engine>, labels: &str) {
    for mut client in nodes.into_iter().flat_map(on_each_worker) {
        eventually(&format!("the members are {labels}"), || {
            client.ask("labels lobby") == labels
        });
    }
}

/// Reads what a watch tells until nothing is missing of these, in any order.
#[track_caller]
fn tells(watch: &mut Client, expected: &[&str]) {
    let mut missing: Vec<_> = expected.iter().map(|it| it.as_bytes()).collect();
    while !missing.is_empty() {
        let told = watch.receive();
        let at = missing.iter().position(|it| **it == told);
        let at = at.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&told)));
        missing.remove(at);
    }
}

/// A session that watches the lobby.
fn watch(engine: &Engine) -> Client {
    let (mut client, _) = session(engine);
    assert_eq!(client.ask("watch lobby"), "watching");
    client
}

#[test]
fn members_of_all_nodes_are_listed_and_changes_are_told_once() {
    let nats = Nats::start("");
    let nodes = three(&nats);
    let [a, b, c] = &nodes;
    let _first = member(a, "ann");
    let mut second = member(b, "bob");
    list(&nodes, "ann bob");
    let mut watches = [watch(a), watch(b), watch(c)];
    for watch in &mut watches {
        tells(watch, &["joined ann", "joined bob"]);
    }
    let mut third = member(c, "cid");
    for watch in &mut watches {
        tells(watch, &["joined cid"]);
    }
    assert_eq!(second.ask("label rob"), "ok");
    drop(third.ask("leave lobby"));
    for watch in &mut watches {
        tells(watch, &["relabelled rob", "left cid"]);
    }
    drop(second);
    for watch in &mut watches {
        tells(watch, &["left rob"]);
        assert_eq!(watch.ask("nothing more"), "nothing more");
    }
    list(&nodes, "ann");
}

#[test]
fn the_members_of_a_lost_node_leave_and_those_of_one_that_is_back_join() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let _near = member(&a, "ann");
    let _far = member(&b, "bob");
    let mut watch = watch(&a);
    tells(&mut watch, &["joined ann", "joined bob"]);
    for process in b.processes() {
        kill(process.pid, Signal::SIGKILL);
    }
    let began = Instant::now();
    tells(&mut watch, &["left bob"]);
    // Three seconds, and what a busy machine takes.
    assert!(began.elapsed() < Duration::from_secs(8));
    list([&a], "ann");
    std::mem::forget(b);
    let b = node(&nats, "b", 2);
    let _again = member(&b, "bill");
    tells(&mut watch, &["joined bill"]);
    list([&a, &b], "ann bill");
}

#[test]
fn after_nats_was_away_all_nodes_know_what_has_changed_meanwhile() {
    let mut nats = Nats::start("");
    let nodes = three(&nats);
    let [a, b, c] = &nodes;
    let mut members = [member(a, "ann"), member(b, "bob"), member(c, "cid")];
    list(&nodes, "ann bob cid");
    let mut watch = watch(a);
    tells(&mut watch, &["joined ann", "joined bob", "joined cid"]);
    nats.kill();
    assert_eq!(members[1].ask("leave lobby"), "ok");
    assert_eq!(members[2].ask("label sid"), "ok");
    let _new = member(b, "bea");
    nats.restart();
    tells(&mut watch, &["left bob", "relabelled sid", "joined bea"]);
    list(&nodes, "ann bea sid");
}

#[test]
fn members_stay_known_when_workers_crash_and_are_replaced() {
    let nats = Nats::start("");
    let nodes = three(&nats);
    let [a, b, c] = &nodes;
    let members = [member(a, "ann"), member(b, "bob"), member(c, "cid")];
    list(&nodes, "ann bob cid");
    let mut watch = watch(c);
    tells(&mut watch, &["joined ann", "joined bob", "joined cid"]);
    a.kill_worker(0, Signal::SIGKILL);
    a.kill_worker(1, Signal::SIGKILL);
    b.reload().expect_success();
    list([a, b], "ann bob cid");
    // Their sessions have not moved, so nobody joins or leaves a second time.
    let _new = member(a, "amy");
    tells(&mut watch, &["joined amy"]);
    drop(members);
    list(&nodes, "amy");
}

#[test]
fn many_members_are_known_to_a_node_that_comes_late() {
    let nats = Nats::start("");
    let a = node(&nats, "a", 1);
    let (mut client, _) = session(&a);
    let members: Vec<_> = (0..300).map(|_| member(&a, &"x".repeat(64))).collect();
    assert_eq!(client.ask("members-count lobby"), "300");
    let b = node(&nats, "b", 2);
    for mut client in on_each_worker(&b) {
        eventually("all are known", || {
            client.ask("members-count lobby") == "300"
        });
    }
    drop(members);
    for mut client in on_each_worker(&b) {
        eventually("all have left", || client.ask("members-count lobby") == "0");
    }
}

#[test]
fn lies_about_members_do_no_lasting_harm() {
    let nats = Nats::start("");
    let nodes = three(&nats);
    let [a, b, _c] = &nodes;
    let _members = [member(a, "ann"), member(b, "bob")];
    list(&nodes, "ann bob");
    let mut liar = Liar::connect(&nats, "moorline.presence.*");
    let mut random = Random::seeded(11);
    for _ in 0..20 {
        let (subject, truth) = liar.overhear();
        for _ in 0..100 {
            let mut lie = truth.clone();
            // Not the version: all else is refused without it.
            for _ in 0..1 + random.within(0..4) {
                let at = 1 + random.within(0..lie.len() - 1);
                lie[at] = random.number() as u8;
            }
            liar.publish(&subject, &lie);
            liar.publish("moorline.node.1.presence", &lie);
        }
    }
    list(&nodes, "ann bob");
    let _new = member(b, "bea");
    list(&nodes, "ann bea bob");
    for engine in &nodes {
        assert_eq!(engine.settled().errors.worker_exits, 0);
    }
}

#[test]
fn a_watch_tells_the_members_of_an_engine_without_a_cluster() {
    let nats = Nats::start("");
    let config = config(&nats, "a", 1).replace(&nats.cluster("a", 1), "");
    let a = moorline_tests::Site::new("probe", &config).start();
    let ann = member(&a, "ann");
    let mut watch = watch(&a);
    tells(&mut watch, &["joined ann"]);
    let _bob = member(&a, "bob");
    drop(ann);
    tells(&mut watch, &["joined bob", "left ann"]);
}
