//! `moorline dial` to peers that take datagrams.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{dial, dial_with, parse, start};
use moorline_tests::Finish;

/// A UDP server that answers `count` datagrams with their length and themselves.
fn server(count: usize) -> (String, JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("udp://{}", socket.local_addr().expect("it is bound"));
    let served = thread::spawn(move || {
        let mut datagram = [0; 65_536];
        for _ in 0..count {
            let (length, from) = socket.recv_from(&mut datagram).expect("it comes");
            let mut answer = format!("{length}:").into_bytes();
            answer.extend_from_slice(&datagram[..length.min(9)]);
            socket.send_to(&answer, from).expect("it is taken");
        }
    });
    (address, served)
}

#[test]
fn input_is_a_datagram_and_answers_come_out_until_there_is_silence() {
    let started = Instant::now();
    let finished =
        dial_with(b"two\nlines", &["--deadline", "500ms", &server(9).0]).expect_success();
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert_eq!(finished.stdout, "9:two\nlines");
    assert!(finished.stderr.contains(": ready in "), "{finished:#?}");
}

#[test]
fn lines_are_datagrams_if_asked_and_an_empty_one_is_one_too() {
    let arguments = ["--framing", "line", "--deadline", "500ms", &server(9).0];
    let finished = dial_with(b"two\n\nlines", &arguments).expect_success();
    assert_eq!(finished.stdout, "3:two\n0:\n5:lines\n");
}

#[test]
fn typed_input_is_sent_at_once() {
    let (address, served) = server(2);
    let (mut child, mut stdin) = start(&[&address]);
    let mut output = child.stdout.take().expect("it is piped");
    for (typed, answer) in [("ahoy\n", "5:ahoy\n"), ("a\n", "2:a\n")] {
        stdin.write_all(typed.as_bytes()).expect("it reads");
        let mut said = vec![0; answer.len()];
        output.read_exact(&mut said).expect("an answer comes");
        assert_eq!(String::from_utf8_lossy(&said), answer);
    }
    served.join().expect("the server ends");
    // Which the system tells after the next datagram.
    stdin.write_all(b"anyone?\n").expect("it reads");
    let output = child.wait_with_output().expect("a child ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refused"), "{said}");
    drop(stdin);
}

#[test]
fn a_line_that_no_datagram_holds_is_refused() {
    let mut input = vec![b'x'; 65_508];
    input.push(b'\n');
    let finished = dial_with(&input, &["--framing", "line", &server(1).0]);
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let told = "a datagram of 65508 bytes, at most 65507 pass";
    assert!(finished.stderr.contains(told), "{finished:#?}");
}

#[test]
fn machines_get_the_timeline_of_datagrams_too() {
    let address = server(1).0.replace("127.0.0.1", "localhost");
    let finished = dial(&[
        "--json",
        "--bind",
        "127.0.0.3",
        "--deadline",
        "1ms",
        &address,
    ])
    .finish()
    .expect_success();
    let timeline = parse(&finished.stdout);
    let steps = timeline["steps"].as_array().expect("a list");
    let steps: Vec<_> = steps
        .iter()
        .map(|step| (step["step"].as_str(), step["outcome"].as_str()))
        .collect();
    assert_eq!(timeline["outcome"], "ok");
    let expected = [(Some("resolve"), Some("ok")), (Some("connect"), Some("ok"))];
    assert_eq!(steps, expected, "{timeline}");
}

#[test]
fn unix_datagrams_are_answered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("echo.sock");
    let address = format!("unixgram://{}", path.display());
    let nobody = dial(&[&address]).finish();
    assert_eq!(nobody.status.code(), Some(1), "{nobody:#?}");
    assert!(
        nobody.stderr.contains("connect: No such file"),
        "{nobody:#?}"
    );

    let socket = UnixDatagram::bind(&path).expect("the folder is empty");
    let answering = thread::spawn(move || {
        let mut question = [0; 64];
        let (length, from) = socket.recv_from(&mut question).expect("a question");
        question[..length].reverse();
        socket.send_to_addr(&question[..length], &from)
    });
    let finished = dial_with(b"ahoy", &["--deadline", "500ms", &address]).expect_success();
    assert_eq!(finished.stdout, "yoha");
    answering.join().expect("it answers").expect("it is sent");
}

#[test]
fn options_that_datagrams_lack_are_refused_with_a_sentence() {
    for (arguments, told) in [
        (&["--probe"][..], "see whether an answer comes"),
        (&["--count", "3"], "see whether an answer comes"),
        (&["--framing", "length"], "a datagram is a message already"),
        (&["--via", "socks5://127.0.0.1:1"], "--via is for streams"),
        (&["--tls-insecure-fingerprint", "00"], "is for TLS"),
    ] {
        let finished = dial(&[arguments, &["udp://127.0.0.1:1"]].concat()).finish();
        assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
        assert!(finished.stderr.contains(told), "{finished:#?}");
        assert_eq!(finished.stdout, "");
    }
}
