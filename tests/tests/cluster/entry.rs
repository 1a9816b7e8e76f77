//! Who belongs to a cluster.

use std::time::{Duration, Instant};

use moorline_tests::{Engine, LENGTH_LISTENER, Nats, Site, eventually};

use crate::fixture::{config, knows, node, session, three};

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

#[test]
fn logins_are_shown_and_wrong_ones_are_told() {
    let nats = Nats::start("authorization { user: moor, password: \"line of ships\" }");
    let site = |password: &str| {
        let config = config(&nats, "a", 1);
        let config = config.replace(
            "[cluster]\n",
            "[cluster]\nuser = \"moor\"\npassword_file = \"password\"\n",
        );
        let site = Site::new("probe", "");
        site.write("password", password);
        site.configure(&config);
        site
    };
    let wrong = site("another\n");
    let _alone = wrong.start();
    wrong.logged(&["NATS is away", "uthorization"]);
    let right = site("line of ships\n").start();
    right.site().logged(&["this node belongs to the cluster"]);
}

#[test]
fn an_engine_without_a_cluster_has_none() {
    let engine = Engine::start("probe", &format!("[workers]\ncount = 2\n{LENGTH_LISTENER}"));
    let (mut client, id) = session(&engine);
    assert_eq!(client.ask("nodes"), "");
    assert!(u64::from_str_radix(&id, 16).expect("an id") >> 54 == 0);
    assert_eq!(client.ask("tell 0080000000000001 x"), "NoSuchSession");
}
