//! Gates in workers: their clients are sessions of the gateway.

use std::sync::Arc;
use std::thread;

use moorline_tests::{Client, Engine, Site, Wire};

use super::gates::{AGENT, WATCHDOG};

const CONFIG: &str = r#"
[workers]
count = 1
lua = "main.lua"
[[listen]]
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 2, endian = "big", offset = 0, counts = "payload", max = "64KiB" }
"#;

const MAIN: &str = "local skynet = require 'skynet'
    skynet.start(function()
        local dog = skynet.newservice 'watchdog'
        skynet.call(dog, 'lua', 'start', { port = 0, maxclient = 64, nodelay = true })
    end)";

const WIRE: Wire = Wire::Length {
    width: 2,
    little_endian: false,
};

fn site(agent: &str) -> Arc<Site> {
    let site = Site::new("moorline", "");
    site.write("main.lua", MAIN);
    site.write("watchdog.lua", WATCHDOG);
    site.write("agent.lua", agent);
    site.configure(CONFIG);
    site
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine, 0, WIRE)
}

#[test]
fn clients_of_a_gate_stay_while_its_scripts_are_edited() {
    let engine = site(AGENT).start();
    let mut clients = [(); 4].map(|()| connect(&engine));
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "HELLO");
        // What comes at once is answered in order.
        for text in ["a", "b", "", "c"] {
            client.send(text);
        }
        for text in ["A", "B", "", "C"] {
            assert_eq!(client.receive(), text.as_bytes());
        }
    }
    let edited = AGENT.replace("text:upper()", "text:reverse()");
    engine.site().write("agent.lua", edited);
    engine.reload().expect_success();
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "olleh");
    }
    let [first, second, ..] = &mut clients;
    first.send("quit");
    assert_eq!(first.receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(second.ask("still"), "llits");
}

#[test]
fn a_gate_under_load_loses_no_packet_over_reloads() {
    let engine = site(AGENT).start();
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let talking: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut clients = [(); 8].map(|()| connect(&engine));
                    let mut rounds = 0;
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        for client in &mut clients {
                            client.send(format!("round {rounds}"));
                        }
                        for client in &mut clients {
                            assert_eq!(client.receive(), format!("ROUND {rounds}").as_bytes());
                        }
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        for _ in 0..4 {
            engine.reload().expect_success();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        for talk in talking {
            assert!(talk.join().expect("no packet is wrong") > 0);
        }
    });
}

#[test]
fn a_gate_without_a_listener_says_what_to_write() {
    let site = site(AGENT);
    site.write("main.lua", MAIN.replace("port = 0", "port = 9"));
    let refused = site.try_start().err().expect("it does not start");
    let told = format!("{}{}", refused.stderr, site.log());
    assert!(told.contains("no listener has the port 9"), "{told}");
}

#[test]
fn clients_beyond_the_most_are_closed_and_a_closed_gate_takes_none() {
    let site = site(AGENT);
    site.write("main.lua", MAIN.replace("maxclient = 64", "maxclient = 2"));
    let engine = site.start();
    let mut clients = [(); 2].map(|()| connect(&engine));
    for client in &mut clients {
        assert_eq!(client.ask("x"), "X");
    }
    assert_eq!(connect(&engine).receive_to_end(), Vec::<Vec<u8>>::new());
    let [first, second] = clients;
    drop(first);
    let mut second = second;
    assert_eq!(second.ask("y"), "Y");
    moorline_tests::eventually("there is room again", || {
        let mut next = connect(&engine);
        next.send_bytes(b"\0\x01z").is_ok()
            && matches!(next.try_receive(), Ok(Some(text)) if text == b"Z")
    });
}

/// The watchdog opens the client only later, and a reload comes between.
#[test]
fn a_packet_that_comes_before_the_client_is_opened_is_not_lost_over_a_reload() {
    let site = site(AGENT);
    let slow = WATCHDOG.replace(
        "agents[fd] = skynet.newservice 'agent'",
        "skynet.sleep(30) agents[fd] = skynet.newservice 'agent'",
    );
    assert_ne!(slow, WATCHDOG);
    site.write("watchdog.lua", slow);
    let engine = site.start();
    let mut clients = [(); 6].map(|()| connect(&engine));
    for client in &mut clients {
        client.send("early");
    }
    engine.reload().expect_success();
    for client in &mut clients {
        assert_eq!(client.receive(), b"EARLY");
        assert_eq!(client.ask("later"), "LATER");
    }
}

/// With this dispatch a client is with one worker after the other.
#[test]
fn clients_that_move_between_workers_are_never_too_many() {
    let site = site(AGENT);
    site.write("main.lua", MAIN.replace("maxclient = 64", "maxclient = 3"));
    let text = CONFIG.replace("count = 1", "count = 2");
    site.configure(&format!("{text}dispatch = \"round-robin\"\n"));
    let engine = site.start();
    let mut clients = [(); 2].map(|()| connect(&engine));
    for round in 0..40 {
        for client in &mut clients {
            assert_eq!(client.ask(format!("r{round}")), format!("R{round}"));
        }
    }
}
