//! `snax.loginserver`, `snax.msgserver` and `client.socket`: a login, a game server, and a client.

use super::script::passes;

const LOGIN: &str = "local login = require 'snax.loginserver'
    local crypt = require 'skynet.crypt'
    local skynet = require 'skynet'
    local servers = {}
    local server = { host = '127.0.0.1', port = PORT, multilogin = false, name = 'login_master', instance = 2 }
    function server.auth_handler(token)
        local user, name, password = token:match '([^@]+)@([^:]+):(.+)'
        assert(crypt.base64decode(password) == 'password', 'Invalid password')
        return crypt.base64decode(name), crypt.base64decode(user)
    end
    function server.login_handler(name, uid, secret)
        local game = assert(servers[name], 'Unknown server')
        return tostring(skynet.call(game, 'lua', 'login', uid, secret))
    end
    local CMD = {}
    function CMD.register_gate(name, address) servers[name] = address end
    function server.command_handler(command, ...) return CMD[command](...) end
    login(server)";

const GAME: &str = "local msgserver = require 'snax.msgserver'
    local skynet = require 'skynet'
    local server, name, last, names = {}, nil, 0, {}
    function server.login_handler(uid, secret)
        last = last + 1
        local username = msgserver.username(uid, last, name)
        names[last] = username
        msgserver.login(username, secret)
        local a, b, c = msgserver.userid(username)
        assert(a == uid and b == tostring(last) and c == name)
        return last
    end
    function server.logout_handler(uid, subid) msgserver.logout(names[tonumber(subid)]) end
    function server.kick_handler(uid, subid) msgserver.logout(names[tonumber(subid)]) end
    function server.disconnect_handler(username) end
    function server.request_handler(username, message)
        if message == 'wrong' then error 'wrong' end
        if message == 'ip' then return msgserver.ip(username) end
        if message == 'slow' then skynet.sleep(30) end
        return message:upper()
    end
    function server.register_handler(servername, conf)
        name = servername
        skynet.call('.login_master', 'lua', 'register_gate', servername, skynet.self())
        return conf.port
    end
    msgserver.start(server)";

const CLIENT: &str = "
    local socket = require 'client.socket'
    local crypt = require 'skynet.crypt'
    local encode, decode = crypt.base64encode, crypt.base64decode
    local last = {}
    -- Reads until `find` finds something at the beginning of what was received.
    local function receive(fd, find)
        local text = last[fd] or ''
        while true do
            local found, rest = find(text)
            if found then last[fd] = rest return found end
            local more = socket.recv(fd)
            if more == '' then return nil end
            if more then text = text .. more else socket.usleep(100) end
        end
    end
    local function line(fd)
        return receive(fd, function(text) return text:match '^([^\\n]*)\\n(.*)$' end)
    end
    local function packet(fd)
        return receive(fd, function(text)
            if #text >= 2 and #text >= 2 + text:byte(1) * 256 + text:byte(2) then
                local found, at = string.unpack('>s2', text)
                return found, text:sub(at)
            end
        end)
    end
    local function login(user, server, password)
        local fd = socket.connect('127.0.0.1', PORT)
        local challenge = decode(line(fd))
        local key = crypt.randomkey()
        socket.send(fd, encode(crypt.dhexchange(key)) .. '\\n')
        local secret = crypt.dhsecret(decode(line(fd)), key)
        socket.send(fd, encode(crypt.hmac64(challenge, secret)) .. '\\n')
        local token = ('%s@%s:%s'):format(encode(user), encode(server), encode(password))
        socket.send(fd, encode(crypt.desencode(secret, token)) .. '\\n')
        local result = line(fd)
        assert(socket.recv(fd) == '' or socket.usleep(100000) or socket.recv(fd) == '')
        socket.close(fd)
        local code = tonumber(result:sub(1, 3))
        return code, code == 200 and decode(result:sub(5)), secret
    end
    local function enter(port, subid, secret, index)
        local fd = socket.connect('127.0.0.1', port)
        local hello = ('%s@%s#%s:%d'):format(encode 'hello', encode 'sample', encode(subid), index)
        local code = encode(crypt.hmac64(crypt.hashkey(hello), secret))
        socket.send(fd, string.pack('>s2', hello .. ':' .. code))
        return fd, packet(fd)
    end
    local function ask(fd, text, session)
        socket.send(fd, string.pack('>s2', text .. string.pack('>i4', session)))
    end
    local function answer(fd)
        local text = packet(fd)
        if not text then return nil end
        local ok, session = string.unpack('>BI4', text, -5)
        return ok == 1 and text:sub(1, -6), session
    end
    skynet.newservice 'login'
    local game = skynet.newservice 'game'
    local port = skynet.call(game, 'lua', 'open', { address = '127.0.0.1', port = 0, servername = 'sample', maxclient = 64 })
    assert(login('hello', 'sample', 'bad') == 401 and login('hello', 'nowhere', 'password') == 403)
    local code, subid, secret = login('hello', 'sample', 'password')
    assert(code == 200 and subid == '1')
    local fd, result = enter(port, subid, secret, 1)
    assert(result == '200 OK', result)
    ask(fd, 'echo', 1)
    local text, session = answer(fd)
    assert(text == 'ECHO' and session == 1)
    ask(fd, 'wrong', 2)
    text, session = answer(fd)
    assert(text == false and session == 2)
    ask(fd, 'ip', 3)
    assert(answer(fd):find '^127.0.0.1:')
    -- It asks, connects again, and gets the answer there.
    ask(fd, 'slow', 4)
    local again
    again, result = enter(port, subid, secret, 2)
    assert(result == '200 OK')
    ask(again, 'slow', 4)
    ask(again, 'echo', 1)
    text, session = answer(again)
    assert(text == 'ECHO' and session == 1)
    text, session = answer(again)
    assert(text == 'SLOW' and session == 4)
    for index, expected in pairs { [2] = '403 Index Expired', [0] = '403 Index Expired' } do
        assert(select(2, enter(port, subid, secret, index)) == expected)
    end
    assert(select(2, enter(port, '99', secret, 3)) == '404 User Not Found')
    assert(select(2, enter(port, subid, crypt.randomkey(), 3)) == '401 Unauthorized')
    skynet.call(game, 'lua', 'logout', 'hello', subid)
    assert(answer(again) == nil)
    assert(not pcall(socket.connect, '127.0.0.1', 1))
    socket.shutdown(again)
    socket.close(again)";

#[test]
fn a_client_logs_in_plays_and_comes_back_for_an_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let with_port = |text: &str| text.replace("PORT", &port.to_string());
    passes(
        &with_port(CLIENT),
        &[("login.lua", &with_port(LOGIN)), ("game.lua", GAME)],
    );
}
