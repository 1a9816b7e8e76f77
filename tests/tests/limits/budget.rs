//! The memory that all sessions together may hold.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Process, Wire, eventually, frame};

const LIMIT: u64 = 32 << 20;
/// What one turn of each loop may add before it looks again.
const SLACK: u64 = 4 << 20;

fn probe(more: &str) -> String {
    let large = LENGTH_LISTENER.replace("2MiB", "16MiB");
    format!("[engine]\nmemory_limit = \"32MiB\"\n[workers]\ncount = 2\n{large}{more}\n")
}

/// Runs a deed while somebody looks that the budget is kept, by the gateway's own count and by the kernel's, and that a
/// session which takes little is served.
fn while_watched(engine: &Engine, deed: impl FnOnce()) {
    let (is_over, most, resident) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let gateway = engine.status().gateway.pid;
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
                resident.fetch_max(Process::private_memory(gateway), Ordering::Relaxed);
            }
            rounds
        });
        // Also if it panics: the scope waits for the watch.
        let done = catch_unwind(AssertUnwindSafe(deed));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            resume_unwind(panic);
        }
        assert!(watch.join().expect("the bystander is served") > 0);
    });
    let (most, resident) = (most.into_inner(), resident.into_inner());
    println!("{most} bytes held, {resident} resident");
    // A heap has holes, and what is cut from a buffer is there twice for a moment.
    assert!(resident < 3 * LIMIT, "{resident} bytes are in use");
    assert!(most <= LIMIT + SLACK, "{most} bytes were held");
    engine.logged(&["memory_limit is near"]);
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
    assert_eq!(engine.status().gateway.memory_limit, Some(LIMIT));
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

/// Sessions that were silent since before a flood are not closed for it, with next to nothing or with a locker here.
#[test]
fn sessions_that_only_wait_outlive_the_floods_of_others() {
    let engine = Engine::start("probe", &probe("hard_limit = \"256MiB\""));
    let mut silent: Vec<Client> = (0..30)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for (number, client) in silent.iter_mut().enumerate() {
        match number % 3 {
            0 => assert_eq!(client.ask("keep-much 8192"), "ok"),
            1 => client
                .send_bytes(b"\0\0\0\x05bu")
                .expect("the session is open"),
            _ => {}
        }
    }
    let mut upload = (12_u32 << 20).to_be_bytes().to_vec();
    upload.resize(8 << 20, 7);
    while_watched(&engine, || {
        let mut unread: Vec<Client> = (0..3)
            .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
            .collect();
        let uploads: Vec<Client> = (0..6)
            .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
            .collect();
        std::thread::scope(|scope| {
            for client in &mut unread {
                client.send("flood");
            }
            for client in &uploads {
                let mut stream = client.stream.try_clone().expect("a stream can be cloned");
                // Closed by the engine, or cut off below.
                let upload = &upload;
                scope.spawn(move || {
                    let _ = stream.write_all(upload);
                });
            }
            eventually("the greediest are closed", || {
                engine.status().closed("memory") >= 3
            });
            for client in uploads {
                let _ = { client.stream }.shutdown(std::net::Shutdown::Both);
            }
        });
    });
    for (number, client) in silent.iter_mut().enumerate() {
        match number % 3 {
            0 => assert_eq!(client.ask("state"), "8192 bytes"),
            1 => {
                client.send_bytes(b"ild").expect("the session is open");
                assert_eq!(client.receive(), b"first");
            }
            _ => assert_eq!(client.ask("build"), "first"),
        }
    }
}

/// Near the limit `send` waits, and what it waited for arrives.
#[test]
fn senders_wait_near_the_limit_and_nothing_is_lost() {
    const MESSAGES: usize = 600;
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

/// All wait, each with a part of its message here: one after the other goes on, and nobody is closed.
#[test]
fn messages_that_do_not_fit_together_arrive_one_after_the_other() {
    const CLIENTS: usize = 20;
    let engine = Engine::start("probe", &probe(""));
    let was_throttled = AtomicBool::new(false);
    while_watched(&engine, || {
        std::thread::scope(|scope| {
            let uploads: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
                    scope.spawn(move || {
                        let text = format!("sleep 5 {}", "x".repeat(5 << 20));
                        for _ in 0..2 {
                            assert_eq!(client.ask(&text), "slept");
                        }
                    })
                })
                .collect();
            while uploads.iter().any(|upload| !upload.is_finished()) {
                let throttled = engine.status().gateway.throttled;
                was_throttled.fetch_or(throttled > 0, Ordering::Relaxed);
            }
        });
    });
    assert!(
        was_throttled.into_inner(),
        "status shows the throttled sessions"
    );
    assert_eq!(engine.status().closed("memory"), 0);
    // The last answer overtakes the news that its message is done.
    eventually("all is given back", || {
        let gateway = engine.status().gateway;
        (gateway.throttled, gateway.buffered_bytes) == (0, 0)
    });
}

#[test]
fn fragments_of_a_websocket_message_are_counted() {
    let engine = Engine::start(
        "probe",
        "[engine]\nmemory_limit = \"8MiB\"\n[workers]\ncount = 1\n\
         [[listen]]\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\nmax_message = \"64MiB\"\n",
    );
    let mut greedy = Client::connect(&engine, 0, Wire::WebSocket);
    greedy
        .send_bytes(&frame(0x02, &[7; 1 << 20]))
        .expect("the session is open");
    eventually("the fragment is counted", || {
        engine.status().gateway.buffered_bytes >= 1 << 20
    });
    let mut modest = Client::connect(&engine, 0, Wire::WebSocket);
    while greedy.send_bytes(&frame(0x00, &[7; 1 << 20])).is_ok() {}
    assert_eq!(engine.status().closed("memory"), 1);
    assert_eq!(modest.ask("still here"), "still here");
    eventually("nothing is held any more", || {
        engine.status().gateway.buffered_bytes == 0
    });
}

/// What apps ask for is not the sessions' fault.
#[test]
fn a_task_over_the_limit_is_refused_and_closes_nobody() {
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\nmemory_limit = \"8MiB\"\n[workers]\ncount = 1\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"
        ),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("keep-much 8000"), "ok");
    let refused = client.ask(format!("task-bytes {}", 9 << 20));
    assert!(refused.contains("memory_limit"), "{refused}");
    assert_eq!(
        client.ask(format!("task-bytes {}", 2 << 20)),
        "2097152 bytes"
    );
    assert_eq!(engine.status().closed("memory"), 0);
}

/// Lockers count, however small each is. Those of the closed count until their process knows, and nobody else is
/// closed for that.
#[test]
fn lockers_count_against_the_limit_and_no_more_are_closed_than_must_be() {
    const SESSIONS: u64 = 1_500;
    const LIMIT: u64 = 8 << 20;
    /// With the byte that tells raw bytes from values.
    const LOCKER: u64 = 8192 + 1;
    let engine = Engine::start(
        "probe",
        &format!("[engine]\nmemory_limit = \"8MiB\"\n[workers]\ncount = 2\n{LENGTH_LISTENER}"),
    );
    let clients: Vec<Client> = (0..SESSIONS)
        .map(|_| {
            let mut client = Client::connect(&engine, 0, Wire::LENGTH);
            client.send("keep-much 8192");
            client
        })
        .collect();
    let mut kept = 0;
    eventually("each has its locker here, or is closed for it", || {
        let status = engine.status();
        let held = status.gateway.buffered_bytes;
        kept = status.gateway.sessions;
        status.gateway.messages == SESSIONS
            && kept + status.closed("memory") == SESSIONS
            && held == kept * LOCKER
            && held <= LIMIT
    });
    // Both loops may make room in the same moment, each for all that has come meanwhile.
    assert!(kept > LIMIT / 8192 / 2, "only {kept} are left");
    drop(clients);
}
