//! The load generator at a fixed rate: a server that stands still shows in the latencies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Engine, Finish, Finished, LENGTH_LISTENER, Site};
use serde_json::Value;

fn bench(site: &Site, mode: &str, address: &str, more: &[&str]) -> Finished {
    let mut command = site.command(&["bench", mode, address, "--warm-up", "0s", "--json"]);
    command.args(more).finish()
}

#[track_caller]
fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"))
}

#[track_caller]
fn count(said: &Value, name: &str) -> u64 {
    let found = said["pace"][name].as_u64();
    found.unwrap_or_else(|| panic!("no {name}: {said}"))
}

#[track_caller]
fn milliseconds(said: &Value, part: &str) -> f64 {
    let found = said["latency_us"][part].as_f64();
    found.unwrap_or_else(|| panic!("no {part}: {said}")) / 1000.0
}

/// Echoes bytes, and with the answer of this number stands still for a while, on all connections.
fn freezing(at: u64, frozen: Duration) -> String {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = door.local_addr().expect("it has an address");
    let (gate, answers) = (Arc::new(RwLock::new(())), Arc::new(AtomicU64::new(0)));
    let serve = move |mut stream: TcpStream| {
        let mut bytes = vec![0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            if answers.fetch_add(1, Ordering::Relaxed) + 1 == at {
                let _closed = gate.write().expect("nobody panics with it");
                thread::sleep(frozen);
            }
            let _open = gate.read().expect("nobody panics with it");
            if stream.write_all(&bytes[..length]).is_err() {
                return;
            }
        }
    };
    // Ends with the test's process.
    thread::spawn(move || {
        for stream in door.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    format!("tcp://{address}")
}

#[test]
fn a_second_in_which_the_server_stands_still_is_in_the_percentiles() {
    let site = Site::new("echo", LENGTH_LISTENER);
    let options = ["--connections", "4", "--duration", "4s"];
    let address = freezing(200, Duration::from_secs(1));
    let paced = [&options[..], &["--rate", "200/s"]].concat();
    let said = json(&bench(&site, "echo", &address, &paced).expect_success());
    // A quarter of all requests were due in that second.
    for part in ["p90", "p99", "p99.9", "max"] {
        let least = if part == "p90" { 400.0 } else { 800.0 };
        assert!(milliseconds(&said, part) >= least, "{part}: {said}");
    }
    assert!(count(&said, "late_for_answers") > 100, "{said}");
    let expected = said["duration_s"].as_f64().expect("a number") * 200.0;
    let due = count(&said, "due");
    assert!((due as f64 - expected).abs() < 20.0, "{said}");
    assert_eq!(count(&said, "sent") + count(&said, "unsent"), due, "{said}");

    // Without a rate a few slow answers stand for that second, and the percentiles say nothing of it.
    let address = freezing(200, Duration::from_secs(1));
    let said = json(&bench(&site, "echo", &address, &options).expect_success());
    assert!(said.get("pace").is_none(), "{said}");
    assert!(milliseconds(&said, "max") >= 900.0, "{said}");
    assert!(milliseconds(&said, "p99") < 500.0, "{said}");
}

#[test]
fn requests_that_were_never_sent_are_counted_and_told() {
    let site = Site::new("echo", LENGTH_LISTENER);
    let options = ["--connections", "4", "--duration", "2s", "--rate", "100"];
    let address = freezing(100, Duration::from_secs(4));
    let said = json(&bench(&site, "echo", &address, &options).expect_success());
    assert!(count(&said, "unsent") > 50, "{said}");
    assert_eq!(
        count(&said, "sent") + count(&said, "unsent"),
        count(&said, "due"),
        "{said}"
    );
    // They have waited up to a second, and what was sent waits for longer.
    assert!(milliseconds(&said, "p90") >= 500.0, "{said}");
    assert!(milliseconds(&said, "max") >= 2000.0, "{said}");

    let address = freezing(50, Duration::from_secs(3));
    let mut command = site.command(&["bench", "echo", &address, "--warm-up", "0s"]);
    let said = command.args(options).finish().expect_success().stdout;
    assert!(said.contains("rate        100 req/s: "), "{said}");
    assert!(said.contains("due and never sent"), "{said}");
}

#[test]
fn low_and_high_rates_are_held_over_many_connections() {
    let engine = Engine::start("echo", LENGTH_LISTENER);
    for (mode, rate, connections) in [
        ("echo", 5, "100"),
        ("echo", 5000, "500"),
        ("connect", 100, "20"),
    ] {
        let rate_text = rate.to_string();
        let options = [
            "--rate",
            &rate_text,
            "--connections",
            connections,
            "--duration",
            "2s",
        ];
        let said = json(&bench(&engine, mode, engine.address(0), &options).expect_success());
        let expected = said["duration_s"].as_f64().expect("a number") * f64::from(rate);
        let due = count(&said, "due");
        assert!(
            (due as f64 - expected).abs() <= 2.0 + expected / 50.0,
            "{said}"
        );
        assert_eq!(count(&said, "sent") + count(&said, "unsent"), due, "{said}");
        assert_eq!(said["errors"]["total"], 0, "{said}");
    }
}

#[test]
fn a_server_that_never_answers_does_not_hold_the_run_for_ever() {
    let site = Site::new("echo", LENGTH_LISTENER);
    let begun = Instant::now();
    let address = freezing(1, Duration::from_secs(600));
    let said = bench(&site, "echo", &address, &["--duration", "1s"]);
    said.expect_refusal(&[&address, "no answer came"]);
    let address = freezing(100, Duration::from_secs(600));
    let options = ["--connections", "2", "--count", "1000", "--rate", "1000"];
    let said = bench(&site, "echo", &address, &options);
    assert_eq!(said.status.code(), Some(1), "{said:#?}");
    let said = json(&said);
    assert_eq!(said["errors"]["by_kind"]["missing"], 2, "{said}");
    assert!(milliseconds(&said, "p99") >= 5000.0, "{said}");
    assert!(begun.elapsed() < Duration::from_secs(300));
}

#[test]
fn a_rate_that_is_none_is_refused() {
    let site = Site::new("echo", LENGTH_LISTENER);
    for (mode, rate, words) in [
        ("echo", "0", "is no rate"),
        ("echo", "5/m", "is no rate"),
        ("echo", "20000000", "1 to 10000000 requests a second"),
        ("idle", "5", "idle sessions send nothing"),
    ] {
        bench(&site, mode, "tcp://127.0.0.1:1", &["--rate", rate]).expect_refusal(&[words]);
    }
}
