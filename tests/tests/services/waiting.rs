//! Coroutines that wait.

use super::script::passes;

#[test]
fn a_sleep_lasts_its_time_and_a_wakeup_ends_it() {
    passes(
        "local before = skynet.now()
        assert(skynet.sleep(5) == nil)
        assert(skynet.now() - before >= 5)
        local me = coroutine.running()
        skynet.timeout(1, function() assert(skynet.wakeup(me)) end)
        assert(skynet.sleep(100000) == 'BREAK')
        local token = {}
        skynet.fork(function() assert(skynet.wakeup(token)) assert(not skynet.wakeup 'nobody') end)
        skynet.wait(token)
        assert(skynet.sleep(1) == nil)",
        &[],
    );
}

#[test]
fn forks_and_timers_run_in_order_after_the_code_that_set_them() {
    passes(
        "local order = {}
        local function note(what) order[#order + 1] = what end
        skynet.fork(note, 'a')
        skynet.timeout(0, function() note 'c' end)
        skynet.fork(note, 'b')
        skynet.timeout(2, function() note 'e' end)
        skynet.timeout(1, function() note 'd' end)
        note 'first'
        skynet.yield()
        skynet.sleep(4)
        assert(table.concat(order, ' ') == 'first a b c d e', table.concat(order, ' '))",
        &[],
    );
}

#[test]
fn an_error_in_a_fork_harms_no_other_coroutine() {
    passes(
        "local ran = 0
        skynet.fork(error, 'one')
        skynet.fork(function() ran = ran + 1 end)
        skynet.timeout(0, function() error {} end)
        skynet.timeout(1, function() ran = ran + 1 end)
        skynet.sleep(3)
        assert(ran == 2)",
        &[],
    );
}

#[test]
fn a_thread_that_waits_or_was_not_started_is_killed() {
    passes(
        "local ran = false
        local one = skynet.fork(function() ran = true end)
        assert(skynet.killthread(one) == one)
        local two = skynet.fork(function() skynet.sleep(2) ran = true end)
        skynet.yield()
        assert(skynet.task() >= 1)
        assert(skynet.killthread(two) == two)
        skynet.sleep(4)
        assert(not ran and not skynet.killthread(two))",
        &[],
    );
}

#[test]
fn a_hundred_thousand_timers_are_kept() {
    passes(
        "local left = 100000
        local me = {}
        for i = 1, left do
            skynet.timeout(i % 10, function()
                left = left - 1
                if left == 0 then skynet.wakeup(me) end
            end)
        end
        skynet.wait(me)
        assert(left == 0)",
        &[],
    );
}

#[test]
fn a_time_that_is_no_number_is_refused_and_harms_no_one() {
    let bad = "local skynet = require 'skynet'
        skynet.timeout(0/0, print)
        skynet.start(print)";
    passes(
        "for _, wait in ipairs { skynet.sleep, skynet.timeout } do
            for _, time in ipairs { 0/0, 1.5, math.huge, '0.5' } do
                local ok, err = pcall(wait, time, print)
                assert(not ok and type(err) == 'string', err)
                assert(err:find('number has no integer representation', 1, true), err)
            end
            local ok, err = pcall(wait, {}, print)
            assert(not ok and err:find('number expected, got table', 1, true), err)
        end
        assert(skynet.sleep(-1) == nil and skynet.sleep '1' == nil and skynet.sleep(1.0) == nil)
        for i = 1, 3 do assert(not pcall(skynet.newservice, 'bad')) end
        for _, line in pairs(skynet.call('.launcher', 'lua', 'LIST')) do
            assert(not line:find('bad', 1, true), line)
        end",
        &[("bad.lua", bad)],
    );
}

#[test]
fn the_end_of_a_service_fails_only_calls_that_wait_for_it() {
    let other = "local skynet = require 'skynet'
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, what)
                if what then skynet.retpack(what) else skynet.response() end
            end)
        end)";
    passes(
        "local socket = require 'skynet.socket'
        local first, second = skynet.newservice 'other', skynet.newservice 'other'
        local listener, _, port = socket.listen('127.0.0.1', 0)
        local peer
        socket.start(listener, function(id) socket.start(id) peer = id end)
        local id = assert(socket.open('127.0.0.1', port))
        local read, failed
        skynet.fork(function()
            assert(skynet.call(first, 'lua', 1) == 1)
            assert(skynet.call(first, 'lua', 2) == 2)
            read = socket.readline(id)
            failed = not pcall(skynet.call, first, 'lua')
        end)
        skynet.fork(function() pcall(skynet.call, second, 'lua') failed = 'the wrong one' end)
        while not peer do skynet.sleep(1) end
        assert(skynet.call(first, 'lua', 3) == 3)
        skynet.sleep(5)
        skynet.term(first)
        skynet.sleep(5)
        assert(read == nil)
        socket.write(peer, 'line\\n')
        while not read do skynet.sleep(1) end
        assert(read == 'line')
        skynet.sleep(5)
        skynet.term(first)
        while not failed do skynet.sleep(1) end
        assert(failed == true)",
        &[("other.lua", other)],
    );
}

#[test]
fn what_a_nested_dispatch_adds_runs_after_the_job_that_dispatched() {
    passes(
        "local order = {}
        local function note(what) order[#order + 1] = what end
        local token = {}
        skynet.fork(function() skynet.wait(token) note 'woken' end)
        skynet.yield()
        skynet.register_protocol { name = 'own', id = 100, pack = skynet.pack, unpack = skynet.unpack }
        skynet.dispatch('own', function(_, _, what)
            note(what)
            skynet.fork(note, 'fork of ' .. what)
            skynet.wakeup(token)
        end)
        skynet.fork(function()
            skynet.fork(note, 'before')
            for i = 1, 2 do
                local msg, size = skynet.pack('message ' .. i)
                skynet.dispatch_message(100, msg, size, 0, skynet.self())
            end
            skynet.fork(note, 'after')
        end)
        skynet.fork(note, 'second')
        skynet.sleep(1)
        local said = table.concat(order, ', ')
        assert(said == 'message 1, message 2, woken, second, before, fork of message 1, fork of message 2, after', said)
        skynet.fork(note, 'later')
        skynet.sleep(1)
        assert(order[#order] == 'later')",
        &[],
    );
}
