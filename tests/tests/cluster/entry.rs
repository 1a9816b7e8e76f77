//! Who belongs to a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_tests::{Engine, LENGTH_LISTENER, Nats, Site, eventually};
use nix::sys::signal::Signal;

use crate::fixture::{config, knows, node, on_each_worker, session, three};

#[test]
fn a_second_node_of_the_same_number_or_name_is_refused_at_start() {
    let nats = Nats::start("");
    let _a = node(&nats, "a", 1);
    for (name, number, same) in [("x", 1, "the number 1"), ("a", 9, "the name \"a\"")] {
        let refused = Site::new("probe", &config(&nats, name, number)).try_start();
        let error = refused.err().expect("it is refused").stderr;
        assert!(
            error.contains("node \"a\" (number 1) has") && error.contains(same),
            "{error}"
        );
    }
    let b = node(&nats, "b", 2);
    knows(&b, "1=a");
}

#[test]
fn a_node_that_stops_is_gone_at_once_and_comes_back() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (_receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    let site = b.site();
    b.run(&["stop"]).expect_success();
    drop(b);
    eventually("the node is gone", || sender.ask("nodes") == "3=c");
    assert_eq!(sender.ask(format!("tell {id} x")), "Gone");
    a.site().logged(&["node lost", "node=b"]);
    let b = site.start();
    knows(&a, "2=b 3=c");
    knows(&b, "1=a 3=c");
    // The old session has ended for good.
    assert_eq!(
        sender.ask(format!("tell-until-refused {id}")),
        "NoSuchSession"
    );
}

#[test]
fn changes_among_nodes_are_told_in_each_worker() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let mut watchers = on_each_worker(&a);
    for watcher in &mut watchers {
        watcher.send("node-changes");
        assert_eq!(watcher.receive(), b"joined b");
        assert_eq!(watcher.receive(), b"joined c");
    }
    let site = b.site();
    b.run(&["stop"]).expect_success();
    drop(b);
    let _b = site.start();
    for watcher in &mut watchers {
        assert_eq!(watcher.receive(), b"lost b");
        assert_eq!(watcher.receive(), b"joined b");
    }
}

#[test]
fn a_node_without_nats_starts_alone_and_joins_later() {
    let mut nats = Nats::start("");
    nats.kill();
    let a = node(&nats, "a", 1);
    a.site().logged(&["NATS is away", "alone"]);
    let (mut sender, _) = session(&a);
    assert_eq!(sender.ask("hello"), "hello");
    let began = Instant::now();
    assert_eq!(sender.ask("tell 0080000000000001 x"), "Unreachable");
    assert!(began.elapsed() < Duration::from_secs(5));
    nats.restart();
    let b = node(&nats, "b", 2);
    knows(&a, "2=b");
    knows(&b, "1=a");
}

/// A site whose engine logs in as `moor`.
fn with_login(nats: &Nats, name: &str, number: u16, password: &str) -> Arc<Site> {
    let config = config(nats, name, number).replace(
        "[cluster]\n",
        "[cluster]\nuser = \"moor\"\npassword_file = \"password\"\n",
    );
    let site = Site::new("probe", "");
    site.write("password", password);
    site.configure(&config);
    site
}

#[test]
fn logins_are_shown_and_wrong_ones_are_told() {
    let nats = Nats::start("authorization { user: moor, password: \"line of ships\" }");
    let wrong = with_login(&nats, "a", 1, "another\n");
    let _alone = wrong.start();
    wrong.logged(&["NATS is away", "uthorization"]);
    let right = with_login(&nats, "a", 1, "line of ships\n").start();
    right.site().logged(&["this node belongs to the cluster"]);
}

/// A NATS server whose user `moor` may publish and subscribe to these.
fn with_permissions(publish: &str, subscribe: &str) -> Nats {
    Nats::start(&format!(
        "authorization {{ users = [ {{ user: moor, password: \"line of ships\", \
         permissions: {{ publish: {publish}, subscribe: {subscribe} }} }} ] }}"
    ))
}

#[test]
fn what_nats_refuses_is_told_with_what_to_allow() {
    let nats = with_permissions("[\"moorline.beat\"]", "[\"moorline.>\"]");
    let [a, b] = [("a", 1), ("b", 2)]
        .map(|(name, number)| with_login(&nats, name, number, "line of ships\n").start());
    knows(&a, "2=b");
    let (_receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    sender.ask(format!("tell {id} x"));
    a.site()
        .logged(&["NATS refuses something", "moorline.node.*.*", "ermissions"]);
}

#[test]
fn the_permissions_in_the_guide_are_enough() {
    let nats = with_permissions(
        "[\"moorline.beat\", \"moorline.node.*.*\", \"moorline.presence.1\", \"moorline.presence.2\"]",
        "[\"moorline.beat\", \"moorline.node.1.*\", \"moorline.node.2.*\", \"moorline.presence.*\"]",
    );
    let [a, b] = [("a", 1), ("b", 2)]
        .map(|(name, number)| with_login(&nats, name, number, "line of ships\n").start());
    knows(&a, "2=b");
    let (mut receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    assert_eq!(sender.ask(format!("tell {id} hello")), "ok");
    assert_eq!(receiver.receive(), b"hello");
    for engine in [a, b] {
        let log = engine.site().log();
        assert!(!log.contains("NATS refuses"), "{log}");
    }
}

#[test]
fn a_node_that_is_refused_while_it_serves_logs_that_and_its_workers_are_replaced() {
    let mut nats = Nats::start("");
    nats.kill();
    let _older = node(&nats, "a", 1);
    let younger = node(&nats, "x", 1);
    nats.restart();
    younger
        .site()
        .logged(&["this node is not in the cluster", "the number 1"]);
    younger.kill_worker(0, Signal::SIGKILL);
    younger
        .site()
        .logged(&["this worker starts outside of the cluster"]);
    for client in &mut on_each_worker(&younger) {
        assert_eq!(client.ask("tell 0100000000000001 x"), "Unreachable");
    }
    younger.reload().expect_success();
}

#[test]
fn an_engine_without_a_cluster_has_none() {
    let engine = Engine::start("probe", &format!("[workers]\ncount = 2\n{LENGTH_LISTENER}"));
    let (mut client, id) = session(&engine);
    assert_eq!(client.ask("nodes"), "");
    assert!(u64::from_str_radix(&id, 16).expect("an id") >> 54 == 0);
    assert_eq!(client.ask("tell 0080000000000001 x"), "NoSuchSession");
}
