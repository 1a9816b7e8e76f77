//! Posts and tasks for other nodes.

use moorline_tests::{Nats, Site, eventually};

use crate::fixture::{config, knows, node, session, three};

#[test]
fn a_post_reaches_the_worker_of_another_node_in_order() {
    let nats = Nats::start("");
    let [a, _b, _c] = three(&nats);
    let (mut sender, _) = session(&a);
    for slot in ["0", "1"] {
        assert_eq!(sender.ask(format!("node-post b {slot} hello")), "ok");
        let expected = format!("hello from node 1 in {slot}");
        assert_eq!(sender.receive(), expected.as_bytes());
    }
    sender.send("node-post-all b 1 1000");
    let mut next = 0;
    while next < 1000 {
        let answer = sender.receive();
        if answer != b"posted" {
            let expected = format!("{next} from node 1 in 1");
            assert_eq!(String::from_utf8_lossy(&answer), expected);
            next += 1;
        }
    }
}

#[test]
fn posts_to_another_node_are_bounded_and_refused_with_a_reason() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (mut sender, _) = session(&a);
    assert_eq!(sender.ask("node-post b 2 x"), "NoSuchWorker");
    assert_eq!(sender.ask("node-post x 0 x"), "Gone");
    // Nobody handles them while this runs.
    assert_eq!(sender.ask("node-post-fill b 0"), "64 Full");
    for number in 0..64 {
        let expected = format!("{number} from node 1 in 0");
        assert_eq!(String::from_utf8_lossy(&sender.receive()), expected);
    }
    // Their places come back.
    eventually("there is room again", || {
        sender.ask("node-post b 0 x") == "ok" && sender.receive() == b"x from node 1 in 0"
    });
    b.run(&["stop"]).expect_success();
    eventually("the node is gone", || {
        sender.ask("node-post b 0 x") == "Gone"
    });
}

#[test]
fn a_task_runs_on_another_node() {
    let nats = Nats::start("");
    let a = node(&nats, "a", 1);
    let with_tasks = format!("[tasks]\ncount = 2\n{}", config(&nats, "b", 2));
    let b = Site::new("probe", &with_tasks).start();
    knows(&a, "2=b");
    knows(&b, "1=a");
    let (mut giver, _) = session(&a);
    for (order, result) in [
        ("node-task b hello", "HELLO"),
        ("node-task-on b 1 slot", "1"),
        ("node-task-on b 2 slot", "NoSuchTaskWorker"),
        ("node-task b fail", "Failed(\"asked to fail\")"),
        ("node-task-within b 100 block 3000", "Timeout"),
        ("node-task x hello", "Gone"),
        ("node-task a hello", "NoTaskWorkers"),
    ] {
        assert_eq!(giver.ask(order), result, "{order}");
    }
    let (mut other, _) = session(&b);
    assert_eq!(other.ask("node-task a hello"), "NoTaskWorkers");
    assert_eq!(other.ask("node-task b hello"), "HELLO");
}
