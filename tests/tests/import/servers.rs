//! Several servers of nginx's behind one address, which this Debian's nginx does not have.

use std::io::{Read, Write};
use std::net::TcpStream;

use moorline_tests::{Issuer, PATIENCE, Site, Trust};

use super::proxies::{filled, serve};

fn said(port: u16, trust: &Trust, host: &str) -> String {
    let address = ([127, 0, 0, 1], port).into();
    let mut stream = match trust.connect(address, host) {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => answer,
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_server_is_chosen_by_the_name_that_a_client_asks_for() {
    let text = "stream {
        ssl_certificate a.pem; ssl_certificate_key a.key;
        server { listen PORT0 ssl; server_name www.a.test; return default; }
        server { listen PORT0; server_name EXAMPLE.test .b.test; return \"b $ssl_server_name\"; }
        server { listen PORT0; server_name *.a.test; return wildcard; }
        server { listen PORT0; server_name www.*; return begin; }
        server { listen PORT0; server_name ~^(?P<name>.+)\\.C\\.test$; return \"$name $1\"; }
        server { listen PORT0; server_name ~^(d)\\.(?<rest>.*)$; set $x <$rest>; return \"$x $1\"; }
        server { listen PORT1 ssl; ssl_reject_handshake on; return \"\"; }
        server { listen PORT1; server_name a.test; return a; }
        server { listen PORT1; server_name b.test; return b; ssl_certificate b.pem; ssl_certificate_key b.key;
            ssl_verify_client on; ssl_client_certificate own.pem; }
    }";
    let site = Site::new("moorline", "");
    let (issuer, own) = (Issuer::new(), Issuer::new());
    let hosts = [
        "www.a.test",
        "x.a.test",
        "example.test",
        "b.test",
        "y.b.test",
        "www.d.test",
        "x.c.test",
        "d.e.test",
        "a.test",
        "none.test",
    ];
    issuer.issue(&hosts).write(&site, "a");
    issuer.issue(&hosts).write(&site, "b");
    site.write("own.pem", own.pem());
    let (text, ports) = filled(text, &[]);
    site.write("nginx.conf", text);
    let _engine = serve(&site, "nginx.conf");
    let trust = issuer.trust();
    for (host, answer) in [
        ("www.a.test", "default"),
        ("none.test", "default"),
        ("example.test", "b example.test"),
        ("y.b.test", "b y.b.test"),
        ("x.a.test", "wildcard"),
        ("www.d.test", "begin"),
        ("x.c.test", "x x"),
        ("d.e.test", "<e.test> d"),
    ] {
        assert_eq!(said(ports[0], &trust, host), answer, "{host}");
    }
    let other = ports[1];
    assert_eq!(said(other, &trust, "a.test"), "a");
    assert!(
        said(other, &trust, "none.test").contains("nrecogni"),
        "unrecognized_name"
    );
    assert_ne!(said(other, &trust, "b.test"), "b");
    let shown = issuer.trust_showing(&own.issue(&["client"]));
    assert_eq!(said(other, &shown, "b.test"), "b");
}

#[test]
fn a_name_that_is_read_ahead_chooses_a_server_and_a_certificate_is_told_as_nginx_does() {
    let text = "stream {
        log_format cert '$ssl_client_cert|$ssl_client_raw_cert|$ssl_client_escaped_cert|';
        server { listen PORT0; ssl_preread on; return none; }
        server { listen PORT0; server_name ~^(\\w+)\\.a\\.test$; return \"$1 $ssl_preread_server_name\"; }
        server { listen PORT1 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; ssl_verify_client on;
            ssl_client_certificate own.pem; access_log FOLDER/cert.log cert; return x; }
    }";
    let site = Site::new("moorline", "");
    let (issuer, own) = (Issuer::new(), Issuer::new());
    issuer.issue(&["a.test"]).write(&site, "a");
    site.write("own.pem", own.pem());
    let (text, ports) = filled(text, &[]);
    site.write(
        "nginx.conf",
        text.replace("FOLDER", &site.path(".").display().to_string()),
    );
    let _engine = serve(&site, "nginx.conf");
    let ask = |host: &str| {
        let name = host.to_owned().try_into().expect("a host");
        let trust = issuer.trust();
        let mut tls = rustls::ClientConnection::new(trust.config(), name).expect("a client");
        let mut client = TcpStream::connect(("127.0.0.1", ports[0])).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).expect("a hello");
        client.write_all(&hello).expect("it is taken");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        answer
    };
    assert_eq!(ask("a.test"), "none");
    assert_eq!(ask("x.a.test"), "x x.a.test");
    let client = own.issue(&["client"]);
    let shown = issuer.trust_showing(&client);
    assert_eq!(said(ports[1], &shown, "a.test"), "x");
    let log = || std::fs::read_to_string(site.path("cert.log")).unwrap_or_default();
    moorline_tests::eventually("the line is there", || log().ends_with("|\n"));
    let log = log().replace("\\x0A", "\n").replace("\\x09", "\t");
    let parts: Vec<_> = log.split('|').collect();
    let raw = parts[1];
    assert!(
        raw.starts_with("-----BEGIN CERTIFICATE-----\nMII")
            && raw.ends_with("-----END CERTIFICATE-----\n"),
        "{raw}"
    );
    assert_eq!(parts[0], raw.trim_end().replace('\n', "\n\t"));
    assert!(
        parts[2].starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"),
        "{}",
        parts[2]
    );
}
