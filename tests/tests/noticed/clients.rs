//! Clients that do harm.

use std::net::TcpStream;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Onlooker, Wire, eventually};

#[test]
fn a_slow_reader_is_named() {
    let admin = Onlooker::ADMIN;
    let config = format!(
        "[workers]\ncount = 1\n{LENGTH_LISTENER}hard_limit = \"4MiB\"\n[app]\njournal = \"{{folder}}/journal\"\n{admin}"
    );
    let engine = Engine::start("probe", &config);
    let onlooker = Onlooker::new(&engine);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("flood");
    onlooker.sees("readers-are-slow", "closed for it: 1 session in the last ");
}

#[test]
fn a_reader_that_waits_over_its_watermark_is_counted_until_it_reads_or_leaves() {
    let config = format!(
        "[workers]\ncount = 1\n{LENGTH_LISTENER}high_watermark = \"64KiB\"\nlow_watermark = \"16KiB\"\nhard_limit = \"1GiB\"\n"
    );
    let engine = Engine::start("probe", &config);
    let full = || {
        let said = engine.run(&["status", "--json"]).expect_success().stdout;
        let status: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        status["gateway"]["full"].as_u64()
    };
    assert_eq!(full(), Some(0));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("pour 2000");
    eventually("it is full", || full() == Some(1));
    let said = engine.run(&["status"]).expect_success().stdout;
    assert!(
        said.contains("1 have more queued than `high_watermark`"),
        "{said}"
    );
    drop(client);
    eventually("it has left", || full() == Some(0));
}

#[test]
fn a_flood_is_named_with_its_address() {
    let admin = Onlooker::ADMIN;
    let config =
        format!("[workers]\ncount = 1\n{LENGTH_LISTENER}max_sessions_per_address = 2\n{admin}");
    let engine = Engine::start("probe", &config);
    let onlooker = Onlooker::new(&engine);
    let address = engine.socket_address(0);
    let flood: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(address).expect("the kernel takes it"))
        .collect();
    onlooker.sees(
        "connections-are-refused",
        "Most came from 127.0.0.1 to listener ",
    );
    drop(flood);
}
