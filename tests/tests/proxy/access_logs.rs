//! Lines that relayed connections leave in logs of their own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use moorline_tests::{
    Client, Engine, Outsider, PeerServer, Site, Wire, eventually, kill, reopen_logs,
};
use nix::sys::signal::Signal;

use super::{config, connect};

/// With this log, whose path is `access.log` unless it says otherwise.
fn logged(listen: &str, log: &str, peer: SocketAddr) -> String {
    let path = match log.starts_with("path =") {
        true => "",
        false => "path = \"access.log\"\n",
    };
    let listen = format!("access_log = [\"main\"]\n{listen}");
    config(&listen, &format!("[access_log.main]\n{path}{log}"), &[peer])
}

/// A connection that sends this and gets it back.
#[track_caller]
fn exchange(engine: &Engine, bytes: &[u8]) {
    let mut client = connect(engine);
    client.write_all(bytes).expect("it is open");
    client.shutdown(Shutdown::Write).expect("it is open");
    let mut echo = Vec::new();
    client.read_to_end(&mut echo).expect("an echo comes");
    assert_eq!(echo, bytes);
}

fn lines(site: &Site, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(site.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The lines of a file once there is this number of them.
#[track_caller]
fn written(site: &Site, name: &str, count: usize) -> Vec<String> {
    eventually(&format!("{name} has {count} lines"), || {
        lines(site, name).len() >= count
    });
    lines(site, name)
}

fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// Digits of times, whatever they are.
fn without_times(line: &str) -> String {
    let words = line
        .split(' ')
        .map(|word| match word.contains('.') && !word.contains(':') {
            true => word.replace(|c: char| c.is_ascii_digit(), "9"),
            false => word.to_owned(),
        });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn lines_are_those_of_nginx_for_the_same_traffic() {
    let (peer, dead) = (PeerServer::echo(), refusing());
    let site = Site::new("moorline", "");
    let nginx = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; master_process off; pid FOLDER/nginx.pid; \
         error_log FOLDER/nginx.log;\nevents {{}}\nstream {{\n\
         log_format t '$remote_addr $protocol $status $bytes_received $bytes_sent \"$upstream_addr\" \
         $upstream_connect_time $upstream_bytes_sent $upstream_bytes_received x\"y $$session_time';\n\
         access_log FOLDER/nginx-access.log t;\n\
         upstream back {{ server {dead} max_fails=0; server {} backup; }}\nupstream dead {{ server {dead} max_fails=0; }}\n\
         server {{ listen 127.0.0.1:PORT0; proxy_pass back; }}\n\
         server {{ listen 127.0.0.1:PORT1; deny all; proxy_pass back; }}\n\
         server {{ listen 127.0.0.1:PORT2; proxy_pass dead; }}\n}}\n",
        peer.address
    )
    .replace("$$session_time", "$session_time");
    let nginx = Outsider::start(&site, "nginx", &["-c"], &nginx, 3);
    let format = "${client.address} ${protocol} ${status} ${bytes.received} ${bytes.sent} \"${upstream.address}\" \
                  ${upstream.connect_time} ${upstream.bytes_sent} ${upstream.bytes_received} x\"y ${session_time}";
    let listener = |name: &str, upstream: &str, more: &str| {
        format!(
            "[[listen]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"{upstream}\"\n\
             access_log = [\"main\"]\n{more}\n"
        )
    };
    let text = format!(
        "[workers]\ncount = 1\n{}{}{}[upstream.back]\nmax_fails = 0\npeers = [\"tcp://{dead}\", {{ address = \"tcp://{}\", backup = true }}]\n\
         [upstream.dead]\nmax_fails = 0\npeers = [\"tcp://{dead}\"]\n[access_log.main]\npath = \"ours.log\"\nformat = '{format}'\n",
        listener("relays", "back", ""),
        listener("denies", "back", "access = [{ deny = \"all\" }]"),
        listener("fails", "dead", ""),
        peer.address
    );
    site.configure(&text);
    let engine = site.start();
    let theirs = |at: usize| SocketAddr::from(([127, 0, 0, 1], nginx.ports[at]));
    let ours = |at: usize| engine.socket_address(at);
    for address in [theirs(0), ours(0)] {
        for sent in [1, 1000, 60_000] {
            let mut stream = TcpStream::connect(address).expect("it accepts");
            stream.write_all(&vec![b'x'; sent]).expect("it is open");
            stream
                .read_exact(&mut vec![0; sent])
                .expect("an echo comes");
        }
    }
    for address in [theirs(1), ours(1), theirs(2), ours(2)] {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        let _ = stream.read(&mut [0]);
    }
    written(&site, "ours.log", 5);
    let of = |name: &str| -> BTreeSet<String> {
        let lines = lines(&site, name).into_iter();
        // Without those of its start.
        let lines = lines.filter(|line| !line.contains(" 200 0 0 "));
        lines.map(|line| without_times(&line)).collect()
    };
    eventually("nginx has written its lines", || {
        of("nginx-access.log").len() == 5
    });
    assert_eq!(of("ours.log"), of("nginx-access.log"));
}

#[test]
fn every_attempt_is_told_with_its_peer_and_its_time() {
    let (peer, dead) = (PeerServer::echo(), refusing());
    let log = "fields = [\"upstream.address\", \"upstream.connect_time\", \"upstream.first_byte_time\", \"status\", \"reason\", \
               \"bytes.received\", \"client.port\", \"listener\", \"session_time\"]\n";
    let text = logged("", log, dead).replace(
        &format!("[\"tcp://{dead}\", ]"),
        &format!(
            "[\"tcp://{dead}\", {{ address = \"tcp://{}\", backup = true }}]",
            peer.address
        ),
    );
    let engine = Engine::start("moorline", &text);
    exchange(&engine, b"hello");
    let site = engine.site();
    let line = written(&site, "access.log", 1).remove(0);
    let value: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
    assert_eq!(
        value["upstream.address"],
        format!("{dead}, {}", peer.address)
    );
    let times = value["upstream.connect_time"].as_str().expect("a text");
    assert!(times.starts_with("-, 0."), "{times}");
    assert!(
        value["upstream.first_byte_time"]
            .as_str()
            .is_some_and(|it| it.starts_with("-, 0.")),
        "{line}"
    );
    assert_eq!(value["status"], 200);
    assert_eq!(value["reason"], "finished");
    assert_eq!(value["bytes.received"], 5);
    assert_eq!(value["listener"], "front");
    assert!(
        value["client.port"].is_u64() && value["session_time"].is_f64(),
        "{line}"
    );
    assert!(
        !engine.log().contains("relay closed"),
        "it has a log of its own"
    );
}

#[test]
fn refused_connections_leave_a_line_with_their_status() {
    let peer = PeerServer::echo();
    let log = "format = \"${client.address} ${status} ${reason}\"\n[limit.one]\nkey = \"${client.address}\"\n";
    let rules = "limits = [{ limit = \"one\", most = 1 }]\naccess = [{ deny = \"127.0.0.2\" }]\n";
    let engine = Engine::start("moorline", &logged(rules, log, peer.address));
    let first = |host: u8| {
        let mut client = Client::connect_from(&engine, 0, Wire::Raw, [127, 0, 0, host]);
        let is_served = client.send_bytes(b"x").is_ok() && client.try_receive_exactly(1).is_ok();
        is_served.then_some(client)
    };
    let held = first(1);
    assert!(held.is_some() && first(1).is_none() && first(2).is_none());
    let site = engine.site();
    let lines = written(&site, "access.log", 2);
    assert_eq!(lines, ["127.0.0.1 503 limited", "127.0.0.2 403 denied"]);

    let proxied = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let engine = Engine::start("moorline", &logged(proxied, log, peer.address));
    let mut wrong = connect(&engine);
    wrong
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("it is open");
    let untrusted = Client::connect_from(&engine, 0, Wire::Raw, [127, 0, 0, 3]);
    let site = engine.site();
    let lines: BTreeSet<_> = written(&site, "access.log", 2).into_iter().collect();
    assert_eq!(
        lines.into_iter().collect::<Vec<_>>(),
        ["127.0.0.1 400 unparsed", "127.0.0.3 403 denied"]
    );
    drop(untrusted);
}

#[test]
fn a_condition_decides_for_each_log_of_a_listener() {
    let peer = PeerServer::echo();
    let log = "format = \"${bytes.received}\"\n[access_log.refused]\npath = \"refused.log\"\nformat = \"${status}\"\nif = \"${upstream.address}\"\n\
               [access_log.never]\npath = \"never.log\"\nif = \"0\"\n";
    let text = logged("", log, peer.address).replace(
        "access_log = [\"main\"]",
        "access_log = [\"main\", \"refused\", \"never\"]\naccess = [{ deny = \"127.0.0.2\" }]",
    );
    let engine = Engine::start("moorline", &text);
    exchange(&engine, b"abc");
    let _ = Client::connect_from(&engine, 0, Wire::Raw, [127, 0, 0, 2]).try_receive_exactly(1);
    let site = engine.site();
    assert_eq!(written(&site, "access.log", 2), ["3", "0"]);
    assert_eq!(written(&site, "refused.log", 1), ["200"]);
    assert!(lines(&site, "never.log").is_empty());
}

#[test]
fn a_listener_without_logs_leaves_no_line() {
    let peer = PeerServer::echo();
    let text = config("access_log = []", "", &[peer.address]);
    let engine = Engine::start("moorline", &text);
    exchange(&engine, b"abc");
    eventually("it has ended", || engine.status().gateway.relays.open == 0);
    assert!(!engine.log().contains("relay closed"));
}

#[test]
fn a_buffer_is_written_when_its_time_comes_and_at_the_end() {
    let peer = PeerServer::echo();
    let log = "format = \"x\"\nbuffer = \"64KiB\"\nflush = \"300ms\"\n[access_log.late]\npath = \"late.gz\"\nformat = \"y\"\ngzip = 6\n";
    let text = logged("", log, peer.address).replace("[\"main\"]", "[\"main\", \"late\"]");
    let engine = Engine::start("moorline", &text);
    let site = engine.site();
    for _ in 0..3 {
        exchange(&engine, b"abc");
    }
    assert!(lines(&site, "access.log").len() < 3);
    assert_eq!(written(&site, "access.log", 3), ["x"; 3]);
    assert_eq!(
        std::fs::read(site.path("late.gz")).expect("it is there"),
        b""
    );
    drop(engine);
    let unpacked = Command::new("zcat").arg(site.path("late.gz")).output();
    assert_eq!(unpacked.expect("zcat runs").stdout, b"y\ny\ny\n");
}

#[test]
fn a_name_may_have_variables_and_a_new_file_is_for_its_group_at_most() {
    use std::os::unix::fs::PermissionsExt;

    let peer = PeerServer::echo();
    let log = "path = \"access-${listener}-${status}.log\"\nformat = \"${status}\"\n";
    let engine = Engine::start("moorline", &logged("", log, peer.address));
    exchange(&engine, b"abc");
    let site = engine.site();
    assert_eq!(written(&site, "access-front-200.log", 1), ["200"]);
    let metadata = std::fs::metadata(site.path("access-front-200.log")).expect("it is there");
    assert_eq!(metadata.permissions().mode() & 0o137, 0);
}

#[test]
fn a_log_that_was_moved_away_is_opened_again_by_a_signal() {
    let peer = PeerServer::echo();
    let engine = Engine::start(
        "moorline",
        &logged("", "format = \"x\"\nbuffer = \"1KiB\"\n", peer.address),
    );
    let site = engine.site();
    exchange(&engine, b"abc");
    eventually("it has ended", || engine.status().gateway.relays.open == 0);
    std::fs::rename(site.path("access.log"), site.path("access.log.1")).expect("it is there");
    reopen_logs(engine.supervisor());
    assert_eq!(written(&site, "access.log.1", 1), ["x"]);
    eventually("there is a new one", || site.path("access.log").exists());
    exchange(&engine, b"abc");
    eventually("it has ended", || engine.status().gateway.relays.open == 0);
    drop(engine);
    assert_eq!(lines(&site, "access.log"), ["x"]);
}

#[test]
fn a_full_disk_costs_lines_and_no_connection_and_is_told_once() {
    let peer = PeerServer::echo();
    let log = "path = \"/dev/full\"\nformat = \"x\"\n";
    let engine = Engine::start("moorline", &logged("", log, peer.address));
    for _ in 0..50 {
        exchange(&engine, b"abc");
    }
    let lost = || {
        let status = engine.run(&["status", "--json"]).expect_success();
        let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
        status["lost"]["access_log_lines"].as_u64()
    };
    eventually("they are counted", || lost() == Some(50));
    let told = engine
        .log()
        .matches("the access log cannot be written")
        .count();
    assert_eq!(told, 1);
}

#[test]
fn a_reload_changes_what_lines_say_and_where_they_go() {
    let peer = PeerServer::echo();
    let engine = Engine::start(
        "moorline",
        &logged("", "format = \"x\"\nbuffer = \"1KiB\"\n", peer.address),
    );
    let site = engine.site();
    exchange(&engine, b"abc");
    eventually("it has ended", || engine.status().gateway.relays.open == 0);
    site.configure(&logged(
        "",
        "path = \"other.log\"\nformat = \"y\"\n",
        peer.address,
    ));
    engine.reload().expect_success();
    assert_eq!(written(&site, "access.log", 1), ["x"]);
    exchange(&engine, b"abc");
    assert_eq!(written(&site, "other.log", 1), ["y"]);
}

#[test]
fn lines_go_to_the_standard_streams_of_the_engine() {
    let peer = PeerServer::echo();
    let log = "path = \"stdout\"\nformat = \"to stdout ${status}\"\n[access_log.errors]\npath = \"stderr\"\nformat = \"to stderr ${status}\"\n";
    let text = logged("", log, peer.address).replace("[\"main\"]", "[\"main\", \"errors\"]");
    let site = Site::new("moorline", &text);
    let script = "mkfifo pipe && { tee out < pipe & } && exec \"$0\" \"$@\" > pipe";
    let engine = site.try_start_by(script, |_| {}).expect("it starts");
    exchange(&engine, b"abc");
    eventually("a line comes", || {
        lines(&site, "out").contains(&"to stdout 200".to_owned())
    });
    engine.logged(&["to stderr 200"]);
}

#[test]
fn a_gateway_that_is_replaced_logs_on() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &logged("", "format = \"x\"\n", peer.address));
    exchange(&engine, b"abc");
    let site = engine.site();
    written(&site, "access.log", 1);
    let gateways = engine.processes();
    let gateway = gateways.iter().find(|it| it.title.contains("gateway"));
    kill(gateway.expect("there is one").pid, Signal::SIGKILL);
    eventually("another one serves", || {
        TcpStream::connect(engine.socket_address(0)).is_ok_and(|mut client| {
            let _ = client.set_read_timeout(Some(Duration::from_secs(1)));
            client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok()
        })
    });
    written(&site, "access.log", 2);
}

#[test]
fn sessions_of_datagrams_leave_a_line_too() {
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = peer.local_addr().expect("it is bound");
    let rules = "requests = 1\nresponses = 1\naccess = [{ deny = \"127.0.0.2\" }]\n";
    let log = "format = \"${client.address} ${protocol} ${status} ${bytes.received} ${bytes.sent} ${upstream.address} ${reason}\"\n";
    let text = logged(rules, log, address).replace("tcp://", "udp://");
    let engine = Engine::start("moorline", &text);
    let listener = engine.socket_address(0);
    let denied = std::net::UdpSocket::bind("127.0.0.2:0").expect("a port is free");
    denied.send_to(b"no", listener).expect("it is sent");
    let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    client.send_to(b"hello", listener).expect("it is sent");
    let mut datagram = [0; 16];
    let (bytes, from) = peer.recv_from(&mut datagram).expect("it comes");
    peer.send_to(&datagram[..bytes - 1], from)
        .expect("it is sent");
    client.recv_from(&mut datagram).expect("an answer comes");
    let site = engine.site();
    assert_eq!(
        written(&site, "access.log", 2),
        [
            "127.0.0.2 UDP 403 0 0 - denied".to_owned(),
            format!("127.0.0.1 UDP 200 5 4 {address} finished"),
        ]
    );
}

#[test]
fn a_line_says_what_limits_say_of_a_connection() {
    let peer = PeerServer::echo();
    let rule = |most: &str| format!("limits = [{{ limit = \"one\", {most} }}]\n");
    let listener = |name: &str, rules: &str| {
        format!(
            "[[listen]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\naccess_log = [\"main\"]\n{rules}"
        )
    };
    let text = format!(
        "[workers]\ncount = 1\n{}{}{}{}[upstream.back]\npeers = [\"tcp://{}\"]\n[limit.one]\nkey = \"${{client.address}}\"\n\
         [access_log.main]\npath = \"access.log\"\nformat = \"${{listener}}:${{limit.status}}\"\n",
        listener("holds", &rule("most = 1")),
        listener("refuses", &rule("most = 1")),
        listener("tells", &rule("most = 1, dry_run = true")),
        listener("none", ""),
        peer.address
    );
    let engine = Engine::start("moorline", &text);
    let site = engine.site();
    let ask = |at: usize| {
        let mut client = TcpStream::connect(engine.socket_address(at)).expect("it accepts");
        let _ = client.write_all(b"x");
        let _ = client.read(&mut [0]);
        client
    };
    let held = ask(0);
    for (at, line) in [
        (1, "refuses:REJECTED"),
        (2, "tells:REJECTED_DRY_RUN"),
        (3, "none:-"),
    ] {
        drop(ask(at));
        assert_eq!(written(&site, "access.log", at)[at - 1], line);
    }
    drop(held);
    assert_eq!(written(&site, "access.log", 4)[3], "holds:PASSED");
}

#[test]
fn behind_a_proxy_a_line_has_the_client_and_the_proxy() {
    let peer = PeerServer::echo();
    let rules = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\naccess = [{ deny = \"192.0.2.8\" }]\n";
    let log = "format = \"${client.address}:${client.port} by ${connection.address} ${status}\"\n";
    let engine = Engine::start("moorline", &logged(rules, log, peer.address));
    let site = engine.site();
    for (at, (client, line)) in [
        ("192.0.2.7", "192.0.2.7:4711 by 127.0.0.1 200"),
        ("192.0.2.8", "192.0.2.8:4711 by 127.0.0.1 403"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut proxy = connect(&engine);
        let header = format!("PROXY TCP4 {client} 198.51.100.1 4711 443\r\nx");
        proxy.write_all(header.as_bytes()).expect("it is open");
        let _ = proxy.read(&mut [0]);
        drop(proxy);
        assert_eq!(written(&site, "access.log", at + 1)[at], line);
    }
}
