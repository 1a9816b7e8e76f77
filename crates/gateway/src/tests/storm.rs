//! Many connections that begin at once.

use super::script::{Script, config};
use super::web::WebProtocol;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::ToProcess;

const WEB: &str = "[workers]\ncount = 1\n[[listen]]\naddress = \"http://127.0.0.1:1001\"\nwebsocket = \"/\"\norigins = \"any\"\n";

#[test]
fn a_session_is_heard_between_the_first_requests_of_many_connections() {
    let mut script = Script::serving(config(WEB), 1);
    for (_, process) in script.gateway.tools.processes.iter_mut() {
        process.is_asked = false;
    }
    let mut open = [script.connect_web(0, WebProtocol::WebSocket)];
    script.settle(&mut open);
    let mut clients: Vec<_> = (0..200)
        .map(|_| script.connect_web(0, WebProtocol::WebSocket))
        .collect();
    for client in &mut clients {
        client.send(usize::MAX);
    }
    open[0].say(10);
    open[0].send(usize::MAX);
    let mut turns = 0;
    while script.processes[0].has_taken(ToProcess::Message) == 0 {
        script.turn();
        script.now += 1;
        script.processes[0].take(usize::MAX);
        turns += 1;
        assert!(turns < 5, "the session waits for the others");
    }
    let begun = script.count(LoopCounter::Accepted);
    assert!(begun < 100, "{begun} connections had begun by then");
    script.settle(&mut clients);
    assert_eq!(script.count(LoopCounter::Accepted), 201);
}
