//! Gates: packets of clients, watchdogs, agents.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::script::{main_of, passes, run_with};

/// Starts a gate, gives each connection an agent, and ends both with it.
pub(super) const WATCHDOG: &str = "local skynet = require 'skynet'
    local gate, agents, C, S = nil, {}, {}, {}
    function S.open(fd, addr)
        assert(addr:find '^127.0.0.1:%d+$')
        agents[fd] = skynet.newservice 'agent'
        skynet.call(agents[fd], 'lua', 'start', gate, fd, skynet.self())
    end
    local function close(fd)
        local agent = agents[fd]
        agents[fd] = nil
        if agent then
            skynet.call(gate, 'lua', 'kick', fd)
            skynet.send(agent, 'lua', 'disconnect')
        end
    end
    S.close = close
    function S.error(fd, why) close(fd) end
    function S.warning(fd, size) end
    function S.data(fd, text) end
    function C.start(conf)
        return skynet.call(gate, 'lua', 'open', conf)
    end
    function C.close(fd) close(fd) end
    function C.count()
        local n = 0
        for _ in pairs(agents) do n = n + 1 end
        return n
    end
    skynet.start(function()
        skynet.dispatch('lua', function(_, _, cmd, sub, ...)
            if cmd == 'socket' then
                S[sub](...)
            else
                skynet.ret(skynet.pack(C[cmd](sub, ...)))
            end
        end)
        gate = skynet.newservice 'gate'
    end)";

/// Answers each packet of its client with the packet in capitals; `quit` has the watchdog end it.
pub(super) const AGENT: &str = "local skynet = require 'skynet'
    local netpack = require 'skynet.netpack'
    local socket = require 'skynet.socket'
    local client, watchdog
    skynet.register_protocol {
        name = 'client', id = skynet.PTYPE_CLIENT,
        unpack = skynet.tostring,
        dispatch = function(fd, _, text)
            assert(fd == client)
            skynet.ignoreret()
            if text == 'quit' then
                skynet.call(watchdog, 'lua', 'close', client)
            else
                assert(socket.write(client, netpack.pack(text:upper())))
            end
        end,
    }
    local C = {}
    function C.start(gate, fd, dog)
        client, watchdog = fd, dog
        skynet.call(gate, 'lua', 'forward', fd)
    end
    function C.disconnect() skynet.exit() end
    skynet.start(function()
        skynet.dispatch('lua', function(_, _, cmd, ...) skynet.ret(skynet.pack(C[cmd](...))) end)
    end)";

#[test]
fn a_watchdog_gives_each_client_an_agent_that_gets_its_packets() {
    passes(
        "local socket = require 'skynet.socket'
        local dog = skynet.newservice 'watchdog'
        local _, port = skynet.call(dog, 'lua', 'start', { address = '127.0.0.1', port = 0, maxclient = 3, nodelay = true })
        local function receive(id)
            local size = socket.read(id, 2)
            return size and socket.read(id, socket.header(size))
        end
        local function send(id, text) socket.write(id, string.pack('>s2', text)) end
        local ids = {}
        for i = 1, 3 do
            ids[i] = assert(socket.open('127.0.0.1', port))
            send(ids[i], 'hello ' .. i)
            assert(receive(ids[i]) == 'HELLO ' .. i)
        end
        local late = socket.open('127.0.0.1', port)
        assert(socket.read(late) == false)
        socket.close(late)
        -- Many in one write, one in many writes, the longest.
        local many = {}
        for i = 1, 200 do many[i] = string.pack('>s2', 'packet ' .. i) end
        socket.write(ids[1], table.concat(many))
        for i = 1, 200 do assert(receive(ids[1]) == 'PACKET ' .. i) end
        for char in string.pack('>s2', 'in pieces'):gmatch '.' do
            socket.write(ids[2], char)
            skynet.yield()
        end
        assert(receive(ids[2]) == 'IN PIECES')
        local long = ('y'):rep(65535)
        send(ids[3], long)
        assert(receive(ids[3]) == long:upper())
        send(ids[1], 'quit')
        assert(receive(ids[1]) == false)
        socket.close(ids[2])
        while skynet.call(dog, 'lua', 'count') > 1 do skynet.sleep(1) end
        local again = assert(socket.open('127.0.0.1', port))
        send(again, 'again')
        assert(receive(again) == 'AGAIN' )
        send(ids[3], 'still')
        assert(receive(ids[3]) == 'STILL')",
        &[("watchdog.lua", WATCHDOG), ("agent.lua", AGENT)],
    );
}

#[test]
fn a_gate_of_ones_own_gets_all_that_happens() {
    let gate = "local skynet = require 'skynet'
        local gateserver = require 'snax.gateserver'
        local netpack = require 'skynet.netpack'
        local driver = require 'skynet.socketdriver'
        local seen, handler = {}, {}
        local function note(...) seen[#seen + 1] = table.concat({ ... }, ' ') end
        function handler.open(source, conf) note('open', conf.name) return conf.port end
        function handler.connect(fd, addr) note 'connect' gateserver.openclient(fd) end
        function handler.message(fd, msg, sz)
            local text = netpack.tostring(msg, sz)
            note('message', text)
            if text == 'wait' then skynet.sleep(5) end
            driver.send(fd, netpack.pack('got ' .. text))
            if text == 'bye' then gateserver.closeclient(fd) end
        end
        function handler.disconnect(fd) note 'disconnect' gateserver.closeclient(fd) end
        function handler.error(fd, why) note('error', why) end
        function handler.command(cmd, source, ...)
            if cmd == 'seen' then return table.concat(seen, ', ') end
            error('no command ' .. cmd)
        end
        gateserver.start(handler)";
    passes(
        "local socket = require 'skynet.socket'
        local gate = skynet.newservice 'owngate'
        assert(not pcall(skynet.call, gate, 'lua', 'close'))
        local port = skynet.call(gate, 'lua', 'open', { address = '127.0.0.1', port = 0, name = 'own' })
        assert(not pcall(skynet.call, gate, 'lua', 'open', { port = 0 }) and not pcall(skynet.call, gate, 'lua', 'nothing'))
        local id = assert(socket.open('127.0.0.1', port))
        socket.write(id, string.pack('>s2', 'wait') .. string.pack('>s2', 'next') .. string.pack('>s2', ''))
        local function receive() return socket.read(id, socket.header(socket.read(id, 2))) end
        assert(receive() == 'got next' and receive() == 'got ' and receive() == 'got wait')
        socket.write(id, string.pack('>s2', 'bye'))
        assert(receive() == 'got bye' and socket.read(id) == false)
        socket.close(id)
        id = assert(socket.open('127.0.0.1', port))
        socket.close(id)
        local expected = 'open own, connect, message wait, message next, message , message bye, disconnect, connect, disconnect'
        while skynet.call(gate, 'lua', 'seen') ~= expected do skynet.sleep(1) end
        skynet.call(gate, 'lua', 'close')
        skynet.sleep(1)
        assert(not socket.open('127.0.0.1', port))",
        &[("owngate.lua", gate)],
    );
}

#[test]
fn packets_are_made_and_taken_apart() {
    let body = "local netpack = require 'skynet.netpack'
        local msg, size = netpack.pack 'abc'
        assert(size == 5 and netpack.tostring(msg, size) == '\\0\\3abc')
        assert(not pcall(netpack.pack, ('x'):rep(65536)) and netpack.pop() == nil)
        assert(netpack.pack(skynet.pack 'x') and netpack.clear() == nil)
        print 'done'";
    let finished = run_with(&[("main.lua", &main_of(body))], &[]);
    assert_eq!(finished.stdout, "done\n", "{finished:#?}");
}

/// Does what it is asked with sockets whose messages it handles, and says what has happened.
const OWN: &str = "local skynet = require 'skynet'
        local driver = require 'skynet.socketdriver'
        local buffer, pool, seen, waiter = driver.buffer(), {}, {}, nil
        local messages = {
            function(id, size, msg)
                assert(driver.push(buffer, pool, msg, size) >= size)
                if driver.readline(buffer, nil, '\\n') then skynet.wakeup(waiter) end
            end,
            function(id, number, text) seen[#seen + 1] = 'connect ' .. text end,
            function(id) seen[#seen + 1] = 'close' skynet.wakeup(waiter) end,
            function(id, new, addr) seen[#seen + 1] = 'accept' driver.start(new) end,
            function(id, _, why) seen[#seen + 1] = why skynet.wakeup(waiter) end,
            function(id, size, msg, from)
                assert(skynet.tostring(msg, size) == 'datagram' and driver.udp_address(from) == '127.0.0.1')
                driver.drop(msg, size)
                seen[#seen + 1] = 'udp'
                skynet.wakeup(waiter)
            end,
        }
        skynet.register_protocol {
            name = 'socket', id = skynet.PTYPE_SOCKET, unpack = driver.unpack,
            dispatch = function(_, _, number, ...) messages[number](...) end,
        }
        local function wait() waiter = {} skynet.wait(waiter) end
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, port, udp)
                local id = driver.connect('127.0.0.1', port)
                driver.nodelay(id)
                assert(driver.send(id, 'one\\ntwo') and driver.lsend(id, '\\nrest\\n'))
                wait()
                assert(driver.readline(buffer, pool, '\\n') == 'one')
                while not driver.readline(buffer, nil, 'rest\\n') do wait() end
                local text, left = driver.pop(buffer, pool, 3)
                assert(text == 'two' and left == 6)
                assert(driver.readall(buffer, pool) == '\\nrest\\n' and driver.pop(buffer, pool, 1) == nil)
                driver.clear(buffer, pool)
                driver.pause(id)
                driver.start(id)
                assert(driver.header '\\1' == 1 and #driver.info() > 0 and driver.resolve('127.0.0.1')[1] == '127.0.0.1')
                local msg, size = driver.str2p 'quit\\n'
                assert(size == 5 and driver.send(id, msg, size))
                wait()
                driver.close(id)
                driver.shutdown(id)
                driver.connect('127.0.0.1', 1)
                wait()
                local one = driver.udp('127.0.0.1', 0)
                driver.udp_connect(one, '127.0.0.1', udp)
                assert(driver.send(one, 'datagram'))
                wait()
                skynet.retpack(table.concat(seen, ', '))
            end)
        end)";

#[test]
fn a_service_that_handles_its_sockets_itself_sees_messages() {
    let lines = super::sockets::LINES;
    passes(
        "local socket = require 'skynet.socket'
        local port = skynet.call(skynet.newservice 'lines', 'lua')
        local udp, id
        for try = 20000, 60000 do
            local ok
            ok, id = pcall(socket.udp_listen, '127.0.0.1', try, function(text, from) socket.sendto(id, from, text) end)
            if ok then udp = try break end
        end
        local seen = skynet.call(skynet.newservice 'own', 'lua', port, udp)
        local expected = 'connect 127.0.0.1:' .. port .. ', connect transfer, close, Connection refused, udp'
        assert(seen == expected, seen)",
        &[("own.lua", OWN), ("lines.lua", lines)],
    );
}

/// A gate whose clients are not opened until it is asked, and that says how often each function of its handler ran.
const COUNTING: &str = "local skynet = require 'skynet'
        local gateserver = require 'snax.gateserver'
        local netpack = require 'skynet.netpack'
        local driver = require 'skynet.socketdriver'
        local seen, handler, last, mode = { connect = 0, disconnect = 0, message = 0, error = 0 }, {}, nil, nil
        local function note(what) seen[what] = seen[what] + 1 end
        function handler.open(source, conf)
            mode = conf.mode
            if mode == 'errors' then function handler.error() note 'error' end end
            return conf.port
        end
        function handler.connect(fd)
            note 'connect'
            last = fd
            if mode == 'refuse' then
                gateserver.closeclient(fd)
            elseif mode == 'late' then
                driver.shutdown(fd)
                gateserver.openclient(fd)
                gateserver.closeclient(fd)
            elseif mode ~= 'wait' then
                gateserver.openclient(fd)
            end
        end
        function handler.message(fd, msg, size) netpack.tostring(msg, size) note 'message' end
        function handler.disconnect(fd) note 'disconnect' gateserver.closeclient(fd) end
        function handler.command(cmd, source, ...) return seen, last end
        gateserver.start(handler)";

#[test]
fn a_gate_counts_a_client_that_ends_before_it_is_opened() {
    passes(
        "local socket = require 'skynet.socket'
        for _, mode in ipairs { 'refuse', 'late' } do
            local gate = skynet.newservice 'counting'
            local port = skynet.call(gate, 'lua', 'open', { address = '127.0.0.1', port = 0, maxclient = 1, mode = mode })
            for i = 1, 5 do
                local id = assert(socket.open('127.0.0.1', port))
                assert(socket.read(id) == false)
                socket.close(id)
                local seen
                repeat
                    seen = skynet.call(gate, 'lua', 'seen')
                until seen.disconnect == i
                assert(seen.connect == i)
            end
        end
        -- Also one that another service closes, after it has written to it.
        local gate = skynet.newservice 'counting'
        local port = skynet.call(gate, 'lua', 'open', { address = '127.0.0.1', port = 0, maxclient = 1, mode = 'wait' })
        for i = 1, 3 do
            local id = assert(socket.open('127.0.0.1', port))
            local seen, last
            repeat
                seen, last = skynet.call(gate, 'lua', 'seen')
            until seen.connect == i
            local text = ('x'):rep(16 << 20)
            assert(socket.write(last, text))
            skynet.yield()
            socket.close_fd(last)
            assert(socket.readall(id) == text)
            socket.close(id)
            repeat
                seen = skynet.call(gate, 'lua', 'seen')
            until seen.disconnect == i
        end",
        &[("counting.lua", COUNTING)],
    );
}

#[test]
fn a_gate_learns_once_that_a_client_has_reset_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let asked = listener.local_addr().expect("it is bound").port();
    // Resets a connection to the gate for each port that it is told.
    let resetting = std::thread::spawn(move || {
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().expect("it is asked");
            let mut port = String::new();
            stream.read_to_string(&mut port).expect("it is told");
            let address = format!("127.0.0.1:{port}");
            let client = TcpStream::connect(address).expect("it listens");
            SockRef::from(&client)
                .set_linger(Some(Duration::ZERO))
                .expect("it is set");
        }
    });
    let body = format!(
        "local socket = require 'skynet.socket'
        for _, mode in ipairs {{ 'plain', 'errors' }} do
            local gate = skynet.newservice 'counting'
            local port = skynet.call(gate, 'lua', 'open', {{ address = '127.0.0.1', port = 0, maxclient = 1, mode = mode }})
            local id = assert(socket.open('127.0.0.1', {asked}))
            socket.write(id, port)
            socket.close(id)
            local seen
            repeat
                seen = skynet.call(gate, 'lua', 'seen')
            until seen.disconnect == 1
            -- There is room for the next one.
            id = assert(socket.open('127.0.0.1', port))
            repeat
                seen = skynet.call(gate, 'lua', 'seen')
            until seen.connect == 2
            assert(seen.disconnect == 1 and seen.error == (mode == 'errors' and 1 or 0))
            socket.close(id)
        end"
    );
    passes(&body, &[("counting.lua", COUNTING)]);
    resetting.join().expect("it found nothing wrong");
}
