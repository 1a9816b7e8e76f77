//! A storm of TLS handshakes: those over `max_handshakes` wait in the kernel, and sessions that are open do not notice.

use std::thread;
use std::time::Duration;

use moorline_tests::{Client, Engine, Issuer, Site, Stopwatch, Trust, Wire};

const CONFIG: &str = r#"
[workers]
count = 1
[engine]
gateway_loops = 2
[[listen]]
name = "tls"
address = "tls://127.0.0.1:0"
tls = { certificate = "cert.pem", key = "cert.key" }
framing = { kind = "length", width = 4, counts = "payload" }
max_handshakes = 2
handshake_timeout = "60s"
"#;

fn engine() -> (Engine, Trust) {
    let (site, issuer) = (Site::new("probe", CONFIG), Issuer::new());
    issuer.issue(&["localhost"]).write(&site, "cert");
    (site.start(), issuer.trust())
}

#[test]
fn a_storm_of_handshakes_waits_in_the_kernel_and_is_served() {
    let (engine, trust) = engine();
    let connect = || Client::connect_tls(&engine, 0, Wire::LENGTH, &trust, "localhost");
    let mut first = connect().expect("a handshake");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let mut client = connect().expect("a handshake");
                        assert_eq!(client.ask("build"), "first");
                    }
                })
            })
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            let begun = Stopwatch::start();
            assert_eq!(first.ask("build"), "first");
            assert!(begun.elapsed() < Duration::from_secs(2));
        }
    });
    let status = engine.status();
    assert_eq!(status.gateway.accepted, 81);
    assert_eq!(status.closed("handshake"), 0);
}

/// Clients that say nothing wait for nobody: they keep no others out.
#[test]
fn silent_clients_do_not_count_for_the_limit() {
    let (engine, trust) = engine();
    let silent: Vec<_> = (0..20)
        .map(|_| std::net::TcpStream::connect(engine.socket_address(0)).expect("it accepts"))
        .collect();
    let mut client =
        Client::connect_tls(&engine, 0, Wire::LENGTH, &trust, "localhost").expect("a handshake");
    assert_eq!(client.ask("build"), "first");
    drop(silent);
}
