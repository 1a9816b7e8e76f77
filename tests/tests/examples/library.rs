//! The examples of the library do what their first lines say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread;

use moorline_tests::{Finish, Finished, TlsServer};

/// An example's executable with these arguments and no input.
fn example(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(moorline_tests::built(name));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// An example that serves until it is dropped.
struct Server {
    process: Child,
    /// What it has printed first: where it listens.
    address: String,
}

impl Server {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut process = example(name, arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let output = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let address = lines
            .next()
            .and_then(Result::ok)
            .expect("it says where it listens");
        // Read on, so that it never writes into a closed pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { process, address }
    }

    /// It answers each line with the line.
    fn tiny() -> Self {
        Self::start("tiny_server", &["tcp://127.0.0.1:0"])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn dial_tells_its_steps() {
    let server = Server::tiny();
    let finished = example("dial", &[&server.address])
        .finish()
        .expect_success();
    for words in ["connect 127.0.0.1:", ": ok after ", "connected to tcp://"] {
        assert!(finished.stdout.contains(words), "{words:?}: {finished:#?}");
    }
    drop(server);
    example("dial", &["tcp://127.0.0.1:1"])
        .finish()
        .expect_refusal(&["refused"]);
}

#[test]
fn client_sends_lines_and_prints_answers() {
    let server = Server::tiny();
    let mut client = example("client", &[&server.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was built");
    let mut input = client.stdin.take().expect("it is piped");
    let mut output = BufReader::new(client.stdout.take().expect("it is piped"));
    input.write_all(b"ahoy\n").expect("it reads");
    let mut line = String::new();
    output.read_line(&mut line).expect("text");
    assert_eq!(line, "ahoy\n");
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "");
    assert!(client.wait().expect("a child ends").success());
}

#[test]
fn pool_makes_its_requests_over_few_connections() {
    let server = Server::tiny();
    let finished = example("pool", &[&server.address])
        .finish()
        .expect_success();
    assert!(
        finished.stdout.starts_with("100 answers; "),
        "{finished:#?}"
    );
}

#[test]
fn blocking_asks_and_prints_the_answer() {
    let server = Server::tiny();
    let finished = ask(&server.address);
    assert_eq!(finished.stdout, "all's well\n");
}

#[test]
fn relay_joins_two_streams() {
    let server = Server::tiny();
    let relay = Server::start("relay", &["127.0.0.1:0", &server.address]);
    let finished = ask(&format!("tcp://{}", relay.address));
    assert_eq!(finished.stdout, "all's well\n");
}

#[test]
fn datagram_asks_and_prints_the_answer() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("udp://{}", socket.local_addr().expect("it is bound"));
    let answering = thread::spawn(move || {
        let mut question = [0; 64];
        let (length, from) = socket.recv_from(&mut question).expect("a question");
        question[..length].reverse();
        socket.send_to(&question[..length], from)
    });
    let finished = example("datagram", &[&address, "ahoy"])
        .finish()
        .expect_success();
    assert_eq!(finished.stdout, "yoha\n");
    answering.join().expect("it answers").expect("it is sent");
    example("datagram", &["udp://127.0.0.1:1"])
        .finish()
        .expect_refusal(&["refused"]);
}

#[test]
fn tls_pin_accepts_the_server_of_this_fingerprint_alone() {
    let server = TlsServer::start();
    // For a name: of the pinned certificate too the host is verified.
    let address = server.address.replace("127.0.0.1", "localhost");
    let told = example("tls_pin", &[&address]).finish();
    assert!(!told.status.success(), "{told:#?}");
    let expected = format!("the server's fingerprint is {}\n", server.fingerprint);
    assert_eq!(told.stdout, expected);

    let finished = example("tls_pin", &[&address, &server.fingerprint])
        .finish()
        .expect_success();
    assert!(
        finished.stdout.starts_with("TLS 1.3 with TLS_"),
        "{finished:#?}"
    );
    example("tls_pin", &[&server.address, &server.fingerprint])
        .finish()
        .expect_refusal(&["WrongHost"]);
}

fn ask(address: &str) -> Finished {
    example("blocking", &[address, "all's well"])
        .finish()
        .expect_success()
}
