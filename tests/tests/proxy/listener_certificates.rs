//! Certificates for clients whose files connections name.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use moorline_tests::{Engine, Finish, Issuer, PATIENCE, Site, Trust, eventually};

use super::hello::hello;

/// A listener that shows what this says.
fn site(tls: &str) -> Arc<Site> {
    let text = format!(
        "[workers]\ncount = 0\n[[listen]]\nname = \"front\"\naddress = \"tls://127.0.0.1:0\"\nreturn = \"hi\"\n\
         tls = {{ {tls} }}\naccess_log = [\"main\"]\n\
         [[listen.server]]\nnames = [\"own.test\"]\nreturn = \"own\"\n\
         [map.file]\nfrom = \"${{tls.server_name}}\"\ndefault = \"${{tls.server_name}}\"\nvalues = {{ \"none.test\" = \"\" }}\n\
         [access_log.main]\npath = \"access.log\"\nformat = '${{tls.server_name}} ${{tls.ciphers}} ${{tls.curves}}|'\n"
    );
    Site::new("moorline", &text)
}

fn ask(engine: &Engine, trust: &Trust, host: &str) -> std::io::Result<String> {
    let mut stream = trust.connect(engine.socket_address(0), host)?;
    stream.flush()?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn each_client_gets_the_certificate_that_its_connection_names() {
    let issuer = Issuer::new();
    let trust = issuer.trust();
    let site = site("certificate = \"certs/${map.file}.pem\", key = \"certs/${map.file}.key\"");
    std::fs::create_dir(site.path("certs")).expect("the folder is new");
    for name in ["a.test", "b.test", "own.test"] {
        issuer.issue(&[name]).write(&site, &format!("certs/{name}"));
    }
    let engine = site.start();
    for _ in 0..2 {
        for (name, text) in [("a.test", "hi"), ("b.test", "hi"), ("own.test", "own")] {
            assert_eq!(ask(&engine, &trust, name).expect(name), text);
        }
    }
    // Without its file, or a name for it, a client is not served, and others are.
    for name in ["c.test", "none.test"] {
        ask(&engine, &trust, name).expect_err(name);
    }
    site.logged(&["tls handshake failed", "c.test.pem"]);
    // One that leads out of the folder names no file.
    issuer.issue(&["x.test"]).write(&site, "x.test");
    let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    client.set_read_timeout(Some(PATIENCE)).expect("an option");
    client
        .write_all(&hello("../x.test", 200))
        .expect("it is taken");
    let _ = client.read_to_end(&mut Vec::new());
    site.logged(&["tls handshake failed", "leads to another folder"]);
    // A file that comes later is found.
    issuer.issue(&["c.test"]).write(&site, "certs/c.test");
    eventually("the new file is shown", || {
        ask(&engine, &trust, "c.test").is_ok_and(|it| it == "hi")
    });
}

#[test]
fn what_a_client_offers_is_told() {
    let issuer = Issuer::new();
    let site = site("certificate = \"one.pem\", key = \"one.key\"");
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let address = engine.socket_address(0);
    let script = format!(
        "openssl s_client -connect {address} -servername one.test -ciphersuites TLS_AES_128_GCM_SHA256 \
         -cipher ECDHE-ECDSA-AES256-GCM-SHA384 -curves X25519:P-256 </dev/null"
    );
    Command::new("sh")
        .args(["-c", &script])
        .finish()
        .expect_success();
    let read = || std::fs::read_to_string(site.path("access.log")).unwrap_or_default();
    eventually("its line is there", || !read().is_empty());
    assert_eq!(
        read().trim_end(),
        "one.test TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:TLS_EMPTY_RENEGOTIATION_INFO_SCSV X25519:prime256v1|"
    );
}
