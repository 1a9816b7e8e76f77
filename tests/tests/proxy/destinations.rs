//! Where connections go that a text directs, and the texts that clients get in place of a peer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use moorline_tests::{
    Client, Engine, Issuer, PATIENCE, PeerServer, Site, TlsPeer, UdpPeer, Wire, exchange,
};

use super::connect;

/// A configuration whose listener goes to this destination, with these further keys and tables.
fn config(destination: &str, more: &str) -> String {
    format!(
        "[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\n{destination}\n{more}\n"
    )
}

/// All that the server says until the end.
#[track_caller]
fn said(mut stream: &TcpStream) -> String {
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("a text comes");
    said
}

#[track_caller]
fn echo(engine: &Engine, host: u8) {
    let mut client = Client::connect_from(engine, 0, Wire::Raw, [127, 0, 0, host]);
    client.send("x");
    assert_eq!(client.receive_exactly(1), b"x");
}

#[test]
fn a_client_gets_the_text_of_its_listener_and_the_end() {
    let text = "${client.address}:${client.port} ${server.address}:${server.port} ${connection.address} ${listener} ${protocol} \
        ${status} ${bytes.sent} ${upstream.name}${upstream.address} $$ ${set.twice}";
    let set = "set = { once = \"<${listener}>\", twice = \"${set.once}${set.once}\" }";
    let engine = Engine::start(
        "moorline",
        &config(&format!("return = \"{text}\"\n{set}"), ""),
    );
    let client = connect(&engine);
    let (own, server) = (client.local_addr(), client.peer_addr());
    let (own, server) = (own.expect("it is open"), server.expect("it is open"));
    let expected = format!("{own} {server} 127.0.0.1 front TCP 000 0  $ <front><front>");
    assert_eq!(said(&client), expected);
    engine.logged(&["relay closed", "reason=\"finished\""]);
}

#[test]
fn a_client_that_sends_much_gets_its_text_whole() {
    let long = "x".repeat(10_000);
    let engine = Engine::start("moorline", &config(&format!("return = \"{long}\""), ""));
    for _ in 0..20 {
        let mut client = connect(&engine);
        let _ = client.write_all(&[b'y'; 300_000]);
        let _ = client.shutdown(Shutdown::Write);
        assert_eq!(said(&client).len(), long.len());
    }
}

#[test]
fn a_client_of_tls_gets_its_text_and_the_end() {
    let issuer = Issuer::new();
    let site = Site::new("moorline", "");
    issuer.issue(&["localhost"]).write(&site, "own");
    site.configure(&config(
        "return = \"hello ${client.address}\"\ntls = { certificate = \"own.pem\", key = \"own.key\" }",
        "",
    ));
    let engine = site.start();
    let mut stream = issuer
        .trust()
        .connect(engine.socket_address(0), "localhost")
        .expect("a handshake");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("a whole text");
    assert_eq!(said, "hello 127.0.0.1");
}

#[test]
fn a_map_says_where_a_connection_goes() {
    let peers: Vec<_> = (0..5).map(|_| PeerServer::echo()).collect();
    let address = |at: usize| peers[at].address;
    let more = format!(
        "[upstream.web]\npeers = [\"tcp://{}\"]\n[map.to]\nfrom = \"${{client.address}}\"\ndefault = \"${{map.else}}\"\n\
         values = {{ \"127.0.0.2\" = \"web\", \"127.0.0.3\" = \"{}\", \"127.0.0.4\" = \"tcp://{}\", \
         \"127.0.0.5\" = \"localhost:{}\", '~^127\\.0\\.0\\.(?<last>6)$' = \"127.0.0.1:${{map.port}}\" }}\n\
         [map.port]\nfrom = \"x\"\ndefault = \"{}\"\nvalues = {{}}\n\
         [map.else]\nfrom = \"\"\nvalues = {{}}\n",
        address(0),
        address(1),
        address(2),
        address(3).port(),
        address(4).port()
    );
    let engine = Engine::start("moorline", &config("upstream = \"${map.to}\"", &more));
    for host in 2..=6 {
        echo(&engine, host);
        echo(&engine, host);
        let counts: Vec<_> = peers.iter().map(PeerServer::connections).collect();
        let expected: Vec<_> = (0..5).map(|at| if at < host - 1 { 2 } else { 0 }).collect();
        assert_eq!(counts, expected, "of host {host}");
    }
    let seen = engine.run(&["upstreams"]).expect_success().stdout;
    assert!(
        seen.contains("web") && !seen.contains("localhost"),
        "{seen}"
    );
}

#[test]
fn an_address_may_stand_in_place_of_an_upstream_and_have_the_settings_of_one() {
    let (sender, received) = channel();
    let sender = Mutex::new(sender);
    let peer = PeerServer::new(move |mut stream| {
        let mut line = String::new();
        let _ = stream.read_to_string(&mut line);
        let _ = sender.lock().expect("nothing panics").send(line);
    });
    let destination = format!(
        "upstream = \"{}\"\nupstream_like = \"settings\"",
        peer.address
    );
    let more = "[upstream.settings]\npeers = []\nproxy_protocol = 1\n";
    let engine = Engine::start("moorline", &config(&destination, more));
    let mut client = connect(&engine);
    client.write_all(b"hello").expect("it is open");
    drop(client);
    let line = received.recv().expect("a connection");
    assert!(
        line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ") && line.ends_with("hello"),
        "{line}"
    );
}

#[test]
fn a_unix_socket_is_a_destination() {
    let site = Site::new("moorline", "");
    let path = site.path("peer");
    PeerServer::unix_echo(&path);
    for written in ["unix:", "unix://"] {
        site.configure(&config(
            &format!("upstream = \"{written}{}\"", path.display()),
            "",
        ));
        let engine = site.start();
        echo(&engine, 1);
    }
}

#[test]
fn a_destination_that_does_not_exist_closes_the_connection() {
    let more = "[map.to]\nfrom = \"${client.address}\"\n\
         values = { \"127.0.0.2\" = \"web-${listener}\", \"127.0.0.3\" = \"\", \"127.0.0.4\" = \"127.0.0.1:${listener}\" }\n";
    let engine = Engine::start("moorline", &config("upstream = \"${map.to}\"", more));
    for (host, why) in [
        (
            2,
            "the destination \"web-front\" is neither an upstream nor an address",
        ),
        (3, "the destination is empty"),
        (
            4,
            "the destination \"127.0.0.1:front\" is neither an upstream nor an address",
        ),
    ] {
        let mut client = Client::connect_from(&engine, 0, Wire::Raw, [127, 0, 0, host]);
        assert_eq!(client.receive_bytes_to_end(), b"");
        engine.logged(&[
            "relay closed",
            "reason=\"misdirected\"",
            &format!("client=127.0.0.{host}"),
        ]);
        if host == 2 {
            engine.logged(&[why]);
        }
    }
}

#[test]
fn a_reload_changes_destinations_for_new_connections() {
    let (old, new) = (PeerServer::echo(), PeerServer::echo());
    let to = |peer: &PeerServer| {
        let map = format!(
            "[map.to]\nfrom = \"${{listener}}\"\nvalues = {{ front = \"{}\" }}\n",
            peer.address
        );
        config("upstream = \"${map.to}\"", &map)
    };
    let engine = Engine::start("moorline", &to(&old));
    let mut present = connect(&engine);
    let mut pass = || {
        present.write_all(b"x").expect("it is open");
        present.read_exact(&mut [0]).expect("an echo comes");
    };
    pass();
    engine.configure(&to(&new));
    engine.reload().expect_success();
    pass();
    echo(&engine, 1);
    assert_eq!((old.connections(), new.connections()), (1, 1));
}

#[test]
fn the_header_of_a_proxy_fills_texts() {
    let text = "${client.address}:${client.port} ${connection.address} ${proxy.address}:${proxy.port} \
        ${proxy.server.address}:${proxy.server.port} ${proxy.tlv.0xea} ${proxy.tlv.authority} ${proxy.tlv.ssl.verify} \
        ${proxy.tlv.ssl.cn} ${proxy.tlv.ssl.0x21}.";
    let keys =
        format!("return = \"{text}\"\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]");
    let engine = Engine::start("moorline", &config(&keys, ""));
    let begin = |header: &[u8]| {
        let mut client = connect(&engine);
        client.write_all(header).expect("it is open");
        said(&client)
    };
    let ends = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187];
    let ssl = [
        0x20, 0, 12, 1, 0, 0, 0, 7, 0x22, 0, 4, b'n', b'a', b'm', b'e',
    ];
    let fields = [&ends[..], &[0xea, 0, 2, b'v', b'1', 2, 0, 1, b'a'], &ssl].concat();
    let signature = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0";
    let header = [&signature[..], &[fields.len() as u8], &fields].concat();
    let named = "192.0.2.1:56324 127.0.0.1 192.0.2.1:56324 198.51.100.2:443";
    assert_eq!(begin(&header), format!("{named} v1 a 7 name ."));
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
    assert_eq!(begin(line), format!("{named}     ."));
    let unknown = begin(b"PROXY UNKNOWN\r\n");
    assert!(
        unknown.starts_with("127.0.0.1:") && unknown.ends_with(" 127.0.0.1 : :     ."),
        "{unknown}"
    );
}

#[test]
fn an_address_of_tls_is_a_destination_with_the_settings_of_an_upstream() {
    let issuer = Issuer::new();
    let peer = TlsPeer::echo(issuer.issue(&["localhost"]).server());
    let port = peer.address().port();
    let destination =
        format!("upstream = \"tls://localhost:{port}\"\nupstream_like = \"settings\"");
    let more =
        "[upstream.settings]\npeers = []\ntls = { ca = \"ca.pem\" }\nresolver = { ipv6 = false }\n";
    let site = Site::new("moorline", &config(&destination, more));
    site.write("ca.pem", issuer.pem());
    let engine = site.start();
    let came = exchange(&connect(&engine), b"hello").expect("nothing breaks");
    assert_eq!(came, b"hello");
}

#[test]
fn a_map_says_where_datagrams_go() {
    let peers = [UdpPeer::echo(), UdpPeer::echo()];
    let text = format!(
        "[workers]\ncount = 0\n[[listen]]\nname = \"front\"\naddress = \"udp://127.0.0.1:0\"\nupstream = \"${{map.to}}\"\n\
         [map.to]\nfrom = \"${{client.address}}\"\nvalues = {{ \"127.0.0.1\" = \"named\", \"127.0.0.2\" = \"{}\" }}\n\
         [upstream.named]\npeers = [\"udp://{}\"]\n",
        peers[1].address, peers[0].address
    );
    let engine = Engine::start("moorline", &text);
    for (at, client) in ["127.0.0.1:0", "127.0.0.2:0"].into_iter().enumerate() {
        let socket = UdpSocket::bind(client).expect("a port is free");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket
            .send_to(b"x", engine.socket_address(0))
            .expect("it is sent");
        assert_eq!(socket.recv(&mut [0; 4]).expect("an answer"), 1);
        assert_eq!(peers[at].count(), 1);
    }
    // Another one goes nowhere.
    let socket = UdpSocket::bind("127.0.0.3:0").expect("a port is free");
    socket
        .send_to(b"x", engine.socket_address(0))
        .expect("it is sent");
    engine.logged(&["datagram dropped: the destination is empty"]);
}
