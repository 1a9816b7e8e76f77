//! The bytes that the gateway holds are counted, shown by class, and fall to zero. At the limit their holders give way.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use moorline_tests::{Client, Engine, Issuer, Process, Site, Trust, Wire, eventually, kill};
use nix::sys::signal::Signal;
use rustls::version;

const LENGTH: usize = 0;
const HTTP: usize = 1;
const TLS: usize = 2;
/// Downloads of slow readers.
const DOWNLOADS: u64 = 5;
/// Sessions of each other kind.
const SESSIONS: u64 = 10;

/// Small rings, so that what a worker does not take waits in the gateway.
fn config(engine: &str) -> String {
    let framing =
        "framing = { kind = \"length\", width = 4, endian = \"big\", offset = 0, max = \"2MiB\" }";
    format!(
        r#"
[engine]
gateway_loops = 1
ring_memory = "1MiB"
{engine}
[workers]
count = 2
[tasks]
count = 1
[[listen]]
address = "tcp://127.0.0.1:0"
{framing}
name = "length"
hard_limit = "64MiB"
[[listen]]
address = "http://127.0.0.1:0"
name = "http"
static = "public"
[[listen]]
address = "tls://127.0.0.1:0"
{framing}
name = "tls"
tls = {{ certificate = "one.pem", key = "one.key" }}
[app]
journal = "{{folder}}/journal"
"#
    )
}

fn start(engine: &str) -> (Engine, Issuer) {
    let issuer = Issuer::new();
    let site: Arc<Site> = Site::new("hostile_worker", &config(engine));
    issuer.issue(&["one.test"]).write(&site, "one");
    site.write("public/index.html", "small");
    File::create(site.path("public/large"))
        .and_then(|file| file.set_len(64 << 20))
        .expect("a file can have a hole");
    (site.start(), issuer)
}

fn download(engine: &Engine) -> Client {
    let mut client = Client::connect(engine, HTTP, Wire::Raw);
    client
        .send_bytes(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("the listener takes a request");
    client
}

/// The status of the answer that a download has got.
fn status_of(client: &mut Client) -> String {
    let mut head = [0; 12];
    client
        .stream
        .read_exact(&mut head)
        .expect("there is an answer");
    String::from_utf8_lossy(&head[9..]).into_owned()
}

fn encrypted(engine: &Engine, trust: &Trust) -> Client {
    let mut client = Client::connect_tls(engine, TLS, Wire::LENGTH, trust, "one.test")
        .expect("the handshake succeeds");
    client.ask("slot");
    client
}

/// A client that the worker in this slot serves.
fn client_of(engine: &Engine, slot: &str) -> Client {
    let mut others = Vec::new();
    loop {
        let mut client = Client::connect(engine, LENGTH, Wire::LENGTH);
        if client.ask("slot") == slot {
            return client;
        }
        others.push(client);
    }
}

fn held(engine: &Engine, class: &str) -> u64 {
    engine.status().gateway.held[class]
}

#[track_caller]
fn falls_to_nothing(engine: &Engine, class: &str) {
    eventually(&format!("nothing of {class} is held"), || {
        held(engine, class) == 0
    });
}

/// Has a worker of slot 1 begin a post of `bytes` bytes, and not end it.
fn begin_post(engine: &Engine, bytes: u64) {
    let before = engine.worker(1).pid;
    engine.write("hostile", format!("half-part {bytes}"));
    kill(before, Signal::SIGKILL);
    eventually("the parts are there", || {
        held(engine, "parts") > bytes - 20_000
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one scenario, in order")]
fn each_class_is_shown_while_it_is_held_and_falls_to_nothing() {
    let (engine, issuer) = start("");
    let downloads: Vec<Client> = (0..DOWNLOADS).map(|_| download(&engine)).collect();
    eventually("chunks wait for slow readers", || {
        held(&engine, "http") > DOWNLOADS * 100_000
    });
    let shown = engine.run(&["status"]).expect_success().stdout;
    let line = shown.lines().find(|line| line.starts_with("held "));
    assert!(line.is_some_and(|line| line.ends_with(" http")), "{shown}");
    drop(downloads);
    falls_to_nothing(&engine, "http");

    let trust = issuer.trust();
    let sessions: Vec<Client> = (0..SESSIONS).map(|_| encrypted(&engine, &trust)).collect();
    let tls = held(&engine, "tls");
    assert!(tls > SESSIONS * 2048, "{tls}");
    drop(sessions);
    falls_to_nothing(&engine, "tls");

    let mut members: Vec<Client> = (0..SESSIONS)
        .map(|_| Client::connect(&engine, LENGTH, Wire::LENGTH))
        .collect();
    for member in &mut members {
        assert_eq!(member.ask("join room"), "ok");
    }
    assert!(held(&engine, "state") > SESSIONS * 16);
    let mut speaker = client_of(&engine, "0");
    assert_eq!(speaker.ask("say-much room 10 1048576"), "said");
    eventually("broadcasts wait for slow readers", || {
        (1 << 20..11 << 20).contains(&held(&engine, "broadcasts"))
    });
    drop(members);
    for class in ["state", "broadcasts"] {
        falls_to_nothing(&engine, class);
    }

    let mut half = Client::connect(&engine, LENGTH, Wire::LENGTH);
    let mut flooded = Client::connect(&engine, LENGTH, Wire::LENGTH);
    half.send_bytes(&[&1000_u32.to_be_bytes()[..], &[7; 500]].concat())
        .expect("the session is open");
    flooded.send("pour 1000");
    eventually("half a message is received, and much queued", || {
        held(&engine, "received") >= 500 && held(&engine, "queued") > 10_000
    });
    drop((half, flooded));
    for class in ["received", "queued"] {
        falls_to_nothing(&engine, class);
    }

    let stopped = [engine.worker(1).pid, engine.status().tasks[0].pid];
    for pid in stopped {
        kill(pid, Signal::SIGSTOP);
    }
    speaker.send("post-fill 1 300000");
    speaker.send("task-bytes 2000000");
    eventually("posts and tasks wait for the stopped processes", || {
        held(&engine, "transfers") > 250_000 && held(&engine, "tasks") >= 2_000_000
    });
    for pid in stopped {
        kill(pid, Signal::SIGCONT);
    }
    for class in ["transfers", "tasks"] {
        falls_to_nothing(&engine, class);
    }

    begin_post(&engine, 4 << 20);
    kill(engine.worker(1).pid, Signal::SIGKILL);
    drop(speaker);
    eventually("nothing is held at all", || {
        engine.status().gateway.buffered_bytes == 0
    });
}

#[test]
fn at_the_limit_http_answers_503_and_no_session_is_closed_for_a_workers_unfinished_messages() {
    let (engine, _) = start("memory_limit = \"8MiB\"");
    let mut bystander = client_of(&engine, "0");
    let mut uploads: Vec<Client> = (0..SESSIONS).map(|_| client_of(&engine, "0")).collect();
    begin_post(&engine, 8 * 1_000_000);

    let mut downloads = Vec::new();
    let refused = loop {
        let mut client = download(&engine);
        match status_of(&mut client).as_str() {
            "200" => downloads.push(client),
            other => break other.to_owned(),
        }
        assert!(downloads.len() < 100, "all are served");
    };
    assert_eq!(refused, "503");
    assert_eq!(bystander.ask("still here"), "still here");
    let buffered = engine.status().gateway.buffered_bytes;
    assert!(buffered <= 8 << 20, "{buffered}");

    // More than there is room for beside it, and more for each than its fair share.
    let text = "x".repeat(400_000);
    std::thread::scope(|scope| {
        for client in &mut uploads {
            scope.spawn(|| assert_eq!(client.ask(&text), text));
        }
    });
    assert_eq!(engine.status().closed("memory"), 0);
    assert_eq!(held(&engine, "parts"), 0, "they have given way");
    drop(downloads);
    let mut download = download(&engine);
    assert_eq!(status_of(&mut download), "200");
}

/// What is counted for what encrypts an idle session is what it costs, beside what a session in the clear does.
#[test]
fn an_idle_encrypted_session_costs_the_counted_bytes() {
    let (engine, issuer) = start("");
    let plain = cost_of_each(&engine, || {
        let mut client = Client::connect(&engine, LENGTH, Wire::LENGTH);
        client.ask("slot");
        client
    });
    for version in [&version::TLS12, &version::TLS13] {
        let trust = issuer.trust_in(version);
        let before = held(&engine, "tls");
        let mut all = 0;
        let encrypted = cost_of_each(&engine, || {
            all += 1;
            encrypted(&engine, &trust)
        });
        let (cost, counted) = (encrypted - plain, (held(&engine, "tls") - before) / all);
        println!("{plain} bytes in the clear, {encrypted} encrypted, {counted} of them counted");
        assert!(
            (cost * 3 / 4..cost * 5 / 4).contains(&counted),
            "{version:?} costs {cost} bytes, and {counted} are counted"
        );
    }
}

/// Private bytes of the gateway for each of many sessions. They stay.
fn cost_of_each(engine: &Engine, mut connect: impl FnMut() -> Client) -> u64 {
    const MANY: u64 = 500;
    let gateway = engine.status().gateway.pid;
    // The first ones warm up what is there once.
    let mut sessions: Vec<Client> = (0..MANY / 2).map(|_| connect()).collect();
    let before = Process::private_memory(gateway);
    sessions.extend((0..MANY).map(|_| connect()));
    let cost = (Process::private_memory(gateway) - before) / MANY;
    std::mem::forget(sessions);
    cost
}
