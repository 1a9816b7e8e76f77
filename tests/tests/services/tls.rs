//! `ltls.c` and `http.tlshelper`: HTTPS with peers that others wrote, and TLS without sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use moorline_tests::{Finish, Issuer, Site, TlsServer};

use super::script::{main_of, passes};
use super::serving::Serving;

/// A web server of the usual shape. Its clients' certificates are verified by the file in its second word.
const WEB: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local httpd = require 'http.httpd'
    local tls = require 'http.tlshelper'
    local port, roots = ...
    local context
    local function interface(id)
        if not context then
            context = tls.newctx { verify = roots or false }
            context:set_cert('server.pem', 'server.key')
            context:set_ciphers 'HIGH'
        end
        local it = tls.newtls('server', context)
        return {
            init = tls.init_responsefunc(id, it), close = tls.closefunc(it), read = tls.readfunc(id, it), write = tls.writefunc(id, it),
        }
    end
    local function serve(id)
        socket.start(id)
        local it = interface(id)
        local ok, err = pcall(function()
            it.init()
            local code, url, method, header, body = httpd.read_request(it.read, 1 << 20)
            if code == 200 and url == '/large' then body = ('x'):rep(1 << 20) end
            local ok, err = httpd.write_response(it.write, code, method and table.concat({ method, url, body }, '|'))
            if not ok then print('not written', err) end
        end)
        if not ok then print('failed', tostring(err):match '[^\\n]*') end
        socket.close(id)
        it.close()
    end
    skynet.start(function()
        local id, _, port = socket.listen('127.0.0.1', tonumber(port))
        socket.start(id, function(new) skynet.fork(serve, new) end)
        skynet.dispatch('lua', function() skynet.retpack(port) end)
    end)";

/// A site with certificates for `localhost`, and their issuers' in `issuer.pem` and `other.pem`.
fn site() -> std::sync::Arc<Site> {
    let site = Site::new("moorline", "");
    let issuer = Issuer::new();
    issuer.issue(&["localhost"]).write(&site, "server");
    issuer.issue(&["a client"]).write(&site, "client");
    site.write("issuer.pem", issuer.pem());
    let other = Issuer::new();
    other.issue(&["another"]).write(&site, "unknown");
    site.write("other.pem", other.pem());
    site.write("web.lua", WEB);
    site
}

#[track_caller]
fn runs(site: &Site, body: &str) -> String {
    site.write("main.lua", main_of(body));
    site.command(&["run", "main.lua"])
        .finish()
        .expect_success()
        .stdout
}

#[test]
fn a_client_asks_openssl_with_and_without_verification() {
    let server = TlsServer::start_web();
    let port = server.address.rsplit(':').next().expect("there is a port");
    let roots = server.certificate().display().to_string();
    passes(
        &format!(
            "local httpc, tls = require 'http.httpc', require 'http.tlshelper'
            httpc.timeout = 2000
            local host = 'https://localhost:{port}'
            local function ask(host, context)
                httpc.context = context
                local ok, code, body = pcall(httpc.get, host, '/')
                assert(not ok or code == 200 and body:find 'Ciphers supported', body)
                return ok and '' or tostring(code)
            end
            assert(ask(host) == '' and ask(host) == '')
            local verified = tls.newctx {{ verify = '{roots}' }}
            -- The second handshake is resumed.
            assert(ask(host, verified) == '' and ask(host, verified) == '')
            local why = ask('https://127.0.0.1:{port}', verified)
            assert(why:find 'SSL_do_handshake error' and why:find '127.0.0.1', why)
            why = ask(host, tls.newctx {{ verify = true }})
            assert(why:find 'SSL_do_handshake error', why)
            why = ask(host, tls.newctx {{ verify = '/no/such/file' }})
            assert(why:find '/no/such/file', why)
            skynet.setenv('tls_verify', 'true')
            assert(ask(host):find 'SSL_do_handshake error')
            assert(ask(host, tls.newctx {{ verify = false }}) == '')
            local stream = httpc.request_stream('GET', host, '/')
            local count = 0
            for piece in stream do count = count + #piece end
            assert(count > 100 and not pcall(tls.newctx, {{ verify = 1 }}))"
        ),
        &[],
    );
}

#[test]
fn curl_asks_a_server_of_every_size_and_version() {
    let site = site();
    site.write(
        "main.lua",
        "local skynet = require 'skynet'
        skynet.start(function()
            local open = skynet.call(skynet.newservice('web', 0), 'lua')
            local closed = skynet.call(skynet.newservice('web', 0, 'issuer.pem'), 'lua')
            print('ready', open, closed)
        end)",
    );
    let server = Serving::start(&site, &["--loops", "2"]);
    let curl = |port: u16, arguments: &[&str]| {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--cacert", "issuer.pem", "--max-time", "30"])
            .args(arguments)
            .arg(format!("https://localhost:{port}/x"))
            .current_dir(site.path(""));
        command.finish()
    };
    let (open, closed) = (server.ports[0], server.ports[1]);
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        assert_eq!(curl(open, version).expect_success().stdout, "GET|/x|");
    }
    let body = "y".repeat(700_000);
    site.write("body", &body);
    let posted = curl(open, &["--data-binary", "@body"]).expect_success();
    assert_eq!(posted.stdout, format!("POST|/x|{body}"));
    let shown = ["--cert", "client.pem", "--key", "client.key"];
    assert_eq!(curl(closed, &shown).expect_success().stdout, "GET|/x|");
    for refused in [&[][..], &["--cert", "unknown.pem", "--key", "unknown.key"]] {
        assert!(!curl(closed, refused).status.success());
    }
    server.says("the client has no certificate");
    server.says("no trusted issuer has signed the client's certificate");
    // What is no TLS is told so, and one that leaves is nobody's trouble.
    let mut peer = TcpStream::connect(("127.0.0.1", open)).expect("it listens");
    peer.write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("it is sent");
    let mut alert = Vec::new();
    let _ = peer.read_to_end(&mut alert);
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:x?}");
    server.says("what came is no TLS");
    drop(TcpStream::connect(("127.0.0.1", open)).expect("it listens"));
    server.says("[Socket Error] read failed");
    assert_eq!(curl(open, &[]).expect_success().stdout, "GET|/x|");
}

#[test]
fn the_end_that_comes_with_the_last_bytes_is_an_end() {
    let site = site();
    let said = runs(
        &site,
        "local socket, tls = require 'skynet.socket', require 'http.tlshelper'
        local context = tls.newctx()
        context:set_cert('server.pem', 'server.key')
        local listener, _, port = socket.listen('127.0.0.1', 0)
        local kept
        socket.start(listener, function(id)
            kept = id
            socket.start(id)
            local it = tls.newtls('server', context)
            tls.init_responsefunc(id, it)()
            -- The connection stays open.
            socket.write(id, it:write 'the last' .. it:close())
        end)
        for _, how in ipairs { 'readfunc', 'readallfunc' } do
            local id = socket.open('127.0.0.1', port)
            local it = tls.newtls('client', tls.newctx(), 'localhost')
            tls.init_requestfunc(id, it)()
            local read = tls[how](id, it)
            assert(read() == 'the last')
            local ok, err = pcall(read)
            assert(how == 'readallfunc' and err == '' or not ok and err == require 'http.sockethelper'.socket_error)
            assert(not socket.disconnected(id) and not socket.invalid(kept))
            socket.close(id)
        end
        print 'done'",
    );
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_service_asks_another_one_and_shows_its_certificate() {
    let site = site();
    let said = runs(
        &site,
        "local httpc, tls = require 'http.httpc', require 'http.tlshelper'
        local port = skynet.call(skynet.newservice('web', 0, 'issuer.pem'), 'lua')
        local host = 'https://localhost:' .. port
        httpc.context = tls.newctx { verify = 'issuer.pem' }
        httpc.context:set_cert('client.pem', 'client.key')
        local code, body = httpc.get(host, '/large')
        assert(code == 200 and #body == (1 << 20) + 11)
        httpc.context = tls.newctx()
        assert(not pcall(httpc.get, host, '/'))
        httpc.context:set_cert('unknown.pem', 'unknown.key')
        assert(not pcall(httpc.get, host, '/'))
        httpc.context = tls.newctx { verify = 'other.pem' }
        local ok, err = pcall(httpc.get, host, '/')
        assert(not ok and tostring(err):find 'SSL_do_handshake error', tostring(err))
        print 'done'",
    );
    assert!(said.ends_with("done\n"), "{said}");
}

/// Two sides in one script.
const MEMORY: &str = "local c = require 'ltls.c'
    local function pair(client, server, name)
        local a, b = c.newtls('client', client, name), c.newtls('server', server)
        local text = a:handshake()
        while not (a:finished() and b:finished()) do
            if not b:finished() then text = b:handshake(text) else b:read(text) text = b:write() end
            if not a:finished() then text = a:handshake(text) else break end
        end
        return a, b, text
    end
    local function fails(why, f, ...)
        local ok, err = pcall(f, ...)
        assert(not ok and tostring(err):find(why, 1, true), tostring(err))
    end
    local server = c.newctx()
    server:set_cert('server.pem', 'server.key')";

#[test]
fn tls_without_sockets_carries_bytes_of_every_length_however_they_are_cut() {
    let site = site();
    let said = runs(
        &site,
        &format!(
            "{MEMORY}
            local a, b, last = pair(c.newctx(), server, 'localhost')
            assert(a:finished())
            if not b:finished() then last = b:handshake(last) end
            a:read(last)
            for _, size in ipairs {{ 1, 16384, 16385, 1 << 20 }} do
                local text = ('z'):rep(size)
                assert(b:read(a:write(text)) == text)
                local sealed, got = b:write(text), {{}}
                -- Cut anywhere, also in the head of a record.
                for i = 1, #sealed, 4099 do got[#got + 1] = a:read(sealed:sub(i, i + 4098)) end
                assert(table.concat(got) == text)
            end
            assert(a:read '' == '' and a:write() == '' and a:write '' == '')
            fails('handshake is finished', a.handshake, a)
            fails('the handshake has begun', a.set_ext_host_name, a, 'x')
            local text, is_over = b:read(a:close())
            assert(text == '' and is_over == true and a:close() == nil)
            for _, name in ipairs {{ 'handshake', 'finished', 'read', 'write' }} do fails('context is closed', a[name], a) end
            b:close()
            -- Damaged records end a connection.
            a, b = pair(c.newctx(), server)
            local sealed = a:write 'text'
            fails('SSL_read error', b.read, b, sealed:sub(1, -2) .. string.char((sealed:byte(-1) + 1) % 256))
            print 'done'"
        ),
    );
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn wrong_calls_of_tls_say_what_is_wrong() {
    let site = site();
    let said = runs(
        &site,
        &format!(
            "{MEMORY}
            fails('need sslctx', c.newtls, 'client', io.stdout)
            fails('invalid method:other', c.newtls, 'other', server)
            fails('need certfile', server.set_cert, server)
            fails('need private key', server.set_cert, server, 'server.pem')
            fails('none.pem', server.set_cert, server, 'none.pem', 'server.key')
            fails('client.key', server.set_cert, server, 'server.pem', 'client.key')
            fails('need cipher list', server.set_ciphers, server)
            server:set_ciphers 'ECDHE+AESGCM'
            local bare = c.newtls('server', c.newctx())
            fails('call set_cert', bare.handshake, bare, 'x')
            local early = c.newtls('client', c.newctx())
            early:set_ext_host_name 'localhost'
            fails('SSL_write error', early.write, early, 'x')
            fails('SSL_read error', early.read, early, 'x')
            assert(not early:finished())
            early:handshake()
            fails('SSL_write error', early.write, early, 'x')
            fails('SSL_do_handshake error', early.handshake, early, 'HTTP/1.1 400 Bad Request\\r\\n\\r\\n')
            assert(#early:write() > 0 and not early:finished())
            fails('SSL_do_handshake error', early.handshake, early, 'x')
            -- A name is needed to verify a server.
            local nameless = c.newtls('client', c.newctx {{ verify = 'issuer.pem' }})
            fails('no name', nameless.handshake, nameless)
            assert(pair(c.newctx {{ verify = 'issuer.pem' }}, server, 'localhost'):finished())
            fails('SSL_do_handshake error', pair, c.newctx {{ verify = 'issuer.pem' }}, server, 'other')
            local init = require 'ltls.init.c'
            init.constructor() init.destructor()
            print 'done'"
        ),
    );
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn openssl_changes_its_keys_and_sends_with_its_last_flight() {
    let site = site();
    site.write(
        "main.lua",
        "local skynet = require 'skynet'
        local socket, tls = require 'skynet.socket', require 'http.tlshelper'
        skynet.start(function()
            local context = tls.newctx()
            context:set_cert('server.pem', 'server.key')
            local id, _, port = socket.listen('127.0.0.1', 0)
            socket.start(id, function(new)
                socket.start(new)
                local it = tls.newtls('server', context)
                tls.init_responsefunc(new, it)()
                local read, write, text = tls.readfunc(new, it), tls.writefunc(new, it), ''
                while not text:find 'end' do
                    local more = read()
                    text = text .. more
                    write(more)
                end
                socket.close(new)
            end)
            print('ready', port)
        end)",
    );
    let server = Serving::start(&site, &[]);
    let mut client = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "exec openssl s_client -tls1_3 -CAfile issuer.pem -verify_return_error -servername localhost -connect 127.0.0.1:{} 2>&1",
            server.ports[0]
        ))
        .current_dir(site.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut input = client.stdin.take().expect("it is piped");
    let mut output = client.stdout.take().expect("it is piped");
    let mut said = String::new();
    let mut wait_for = |words: &str| {
        let mut bytes = [0; 4096];
        while !said.contains(words) {
            let count = output.read(&mut bytes).expect("it says something");
            assert!(count > 0, "{words} is not said: {said}");
            said += &String::from_utf8_lossy(&bytes[..count]);
        }
        said.clear();
    };
    // `K` asks for new keys of both sides.
    for (line, answer) in [
        ("first\n", "first\n"),
        ("K\n", "KEYUPDATE"),
        ("second\n", "second\n"),
        ("k\n", "KEYUPDATE"),
        ("the end\n", "the end\n"),
    ] {
        input.write_all(line.as_bytes()).expect("it reads");
        wait_for(answer);
    }
    drop(input);
    client.wait().expect("it ends");
}
