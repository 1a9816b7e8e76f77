//! `http.websocket`: peers that others wrote, and Lua services with each other.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use moorline_tests::{Finish, Issuer, Site};

use super::script::{main_of, passes};
use super::serving::Serving;

/// A server whose handlers print what they get. Its words are the protocol, and `upgrade` if a web server reads the request.
pub(crate) const SERVER: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local websocket = require 'http.websocket'
    local handle = {}
    function handle.connect(id) assert(not websocket.is_close(id)) print 'connect' end
    function handle.handshake(id, header, url)
        print('handshake', url, header.host ~= nil)
        assert(websocket.addrinfo(id):find '^127%.0%.0%.1:%d+$')
        websocket.write(id, (websocket.real_ip(id) or '-') .. ' ' .. url)
    end
    function handle.message(id, text, kind)
        if text == 'close me' then
            websocket.close(id, 4002, 'as you want')
        elseif text == 'fail' then
            error 'it was asked for'
        else
            websocket.write(id, text, kind)
        end
    end
    function handle.ping(id) print 'ping' end
    function handle.pong(id) print 'pong' end
    function handle.close(id, code, reason) print('close', code, reason) end
    function handle.error(id) print 'error' end
    function handle.warning(peer, size) print('warning', peer.id, size) end
    local protocol, mode = ...
    local function accept(id, addr)
        local options
        if mode == 'upgrade' then
            socket.start(id)
            local httpd = require 'http.httpd'
            local helper = require(protocol == 'wss' and 'http.tlshelper' or 'http.sockethelper')
            local interface, read
            if protocol == 'wss' then
                local context = helper.newctx()
                context:set_cert('server.pem', 'server.key')
                local tls = helper.newtls('server', context)
                helper.init_responsefunc(id, tls)()
                interface = { read = helper.readfunc(id, tls), write = helper.writefunc(id, tls) }
            end
            read = interface and interface.read or helper.readfunc(id)
            local code, url, method, header = httpd.read_request(read, 8192)
            assert(code == 200, url)
            options = { upgrade = { header = header, method = method, url = url, interface = interface } }
        end
        local ok, err = websocket.accept(id, handle, protocol, addr, options)
        print('accepted', ok, tostring(err):match '[^\\n]*')
    end
    skynet.start(function()
        local id, _, port = socket.listen('127.0.0.1', 0)
        socket.start(id, accept)
        skynet.dispatch('lua', function() skynet.retpack(port) end)
    end)";

/// Servers of each protocol and mode, ready to be used. Their certificate is for `localhost`; `issuer.pem` has signed it.
const SERVERS: &str = "skynet.setenv('certfile', 'server.pem')
    skynet.setenv('keyfile', 'server.key')
    local ports = {}
    for i, words in ipairs { 'server ws', 'server wss', 'server ws upgrade', 'server wss upgrade' } do
        ports[i] = skynet.call(skynet.newservice(words), 'lua')
    end";

pub(crate) fn site(main: &str) -> Arc<Site> {
    let site = Site::new("moorline", "");
    let issuer = Issuer::new();
    issuer.issue(&["localhost"]).write(&site, "server");
    site.write("issuer.pem", issuer.pem());
    site.write("main.lua", main);
    site.write("server.lua", SERVER);
    site
}

fn serving(site: &Site) -> Serving {
    let main = format!(
        "local skynet = require 'skynet'\nskynet.start(function()\n{SERVERS}\nprint('ready', table.unpack(ports))\nend)"
    );
    site.write("main.lua", main);
    Serving::start(site, &["--loops", "2"])
}

fn python(arguments: &[&str]) -> Command {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/messages.py");
    // Debian's own, which has the package.
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).args(arguments);
    command
}

#[test]
fn websockets_for_python_is_served_plain_encrypted_and_behind_a_web_server() {
    let site = site("");
    let server = serving(&site);
    let roots = site.path("issuer.pem");
    let roots = roots.to_str().expect("temporary folders have plain names");
    for (port, scheme) in server.ports.iter().zip(["ws", "wss", "ws", "wss"]) {
        let url = format!("{scheme}://localhost:{port}/talk?x=1");
        let roots = if scheme == "wss" { roots } else { "-" };
        let said = python(&["client", &url, roots]).finish().expect_success();
        assert_eq!(said.stdout, "good\n");
    }
    server.says("close\t4001\tenough");
    assert!(server.said().contains("ping\n"), "{}", server.said());
    assert!(
        !server.said().contains("accepted\tfalse"),
        "{}",
        server.said()
    );
}

/// `messages.py server`, until it is dropped.
struct PythonServer(Child, String);

impl PythonServer {
    fn start(certificate: &str, key: &str) -> Self {
        let mut process = python(&["server", certificate, key])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python is installed");
        let output = process.stdout.take().expect("it is piped");
        let mut port = String::new();
        BufReader::new(output)
            .read_line(&mut port)
            .expect("it says its port");
        Self(process, port.trim().to_owned())
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn websockets_for_python_serves_a_client_plain_and_encrypted() {
    let site = site("");
    let path = |name| site.path(name).display().to_string();
    let (certificate, key, roots) = (path("server.pem"), path("server.key"), path("issuer.pem"));
    for (scheme, certificate, key) in [("ws", "-", "-"), ("wss", &certificate, &key)] {
        let server = PythonServer::start(certificate, key);
        passes(
            &format!(
                "local websocket = require 'http.websocket'
                websocket.context = require 'http.tlshelper'.newctx {{ verify = '{roots}' }}
                local id = websocket.connect('{scheme}://localhost:{}/path?x=1', {{ ['X-One'] = 'first' }}, 3000)
                assert(websocket.read(id) == '/path?x=1 first')
                for _, size in ipairs {{ 0, 1, 125, 126, 65535, 65536, 262144 }} do
                    local text = ('x'):rep(size)
                    for _, kind in ipairs {{ 'text', 'binary' }} do
                        websocket.write(id, text, kind)
                        assert(websocket.read(id) == text, size)
                    end
                    websocket.write(id, text, 'binary', 0x80402010)
                    assert(websocket.read(id) == text, size)
                end
                websocket.write(id, 'fragments')
                assert(websocket.read(id) == 'one, two, three')
                websocket.write(id, 'ping')
                assert(websocket.read(id) == 'answered')
                websocket.ping(id)
                websocket.write(id, 'close')
                local ok, payload = websocket.read(id)
                assert(ok == false and payload == string.pack('>H', 4001) .. 'enough')
                assert(websocket.is_close(id) and not pcall(websocket.read, id) and not pcall(websocket.write, id, 'x'))
                websocket.close(id)",
                server.1
            ),
            &[],
        );
    }
}

#[test]
fn services_speak_with_each_other_and_every_handler_is_called() {
    let site = site(&main_of(&format!(
        "{SERVERS}
        local websocket = require 'http.websocket'
        for i, protocol in ipairs {{ 'ws', 'wss' }} do
            local url = protocol .. '://127.0.0.1:' .. ports[i]
            local id = websocket.connect(url, {{ ['X-Real-IP'] = '192.0.2.9' }})
            assert(websocket.addrinfo(id) == nil and websocket.real_ip(id) == nil)
            assert(websocket.read(id) == '192.0.2.9 /')
            websocket.ping(id)
            -- A service written for skynet sends bytes as text.
            websocket.write(id, '\\xff\\xfe', nil, 1)
            assert(websocket.read(id) == '\\xff\\xfe')
            assert(not pcall(websocket.write, id, 'x', 'other') and not pcall(websocket.write, id, 'x', 'text', 1 << 32))
            websocket.write(id, 'close me')
            local ok, payload = websocket.read(id)
            assert(ok == false and payload == string.pack('>H', 4002) .. 'as you want')
            id = websocket.connect(url .. '?a=b')
            assert(websocket.read(id) == '- /?a=b')
            websocket.close(id, 1000, ('ä'):rep(100))
            id = websocket.connect(url)
            websocket.read(id)
            websocket.write(id, 'fail')
            assert(not pcall(websocket.read, id))
            websocket.close(id)
            id = websocket.connect(url)
            websocket.read(id)
            require 'skynet.socket'.close(id)
            websocket.close(id)
        end
        skynet.sleep(50)"
    )));
    let said = site.command(&["run", "main.lua"]).finish().expect_success();
    let count = |line: &str| {
        said.stdout
            .lines()
            .filter(|it| it.starts_with(line))
            .count()
    };
    assert_eq!(count("connect"), 8, "{said:#?}");
    assert_eq!(count("handshake\t/\ttrue"), 6, "{said:#?}");
    assert_eq!(count("handshake\t/?a=b\ttrue"), 2, "{said:#?}");
    assert_eq!(count("ping"), 2, "{said:#?}");
    let cut = format!("close\t1000\t{}", "ä".repeat(61));
    assert_eq!(count(&cut), 2, "{said:#?}");
    assert_eq!(count("close\tnil"), 2, "{said:#?}");
    assert_eq!(count("error"), 2, "{said:#?}");
    assert_eq!(count("accepted\ttrue"), 6, "{said:#?}");
    let failed = said
        .stdout
        .lines()
        .filter(|it| it.starts_with("accepted\tfalse"));
    assert!(
        failed.clone().all(|it| it.contains("it was asked for")),
        "{said:#?}"
    );
    assert_eq!(failed.count(), 2, "{said:#?}");
}

#[test]
fn a_client_says_why_it_has_no_connection() {
    passes(
        "local websocket, socket = require 'http.websocket', require 'skynet.socket'
        local listener, _, port = socket.listen('127.0.0.1', 0)
        local answer
        socket.start(listener, function(id)
            socket.start(id)
            local request = socket.readline(id, '\\r\\n\\r\\n')
            if answer and request then
                local key = request:match 'Sec%-WebSocket%-Key: ([^\\r]+)'
                socket.write(id, (answer:gsub('KEY', key)))
                if not answer:find '101' then socket.close(id) end
            end
        end)
        local url = 'ws://127.0.0.1:' .. port
        local head = 'HTTP/1.1 101 Switching Protocols\\r\\n'
        for text, why in pairs {
            ['HTTP/1.1 403 Forbidden\\r\\ncontent-length: 0\\r\\n\\r\\n'] = 'handshake error: code%[403%]',
            [head .. '\\r\\n'] = 'upgrade must websocket',
            [head .. 'upgrade: WebSocket\\r\\n\\r\\n'] = 'connection must upgrade',
            [head .. 'upgrade: websocket\\r\\nconnection: Upgrade\\r\\n\\r\\n'] = 'need Sec%-WebSocket%-Accept',
            [head .. 'upgrade: websocket\\r\\nconnection: Upgrade\\r\\nsec-websocket-accept: KEY\\r\\n\\r\\n'] = 'invalid Sec%-WebSocket%-Accept',
            ['nonsense\\r\\n\\r\\n'] = 'Invalid HTTP response',
        } do
            answer = text
            local ok, err = pcall(websocket.connect, url)
            assert(not ok and tostring(err):find(why), tostring(err))
        end
        answer = nil
        -- A server that says nothing.
        local before = skynet.now()
        local ok, err = pcall(websocket.connect, url, nil, 30)
        assert(not ok and tostring(err):find 'Socket Error' and skynet.now() - before >= 29, tostring(err))
        ok, err = pcall(websocket.connect, 'wss://127.0.0.1:' .. port, nil, 30)
        assert(not ok and tostring(err):find 'Socket Error', tostring(err))
        for url, why in pairs { ['http://a/'] = 'invalid protocol: http', ['ws://a:b/'] = 'invalid host', ['ws://127.0.0.1:1/'] = 'refused' } do
            ok, err = pcall(websocket.connect, url)
            assert(not ok and tostring(err):find(why), tostring(err))
        end
        assert(not pcall(websocket.connect, url, { Upgrade = 'other' }))
        for _, name in ipairs { 'read', 'write', 'ping', 'addrinfo', 'real_ip' } do assert(not pcall(websocket[name], 1)) end
        assert(websocket.is_close(1) and websocket.close(1) == nil)
        local ok, err = websocket.accept(12345, {})
        assert(ok == false and err == 'invalid socket', err)
        ok, err = pcall(function() return socket.netstat() end)
        -- What was opened for all of this is closed.
        for _, info in ipairs(err) do assert(info.type ~= 'TCP' or info.peer:find(port .. '$') == nil, info.peer) end",
        &[],
    );
}
