//! `skynet.socketchannel` and `skynet.dns`.

use std::net::UdpSocket;
use std::thread;

use super::script::passes;

/// A server of requests: `NUMBER TEXT` is answered by `NUMBER text`, `later` is held back until the next one, `close` ends the
/// connection, `auth` says how often it was connected.
const SERVER: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local connected, C, listener, port = 0, {}, nil, nil
    local function serve(id)
        socket.start(id)
        connected = connected + 1
        local late
        while true do
            local line = socket.readline(id)
            if not line or line == 'close' then break end
            local number, word = line:match '^(%d+) (.*)$'
            if word == 'later' then
                late = number .. ' late\\n'
            elseif line == 'auth' then
                socket.write(id, connected .. '\\n')
            else
                socket.write(id, (number or '') .. ' ' .. (word or line):upper() .. '\\n')
                if late then socket.write(id, late) late = nil end
            end
        end
        socket.close(id)
    end
    skynet.start(function()
        listener, _, port = socket.listen('127.0.0.1', 0)
        socket.start(listener, function(id) skynet.fork(serve, id) end)
        skynet.dispatch('lua', function(_, _, cmd)
            if cmd == 'stop' then socket.close(listener) end
            skynet.retpack(port)
        end)
    end)";

#[test]
fn answers_come_in_the_order_of_requests_and_a_lost_connection_is_made_again() {
    passes(
        "local socketchannel = require 'skynet.socketchannel'
        local port = skynet.call(skynet.newservice 'server', 'lua')
        local spare = skynet.call(skynet.newservice 'server', 'lua')
        local times
        local channel = socketchannel.channel {
            host = '127.0.0.1', port = port, nodelay = true,
            auth = function(self)
                times = self:request('auth\\n', function(sock) return true, sock:readline() end)
            end,
            overload = function() end,
        }
        local function line(sock) return true, sock:readline() end
        assert(channel:connect(true) == true and times == '1')
        local done = 0
        for i = 1, 20 do
            skynet.fork(function()
                assert(channel:request('word' .. i .. '\\n', line) == ' WORD' .. i)
                done = done + 1
            end)
        end
        while done < 20 do skynet.sleep(1) end
        local parts = channel:request('a\\n', function(sock)
            local text = sock:read(1)
            return true, text, text ~= '\\n'
        end, { 'b\\n' })
        assert(table.concat(parts) == ' A\\n' and channel:request('c\\n', line) == ' B')
        assert(channel:response(line) == ' C')
        local ok, err = pcall(channel.request, channel, 'x\\n', function(sock) sock:readline() return false, 'no good' end)
        assert(not ok and err == 'no good', err)
        ok, err = pcall(channel.request, channel, 'x\\n', function() error('my error', 0) end)
        assert(not ok and err == 'my error', err)
        assert(channel:request('again\\n', line) == ' AGAIN' and times == '2')
        ok, err = pcall(channel.request, channel, 'close\\n', line)
        assert(not ok and err == socketchannel.error and tostring(err) == '[Error: socket]')
        assert(channel:request('back\\n', line) == ' BACK' and times == '3')
        channel:changehost('127.0.0.1', spare)
        assert(channel:request('spare\\n', line) == ' SPARE' and times == '1')
        channel:close()
        assert(not pcall(channel.request, channel, 'x\\n', line))
        assert(channel:connect(true) and channel:request('open\\n', line) == ' OPEN')",
        &[("server.lua", SERVER)],
    );
}

#[test]
fn a_connection_that_is_lost_while_it_signs_in_is_an_error_and_the_next_one_works() {
    passes(
        "local socketchannel = require 'skynet.socketchannel'
        local port = skynet.call(skynet.newservice 'server', 'lua')
        local function line(sock) return true, sock:readline() end
        local how = 'close'
        local channel = socketchannel.channel {
            host = '127.0.0.1', port = port,
            auth = function(self)
                if how == 'close' then
                    pcall(self.request, self, 'close\\n', line)
                    skynet.sleep(1)
                elseif how == 'hang' then
                    self:request('1 later\\n', line)
                end
                self:request('auth\\n', line)
            end,
        }
        local ok, err = pcall(channel.connect, channel, true)
        assert(not ok and err == socketchannel.error, tostring(err))
        -- Who connects is ended while the server does not answer: those who wait for it learn that, and the next one connects.
        how = 'hang'
        local failed = 0
        local first = skynet.fork(function() channel:connect(true) end)
        skynet.fork(function() failed = failed + (pcall(channel.connect, channel, true) and 0 or 1) end)
        skynet.sleep(20)
        assert(skynet.killthread(first))
        while failed == 0 do skynet.sleep(1) end
        how = 'well'
        assert(channel:request('word\\n', line) == ' WORD')",
        &[("server.lua", SERVER)],
    );
}

#[test]
fn sessions_find_their_answers_and_backups_are_tried() {
    passes(
        "local socketchannel = require 'skynet.socketchannel'
        local server = skynet.newservice 'server'
        local port = skynet.call(server, 'lua')
        local gone = skynet.newservice 'server'
        local closed = skynet.call(gone, 'lua', 'stop')
        local channel = socketchannel.channel {
            host = '127.0.0.1', port = closed,
            backup = { { host = '127.0.0.1', port = closed }, { host = '127.0.0.1', port = port } },
            response = function(sock)
                local number, text = sock:readline():match '^(%d+) (.*)$'
                return tonumber(number), true, text
            end,
        }
        local late
        skynet.fork(function() late = channel:request('7 later\\n', 7) end)
        skynet.sleep(5)
        assert(channel:request('8 now\\n', 8) == 'NOW')
        while not late do skynet.sleep(1) end
        assert(late == 'late')
        local failed = 0
        for i = 1, 3 do
            skynet.fork(function()
                local ok, err = pcall(channel.request, channel, i .. ' later\\n', i)
                assert(not ok and err == socketchannel.error)
                failed = failed + 1
            end)
        end
        skynet.yield()
        channel:request('close\\n')
        while failed < 3 do skynet.sleep(1) end
        assert(channel:request('9 more\\n', 9) == 'MORE')
        channel:changebackup {}
        skynet.call(server, 'lua', 'stop')
        channel:request('close\\n')
        local other = socketchannel.channel { host = '127.0.0.1', port = closed }
        local ok, err = pcall(other.request, other, 'x', 1)
        assert(not ok and err == socketchannel.error)
        assert(not pcall(socketchannel.channel, {}) and not pcall(other.connect, other, true))",
        &[("server.lua", SERVER)],
    );
}

/// Answers questions of A and AAAA: two addresses of each name, none of `none.test`, and nothing at all, or noise, for others.
fn name_server() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let port = socket.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((size, from)) = socket.recv_from(&mut bytes) {
            let question = &bytes[..size];
            let kind = question[size - 3];
            let is = |name: &str| {
                let name = name.as_bytes();
                question.windows(name.len()).any(|window| window == name)
            };
            let addresses: &[&[u8]] = match (kind, is("none")) {
                (_, true) => &[],
                (1, _) => &[&[10, 0, 0, 1], &[10, 0, 0, 2]],
                _ => &[&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]],
            };
            let mut answer = question.to_vec();
            answer[2] |= 0x80;
            answer[7] = u8::try_from(addresses.len()).expect("there are few");
            for address in addresses {
                answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0]);
                answer.push(u8::try_from(address.len()).expect("it is short"));
                answer.extend_from_slice(address);
            }
            if is("noise") {
                let mut circle = question[..12].to_vec();
                circle[2] |= 0x80;
                circle.extend([0xc0, 12]);
                for noise in [&[0; 3][..], &answer[..size + 5], &circle] {
                    socket.send_to(noise, from).expect("it is sent");
                }
            }
            if !is("silent") {
                socket.send_to(&answer, from).expect("it is sent");
            }
        }
    });
    port
}

#[test]
fn names_are_asked_of_a_server_and_remembered() {
    let body = format!(
        "local dns = require 'skynet.dns'
        dns.DEFAULT_HOSTS = 'hosts'
        dns.server('127.0.0.1', {})
        local ip, ips = dns.resolve 'Some.test'
        assert(ip == '10.0.0.1' and #ips == 2 and ips[2] == '10.0.0.2')
        assert(dns.resolve 'some.test.' == ip and dns.resolve 'noise.test' == ip)
        assert(dns.resolve('some.test', true) == 'fd00:0:0:0:0:0:0:1')
        assert(dns.resolve 'own.host' == '192.168.7.7' and dns.resolve '1.2.3.4' == '1.2.3.4')
        assert(dns.resolve('::1', true) == '::1')
        local none, why = dns.resolve 'two words'
        assert(none == nil and why == 'illegal name')
        assert(dns.resolve(('x'):rep(64) .. '.test') == nil)
        local ok, err = pcall(dns.resolve, 'none.test')
        assert(not ok and err:find 'timeout or no answer', err)
        local done = 0
        for i = 1, 50 do
            skynet.fork(function()
                assert(dns.resolve('name' .. i .. '.test') == ip)
                done = done + 1
            end)
        end
        while done < 50 do skynet.sleep(1) end
        -- What is remembered needs no server.
        dns.server('127.0.0.1', 1)
        assert(dns.resolve 'some.test' == ip)
        dns.flush()",
        name_server()
    );
    passes(
        &body,
        &[("hosts", "# none\n192.168.7.7 own.host other # more\n")],
    );
}

#[test]
fn a_name_server_that_does_not_answer_is_given_up() {
    let body = format!(
        "local dns = require 'skynet.dns'
        dns.server('127.0.0.1', {})
        local before = skynet.now()
        local ok, err = pcall(dns.resolve, 'silent.test')
        assert(not ok and err:find 'timeout or no answer' and skynet.now() - before >= 1400)",
        name_server()
    );
    passes(&body, &[]);
}
