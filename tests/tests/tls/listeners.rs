//! Listeners with TLS: the certificates that they show, the clients that they accept, and what a reload changes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Issuer, PATIENCE, Site, Trust, Wire, eventually, kill};
use nix::sys::signal::Signal;
use rustls::{HandshakeKind, version};

/// A listener for length-framed sessions whose `tls` says this.
fn config(tls: &str) -> String {
    format!(
        r#"
[engine]
gateway_loops = 2
[workers]
count = 2
[[listen]]
name = "main"
address = "tls://127.0.0.1:0"
framing = {{ kind = "length", width = 4, endian = "big", offset = 0, counts = "payload", max = "2MiB" }}
handshake_timeout = "1s"
tls = {tls}
[app]
journal = "{{folder}}/journal"
"#
    )
}

const PLAIN: &str = r#"{ certificate = "one.pem", key = "one.key" }"#;

/// A site with the certificates `one` and `two`, for hosts `one.test` and `two.test`, and their issuer's `ca.pem`.
fn site(issuer: &Issuer, config: &str) -> Arc<Site> {
    let site = Site::new("probe", config);
    issuer.issue(&["one.test"]).write(&site, "one");
    issuer
        .issue(&["two.test", "*.two.test"])
        .write(&site, "two");
    site.write("ca.pem", issuer.pem());
    site
}

#[track_caller]
fn connect(engine: &Engine, trust: &Trust) -> Client {
    Client::connect_tls(engine, 0, Wire::LENGTH, trust, "one.test")
        .unwrap_or_else(|error| panic!("the handshake fails: {error}"))
}

/// A client that is let in, or why it is not. A server refuses a certificate after the client is done.
fn try_connect(engine: &Engine, trust: &Trust) -> Result<Client, String> {
    let mut client = Client::connect_tls(engine, 0, Wire::LENGTH, trust, "one.test")
        .map_err(|error| error.to_string())?;
    client
        .send_bytes(b"\0\0\0\x02id")
        .map_err(|error| error.to_string())?;
    match client.try_receive() {
        Ok(Some(_)) => Ok(client),
        Ok(None) => Err("closed".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn shown(client: &Client) -> Vec<u8> {
    let moorline_tests::Stream::Tls(stream) = &client.stream else {
        panic!("it is encrypted");
    };
    let chain = stream.conn.peer_certificates().expect("there is one");
    chain[0].to_vec()
}

#[test]
fn sessions_are_encrypted_in_both_versions_and_messages_of_any_size_pass() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(PLAIN)).start();
    for (version, name) in [(&version::TLS12, "TLS 1.2"), (&version::TLS13, "TLS 1.3")] {
        let mut client = connect(&engine, &issuer.trust_in(version));
        assert_eq!(client.ask("tls"), format!("{name}, -, full, -"));
        for size in [
            0,
            1,
            100,
            16_383,
            16_384,
            16_385,
            65_536,
            300_000,
            (2 << 20) - 4,
        ] {
            let message: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            client.send(&message);
            assert_eq!(client.receive(), message, "{size} bytes");
        }
        for number in 0..500 {
            client.send(format!("message {number}"));
        }
        for number in 0..500 {
            assert_eq!(client.receive(), format!("message {number}").into_bytes());
        }
    }
    eventually("nothing is held for ended sessions", || {
        engine.status().gateway.buffered_bytes == 0
    });
}

#[test]
fn openssl_speaks_to_it() {
    let issuer = Issuer::new();
    let engine = site(
        &issuer,
        &config(PLAIN).replace(
            "\"length\", width = 4, endian = \"big\", offset = 0, counts = \"payload\", max = \"2MiB\"",
            "\"line\"",
        ),
    )
    .start();
    let mut peer = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-servername",
            "one.test",
        ])
        .args(["-verify_hostname", "one.test", "-connect"])
        .arg(engine.socket_address(0).to_string())
        .arg("-CAfile")
        .arg(engine.path("ca.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed with what the tests need");
    let mut input = peer.stdin.take().expect("it is piped");
    let mut output = peer.stdout.take().expect("it is piped");
    input.write_all(b"ahoy\n").expect("it listens");
    let mut answer = [0; 5];
    output.read_exact(&mut answer).expect("an answer comes");
    assert_eq!(&answer, b"ahoy\n");
    // It would wait for ever.
    peer.kill().expect("it runs");
    peer.wait().expect("a child can be waited for");
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let issuer = Issuer::new();
    let several = r#"{ certificates = [
        { certificate = "one.pem", key = "one.key" },
        { certificate = "two.pem", key = "two.key" },
    ] }"#;
    let engine = site(&issuer, &config(several)).start();
    let trust = issuer.trust();
    for host in ["one.test", "two.test", "a.two.test"] {
        let mut client = Client::connect_tls(&engine, 0, Wire::LENGTH, &trust, host)
            .unwrap_or_else(|error| panic!("{host}: {error}"));
        assert_eq!(client.ask("build"), "first");
    }
    let refused = Client::connect_tls(&engine, 0, Wire::LENGTH, &trust, "three.test");
    assert!(refused.is_err(), "a name that no certificate is for");
    engine.logged(&["tls handshake failed", "handshake"]);
    eventually("it is counted", || engine.status().closed("handshake") == 1);
}

#[test]
fn clients_without_a_trusted_certificate_are_refused_where_one_is_required() {
    let issuer = Issuer::new();
    let engine = site(
        &issuer,
        &config(r#"{ certificate = "one.pem", key = "one.key", client_certificates = "required", client_issuers = "ca.pem" }"#),
    )
    .start();
    let known = issuer.issue(&["client.test"]);
    let mut client = connect(&engine, &issuer.trust_showing(&known));
    let hex: String = known
        .der()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(client.ask("tls"), format!("TLS 1.3, -, full, {hex}"));
    // It is still known after the session has moved to another process.
    engine.reload().expect_success();
    assert_eq!(client.ask("tls"), format!("TLS 1.3, -, full, {hex}"));

    assert!(try_connect(&engine, &issuer.trust()).is_err(), "none");
    engine.logged(&["tls handshake failed", "the client has no certificate"]);
    let unknown = Issuer::new().issue(&["client.test"]);
    let refused = try_connect(&engine, &issuer.trust_showing(&unknown));
    assert!(refused.is_err(), "of an unknown issuer");
    engine.logged(&["tls handshake failed", "no trusted issuer"]);
    let expired = issuer.issue_until(&["client.test"], 2001);
    let refused = try_connect(&engine, &issuer.trust_showing(&expired));
    assert!(refused.is_err(), "an expired one");
    engine.logged(&["tls handshake failed", "has expired"]);
    // Nobody of these ever was a session.
    assert_eq!(engine.journal_of("open").len(), 2, "{:?}", engine.journal());
}

#[test]
fn with_optional_client_certificates_a_wrong_one_is_refused_and_a_missing_one_accepted() {
    let issuer = Issuer::new();
    let engine = site(
        &issuer,
        &config(r#"{ certificate = "one.pem", key = "one.key", client_certificates = "optional", client_issuers = "ca.pem" }"#),
    )
    .start();
    assert_eq!(
        connect(&engine, &issuer.trust()).ask("tls"),
        "TLS 1.3, -, full, -"
    );
    let known = issuer.issue(&["client.test"]);
    let said = connect(&engine, &issuer.trust_showing(&known)).ask("tls");
    assert!(said.starts_with("TLS 1.3, -, full, 30"), "{said}");
    let unknown = Issuer::new().issue(&["client.test"]);
    assert!(try_connect(&engine, &issuer.trust_showing(&unknown)).is_err());
}

#[test]
fn a_protocol_is_agreed_on_and_old_versions_can_be_refused() {
    let issuer = Issuer::new();
    let engine = site(
        &issuer,
        &config(r#"{ certificate = "one.pem", key = "one.key", alpn = ["chat/2", "chat/1"], min_version = "1.3" }"#),
    )
    .start();
    let both = issuer.trust_speaking(&["chat/1", "chat/2"]);
    assert_eq!(
        connect(&engine, &both).ask("tls"),
        "TLS 1.3, chat/2, full, -"
    );
    assert_eq!(
        connect(&engine, &issuer.trust()).ask("tls"),
        "TLS 1.3, -, full, -"
    );
    assert!(try_connect(&engine, &issuer.trust_speaking(&["mail"])).is_err());
    assert!(try_connect(&engine, &issuer.trust_in(&version::TLS12)).is_err());
}

#[test]
fn sessions_are_resumed_until_a_reload_brings_other_certificates() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(PLAIN)).start();
    for version in [&version::TLS12, &version::TLS13] {
        let trust = issuer.trust_in(version);
        let kind = |expected: HandshakeKind| {
            // Its ticket comes with the answer at the latest.
            let mut client = connect(&engine, &trust);
            let said = client.ask("tls");
            assert_eq!(
                said.contains("resumed"),
                expected == HandshakeKind::Resumed,
                "{said}"
            );
            let moorline_tests::Stream::Tls(stream) = &client.stream else {
                panic!("it is encrypted");
            };
            assert_eq!(stream.conn.handshake_kind(), Some(expected));
        };
        kind(HandshakeKind::Full);
        kind(HandshakeKind::Resumed);
        engine.reload().expect_success();
        kind(HandshakeKind::Resumed);
        issuer.issue(&["one.test"]).write(&engine.site(), "one");
        engine.reload().expect_success();
        kind(HandshakeKind::Full);
    }
}

#[test]
fn a_reload_shows_new_certificates_and_drops_no_session() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(PLAIN)).start();
    let trust = issuer.trust();
    let mut before = connect(&engine, &trust);
    let id = before.ask("id");
    let renewed = issuer.issue(&["one.test"]);
    renewed.write(&engine.site(), "one");
    assert_ne!(
        shown(&connect(&engine, &trust)),
        renewed.der().to_vec(),
        "only a reload deploys"
    );
    engine.reload().expect_success();
    eventually("the new one is shown", || {
        shown(&connect(&engine, &trust)) == renewed.der().to_vec()
    });
    assert_eq!(before.ask("id"), id);

    // A gateway that is started anew shows what was committed, whatever lies on disk by then.
    engine.write("one.pem", "nothing of use");
    kill(engine.status().gateway.pid, Signal::SIGKILL);
    eventually("there is another gateway", || {
        engine.status().gateway.incarnation == 2
            && try_connect(&engine, &trust)
                .is_ok_and(|client| shown(&client) == renewed.der().to_vec())
    });
}

#[test]
fn certificates_that_cannot_be_shown_refuse_the_reload_and_the_start_with_the_files_name() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(PLAIN)).start();
    let trust = issuer.trust();
    let mut client = connect(&engine, &trust);
    let good = shown(&client);
    let site = engine.site();

    issuer.issue_until(&["one.test"], 2001).write(&site, "one");
    engine.reload().expect_refusal(&["one.pem", "has expired"]);
    issuer.issue(&["one.test"]).write(&site, "one");
    issuer.issue(&["other.test"]).write(&site, "two");
    std::fs::copy(site.path("two.key"), site.path("one.key")).expect("a file");
    engine
        .reload()
        .expect_refusal(&["one.key", "does not belong to", "one.pem"]);
    std::fs::remove_file(site.path("one.key")).expect("a file");
    engine.reload().expect_refusal(&["one.key", "No such file"]);
    site.run(&["check"])
        .expect_refusal(&["moorline.toml:", "one.key", "No such file"]);

    assert_eq!(client.ask("build"), "first");
    assert_eq!(shown(&connect(&engine, &trust)), good);
    drop(engine);
    let refused = site.try_start().err().expect("it cannot be shown");
    assert!(refused.stderr.contains("one.key"), "{refused:#?}");
}

#[test]
fn a_peer_that_dawdles_or_speaks_no_tls_is_refused_and_harms_nobody() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(PLAIN)).start();
    let mut client = connect(&engine, &issuer.trust());
    let began = Instant::now();
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(engine.socket_address(0)).expect("it accepts"))
        .collect();
    for (at, stream) in slow.iter_mut().enumerate() {
        stream.set_read_timeout(Some(PATIENCE)).expect("legal");
        // The beginning of a record; what follows never comes.
        stream
            .write_all(&[0x16, 3, 1, 2, 0, 1][..at % 7])
            .expect("it is open");
    }
    let mut confused = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    confused.set_read_timeout(Some(PATIENCE)).expect("legal");
    confused
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("it is open");
    let mut alert = Vec::new();
    confused.read_to_end(&mut alert).expect("it is closed");
    assert_eq!(alert.first(), Some(&0x15), "an alert: {alert:?}");
    engine.logged(&["tls handshake failed", "what came is no TLS"]);
    assert_eq!(client.ask("build"), "first");
    for stream in &mut slow {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut rest);
    }
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(900),
        "handshake_timeout is 1 s: {took:?}"
    );
    engine.logged(&["tls handshake failed", "longer than handshake_timeout"]);
    eventually("all are counted", || {
        let status = engine.status();
        (
            status.closed("handshake"),
            status.limit("handshake_timeout"),
        ) == (51, 50)
    });
    assert_eq!(client.ask("build"), "first");
    eventually("nothing is left of them", || {
        engine.status().gateway.sessions == 1
    });
}

#[test]
fn a_half_closed_peer_gets_its_whole_answer_and_then_a_farewell() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(PLAIN)).start();
    for version in [&version::TLS12, &version::TLS13] {
        let mut client = connect(&engine, &issuer.trust_in(version));
        client.send("big 1500000");
        client.finish_sending();
        assert_eq!(client.receive_to_end(), [vec![b'b'; 1_500_000]]);
    }
    // The app's own close says farewell as well: an end without one would be an error here.
    let mut client = connect(&engine, &issuer.trust());
    client.send("close");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_slow_reader_is_reported_and_closed_as_over_plain_tcp() {
    let issuer = Issuer::new();
    let marks = "high_watermark = \"256KiB\"\nhard_limit = \"4MiB\"\ntls =";
    let engine = site(&issuer, &config(PLAIN).replace("tls =", marks)).start();
    let trust = issuer.trust();
    let mut reader = connect(&engine, &trust);
    let id = reader.ask("id");
    reader.send("pour 1000");
    engine.journaled(&format!("full {id}"));
    for _ in 0..1000 {
        assert_eq!(reader.receive(), vec![b'p'; 16 * 1024]);
    }
    engine.journaled(&format!("drained {id}"));

    let mut slow = connect(&engine, &trust);
    let id = slow.ask("id");
    slow.send("flood");
    engine.journaled(&format!("close {id} slow"));
    drop((slow, reader));
    eventually("nothing is held for ended sessions", || {
        engine.status().gateway.buffered_bytes == 0
    });
}

#[test]
fn a_first_request_whose_body_fills_records_is_answered() {
    let issuer = Issuer::new();
    let config = "[workers]\ncount = 1\n[[listen]]\naddress = \"https://127.0.0.1:0\"\nwebsocket = \"/ws\"\n\
                  tls = { certificate = \"one.pem\", key = \"one.key\" }\n";
    let site = Site::new("probe", "");
    site.configure(config);
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let trust = issuer.trust_in(&version::TLS13);
    let mut stream = trust
        .connect(engine.socket_address(0), "one.test")
        .expect("a handshake");
    let head = "POST /none HTTP/1.1\r\nHost: one.test\r\nContent-Length: 50000\r\nConnection: close\r\n\r\n";
    let request = [head.as_bytes(), &vec![b'x'; 50_000]].concat();
    stream.write_all(&request).expect("it is open");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("a farewell at its end");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one scenario, in order")]
fn https_serves_files_and_wss_sessions() {
    let issuer = Issuer::new();
    let config = r#"
[workers]
count = 1
[[listen]]
name = "web"
address = "https://127.0.0.1:0"
websocket = "/ws"
static = "{folder}/public"
handshake_timeout = "1s"
tls = { certificate = "one.pem", key = "one.key" }
[app]
journal = "{folder}/journal"
"#;
    let site = Site::new("probe", "");
    site.write("public/index.html", "<p>ahoy</p>");
    site.configure(config);
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    assert!(engine.address(0).starts_with("https://"));
    for version in [&version::TLS12, &version::TLS13] {
        let trust = issuer.trust_in(version);
        let mut stream = trust
            .connect(engine.socket_address(0), "one.test")
            .expect("a handshake");
        let request = b"GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it is open");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("a farewell at its end");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("<p>ahoy</p>"),
            "{answer}"
        );

        let stream = trust
            .connect(engine.socket_address(0), "one.test")
            .expect("a handshake");
        let (mut socket, _) =
            tungstenite::client("wss://one.test/ws", stream).expect("it is upgraded");
        for size in [1, 70_000, 1 << 20] {
            let message = tungstenite::Message::binary(vec![7; size]);
            socket.send(message.clone()).expect("it is open");
            assert_eq!(socket.read().expect("an answer comes"), message);
        }
        socket.send("tls".into()).expect("it is open");
        let said = socket.read().expect("an answer comes").to_string();
        // The file's connection has left a ticket.
        assert!(said.ends_with(" -, resumed, -"), "{said}");

        // New certificates and new workers are nothing that it would notice.
        issuer.issue(&["one.test"]).write(&site, "one");
        engine.reload().expect_success();
        socket.send("build".into()).expect("it is open");
        assert_eq!(socket.read().expect("an answer comes").to_string(), "first");
        socket.close(None).expect("it is open");
        assert!(matches!(socket.read(), Ok(tungstenite::Message::Close(_))));
    }
    // A client that does not shake hands, or sends no request, is closed.
    let mut silent = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    let mut mute = issuer
        .trust()
        .connect(engine.socket_address(0), "one.test")
        .expect("a handshake");
    silent.set_read_timeout(Some(PATIENCE)).expect("legal");
    assert_eq!(silent.read(&mut [0; 100]).unwrap_or(0), 0);
    let mut answer = Vec::new();
    let _ = mute.read_to_end(&mut answer);
}
