//! The local address of connections to peers: one that is written, one of a text, and that of the client itself.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::thread;

use moorline_tests::{
    Engine, Network, PATIENCE, PeerServer, Site, UdpPeer, eventually, require_root,
};

use super::{config, connect};

/// A peer that tells each client who it is.
fn telling(address: SocketAddr) -> PeerServer {
    PeerServer::at(address, |mut stream| {
        let client = stream.peer_addr().expect("it is connected");
        let _ = stream.write_all(client.to_string().as_bytes());
    })
}

/// What the peer behind this listener says.
#[track_caller]
fn told(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("the peer speaks");
    said
}

#[test]
fn a_connection_may_choose_its_local_address() {
    let peer = telling("127.0.0.1:0".parse().expect("an address"));
    let map = "[map.own]\nfrom = \"${client.address}\"\ndefault = \"\"\n\
               values = { \"127.0.0.2\" = \"127.0.0.22\", \"127.0.0.3\" = \"nonsense\", \"127.0.0.4\" = \"127.0.0.24:18499\", \
               \"127.0.0.5\" = \"192.0.2.5\", \"127.0.0.6\" = \"::1\" }\n";
    let text = config("", "bind = \"${map.own}\"", &[peer.address]) + map;
    let engine = Engine::start("moorline", &text);
    let from = |client: &str| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        let client: SocketAddr = format!("{client}:0").parse().expect("an address");
        socket.bind(&client.into()).expect("a local address");
        let front = engine.socket_address(0).into();
        socket.connect(&front).expect("the listener accepts");
        TcpStream::from(socket)
    };
    let ip = |said: String| said.rsplit_once(':').map(|(ip, _)| ip.to_owned());
    assert_eq!(ip(told(from("127.0.0.2"))).as_deref(), Some("127.0.0.22"));
    // An empty text is the kernel's choice, and so is one that is no address.
    assert_eq!(ip(told(from("127.0.0.1"))).as_deref(), Some("127.0.0.1"));
    assert_eq!(ip(told(from("127.0.0.3"))).as_deref(), Some("127.0.0.1"));
    engine.logged(&[
        "WARN",
        "listener=front",
        "\"nonsense\", which is no IP address",
    ]);
    // The port is free again at once.
    for _ in 0..3 {
        assert_eq!(told(from("127.0.0.4")), "127.0.0.24:18499");
    }
    // The peer has no part in what is wrong with an address.
    for client in ["127.0.0.5", "127.0.0.6"] {
        thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(told(from(client)), "");
    }
    engine.logged(&[
        "WARN",
        "upstream=back",
        "192.0.2.5 is no address of this machine: others need `transparent = true`",
    ]);
    engine.logged(&["::1 is of another family than the peer"]);
    assert_eq!(ip(told(connect(&engine))).as_deref(), Some("127.0.0.1"));
}

#[test]
fn datagrams_of_a_client_may_leave_from_an_address_that_a_text_names() {
    let peer = UdpPeer::echo();
    let listen = "set = { own = \"127.0.0.33\" }";
    let text = super::udp::udp_config(listen, "bind = \"${set.own}\"", &[peer.address]);
    let engine = Engine::start("moorline", &text);
    assert_eq!(super::udp::client(&engine).ask(b"hello"), b"hello");
    let (_, from) = peer.received();
    assert_eq!(from.ip().to_string(), "127.0.0.33");
}

/// A network for the clients, one for the engine, and one for the peers, which send all that is not theirs to the engine's.
struct Networks {
    clients: Network,
    engine: Network,
    peers: Network,
}

impl Networks {
    fn new() -> Self {
        let this = Self {
            clients: Network::new("clients"),
            engine: Network::new("engine"),
            peers: Network::new("peers"),
        };
        let Self {
            clients,
            engine,
            peers,
        } = &this;
        engine.wire(
            "front",
            &["10.78.1.1/24", "fd78:1::1/64"],
            clients,
            &["10.78.1.2/24", "fd78:1::2/64"],
        );
        engine.wire(
            "back",
            &["10.78.2.1/24", "fd78:2::1/64"],
            peers,
            &["10.78.2.2/24", "fd78:2::2/64"],
        );
        peers.ip("route add default via 10.78.2.1");
        peers.ip("-6 route add default via fd78:2::1");
        // What peers send to clients is the engine's.
        for (wide, all) in [("", "0.0.0.0/0"), ("-6 ", "::/0")] {
            engine.ip(&format!("{wide}rule add iif back lookup 100"));
            engine.ip(&format!("{wide}route add local {all} dev lo table 100"));
        }
        this
    }

    fn start(&self, user: &str) -> Engine {
        let mut text = format!("[engine]\ngateway_loops = 2\n{user}[workers]\ncount = 1\n");
        for (name, own, back) in [
            ("four", "10.78.1.1", "10.78.2.2"),
            ("six", "[fd78:1::1]", "[fd78:2::2]"),
        ] {
            for kind in ["tcp", "udp"] {
                let _ = write!(
                    text,
                    "[[listen]]\nname = \"{name}-{kind}\"\naddress = \"{kind}://{own}:9000\"\nupstream = \"{name}-{kind}\"\n\
                     [upstream.{name}-{kind}]\npeers = [\"{kind}://{back}:9001\"]\n\
                     bind = {{ address = \"${{client.address}}\", transparent = true }}\n"
                );
            }
        }
        let site = Site::new("moorline", &text);
        site.try_start_by(&self.engine.script(), |_| {})
            .expect("the engine starts in its network")
    }
}

#[test]
fn peers_see_the_clients_own_address_where_bind_is_transparent() {
    let networks = Networks::new();
    for user in ["", "gateway_user = \"nobody\"\n"] {
        let engine = networks.start(user);
        for (client, front, back) in [
            ("10.78.1.2", "10.78.1.1:9000", "10.78.2.2:9001"),
            ("fd78:1::2", "[fd78:1::1]:9000", "[fd78:2::2]:9001"),
        ] {
            let back: SocketAddr = back.parse().expect("an address");
            let listening = || TcpListener::bind(back).expect("the address is free");
            let listener = networks.peers.inside(listening);
            let connecting = || TcpStream::connect(front).expect("the listener accepts");
            let mut stream = networks.clients.inside(connecting);
            let (mut peer, from) = listener.accept().expect("the gateway connects");
            assert_eq!(from.ip().to_string(), client);
            stream.write_all(b"there").expect("it is open");
            let mut came = [0; 5];
            peer.read_exact(&mut came).expect("it comes");
            peer.write_all(b"back").expect("it is open");
            drop(peer);
            assert_eq!(told(stream), "back");

            let binding = || UdpSocket::bind(back).expect("the address is free");
            let peer = networks.peers.inside(binding);
            let any = if client.contains(':') {
                "[::]:0"
            } else {
                "0.0.0.0:0"
            };
            let socket = networks
                .clients
                .inside(|| UdpSocket::bind(any).expect("a port is free"));
            for socket in [&peer, &socket] {
                socket.set_read_timeout(Some(PATIENCE)).expect("an option");
            }
            socket.send_to(b"question", front).expect("it is sent");
            let mut buffer = [0; 64];
            let (length, from) = peer.recv_from(&mut buffer).expect("it comes");
            assert_eq!(from.ip().to_string(), client);
            assert_eq!(&buffer[..length], b"question");
            peer.send_to(b"answer", from).expect("it is sent");
            let (length, from) = socket.recv_from(&mut buffer).expect("it comes");
            assert_eq!(
                (&buffer[..length], from.to_string()),
                (&b"answer"[..], front.to_owned())
            );
        }
        eventually("relays have ended", || {
            engine.status().gateway.relays.begun == 4
        });
        assert_eq!(engine.status().gateway.relays.failed, 0);
    }
}

#[test]
fn a_gateway_without_the_right_says_what_a_transparent_bind_needs() {
    require_root("rights are taken away");
    let text = "[engine]\ngateway_loops = 1\n[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\n\
                upstream = \"back\"\n[upstream.back]\npeers = [\"tcp://127.0.0.1:9\"]\n\
                bind = { address = \"192.0.2.7\", transparent = true }\n";
    let site = Site::new("moorline", text);
    let script = "exec setpriv --bounding-set -net_admin,-net_raw --inh-caps -net_admin,-net_raw \"$0\" \"$@\"";
    let engine = site
        .try_start_by(script, |_| {})
        .expect("the engine starts");
    engine.logged(&["WARN", "upstream=back", "CAP_NET_ADMIN or CAP_NET_RAW"]);
    assert_eq!(told(connect(&engine)), "");
    engine.logged(&[
        "WARN",
        "`transparent` with 192.0.2.7: the gateway needs CAP_NET_ADMIN or CAP_NET_RAW",
    ]);
}

#[test]
fn a_check_that_cannot_leave_from_its_address_says_nothing_of_the_peer() {
    let peer = PeerServer::echo();
    let keys =
        "bind = \"192.0.2.5\"\ncheck = { kind = \"connect\", interval = \"20ms\", fall = 1 }";
    let engine = Engine::start("moorline", &config("", keys, &[peer.address]));
    thread::sleep(std::time::Duration::from_millis(300));
    let said = engine.run(&["upstreams", "--json"]).expect_success().stdout;
    let seen: serde_json::Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!(seen["peers"][0]["state"], "up", "{said}");
    assert!(!engine.log().contains("peer taken out"));
}

#[test]
fn a_peer_has_no_part_in_it_if_no_port_is_left() {
    let networks = Networks::new();
    let Networks {
        engine: network, ..
    } = &networks;
    let peer = network.inside(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003").expect("root may");
        PeerServer::echo()
    });
    let text = format!(
        "[workers]\ncount = 0\n[[listen]]\nname = \"front\"\naddress = \"unix://{{folder}}/front\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [\"tcp://{}\"]\n",
        peer.address
    );
    let site = Site::new("moorline", &text);
    let engine = site
        .try_start_by(&network.script(), |_| {})
        .expect("the engine starts");
    let connect = || {
        let stream = UnixStream::connect(engine.path("front")).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream
    };
    let ask = |client: &mut UnixStream| {
        let mut came = [0; 2];
        client.write_all(b"hi").is_ok() && client.read_exact(&mut came).is_ok()
    };
    let mut held = Vec::new();
    loop {
        let mut client = connect();
        if !ask(&mut client) {
            break;
        }
        held.push(client);
        assert!(held.len() <= 4, "there are more ports than were left");
    }
    assert!(!held.is_empty());
    let said = engine.run(&["upstreams", "--json"]).expect_success().stdout;
    let seen: serde_json::Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!(seen["peers"][0]["failures"], 0, "{said}");
    assert!(held.iter_mut().all(ask), "the others go on");
}
