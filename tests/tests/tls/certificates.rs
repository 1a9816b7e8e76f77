//! Valid and invalid certificates on both sides, and what a reload does with them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moorline_tests::{
    Client, Engine, Issuer, Process, Site, Stream, Trust, Wire, eventually, require_root,
};
use nix::unistd::User;
use rustls::version;

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
tls = {{ {tls} }}
"#
    )
}

const ONE: &str = r#"certificate = "one.pem", key = "one.key""#;
const REQUIRED: &str = r#"certificate = "one.pem", key = "one.key", client_certificates = "required", client_issuers = "ca.pem""#;

/// A site with the certificate `one`, for the host `one.test`, and its issuer's `ca.pem`.
fn site(issuer: &Issuer, config: &str) -> Arc<Site> {
    let site = Site::new("probe", config);
    issuer.issue(&["one.test"]).write(&site, "one");
    site.write("ca.pem", issuer.pem());
    site
}

/// The TLS facts of a session, or why there is no session. A server refuses a certificate after the client is done.
fn told(engine: &Engine, trust: &Trust, host: &str) -> Result<String, String> {
    told_by(engine, trust, host).map(|(_, told)| told)
}

fn told_by(engine: &Engine, trust: &Trust, host: &str) -> Result<(Client, String), String> {
    let reason = |error: std::io::Error| error.to_string();
    let mut client = Client::connect_tls(engine, 0, Wire::LENGTH, trust, host).map_err(reason)?;
    client.send_bytes(b"\0\0\0\x03tls").map_err(reason)?;
    match client.try_receive().map_err(reason)? {
        Some(told) => Ok((client, String::from_utf8_lossy(&told).into_owned())),
        None => Err("closed".to_owned()),
    }
}

fn hex(der: &[u8]) -> String {
    der.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate that the server has shown.
fn shown(client: &Client) -> Vec<u8> {
    let Stream::Tls(stream) = &client.stream else {
        panic!("it is encrypted");
    };
    let chain = stream.conn.peer_certificates().expect("there is one");
    chain[0].to_vec()
}

#[test]
fn a_chain_leads_a_client_from_the_certificate_to_the_root_that_it_trusts() {
    let root = Issuer::new();
    let below = root.subordinate(4000).subordinate(4000);
    let engine = site(&below, &config(ONE)).start();
    for version in [&version::TLS12, &version::TLS13] {
        let trust = root.trust_in(version);
        told(&engine, &trust, "one.test").expect("the chain is whole");
    }
    below
        .issue(&["one.test"])
        .without_chain()
        .write(&engine.site(), "one");
    engine.reload().expect_success();
    eventually("nothing leads to the root any more", || {
        told(&engine, &root.trust_in(&version::TLS13), "one.test").is_err()
    });
}

#[test]
fn a_chain_leads_from_a_clients_certificate_to_the_root_that_the_listener_trusts() {
    let root = Issuer::new();
    let engine = site(&root, &config(REQUIRED)).start();
    let below = root.subordinate(4000);
    let client = below.issue(&["client.test"]);
    assert_eq!(
        told(&engine, &root.trust_showing(&client), "one.test"),
        Ok(format!("TLS 1.3, -, full, {}", hex(&client.der()))),
        "the app is shown the client's own"
    );
    let lacking = root.trust_showing(&client.without_chain());
    assert!(told(&engine, &lacking, "one.test").is_err());
    engine.logged(&["tls handshake failed", "no trusted issuer"]);
    let expired = root.subordinate(2001).issue(&["client.test"]);
    assert!(told(&engine, &root.trust_showing(&expired), "one.test").is_err());
    engine.logged(&["tls handshake failed", "has expired"]);
}

#[test]
fn clients_are_not_asked_for_certificates_where_that_is_off() {
    let issuer = Issuer::new();
    let off = format!(r#"{ONE}, client_certificates = "off""#);
    let engine = site(&issuer, &config(&off)).start();
    let unknown = Issuer::new().issue(&["client.test"]);
    assert_eq!(
        told(&engine, &issuer.trust_showing(&unknown), "one.test"),
        Ok("TLS 1.3, -, full, -".to_owned())
    );
}

#[test]
fn clients_that_name_no_host_or_an_unknown_one_are_shown_the_first_certificate() {
    let issuer = Issuer::new();
    let several = r#"certificates = [
        { certificate = "one.pem", key = "one.key" },
        { certificate = "two.pem", key = "two.key" },
    ]"#;
    let site = site(&issuer, &config(several));
    let first = issuer.issue(&["one.test", "shared.test"]);
    first.write(&site, "one");
    issuer
        .issue(&["two.test", "unnamed.test"])
        .write(&site, "two");
    let engine = site.start();
    let silent = issuer.trust().without_name();
    let (client, _) = told_by(&engine, &silent, "one.test").expect("the first is for it");
    assert_eq!(shown(&client), first.der().to_vec());
    assert!(
        told(&engine, &silent, "unnamed.test").is_err(),
        "the second is not shown to a client that asks for none"
    );
}

#[test]
fn a_resumed_session_shows_the_certificate_that_the_first_one_had() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(REQUIRED)).start();
    let client = issuer.issue(&["client.test"]);
    let trust = issuer.trust_showing(&client);
    let certificate = hex(&client.der());
    assert_eq!(
        told(&engine, &trust, "one.test"),
        Ok(format!("TLS 1.3, -, full, {certificate}"))
    );
    assert_eq!(
        told(&engine, &trust, "one.test"),
        Ok(format!("TLS 1.3, -, resumed, {certificate}"))
    );
}

/// What the listener asks for and shows is all applied, to those who come later.
#[test]
fn a_reload_applies_whatever_tls_says_and_drops_no_session() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(ONE)).start();
    let trust = issuer.trust();
    let (mut old, _) = told_by(&engine, &trust, "one.test").expect("it is let in");
    let id = old.ask("id");

    issuer.issue(&["two.test"]).write(&engine.site(), "two");
    engine.configure(&config(
        r#"certificates = [ { certificate = "one.pem", key = "one.key" }, { certificate = "two.pem", key = "two.key" } ],
           client_certificates = "required", client_issuers = "ca.pem", alpn = ["chat"], min_version = "1.3""#
            .replace('\n', " ")
            .as_str(),
    ));
    engine.reload().expect_success();
    // The ticket that this client has is of no use.
    eventually("a certificate is asked for", || {
        told(&engine, &trust, "one.test").is_err()
    });
    let client = issuer.issue(&["client.test"]);
    let known = issuer.trust_showing(&client);
    let expected = format!("TLS 1.3, -, full, {}", hex(&client.der()));
    assert_eq!(told(&engine, &known, "two.test"), Ok(expected.clone()));

    // Other issuers are trusted from the next reload on, and the old ones no more, with a ticket or without.
    let others = Issuer::new();
    engine.write("ca.pem", others.pem());
    engine.reload().expect_success();
    eventually("the old issuer is trusted no more", || {
        told(&engine, &known, "two.test").is_err()
    });
    assert_eq!(old.ask("id"), id);
    assert_eq!(old.ask("tls"), "TLS 1.3, -, full, -");

    // Nor by one after which nothing is encrypted at the address any more.
    engine.configure(
        &config(ONE)
            .replace("tls://", "tcp://")
            .replace("tls =", "# tls ="),
    );
    engine.reload().expect_success();
    assert_eq!(old.ask("id"), id);
    assert_eq!(old.ask("tls"), "TLS 1.3, -, full, -");
    let plain = engine.address(0).replace("tls://", "tcp://");
    let mut plain = Client::try_connect(&plain, Wire::LENGTH).expect("it accepts");
    assert_eq!(plain.ask("listener"), "main");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn files_that_cannot_be_used_refuse_the_reload_with_their_name_and_nothing_is_applied() {
    let issuer = Issuer::new();
    let tls = format!("tls = {{ {REQUIRED} }}");
    let web = format!(
        "[workers]\ncount = 1\n[[listen]]\naddress = \"https://127.0.0.1:0\"\nwebsocket = \"/ws\"\n{tls}\n"
    );
    for config in [config(REQUIRED), web] {
        let site = site(&issuer, &config);
        let engine = site.start();
        let before = engine.status();
        let good = |name: &str| std::fs::read(site.path(name)).expect("it is there");
        let (pem, key, ca) = (good("one.pem"), good("one.key"), good("ca.pem"));
        let restore = || {
            site.write("one.pem", &pem);
            site.write("one.key", &key);
            site.write("ca.pem", &ca);
        };
        let year_2500 = issuer.issue_between(&["one.test"], 2500, 2600);
        let below = issuer.subordinate(2001).issue(&["one.test"]);
        type Spoil<'a> = &'a dyn Fn();
        let cases: [(&str, Spoil<'_>, &[&str]); 9] = [
            (
                "not yet valid",
                &|| year_2500.write(&site, "one"),
                &["one.pem", "not valid yet"],
            ),
            (
                "an issuer that has expired",
                &|| below.write(&site, "one"),
                &["one.pem", "certificate 2 of its chain has expired"],
            ),
            (
                "no PEM",
                &|| site.write("one.pem", "ahoy"),
                &["one.pem", "there is no certificate in it"],
            ),
            (
                "damaged PEM",
                &|| site.write("one.pem", &pem[..pem.len() / 2]),
                &["one.pem"],
            ),
            (
                "damaged DER",
                &|| {
                    site.write(
                        "one.pem",
                        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                    )
                },
                &["one.pem", "cannot be read"],
            ),
            (
                "no key",
                &|| site.write("one.key", &pem),
                &["one.key", "there is no private key in it"],
            ),
            (
                "a key with a password",
                &|| {
                    site.write("one.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
                },
                &["one.key", "encrypted"],
            ),
            (
                "no issuers",
                &|| site.write("ca.pem", ""),
                &["ca.pem", "there is no certificate in it"],
            ),
            (
                "a folder",
                &|| {
                    std::fs::remove_file(site.path("ca.pem")).expect("a file");
                    std::fs::create_dir(site.path("ca.pem")).expect("a folder");
                },
                &["ca.pem", "it is no file"],
            ),
        ];
        for (case, spoil, words) in cases {
            println!("{case}");
            spoil();
            engine.reload().expect_refusal(words);
            site.run(&["check"]).expect_refusal(words);
            if site.path("ca.pem").is_dir() {
                std::fs::remove_dir(site.path("ca.pem")).expect("an empty folder");
            }
            restore();
        }
        let after = engine.status();
        assert_eq!(
            after.worker_pids(),
            before.worker_pids(),
            "nothing was applied"
        );
        assert_eq!(after.reloads.failed, 9);
        engine.reload().expect_success();
    }
}

#[test]
fn sessions_exchange_messages_while_certificates_are_renewed_again_and_again() {
    let issuer = Issuer::new();
    let engine = site(&issuer, &config(ONE)).start();
    let trust = issuer.trust();
    let is_over = Arc::new(AtomicBool::new(false));
    let exchanged = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..10)
        .map(|number| {
            let (mut client, _) = told_by(&engine, &trust, "one.test").expect("it is let in");
            let (is_over, exchanged) = (is_over.clone(), exchanged.clone());
            std::thread::spawn(move || {
                let id = client.ask("id");
                let message = vec![b'a' + number; 1 + 3000 * usize::from(number)];
                while !is_over.load(Ordering::Relaxed) {
                    client.send(&message);
                    assert_eq!(client.receive(), message);
                    exchanged.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
                assert_eq!(client.ask("id"), id);
            })
        })
        .collect();
    for _ in 0..4 {
        let renewed = issuer.issue(&["one.test"]);
        renewed.write(&engine.site(), "one");
        engine.reload().expect_success();
        eventually("the new one is shown", || {
            told_by(&engine, &trust, "one.test")
                .is_ok_and(|(client, _)| shown(&client) == renewed.der().to_vec())
        });
        let before = exchanged.load(Ordering::Relaxed);
        eventually("messages go on", || {
            exchanged.load(Ordering::Relaxed) > before + 50
        });
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no session was dropped");
    }
    let status = engine.status();
    assert_eq!(
        (status.closed("crash"), status.lost),
        (0, Default::default())
    );
}

#[test]
fn the_supervisor_reads_keys_that_the_gateways_user_may_not() {
    require_root("without root the gateway runs as the supervisor's user");
    let issuer = Issuer::new();
    let users = "user = \"nobody\"\ngateway_user = \"daemon\"\ngateway_loops";
    let site = site(&issuer, &config(ONE).replace("gateway_loops", users));
    let secure = |path: &Path| {
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, owner_only).expect("it is ours");
    };
    secure(&site.path("one.key"));
    let engine = site.start();
    let daemon = User::from_name("daemon").expect("users can be looked up");
    let daemon = daemon.expect("every Debian has it");
    let gateway = engine.status().gateway.pid;
    assert_eq!(Process::user(gateway), u64::from(daemon.uid.as_raw()));
    let trust = issuer.trust();
    told(&engine, &trust, "one.test").expect("it is let in");
    let renewed = issuer.issue(&["one.test"]);
    renewed.write(&site, "one");
    secure(&site.path("one.key"));
    engine.reload().expect_success();
    eventually("the new one is shown", || {
        told_by(&engine, &trust, "one.test")
            .is_ok_and(|(client, _)| shown(&client) == renewed.der().to_vec())
    });
}

#[test]
fn a_websocket_session_shows_its_peers_certificate_and_protocol() {
    let issuer = Issuer::new();
    let config = format!(
        "[workers]\ncount = 1\n[[listen]]\naddress = \"https://127.0.0.1:0\"\nwebsocket = \"/ws\"\ntls = {{ {REQUIRED} }}\n"
    );
    let engine = site(&issuer, &config).start();
    let client = issuer.issue(&["client.test"]);
    let trust = issuer.trust_showing(&client).speaking(&["http/1.1"]);
    let stream = trust
        .connect(engine.socket_address(0), "one.test")
        .expect("a handshake");
    let (mut socket, _) = tungstenite::client("wss://one.test/ws", stream).expect("it is upgraded");
    socket.send("tls".into()).expect("it is open");
    let said = socket.read().expect("an answer comes").to_string();
    assert_eq!(
        said,
        format!("TLS 1.3, http/1.1, full, {}", hex(&client.der()))
    );
    let without = issuer.trust().connect(engine.socket_address(0), "one.test");
    let is_refused = match without {
        Ok(stream) => tungstenite::client("wss://one.test/ws", stream).is_err(),
        Err(_) => true,
    };
    assert!(is_refused, "it has no certificate");
    engine.logged(&["tls handshake failed", "the client has no certificate"]);
    eventually("it is counted", || engine.status().closed("handshake") == 1);
}
