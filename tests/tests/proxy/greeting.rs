//! The header of the PROXY protocol that goes to peers, read by those that people have there.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use moorline_tests::{Engine, Outsider, PATIENCE, PeerServer, Site, eventually, exchange};

use super::{config, connect};

/// What stands before the client's bytes in version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A peer that reads until the client's end, tells what came, and answers `seen`.
fn reader() -> (PeerServer, mpsc::Receiver<Vec<u8>>) {
    let (sender, received) = mpsc::channel();
    let peer = PeerServer::new(move |mut stream| {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() {
            let _ = stream.write_all(b"seen");
            let _ = sender.send(all);
        }
    });
    (peer, received)
}

/// The line that a client and its listener make.
fn line(client: SocketAddr, server: SocketAddr) -> String {
    let (from, to) = (client.port(), server.port());
    format!("PROXY TCP4 {} {} {from} {to}\r\n", client.ip(), server.ip())
}

/// What an HTTP server says of the connection behind it.
fn ask(stream: &mut TcpStream) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("it is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    body.trim().to_owned()
}

#[test]
fn nginx_and_haproxy_see_the_client_and_the_address_that_it_has_connected_to() {
    let site = Site::new("moorline", "");
    let nginx = "daemon off; master_process off; pid FOLDER/nginx.pid; error_log FOLDER/nginx.log;\n\
        events {}\nhttp { access_log off; client_body_temp_path FOLDER/b; proxy_temp_path FOLDER/p; \
        fastcgi_temp_path FOLDER/f; uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;\n\
        server { listen 127.0.0.1:PORT0 proxy_protocol; location / { return 200 \"$proxy_protocol_addr $proxy_protocol_port \
        $proxy_protocol_server_addr $proxy_protocol_server_port\"; } } }";
    let nginx = Outsider::start(&site, "nginx", &["-c"], nginx, 1);
    let haproxy = "defaults\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\nfrontend f\n  mode http\n  \
        bind 127.0.0.1:PORT0 accept-proxy\n  \
        http-request return status 200 content-type text/plain lf-string \"%[src] %[src_port] %[dst] %[dst_port]\"\n";
    let haproxy = Outsider::start(&site, "haproxy", &["-db", "-f"], haproxy, 1);
    for peer in [nginx.ports[0], haproxy.ports[0]] {
        let peer = SocketAddr::from(([127, 0, 0, 1], peer));
        for version in ["1", "2"] {
            let keys = format!(
                "proxy_protocol = {version}\ncheck = {{ kind = \"connect\", interval = \"100ms\" }}"
            );
            let engine = Engine::start("moorline", &config("", &keys, &[peer]));
            let mut client = connect(&engine);
            let own = client.local_addr().expect("it is connected");
            let server = engine.socket_address(0);
            let (from, to) = (own.port(), server.port());
            let expected = format!("{} {from} {} {to}", own.ip(), server.ip());
            assert_eq!(ask(&mut client), expected, "version {version} to {peer}");
        }
    }
}

#[test]
fn the_header_stands_before_everything_and_is_not_counted() {
    let peer = PeerServer::echo();
    let keys = "proxy_protocol = 1";
    let engine = Engine::start("moorline", &config("", keys, &[peer.address]));
    // Enough that it goes through a pipe.
    let bytes = vec![7; 3_000_000];
    let stream = connect(&engine);
    let own = stream.local_addr().expect("it is connected");
    let came = exchange(&stream, &bytes).expect("nothing breaks");
    let header = line(own, engine.socket_address(0));
    assert!(came.starts_with(header.as_bytes()));
    assert!(came[header.len()..] == bytes);
    eventually("the bytes are counted", || {
        engine.status().gateway.relays.bytes_up == bytes.len() as u64
    });
}

#[test]
fn a_peer_is_told_both_ends_that_a_trusted_proxy_names_and_no_others() {
    for (trusted, is_believed) in [("127.0.0.1", true), ("10.0.0.0/8", false)] {
        let (peer, received) = reader();
        let listen = format!("proxy_protocol = \"any\"\ntrusted_proxies = [\"{trusted}\"]");
        let text = config(&listen, "proxy_protocol = 1", &[peer.address]);
        let engine = Engine::start("moorline", &text);
        let client = connect(&engine);
        let own = client.local_addr().expect("it is connected");
        let announced = "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n";
        let said = [announced, "hello"].concat();
        assert_eq!(
            exchange(&client, said.as_bytes()).expect("nothing breaks"),
            b"seen"
        );
        let came = received.recv_timeout(PATIENCE).expect("the client ends");
        let header = match is_believed {
            true => announced.to_owned(),
            false => line(own, engine.socket_address(0)),
        };
        assert_eq!(String::from_utf8_lossy(&came), header + "hello");
    }
}

#[test]
fn a_client_that_ends_without_a_byte_is_announced_and_its_end_is_passed_on() {
    let (peer, received) = reader();
    let keys = "proxy_protocol = 1";
    let engine = Engine::start("moorline", &config("", keys, &[peer.address]));
    let mut client = connect(&engine);
    client.shutdown(Shutdown::Write).expect("it is open");
    let header = line(
        client.local_addr().expect("it is bound"),
        engine.socket_address(0),
    );
    let came = received.recv_timeout(PATIENCE).expect("the client ends");
    assert_eq!(String::from_utf8_lossy(&came), header);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "seen");
}

#[test]
fn each_peer_that_is_asked_gets_a_header_of_its_own() {
    let (sender, first) = mpsc::channel();
    let broken = PeerServer::new(move |mut stream| {
        let mut header = [0; 28];
        stream.read_exact(&mut header).expect("a header comes");
        let _ = sender.send(header.to_vec());
    });
    let (peer, second) = reader();
    let keys = "proxy_protocol = 2\nmax_fails = 0";
    let addresses = [broken.address, peer.address];
    let engine = Engine::start("moorline", &config("", keys, &addresses));
    let client = connect(&engine);
    let header = first.recv_timeout(PATIENCE).expect("the first is asked");
    assert_eq!(&header[..16], &[SIGNATURE, &[0x21, 0x11, 0, 12]].concat());
    // It has closed, and nothing has passed.
    eventually("the next one is asked", || peer.connections() == 1);
    let came = exchange(&client, b"hello").expect("nothing breaks");
    assert_eq!(came, b"seen");
    let whole = second.recv_timeout(PATIENCE).expect("the client ends");
    assert_eq!(whole, [&header[..], b"hello"].concat());
}

#[test]
fn a_client_on_a_unix_socket_has_no_address_and_checks_speak_for_the_engine() {
    for (version, expected) in [
        ("1", b"PROXY UNKNOWN\r\n".to_vec()),
        ("2", [SIGNATURE, &[0x20, 0, 0, 0]].concat()),
    ] {
        let (peer, received) = reader();
        let site = Site::new("moorline", "");
        let path = site.path("front.sock");
        let keys = format!(
            "proxy_protocol = {version}\ncheck = {{ kind = \"expect\", send = \"x\", expect = \"y\", interval = \"500ms\", timeout = \"50ms\", fall = 1000 }}"
        );
        let text = config("", &keys, &[peer.address]);
        site.configure(&text.replace("tcp://127.0.0.1:0", &format!("unix://{}", path.display())));
        let _engine = site.start();
        let checked = received.recv_timeout(PATIENCE).expect("it is checked");
        assert_eq!(checked, [&expected[..], b"x"].concat());
        let mut client = UnixStream::connect(&path).expect("it accepts");
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("an option");
        client.write_all(b"hello").expect("it is open");
        client.shutdown(Shutdown::Write).expect("it is open");
        let of_client = [&expected[..], b"hello"].concat();
        eventually("the client's bytes come", || {
            received.try_iter().any(|it| it == of_client)
        });
    }
}
