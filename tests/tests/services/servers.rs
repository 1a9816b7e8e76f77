//! Whole servers of the usual shapes, started by their configurations.

use std::sync::Arc;

use moorline_tests::{Finish, Finished, Site};

use super::shapes::PROTOCOL;

/// The configuration of a tree with services, examples and libraries.
const CONFIG: &str = "include 'config.path'
thread = 4
harbor = 0
start = 'main'
bootstrap = 'snlua bootstrap'
maxclient = 64
port = 0
-- daemon = './game.pid'";

const PATHS: &str = "root = './'
luaservice = root .. 'service/?.lua;' .. root .. 'test/?.lua;' .. root .. 'examples/?.lua;' .. root .. 'test/?/init.lua'
lualoader = root .. 'lualib/loader.lua'
lua_path = root .. 'lualib/?.lua;' .. root .. 'lualib/?/init.lua;' .. root .. 'examples/?.lua'
lua_cpath = root .. 'luaclib/?.so'
snax = root .. 'examples/?.lua;' .. root .. 'test/?.lua'
cpath = root .. 'cservice/?.so'";

fn site(files: &[(&str, &str)]) -> Arc<Site> {
    let site = Site::new("moorline", "");
    site.write("examples/config", CONFIG);
    site.write("examples/config.path", PATHS);
    // As in a tree of skynet's: neither is used.
    site.write("lualib/loader.lua", "error 'skynet loads'");
    site.write("lualib/skynet.lua", "error 'skynet is required'");
    for (name, text) in files {
        site.write(&format!("examples/{name}.lua"), text);
    }
    site
}

#[track_caller]
fn passes(files: &[(&str, &str)]) -> Finished {
    let site = site(files);
    let mut command = site.command(&["run", "--config", "examples/config"]);
    let finished = command.finish().expect_success();
    // A service of another loop may still write a line after it.
    let done = finished.stdout.lines().any(|line| line == "done");
    assert!(done, "{finished:#?}");
    finished
}

const LOADER: &str = "local skynet = require 'skynet'
    local sprotoloader, proto = require 'sprotoloader', require 'proto'
    skynet.start(function()
        sprotoloader.save(proto.c2s, 1)
        sprotoloader.save(proto.s2c, 2)
        -- It stays: what it has saved is used by others.
    end)";

const DATABASE: &str = "local skynet = require 'skynet'
    require 'skynet.manager'
    local db, command = {}, {}
    function command.GET(key) return db[key] end
    function command.SET(key, value) local last = db[key] db[key] = value return last end
    skynet.start(function()
        skynet.dispatch('lua', function(session, address, cmd, ...)
            cmd = cmd:upper()
            if cmd == 'PING' then
                assert(session == 0)
                skynet.error('ping', skynet.address(address), (...))
                return
            end
            local f = command[cmd]
            if f then skynet.ret(skynet.pack(f(...))) else error('Unknown command ' .. tostring(cmd)) end
        end)
        skynet.register 'SIMPLEDB'
    end)";

const WATCHDOG: &str = "local skynet = require 'skynet'
    local CMD, SOCKET, gate, agent = {}, {}, nil, {}
    function SOCKET.open(fd, addr)
        skynet.error('New client from : ' .. addr)
        agent[fd] = skynet.newservice 'agent'
        skynet.call(agent[fd], 'lua', 'start', { gate = gate, client = fd, watchdog = skynet.self() })
    end
    local function close_agent(fd)
        local a = agent[fd]
        agent[fd] = nil
        if a then
            skynet.call(gate, 'lua', 'kick', fd)
            skynet.send(a, 'lua', 'disconnect')
        end
    end
    function SOCKET.close(fd) close_agent(fd) end
    function SOCKET.error(fd, msg) close_agent(fd) end
    function SOCKET.warning(fd, size) end
    function SOCKET.data(fd, msg) end
    function CMD.start(conf) return skynet.call(gate, 'lua', 'open', conf) end
    function CMD.close(fd) close_agent(fd) end
    skynet.start(function()
        skynet.dispatch('lua', function(session, source, cmd, subcmd, ...)
            if cmd == 'socket' then
                local f = SOCKET[subcmd]
                f(...)
            else
                local f = assert(CMD[cmd])
                skynet.ret(skynet.pack(f(subcmd, ...)))
            end
        end)
        gate = skynet.newservice 'gate'
    end)";

const AGENT: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local sprotoloader = require 'sprotoloader'
    local WATCHDOG, host, send_request, client_fd
    local CMD, REQUEST = {}, {}
    function REQUEST:get() return { result = skynet.call('SIMPLEDB', 'lua', 'get', self.what) } end
    function REQUEST:set() skynet.call('SIMPLEDB', 'lua', 'set', self.what, self.value) end
    function REQUEST:handshake() return { msg = 'Welcome' } end
    function REQUEST:quit() skynet.call(WATCHDOG, 'lua', 'close', client_fd) end
    local function request(name, args, response)
        local f = assert(REQUEST[name])
        local r = f(args)
        if response then return response(r) end
    end
    local function send_package(pack)
        socket.write(client_fd, string.pack('>s2', pack))
    end
    skynet.register_protocol {
        name = 'client', id = skynet.PTYPE_CLIENT,
        unpack = function(msg, sz) return host:dispatch(msg, sz) end,
        dispatch = function(fd, _, type, ...)
            assert(fd == client_fd)
            skynet.ignoreret()
            skynet.trace()
            assert(type == 'REQUEST')
            local ok, result = pcall(request, ...)
            if ok then
                if result then send_package(result) end
            else
                skynet.error(result)
            end
        end,
    }
    function CMD.start(conf)
        WATCHDOG, client_fd = conf.watchdog, conf.client
        host = sprotoloader.load(1):host 'package'
        send_request = host:attach(sprotoloader.load(2))
        skynet.fork(function()
            while true do
                send_package(send_request 'heartbeat')
                skynet.sleep(500)
            end
        end)
        skynet.call(conf.gate, 'lua', 'forward', client_fd)
    end
    function CMD.disconnect() skynet.exit() end
    skynet.start(function()
        skynet.dispatch('lua', function(_, _, command, ...)
            skynet.trace()
            local f = CMD[command]
            skynet.ret(skynet.pack(f(...)))
        end)
    end)";

/// A player: hands over to a script what the server answers.
const PLAYER: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local proto, sproto = require 'proto', require 'sproto'
    local host = sproto.new(proto.s2c):host 'package'
    local request = host:attach(sproto.new(proto.c2s))
    local session, heartbeats = 0, 0
    local function ask(fd, name, args)
        session = session + 1
        socket.write(fd, string.pack('>s2', request(name, args, session)))
        while true do
            local size = socket.read(fd, 2)
            if not size then return nil, heartbeats end
            local kind, got, result = host:dispatch(socket.read(fd, socket.header(size)))
            if kind == 'RESPONSE' then
                assert(got == session)
                return result
            end
            assert(got == 'heartbeat')
            heartbeats = heartbeats + 1
        end
    end
    skynet.start(function()
        skynet.dispatch('lua', function(_, _, port, name)
            local fd = assert(socket.open('127.0.0.1', port))
            assert(ask(fd, 'handshake').msg == 'Welcome')
            socket.write(fd, string.pack('>s2', request('set', { what = name, value = name .. ' was here' })))
            assert(ask(fd, 'get', { what = name }).result == name .. ' was here')
            assert(next(ask(fd, 'get', { what = 'nothing' })) == nil)
            local ended, beats = ask(fd, 'quit')
            skynet.retpack(ended == nil and beats)
            skynet.exit()
        end)
    end)";

#[test]
fn a_game_with_gate_watchdog_agents_database_and_protocol_loader() {
    let main = "local skynet = require 'skynet'
        require 'skynet.manager'
        local sprotoloader = require 'sprotoloader'
        local max_client = tonumber(skynet.getenv 'maxclient')
        skynet.start(function()
            skynet.error 'Server start'
            skynet.uniqueservice 'protoloader'
            if not skynet.getenv 'daemon' then skynet.newservice 'console' end
            skynet.newservice('debug_console', 0)
            skynet.newservice 'simpledb'
            skynet.send('SIMPLEDB', 'lua', 'ping', 'main')
            local watchdog = skynet.newservice 'watchdog'
            local addr, port = skynet.call(watchdog, 'lua', 'start', {
                port = tonumber(skynet.getenv 'port'), maxclient = max_client, nodelay = true,
            })
            skynet.error('Watchdog listen on ' .. addr .. ':' .. port)
            for _, name in ipairs { 'ann', 'bob' } do
                assert(skynet.call(skynet.newservice 'player', 'lua', port, name) == 1)
            end
            print 'done'
            skynet.abort()
        end)";
    let finished = passes(&[
        ("main", main),
        ("proto", PROTOCOL),
        ("protoloader", LOADER),
        ("simpledb", DATABASE),
        ("watchdog", WATCHDOG),
        ("agent", AGENT),
        ("player", PLAYER),
    ]);
    for line in [
        // Its standard input is `/dev/null`.
        "console: standard input cannot be read",
        "Server start",
        "ping :",
        "Watchdog listen on 0.0.0.0:",
        "New client from : 127.0.0.1:",
    ] {
        assert!(finished.stdout.contains(line), "{finished:#?}");
    }
    assert!(!finished.stdout.contains("error :"), "{finished:#?}");
}

/// One file is the server and its agents, which take turns.
const WEB: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local httpd = require 'http.httpd'
    local sockethelper = require 'http.sockethelper'
    local urllib = require 'http.url'
    local mode = ...
    if mode == 'agent' then
        local function response(id, write, ...)
            local ok, err = httpd.write_response(write, ...)
            if not ok then skynet.error(string.format('fd = %d, %s', id, err)) end
        end
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, id)
                socket.start(id)
                local write = sockethelper.writefunc(id)
                local code, url, method, header, body = httpd.read_request(sockethelper.readfunc(id), 8192)
                if code then
                    if code ~= 200 then
                        response(id, write, code)
                    else
                        local tmp = { method, header.host and 'host', tostring(skynet.self()) }
                        local path, query = urllib.parse(url)
                        tmp[#tmp + 1] = string.format('path: %s', path)
                        for k, v in pairs(query and urllib.parse_query(query) or {}) do
                            tmp[#tmp + 1] = string.format('query: %s=%s', k, v)
                        end
                        tmp[#tmp + 1] = 'body:' .. body
                        response(id, write, code, table.concat(tmp, '\\n'))
                    end
                elseif url == sockethelper.socket_error then
                    skynet.error 'socket closed'
                else
                    skynet.error(url)
                end
                socket.close(id)
            end)
        end)
    else
        skynet.start(function()
            local agent, balance = {}, 1
            for i = 1, 4 do agent[i] = skynet.newservice(SERVICE_NAME, 'agent') end
            local id, _, port = socket.listen('127.0.0.1', 0)
            socket.start(id, function(id, addr)
                skynet.send(agent[balance], 'lua', id)
                balance = balance % #agent + 1
            end)
            skynet.dispatch('lua', function() skynet.retpack(port) end)
        end)
    end";

#[test]
fn a_web_server_whose_agents_take_turns() {
    let main = "local skynet = require 'skynet'
        require 'skynet.manager'
        local httpc = require 'http.httpc'
        skynet.start(function()
            local host = '127.0.0.1:' .. skynet.call(skynet.newservice 'simpleweb', 'lua')
            local agents, count = {}, 0
            for i = 1, 8 do
                local code, body = httpc.request('POST', host, '/x/y?a=1', nil, nil, 'n ' .. i)
                assert(code == 200)
                local agent = body:match '^POST\\nhost\\n(%d+)\\npath: /x/y\\nquery: a=1\\nbody:n '
                assert(agent and body:sub(-1) == tostring(i), body)
                if not agents[agent] then agents[agent], count = true, count + 1 end
            end
            assert(count == 4)
            local code = httpc.request('POST', host, '/', nil, nil, ('x'):rep(9000))
            assert(code == 413, code)
            print 'done'
            skynet.abort()
        end)";
    passes(&[("main", main), ("simpleweb", WEB)]);
}

const PING: &str = "local skynet = require 'skynet'
    local queue = require 'skynet.queue'
    local snax = require 'skynet.snax'
    local lock, i, hello = nil, 0, 'hello'
    function response.ping(word)
        skynet.sleep(1)
        return word
    end
    function response.sleep(n) lock(function() skynet.sleep(n) end) end
    function accept.hello() lock(function() i = i + 1 end) end
    function response.count() return i end
    function init(...)
        lock = queue()
        skynet.error('ping server start:', ...)
    end
    function exit(...) skynet.error('ping server exit:', ...) end";

#[test]
fn snax_services_that_are_there_once_and_unique_services() {
    let once = "local skynet = require 'skynet'
        local count = 0
        skynet.start(function()
            skynet.dispatch('lua', function() count = count + 1 skynet.retpack(count) end)
        end)";
    let main = "local skynet = require 'skynet'
        require 'skynet.manager'
        local snax = require 'skynet.snax'
        skynet.start(function()
            local waited
            skynet.fork(function() waited = skynet.queryservice 'once' end)
            local a, b = skynet.uniqueservice 'once', skynet.uniqueservice(true, 'once')
            assert(skynet.call(a, 'lua') == 1 and skynet.uniqueservice 'once' == a)
            assert(skynet.queryservice(true, 'once') == b)
            skynet.yield()
            assert(waited == a)
            local ps = snax.newservice('pingserver', 'hello world')
            assert(ps.req.ping 'foobar' == 'foobar')
            for _ = 1, 3 do ps.post.hello() end
            ps.req.sleep(1)
            assert(ps.req.count() == 3)
            assert(not pcall(function() return ps.req.nothing() end))
            local one = snax.uniqueservice('pingserver', 'unique')
            assert(snax.queryservice 'pingserver'.handle == one.handle)
            assert(snax.globalservice('pingserver', 'global').handle == snax.queryglobal 'pingserver'.handle)
            snax.kill(ps, 'bye')
            print 'done'
            skynet.abort()
        end)";
    let finished = passes(&[("main", main), ("once", once), ("pingserver", PING)]);
    for line in ["ping server start: hello world", "ping server exit: bye"] {
        assert!(finished.stdout.contains(line), "{finished:#?}");
    }
}
