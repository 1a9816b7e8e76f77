//! Other ways to start a service: functions, filters, forwarding, other hosts.

use super::script::{passes, service};

#[test]
fn a_service_is_made_of_a_function_once_for_each_name() {
    let user = "local skynet = require 'skynet'
        local service = require 'skynet.service'
        skynet.start(function()
            skynet.dispatch('lua', function() skynet.retpack(service.query 'store') end)
        end)";
    passes(
        "local service = require 'skynet.service'
        local user = skynet.newservice 'user'
        local queried
        skynet.fork(function() queried = skynet.call(user, 'lua') end)
        local function store(first)
            local skynet = require 'skynet'
            local values = { first }
            skynet.start(function()
                skynet.dispatch('lua', function(_, _, command, key, value)
                    if command == 'set' then values[key] = value end
                    skynet.retpack(values[key])
                end)
            end)
        end
        local ids = {}
        for i = 1, 3 do skynet.fork(function() ids[i] = service.new('store', store, 'one') end) end
        skynet.sleep(10)
        local id = service.new('store', store, 'two')
        assert(ids[1] == id and ids[2] == id and ids[3] == id and service.address == id and queried == id)
        assert(skynet.call(id, 'lua', 'get', 1) == 'one' and skynet.call(id, 'lua', 'set', 'k', 'v') == 'v')
        local up = 1
        assert(not pcall(service.new, 'up', function() return up end))
        assert(not pcall(service.new, 'bad', function() error 'no' end))
        assert(service.close 'store' and not service.close 'store')
        skynet.sleep(5)
        assert(not pcall(skynet.call, id, 'lua', 'get', 1) and service.new('store', store) ~= id)",
        &[("user.lua", user)],
    );
}

#[test]
fn a_filter_sees_and_changes_every_message() {
    let filtered = "local skynet = require 'skynet' require 'skynet.manager'
        local kinds = {}
        skynet.register_protocol { name = 'text', id = skynet.PTYPE_TEXT, unpack = skynet.tostring }
        skynet.filter(function(kind, msg, sz, session, source)
            kinds[kind] = (kinds[kind] or 0) + 1
            if kind == skynet.PTYPE_TEXT then
                return skynet.PTYPE_LUA, skynet.packstring('text', skynet.tostring(msg, sz)), nil, session, source
            end
            return kind, msg, sz, session, source
        end, function()
            local other = skynet.newservice 'other'
            skynet.dispatch('lua', function(_, _, command, text)
                skynet.sleep(0)
                local n = skynet.call(other, 'lua', 'n')
                skynet.retpack(command, text, n, kinds[skynet.PTYPE_RESPONSE] > 0)
            end)
        end)";
    let other = service("function C.n() skynet.retpack(7) end");
    passes(
        "local filtered = skynet.newservice 'filtered'
        skynet.register_protocol { name = 'text', id = skynet.PTYPE_TEXT, pack = function(text) return text end, unpack = skynet.unpack }
        local command, text, n, seen = skynet.call(filtered, 'lua', 'plain', 'x')
        assert(command == 'plain' and text == 'x' and n == 7 and seen)
        assert(select(2, skynet.call(filtered, 'text', 'hello')) == 'hello')",
        &[("filtered.lua", filtered), ("other.lua", &other)],
    );
}

#[test]
fn forwarded_messages_are_passed_on_as_they_are_also_later() {
    let forwards = "local skynet = require 'skynet' require 'skynet.manager'
        local to = tonumber((...))
        skynet.register_protocol { name = 'system', id = skynet.PTYPE_SYSTEM, unpack = function(...) return ... end }
        skynet.forward_type({ [skynet.PTYPE_LUA] = skynet.PTYPE_SYSTEM }, function()
            skynet.dispatch('system', function(session, source, msg, sz)
                skynet.sleep(1)
                skynet.ret(skynet.rawcall(to, 'lua', msg, sz))
            end)
        end)";
    let echo = service("function C.echo(_, _, ...) skynet.retpack(...) end");
    passes(
        "local forwards = skynet.newservice('forwards', skynet.newservice 'echo')
        local a, b = skynet.call(forwards, 'lua', 'echo', 1, { x = 2 })
        assert(a == 1 and b.x == 2)
        assert(skynet.call(forwards, 'debug', 'PING') == nil)",
        &[("forwards.lua", forwards), ("echo.lua", &echo)],
    );
}

#[test]
fn a_logger_writes_texts_and_other_hosts_are_not_there() {
    passes(
        "skynet.register_protocol { name = 'text', id = skynet.PTYPE_TEXT, pack = function(text) return text end }
        local logger = skynet.launch('logger', 'lines.log')
        skynet.send(logger, 'text', 'hello')
        skynet.call(logger, 'debug', 'PING')
        local file = assert(io.open 'lines.log')
        assert(file:read 'a':find('[' .. skynet.address(skynet.self()) .. '] hello', 1, true))
        assert(skynet.launch('harbor', 0) == nil and skynet.launch() == nil)
        assert(skynet.cache.mode() == 'ON' and skynet.cache.mode 'OFF' == 'OFF' and skynet.cache.clear() == nil)
        assert(not pcall(skynet.cache.mode, 'NONE') and require 'skynet.codecache' == skynet.cache and skynet.cache.loadfile)",
        &[],
    );
}

#[test]
fn a_name_whose_service_was_not_launched_is_not_blocked() {
    passes(
        "local service = require 'skynet.service'
        for i = 1, 3 do
            local ok, err = pcall(service.new, '\\xff', function() end)
            assert(not ok, err)
        end",
        &[],
    );
}
