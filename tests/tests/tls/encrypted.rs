//! What sessions do over TLS as they do without it: files, groups, lockers, the memory budget and the
//! rest of what is held, counted and said.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use moorline_tests::{
    Client, Engine, Issuer, Process, Random, Site, Stream, Trust, Wire, eventually,
};
use nix::sys::signal::Signal;
use rustls::version;

/// Over TLS: length-framed, raw, WebSocket. And length-framed without it.
fn config(engine: &str, more: &str) -> String {
    let tls = "tls = { certificate = \"one.pem\", key = \"one.key\", client_certificates = \"optional\", client_issuers = \"ca.pem\" }";
    let length = "framing = { kind = \"length\", width = 4, endian = \"big\", offset = 0, counts = \"payload\", max = \"64MiB\" }";
    format!(
        "[engine]\n{engine}\n[workers]\ncount = 2\n\
         [[listen]]\nname = \"main\"\naddress = \"tls://127.0.0.1:0\"\n{length}\n{tls}\n{more}\n\
         [[listen]]\nname = \"raw\"\naddress = \"tls://127.0.0.1:0\"\n{tls}\n{more}\n\
         [[listen]]\nname = \"web\"\naddress = \"https://127.0.0.1:0\"\nwebsocket = \"/ws\"\nmax_message = \"64MiB\"\n{tls}\n{more}\n\
         [[listen]]\nname = \"plain\"\naddress = \"tcp://127.0.0.1:0\"\n{length}\n{more}\n\
         [app]\njournal = \"{{folder}}/journal\"\n"
    )
}

const MAIN: usize = 0;
const RAW: usize = 1;
const WEB: usize = 2;
const PLAIN: usize = 3;

fn site(issuer: &Issuer, config: &str) -> Arc<Site> {
    let site = Site::new("probe", config);
    issuer.issue(&["one.test"]).write(&site, "one");
    site.write("ca.pem", issuer.pem());
    site
}

#[track_caller]
fn connect(engine: &Engine, listener: usize, trust: &Trust) -> Client {
    let wire = match listener {
        RAW => Wire::Raw,
        WEB => Wire::WebSocket,
        PLAIN => return Client::connect(engine, PLAIN, Wire::LENGTH),
        _ => Wire::LENGTH,
    };
    Client::connect_tls(engine, listener, wire, trust, "one.test")
        .unwrap_or_else(|error| panic!("the handshake fails: {error}"))
}

/// A file of zeros that takes no room, and its path.
fn sparse(engine: &Engine, size: u64) -> String {
    let path = engine.path("sparse");
    File::create(&path)
        .and_then(|file| file.set_len(size))
        .expect("a file can have a hole");
    path.display().to_string()
}

/// What encrypts the sessions that are open counts as long as they are.
fn nothing_is_held(engine: &Engine) {
    eventually("nothing is held for ended sessions", || {
        let gateway = engine.status().gateway;
        let tls = gateway.held["tls"];
        gateway.buffered_bytes == tls && (tls == 0 || gateway.sessions > 0)
    });
}

#[test]
fn a_file_arrives_as_one_message_of_the_framing() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("", "")).start();
    let bytes = Random::new().bytes(5_000_000);
    engine.write("large", &bytes);
    let path = engine.path("large").display().to_string();
    for version in [&version::TLS12, &version::TLS13] {
        for listener in [MAIN, WEB] {
            let mut client = connect(&engine, listener, &issuer.trust_in(version));
            client.send(format!("file {path}"));
            assert!(client.receive() == bytes);
            client.send(format!("file-part 1000 3000 {path}"));
            assert!(client.receive() == bytes[1000..3000]);
            client.send(format!("file-part 7 7 {path}"));
            assert_eq!(client.receive(), b"");
            assert_eq!(client.ask("hello"), "hello");
        }
    }
    nothing_is_held(&engine);
}

#[test]
fn files_keep_their_order_among_messages() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("", "")).start();
    let bytes = Random::new().bytes(300_000);
    engine.write("file", &bytes);
    let mut client = connect(&engine, MAIN, &issuer.trust());
    client.send(format!("files 100 {}", engine.path("file").display()));
    // A reader that lets them wait.
    std::thread::sleep(Duration::from_millis(200));
    for number in 0..100 {
        assert_eq!(client.receive(), format!("before {number}").into_bytes());
        assert!(client.receive() == bytes, "file {number}");
    }
    assert_eq!(client.receive(), b"all");
}

#[test]
fn a_gibibyte_passes_with_flat_memory_and_others_go_on() {
    const SIZE: u64 = 1 << 30;
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("gateway_loops = 1", "")).start();
    let path = sparse(&engine, SIZE);
    let trust = issuer.trust();
    let mut client = connect(&engine, RAW, &trust);
    let mut neighbour = connect(&engine, MAIN, &trust);
    let status = engine.status();
    let mut pids = status.worker_pids();
    pids.push(status.gateway.pid);
    let memory = || {
        pids.iter()
            .copied()
            .map(Process::private_memory)
            .sum::<u64>()
    };
    let before = memory();
    client.send(format!("file {path}"));
    let mut chunk = vec![1; 1 << 20];
    let (mut received, mut most, mut looked_at) = (0, 0, 0);
    while received < SIZE {
        let count = client.stream.read(&mut chunk).expect("the file goes on");
        assert!(count > 0, "ended after {received} bytes");
        assert!(chunk[..count].iter().all(|byte| *byte == 0));
        received += count as u64;
        if received >> 25 > looked_at {
            looked_at = received >> 25;
            most = most.max(memory());
            assert_eq!(neighbour.ask("others go on"), "others go on");
        }
    }
    assert!(most < before + (4 << 20), "from {before} to {most} bytes");
    assert_eq!(client.ask("hello"), "hello");
}

/// What of a file waits encrypted is not the app's fault, and no reason to close a session as slow.
#[test]
fn files_do_not_count_towards_the_limits_of_the_queue() {
    let issuer = Issuer::new();
    let marks = "high_watermark = \"4KiB\"\nhard_limit = \"8KiB\"";
    let engine = site(&issuer, &config("", marks)).start();
    let path = sparse(&engine, 20 << 20);
    let mut client = connect(&engine, MAIN, &issuer.trust());
    let id = client.ask("id");
    client.send(format!("file {path}"));
    client.fill().expect("the file begins to come");
    client.send("behind it");
    let mut other = connect(&engine, PLAIN, &issuer.trust());
    assert_eq!(other.ask(format!("tell {id} from another")), "ok");
    std::thread::sleep(Duration::from_millis(300));
    assert!(client.receive() == vec![0; 20 << 20]);
    let mut rest = [client.receive(), client.receive()];
    rest.sort();
    assert_eq!(rest, [b"behind it".to_vec(), b"from another".to_vec()]);
    assert!(engine.journal_of("full").is_empty());
}

/// A peer can tell what was cut off from what was all.
#[test]
fn a_file_that_becomes_shorter_ends_its_session_without_a_farewell() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("", "")).start();
    let path = sparse(&engine, 60 << 20);
    let trust = issuer.trust();
    let mut client = connect(&engine, MAIN, &trust);
    let mut other = connect(&engine, MAIN, &trust);
    client.send(format!("file {path}"));
    let mut some = [0; 4096];
    client
        .stream
        .read_exact(&mut some)
        .expect("it is on its way");
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(1000))
        .expect("a file can be cut");
    let mut rest = Vec::new();
    let error = client.stream.read_to_end(&mut rest).expect_err("it is cut");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    engine.logged(&["a file could not be sent whole"]);
    assert_eq!(other.ask("hello"), "hello");
    drop(other);
    nothing_is_held(&engine);
}

#[test]
fn files_go_with_the_session_and_outlive_the_worker() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("", "")).start();
    let path = sparse(&engine, 40 << 20);
    let trust = issuer.trust();
    let gateway = engine.status().gateway.pid;
    let before = Process::descriptors(gateway);
    let mut client = connect(&engine, MAIN, &trust);
    client.send(format!("files 100 {path}"));
    eventually("files are under way", || {
        Process::descriptors(gateway) > before + 20
    });
    drop(client);
    eventually("they are closed", || {
        Process::descriptors(gateway) <= before
    });

    let mut client = connect(&engine, MAIN, &trust);
    let slot = client.ask_number("slot") as u16;
    client.send(format!("file {path}"));
    let mut head = [0; 4];
    client.stream.read_exact(&mut head).expect("it begins");
    engine.kill_worker(slot, Signal::SIGKILL);
    let mut body = vec![1; 40 << 20];
    client.stream.read_exact(&mut body).expect("it goes on");
    assert!(body.iter().all(|byte| *byte == 0));
    assert_eq!(client.ask("hello"), "hello");
}

#[test]
fn a_broadcast_reaches_every_member_encrypted_or_not() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("gateway_loops = 2", "")).start();
    let mut members: Vec<Client> = [MAIN, WEB, PLAIN]
        .into_iter()
        .cycle()
        .take(30)
        .enumerate()
        .map(|(number, listener)| {
            let version = [&version::TLS12, &version::TLS13][number % 2];
            connect(&engine, listener, &issuer.trust_in(version))
        })
        .collect();
    for member in &mut members {
        assert_eq!(member.ask("join room"), "ok");
    }
    members[0].send("say room hello all");
    for member in &mut members {
        assert_eq!(member.receive(), b"hello all");
    }
    // One larger than a socket takes at once; one worker's messages keep their order around it.
    members[0].send("say-much room 3 3000000");
    for member in &mut members {
        for _ in 0..3 {
            assert!(member.receive() == vec![b'm'; 3_000_000]);
        }
    }
    assert_eq!(members[0].receive(), b"said");
    members[1].send("say-and-tell room first");
    for (number, member) in members.iter_mut().enumerate() {
        assert_eq!(member.receive(), b"first to all", "member {number}");
    }
    assert_eq!(members[1].receive(), b"first to you");
    drop(members);
    nothing_is_held(&engine);
}

/// Members that do not read share what waits for them, in plaintext; each holds a little that is encrypted.
#[test]
fn members_that_do_not_read_share_the_memory() {
    let issuer = Issuer::new();
    let engine = site(
        &issuer,
        &config("gateway_loops = 1", "hard_limit = \"256MiB\""),
    )
    .start();
    let trust = issuer.trust();
    let mut members: Vec<Client> = (0..20).map(|_| connect(&engine, MAIN, &trust)).collect();
    for member in &mut members {
        assert_eq!(member.ask("join room"), "ok");
    }
    let mut speaker = connect(&engine, PLAIN, &trust);
    assert_eq!(speaker.ask("say-much room 10 4000000"), "said");
    eventually("the broadcasts wait", || {
        engine.status().gateway.buffered_bytes > 30_000_000
    });
    std::thread::sleep(Duration::from_millis(200));
    let held = engine.status().gateway.buffered_bytes;
    assert!(held < 50_000_000, "{held} bytes, and not 20 times 40 MB");
    for member in &mut members {
        for _ in 0..10 {
            assert!(member.receive() == vec![b'm'; 4_000_000]);
        }
    }
    drop(members);
    nothing_is_held(&engine);
}

/// The largest locker and a certificate travel together to whichever process serves the session next.
#[test]
fn lockers_and_certificates_move_with_the_session() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("", "on_crash = \"drop\"")).start();
    let shown = issuer.issue(&["ada.test"]);
    let mut client = connect(&engine, MAIN, &issuer.trust_showing(&shown));
    let tls = client.ask("tls");
    assert!(tls.len() > 600, "a certificate is in it: {tls}");
    assert_eq!(client.ask("keep-much 8192"), "ok");
    engine.reload().expect_success();
    assert_eq!(client.ask("generation"), "2");
    assert_eq!(client.ask("state"), "8192 bytes");
    assert_eq!(client.ask("tls"), tls);
    let slot = client.ask_number("slot") as u16;
    engine.kill_worker(slot, Signal::SIGKILL);
    assert_eq!(client.ask("state"), "8192 bytes");
    assert_eq!(client.ask("tls"), tls);
    let id = client.ask("id");
    client.send("crash");
    assert_eq!(client.ask("state"), "8192 bytes");
    drop(client);
    engine.journaled(&format!("close {id} peer"));
    nothing_is_held(&engine);
}

/// 100 messages, of which the first keeps the others waiting until the peer has gone without reading its answers.
#[test]
fn input_before_a_broken_connection_is_delivered_with_deliver_after_close() {
    for (more, all) in [("", false), ("deliver_after_close = true", true)] {
        let issuer = Issuer::new();
        let engine = site(&issuer, &config("", more)).start();
        let mut client = connect(&engine, MAIN, &issuer.trust());
        let id = client.ask("id");
        let mut bytes = Wire::LENGTH.encode(b"sleep 500");
        for number in 0..100 {
            bytes.extend(Wire::LENGTH.encode(format!("journal {number}").as_bytes()));
            bytes.extend(Wire::LENGTH.encode(b"an answer"));
        }
        client.send_bytes(&bytes).expect("the session takes it");
        eventually("it has come", || engine.status().gateway.messages > 10);
        client.reset();
        engine.journaled(&format!("close {id} peer"));
        let noted = engine.journal_of("noted").len();
        assert_eq!(noted == 100, all, "{noted} were handled with {more:?}");
        assert!(all || engine.status().discarded > 100);
        nothing_is_held(&engine);
    }
}

#[test]
fn a_paused_session_waits_and_ends_when_its_connection_breaks() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("", "")).start();
    let trust = issuer.trust();
    let mut other = connect(&engine, MAIN, &trust);
    let mut client = connect(&engine, MAIN, &trust);
    let id = client.ask("id");
    assert_eq!(client.ask("pause"), "ok");
    client.send("hello");
    assert!(client.is_quiet_for(Duration::from_millis(100)));
    assert!(other.ask(format!("info {id}")).contains("paused true"));
    assert_eq!(other.ask(format!("resume {id}")), "ok");
    assert_eq!(client.receive(), b"hello");
    assert_eq!(client.ask("pause"), "ok");
    client.reset();
    engine.journaled(&format!("close {id} peer"));
}

/// Messages that are never finished, and answers that are never read.
#[test]
fn the_memory_budget_holds_over_tls() {
    const LIMIT: u64 = 32 << 20;
    const READERS: u64 = 6;
    /// What one turn of each loop may add before it looks again: a ring of each worker, and what is encrypted of
    /// it for each reader while it still counts as queued.
    const SLACK: u64 = (4 << 20) + READERS * (64 << 10);
    let issuer = Issuer::new();
    let budget = "memory_limit = \"32MiB\"";
    let engine = site(&issuer, &config(budget, "hard_limit = \"256MiB\"")).start();
    let trust = issuer.trust();
    let mut bystander = connect(&engine, MAIN, &trust);
    let mut most = 0;
    let mut look = |engine: &Engine| {
        for size in [10, 10_000] {
            let text = "x".repeat(size);
            assert_eq!(bystander.ask(&text), text, "a flood is not its fault");
        }
        most = most.max(engine.status().gateway.buffered_bytes);
    };

    let floods: Vec<_> = (0..20)
        .map(|_| {
            let mut client = connect(&engine, MAIN, &trust);
            let socket = socket_of(&client);
            let flood = std::thread::spawn(move || {
                let mut bytes = (12_u32 << 20).to_be_bytes().to_vec();
                bytes.resize(8 << 20, 7);
                // Closed by the engine, or cut off below.
                let _ = client.stream.write_all(&bytes);
                client
            });
            (socket, flood)
        })
        .collect();
    eventually("the greediest are closed", || {
        look(&engine);
        engine.status().closed("memory") > 5
    });
    for (socket, flood) in floods {
        let _ = socket.shutdown(Shutdown::Both);
        drop(flood.join().expect("a flood only ends"));
    }
    engine.logged(&["memory_limit is reached"]);
    nothing_is_held(&engine);

    let closed = engine.status().closed("memory");
    let mut readers: Vec<Client> = (0..READERS)
        .map(|_| connect(&engine, MAIN, &trust))
        .collect();
    for reader in &mut readers {
        reader.send("flood");
    }
    eventually("all that do not read are closed", || {
        look(&engine);
        engine.status().closed("memory") == closed + READERS
    });
    assert!(most <= LIMIT + SLACK, "{most} bytes were held");
    assert!(most > LIMIT / 2, "the limit was never near: {most} bytes");
}

/// What waits encrypted of files is held by the gateway's choice, so no session is closed for it.
#[test]
fn many_files_on_their_way_fit_into_the_memory_budget() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config("memory_limit = \"8MiB\"", "")).start();
    let path = sparse(&engine, 8 << 20);
    let trust = issuer.trust();
    let mut readers: Vec<Client> = (0..160).map(|_| connect(&engine, RAW, &trust)).collect();
    for reader in &mut readers {
        // So that much of the file is left for the gateway to hold.
        socket2::SockRef::from(&socket_of(reader))
            .set_recv_buffer_size(128 * 1024)
            .expect("a buffer has a size");
        reader.send(format!("file {path}"));
    }
    let gateway = engine.status().gateway.pid;
    eventually("all are under way", || Process::descriptors(gateway) > 320);
    std::thread::sleep(Duration::from_millis(500));
    let held = engine.status().gateway.buffered_bytes;
    assert!(held < 8 << 20, "{held} bytes are held");
    assert_eq!(engine.status().closed("memory"), 0);
    for reader in readers.iter_mut().step_by(20) {
        let mut file = vec![1; 8 << 20];
        reader.stream.read_exact(&mut file).expect("it comes");
        assert!(file.iter().all(|byte| *byte == 0));
    }
}

fn socket_of(client: &Client) -> TcpStream {
    match &client.stream {
        Stream::Tls(stream) => stream.sock.try_clone().expect("a socket can be cloned"),
        _ => panic!("it is encrypted"),
    }
}

/// Counted is what the app and its peer see, not what is on the wire.
#[test]
fn a_session_is_described_and_logged_with_its_tls() {
    let issuer = Issuer::new();
    let json = "[engine.log]\nformat = \"json\"";
    let engine = site(&issuer, &config(json, "")).start();
    let mut client = connect(&engine, MAIN, &issuer.trust_in(&version::TLS12));
    let mut other = connect(&engine, PLAIN, &issuer.trust());
    let id = client.ask("id");
    let info = other.ask(format!("info {id}"));
    let described = "messages 1 received 6 paused false kept false tls TLS 1.2";
    assert!(info.ends_with(described), "{info}");
    let listed = other.ask("sessions");
    assert_eq!(listed, "2 2");
    let peer = format!("127.0.0.1:{}", client.port());
    drop(client);
    let line = engine.logged(&["session closed", &peer]);
    let line: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
    assert_eq!(line["tls"], "TLS 1.2", "{line}");
    assert_eq!(line["received"], 6, "{line}");
    assert_eq!(line["sent"], 4 + id.len(), "{line}");
    // A connection that never shook hands is no session.
    drop(TcpStream::connect(engine.socket_address(MAIN)));
    let peer = format!("127.0.0.1:{}", other.port());
    engine.logged(&["tls handshake failed"]);
    drop(other);
    let line = engine.logged(&["session closed", &peer]);
    assert!(!line.contains("\"tls\""), "{line}");
    assert_eq!(engine.log().matches("session closed").count(), 2);
}

/// Over TLS, over WebSocket, and over neither.
#[test]
fn a_peer_that_takes_nothing_is_closed_in_time_while_its_handler_waits_in_send() {
    let issuer = Issuer::new();
    for (timeout, reason) in [("send_timeout", "slow"), ("idle_timeout", "idle")] {
        let config = config("gateway_loops = 1", &format!("{timeout} = \"1s\""));
        let engine = site(&issuer, &config).start();
        for listener in [MAIN, WEB, PLAIN] {
            let mut client = connect(&engine, listener, &issuer.trust());
            let id = client.ask("id");
            client.send("pour 100000");
            engine.journaled(&format!("close {id} {reason}"));
            engine.logged(&["takes no output", timeout, &id]);
        }
        assert_eq!(engine.status().closed(reason), 3);
    }
}

#[test]
fn pings_and_their_answers_are_encrypted_too() {
    const PING: (u8, Vec<u8>) = (0x9, Vec::new());
    let issuer = Issuer::new();
    let config = "[workers]\ncount = 1\n[[listen]]\naddress = \"https://127.0.0.1:0\"\nwebsocket = \"/ws\"\n\
                  tls = { certificate = \"one.pem\", key = \"one.key\" }\n\
                  ping_interval = \"1s\"\npong_timeout = \"1s\"\n";
    let engine = site(&issuer, config).start();
    let trust = issuer.trust();
    let connected = Client::connect_tls(&engine, 0, Wire::WebSocket, &trust, "one.test");
    let mut client = connected.expect("the certificate is trusted");
    for _ in 0..3 {
        assert_eq!(client.receive_frame(), PING);
        assert_eq!(engine.status().closed("vanished"), 0);
        // A pong, masked.
        let sent = client.send_bytes(&[0x8a, 0x80, 1, 2, 3, 4]);
        sent.expect("the session takes what is sent");
    }
    assert_eq!(client.receive_frame(), PING);
    eventually("it is closed", || engine.status().closed("vanished") == 1);
}
