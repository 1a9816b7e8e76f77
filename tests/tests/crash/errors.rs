//! Handlers that return an error, and panics wherever they happen.

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Lost, Wire, eventually};

fn probe(listener: &str) -> String {
    format!(
        "[workers]\ncount = 1\n{LENGTH_LISTENER}{listener}\n[app]\njournal = \"{{folder}}/journal\"\n"
    )
}

#[test]
fn an_error_closes_its_session_for_a_reason_of_its_own() {
    for listener in ["", "on_crash = \"redeliver\""] {
        let engine = Engine::start("probe", &probe(listener));
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let id = client.ask("id");
        client.send("before");
        client.send("fail");
        // What was sent before is flushed.
        assert_eq!(client.receive_to_end(), [b"before"]);
        engine.journaled(&format!("close {id} error"));
        engine.logged(&[
            "a handler returned an error",
            "asked to fail",
            &id,
            "tcp://127.0.0.1:0",
        ]);
        let status = engine.status();
        assert_eq!((status.closed("error"), status.closed("crash")), (1, 0));
        assert_eq!((status.errors.handlers, status.errors.panics), (1, 0));
        assert_eq!(status.errors.returned, 1);
        assert_eq!(status.lost, Lost::default());
    }
}

#[test]
fn a_websocket_is_closed_with_code_1011_after_an_error() {
    let config =
        "[workers]\ncount = 1\n[[listen]]\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n";
    let engine = Engine::start("probe", config);
    let address = engine.socket_address(0);
    let stream = std::net::TcpStream::connect(address).expect("the listener accepts");
    let (mut socket, _) =
        tungstenite::client(format!("ws://{address}/ws"), stream).expect("the handshake succeeds");
    socket.send("fail".into()).expect("it takes what is sent");
    let said = socket.read().expect("a close frame comes");
    let tungstenite::Message::Close(Some(frame)) = said else {
        panic!("{said:?} comes instead");
    };
    assert_eq!(u16::from(frame.code), 1011);
    eventually("it is counted", || engine.status().closed("error") == 1);
}

#[test]
fn under_keep_a_session_goes_on_after_an_error_and_nothing_is_lost() {
    for listener in ["on_error = \"keep\"", "on_crash = \"drop\""] {
        let engine = Engine::start("probe", &probe(listener));
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let id = client.ask("id");
        client.send("fail");
        assert_eq!(client.ask("id"), id);
        let status = engine.status();
        assert_eq!((status.errors.handlers, status.closed("error")), (1, 0));
        assert_eq!(status.lost, Lost::default());
    }
}

#[test]
fn a_send_to_a_session_that_has_ended_is_no_error_of_the_handler() {
    let engine = Engine::start("probe", &probe(""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    client.send("sleep 500");
    eventually("its handler runs", || engine.worker(0).in_progress == 1);
    client.reset();
    engine.journaled(&format!("close {id} peer"));
    let status = engine.status();
    assert_eq!((status.closed("peer"), status.closed("error")), (1, 0));
    assert_eq!((status.errors.handlers, status.errors.panics), (0, 0));
    assert!(!engine.log().contains("ERROR"), "{}", engine.log());
}

/// Of the same worker or of another, told as it is or inside another error.
#[test]
fn an_error_that_tells_of_another_sessions_end_does_no_harm_to_the_session_that_sent() {
    let config = probe("").replace("count = 1", "count = 2");
    let engine = Engine::start("probe", &config);
    let mut sender = Client::connect(&engine, 0, Wire::LENGTH);
    let slot = sender.ask("slot");
    // One session of each worker.
    let (mut near, mut far) = (None, None);
    while near.is_none() || far.is_none() {
        let mut other = Client::connect(&engine, 0, Wire::LENGTH);
        match other.ask("slot") == slot {
            true => near = Some(other),
            false => far = Some(other),
        }
    }
    let mut others = [near, far].map(|other| other.expect("there is one"));
    let ids = others.each_mut().map(|other| other.ask("id"));
    drop(others);
    for id in &ids {
        engine.journaled(&format!("close {id} peer"));
        for how in ["plain", "wrapped", "inside"] {
            // A session of another process is known to have ended from the second time on.
            sender.send(format!("tell-or-fail {id} {how}"));
            sender.send(format!("tell-or-fail {id} {how}"));
        }
        assert_eq!(sender.ask("build"), "first");
    }
    assert!(!engine.log().contains("ERROR"), "{}", engine.log());
    let status = engine.status();
    assert_eq!((status.errors.handlers, status.errors.returned), (0, 0));
    assert_eq!(status.closed("error"), 0);
}

/// Every log format names the place and the way there.
#[test]
fn panics_of_handlers_tasks_and_threads_are_logged_with_place_and_stack_and_counted() {
    for format in ["pretty", "json"] {
        let config = format!("[engine.log]\nformat = \"{format}\"\n{}", probe(""));
        let engine = Engine::start("probe", &config);
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let id = client.ask("id");
        let said = |what: &str, more: &[&str]| {
            let words = [
                &["worker 0", what, "src/probe.rs", "line", "backtrace"],
                more,
            ]
            .concat();
            let line = engine.logged(&words);
            let stack = &line[line.find("backtrace").expect("it was found")..];
            assert!(stack.contains("probe::Probe"), "{line}");
            if format == "json" {
                let value: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
                assert!(value["line"].is_u64(), "{line}");
            }
        };
        assert_eq!(client.ask("panic-in-task"), "started");
        said(
            "a task of the app's own panicked: asked to panic in a task",
            &[],
        );
        assert_eq!(client.ask("panic-in-thread"), "started");
        said(
            "a thread of the app's own panicked: asked to panic in a thread",
            &[],
        );
        client.send("panic");
        assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
        said(
            "a handler panicked: asked to panic",
            &["message", &id, "tcp://127.0.0.1:0"],
        );
        let status = engine.status();
        assert_eq!((status.errors.handlers, status.errors.panics), (1, 3));
        assert_eq!(status.errors.returned, 0);
        // The loop counts a session when it is gone, which its client may hear before.
        eventually("the session is counted", || {
            engine.status().closed("crash") == 1
        });
    }
}
