use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use moorline::testing::Engine;

#[test]
fn a_client_stays_connected_over_a_reload() {
    let config = include_str!("../moorline.toml").replace(":7000", ":0");
    let engine = Engine::start(env!("CARGO_BIN_EXE_{{project-name}}"), &config).expect("it starts");
    let address = engine.address(0);
    let mut client = TcpStream::connect(address).expect("it is served");
    let mut answers = BufReader::new(client.try_clone().expect("a socket can be shared"));
    let mut ask = |text: &str| {
        writeln!(client, "{text}").expect("it is open");
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("it is open");
        answer
    };
    assert_eq!(ask("hello"), "HELLO\n");
    engine.reload().expect("the new code starts");
    assert_eq!(ask("again"), "AGAIN\n");
}
