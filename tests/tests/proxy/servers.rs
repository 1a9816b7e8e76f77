//! Servers behind one address, chosen by the name that a TLS client asks for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use moorline_tests::{Engine, Issuer, PATIENCE, PeerServer, Site, Trust, eventually};

use super::hello::hello;

const HEAD: &str = "[engine]\ngateway_loops = 2\n[workers]\ncount = 1\n";

/// A listener that ends TLS, with this table, and what stands below it.
fn encrypted(tls: &str, rest: &str) -> String {
    format!(
        "{HEAD}[[listen]]\nname = \"front\"\naddress = \"tls://127.0.0.1:0\"\ntls = {{ {tls} }}\n{rest}\n"
    )
}

fn shows(name: &str) -> String {
    format!("certificate = \"{name}.pem\", key = \"{name}.key\"")
}

/// A site where an issuer has written certificates for all hosts of `.test`, under these names.
fn site(text: &str, issuer: &Issuer, names: &[&str]) -> Arc<Site> {
    let site = Site::new("moorline", text);
    for name in names {
        // The name tells which one was shown.
        let hosts = [
            "a.test",
            "b.test",
            "x.b.test",
            "c.test",
            "d.test",
            &format!("{name}.mark"),
        ];
        issuer.issue(&hosts).write(&site, name);
    }
    site
}

/// What the server says to a client that asks for this host, and whether this certificate was shown.
fn ask(engine: &Engine, trust: &Trust, host: &str) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = trust.connect(engine.socket_address(0), host)?;
    let shown = stream.conn.peer_certificates().and_then(|it| it.first());
    let shown = shown.map_or_else(Vec::new, |it| it.to_vec());
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok((answer, shown))
}

fn has(certificate: &[u8], name: &str) -> bool {
    let mark = format!("{name}.mark");
    certificate
        .windows(mark.len())
        .any(|it| it == mark.as_bytes())
}

#[test]
fn the_name_in_a_handshake_chooses_the_server_and_its_certificate() {
    let issuer = Issuer::new();
    let servers = format!(
        "return = \"front\"\n\
         [[listen.server]]\nnames = [\"a.test\"]\nreturn = \"${{listener}}\"\ntls = {{ {} }}\n\
         [[listen.server]]\nnames = [\"*.b.test\"]\nreturn = \"below ${{sni}}\"\n\
         [[listen.server]]\nname = \"c\"\nnames = ['~^(?<word>[c-d])\\.(t)est$']\nset = {{ x = \"${{match.word}}\" }}\n\
         return = \"${{listener}} ${{match.0}} ${{set.x}} ${{match.2}}\"\ntls = {{ {} }}\n",
        shows("a"),
        shows("c")
    );
    let text = encrypted(&shows("front"), &servers);
    let engine = site(&text, &issuer, &["front", "a", "c"]).start();
    let trust = issuer.trust();
    for (host, answer, certificate) in [
        ("a.test", "front/a.test", "a"),
        ("A.test", "front/a.test", "a"),
        ("b.test", "front", "front"),
        ("x.b.test", "below x.b.test", "front"),
        ("c.test", "c c.test c t", "c"),
        ("d.test", "c d.test d t", "c"),
    ] {
        let (came, shown) = ask(&engine, &trust, host).expect(host);
        assert_eq!(came, answer, "{host}");
        assert!(has(&shown, certificate), "{host}");
    }
    let nameless = trust.without_name();
    let (came, shown) = ask(&engine, &nameless, "a.test").expect("a handshake");
    assert_eq!(came, "front");
    assert!(has(&shown, "front"));
    eventually("none is left", || engine.status().gateway.relays.open == 0);
}

#[test]
fn a_hello_may_come_in_pieces_and_is_not_waited_for_longer_than_a_handshake() {
    let issuer = Issuer::new();
    let servers = "return = \"front\"\nhandshake_timeout = \"1s\"\n[[listen.server]]\nnames = [\"a.test\"]\nreturn = \"a\"\n";
    let text = encrypted(&shows("front"), servers);
    let engine = site(&text, &issuer, &["front"]).start();
    let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    client.set_nodelay(true).expect("a socket");
    let trust = issuer.trust();
    let name = "a.test".try_into().expect("a host");
    let mut tls = rustls::ClientConnection::new(trust.config(), name).expect("a client");
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).expect("a hello");
    for part in bytes.chunks(bytes.len() / 5) {
        client.write_all(part).expect("it is taken");
        thread::sleep(Duration::from_millis(20));
    }
    while tls.is_handshaking() {
        tls.complete_io(&mut client).expect("a handshake");
    }
    let mut answer = String::new();
    let mut stream = rustls::StreamOwned::new(tls, client);
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "a");
    for garbage in [
        &bytes[..20],
        b"GET / HTTP/1.0\r\n\r\n",
        &[22, 3, 1, 255, 255, 1, 0, 255, 255],
    ] {
        let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a time");
        client.write_all(garbage).expect("it is taken");
        let mut came = Vec::new();
        let _ = client.read_to_end(&mut came);
        assert!(came.len() < 20, "an alert at most");
    }
}

#[test]
fn a_listener_can_reject_all_names_but_those_of_its_servers() {
    let issuer = Issuer::new();
    let servers = format!(
        "return = \"\"\n[[listen.server]]\nnames = [\"a.test\"]\nreturn = \"a\"\ntls = {{ {} }}\n\
         [[listen.server]]\nnames = [\"b.test\"]\nreturn = \"b\"\ntls = {{ reject = true }}\n",
        shows("a")
    );
    let engine = site(&encrypted("reject = true", &servers), &issuer, &["a"]).start();
    let trust = issuer.trust();
    assert_eq!(ask(&engine, &trust, "a.test").expect("a handshake").0, "a");
    for host in ["b.test", "d.test"] {
        let error = ask(&engine, &trust, host).expect_err("it is refused");
        let error = error.to_string();
        assert!(
            error.contains("UnrecognisedName") || error.contains("UnrecognizedName"),
            "{error}"
        );
    }
    ask(&engine, &trust.without_name(), "a.test").expect_err("it is refused");
}

#[test]
fn each_server_asks_for_certificates_of_its_own_issuers_and_resumes_nothing_of_others() {
    let (issuer, own) = (Issuer::new(), Issuer::new());
    let servers = format!(
        "return = \"front ${{tls.resumed}}\"\n[[listen.server]]\nnames = [\"a.test\"]\nreturn = \"a ${{tls.client.verify}}${{tls.resumed}}\"\n\
         tls = {{ {}, client_certificates = \"required\", client_issuers = \"own.pem\" }}\n\
         [[listen.server]]\nnames = [\"b.test\"]\nreturn = \"b ${{tls.version}}\"\ntls = {{ {}, versions = [\"1.2\"] }}\n",
        shows("a"),
        shows("a")
    );
    let site = site(
        &encrypted(&shows("front"), &servers),
        &issuer,
        &["front", "a"],
    );
    site.write("own.pem", own.pem());
    let engine = site.start();
    let trust = issuer.trust();
    let said = |trust: &Trust, host: &str| ask(&engine, trust, host).map(|(answer, _)| answer);
    assert_eq!(said(&trust, "c.test").expect("a handshake"), "front .");
    assert_eq!(said(&trust, "c.test").expect("a handshake"), "front r");
    said(&trust, "a.test").expect_err("it shows no certificate");
    let shown = issuer.trust_showing(&own.issue(&["client"]));
    assert_eq!(said(&shown, "a.test").expect("a handshake"), "a SUCCESS.");
    assert_eq!(said(&shown, "a.test").expect("a handshake"), "a SUCCESSr");
    assert_eq!(said(&trust, "b.test").expect("a handshake"), "b TLSv1.2");
    let newest = issuer.trust_in(&rustls::version::TLS13);
    said(&newest, "b.test").expect_err("it speaks another version");
    said(&trust, "a.test").expect_err("it shows no certificate, also after other sessions");
}

#[test]
fn the_name_in_a_hello_chooses_the_peer_where_tls_passes_through() {
    let named = |word: &'static str| {
        PeerServer::new(move |mut stream| {
            let _ = stream.write_all(word.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        })
    };
    let peers = ["one", "two", "six"].map(named);
    let [one, two, six] = peers.each_ref().map(|it| it.address);
    let text = format!(
        "{HEAD}[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"one\"\nnames = [\"a.b.test\"]\n\
         [[listen.server]]\nnames = [\"*.b.test\"]\nupstream = \"two\"\naccess_log = [\"main\"]\n\
         [[listen.server]]\nnames = ['~^n(?<port>\\d+)\\.test$']\nupstream = \"127.0.0.1:${{match.port}}\"\n\
         [upstream.one]\npeers = [\"tcp://{one}\"]\n[upstream.two]\npeers = [\"tcp://{two}\"]\n\
         [access_log.main]\npath = \"access.log\"\nformat = \"${{listener}} ${{upstream.address}} ${{status}}\"\n"
    );
    let site = Site::new("moorline", &text);
    let engine = site.start();
    let said = |bytes: &[u8]| {
        let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a time");
        client.write_all(bytes).expect("it is taken");
        let mut word = [0; 3];
        let came = client.read_exact(&mut word);
        came.map(|()| String::from_utf8_lossy(&word).into_owned())
    };
    for (host, word) in [
        ("c.test", "one"),
        ("a.b.test", "one"),
        ("c.b.test", "two"),
        ("C.B.TEST.", "two"),
        (&format!("n{}.test", six.port()), "six"),
    ] {
        assert_eq!(said(&hello(host, 200)).expect("an answer"), word, "{host}");
    }
    assert_eq!(said(b"GET / HTTP/1.0\r\n\r\n").expect("an answer"), "one");
    let log = || std::fs::read_to_string(site.path("access.log")).unwrap_or_default();
    eventually("two lines are written", || log().lines().count() == 2);
    assert_eq!(log(), format!("front/*.b.test {two} 200\n").repeat(2));
}

#[test]
fn a_server_has_rules_of_access_and_limits_of_its_own() {
    let peer = PeerServer::echo();
    let text = format!(
        "{HEAD}[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"front\"\n\
         [[listen.server]]\nnames = [\"a.test\"]\nreturn = \"a\"\naccess = [{{ deny = \"all\" }}]\n\
         [[listen.server]]\nnames = [\"b.test\"]\nupstream = \"b\"\nlimits = [{{ limit = \"one\", most = 1 }}]\n\
         [limit.one]\nkey = \"${{listener}}\"\n[upstream.b]\npeers = [\"tcp://{}\"]\n",
        peer.address
    );
    let engine = Engine::start("moorline", &text);
    let said = |host: &str| {
        let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a time");
        client.write_all(&hello(host, 200)).expect("it is taken");
        let mut came = vec![0];
        let came = client.read(&mut came).unwrap_or_default() == 1;
        (client, came)
    };
    assert!(!said("a.test").1);
    engine.logged(&["connection refused", "access", "front/a.test"]);
    assert!(said("c.test").1);
    let (held, is_held) = said("b.test");
    assert!(is_held);
    assert!(!said("b.test").1);
    drop(held);
    eventually("the next one is let in", || said("b.test").1);
    eventually("none is left", || engine.status().gateway.relays.open == 0);
}

#[test]
fn connections_of_servers_count_for_the_listener_and_stay_over_reloads() {
    let peer = PeerServer::echo();
    let text = |keys: &str, servers: &str| {
        format!(
            "{HEAD}[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"b\"\npreread = {{}}\n{keys}\n{servers}\n\
             [upstream.b]\npeers = [\"tcp://{}\"]\n",
            peer.address
        )
    };
    let one = "[[listen.server]]\nnames = [\"a.test\"]\nupstream = \"b\"\n";
    let two = "[[listen.server]]\nnames = [\"c.test\"]\nreturn = \"c\"\n";
    let site = Site::new("moorline", &text("max_sessions = 2", one));
    let engine = site.start();
    let begun = |host: &str| {
        let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a time");
        let bytes = hello(host, 200);
        let _ = client.write_all(&bytes);
        let mut came = vec![0; bytes.len()];
        let has_come = client.read_exact(&mut came).is_ok();
        (client, has_come)
    };
    let (mut first, mut second) = (begun("a.test"), begun("b.test"));
    assert!(first.1 && second.1);
    assert!(!begun("a.test").1, "two are there");
    // The server goes, and another one takes its name.
    for servers in [two, "", one, two] {
        site.configure(&text("max_sessions = 2", servers));
        engine.reload().expect_success();
        for client in [&mut first.0, &mut second.0] {
            client.write_all(b"more").expect("it is taken");
            let mut came = [0; 4];
            client.read_exact(&mut came).expect("it comes back");
            assert_eq!(&came, b"more");
        }
        assert!(!begun("b.test").1, "two are there");
    }
    drop((first, second));
    eventually("both are gone", || engine.status().gateway.relays.open == 0);
    let again = [begun("b.test"), begun("b.test")];
    assert!(again.iter().all(|it| it.1));
    assert!(!begun("b.test").1, "two are there");
    drop(again);
    eventually("both are gone", || engine.status().gateway.relays.open == 0);
    let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    client
        .write_all(&hello("c.test", 200))
        .expect("it is taken");
    let mut came = String::new();
    client.read_to_string(&mut came).expect("an answer");
    assert_eq!(came, "c");
}

#[test]
fn a_limit_of_a_server_counts_by_the_name_that_a_client_asks_for() {
    let issuer = Issuer::new();
    let peer = PeerServer::echo();
    let rest = format!(
        "[[listen.server]]\nnames = ['~^(?<word>[a-c])\\.test$']\nupstream = \"b\"\nlimits = [{{ limit = \"one\", most = 1 }}]\n\
         [limit.one]\nkey = \"${{sni}} ${{match.word}}\"\n[upstream.b]\npeers = [\"tcp://{}\"]\n",
        peer.address
    );
    let plain = format!(
        "{HEAD}[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"\"\n{rest}"
    );
    let engine = Engine::start("moorline", &plain);
    let said = |host: &str| {
        let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a time");
        client.write_all(&hello(host, 200)).expect("it is taken");
        let came = client.read(&mut [0]).unwrap_or_default() == 1;
        (client, came)
    };
    let (first, second) = (said("a.test"), said("b.test"));
    assert!(first.1 && second.1);
    assert!(!said("a.test").1 && !said("b.test").1);
    drop((first, second, engine));

    let front = format!("return = \"\"\n{rest}");
    let text = encrypted(&shows("front"), &front);
    let engine = site(&text, &issuer, &["front"]).start();
    let trust = issuer.trust();
    let said = |host: &str| {
        let mut stream = trust.connect(engine.socket_address(0), host).ok()?;
        stream.write_all(b"x").ok()?;
        stream.read_exact(&mut [0]).ok()?;
        Some(stream)
    };
    let (first, second) = (said("a.test"), said("b.test"));
    assert!(first.is_some() && second.is_some());
    assert!(said("a.test").is_none() && said("b.test").is_none());
}

#[test]
fn a_reload_that_limits_addresses_counts_connections_that_are_with_a_server() {
    let peer = PeerServer::echo();
    let text = |keys: &str| {
        format!(
            "{HEAD}[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"\"\n{keys}\n\
             [[listen.server]]\nnames = [\"a.test\"]\nupstream = \"b\"\n[upstream.b]\npeers = [\"tcp://{}\"]\n",
            peer.address
        )
    };
    let site = Site::new("moorline", &text(""));
    let engine = site.start();
    let begun = || {
        let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a time");
        let _ = client.write_all(&hello("a.test", 200));
        let has_come = client.read(&mut [0]).unwrap_or_default() == 1;
        (client, has_come)
    };
    let held = begun();
    assert!(held.1);
    site.configure(&text("max_sessions_per_address = 1"));
    engine.reload().expect_success();
    assert!(!begun().1, "one is there");
    drop(held);
    eventually("the next one is let in", || begun().1);
}
