//! `http.websocket` in workers: the WebSockets are sessions of the gateway, and stay over reloads and crashes.

use std::sync::Arc;

use moorline_tests::{Client, Engine, Site, eventually};
use nix::sys::signal::Signal;

const CONFIG: &str = r#"
[workers]
count = 1
lua = "main.lua"
[[listen]]
address = "http://127.0.0.1:0"
websocket = "/chat"
"#;

/// A server as skynet has them: the one that listens, and agents that accept.
const MAIN: &str = "local skynet, socket = require 'skynet', require 'skynet.socket'
    skynet.start(function()
        local agents = { skynet.newservice 'agent', skynet.newservice 'agent' }
        local id, turn = socket.listen('127.0.0.1', 0), 0
        socket.start(id, function(fd, addr)
            turn = turn % #agents + 1
            skynet.send(agents[turn], 'lua', fd, 'ws', addr)
        end)
    end)";

const AGENT: &str = "local skynet, websocket = require 'skynet', require 'http.websocket'
    local handle = {}
    function handle.connect(id) print('connect', id) end
    function handle.handshake(id, header, url)
        print('handshake', url, header['user-agent'], websocket.addrinfo(id):match '^127.0.0.1:' and 'local')
        assert(not websocket.is_close(id))
    end
    function handle.message(id, text, kind)
        if text == 'close' then return websocket.close(id, 4001, 'as told') end
        if text == 'ping' then return websocket.ping(id) end
        websocket.write(id, ('%s %d %s'):format(kind, #text, text:sub(1, 20)), kind)
    end
    function handle.ping(id) print('ping', id) end
    function handle.pong(id) websocket.write(id, 'pong') end
    function handle.close(id, code, reason) print('close', code, reason) end
    function handle.error(id) print('error', id) end
    skynet.start(function()
        skynet.dispatch('lua', function(_, _, id, protocol, addr)
            skynet.ignoreret()
            local ok, why = websocket.accept(id, handle, protocol, addr)
            if not ok then print('not accepted', why) end
        end)
    end)";

fn site() -> Arc<Site> {
    let site = Site::new("moorline", "");
    site.write("main.lua", MAIN);
    site.write("agent.lua", AGENT);
    site.configure(CONFIG);
    site
}

fn connect(engine: &Engine) -> Client {
    let headers = "User-Agent: tester\r\n";
    let connected = Client::connect_websocket(engine, 0, "/chat", headers);
    connected.expect("a session").0
}

#[test]
fn websockets_of_agents_stay_while_their_scripts_are_edited_and_their_worker_is_killed() {
    let engine = site().start();
    let mut clients = [(); 4].map(|()| connect(&engine));
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "binary 5 hello");
        assert_eq!(client.ask("ping"), "pong");
        assert_eq!(
            client.ask("x".repeat(100_000)),
            format!("binary 100000 {}", "x".repeat(20))
        );
    }
    engine.logged(&["handshake", "/chat", "tester", "local"]);
    engine
        .site()
        .write("agent.lua", AGENT.replace("%s %d %s", "%s has %d %s"));
    engine.reload().expect_success();
    for client in &mut clients {
        client.send("a");
        client.send("b");
        assert_eq!(client.receive(), b"binary has 1 a");
        assert_eq!(client.receive(), b"binary has 1 b");
    }
    eventually("nothing is in progress", || {
        engine.worker(0).in_progress == 0
    });
    engine.kill_worker(0, Signal::SIGKILL);
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "binary has 5 hello");
    }
    let [first, second, ..] = &mut clients;
    first.send("close");
    let (opcode, payload) = first.receive_frame();
    assert_eq!(
        (opcode & 0x0f, &payload[..2], &payload[2..]),
        (8, &4001_u16.to_be_bytes()[..], &b"as told"[..])
    );
    let farewell = [&4002_u16.to_be_bytes()[..], b"bye"].concat();
    second
        .send_bytes(&masked(0x88, &farewell))
        .expect("it is open");
    engine.logged(&["close", "4002", "bye"]);
    assert!(!engine.site().log().contains("not accepted"));
}

#[test]
fn a_text_is_a_text_and_one_that_vanishes_is_an_error() {
    let engine = site().start();
    let mut client = connect(&engine);
    client
        .send_bytes(&masked(0x81, "grün".as_bytes()))
        .expect("it is open");
    let (opcode, payload) = client.receive_frame();
    assert_eq!(
        (opcode & 0x0f, payload),
        (1, "text 5 grün".as_bytes().to_vec())
    );
    client.reset();
    engine.logged(&["error"]);
    assert_eq!(connect(&engine).ask("on"), "binary 2 on");
}

/// A client's frame.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let size = u8::try_from(payload.len()).expect("a small one");
    [&[first, 0x80 | size, 0, 0, 0, 0][..], payload].concat()
}
