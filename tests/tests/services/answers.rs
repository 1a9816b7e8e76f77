//! Every call is answered once, whatever its handler does.

use super::script::{main_of, passes, run, service};

#[test]
fn a_call_that_is_passed_on_to_nobody_fails_at_once() {
    let front = "local skynet = require 'skynet'
        skynet.start(function()
            skynet.dispatch('lua', function(session, source, to)
                skynet.ignoreret()
                assert(not skynet.redirect(to, source, 'lua', session, skynet.pack 'x'))
            end)
        end)";
    let gone = "local skynet = require 'skynet' skynet.start(function() skynet.timeout(0, skynet.exit) end)";
    passes(
        "local front, gone = skynet.newservice 'front', skynet.newservice 'gone'
        skynet.sleep(5)
        for _, to in ipairs { gone, '.nobody', 0x7fffffff, skynet.address(gone) } do
            local ok, err = pcall(skynet.call, front, 'lua', to)
            assert(not ok and err:find 'call failed', err)
        end",
        &[("front.lua", front), ("gone.lua", gone)],
    );
}

#[test]
fn a_response_fails_its_call_or_answers_it_and_is_used_once() {
    let later = service(
        "function C.refuse() assert(skynet.response()(false, {'any'}, print)) end
        function C.table() assert(skynet.response()(true, {'any'}) == true) end
        function C.unpackable()
            local response = skynet.response()
            assert(not pcall(response, true, 1, print) and response 'TEST')
            assert(response(true, 'second') and not response 'TEST')
            assert(not pcall(response, true))
        end
        function C.unpacked()
            local response = skynet.response(function(...) return ... end)
            local ok, err = pcall(response, true, {})
            assert(not ok and err:find 'invalid param table', err)
            response(true, skynet.packstring 'text')
        end
        function C.send() local response = skynet.response() assert(response(true, 1) == nil and response(false) == nil) end",
    );
    passes(
        "local later = skynet.newservice 'later'
        local function call(...) return skynet.call(later, 'lua', ...) end
        local ok, err = pcall(call, 'refuse')
        assert(not ok and err:find 'call failed$', err)
        assert(call 'table'[1] == 'any' and call 'unpackable' == 'second' and call 'unpacked' == 'text')
        skynet.send(later, 'lua', 'send')
        assert(call 'table')",
        &[("later.lua", &later)],
    );
}

#[test]
fn an_answer_that_cannot_be_sent_fails_its_handler_and_its_caller() {
    let bad = service(
        "function C.second() skynet.retpack(1, print) end
        function C.packed() skynet.ret(skynet.pack(1, {x = print})) end
        function C.size() skynet.ret('text', 'no size') end
        function C.table() skynet.ret {} end
        function C.twice() local msg, sz = skynet.pack(1) skynet.trash(msg, sz) skynet.ret(msg, sz) end
        function C.again() assert(not pcall(skynet.retpack, print)) skynet.retpack 'again' end
        function C.no_text() error(setmetatable({}, {__tostring = function() error 'no text' end})) end
        function C.close()
            local x <close> = setmetatable({}, {__close = function() error 'at the end' end})
            error 'first'
        end",
    );
    passes(
        "local bad = skynet.newservice 'bad'
        local function call(...) return skynet.call(bad, 'lua', ...) end
        for _, command in ipairs { 'second', 'packed', 'table', 'twice', 'no_text', 'close' } do
            assert(not pcall(call, command), command)
        end
        assert(call 'again' == 'again')
        assert(select(2, pcall(skynet.rawcall, bad, 'lua', skynet.packstring 'size')))",
        &[("bad.lua", &bad)],
    );
}

#[test]
fn a_failed_raw_call_and_a_late_answer_leave_nothing_behind() {
    let slow = service(
        "function C.late(_, _, ti) skynet.sleep(ti) skynet.retpack 'late' end
        function C.fail() error 'no' end",
    );
    let main = main_of(
        "local slow = skynet.newservice 'slow'
        for i = 1, 100 do assert(not pcall(skynet.rawcall, slow, 'lua', skynet.pack 'fail')) end
        assert(skynet.call(slow, 'lua', 'late', 0) == 'late')
        local co = skynet.fork(skynet.call, slow, 'lua', 'late', 3)
        skynet.sleep(1)
        assert(skynet.killthread(co) == co)
        local ran
        local timer = skynet.timeout(2, function() ran = true end)
        assert(skynet.killthread(timer) == timer and not skynet.killthread(timer))
        skynet.sleep(10)
        assert(not ran and skynet.task() == 0)
        print 'done'",
    );
    let finished = run(&[("main.lua", &main), ("slow.lua", &slow)]).expect_success();
    assert!(finished.stdout.ends_with("done\n"), "{finished:#?}");
    assert!(
        !finished.said().contains("Unknown session"),
        "{finished:#?}"
    );
}

#[test]
fn requests_that_are_closed_or_late_give_their_sessions_back() {
    let slow = service(
        "function C.wait(_, _, ti) skynet.sleep(ti) skynet.retpack(ti) end
        function C.fail() error 'no' end",
    );
    let main = main_of(
        "local slow = skynet.newservice 'slow'
        local function requests(n, ti)
            local all = skynet.request()
            for i = 1, n do all:add { slow, 'lua', 'wait', ti } end
            return all
        end
        for i = 1, 20 do
            for _, answer in requests(20, 2):select() do assert(answer[1] == 2) break end
            for _ in requests(20, 3):select(1) do error 'it is late' end
        end
        local open = requests(1, 1)
        local next = open:select()
        open:close()
        assert(next() == nil and not pcall(open.add, open, {}) and not pcall(open.select, open))
        local seen = {}
        for request, answer in requests(1, 0) { slow, 'lua', 'fail' } { '.nobody', 'lua' } :select() do
            seen[#seen + 1] = request[3] or 'nobody'
            assert(request[3] ~= 'fail' or answer == false)
            assert(request[1] ~= '.nobody' or answer == nil)
        end
        table.sort(seen)
        assert(table.concat(seen, ' ') == 'fail nobody wait')
        assert(not pcall(skynet.request({ slow, 'lua', 'wait', print }).select, skynet.request { slow, 'lua', print }))
        skynet.sleep(20)
        assert(skynet.task() == 0)
        print 'done'",
    );
    let finished = run(&[("main.lua", &main), ("slow.lua", &slow)]).expect_success();
    assert!(finished.stdout.ends_with("done\n"), "{finished:#?}");
    assert!(
        !finished.said().contains("Unknown session"),
        "{finished:#?}"
    );
}

#[test]
fn the_monitor_is_told_of_each_end() {
    let monitor = "local skynet = require 'skynet'
        local ended = {}
        skynet.register_protocol { name = 'client', id = skynet.PTYPE_CLIENT, unpack = function() end,
            dispatch = function(_, source) ended[source] = true end }
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, id) skynet.retpack(ended[id]) end)
        end)";
    let ends = "local skynet = require 'skynet' skynet.start(function() skynet.timeout(0, skynet.exit) end)";
    passes(
        "local monitor = skynet.monitor 'monitor'
        local id = skynet.newservice 'ends'
        repeat skynet.sleep(1) until skynet.call(monitor, 'lua', id)",
        &[("monitor.lua", monitor), ("ends.lua", ends)],
    );
}

#[test]
fn errors_of_packing_and_unpacking_are_texts() {
    passes(
        "for _, f in ipairs { skynet.pack, skynet.packstring } do
            local ok, err = pcall(f, 1, print)
            assert(not ok and err == 'Unsupport type function to serialize', err)
        end
        local ok, err = pcall(skynet.unpack, '\\xff')
        assert(not ok and err == 'Invalid serialize stream', err)",
        &[],
    );
}

#[test]
fn a_finalizer_may_use_messages_while_others_are_unpacked() {
    passes(
        "local ended, stop = 0, false
        local function again()
            setmetatable({}, {__gc = function()
                skynet.trash(skynet.pack(ended))
                ended = ended + 1
                if not stop then again() end
            end})
        end
        for i = 1, 10 do again() end
        local t = {}
        for i = 1, 10000 do t[i] = {i, tostring(i)} end
        local msg, sz = skynet.pack(t)
        for i = 1, 30 do assert(#skynet.unpack(msg, sz) == 10000 and #skynet.tostring(msg, sz) == sz) end
        stop = true
        assert(ended > 0)
        skynet.trash(msg, sz)",
        &[],
    );
}
