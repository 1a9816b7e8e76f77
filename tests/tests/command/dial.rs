//! `moorline dial`: the waterfall, its JSON form, exit codes, and the pipe behind it.

mod datagrams;
mod pipe;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use moorline_tests::{Finish, Finished, TlsServer};
use serde_json::{Value, json};

/// `moorline dial` with these arguments and no input.
fn dial(arguments: &[&str]) -> Command {
    let mut command = Command::new(moorline_tests::built("moorline"));
    command.arg("dial").args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end with this input.
fn dial_with(input: &[u8], arguments: &[&str]) -> Finished {
    let (mut child, mut stdin) = start(arguments);
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A command that has ended already reads no more.
        let _ = stdin.write_all(&input);
    });
    let mut finished = Finished {
        status: Default::default(),
        stdout: String::new(),
        stderr: String::new(),
    };
    let mut said = child.stdout.take().expect("it is piped");
    said.read_to_string(&mut finished.stdout).expect("text");
    let mut said = child.stderr.take().expect("it is piped");
    said.read_to_string(&mut finished.stderr).expect("text");
    finished.status = child.wait().expect("a child can be waited for");
    writer.join().expect("the writer only writes");
    finished
}

/// Starts it with an input that stays open.
fn start(arguments: &[&str]) -> (Child, ChildStdin) {
    let mut child = dial(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command was built");
    let stdin = child.stdin.take().expect("it is piped");
    (child, stdin)
}

/// A server for one connection, and its address.
fn server<T: Send + 'static>(
    serve: impl FnOnce(TcpStream, SocketAddr) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = tcp(&listener);
    let served = thread::spawn(move || {
        let (stream, peer) = listener.accept().expect("the command connects");
        serve(stream, peer)
    });
    (address, served)
}

fn tcp(listener: &TcpListener) -> String {
    format!("tcp://{}", listener.local_addr().expect("it is bound"))
}

/// An address where nobody listens: it was ours a moment ago.
fn refusing() -> String {
    tcp(&TcpListener::bind("127.0.0.1:0").expect("a port is free"))
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line:?}"))
}

#[test]
fn a_probe_shows_the_waterfall_and_closes() {
    let (address, served) = server(|mut stream, _| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it closes");
        received
    });
    let finished = dial(&["--probe", &address]).finish().expect_success();
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{finished:#?}");
    assert!(
        lines[0].starts_with(&format!("{address}: connected in ")),
        "{finished:#?}"
    );
    let socket = address.trim_start_matches("tcp://");
    for words in ["connect", socket, "█", "ok"] {
        assert!(lines[1].contains(words), "{words:?}: {finished:#?}");
    }
    assert!(lines[1].chars().count() <= 80, "{finished:#?}");
    assert_eq!(served.join().expect("the server ends"), b"");
}

#[test]
fn machines_get_one_line_of_json() {
    let (address, _served) = server(|_, _| ());
    let finished = dial(&["--json", "--probe", &address])
        .finish()
        .expect_success();
    let timeline = parse(&finished.stdout);
    let step = &timeline["steps"][0];
    assert_eq!(
        timeline,
        json!({
            "outcome": "ok",
            "total_ms": timeline["total_ms"],
            "steps": [{
                "step": "connect",
                "address": address.trim_start_matches("tcp://"),
                "start_ms": step["start_ms"],
                "ms": step["ms"],
                "outcome": "ok",
                "errno": null,
            }],
        })
    );
    let took = step["start_ms"].as_f64().unwrap() + step["ms"].as_f64().unwrap();
    assert!(took <= timeline["total_ms"].as_f64().unwrap(), "{timeline}");
}

#[test]
fn a_refused_connection_is_printed_with_its_errno_and_exits_with_1() {
    let address = refusing();
    let finished = dial(&["--json", &address]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let timeline = parse(&finished.stdout);
    assert_eq!(timeline["steps"][0]["errno"], 111, "{timeline}");
    assert_ne!(timeline["outcome"], "ok", "{timeline}");
    assert!(finished.stderr.contains(&address), "{finished:#?}");
    assert!(finished.stderr.contains("refused"), "{finished:#?}");

    let finished = dial(&[&address]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let title = format!("{address}: not connected after ");
    assert!(finished.stderr.contains(&title), "{finished:#?}");
    assert_eq!(finished.stdout, "");
}

#[test]
fn wrong_arguments_exit_with_2() {
    for arguments in [
        &[][..],
        &["nowhere"],
        &["tcp://127.0.0.1"],
        &["gopher://127.0.0.1:70"],
        &["tcp://127.0.0.1:1", "--deadline", "5"],
        &["tcp://127.0.0.1:1", "--deadline", "0s"],
        &["tcp://127.0.0.1:1", "--framing", "line", "--count", "2"],
        &["tcp://127.0.0.1:1", "--framing", "line", "--probe"],
        &["tls://127.0.0.1:1", "--tls-insecure-fingerprint", "00"],
        // A zone is an interface, and a label of a name has at most 63 letters.
        &["tcp://[fe80::1%nowhere]:1"],
        &[&format!("tcp://{}.io:1", "a".repeat(64))],
        &["tcp://127.0.0.1:1", "--framing", "letters"],
        &["tcp://127.0.0.1:1", "--framing", "length:width=3"],
        &["tcp://127.0.0.1:1", "--via", "ftp://127.0.0.1:2"],
        &["tcp://127.0.0.1:1", "--bind", "lo"],
        &["tcp://127.0.0.1:1", "--count", "0"],
        &["tcp://127.0.0.1:1", "--tls-insecure-fingerprint", "00"],
        &["tcp://127.0.0.1:1", "--speed", "high"],
        &["kcp://127.0.0.1:1"],
    ] {
        let finished = dial(arguments).finish();
        assert_eq!(
            finished.status.code(),
            Some(2),
            "{arguments:?}: {finished:#?}"
        );
        assert_ne!(finished.stderr, "", "{arguments:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_proxys_password_is_not_repeated() {
    let via = "socks5://ada:secret@127.0.0.1";
    let finished = dial(&["--via", via, "tcp://127.0.0.1:1"]).finish();
    assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
    assert!(
        finished.stderr.contains("--via: it has no port"),
        "{finished:#?}"
    );
    assert!(!finished.stderr.contains("secret"), "{finished:#?}");
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let proxy = refusing();
    let via = proxy.replace("tcp://", "http://");
    let finished = dial(&["--via", &via, "tcp://behind.it.io:80"]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let named = format!("that is the proxy, {}", proxy.trim_start_matches("tcp://"));
    assert!(finished.stderr.contains(&named), "{finished:#?}");
}

#[test]
fn a_local_address_that_is_not_ours_is_named() {
    // For documentation, so that no machine has it (RFC 5737).
    let finished = dial(&["--bind", "192.0.2.1", &refusing()]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let question = "is 192.0.2.1 one?";
    assert!(finished.stderr.contains(question), "{finished:#?}");
}

#[test]
fn a_full_output_is_an_error() {
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux has it")
    };
    let told = "standard output cannot be written: No space left";
    let address = refusing();
    for arguments in [
        &["--probe", &address][..],
        &["--json", &address],
        &["--count", "2", &address],
    ] {
        let mut command = dial(arguments);
        let output = command.stdout(full()).output().expect("it was built");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
    // Nobody is left to be told: still no crash.
    let mut command = dial(&[&address]);
    let status = command.stderr(full()).status().expect("it was built");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn json_comes_before_the_peers_output() {
    let (address, _served) = server(|mut stream, _| stream.write_all(b"welcome\n"));
    let finished = dial(&["--json", &address]).finish().expect_success();
    let (first, rest) = finished.stdout.split_once('\n').expect("two lines");
    assert_eq!(parse(first)["outcome"], "ok");
    assert_eq!(rest, "welcome\n");
    assert_eq!(finished.stderr, "");
}

#[test]
fn many_dials_are_summed_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = tcp(&listener);
    thread::spawn(move || for _ in listener.incoming() {});
    let finished = dial(&["--count", "20", "--json", &address])
        .finish()
        .expect_success();
    let summary = parse(&finished.stdout);
    let times = |of: &Value| {
        let mut rising = ["min", "p50", "p90", "p99", "max"].map(|name| of[name].as_f64().unwrap());
        let before = rising;
        rising.sort_by(f64::total_cmp);
        assert_eq!(before, rising);
        of.clone()
    };
    assert_eq!(
        summary,
        json!({
            "address": address,
            "dials": 20,
            "connected": 20,
            "failed": 0,
            "total_ms": times(&summary["total_ms"]),
            "steps": { "connect": times(&summary["steps"]["connect"]) },
            "causes": {},
        })
    );
    let finished = dial(&["--count", "3", &address]).finish().expect_success();
    for words in ["3 connected, 0 failed", "p99", "connect", "total"] {
        assert!(finished.stdout.contains(words), "{words:?}: {finished:#?}");
    }
}

#[test]
fn dials_that_fail_are_counted_by_cause() {
    let address = refusing();
    let finished = dial(&["--count", "5", "--json", &address]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let summary = parse(&finished.stdout);
    let causes = summary["causes"].as_object().expect("a table");
    assert_eq!(summary["failed"], 5, "{summary}");
    assert_eq!(summary["total_ms"], Value::Null, "{summary}");
    assert_eq!(
        causes.values().collect::<Vec<_>>(),
        [&json!(5)],
        "{summary}"
    );
    assert!(finished.stderr.contains("5 of 5 dials"), "{finished:#?}");
}

#[test]
fn ctrl_c_ends_the_dials_and_sums_up_those_until_then() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    // Nobody shakes hands, so that the first dial lasts.
    let address = tcp(&listener).replace("tcp://", "tls://");
    let (child, _stdin) = start(&["--count", "9", "--deadline", "1m", &address]);
    let _connected = listener.accept().expect("the command connects");
    interrupt(&child);
    let output = child.wait_with_output().expect("a child ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stopped before a dial to tls://"), "{said}");
    let summary = String::from_utf8_lossy(&output.stdout);
    assert!(summary.contains("0 connected, 0 failed"), "{summary}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let (child, _stdin) = start(&["--count", "4000000000", "--json", &tcp(&listener)]);
    let _connected = listener.accept().expect("the command connects");
    // The second begins when the first is summed up.
    let _connected = listener.accept().expect("the command connects");
    thread::spawn(move || for _ in listener.incoming() {});
    interrupt(&child);
    let output = child.wait_with_output().expect("a child ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary = parse(&String::from_utf8_lossy(&output.stdout));
    assert_ne!(summary["connected"], 0, "{summary}");
}

fn interrupt(child: &Child) {
    let process = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("it is there");
}

#[test]
fn a_name_is_resolved_first() {
    let (address, _served) = server(|_, _| ());
    let address = address.replace("127.0.0.1", "localhost");
    let finished = dial(&["--json", "--probe", &address])
        .finish()
        .expect_success();
    let steps = parse(&finished.stdout)["steps"].clone();
    let steps = steps.as_array().expect("a list");
    assert_eq!(steps[0]["step"], "resolve", "{steps:?}");
    assert_eq!(steps[0]["address"], "localhost", "{steps:?}");
    let connected = steps.last().expect("there are some");
    assert_eq!(connected["step"], "connect", "{steps:?}");
    assert_eq!(connected["outcome"], "ok", "{steps:?}");
}

#[test]
fn the_zone_of_an_ipv6_address_is_an_interface() {
    let listener = TcpListener::bind("[::1]:0").expect("the machine has IPv6 on its loopback");
    let port = listener.local_addr().expect("it is bound").port();
    let finished = dial(&["--json", "--probe", &format!("tcp://[::1%lo]:{port}")])
        .finish()
        .expect_success();
    let timeline = parse(&finished.stdout);
    assert_eq!(timeline["steps"][0]["address"], format!("[::1%1]:{port}"));
}

#[test]
fn a_server_that_never_shakes_hands_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = tcp(&listener).replace("tcp://", "tls://");
    let finished = dial(&["--json", "--deadline", "300ms", &address]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let timeline = parse(&finished.stdout);
    let outcomes: Vec<_> = timeline["steps"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|step| (step["step"].as_str(), step["outcome"].as_str()))
        .collect();
    // Reading the trusted roots, before anything is connected, is a step too.
    let expected = [("connect", "ok"), ("tls", "timed out")];
    let expected = expected.map(|(step, outcome)| (Some(step), Some(outcome)));
    assert!(outcomes.ends_with(&expected), "{timeline}");
    assert_eq!(timeline["outcome"], "timed out");
    let total = timeline["total_ms"].as_f64().expect("a number");
    assert!((300.0..5000.0).contains(&total), "{timeline}");
}

#[test]
fn the_local_address_is_bound() {
    let (address, served) = server(|_, peer| peer.ip().to_string());
    dial(&["--probe", "--bind", "127.0.0.7", &address])
        .finish()
        .expect_success();
    assert_eq!(served.join().expect("the server ends"), "127.0.0.7");
}

#[test]
fn a_proxy_is_gone_through() {
    let (proxy, served) = server(|mut stream, _| {
        // RFC 1928: one method, none needed; connect to a name.
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).expect("a greeting");
        stream.write_all(&[5, 0]).expect("it listens");
        let mut request = [0; 4 + 1 + 12 + 2];
        stream.read_exact(&mut request).expect("a request");
        stream
            .write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80])
            .expect("it listens");
        stream
            .write_all(b"from behind the proxy")
            .expect("it listens");
        request
    });
    let via = proxy.replace("tcp://", "socks5://");
    let finished = dial(&["--json", "--via", &via, "tcp://behind.it.io:80"])
        .finish()
        .expect_success();
    let (first, rest) = finished.stdout.split_once('\n').expect("two lines");
    assert_eq!(rest, "from behind the proxy");
    let timeline = parse(first);
    let steps = timeline["steps"].as_array().expect("a list");
    let kinds: Vec<_> = steps.iter().map(|step| step["step"].as_str()).collect();
    assert_eq!(kinds, [Some("connect"), Some("proxy")], "{timeline}");
    let request = served.join().expect("the server ends");
    assert_eq!(&request[..5], [5, 1, 0, 3, 12]);
    assert_eq!(&request[5..], b"behind.it.io\0\x50");
}

#[test]
fn a_self_signed_server_is_refused_unless_its_fingerprint_is_given() {
    let server = TlsServer::start();
    let address = server.address.as_str();
    let finished = dial(&["--json", address]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let steps = parse(&finished.stdout)["steps"].clone();
    let last = steps.as_array().and_then(|steps| steps.last());
    assert_eq!(last.map(|step| step["step"].clone()), Some(json!("tls")));

    let remedy = "--tls-insecure-fingerprint takes";
    assert!(finished.stderr.contains(remedy), "{finished:#?}");

    let wrong = "00".repeat(32);
    let finished = dial(&["--tls-insecure-fingerprint", &wrong, address]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    assert!(
        finished.stderr.contains(&server.fingerprint),
        "{finished:#?}"
    );

    let right = ["--tls-insecure-fingerprint", &server.fingerprint, address];
    let finished = dial(&[&["--probe"], &right[..]].concat())
        .finish()
        .expect_success();
    for words in ["tls", "TLS 1.3", "localhost", &server.fingerprint] {
        assert!(finished.stdout.contains(words), "{words:?}: {finished:#?}");
    }
    // It answers each line with the line reversed, and ends after this one.
    let finished = dial_with(b"ahoy\nCLOSE\n", &right).expect_success();
    assert!(finished.stdout.starts_with("yoha\n"), "{finished:#?}");
}
