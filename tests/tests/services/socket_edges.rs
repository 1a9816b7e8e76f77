//! `skynet.socket` at its edges: services that end while others wait, coroutines that end, no memory.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::thread;

use super::script::{passes, service};

/// Starts sockets, reads them, ends.
const HOLDER: &str = "local socket = require 'skynet.socket'
    function C.start(_, _, id) skynet.retpack(socket.start(id)) end
    function C.exit() skynet.exit() end
    function C.busy(_, _, id, other)
        skynet.send(other, 'lua', 'start', id)
        local till = skynet.hpc() + 2e6
        while skynet.hpc() < till do end
        skynet.exit()
    end";

#[test]
fn nobody_waits_for_ever_for_a_socket_whose_owner_ends() {
    passes(
        "local socket = require 'skynet.socket'
        local listener, _, port = socket.listen('127.0.0.1', 0)
        local accepted
        socket.start(listener, function(id) accepted = id end)
        local function new()
            accepted = nil
            local id = assert(socket.open('127.0.0.1', port))
            while not accepted do skynet.sleep(1) end
            return id, accepted
        end
        for i = 1, 30 do
            local id, theirs = new()
            local owner, one, two = skynet.newservice 'holder', skynet.newservice 'holder', skynet.newservice 'holder'
            assert(skynet.call(owner, 'lua', 'start', theirs) == theirs)
            local ended = 0
            for _, it in ipairs { one, two } do
                skynet.fork(function()
                    -- It gets it, or learns that it does not.
                    local ok, got, why = pcall(skynet.call, it, 'lua', 'start', theirs)
                    assert(ok and (got == theirs or why), tostring(got))
                    ended = ended + 1
                end)
            end
            if i % 3 == 0 then skynet.send(owner, 'lua', 'busy', theirs, one) end
            if i % 3 == 1 then skynet.send(owner, 'lua', 'exit') end
            if i % 3 == 2 then socket.close_fd(theirs) end
            while ended < 2 do skynet.sleep(1) end
            -- All of its owners end: so does the connection.
            for _, it in ipairs { owner, one, two } do skynet.send(it, 'lua', 'exit') end
            assert((socket.readall(id) or '') == '')
            socket.close(id)
        end
        while #socket.netstat() > 1 do skynet.sleep(1) end",
        &[("holder.lua", &service(HOLDER))],
    );
}

#[test]
fn what_a_killed_coroutine_was_opening_is_closed() {
    passes(
        "local socket = require 'skynet.socket'
        local listener, _, port = socket.listen('127.0.0.1', 0)
        local accepted = 0
        socket.start(listener, function(id)
            accepted = accepted + 1
            socket.start(id)
            assert((socket.readall(id) or '') == '')
            socket.close(id)
            accepted = accepted - 1
        end)
        for i = 1, 20 do
            local co = skynet.fork(function() socket.open('127.0.0.1', port) error 'it is dead' end)
            skynet.yield()
            skynet.killthread(co)
        end
        local function streams()
            local count = 0
            for _, info in ipairs(socket.netstat()) do
                if info.type ~= 'LISTEN' then count = count + 1 end
            end
            return count
        end
        while streams() > 0 or accepted > 0 do skynet.sleep(1) end
        local id = assert(socket.open('127.0.0.1', port))
        socket.close(id)",
        &[],
    );
}

/// Reads with little memory, and says what became of it.
const POOR: &str = "local socket = require 'skynet.socket'
    skynet.memlimit(24 << 20)
    function C.read(_, _, port)
        local id = assert(socket.open('127.0.0.1', port))
        local ok, data, rest = pcall(socket.read, id, 40 << 20)
        local size = ok and type(data) == 'string' and #data
        skynet.retpack(size, data == false, rest, socket.disconnected(id))
        socket.close(id)
    end";

#[test]
fn a_reader_without_memory_for_what_comes_learns_that_its_stream_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let bytes = vec![b'x'; 1 << 20];
            while stream.write_all(&bytes).is_ok() {}
        }
    });
    passes(
        &format!(
            "local size, is_over, rest, is_disconnected = skynet.call(skynet.newservice 'poor', 'lua', 'read', {port})
            assert(not size and is_over and rest == '' and is_disconnected)"
        ),
        &[("poor.lua", &service(POOR))],
    );
}

#[test]
fn names_that_are_asked_for_at_once_are_bounded() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let port = silent.local_addr().expect("it is bound").port();
    passes(
        &format!(
            "local dns = require 'skynet.dns'
            dns.server('127.0.0.1', {port})
            local failed, why = 0
            for i = 1, 4096 + 3 do
                skynet.fork(function()
                    local ok, err = pcall(dns.resolve, 'name' .. i .. '.test')
                    failed, why = failed + 1, err
                end)
            end
            while failed < 3 do skynet.sleep(1) end
            assert(failed == 3 and why:find 'too many DNS queries at once', why)"
        ),
        &[],
    );
}
