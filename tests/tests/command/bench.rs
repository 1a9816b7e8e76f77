//! The load generator: it measures, and finds every wrong answer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use moorline_tests::{Engine, Finish, Finished, LENGTH_LISTENER, Site};

/// Runs `bench` in a mode against an address, for people if `as_json` is not asked for.
fn bench(site: &Site, mode: &str, address: &str, more: &[&str]) -> Finished {
    let mut command = site.command(&["bench", mode, address, "--warm-up", "10ms"]);
    command.args(more).finish()
}

fn json(finished: &Finished) -> serde_json::Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"))
}

#[test]
fn echoes_are_counted_and_timed_over_every_kind_of_address() {
    let engine = Engine::start(
        "echo",
        &format!(
            "[workers]\ncount = 2\n{LENGTH_LISTENER}\
             [[listen]]\nname = \"unix\"\naddress = \"unix://{{folder}}/door.sock\"\nframing = {{ kind = \"line\" }}\n\
             [[listen]]\nname = \"ws\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n"
        ),
    );
    let websocket = format!("ws://{}/ws", engine.socket_address(2));
    for (address, framing) in [
        (engine.address(0), "length"),
        (engine.address(1), "line"),
        (&websocket, "length"),
    ] {
        let more = [
            "--connections",
            "4",
            "--count",
            "200",
            "--size",
            "1000",
            "--framing",
            framing,
            "--json",
        ];
        let finished = bench(&engine, "echo", address, &more).expect_success();
        let said = json(&finished);
        assert_eq!(said["mode"], "echo");
        assert_eq!(said["connections"], 4);
        assert_eq!(said["size_bytes"], 1000);
        assert_eq!(said["errors"]["total"], 0);
        assert!(said["requests"].as_u64() >= Some(200), "{said}");
        let latency = |key: &str| said["latency_us"][key].as_f64().expect("it is a number");
        assert!(latency("min") > 0.0 && latency("min") <= latency("p50"));
        assert!(latency("p50") <= latency("max"));
    }
    assert_eq!(engine.status().closed("framing"), 0);
}

#[test]
fn each_request_has_a_connection_of_its_own_when_connecting_is_measured() {
    let engine = Engine::start("echo", LENGTH_LISTENER);
    let more = ["--connections", "2", "--count", "50", "--json"];
    let finished = bench(&engine, "connect", engine.address(0), &more).expect_success();
    let requests = json(&finished)["requests"].as_u64().expect("it is counted");
    assert!(requests >= 50);
    assert!(engine.status().gateway.accepted >= requests);
}

#[test]
fn the_cost_of_idle_sessions_is_printed_for_people_and_programs() {
    let engine = Engine::start("echo", LENGTH_LISTENER);
    let config = engine.path("moorline.toml").display().to_string();
    let more = [
        "--connections",
        "100",
        "--duration",
        "100ms",
        "--config",
        &config,
        "--json",
    ];
    let finished = bench(&engine, "idle", engine.address(0), &more).expect_success();
    let said = json(&finished);
    assert_eq!(said["sessions"], 100);
    assert!(
        said["server_private_bytes_after"].as_u64() > Some(0),
        "{said}"
    );
    let said = bench(&engine, "idle", engine.address(0), &more[..6]).expect_success();
    assert!(said.stdout.contains("bytes per session"), "{said:#?}");
}

/// Answers each message of 4 bytes of length and as many more with itself, and from the third of a connection on with
/// what `change` makes of it.
fn server(change: fn(&mut Vec<u8>)) -> String {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = door.local_addr().expect("it has an address");
    let serve = move |mut stream: TcpStream| {
        let mut header = [0; 4];
        let mut answered = 0;
        while stream.read_exact(&mut header).is_ok() {
            let mut message = vec![0; u32::from_be_bytes(header) as usize];
            if stream.read_exact(&mut message).is_err() {
                return;
            }
            let mut answer = [&header[..], &message].concat();
            if answered >= 2 {
                change(&mut answer);
            }
            answered += 1;
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    };
    // Ends with the test's process.
    thread::spawn(move || {
        for stream in door.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    format!("tcp://{address}")
}

#[test]
fn an_answer_that_is_wrong_or_too_long_is_found_and_fails_the_run() {
    let site = Site::new("echo", LENGTH_LISTENER);
    let flip: fn(&mut Vec<u8>) = |answer| answer[100] ^= 1;
    let more: fn(&mut Vec<u8>) = |answer| answer.extend_from_slice(b"more");
    for (change, kind, words) in [
        (flip, "wrong", "the answer differs at byte 100"),
        (more, "surplus", "4 bytes more"),
    ] {
        let address = server(change);
        let arguments = ["--connections", "2", "--duration", "200ms"];
        let said = bench(&site, "echo", &address, &arguments);
        assert_eq!(said.status.code(), Some(1), "{said:#?}");
        assert!(
            said.said().contains(kind) && said.said().contains(words),
            "{said:#?}"
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let site = Site::new("echo", LENGTH_LISTENER);
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("tcp://{}", door.local_addr().expect("it has an address"));
    drop(door);
    let said = bench(&site, "echo", &address, &["--duration", "100ms"]);
    assert_eq!(said.status.code(), Some(1), "{said:#?}");
    said.expect_refusal(&[&address, "refused"]);
    bench(&site, "echo", "carrier-pigeon://roof", &[]).expect_refusal(&["carrier-pigeon"]);
}
