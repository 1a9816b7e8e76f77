//! The memory that all sessions together may hold (B7).

mod support;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::{Client, Engine, LENGTH_LISTENER, Wire, eventually};

const LIMIT: u64 = 32 << 20;
/// What one turn of each loop may add before it looks again.
const SLACK: u64 = 4 << 20;

fn probe(more: &str) -> String {
    let large = LENGTH_LISTENER.replace("2MiB", "16MiB");
    format!("[engine]\nmemory_limit = \"32MiB\"\n[workers]\ncount = 2\n{large}{more}\n")
}

/// Runs a deed while somebody looks that the budget is kept and that a session which takes little is served.
fn while_watched(engine: &Engine, deed: impl FnOnce()) {
    let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut bystander = Client::connect(engine, 0, Wire::LENGTH);
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                for size in [10, 10_000] {
                    let text = "x".repeat(size);
                    assert_eq!(
                        bystander.ask(&text),
                        text,
                        "another's flood is not its fault"
                    );
                }
                rounds += 1;
                most.fetch_max(engine.status().gateway.buffered_bytes, Ordering::Relaxed);
            }
            rounds
        });
        deed();
        is_over.store(true, Ordering::Relaxed);
        assert!(watch.join().expect("the bystander is served") > 0);
    });
    let most = most.into_inner();
    assert!(most <= LIMIT + SLACK, "{most} bytes were held");
    assert!(most > LIMIT / 2, "the limit was never near: {most} bytes");
}

#[test]
fn messages_that_are_never_finished_stay_within_the_limit() {
    let engine = Engine::start("probe", &probe(""));
    while_watched(&engine, || {
        let floods: Vec<_> = (0..20)
            .map(|_| {
                let client = Client::connect(&engine, 0, Wire::LENGTH);
                let mut stream = client.stream.try_clone().expect("a stream can be cloned");
                let flood = std::thread::spawn(move || {
                    let mut bytes = (12_u32 << 20).to_be_bytes().to_vec();
                    bytes.resize(8 << 20, 7);
                    // Closed by the engine, or cut off below.
                    let _ = stream.write_all(&bytes);
                });
                (client, flood)
            })
            .collect();
        eventually("the greediest are closed", || {
            engine.status().closed("memory") > 5
        });
        for (mut client, flood) in floods {
            let _ = client.stream.shutdown(std::net::Shutdown::Both);
            flood.join().expect("a flood only ends");
        }
    });
    engine.logged(&["memory_limit is reached"]);
    eventually("nothing is held any more", || {
        engine.status().gateway.buffered_bytes == 0
    });
}

#[test]
fn floods_to_peers_that_do_not_read_stay_within_the_limit() {
    let engine = Engine::start("probe", &probe("hard_limit = \"256MiB\""));
    while_watched(&engine, || {
        let mut clients: Vec<Client> = (0..6)
            .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
            .collect();
        for client in &mut clients {
            client.send("flood");
        }
        eventually("all that do not read are closed", || {
            engine.status().closed("memory") == 6
        });
    });
}

/// Near the limit `send` waits, and what it waited for arrives.
#[test]
fn senders_wait_near_the_limit_and_nothing_is_lost() {
    const MESSAGES: usize = 300;
    let engine = Engine::start(
        "probe",
        &probe("high_watermark = \"64MiB\"\nlow_watermark = \"1MiB\"\nhard_limit = \"128MiB\""),
    );
    while_watched(&engine, || {
        let mut clients: Vec<Client> = (0..20)
            .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
            .collect();
        for client in &mut clients {
            client.send(format!("pour {MESSAGES}"));
        }
        eventually("much is held", || {
            engine.status().gateway.buffered_bytes > LIMIT / 2
        });
        std::thread::sleep(Duration::from_millis(200));
        std::thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| {
                    for _ in 0..MESSAGES {
                        assert_eq!(client.receive().len(), 16 * 1024);
                    }
                });
            }
        });
        assert_eq!(engine.status().closed("memory"), 0);
    });
}
