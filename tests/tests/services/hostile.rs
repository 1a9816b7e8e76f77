//! Services that harm others: the others go on, and the log names the culprit.

use super::script::{main_of, passes, run_with, service};

const BAD: &str = "function C.loop() while true do end end
    function C.recurse() local function f() return 1 + f() end f() end
    function C.allocate() local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end end
    function C.string() local s = 'x' while true do s = s .. s end end
    function C.limit(_, _, n) skynet.memlimit(n) skynet.retpack() end
    function C.ok() skynet.retpack 'ok' end";

#[test]
fn a_service_that_recurses_for_ever_fails_its_caller_and_goes_on() {
    let bad = service(BAD);
    passes(
        "local bad = skynet.newservice 'bad'
        for i = 1, 3 do assert(not pcall(skynet.call, bad, 'lua', 'recurse')) end
        assert(skynet.call(bad, 'lua', 'ok') == 'ok')",
        &[("bad.lua", &bad)],
    );
}

#[test]
fn a_service_that_allocates_for_ever_meets_its_limit_and_goes_on() {
    let bad = service(BAD);
    passes(
        "local bad = skynet.newservice 'bad'
        skynet.call(bad, 'lua', 'limit', 32 << 20)
        for _, command in ipairs { 'allocate', 'string' } do
            assert(not pcall(skynet.call, bad, 'lua', command))
            assert(skynet.call(bad, 'lua', 'ok') == 'ok')
        end",
        &[("bad.lua", &bad)],
    );
}

#[test]
fn a_service_that_loops_for_ever_is_named_and_services_of_another_loop_go_on() {
    let bad = service(BAD);
    // The launcher's loop is the one with the fewest services.
    let main = main_of(
        "local all = {}
        for i = 1, 3 do all[i] = skynet.newservice 'bad' end
        skynet.send(all[1], 'lua', 'loop')
        local alive = 0
        for i = 2, 3 do
            skynet.fork(function() if skynet.call(all[i], 'lua', 'ok') == 'ok' then alive = alive + 1 end end)
        end
        skynet.sleep(1200)
        print('alive', alive, skynet.address(all[1]))",
    );
    let files = [("main.lua", main.as_str()), ("bad.lua", bad.as_str())];
    let finished = run_with(&files, &["--loops", "4"]);
    let said = finished.said();
    let culprit = said
        .lines()
        .find_map(|line| line.strip_prefix("alive\t2\t"));
    let culprit = culprit.unwrap_or_else(|| panic!("{said}"));
    let report = format!("to [ {culprit} ] maybe in an endless loop");
    assert!(said.contains(&report), "{said}");
    assert!(finished.status.success(), "{finished:#?}");
}

#[test]
fn a_flooded_service_is_named_loses_nothing_and_slows_its_flooder_down() {
    let slow = service(
        "local n = 0
        function C.work() n = n + 1 end
        function C.count() skynet.retpack(n) end",
    );
    let flood = "local skynet = require 'skynet'
        local to, rounds = ...
        skynet.start(function()
            local function flood(left)
                for i = 1, 1000 do assert(skynet.send(tonumber(to), 'lua', 'work')) end
                if left > 1 then skynet.timeout(0, function() flood(left - 1) end)
                else skynet.send(tonumber(to), 'lua', 'work') end
            end
            flood(tonumber(rounds))
        end)";
    let main = main_of(
        "local slow = skynet.newservice 'slow'
        for i = 1, 3 do skynet.newservice('flood', slow, 100) end
        repeat skynet.sleep(5) local n = skynet.call(slow, 'lua', 'count') until n == 300003
        print 'all arrived'",
    );
    let files = [
        ("main.lua", main.as_str()),
        ("slow.lua", slow.as_str()),
        ("flood.lua", flood),
    ];
    for loops in ["1", "2"] {
        let finished = run_with(&files, &["--loops", loops]).expect_success();
        let said = finished.said();
        assert!(said.contains("all arrived"), "{said}");
        assert!(
            said.contains("May overload, message queue length = 1024"),
            "{said}"
        );
        assert!(!said.contains("lost"), "{said}");
    }
}

#[test]
fn bytes_that_are_no_values_fail_where_they_are_unpacked() {
    let strange = "local skynet = require 'skynet'
        skynet.start(function()
            skynet.dispatch('lua', function(session, source)
                skynet.ret '\\xff\\xfe no values'
            end)
        end)";
    passes(
        "local strange = skynet.newservice 'strange'
        assert(not pcall(skynet.call, strange, 'lua', 'x'))
        skynet.rawsend(strange, 'lua', '\\xff\\xff')
        assert(not pcall(skynet.call, strange, 'lua', 'x'))",
        &[("strange.lua", strange)],
    );
}

/// What a script wants to be run at the end of its service uses functions that work no more.
#[test]
fn finalizers_that_run_while_a_service_closes_get_errors() {
    let victim = "local skynet = require 'skynet'
        require 'skynet.manager'
        local socket, crypt, stm = require 'skynet.socket', require 'skynet.crypt', require 'skynet.stm'
        local writer = stm.new 'x'
        local acts = {
            function() return skynet.self() end,
            function() return skynet.call('.launcher', 'lua', 'LIST') end,
            function() return skynet.send('.launcher', 'lua', 'LIST') end,
            function() return skynet.error 'in a finalizer' end,
            function() return print 'in a finalizer' end,
            function() return require 'skynet.snax' end,
            function() return skynet.unpack(skynet.pack { 1, {} }) end,
            function() return skynet.newservice 'victim' end,
            function() return skynet.exit() end,
            function() return socket.listen('127.0.0.1', 0) end,
            function() return crypt.sha1 'x' end,
            function() return stm.copy(writer) end,
            function() return skynet.getenv 'start' end,
            function() return skynet.fork(print) end,
            function() return coroutine.wrap(function() return skynet.timeout(1, print) end)() end,
        }
        kept = setmetatable({}, { __gc = function()
            local failed = 0
            for _, act in ipairs(acts) do
                if not pcall(act) then failed = failed + 1 end
            end
            local file = io.open('finalized', 'w')
            file:write(failed > 0 and 'refused' or 'done')
            file:close()
        end })
        skynet.start(function() skynet.timeout(1, skynet.exit) end)";
    let main = main_of(
        "skynet.newservice 'victim'
        repeat skynet.sleep(1) until io.open 'finalized'
        print(skynet.call('.launcher', 'lua', 'LIST') ~= nil)",
    );
    let files = [("main.lua", main.as_str()), ("victim.lua", victim)];
    let finished = run_with(&files, &[]).expect_success();
    assert_eq!(finished.stdout, "true\n", "{finished:#?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:#?}");
}
