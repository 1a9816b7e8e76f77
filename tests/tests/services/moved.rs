//! What scripts that were written for skynet rely on beside the calls themselves.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::script::{passes, run};

#[test]
fn a_service_that_exits_closes_what_its_coroutines_are_about_to_close() {
    let leaver = "local skynet = require 'skynet'
        local function closing(name)
            return setmetatable({}, { __close = function(_, why)
                skynet.send('.main', 'lua', name, tostring(why))
            end })
        end
        skynet.start(function()
            skynet.dispatch('lua', function(session, _, how)
                local own <close> = closing 'request'
                if how == 'wait' then
                    skynet.wait()
                end
                local again <close> = setmetatable({}, { __close = skynet.exit })
                if how == 'fork' then
                    skynet.fork(skynet.exit)
                    skynet.wait()
                end
                skynet.exit()
            end)
            skynet.fork(function()
                local own <close> = closing 'sleep'
                skynet.sleep(100000)
            end)
            skynet.fork(function()
                local own <close> = closing 'call'
                local wrong <close> = setmetatable({}, { __close = function() error 'in a closer' end })
                skynet.call(skynet.self(), 'lua', 'wait')
            end)
        end)";
    passes(
        "skynet.register '.main'
        local closed, count = {}, 0
        skynet.dispatch('lua', function(_, _, name, why)
            closed[name] = (closed[name] or 0) + 1
            count = count + 1
        end)
        for _, how in ipairs { 'exit', 'fork' } do
            closed, count = {}, 0
            local leaver = skynet.newservice 'leaver'
            assert(not pcall(skynet.call, leaver, 'lua', how))
            while count < 4 do skynet.sleep(1) end
            assert(closed.request == 2 and closed.sleep == 1 and closed.call == 1)
        end",
        &[("leaver.lua", leaver)],
    );
}

#[test]
fn a_coroutine_that_waits_is_resumed_by_its_message_alone() {
    passes(
        "local co = require 'skynet.coroutine'
        local thread = co.create(function() skynet.sleep(3) return 'woken' end)
        local ok, why
        skynet.fork(function()
            ok, why = co.resume(thread)
        end)
        local got = table.pack(co.resume(thread))
        assert(ok == false and why:find 'waits' and got[2] == 'woken')
        -- As many values as the function returns.
        assert(select('#', co.wrap(function() end)()) == 0)
        assert(select('#', co.wrap(function() return nil, nil end)()) == 2)
        local stepping = co.wrap(function() co.yield() end)
        assert(select('#', stepping()) == 0 and select('#', stepping()) == 0)",
        &[],
    );
}

#[test]
fn a_wait_for_a_branch_of_the_datacenter_fails() {
    passes(
        "local datacenter = require 'skynet.datacenter'
        local results, left = {}, 3
        local function wait(name, ...)
            skynet.fork(function(...)
                results[name] = table.pack(pcall(datacenter.wait, ...))
                left = left - 1
            end, ...)
        end
        wait('branch', 'a')
        wait('deep', 'a', 'b', 'c')
        wait('other', 'd')
        skynet.sleep(2)
        datacenter.set('a', 'b', 'c', 1)
        datacenter.set('d', { e = 2 })
        while left > 0 do skynet.sleep(1) end
        assert(not results.branch[1])
        assert(results.deep[2] == 1 and results.other[2].e == 2)
        -- One that is there already is a table.
        assert(datacenter.wait('a', 'b').c == 1)",
        &[],
    );
}

#[test]
fn what_a_message_takes_is_counted_while_it_runs() {
    passes(
        "local profile = require 'skynet.profile'
        -- It measures what is resumed from here on.
        skynet.sleep(0)
        local ok, why = pcall(profile.elapsed)
        assert(not ok and why:find 'profile.start', why)
        profile.start()
        local first = profile.elapsed()
        local before = skynet.stat 'time'
        local started = skynet.now()
        while skynet.now() - started < 3 do end
        assert(skynet.stat 'time' - before >= 0.02)
        local busy = profile.elapsed()
        assert(busy - first >= 0.02)
        -- Waits are not part of it.
        skynet.sleep(20)
        assert(profile.elapsed() - busy < 0.15)
        assert(profile.stop() >= busy)",
        &[],
    );
}

#[test]
fn scripts_that_reach_for_the_core_find_its_functions_and_commands() {
    let echo = "local skynet = require 'skynet'
        local got = {}
        skynet.start(function()
            skynet.dispatch('lua', function(session, source, value)
                if session == 0 then
                    got[#got + 1] = value
                else
                    skynet.retpack(table.concat(got, ' '))
                end
            end)
        end)";
    passes(
        "local c = require 'skynet.core'
        local me, echo = skynet.self(), skynet.newservice 'echo'
        assert(c.now() == skynet.now() and c.hpc() > 0 and c.harbor(me) == 0 and c.genid() > 0)
        assert(c.command 'REG' == skynet.address(me) and c.addresscommand('REG', '.mine') == me)
        assert(c.command('QUERY', '.mine') == skynet.address(me) and c.command('QUERY', '.none') == nil)
        assert(c.command('GETENV', 'start') == 'main' and c.intcommand 'STARTTIME' == skynet.starttime())
        c.command('SETENV', 'two words here')
        assert(skynet.getenv 'two' == 'words here' and c.intcommand('STAT', 'mqlen') == 0)
        assert(c.send(echo, skynet.PTYPE_LUA, 0, c.pack 'one') == 0)
        assert(c.send(echo, skynet.PTYPE_LUA, 0, c.packstring 'two') == 0)
        assert(c.redirect(echo, me, skynet.PTYPE_LUA, 0, c.packstring 'three') == 0)
        assert(skynet.call(echo, 'lua') == 'one two three')
        assert(c.send('.none', skynet.PTYPE_LUA, 0, 'x') == nil and c.send('.none', skynet.PTYPE_LUA, nil, 'x') == nil)
        assert(not pcall(c.send, echo, skynet.PTYPE_LUA, 0, {}) and not pcall(c.redirect, echo, me, 300, 0, ''))
        local other = c.command('LAUNCH', 'snlua echo')
        c.command('NAME', '.other ' .. other)
        assert(c.command('QUERY', '.other') == other and c.command('LAUNCH', 'nosuch x') == nil)
        c.command('KILL', other)
        while c.command('QUERY', '.other') do skynet.sleep(1) end
        assert(c.command 'NOSUCH' == nil and c.command('SIGNAL', skynet.address(echo) .. ' 1') ~= 5)
        local ok, why = pcall(c.callback, print)
        assert(not ok and why:find('skynet.filter', 1, true), why)
        local woken
        skynet.dispatch_unknown_response(function(session) woken = session end)
        local session = c.intcommand('TIMEOUT', 1)
        while woken ~= session do skynet.sleep(1) end",
        &[("echo.lua", echo)],
    );
}

/// What skynet's examples have for trying a server: it waits in its main chunk, as a plain Lua does.
#[test]
fn a_client_that_is_no_service_waits_in_its_main_chunk() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).expect("it sends");
        stream.write_all(b"world").expect("it reads");
        let end = stream.read(&mut [0; 1]);
        assert_eq!(end.expect("it ends"), 0);
        bytes
    });
    let client = format!(
        "local socket = require 'client.socket'
        local crypt = require 'client.crypt'
        local ok, why = pcall(socket.connect, '127.0.0.1', 1)
        assert(not ok and why:find('Connect 127.0.0.1 1 failed', 1, true), why)
        assert(not pcall(socket.recv, 99) and not pcall(socket.send, 99, 'x'))
        local fd = assert(socket.connect('127.0.0.1', {port}))
        assert(socket.recv(fd) == nil and socket.readstdin() == nil)
        socket.send(fd, 'hello')
        local text = ''
        while #text < 5 do
            text = text .. (socket.recv(fd) or '')
            socket.usleep(100)
        end
        print(crypt.hexencode(text))
        socket.shutdown(fd, 'w')
        while socket.recv(fd) ~= '' do
            socket.usleep(100)
        end
        socket.close(fd)
        print(pcall(socket.recv, fd))",
    );
    let finished = run(&[("main.lua", &client)]).expect_success();
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{finished:#?}");
    assert_eq!(lines[0], "776f726c64");
    let why = "socket error: the connection is closed";
    assert!(
        lines[1].starts_with("false\t") && lines[1].ends_with(why),
        "{finished:#?}"
    );
    assert_eq!(server.join().expect("the server ends"), *b"hello");
}
