//! What TLS clients ask for and show, what they get, and what texts tell of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use moorline_tests::{Engine, Finish, Issuer, PeerServer, Site, Trust, eventually};

use super::config;
use super::hello::hello;

/// A listener with this table `tls`, whose access log has this format.
fn site(tls: &str, format: &str, peer: &PeerServer) -> Arc<Site> {
    let log = format!("[access_log.main]\npath = \"access.log\"\nformat = '{format}'");
    let text = config("access_log = [\"main\"]", &log, &[peer.address]);
    let text = match tls.is_empty() {
        true => text,
        false => text.replace(
            "tcp://127.0.0.1:0\"",
            &format!("tls://127.0.0.1:0\"\ntls = {{ {tls} }}"),
        ),
    };
    Site::new("moorline", &text)
}

/// The last line of the access log, once there is this number of them.
#[track_caller]
fn line(site: &Site, count: usize) -> String {
    let read = || std::fs::read_to_string(site.path("access.log")).unwrap_or_default();
    eventually("the line is there", || read().lines().count() >= count);
    read().lines().last().unwrap_or_default().to_owned()
}

/// Sends something and gets it back.
fn exchange(engine: &Engine, trust: &Trust, host: &str) -> std::io::Result<()> {
    let mut stream = trust.connect(engine.socket_address(0), host)?;
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 5])?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn openssl(site: &Site, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    command
        .args(arguments.split(' '))
        .current_dir(site.path("."));
    command.finish().expect_success().stdout
}

#[test]
fn what_a_client_asks_for_is_told_where_tls_passes_through() {
    let peer = PeerServer::echo();
    let site = site("", "${sni} ${alpn} ${hello.version}|", &peer);
    let engine = site.start();
    let mut count = 0;
    for (bytes, told) in [
        (hello("a.test", 20), "a.test  TLSv1.2|"),
        (b"GET / HTTP/1.0\r\n".to_vec(), "- - -|"),
        (vec![0x80, 46, 1, 3, 1, 0, 21], "  TLSv1|"),
    ] {
        let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        client.write_all(&bytes).expect("it is taken");
        let mut came = vec![0; bytes.len()];
        client.read_exact(&mut came).expect("an echo comes");
        assert_eq!(came, bytes);
        drop(client);
        count += 1;
        assert_eq!(line(&site, count), told);
    }
}

#[test]
fn the_host_that_a_client_asks_for_can_choose_its_peer() {
    let peers = ["one", "two", "six"].map(|word| {
        PeerServer::new(move |mut stream| {
            let _ = stream.write_all(word.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        })
    });
    let addresses = peers.each_ref().map(|peer| peer.address);
    let balance = "balance = { kind = \"hash\", key = \"${sni}\" }";
    let engine = Engine::start("moorline", &config("", balance, &addresses));
    let ask = |host: &str| {
        let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        client.write_all(&hello(host, 100)).expect("it is taken");
        let mut word = [0; 3];
        client.read_exact(&mut word).expect("an answer comes");
        word
    };
    let hosts: Vec<_> = (0..20).map(|number| format!("h{number}.test")).collect();
    let first: Vec<_> = hosts.iter().map(|host| ask(host)).collect();
    let again: Vec<_> = hosts.iter().map(|host| ask(host)).collect();
    assert_eq!(first, again);
    assert!(first.iter().any(|word| *word != first[0]));
}

#[test]
fn certificates_are_shown_by_the_names_that_are_written_for_them_and_others_are_rejected() {
    let peer = PeerServer::echo();
    let issuer = Issuer::new();
    let entry = |file: &str, names: &str| {
        format!("{{ certificate = \"{file}.pem\", key = \"{file}.key\", names = [{names}] }}")
    };
    let certificates = [
        entry("one", "\"a.test\", \"mail.*\""),
        entry("two", "\"*.b.test\", \".c.test\""),
    ];
    let tls = format!(
        "certificates = [{}], reject_unknown_names = true",
        certificates.join(", ")
    );
    let site = site(&tls, "${tls.server_name} ${sni}|", &peer);
    // Each is for all names: which one came is told by whether its own mark is in it.
    let names = [
        "a.test",
        "mail.d.test",
        "x.b.test",
        "x.y.b.test",
        "c.test",
        "x.c.test",
    ];
    issuer
        .issue(&[&names[..], &["one.mark"]].concat())
        .write(&site, "one");
    issuer
        .issue(&[&names[..], &["two.mark"]].concat())
        .write(&site, "two");
    let engine = site.start();
    for (count, host) in names.iter().enumerate() {
        exchange(&engine, &issuer.trust(), host).expect("it is served");
        // The look at the certificate leaves one, too.
        assert_eq!(line(&site, 2 * count + 1), format!("{host} {host}|"));
        let shown = openssl_connect(&site, &engine, &format!("-servername {host}"));
        let mark = if count < 2 { "one.mark" } else { "two.mark" };
        assert!(shown.contains(mark), "{host}: {shown}");
        line(&site, 2 * count + 2);
    }
    for (trust, host) in [
        (issuer.trust(), "other.test"),
        (issuer.trust(), "b.test"),
        (issuer.trust().without_name(), "a.test"),
    ] {
        let error = exchange(&engine, &trust, host).expect_err("no certificate is for it");
        assert!(
            error.to_string().contains("UnrecognisedName"),
            "{host}: {error}"
        );
    }
}

/// The names of the certificate that `openssl s_client` gets.
fn openssl_connect(site: &Site, engine: &Engine, arguments: &str) -> String {
    let address = engine.socket_address(0);
    let script = format!(
        "openssl s_client -connect {address} {arguments} </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(site.path("."));
    command.finish().expect_success().stdout
}

#[test]
fn an_encrypted_key_is_read_with_a_password_of_a_file_or_of_a_pipe_that_can_be_read_once() {
    let peer = PeerServer::echo();
    let issuer = Issuer::new();
    for (is_pipe, cipher) in [(false, "aes-256-cbc"), (true, "aes-128-cbc")] {
        let tls = "certificate = \"one.pem\", key = \"secret.key\", password_file = \"passwords\"";
        let site = site(tls, "${tls.version}|", &peer);
        issuer.issue(&["one.test"]).write(&site, "one");
        openssl(
            &site,
            &format!("pkcs8 -topk8 -in one.key -out secret.key -v2 {cipher} -passout pass:second"),
        );
        let passwords = site.path("passwords");
        let writer = match is_pipe {
            true => {
                Command::new("mkfifo")
                    .arg(&passwords)
                    .finish()
                    .expect_success();
                Some(std::thread::spawn(move || {
                    std::fs::write(&passwords, "first\nsecond\n")
                }))
            }
            false => {
                site.write("passwords", "first\nsecond\n");
                None
            }
        };
        let engine = site.start();
        exchange(&engine, &issuer.trust(), "one.test").expect("it is served");
        assert_eq!(line(&site, 1), "TLSv1.3|");
        if let Some(writer) = writer {
            writer
                .join()
                .expect("it does not panic")
                .expect("it was read");
        }
    }
}

#[test]
fn sessions_are_resumed_unless_they_may_not_be() {
    let peer = PeerServer::echo();
    let issuer = Issuer::new();
    for (reuse, resumed) in [(true, "r"), (false, ".")] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let tls = format!("certificate = \"one.pem\", key = \"one.key\", reuse = {reuse}");
            let site = site(&tls, "${tls.resumed}|", &peer);
            issuer.issue(&["one.test"]).write(&site, "one");
            let engine = site.start();
            let trust = issuer.trust_in(version);
            exchange(&engine, &trust, "one.test").expect("it is served");
            assert_eq!(line(&site, 1), ".|");
            exchange(&engine, &trust, "one.test").expect("it is served");
            assert_eq!(line(&site, 2), format!("{resumed}|"), "{reuse} {version:?}");
        }
    }
}

#[test]
fn a_client_certificate_is_told_of_in_the_words_of_openssl() {
    let peer = PeerServer::echo();
    let tls = "certificate = \"one.pem\", key = \"one.key\", client_certificates = \"optional-no-ca\", client_issuers = \"known.pem\"";
    let format = "${tls.client.verify};${tls.client.subject};${tls.client.issuer};${tls.client.serial};${tls.client.fingerprint};${tls.client.start};${tls.client.end};${tls.cipher}|";
    let site = site(tls, format, &peer);
    let issuer = Issuer::new();
    issuer.issue(&["one.test"]).write(&site, "one");
    site.write("plain.conf", "[req]\ndistinguished_name = name\n[name]\n");
    for (name, subject) in [
        ("known", "/C=DE/O=a,b/CN=known"),
        ("unknown", "/CN=unknown"),
    ] {
        openssl(
            &site,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -config plain.conf -set_serial 0xAB01 -keyout {name}.key -out {name}.pem -days 2 -subj {subject}"
            ),
        );
    }
    let engine = site.start();
    let address = engine.socket_address(0);
    let show = |arguments: &str| {
        let script = format!(
            "(echo hello; sleep 0.3) | openssl s_client -connect {address} -quiet -no_ign_eof {arguments} 2>/dev/null"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(site.path("."));
        command.finish().stdout
    };
    for (count, (name, verdict, subject)) in [
        ("known", "SUCCESS", "CN=known,O=a\\,b,C=DE"),
        ("unknown", "FAILED:", "CN=unknown"),
    ]
    .into_iter()
    .enumerate()
    {
        let version = ["-tls1_2", "-tls1_3"][count];
        show(&format!("-cert {name}.pem -key {name}.key {version}"));
        let line = line(&site, count + 1);
        let x509 = |what: &str| {
            let told = openssl(&site, &format!("x509 -in {name}.pem -noout {what}"));
            told.trim()
                .split_once('=')
                .expect("name=value")
                .1
                .to_owned()
        };
        let fingerprint = x509("-fingerprint -sha1").replace(':', "").to_lowercase();
        let (start, end) = (x509("-startdate"), x509("-enddate"));
        let rest = format!(";{subject};{subject};AB01;{fingerprint};{start};{end};");
        assert!(line.starts_with(verdict), "{line}");
        assert!(
            line.replace("\\\\", "\\").contains(&rest)
                || line.replace("\\x5C", "\\").contains(&rest),
            "{line}\n{rest}"
        );
        let cipher = ["ECDHE-ECDSA-AES256-GCM-SHA384|", "TLS_AES_256_GCM_SHA384|"][count];
        assert!(line.ends_with(cipher), "{line}");
    }
    show("");
    assert!(line(&site, 3).starts_with("NONE;-;-;-;-;-;-;"));
}

#[test]
fn a_large_certificate_of_a_client_passes_as_its_session_goes_to_no_process() {
    let peer = PeerServer::echo();
    let tls = "certificate = \"one.pem\", key = \"one.key\", client_certificates = \"required\", client_issuers = \"ca.pem\"";
    let site = site(tls, "${tls.client.verify}|", &peer);
    let issuer = Issuer::new();
    issuer.issue(&["one.test"]).write(&site, "one");
    site.write("ca.pem", issuer.pem());
    let names: Vec<_> = (0..800)
        .map(|number| format!("host{number}.example.test"))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let shown = issuer.issue(&names);
    assert!(shown.der().len() > 16 * 1024);
    let engine = site.start();
    exchange(&engine, &issuer.trust_showing(&shown), "one.test").expect("it is served");
    assert_eq!(line(&site, 1), "SUCCESS|");
}

#[test]
fn a_client_whose_certificate_was_revoked_is_refused_from_the_next_reload_on() {
    let peer = PeerServer::echo();
    let tls = "certificate = \"one.pem\", key = \"one.key\", client_certificates = \"required\", client_issuers = \"ca.pem\", client_crl = \"crl.pem\"";
    let site = site(tls, "${tls.client.subject}|", &peer);
    Issuer::new().issue(&["one.test"]).write(&site, "one");
    site.write("plain.conf", "[req]\ndistinguished_name = name\n[name]\n[ca]\ndefault_ca = c\n[c]\ndatabase = index\ndefault_md = sha256\n");
    site.write("index", "");
    openssl(
        &site,
        "req -x509 -newkey rsa:2048 -nodes -config plain.conf -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
    );
    // One of version 1, and one of version 3.
    site.write("ext", "keyUsage=digitalSignature\n");
    for (name, more) in [("old", ""), ("new", " -extfile ext")] {
        openssl(
            &site,
            &format!(
                "req -newkey rsa:2048 -nodes -config plain.conf -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ),
        );
        openssl(
            &site,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out {name}.pem{more}"
            ),
        );
    }
    let ca = "ca -config plain.conf -cert ca.pem -keyfile ca.key";
    let list = format!("{ca} -gencrl -crldays 2 -out crl.pem");
    openssl(&site, &list);
    let engine = site.start();
    let address = engine.socket_address(0);
    let is_served = |name: &str| {
        let script = format!(
            "(echo hello; sleep 0.3) | openssl s_client -connect {address} -quiet -no_ign_eof -cert {name}.pem -key {name}.key 2>/dev/null"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(site.path("."));
        command.finish().stdout == "hello\n"
    };
    assert!(is_served("old") && is_served("new"));
    for name in ["old", "new"] {
        openssl(&site, &format!("{ca} -revoke {name}.pem"));
        openssl(&site, &list);
        engine.reload().expect_success();
        assert!(!is_served(name), "{name}");
        engine.logged(&["tls handshake failed", "evoked"]);
    }
}
