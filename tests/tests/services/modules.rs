//! Modules beside `skynet`.

use super::script::passes;

#[test]
fn a_lock_lets_one_coroutine_in_at_a_time_in_order_and_again_from_inside() {
    passes(
        "local queue = require 'skynet.queue'
        local lock, order = queue(), {}
        for i = 1, 4 do
            skynet.fork(function()
                lock(function(n)
                    order[#order + 1] = n
                    skynet.sleep(1)
                    lock(function() order[#order + 1] = n end)
                end, i)
            end)
        end
        skynet.sleep(10)
        assert(table.concat(order, ' ') == '1 1 2 2 3 3 4 4', table.concat(order, ' '))
        local ok, err = pcall(lock, error, 'inside')
        assert(not ok and err:find 'inside')
        assert(select('#', lock(function() return 1, nil, 3 end)) == 3)",
        &[],
    );
}

#[test]
fn a_coroutine_of_the_scripts_own_waits_with_its_resumer() {
    passes(
        "local co = require 'skynet.coroutine'
        local thread = co.create(function(a)
            skynet.sleep(1)
            local b = co.yield(a + 1)
            skynet.sleep(1)
            return b + 1
        end)
        local seen
        skynet.timeout(0, function() seen = co.status(thread) end)
        local ok, value = co.resume(thread, 1)
        assert(ok and value == 2 and seen == 'blocked' and co.status(thread) == 'suspended')
        ok, value = co.resume(thread, 10)
        assert(ok and value == 11 and co.status(thread) == 'dead')
        local f = co.wrap(function() skynet.sleep(1) error 'inside' end)
        local ok, err = pcall(f)
        assert(not ok and err:find 'inside')
        local me = coroutine.running()
        assert(select(2, co.thread(me)) == true and co.isyieldable())
        co.resume(co.create(function() assert(co.thread() == me) end))",
        &[],
    );
}

#[test]
fn a_value_that_one_service_sets_is_seen_by_another_that_waits_for_it() {
    let waiter = "local skynet = require 'skynet'
        local datacenter = require 'skynet.datacenter'
        skynet.start(function()
            skynet.dispatch('lua', function() skynet.retpack(datacenter.wait('a', 'b')) end)
        end)";
    passes(
        "local datacenter = require 'skynet.datacenter'
        local waiter = skynet.newservice 'waiter'
        local got
        skynet.fork(function() got = skynet.call(waiter, 'lua') end)
        skynet.sleep(3)
        assert(got == nil and datacenter.get('a', 'b') == nil)
        assert(datacenter.set('a', 'b', 7) == nil)
        skynet.sleep(3)
        assert(got == 7 and datacenter.get('a', 'b') == 7 and datacenter.get('a').b == 7)
        assert(datacenter.set('a', 'b', 8) == 7 and datacenter.wait('a', 'b') == 8)
        assert(not pcall(datacenter.set, 'a', 'b', 'c', 9))
        datacenter.set('a', 'b', nil)
        assert(datacenter.get('a', 'b') == nil)",
        &[("waiter.lua", waiter)],
    );
}

#[test]
fn a_module_that_is_not_there_says_so() {
    passes(
        "for _, name in ipairs { 'skynet.nosuch', 'http.nosuch' } do
            local ok, err = pcall(require, name)
            local why = (\"no module '%s' in this version of Moorline\"):format(name)
            assert(not ok and err:find(why, 1, true), err)
        end
        assert(not pcall(require, 'nobodys_module'))",
        &[],
    );
}

/// Scripts that were written before modules had `skynet.` in their names.
#[test]
fn modules_have_their_older_names_too() {
    let own = "return 'a file of the user'";
    passes(
        "for _, name in ipairs {
            'crypt', 'datacenter', 'dns', 'memory', 'mqueue', 'multicast', 'netpack', 'profile', 'sharedata', 'sharemap', 'snax',
            'socketchannel', 'socketdriver', 'stm',
        } do
            assert(require(name) == require('skynet.' .. name), name)
        end
        assert(require 'socket' == 'a file of the user')
        -- Also in a coroutine of a service, where modules may wait.
        skynet.fork(function() assert(require 'skynet.socket'.open) end)
        skynet.yield()",
        &[("socket.lua", own)],
    );
}

#[test]
fn a_function_that_wraps_a_coroutine_closes_what_an_error_leaves_open() {
    passes(
        "local closed = 0
        for _, module in ipairs { 'skynet.coroutine', 'skynet.profile' } do
            local f = require(module).wrap(function()
                local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
                error 'inside'
            end)
            local ok, err = pcall(f)
            assert(not ok and err:find 'inside', err)
            ok, err = pcall(f)
            assert(not ok and err:find 'dead', err)
        end
        assert(closed == 2)",
        &[],
    );
}
