//! Modules that look into services, load modules that wait, and name services for other nodes.

use super::script::{passes, service};

#[test]
fn a_text_runs_at_a_level_of_a_coroutine() {
    passes(
        "local inject = require 'skynet.injectcode'
        local shared = 1
        local function f(a, ...)
            local b = a + shared
            local results = { inject('shared = shared + 1; b = b * 10; return a, b, select(\"#\", ...), extra', nil, 0, { extra = 'x' }) }
            return b, results
        end
        local b, results = f(2, 'p', 'q')
        assert(b == 30 and shared == 2, b)
        assert(results[1] == true and results[2] == 2 and results[3] == 30 and results[4] == 2 and results[5] == 'x')
        local co = coroutine.create(function(n) local kept = n coroutine.yield() return kept end)
        coroutine.resume(co, 5)
        assert(inject('kept = kept + 1', co, 1) == true)
        assert(select(2, coroutine.resume(co)) == 6)
        local ok, why = inject('return = 1')
        assert(ok == false and why:find 'debug')
        ok, why = inject('error \"no luck\"')
        assert(ok == false and why:find 'no luck')
        ok, why = inject('return 1', nil, 1000)
        assert(ok == false and why == 'Invalid level')",
        &[],
    );
}

#[test]
fn a_module_that_is_required_in_a_coroutine_may_wait_and_has_its_inits_after_it() {
    let slow = "local skynet = require 'skynet'
        local M = { name = ..., order = {} }
        skynet.init(function() table.insert(M.order, 'init') skynet.sleep(1) M.ready() end)
        function M.ready() M.is_ready = true end
        skynet.sleep(2)
        M.inner = require 'inner'
        table.insert(M.order, 'body')
        return M";
    let inner =
        "local skynet = require 'skynet' skynet.yield() loads = (loads or 0) + 1 return { loads }";
    let broken = "require('skynet').yield() error 'no luck'";
    passes(
        "local results = {}
        for i = 1, 3 do skynet.fork(function() results[i] = require 'slow' end) end
        local slow = require 'slow'
        assert(slow.is_ready and table.concat(slow.order, ' ') == 'body init' and slow.name == 'slow')
        skynet.sleep(5)
        assert(results[1] == slow and results[2] == slow and results[3] == slow and loads == 1)
        for i = 1, 2 do
            local ok, why = pcall(require, 'broken')
            assert(not ok and why:find 'no luck', why)
        end
        assert(package.loaded.broken == nil)
        local ok, why = pcall(require, 'circle')
        assert(not ok and why:find \"module 'circle' requires itself\", why)
        ok, why = pcall(require, 'nobodys')
        assert(not ok and why:find(\"module 'nobodys' not found:\", 1, true) and why:find './nobodys.lua', why)
        assert(require 'nothing' == true)
        local M = require 'skynet.require'
        assert(M.require 'inner' == slow.inner and M.init_all() == nil)
        local called
        M.init(function() called = true end)
        assert(called)",
        &[
            ("slow.lua", slow),
            ("inner.lua", inner),
            ("broken.lua", broken),
            ("circle.lua", "return require 'circle'"),
            ("nothing.lua", ""),
        ],
    );
}

#[test]
fn one_process_is_all_harbors() {
    let named =
        service("function C.self() require('skynet').retpack(require('skynet').self()) end");
    passes(
        "local harbor = require 'skynet.harbor'
        local found
        skynet.fork(function() found = harbor.queryname 'LATER' end)
        skynet.sleep(2)
        assert(found == nil)
        local id = skynet.newservice 'named'
        harbor.globalname('LATER', id)
        skynet.sleep(2)
        assert(found == id and harbor.queryname 'LATER' == id and skynet.call('LATER', 'lua', 'self') == id)
        harbor.globalname 'ME'
        assert(skynet.localname 'ME' == skynet.self())
        harbor.link(1) harbor.linkmaster() harbor.connect(1)
        assert(skynet.localname '.cslave')
        assert(not pcall(require('skynet.remotedebug').start))",
        &[("named.lua", named.as_str())],
    );
}
