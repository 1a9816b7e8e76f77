//! What follows a dial: standard input to the peer, what the peer says to standard output.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use super::{dial, dial_with, server, start};
use moorline_tests::Finish;

#[test]
fn input_goes_to_the_peer_its_end_half_closes_and_the_answer_comes_out() {
    let (address, served) = server(|mut stream, _| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it half-closes");
        stream.write_all(b"you said: ").expect("it still listens");
        stream.write_all(&received).expect("it still listens");
        received.len()
    });
    // More than the buffers of both sides hold.
    let input = "ahoy\n".repeat(1 << 20);
    let finished = dial_with(input.as_bytes(), &[&address]).expect_success();
    assert_eq!(served.join().expect("the server ends"), input.len());
    assert!(
        finished.stdout == format!("you said: {input}"),
        "another answer"
    );
    let title = format!("{address}: connected in ");
    assert!(finished.stderr.starts_with(&title), "{}", finished.stderr);
}

#[test]
fn it_ends_when_the_peer_ends_though_the_input_is_open() {
    let (address, served) = server(|mut stream, _| stream.write_all(b"farewell"));
    let (mut child, stdin) = start(&[&address]);
    let mut said = String::new();
    let mut output = child.stdout.take().expect("it is piped");
    output.read_to_string(&mut said).expect("text");
    assert_eq!(said, "farewell");
    assert!(child.wait().expect("a child ends").success());
    served.join().expect("the server ends").expect("it is sent");
    drop(stdin);
}

#[test]
fn a_broken_connection_exits_with_1() {
    let (address, _served) = server(|mut stream, _| {
        stream.read_exact(&mut [0]).expect("a byte comes");
        close_by_reset(stream);
    });
    let (child, mut stdin) = start(&[&address]);
    stdin.write_all(b"x").expect("it reads");
    let output = child.wait_with_output().expect("a child ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("reset"), "{said}");
}

#[test]
fn a_closed_standard_output_is_no_failure() {
    let (address, served) = server(|mut stream, _| {
        // Until the command leaves.
        while stream.write_all(&[b'a'; 4096]).is_ok() {}
    });
    let (mut child, stdin) = start(&[&address]);
    let mut output = child.stdout.take().expect("it is piped");
    output.read_exact(&mut [0; 4096]).expect("some of it comes");
    drop(output);
    assert!(child.wait().expect("a child ends").success());
    served.join().expect("the server ends");
    drop(stdin);
}

#[test]
fn lines_are_sent_as_messages_and_messages_shown_as_lines() {
    let (address, served) = server(|mut stream, _| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it half-closes");
        // Cut where a message is not whole.
        stream.write_all(&[0, 0, 0, 2, b'n']).expect("it is taken");
        stream.flush().expect("it is taken");
        stream.write_all(&[b'o', 0, 0, 0, 0]).expect("it is taken");
        received
    });
    let finished = dial_with(b"ahoy\n\nlast", &["--framing", "length", &address]).expect_success();
    assert_eq!(finished.stdout, "no\n\n");
    assert_eq!(
        served.join().expect("the server ends"),
        b"\0\0\0\x04ahoy\0\0\0\0\0\0\0\x04last"
    );
}

#[test]
fn a_length_can_count_the_whole_message() {
    let (address, served) = server(|mut stream, _| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it half-closes");
        stream.write_all(b"\0\0\0\x06no").expect("it is taken");
        received
    });
    let framing = ["--framing", "length:counts=message", &address];
    let finished = dial_with(b"ahoy\n", &framing).expect_success();
    assert_eq!(finished.stdout, "no\n");
    assert_eq!(served.join().expect("the server ends"), b"\0\0\0\x08ahoy");
}

#[test]
fn a_malformed_answer_is_printed_with_a_guess() {
    let (address, _served) =
        server(|mut stream, _| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let finished = dial(&["--framing", "length", &address]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let told = "looks like an HTTP response";
    assert!(finished.stderr.contains(told), "{finished:#?}");
}

#[test]
fn a_message_that_is_cut_off_is_an_error() {
    let (address, _served) = server(|mut stream, _| stream.write_all(&[0, 0, 0, 9, b'n']));
    let finished = dial(&["--framing", "length", &address]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    assert!(
        finished.stderr.contains("in the middle of a message"),
        "{finished:#?}"
    );
}

#[test]
fn a_message_over_the_maximum_is_refused_before_it_is_sent() {
    let (address, served) = server(|mut stream, _| {
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        received
    });
    let finished = dial_with(b"12345678\n", &["--framing", "length:max=8B", &address]);
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    assert!(
        finished.stderr.contains("the framing allows 4"),
        "{finished:#?}"
    );
    assert_eq!(served.join().expect("the server ends"), b"");
}

#[test]
fn a_unix_socket_is_dialed_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("echo.sock");
    let listener = UnixListener::bind(&path).expect("the folder is empty");
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the command connects");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it half-closes");
        stream.write_all(&received).expect("it still listens");
    });
    let address = format!("unix://{}", path.display());
    let finished = dial_with(b"ahoy", &[&address]).expect_success();
    assert_eq!(finished.stdout, "ahoy");
    served.join().expect("the server ends");
}

#[test]
fn a_peer_that_has_said_everything_still_gets_the_input() {
    let (address, served) = server(|mut stream, _| {
        stream.write_all(b"farewell").expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("it is connected");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it half-closes");
        received.len()
    });
    // More than the buffers of both sides hold.
    let input = vec![b'x'; 16 << 20];
    let finished = dial_with(&input, &[&address]).expect_success();
    assert_eq!(finished.stdout, "farewell");
    assert_eq!(served.join().expect("the server ends"), input.len());
}

#[test]
fn input_that_the_peer_did_not_take_exits_with_1() {
    let (address, served) = server(|mut stream, _| {
        stream.read_exact(&mut [0]).expect("a byte comes");
        stream.write_all(b"too much\n").expect("it is taken");
    });
    let finished = dial_with(&vec![b'x'; 16 << 20], &[&address]);
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let told = "the peer ended before all of the input was sent";
    assert!(
        finished.stderr.contains(told) || finished.stderr.contains("reset"),
        "{finished:#?}"
    );
    served.join().expect("the server ends");
}

#[test]
fn an_unreadable_input_is_an_error() {
    let (address, _served) = server(|mut stream, _| stream.read_to_end(&mut Vec::new()));
    let folder = File::open("/").expect("there is a root");
    let finished = dial(&[&address]).stdin(folder).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let told = "standard input cannot be read: Is a directory";
    assert!(finished.stderr.contains(told), "{finished:#?}");
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
    let (address, _served) = server(|mut stream, _| stream.read_to_end(&mut Vec::new()));
    let endless = File::open("/dev/zero").expect("Linux has it");
    let finished = dial(&["--framing", "line:max=64KiB", &address])
        .stdin(endless)
        .finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    let told = "the framing allows 65536";
    assert!(finished.stderr.contains(told), "{finished:#?}");
}

/// Closes without delivering what is queued, and tells the peer at once.
fn close_by_reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))
        .expect("a socket has this option");
}
