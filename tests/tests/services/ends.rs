//! The end of a service: what its finalizers still can do, and what becomes of those that do not return.

use super::script::{main_of, run_with};

/// A service that ends and tries in a finalizer what it has kept.
const VICTIM: &str = "local skynet = require 'skynet'
        local socket, core = require 'skynet.socket', require 'moorline.core'
        local driver, netpack = require 'skynet.socketdriver', require 'skynet.netpack'
        local to, open = ...
        to, open = tonumber(to), tonumber(open)
        local names = {
            call = { to, 10 }, send = { to, 10, 'late' }, rawsend = { to, 10, skynet.packstring 'late' },
            rawcall = { to, 10, skynet.packstring 'late' }, redirect = { to, to, 10, 0, skynet.packstring 'late' },
            reply = { to, 1 }, respond = { to, 1, '' }, fail = { to, 1 }, pack = { 1 }, packstring = { 1 }, unpack = { '' },
            tostring = { '' }, trash = { '' }, keeps = { 1 }, unpacks = { 1, true }, launch = { 'late' },
            launch_now = { 'snlua', 'late' }, rest = {}, debug = {}, trace = {}, start = { print }, ready = {}, failed = { 'late' },
            exit = {}, kill = { to }, abort = {}, find = { '.late' }, name = { '.late', to }, is_alive = { to }, self = {},
            services = {}, signal = { to, 0 }, logon = { to }, logoff = { to }, timeout = { 1 }, genid = {}, now = {}, hpc = {},
            starttime = {}, log = { 'late' }, log_failure = { to, 1, 'late' }, getenv = { 'x' }, setenv = { 'late', '1' },
            memlimit = { 0 }, mqlen = {}, stat = { 'mqlen' }, socket_listen = { '127.0.0.1', 0 },
            socket_connect = { '127.0.0.1', open }, socket_udp = { '127.0.0.1', 0 }, socket_bind = { 0 }, socket_start = { 1 },
            socket_resolve = { 'localhost' }, socket_write = { 1, 'late' }, socket_close = { 1 }, socket_info = {},
            driver_buffer = {}, driver_str2p = { 'x' },
        }
        local kept = {}
        for name in pairs(names) do kept[name] = assert(core[name], name) end
        local guard = {}
        setmetatable(guard, { __gc = function()
            local worked = {}
            for name, function_of in pairs(kept) do
                local ok, why = pcall(function_of, table.unpack(names[name]))
                if ok or not tostring(why):find('the service has ended', 1, true) then worked[#worked + 1] = name end
            end
            local file = io.open('finalized.new', 'w')
            file:write(#worked == 0 and 'all refuse' or table.concat(worked, ' '))
            file:close()
            os.rename('finalized.new', 'finalized')
        end })
        skynet.start(function() kept.guard = guard kept.guard = nil _G.guard = guard skynet.timeout(1, skynet.exit) end)";

/// Functions that a script has kept are no way around the end of its service.
#[test]
fn functions_that_a_script_has_kept_refuse_to_work_in_its_finalizers() {
    let main = main_of(
        "local socket = require 'skynet.socket'
        local listener, _, port = socket.listen('127.0.0.1', 0)
        local late = 0
        socket.start(listener, function() late = late + 1 end)
        skynet.dispatch('lua', function() late = late + 1 end)
        local before = #socket.netstat()
        skynet.newservice('victim', skynet.self(), port)
        local file
        repeat skynet.sleep(1) file = io.open 'finalized' until file
        print(file:read 'a')
        skynet.sleep(20)
        print(late, #socket.netstat() - before, skynet.localname '.late', skynet.getenv 'late')
        for _, line in pairs(skynet.call('.launcher', 'lua', 'LIST')) do assert(not line:find 'late', line) end",
    );
    let files = [
        ("main.lua", main.as_str()),
        ("victim.lua", VICTIM),
        (
            "late.lua",
            "local skynet = require 'skynet' skynet.start(print)",
        ),
    ];
    for loops in ["1", "2"] {
        let finished = run_with(&files, &["--loops", loops]).expect_success();
        assert_eq!(
            finished.stdout, "all refuse\n0\t0\tnil\tnil\n",
            "{finished:#?}"
        );
        assert!(!finished.said().contains("late"), "{finished:#?}");
    }
}

/// Each of these would go on for ever.
const ENDLESS: &[&str] = &[
    "spin()",
    "while true do pcall(spin) end",
    "while true do xpcall(spin, spin) end",
    "while true do coroutine.resume(coroutine.create(spin)) end",
    "while true do pcall(coroutine.wrap(spin)) end",
    "while true do load(spin) end",
    "while true do
        local co = coroutine.create(function()
            local x <close> = setmetatable({}, { __close = spin })
            coroutine.yield()
        end)
        coroutine.resume(co)
        coroutine.close(co)
    end",
    "do local x <close> = setmetatable({}, { __close = spin }) end",
    "debug.sethook(spin, 'l') local x = 1 x = 2",
    "while true do
        pcall(function() local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end end)
    end",
    "while true do pcall(table.sort, { 3, 2, 1 }, spin) end",
    "while true do pcall(string.gsub, 'xxx', '.', spin) end",
];

#[test]
fn finalizers_that_do_not_return_are_named_and_cut_off() {
    let mut victim = "local skynet = require 'skynet'
        skynet.memlimit(32 << 20)
        local function spin() while true do end end
        kept = {}
        local function add(f) kept[#kept + 1] = setmetatable({}, { __gc = f }) end
        add(function() local file = io.open('first', 'w') file:write 'x' file:close() end)\n"
        .to_owned();
    for body in ENDLESS {
        victim += &format!("add(function() {body} end)\n");
    }
    victim += "for i = 1, 200 do add(spin) end
        skynet.start(function() skynet.timeout(1, skynet.exit) end)";
    let main = main_of(
        "local victim = skynet.newservice 'victim'
        print(skynet.address(victim))
        repeat skynet.sleep(10) until io.open 'first'
        print 'goes on'",
    );
    let files = [("main.lua", main.as_str()), ("victim.lua", victim.as_str())];
    let finished = run_with(&files, &["--loops", "1"]).expect_success();
    let said = finished.said();
    let address = said.lines().next().expect("it prints an address");
    let named = format!("The end of [ {address} ] maybe in an endless loop, for 5 s");
    for words in [
        named.as_str(),
        "stack traceback:",
        "./victim.lua:3: in",
        "its finalizers are cut off",
        "goes on",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_service_that_does_not_start_is_cut_off_too() {
    let victim =
        "kept = setmetatable({}, { __gc = function() while true do end end }) error 'no start'";
    let main = main_of(
        "print(pcall(skynet.newservice, 'victim'))
        skynet.sleep(1)",
    );
    let files = [("main.lua", main.as_str()), ("victim.lua", victim)];
    let said = run_with(&files, &["--loops", "1"]).expect_success().said();
    assert!(
        said.contains("no start") && said.contains("its finalizers are cut off"),
        "{said}"
    );
}

/// The collector runs finalizers in the middle of a message, too.
#[test]
fn a_signal_ends_a_finalizer_that_the_collector_runs() {
    let bad = super::script::service(
        "local function spin() while true do end end
        function C.collect()
            setmetatable({}, { __gc = function() while true do pcall(spin) end end })
            collectgarbage()
        end
        function C.closes()
            local co = coroutine.create(function()
                local x <close> = setmetatable({}, { __close = spin })
                coroutine.yield()
            end)
            coroutine.resume(co)
            coroutine.close(co)
            spin()
        end
        function C.many() while true do coroutine.resume(coroutine.create(spin)) end end
        function C.ok() skynet.retpack 'ok' end",
    );
    let main = main_of(
        "local core = require 'moorline.core'
        local bad = skynet.newservice 'bad'
        for _, command in ipairs { 'collect', 'closes', 'many' } do
            local failed = false
            skynet.fork(function() failed = not pcall(skynet.call, bad, 'lua', command) end)
            repeat skynet.sleep(1) core.signal(bad, 0) until failed
            assert(skynet.call(bad, 'lua', 'ok') == 'ok', command)
        end
        print 'all ended'",
    );
    let files = [("main.lua", main.as_str()), ("bad.lua", bad.as_str())];
    let finished = run_with(&files, &["--loops", "2"]).expect_success();
    assert!(finished.stdout.ends_with("all ended\n"), "{finished:#?}");
}
