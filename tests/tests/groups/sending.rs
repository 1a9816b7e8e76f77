//! Sending to sessions from other places than their worker: files, and messages of task workers.

use std::fs::File;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Process, Random, Wire, eventually};
use nix::sys::signal::Signal;

/// Length-framed, raw and WebSocket listeners, in this order.
fn probe(more: &str) -> String {
    let large = LENGTH_LISTENER.replace("2MiB", "64MiB");
    format!(
        "[workers]\ncount = 2\n[tasks]\ncount = 1\n{large}\
         [[listen]]\nname = \"raw\"\naddress = \"tcp://127.0.0.1:0\"\n{more}\n\
         [[listen]]\nname = \"ws\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\nmax_message = \"64MiB\"\n\
         [app]\njournal = \"{{folder}}/journal\"\n"
    )
}

/// A file with these bytes, and its path.
fn file_of(engine: &Engine, name: &str, bytes: &[u8]) -> String {
    engine.write(name, bytes);
    engine.path(name).display().to_string()
}

#[test]
fn a_file_arrives_as_one_message_of_the_framing() {
    let engine = Engine::start("probe", &probe(""));
    let bytes = Random::new().bytes(5_000_000);
    let path = file_of(&engine, "large", &bytes);
    for (listener, wire) in [(0, Wire::LENGTH), (2, Wire::WebSocket)] {
        let mut client = Client::connect(&engine, listener, wire);
        client.send(format!("file {path}"));
        assert!(client.receive() == bytes);
        client.send(format!("file-part 1000 3000 {path}"));
        assert!(client.receive() == bytes[1000..3000]);
        client.send(format!("file-part 7 7 {path}"));
        assert_eq!(client.receive(), b"");
        assert_eq!(client.ask("hello"), "hello");
    }
}

#[test]
fn files_keep_their_order_among_messages() {
    let engine = Engine::start("probe", &probe(""));
    let bytes = Random::new().bytes(300_000);
    let path = file_of(&engine, "file", &bytes);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send(format!("files 600 {path}"));
    // More than are under way at a time, and a reader that lets them wait.
    std::thread::sleep(Duration::from_millis(200));
    for number in 0..600 {
        assert_eq!(client.receive(), format!("before {number}").into_bytes());
        assert!(client.receive() == bytes, "file {number}");
    }
    assert_eq!(client.receive(), b"all");
}

#[test]
fn a_gibibyte_passes_with_flat_memory() {
    const SIZE: u64 = 1 << 30;
    let engine = Engine::start("probe", &probe(""));
    File::create(engine.path("sparse"))
        .and_then(|file| file.set_len(SIZE))
        .expect("a file can have a hole");
    let path = engine.path("sparse").display().to_string();
    let mut client = Client::connect(&engine, 1, Wire::Raw);
    let mut neighbour = Client::connect(&engine, 0, Wire::LENGTH);
    let pids = [
        engine.status().gateway.pid,
        engine.worker(0).pid,
        engine.worker(1).pid,
    ];
    let memory = || pids.map(Process::private_memory).iter().sum::<u64>();
    let before = memory();
    client.send(format!("file {path}"));
    let mut chunk = vec![1; 1 << 20];
    let (mut received, mut most, mut looked_at) = (0, 0, 0);
    while received < SIZE {
        let count = client.stream.read(&mut chunk).expect("the file goes on");
        assert!(count > 0, "ended after {received} bytes");
        assert!(chunk[..count].iter().all(|byte| *byte == 0));
        received += count as u64;
        if received >> 26 > looked_at {
            looked_at = received >> 26;
            most = most.max(memory());
            assert_eq!(neighbour.ask("others go on"), "others go on");
        }
    }
    assert!(most < before + (4 << 20), "from {before} to {most} bytes");
    assert_eq!(client.ask("hello"), "hello");
}

/// The gateway has the descriptor, so that the worker is not needed any more.
#[test]
fn a_file_on_its_way_survives_the_worker() {
    let engine = Engine::start("probe", &probe(""));
    let bytes = Random::new().bytes(20_000_000);
    let path = file_of(&engine, "large", &bytes);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let slot = client.ask_number("slot") as u16;
    client.send(format!("file {path}"));
    eventually("it has been handed over", || {
        engine.worker(slot).handled >= 2 && engine.worker(slot).in_progress == 0
    });
    engine.kill_worker(slot, Signal::SIGKILL);
    std::fs::remove_file(&path).expect("it is there");
    assert!(client.receive() == bytes);
    assert_eq!(client.ask("hello"), "hello");
}

#[test]
fn a_file_that_cannot_be_sent_is_refused_with_the_reason() {
    let engine = Engine::start("probe", &probe(""));
    let path = file_of(&engine, "short", b"12345");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(
        client.ask(format!("file-part 2 6 {path}")),
        "the file has only 5 bytes"
    );
    for path in ["/dev/zero", "/", "/proc/self/status"] {
        assert_eq!(client.ask(format!("file {path}")), "this is not a file");
    }
    assert!(client.ask("file /nowhere").contains("No such file"));
    File::create(engine.path("sparse"))
        .and_then(|file| file.set_len(65 << 20))
        .expect("a file can have a hole");
    assert!(
        client
            .ask(format!("file {}", engine.path("sparse").display()))
            .contains("over the limit")
    );
}

/// The gateway may open no more: the descriptor is cut off on its way, and the app gets an error.
#[test]
fn a_file_that_the_gateway_has_no_descriptor_for_is_refused_and_the_session_goes_on() {
    let engine = Engine::start("probe", &probe(""));
    let path = file_of(&engine, "file", b"12345");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let gateway = engine.status().gateway.pid;
    let limit = |soft: &str| {
        let changed = Command::new("prlimit")
            .args([&format!("--pid={gateway}"), &format!("--nofile={soft}:")])
            .status();
        assert!(changed.expect("prlimit is part of every Debian").success());
    };
    limit("8");
    for _ in 0..300 {
        let refusal = client.ask(format!("file {path}"));
        assert!(
            refusal.contains("no descriptor left for the file"),
            "{refusal}"
        );
    }
    assert_eq!(client.ask("hello"), "hello");
    limit("1024");
    client.send(format!("file {path}"));
    assert_eq!(client.receive(), b"12345");
    assert_eq!(engine.status().gateway.incarnation, 1);
}

#[test]
fn unsent_files_are_released_with_the_session() {
    let engine = Engine::start("probe", &probe(""));
    File::create(engine.path("sparse"))
        .and_then(|file| file.set_len(60 << 20))
        .expect("a file can have a hole");
    let path = engine.path("sparse").display().to_string();
    let gateway = engine.status().gateway.pid;
    let before = Process::descriptors(gateway);
    for _ in 0..5 {
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        client.send(format!("files 100 {path}"));
        eventually("files are under way", || {
            Process::descriptors(gateway) > before + 20
        });
        drop(client);
        eventually("they are closed", || {
            Process::descriptors(gateway) <= before
        });
    }
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send(format!("file-part 0 5 {path}"));
    assert_eq!(client.receive(), [0; 5]);
}

#[test]
fn a_file_that_becomes_shorter_ends_its_session_and_no_other() {
    let engine = Engine::start("probe", &probe(""));
    let file = File::create(engine.path("sparse")).expect("a file can be made");
    file.set_len(60 << 20).expect("a file can have a hole");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    client.send(format!("file {}", engine.path("sparse").display()));
    eventually("it is on its way", || {
        engine.run(&["sessions"]).said().contains("127.0.0.1") && client_has_begun(&engine)
    });
    file.set_len(1000).expect("a file can be cut");
    assert_eq!(client.try_receive().ok().flatten(), None);
    engine.logged(&["a file could not be sent whole"]);
    assert_eq!(other.ask("hello"), "hello");
}

/// Whether some session has been sent more than the kernel's buffers would hold of an answer.
fn client_has_begun(engine: &Engine) -> bool {
    let said = engine.run(&["sessions", "--json"]).said();
    said.split("\"sent\":").skip(1).any(|rest| {
        rest.split(|c: char| !c.is_ascii_digit())
            .next()
            .is_some_and(|sent| sent.len() > 4)
    })
}

#[test]
fn task_workers_send_to_sessions_and_close_them() {
    let engine = Engine::start("probe", &probe(""));
    let path = file_of(&engine, "short", b"12345");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(other.ask(format!("task tell {id} from a task")), "ok");
    assert_eq!(client.receive(), b"from a task");
    assert_eq!(other.ask(format!("task file {id} {path}")), "ok");
    assert_eq!(client.receive(), b"12345");
    assert_eq!(other.ask(format!("task end {id}")), "ok");
    assert_eq!(client.try_receive().ok().flatten(), None);
    engine.journaled(&format!("close {id} server"));
    assert_eq!(
        other.ask(format!("task tell-until-refused {id}")),
        "NoSuchSession"
    );
}

#[test]
fn a_message_too_large_to_be_sent_names_the_key_that_sets_the_limit() {
    let length =
        "address = \"tcp://127.0.0.1:0\"\nframing = { kind = \"length\", max = \"64KiB\" }";
    let limits = "high_watermark = \"32KiB\"\nhard_limit = \"48KiB\"";
    let web = "address = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\nmax_message = \"64KiB\"";
    let config = format!(
        "[workers]\ncount = 1\n[[listen]]\n{length}\n[[listen]]\nname = \"limited\"\n{length}\n{limits}\n[[listen]]\n{web}\n"
    );
    let engine = Engine::start("probe", &config);
    let cases = [
        (0, Wire::LENGTH, "70000", "`max` in the listener's framing"),
        (1, Wire::LENGTH, "50000", "`hard_limit` of the listener"),
        (2, Wire::WebSocket, "70000", "`max_message` of the listener"),
    ];
    for (listener, wire, size, key) in cases {
        let mut client = Client::connect(&engine, listener, wire);
        let id = client.ask("id");
        client.send(format!("big {size}"));
        engine.logged(&["a message of", "is over the limit of", key, &id]);
    }
}
