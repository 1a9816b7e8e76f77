//! `http.httpd` and `http.httpc`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::script::passes;

/// A web server of the usual shape: its agents read requests and answer with what they have understood.
const WEB: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local httpd = require 'http.httpd'
    local sockethelper = require 'http.sockethelper'
    local function respond(id, write, ...)
        local ok, err = httpd.write_response(write, ...)
        if not ok then skynet.error(('fd = %d, %s'):format(id, err)) end
    end
    local function serve(id)
        socket.start(id)
        local write = sockethelper.writefunc(id)
        local code, url, method, header, body = httpd.read_request(sockethelper.readfunc(id), 8192)
        if not code then
            if url ~= sockethelper.socket_error then skynet.error(url) end
        elseif code ~= 200 then
            respond(id, write, code)
        elseif url == '/pieces' then
            local n = 0
            respond(id, write, 200, function() n = n + 1 return n <= 3 and 'piece ' .. n or nil end, { trailer = 'none' })
        elseif url == '/rest' then
            socket.write(id, 'HTTP/1.1 200 OK\\r\\n\\r\\nall the ')
            skynet.sleep(1)
            socket.write(id, 'rest')
        elseif url == '/slow' then
            skynet.sleep(100)
        elseif url == '/empty' then
            respond(id, write, 204)
        else
            respond(id, write, 200, table.concat({ method, url, header['x-one'] or '', body }, '|'), { ['X-Own'] = { 'a', 'b' } })
        end
        socket.close(id)
    end
    skynet.start(function()
        local id, _, port = socket.listen('127.0.0.1', 0)
        socket.start(id, function(new) skynet.fork(serve, new) end)
        skynet.dispatch('lua', function() skynet.retpack(port) end)
    end)";

#[test]
fn a_client_asks_a_server_in_every_way() {
    passes(
        "local httpc = require 'http.httpc'
        local host = '127.0.0.1:' .. skynet.call(skynet.newservice 'web', 'lua')
        local fields = {}
        local code, body = httpc.get('http://' .. host, '/x?y=1', fields, { ['x-one'] = 'first' })
        assert(code == 200 and body == 'GET|/x?y=1|first|', body)
        assert(fields['x-own'][2] == 'b' and fields['content-length'] == '17')
        code, body = httpc.post(host, '/form', { key = 'a value&' })
        assert(body == 'POST|/form||key=a%20value%26', body)
        code, body = httpc.request('PUT', host, '/put', nil, { ['transfer-encoding'] = 'chunked' }, '3\\r\\nabc\\r\\n2;x=y\\r\\nde\\r\\n0\\r\\n\\r\\n')
        assert(body == 'PUT|/put||abcde', body)
        code, body = httpc.get(host, '/pieces')
        assert(code == 200 and body == 'piece 1piece 2piece 3')
        code, body = httpc.get(host, '/rest')
        assert(body == 'all the rest')
        code, body = httpc.get(host, '/empty')
        assert(code == 204 and body == '' and httpc.head(host, '/x') == 200)
        for url, expected in pairs { ['/pieces'] = 'piece 1,piece 2,piece 3', ['/rest'] = 'all the ,rest', ['/x'] = 'GET|/x||', ['/empty'] = '' } do
            local parts, stream = {}, httpc.request_stream('GET', host, url)
            assert(stream.status == 200 or url == '/empty')
            for part in stream do parts[#parts + 1] = part end
            assert(table.concat(parts, ',') == expected and not stream.connected, url .. table.concat(parts, ','))
            stream:close()
        end
        httpc.timeout = 10
        local ok, err = pcall(httpc.get, host, '/slow')
        assert(not ok and tostring(err):find 'Socket Error', err)
        httpc.timeout = nil
        assert(not pcall(httpc.get, 'ftp://' .. host, '/') and not pcall(httpc.get, '127.0.0.1:1', '/'))
        assert(not pcall(httpc.get, host, '/a\\r\\nx: y'))",
        &[("web.lua", WEB)],
    );
}

/// Requests, and the status of the answer.
const REQUESTS: &[(&str, &str)] = &[
    ("GET / HTTP/2.5\r\n\r\n", "505"),
    ("nonsense\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nno field\r\n\r\n", "400"),
    ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", "400"),
    (
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "400",
    ),
    (
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", "501"),
    (
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n",
        "413",
    ),
    (
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "413",
    ),
    ("POST / HTTP/1.1\r\ncontent-length: 99999\r\n\r\n", "413"),
    ("GET / HTTP/1.1\r\n\r\n", "200"),
];

#[test]
fn requests_that_are_none_are_answered_so_and_harm_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let report = listener.local_addr().expect("it is bound").port();
    let asking = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("the script connects");
            let mut port = String::new();
            let mut digits = [0; 5];
            stream.read_exact(&mut digits).expect("it says its port");
            port.push_str(&String::from_utf8_lossy(&digits));
            let port: u16 = port.parse().expect("it is a number");
            let ask = |request: &str, expected: &str| {
                let mut peer = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                peer.write_all(request.as_bytes()).expect("it is sent");
                let mut answer = String::new();
                let _ = peer.read_to_string(&mut answer);
                let status = answer.split(' ').nth(1).unwrap_or_default();
                assert_eq!(status, expected, "{request:?}: {answer:?}");
            };
            for (request, expected) in REQUESTS {
                ask(request, expected);
            }
            ask(
                &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)),
                "413",
            );
            let mut peer = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            peer.write_all(b"GET / HT").expect("it is sent");
            drop(peer);
            stream.write_all(b"done").expect("the script waits");
        }
    });
    let body = format!(
        "local socket = require 'skynet.socket'
        local port = skynet.call(skynet.newservice 'web', 'lua')
        local rust = assert(socket.open('127.0.0.1', {report}))
        socket.write(rust, ('%05d'):format(port))
        assert(socket.read(rust, 4) == 'done')"
    );
    passes(&body, &[("web.lua", WEB)]);
    asking.join().expect("all were answered as expected");
}
