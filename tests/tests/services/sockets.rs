//! `skynet.socket`: streams.

use super::script::passes;

/// A server of lines, in a service of its own: it answers each with itself, and ends a connection at `quit`.
pub(crate) const LINES: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local function serve(id)
        socket.start(id)
        while true do
            local line = socket.readline(id, '\\n')
            if not line or line == 'quit' then break end
            socket.write(id, line .. '\\n')
        end
        socket.close(id)
    end
    skynet.start(function()
        local id, addr, port = socket.listen('127.0.0.1', 0)
        socket.start(id, function(accepted) skynet.fork(serve, accepted) end)
        skynet.dispatch('lua', function(_, _, what)
            if what == 'close' then socket.close(id) end
            skynet.retpack(port, addr)
        end)
    end)";

#[test]
fn lines_come_back_until_the_server_closes() {
    passes(
        "local socket = require 'skynet.socket'
        local server = skynet.newservice 'lines'
        local port, addr = skynet.call(server, 'lua')
        assert(addr == '127.0.0.1' and math.type(port) == 'integer')
        local id = assert(socket.open('127.0.0.1', port))
        assert(math.type(id) == 'integer' and socket.disconnected(id) == false and not socket.invalid(id))
        for i = 1, 100 do
            assert(socket.write(id, 'hello ' .. i .. '\\n') == true)
            assert(socket.readline(id) == 'hello ' .. i)
        end
        assert(socket.write(id, { 'a', 'b', '\\nc\\n' }))
        assert(socket.read(id, 2) == 'ab' and socket.read(id, 1) == '\\n' and socket.readline(id) == 'c')
        socket.write(id, 'rest without end\\nquit\\n')
        local line, rest = socket.readline(id, 'x')
        assert(line == false and rest == 'rest without end\\n')
        assert(socket.disconnected(id) == true and socket.read(id) == false)
        socket.close(id)
        assert(socket.invalid(id) and socket.disconnected(id) == nil and socket.write(id, 'x') == false)
        id = assert(socket.open('127.0.0.1:' .. port))
        socket.write(id, 'quit\\n')
        assert(socket.readall(id) == '' and socket.readall(id) == false)
        socket.close(id)",
        &[("lines.lua", LINES)],
    );
}

#[test]
fn a_mebibyte_comes_back_whole_and_reads_wait_for_their_size() {
    passes(
        "local socket = require 'skynet.socket'
        local server = skynet.newservice 'lines'
        local id = assert(socket.open('localhost', (skynet.call(server, 'lua'))))
        local text = ('0123456789abcdef'):rep(1 << 16)
        for i = 1, 8 do socket.write(id, text) end
        socket.write(id, '\\n')
        local back = socket.read(id, 8 << 20)
        assert(back == text:rep(8) and socket.read(id, 1) == '\\n')
        socket.close(id)",
        &[("lines.lua", LINES)],
    );
}

#[test]
fn a_port_without_listener_a_bad_name_and_a_bad_address_are_errors() {
    passes(
        "local socket = require 'skynet.socket'
        local server = skynet.newservice 'lines'
        local port = skynet.call(server, 'lua', 'close')
        local id, err = socket.open('127.0.0.1', port)
        assert(id == nil and err == 'Connection refused', err)
        id, err = socket.open('no-such-name.invalid', 80)
        assert(id == nil and type(err) == 'string', err)
        for _, bad in ipairs { 'nothing', '', ':80', 'a b:80', '127.0.0.1:http', '127.0.0.1:99999' } do
            local ok, why = pcall(socket.open, bad)
            assert(not ok and why:find('Invalid address', 1, true), why)
        end
        id, err = socket.start(12345)
        assert(id == nil and err == 'invalid socket')
        for _, f in ipairs { socket.read, socket.readline, socket.readall } do
            assert(not pcall(f, 12345))
        end
        assert(socket.block(12345) == false and not pcall(socket.write, 1) and not pcall(socket.limit, 1, 1))
        local ok, why = pcall(socket.listen, '127.0.0.1', port)
        local again, failure = pcall(socket.listen, '127.0.0.1', port)
        assert(ok and not again and failure:find 'Listen error', failure)
        assert(socket.resolve 'localhost'[1] and not pcall(socket.resolve, 'no-such-name.invalid'))
        assert(socket.header '\\1\\2' == 258 and not pcall(socket.header, '12345'))",
        &[("lines.lua", LINES)],
    );
}

/// Takes connections over, by their numbers, and says what it reads.
const AGENT: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local C = {}
    function C.start(id)
        assert(socket.start(id) == id)
        socket.write(id, 'agent\\n')
        local rest = socket.readall(id)
        socket.close(id)
        return rest
    end
    function C.write(id, text) return socket.write(id, text) end
    function C.close(id) return socket.close_fd(id) end
    skynet.start(function()
        skynet.dispatch('lua', function(_, _, cmd, ...) skynet.retpack(C[cmd](...)) end)
    end)";

#[test]
fn a_connection_moves_to_another_service_with_all_its_bytes() {
    passes(
        "local socket = require 'skynet.socket'
        local agent, got = skynet.newservice 'agent', nil
        local listener, _, port = socket.listen('127.0.0.1', 0)
        for _, first in ipairs { 'at once', 'abandoned', 'taken' } do
            local id, accepted
            socket.start(listener, function(new, addr)
                assert(addr:find '^127.0.0.1:%d+$')
                accepted = new
                if first ~= 'at once' then
                    assert(socket.start(new) == new)
                    assert(socket.readline(new) == 'hello')
                    if first == 'abandoned' then
                        socket.abandon(new)
                        assert(socket.invalid(new))
                    end
                end
                got = skynet.call(agent, 'lua', 'start', new)
            end)
            id = assert(socket.open('127.0.0.1', port))
            if first ~= 'at once' then socket.write(id, 'hello\\n') end
            socket.write(id, 'half ')
            assert(socket.readline(id) == 'agent')
            socket.write(id, 'and half')
            skynet.sleep(1)
            socket.close(id)
            while not got do skynet.sleep(1) end
            assert(got == 'half and half', got)
            got = nil
        end
        socket.close(listener)",
        &[("agent.lua", AGENT)],
    );
}

#[test]
fn any_service_writes_to_a_connection_and_closes_it() {
    passes(
        "local socket = require 'skynet.socket'
        local agent = skynet.newservice 'agent'
        local listener, _, port = socket.listen('127.0.0.1', 0)
        local accepted
        socket.start(listener, function(new)
            socket.start(new)
            accepted = new
        end)
        local id = assert(socket.open('127.0.0.1', port))
        while not accepted do skynet.sleep(1) end
        for i = 1, 50 do
            local line = ('line %d '):format(i):rep(100)
            assert(skynet.call(agent, 'lua', 'write', accepted, line .. '\\n') == true)
            assert(socket.readline(id) == line)
        end
        skynet.call(agent, 'lua', 'close', accepted)
        assert(socket.read(id) == false and skynet.call(agent, 'lua', 'write', accepted, 'x') == false)
        assert(socket.readall(accepted) == false and not pcall(socket.close_fd, id))
        socket.close(accepted)
        socket.close(id)",
        &[("agent.lua", AGENT)],
    );
}

#[test]
fn sockets_end_with_their_service_and_what_it_wrote_arrives() {
    let server = "local skynet = require 'skynet'
        local socket = require 'skynet.socket'
        skynet.start(function()
            local id, _, port = socket.listen('127.0.0.1', 0)
            socket.start(id, function(new, addr)
                socket.start(new)
                local how = socket.readline(new)
                if how == 'close' then
                    socket.write(new, ('x'):rep(16 << 20))
                    socket.close(new)
                end
                skynet.exit()
            end)
            skynet.dispatch('lua', function() skynet.retpack(port) end)
        end)";
    passes(
        "local socket = require 'skynet.socket'
        for _, how in ipairs { 'close', 'exit' } do
            local port = skynet.call(skynet.newservice 'server', 'lua')
            local id = assert(socket.open('127.0.0.1', port))
            local silent = assert(socket.open('127.0.0.1', port))
            socket.write(id, how .. '\\n')
            local all = socket.readall(id)
            assert(#all == (how == 'close' and 16 << 20 or 0), #all)
            assert((socket.readall(silent) or '') == '')
            socket.close(id)
            socket.close(silent)
            local again, err = socket.open('127.0.0.1', port)
            assert(not again and err == 'Connection refused', err)
        end",
        &[("server.lua", server)],
    );
}

#[test]
fn datagrams_reach_their_receivers() {
    passes(
        "local socket = require 'skynet.socket'
        local port
        local function free()
            local id, _, free = socket.listen('127.0.0.1', 0)
            socket.close(id)
            return free
        end
        local server
        repeat
            port = free()
            local ok, id = pcall(socket.udp_listen, '127.0.0.1', port, function(text, from)
                local ip, number = socket.udp_address(from)
                assert(ip == '127.0.0.1' and number > 0)
                assert(socket.sendto(server, from, text:upper()))
            end)
            server = ok and id
        until server
        local got = {}
        local function keep(text) got[#got + 1] = text end
        local dialed = socket.udp_dial('127.0.0.1', port, keep)
        assert(socket.write(dialed, 'dialed'))
        local plain = socket.udp(function(text, from)
            keep(text)
            assert(select(2, socket.udp_address(from)) == port)
        end)
        socket.udp_connect(plain, 'localhost', port)
        assert(socket.write(plain, { 'conn', 'ected' }))
        local bound = socket.udp(keep, '127.0.0.1', 0)
        socket.udp_connect(bound, '127.0.0.1', port)
        assert(socket.write(bound, ''))
        while #got < 3 do skynet.sleep(1) end
        table.sort(got)
        assert(table.concat(got, ',') == ',CONNECTED,DIALED')
        assert(not pcall(socket.udp_address, 'x') and not pcall(socket.sendto, plain, 'x', 'y'))
        local seen = {}
        for _, info in ipairs(socket.netstat()) do seen[info.id] = info.type end
        assert(seen[server] == 'UDP' and seen[bound] == 'UDP')
        for _, id in ipairs { server, dialed, plain, bound } do
            socket.close(id)
            assert(socket.invalid(id))
        end",
        &[],
    );
}

#[test]
fn a_second_reader_of_a_socket_is_an_error_and_low_priority_writes_arrive() {
    passes(
        "local socket = require 'skynet.socket'
        local server = skynet.newservice 'lines'
        local id = assert(socket.open('127.0.0.1', (skynet.call(server, 'lua'))))
        local line
        skynet.fork(function() line = socket.readline(id) end)
        skynet.sleep(1)
        local ok, err = pcall(socket.read, id)
        assert(not ok and err:find 'another coroutine reads', err)
        socket.lwrite(id, 'low\\n')
        while not line do skynet.sleep(1) end
        assert(line == 'low' and not pcall(socket.start, id))
        skynet.fork(function() line = socket.readline(id) end)
        skynet.sleep(1)
        socket.close(id)
        skynet.sleep(1)
        assert(line == false)
        ok, err = pcall(socket.write, id, { 1, print })
        assert(not ok and err:find 'no string', err)",
        &[("lines.lua", LINES)],
    );
}

#[test]
fn after_the_end_of_a_reading_coroutine_another_one_reads() {
    passes(
        "local socket = require 'skynet.socket'
        local server = skynet.newservice 'lines'
        local id = assert(socket.open('127.0.0.1', (skynet.call(server, 'lua'))))
        local reader = skynet.fork(function() socket.readline(id) error 'it is dead' end)
        skynet.yield()
        assert(not pcall(socket.readline, id))
        assert(skynet.killthread(reader) == reader)
        socket.write(id, 'one\\ntwo\\n')
        assert(socket.readline(id) == 'one' and socket.readline(id) == 'two')",
        &[("lines.lua", LINES)],
    );
}
