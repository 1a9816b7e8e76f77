//! Calls, answers, protocols.

use super::script::{main_of, passes, run, service};

#[test]
fn values_come_back_from_another_service_as_they_were() {
    let echo = service("function C.echo(_, _, ...) skynet.retpack(...) end");
    passes(
        "local echo = skynet.newservice 'echo'
        local function back(...) return skynet.call(echo, 'lua', 'echo', ...) end
        assert(select('#', back()) == 0)
        assert(select('#', back(nil, nil)) == 2)
        local a, b, c, d = back(1, 1.5, 'x\\0y', false)
        assert(math.type(a) == 'integer' and math.type(b) == 'float' and c == 'x\\0y' and d == false)
        local t = back {1, 2, x = {y = ('z'):rep(1000)}}
        assert(#t == 2 and t.x.y == ('z'):rep(1000))
        assert(back(-2^53 | 0) == -2^53 | 0 and back(math.maxinteger) == math.maxinteger)",
        &[("echo.lua", &echo)],
    );
}

#[test]
fn a_service_answers_later_from_another_coroutine_and_says_whether_its_caller_waits() {
    let later = service(
        "function C.later(_, _, ...)
            local response, values = skynet.response(), table.pack(...)
            skynet.timeout(1, function()
                assert(response 'TEST')
                response(true, table.unpack(values, 1, values.n))
                assert(not pcall(response, true))
            end)
        end
        function C.refuse() skynet.response()(false) end",
    );
    passes(
        "local later = skynet.newservice 'later'
        assert(select(2, skynet.call(later, 'lua', 'later', 1, 2)) == 2)
        local ok, err = pcall(skynet.call, later, 'lua', 'refuse')
        assert(not ok and err:find 'call failed', err)",
        &[("later.lua", &later)],
    );
}

#[test]
fn an_error_in_a_service_fails_its_caller_and_is_logged_with_file_line_and_traceback() {
    let broken = service(
        "function C.break_() local t = nil; return t.x end\nfunction C.ok() skynet.retpack 'ok' end",
    );
    let main = main_of(
        "local broken = skynet.newservice 'broken'
        local ok, err = pcall(function() skynet.call(broken, 'lua', 'break_') end)
        print(ok, err)
        print(skynet.call(broken, 'lua', 'ok'))",
    );
    let finished = run(&[("main.lua", &main), ("broken.lua", &broken)]);
    let said = finished.said();
    for words in [
        "false\t./main.lua:5: call failed",
        "\nok\n",
        "lua call [",
        "error : ./broken.lua:3: attempt to index a nil value (local 't')",
        "stack traceback:",
        "\n\t./broken.lua:3: in ",
    ] {
        assert!(said.contains(words), "{words:?} is not said:\n{said}");
    }
}

#[test]
fn a_call_to_a_service_that_is_gone_or_goes_away_fails() {
    let going =
        service("function C.go() skynet.exit() end\nfunction C.wait() skynet.sleep(100000) end");
    passes(
        "local going = skynet.newservice 'going'
        local failed
        skynet.fork(function()
            failed = not pcall(skynet.call, going, 'lua', 'wait')
        end)
        skynet.sleep(1)
        assert(not pcall(skynet.call, going, 'lua', 'go'))
        skynet.sleep(1)
        assert(failed)
        local ok, err = pcall(skynet.call, going, 'lua', 'go')
        assert(not ok and err:find('call to invalid address ' .. skynet.address(going), 1, true), err)
        assert(not skynet.send(going, 'lua', 'go'))
        local killed = skynet.newservice 'going'
        skynet.fork(function() skynet.sleep(1) skynet.kill(killed) end)
        assert(not pcall(skynet.call, killed, 'lua', 'wait'))",
        &[("going.lua", &going)],
    );
}

#[test]
fn a_protocol_of_the_users_own_has_its_pack_unpack_and_dispatch() {
    let text = "local skynet = require 'skynet'
        skynet.register_protocol {
            name = 'text', id = skynet.PTYPE_TEXT,
            pack = function(s) return s end, unpack = skynet.tostring,
            dispatch = function(session, source, text)
                skynet.ret(skynet.packstring and text:upper())
            end,
        }
        skynet.start(function() end)";
    passes(
        "skynet.register_protocol { name = 'text', id = skynet.PTYPE_TEXT,
            pack = function(s) return s end, unpack = skynet.tostring }
        local text = skynet.newservice 'text'
        assert(skynet.call(text, 'text', 'hello') == 'HELLO')
        local msg, sz = skynet.rawcall(text, 'text', 'raw')
        assert(skynet.tostring(msg, sz) == 'RAW' and sz == 3)
        assert(skynet.send(text, 'text', 'hello'))
        assert(not pcall(skynet.register_protocol, { name = 'text', id = 99 }))",
        &[("text.lua", text)],
    );
}

#[test]
fn packed_values_are_a_message_that_can_be_sent_once() {
    let echo = service("function C.echo(_, _, ...) skynet.ret(skynet.pack(...)) end");
    passes(
        "local echo = skynet.newservice 'echo'
        local msg, sz = skynet.pack('echo', 1, {2})
        local a, b = select(2, skynet.unpack(msg, sz))
        assert(a == 1 and b[1] == 2)
        local one, two = skynet.unpack(skynet.rawcall(echo, 'lua', msg, sz))
        assert(one == 1 and two[1] == 2)
        assert(not pcall(skynet.unpack, msg, sz))
        local text = skynet.packstring(7, 'x')
        assert(type(text) == 'string' and select('#', skynet.unpack(text)) == 2)
        skynet.trash(skynet.pack 'unsent')
        assert(not pcall(skynet.pack, print) and not pcall(skynet.call, echo, 'lua', 'echo', print))
        local t = {} t.t = t
        assert(not pcall(skynet.pack, t))",
        &[("echo.lua", &echo)],
    );
}

#[test]
fn a_request_is_passed_on_and_the_caller_is_answered_by_the_other_one() {
    let front = "local skynet = require 'skynet'
        local back = ...
        skynet.start(function()
            skynet.dispatch('lua', function(session, source, ...)
                skynet.ignoreret()
                skynet.redirect(tonumber(back), source, 'lua', session, skynet.pack(...))
            end)
        end)";
    let back = service("function C.who(_, source) skynet.retpack(source) end");
    passes(
        "local back = skynet.newservice 'back'
        local front = skynet.newservice('front', back)
        assert(skynet.call(front, 'lua', 'who') == skynet.self())",
        &[("front.lua", front), ("back.lua", &back)],
    );
}

#[test]
fn many_calls_are_in_flight_at_once_and_select_gives_each_answer_when_it_comes() {
    let slow = service("function C.wait(_, _, ti) skynet.sleep(ti) skynet.retpack(ti) end");
    passes(
        "local slow = skynet.newservice 'slow'
        local order = {}
        for req, resp in skynet.request { slow, 'lua', 'wait', 6 }:add { slow, 'lua', 'wait', 1 }:select() do
            order[#order + 1] = resp[1]
        end
        assert(order[1] == 1 and order[2] == 6 and #order == 2)
        local seen = 0
        for req, resp in skynet.request { slow, 'lua', 'wait', 1 }:add { slow, 'lua', 'wait', 1000 }:select(10) do
            seen = seen + 1
        end
        assert(seen == 1)",
        &[("slow.lua", &slow)],
    );
}

#[test]
fn messages_from_one_service_to_another_keep_their_order() {
    let counter = service(
        "local next = 1
        function C.number(_, _, n) assert(n == next, n) next = next + 1 end
        function C.next() skynet.retpack(next) end",
    );
    passes(
        "local counter = skynet.newservice 'counter'
        for i = 1, 5000 do skynet.send(counter, 'lua', 'number', i) end
        assert(skynet.call(counter, 'lua', 'next') == 5001)",
        &[("counter.lua", &counter)],
    );
}

#[test]
fn a_forgotten_answer_an_unknown_request_and_an_unknown_session_are_logged() {
    let silent = service("function C.nothing() end");
    let main = main_of(
        "local silent = skynet.newservice 'silent'
        skynet.fork(skynet.call, silent, 'lua', 'nothing')
        skynet.redirect(silent, skynet.self(), skynet.PTYPE_RESPONSE, 77, skynet.pack 'late')
        skynet.redirect(silent, skynet.self(), skynet.PTYPE_CLIENT, 0, 'what')
        skynet.sleep(2)",
    );
    let finished = run(&[("main.lua", &main), ("silent.lua", &silent)]);
    let said = finished.said();
    for words in [
        "Maybe forgot response session",
        "Unknown session : 77 from",
        "Unknown request (3): what",
    ] {
        assert!(said.contains(words), "{words:?} is not said:\n{said}");
    }
}
