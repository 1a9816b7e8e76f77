//! The limit of a service's memory: what counts, and what is held of the system.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::script::{passes, service};

/// Keeps a value of each chunk of the allocator, by sizes: the values are few, and what lies around them is not free for others.
const SPARSE: &str = "local function held()
        local file <close> = assert(io.open '/proc/self/statm')
        return tonumber((file:read 'a'):match '%d+ (%d+)') * 4096
    end
    function C.sparse(_, _, limit)
        skynet.memlimit(limit)
        local before, most, kept = held(), 0, {}
        for size = 2000, 24, -104 do
            local all, text = {}, ('x'):rep(size - 60)
            local ok, why = pcall(function()
                for i = 1, limit // size * 3 // 4 do all[i] = text .. i .. ':' .. size end
            end)
            assert(ok or tostring(why):find 'not enough memory', why)
            most = math.max(most, held() - before)
            pcall(function() for i = 1, #all, 32768 // size do kept[#kept + 1] = all[i] end end)
            all = nil
            collectgarbage()
            most = math.max(most, held() - before)
        end
        skynet.retpack(most, #kept)
    end";

#[test]
fn a_service_that_keeps_few_values_everywhere_holds_no_more_than_is_said() {
    let bad = service(SPARSE);
    passes(
        "local limit = 24 << 20
        local held, kept = skynet.call(skynet.newservice 'bad', 'lua', 'sparse', limit)
        assert(kept > 5000, kept)
        -- Twice the limit and 32 MiB.
        assert(held < 2 * limit + (32 << 20), held)",
        &[("bad.lua", &bad)],
    );
}

/// A script whose values are far below its limit goes on, however they lie.
#[test]
fn a_service_gets_values_up_to_its_limit_where_others_lie_scattered() {
    let good = service(
        "function C.scatter(_, _, limit)
            skynet.memlimit(limit)
            local kept = {}
            for _, size in ipairs { 1500, 200, 60, 700, 1900, 100, 1000 } do
                local all, text = {}, ('x'):rep(size - 50)
                for i = 1, limit // (size + 100) * 6 // 10 do all[i] = text .. i .. ':' .. size end
                for i = 1, #all, 32768 // size do kept[#kept + 1] = all[i] end
            end
            skynet.retpack(#kept)
        end",
    );
    passes(
        "local kept = skynet.call(skynet.newservice 'good', 'lua', 'scatter', 24 << 20)
        assert(kept > 2000, kept)",
        &[("good.lua", &good)],
    );
}

#[test]
fn documents_of_bson_that_a_script_keeps_are_within_its_limit() {
    let bad = service(
        "local bson = require 'bson'
        local text = ('x'):rep(1 << 20)
        function C.keep(_, _, limit)
            skynet.memlimit(limit)
            local kept = {}
            local ok, why = pcall(function()
                for i = 1, 1000 do kept[i] = bson.encode { text = text, i = i } end
            end)
            local count = #kept
            kept = nil
            -- What is not kept makes room.
            for i = 1, 300 do bson.encode { text = text, i = i } end
            local indexed = pcall(function()
                local all = {}
                for i = 1, 100000 do all[i] = bson.encode({ i = i, j = 1.5, k = true }):makeindex() end
            end)
            skynet.retpack(ok, tostring(why), count, indexed)
        end",
    );
    passes(
        "local ok, why, count, indexed = skynet.call(skynet.newservice 'bad', 'lua', 'keep', 24 << 20)
        assert(not ok and why:find 'bad.lua:%d+: not enough memory', why)
        assert(count > 10 and count < 24, count)
        assert(not indexed)",
        &[("bad.lua", &bad)],
    );
}

/// What scripts of other modules keep in memory of Rust's.
#[test]
fn buffers_messages_schemas_and_timers_that_a_script_keeps_are_within_its_limit() {
    let bad = service(
        "local driver, core = require 'skynet.socketdriver', require 'moorline.core'
        local text = ('x'):rep(1 << 20)
        local parser, sproto = require 'sprotoparser', require 'sproto.core'
        local bundle = parser.parse(('.t%d { a 0 : integer b 1 : string } '):rep(1):gsub('%%d', '1'))
        local tls = require 'http.tlshelper'
        local context = tls.newctx()
        local kept = {}
        local acts = {
            function(i) kept[i] = { driver.str2p(text) } end,
            function(i) kept[1] = kept[1] or driver.buffer() driver.push(kept[1], {}, text, #text) end,
            function(i) kept[i] = sproto.newproto(bundle) end,
            function(i) kept[i] = tls.newtls('client', context, 'localhost') end,
            function(i) skynet.killthread(skynet.timeout(1000000, print)) end,
            function(i) kept[1] = kept[1] or core.websocket_reader(1 << 30) core.websocket_next(kept[1], i == 1 and '\\x82\\x7f\\0\\0\\0\\0\\0\\3\\xff\\xff' or ('x'):rep(1000)) end,
        }
        function C.keep(_, _, n)
            core.memlimit(24 << 20)
            local ok, why = pcall(function() for i = 1, 1000000 do acts[n](i) end end)
            core.memlimit(0)
            skynet.retpack(ok, tostring(why))
        end",
    );
    passes(
        "for n = 1, 6 do
            local ok, why = skynet.call(skynet.newservice 'bad', 'lua', 'keep', n)
            assert(not ok and why:find 'not enough memory', n .. why)
        end",
        &[("bad.lua", &bad)],
    );
}

/// A server that sends to everyone without an end, and tells how much has left.
fn sender(head: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                if !head.is_empty() {
                    let _ = stream.read(&mut [0; 4096]);
                }
                let _ = stream.write_all(head);
                let bytes = vec![b'x'; 1 << 16];
                while stream.write_all(&bytes).is_ok() {}
            });
        }
    });
    port
}

#[test]
fn sockets_that_nobody_reads_hold_no_more_than_the_limit_and_go_on_when_they_are_read() {
    let port = sender(b"");
    let bad = service(
        "local socket = require 'skynet.socket'
        local function held()
            local file <close> = assert(io.open '/proc/self/statm')
            return tonumber((file:read 'a'):match '%d+ (%d+)') * 4096
        end
        function C.open(_, _, port)
            skynet.memlimit(4 << 20)
            local before, ids = held(), {}
            for i = 1, 300 do ids[i] = assert(socket.open('127.0.0.1', port)) end
            skynet.sleep(50)
            local now = held() - before
            -- Each goes on.
            for i = 1, 300 do
                local count = 0
                while count < 200000 do count = count + #assert(socket.read(ids[i])) end
                socket.close(ids[i])
            end
            skynet.retpack(now)
        end",
    );
    passes(
        &format!(
            "local held = skynet.call(skynet.newservice 'bad', 'lua', 'open', {port})
            assert(held < 24 << 20, held)"
        ),
        &[("bad.lua", &bad)],
    );
}

#[test]
fn a_reader_of_more_than_the_limit_is_told_so() {
    let port = sender(b"");
    let bad = service(
        "local socket = require 'skynet.socket'
        skynet.memlimit(8 << 20)
        function C.read(_, _, port, size)
            local id = assert(socket.open('127.0.0.1', port))
            local data, rest, why = socket.read(id, size)
            skynet.retpack(data, rest, why, socket.disconnected(id))
            socket.close(id)
        end
        function C.line(_, _, port)
            local id = assert(socket.open('127.0.0.1', port))
            local data, rest, why = socket.readline(id, 'end')
            skynet.retpack(data, rest, why)
            socket.close(id)
        end
        function C.all(_, _, port)
            local id = assert(socket.open('127.0.0.1', port))
            skynet.retpack(socket.readall(id))
            socket.close(id)
        end",
    );
    passes(
        &format!(
            "local bad = skynet.newservice 'bad'
            local data, rest, why, is_over = skynet.call(bad, 'lua', 'read', {port}, 1 << 30)
            assert(data == false and rest == '' and why == 'not enough memory to receive 1073741824 bytes' and is_over, why)
            local _, _, why = skynet.call(bad, 'lua', 'line', {port})
            assert(why:find '^not enough memory: %d+ bytes were received and not read$', why)
            local data, why = skynet.call(bad, 'lua', 'all', {port})
            assert(data == false and why:find '^not enough memory', why)
            local data = skynet.call(bad, 'lua', 'read', {port}, 1 << 20)
            assert(#data == 1 << 20)"
        ),
        &[("bad.lua", &bad)],
    );
}

#[test]
fn a_body_over_the_limit_is_an_error_that_says_so() {
    let long = sender(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n");
    let endless = sender(b"HTTP/1.1 200 OK\r\n\r\n");
    let chunks = sender(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n");
    let bad = service(
        "local httpc = require 'http.httpc'
        skynet.memlimit(8 << 20)
        function C.get(_, _, port)
            local ok, why = pcall(httpc.get, '127.0.0.1:' .. port, '/')
            skynet.retpack(ok, tostring(why))
        end",
    );
    passes(
        &format!(
            "local bad = skynet.newservice 'bad'
            for _, port in ipairs {{ {long}, {endless}, {chunks} }} do
                local ok, why = skynet.call(bad, 'lua', 'get', port)
                assert(not ok and why:find 'not enough memory', why)
            end"
        ),
        &[("bad.lua", &bad)],
    );
}
