//! Calls to services of other nodes.

use std::thread;

use moorline_tests::{Engine, LENGTH_LISTENER, Nats, eventually, kill};
use nix::sys::signal::Signal;

use crate::fixture::{on_each_worker, session, three};

#[test]
fn a_call_is_answered_by_a_worker_of_the_other_node() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    for caller in &mut on_each_worker(&a) {
        assert_eq!(caller.ask("call b echo hello"), "hello");
        assert_eq!(caller.ask("call b from"), "1");
        for slot in ["0", "1"] {
            assert_eq!(caller.ask(format!("call-on b {slot} slot")), slot);
        }
        // Those that name no worker go to one after the other.
        let slots = [0, 1].map(|_| caller.ask("call b slot"));
        assert_ne!(slots[0], slots[1]);
        assert_eq!(caller.ask("call-size b 900000 echo"), "900000");
    }
    // One's own node answers, too.
    let (mut own, _) = session(&b);
    let slot = own.ask("slot");
    assert_eq!(own.ask("call b slot"), slot);
    assert_eq!(own.ask("call b from"), "2");
    assert_eq!(own.ask("call-on b 7 slot"), "Elsewhere");
    assert_eq!(own.ask("call b nobody"), "NoSuchService");
}

#[test]
fn a_call_that_cannot_be_answered_says_why() {
    let nats = Nats::start("max_payload: 200000");
    let [a, b, _c] = three(&nats);
    let (mut caller, _) = session(&a);
    for (call, error) in [
        ("call b nobody", "NoSuchService"),
        ("call x echo", "Gone"),
        ("call-on b 2 echo", "NoSuchWorker"),
        ("call b fail", "Failed(\"asked to fail\")"),
        ("call b panic", "Failed(\"panicked: asked to panic\")"),
        ("call-within b 50 sleep 60000", "Timeout"),
        ("call b exit", "WorkerLost"),
    ] {
        assert_eq!(caller.ask(call), error, "{call}");
    }
    let long = "x".repeat(256);
    assert_eq!(caller.ask(format!("call b {long}")), "NoSuchService");
    let large = caller.ask("call-size b 200000 echo");
    assert!(large.contains("TooLarge"), "{large}");
    // Its answer is too large.
    eventually("the worker is replaced", || {
        let answer = caller.ask("call b size 200000");
        answer.contains("over the limit")
    });
    b.site().logged(&["asked to fail", "hook=\"call\""]);
}

#[test]
fn a_call_ends_when_its_node_dies_and_when_nats_does() {
    let mut nats = Nats::start("");
    let [a, b, c] = three(&nats);
    let [mut one, mut other] = on_each_worker(&a);
    one.send("call-within b 60000 sleep 60000");
    other.send("call-within c 60000 sleep 60000");
    for node in [&b, &c] {
        node.journaled("sleeps");
    }
    for process in b.processes() {
        kill(process.pid, Signal::SIGKILL);
    }
    assert_eq!(one.receive(), b"Gone");
    nats.kill();
    assert_eq!(other.receive(), b"Unreachable");
    assert_eq!(other.ask("call c echo x"), "Unreachable");
    std::mem::forget(b);
}

#[test]
fn a_call_is_answered_over_a_reload_of_either_node() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (mut caller, _) = session(&a);
    caller.send("call b sleep 2000");
    b.journaled("sleeps");
    thread::scope(|scope| {
        scope.spawn(|| b.reload().expect_success());
        scope.spawn(|| a.reload().expect_success());
        assert_eq!(caller.receive(), b"slept");
    });
    assert_eq!(caller.ask("call-many b 500 echo x"), "500");
}

#[test]
fn a_worker_takes_as_many_calls_as_it_says_and_those_that_are_dropped_take_no_place() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let [mut holder, _] = on_each_worker(&b);
    let (mut caller, _) = session(&a);
    caller.send("call-flood b 1500");
    assert_eq!(caller.receive(), b"full");
    assert_eq!(holder.ask("release"), "released");
    let expected = "{\"Full\": 476, \"released\": 1024}";
    assert_eq!(String::from_utf8_lossy(&caller.receive()), expected);
    // More than may wait, one after another.
    assert_eq!(caller.ask("call-drop b 5000 echo x"), "dropped");
    assert_eq!(caller.ask("call b echo x"), "x");
}

#[test]
fn without_a_cluster_nobody_is_called() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    let (mut client, _) = session(&engine);
    assert_eq!(client.ask("call b echo x"), "Unreachable");
    assert_eq!(client.ask("node-post b 0 x"), "Unreachable");
    assert_eq!(client.ask("node-task b x"), "Unreachable");
}
