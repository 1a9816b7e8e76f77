//! WebSocket clients that others wrote, against an echo and an app that speaks their subprotocols.

use moorline_tests::{Browser, Engine, eventually};

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

/// Sends texts and bytes of all sizes, four of each at once, and compares what comes back. Gives the extension and how many came.
const PAGE: &str = "(async () => {
    const socket = new WebSocket(URL);
    socket.binaryType = 'arraybuffer';
    await new Promise((open) => { socket.onopen = open; });
    const sent = [];
    let heard = 0;
    const all = new Promise((done, fail) => {
        socket.onmessage = ({ data }) => {
            const expected = sent[heard++];
            const bytes = (it) => [...new Uint8Array(it)].join();
            const same = typeof expected === 'string' ? data === expected : bytes(data) === bytes(expected);
            same ? heard === sent.length && done() : fail(new Error('another message came back'));
        };
        socket.onclose = () => fail(new Error('closed'));
    });
    for (const size of [0, 1, 125, 126, 4096, 65535, 65536, 1 << 20]) {
        const noise = new Uint8Array(size).map((_, at) => (at * 2654435761) >>> 24);
        for (let round = 0; round < 4; round++) sent.push('Grüße, 世界 '.repeat(size / 16), noise.buffer);
    }
    sent.forEach((it) => socket.send(it));
    await all;
    const closed = new Promise((close) => { socket.onclose = close; });
    socket.close(4001, 'enough');
    return [socket.extensions, heard, (await closed).code];
})()";

#[test]
fn chromium_is_echoed_with_and_without_compression() {
    let engine = Engine::start("echo", ECHO);
    let mut browser = Browser::start();
    for (listener, agreed) in ["", "permessage-deflate", "permessage-deflate"]
        .into_iter()
        .enumerate()
    {
        // A page of the same origin: all else is 404, which is a page too.
        let address = engine.socket_address(listener);
        let tab = browser.open(&format!("http://{address}/"));
        eventually("the page is there", || {
            browser.evaluate(&tab, "location.host") == address.to_string()
        });
        let said = browser.evaluate(&tab, &PAGE.replace("URL", &format!("'ws://{address}/ws'")));
        assert!(
            said[0].as_str().is_some_and(|it| it.starts_with(agreed)),
            "{said}"
        );
        assert_eq!((&said[1], &said[2]), (&64.into(), &4001.into()), "{said}");
    }
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
