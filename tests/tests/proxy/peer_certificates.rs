//! Certificates for peers whose files connections name.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use moorline_tests::{Engine, Finish, Issued, Issuer, Site, TlsPeer, Trust};

use super::config;

/// A listener with TLS for some names, whose peer is shown what these keys say.
fn site(issuer: &Issuer, peer: &TlsPeer, shown: &str, rest: &str) -> Arc<Site> {
    let tls = format!("tls = {{ ca = \"ca.pem\", server_name = \"peer.test\", {shown} }}\n{rest}");
    let text = config("access_log = [\"main\"]", &tls, &[peer.address()]).replace(
        "tcp://127.0.0.1:0\"",
        "tls://127.0.0.1:0\"\ntls = { certificate = \"front.pem\", key = \"front.key\" }",
    );
    let log = "[access_log.main]\npath = \"access.log\"\nformat = \"${sni} ${status} ${reason}|\"";
    let site = Site::new("moorline", &format!("{text}\n{log}\n"));
    site.write("ca.pem", issuer.pem());
    let many = (0..40).map(|number| format!("h{number}.test"));
    let names: Vec<_> = ["a.test", "b.test", "c.test"]
        .map(String::from)
        .into_iter()
        .chain(many)
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    issuer.issue(&names).write(&site, "front");
    site
}

fn peer(issuer: &Issuer) -> TlsPeer {
    TlsPeer::echo(issuer.issue(&["peer.test"]).server_asking_for(issuer))
}

fn exchange(engine: &Engine, trust: &Trust, host: &str) -> std::io::Result<()> {
    let mut stream = trust.connect(engine.socket_address(0), host)?;
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 5])?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn shown(peer: &TlsPeer) -> Option<Vec<u8>> {
    let last = peer.handshakes().pop().expect("there was a handshake");
    last.client_certificate
}

fn der(issued: &Issued) -> Option<Vec<u8>> {
    Some(issued.der().to_vec())
}

#[test]
fn each_connection_shows_the_certificate_that_it_names_and_resumes_no_session_of_another_one() {
    let issuer = Issuer::new();
    let peer = peer(&issuer);
    let files = "certificate = \"${sni}.pem\", key = \"${sni}.key\"";
    let site = site(&issuer, &peer, files, "");
    let certificates = ["a.test", "b.test"].map(|name| {
        let issued = issuer.issue(&[name]);
        issued.write(&site, name);
        issued
    });
    let engine = site.start();
    let trust = issuer.trust();
    for round in 0..3 {
        for (name, issued) in ["a.test", "b.test"].iter().zip(&certificates) {
            exchange(&engine, &trust, name).expect("the peer takes it");
            assert_eq!(shown(&peer), der(issued), "{name}");
            let last = peer.handshakes().pop().expect("there was a handshake");
            assert_eq!(last.is_resumed, round > 0, "{name}, round {round}");
        }
    }
}

#[test]
fn a_connection_whose_files_cannot_be_used_ends_with_status_500_and_the_log_says_why() {
    let issuer = Issuer::new();
    let peer = peer(&issuer);
    let files = "certificate = \"${sni}.pem\", key = \"${sni}.key\"";
    let site = site(&issuer, &peer, files, "");
    issuer.issue(&["a.test"]).write(&site, "a.test");
    let engine = site.start();
    let trust = issuer.trust();
    for name in ["b.test", "c.test"] {
        exchange(&engine, &trust, name).expect_err("there is no certificate of this name");
    }
    engine.logged(&[
        "tls handshake with a peer failed",
        "b.test.pem",
        "No such file",
    ]);
    // The peer has no part in it: it is still asked.
    exchange(&engine, &trust, "a.test").expect("the peer takes it");
    let lines = || std::fs::read_to_string(site.path("access.log")).unwrap_or_default();
    moorline_tests::eventually("the lines are there", || lines().lines().count() == 3);
    let lines = lines();
    let first = lines.lines().next();
    assert_eq!(first, Some("b.test 500 unready|"), "{lines}");
    // A file that comes later is found.
    issuer.issue(&["b.test"]).write(&site, "b.test");
    thread::sleep(Duration::from_millis(1100));
    exchange(&engine, &trust, "b.test").expect("the peer takes it");
}

#[test]
fn an_empty_name_shows_none_and_keys_may_have_passwords() {
    let issuer = Issuer::new();
    let peer = peer(&issuer);
    let files =
        "certificate = \"${map.file}\", key = \"keys/${sni}.key\", password_file = \"passwords\"";
    let map = "[map.file]\nfrom = \"${sni}\"\nvalues = { \"a.test\" = \"keys/a.test.pem\" }";
    let site = site(&issuer, &peer, files, map);
    std::fs::create_dir(site.path("keys")).expect("a folder");
    let issued = issuer.issue(&["a.test"]);
    issued.write(&site, "keys/a.test");
    site.write("passwords", "wrong\nright\n");
    let arguments = "pkcs8 -topk8 -in keys/a.test.key -out keys/new -passout pass:right";
    Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(site.path("."))
        .finish()
        .expect_success();
    std::fs::rename(site.path("keys/new"), site.path("keys/a.test.key")).expect("a file");
    let engine = site.start();
    let trust = issuer.trust();
    exchange(&engine, &trust, "a.test").expect("the peer takes it");
    assert_eq!(shown(&peer), der(&issued));
    exchange(&engine, &trust, "b.test").expect("the peer does without");
    assert_eq!(shown(&peer), None);
}

#[test]
fn the_files_of_many_connections_at_once_are_read_off_the_loops() {
    let issuer = Issuer::new();
    let peer = peer(&issuer);
    let files = "certificate = \"${sni}.pem\", key = \"${sni}.key\"";
    let site = site(&issuer, &peer, files, "");
    for number in 0..40 {
        let name = format!("h{number}.test");
        issuer.issue(&[&name]).write(&site, &name);
    }
    let engine = site.start();
    let trust = issuer.trust();
    thread::scope(|scope| {
        for number in 0..40 {
            let (engine, trust) = (&engine, &trust);
            scope.spawn(move || {
                let name = format!("h{number}.test");
                exchange(engine, trust, &name).expect("the peer takes it");
            });
        }
    });
    assert_eq!(peer.handshakes().len(), 40);
}
