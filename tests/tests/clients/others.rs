//! WebSocket clients that others wrote, against an echo and an app that speaks their subprotocols.

use moorline_tests::{Engine, eventually};

use crate::run;

/// Plain; compressed; compressed with contexts.
const ECHO: &str = r#"
[workers]
count = 2
[[listen]]
name = "plain"
address = "http://127.0.0.1:0"
websocket = "/ws"
max_message = "2MiB"
[[listen]]
name = "compressed"
address = "http://127.0.0.1:0"
websocket = "/ws"
max_message = "2MiB"
compression = {}
[[listen]]
name = "with contexts"
address = "http://127.0.0.1:0"
websocket = "/ws"
max_message = "2MiB"
compression = { server_context_takeover = true, client_context_takeover = true, min_message = "1B" }
"#;

/// Runs a client against each listener, and looks at what the engine counts.
fn echoes(program: &str, script: &str) {
    let engine = Engine::start("echo", ECHO);
    for (listener, agreed) in ["", "permessage-deflate", "permessage-deflate"]
        .into_iter()
        .enumerate()
    {
        let url = format!("ws://{}/ws", engine.socket_address(listener));
        let said = run(program, script, &[&url, agreed]).stdout;
        assert_eq!(said.trim(), "7 offers");
    }
    eventually("all are closed by their clients", || {
        let state = engine.status();
        state.gateway.sessions == 0 && state.closed("peer") == 3 * 7
    });
}

#[test]
fn ws_for_node_is_echoed_with_and_without_compression() {
    echoes("node", "ws.mjs");
}

#[test]
fn websockets_for_python_is_echoed_with_and_without_compression() {
    // Debian's own, which has the package.
    echoes("/usr/bin/python3", "peer.py");
}

const DIALECTS: &str = r#"
[workers]
count = 1
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
subprotocols = ["mqtt", "graphql-transport-ws"]
"#;

#[test]
fn mqtt_js_publishes_and_subscribes() {
    let engine = Engine::start("dialects", DIALECTS);
    let url = format!("ws://{}/ws", engine.socket_address(0));
    let said = run("node", "mqtt.mjs", &[&url]).stdout;
    assert_eq!(said.trim(), "published");
}

#[test]
fn graphql_ws_subscribes() {
    let engine = Engine::start("dialects", DIALECTS);
    let url = format!("ws://{}/ws", engine.socket_address(0));
    let said = run("node", "graphql.mjs", &[&url]).stdout;
    assert_eq!(said.trim(), "subscribed");
}
