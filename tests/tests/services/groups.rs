//! `skynet.multicast`, `skynet.mqueue` and `skynet.snax`.

use super::script::{passes, service};

const TOOLS: &str = "local function refuses(why, f, ...)
        local ok, err = pcall(f, ...)
        assert(not ok and tostring(err):find(why, 1, true), err)
    end
    local function eventually(f)
        for _ = 1, 500 do
            if f() then return end
            skynet.sleep(1)
        end
        error 'it has not happened'
    end\n";

#[track_caller]
fn holds(head: &str, body: &str, others: &[(&str, &str)]) {
    let main = format!(
        "local skynet = require 'skynet'\nrequire 'skynet.manager'\n{head}\nskynet.start(function()\n{TOOLS}{body}\nprint 'done'\nskynet.abort()\nend)\n"
    );
    for loops in ["1", "2"] {
        let mut files = vec![("main.lua", main.as_str())];
        files.extend(others);
        let finished = super::script::run_with(&files, &["--loops", loops]);
        assert!(finished.status.success(), "{finished:#?}");
        assert!(finished.stdout.ends_with("done\n"), "{finished:#?}");
    }
}

#[test]
fn what_is_published_reaches_all_subscribers_in_order() {
    let subscriber = service(
        "local multicast = require 'skynet.multicast'
        local channel
        local got = {}
        function C.subscribe(_, _, id)
            channel = multicast.new { channel = id, dispatch = function(self, source, ...)
                assert(self == channel)
                table.insert(got, table.concat({ source, ... }, ' '))
            end }
            channel:subscribe()
            channel:subscribe()
            skynet.retpack()
        end
        function C.unsubscribe() channel:unsubscribe() channel:unsubscribe() skynet.retpack() end
        function C.got() skynet.retpack(got) end
        function C.quit() skynet.retpack() skynet.exit() end",
    );
    holds(
        "local multicast = require 'skynet.multicast'",
        "local channel = multicast.new()
        assert(tostring(channel):find '^%[Multicast:%x+%]$')
        local all = {}
        for i = 1, 3 do
            all[i] = skynet.newservice 'subscriber'
            skynet.call(all[i], 'lua', 'subscribe', channel.channel)
        end
        local function got(i) return skynet.call(all[i], 'lua', 'got') end
        channel:publish('a', 1)
        channel:publish('b')
        local me = skynet.self()
        for i = 1, 3 do
            eventually(function() return #got(i) == 2 end)
            assert(got(i)[1] == me .. ' a 1' and got(i)[2] == me .. ' b')
        end
        skynet.call(all[1], 'lua', 'unsubscribe')
        skynet.call(all[2], 'lua', 'quit')
        channel:publish 'c'
        eventually(function() return #got(3) == 3 end)
        assert(#got(1) == 2)
        local mine = {}
        local own = multicast.new {
            channel = channel.channel, pack = function(text) return text end, unpack = function(text, size) return text, size end,
            dispatch = function(_, source, text, size) table.insert(mine, text .. size) end,
        }
        own:subscribe()
        skynet.call(all[3], 'lua', 'unsubscribe')
        own:publish 'raw'
        eventually(function() return #mine == 1 end)
        assert(mine[1] == 'raw3')
        own:unsubscribe()
        channel:delete()
        refuses('the channel is deleted', channel.publish, channel, 'd')
        local gone = multicast.new { channel = own.channel }
        refuses('call failed', gone.subscribe, gone)
        gone:publish 'to nobody'",
        &[("subscriber.lua", &subscriber)],
    );
}

#[test]
fn a_message_queue_handles_one_message_at_a_time() {
    let worker = "local skynet = require 'skynet'
        local mqueue = require 'skynet.mqueue'
        skynet.start(function()
            local sum = 0
            mqueue.register(function(command, n)
                if command == 'add' then
                    local before = sum
                    skynet.sleep(1)
                    sum = before + n
                elseif command == 'size' then
                    return mqueue.size()
                elseif command == 'fail' then
                    error 'inside'
                else
                    return sum, 'sum'
                end
            end)
            assert(not pcall(mqueue.register, print))
        end)";
    holds(
        "local mqueue = require 'skynet.mqueue'",
        "local worker = skynet.newservice 'worker'
        for i = 1, 10 do mqueue.send(worker, 'add', i) end
        mqueue.send(worker, 'fail')
        local sum, name = mqueue.call(worker, 'sum')
        assert(sum == 55 and name == 'sum')
        refuses('inside', mqueue.call, worker, 'fail')
        assert(mqueue.call(worker, 'size') == 0 and mqueue.size() == 0)",
        &[("worker.lua", worker)],
    );
}

const PINGSERVER: &str = "local skynet = require 'skynet'
    local snax = require 'skynet.snax'
    local count = 0
    local hello = 'hello'
    local posted = {}
    local function plus(n) count = count + n return count end
    function response.ping(text) return hello .. ' ' .. text, snax.self().handle end
    function response.count() return count end
    function response.fail() error 'inside' end
    function response.posted() return table.concat(posted, ' ') end
    function response.name() return SERVICE_NAME, SERVICE_PATH end
    function accept.add(n) plus(n) end
    function accept.note(text) table.insert(posted, text) end
    function accept.quit() snax.exit() end
    function init(...) for _, word in ipairs { ... } do table.insert(posted, word) end end
    function exit(word) print('exit', word) end\n";

#[test]
fn a_snax_service_is_asked_and_told_by_name() {
    holds(
        "local snax = require 'skynet.snax'",
        "local ping = snax.newservice('pingserver', 'one', 'two')
        assert(ping.type == 'pingserver' and tostring(ping) == string.format('[pingserver:%x]', ping.handle))
        local text, handle = ping.req.ping 'world'
        assert(text == 'hello world' and handle == ping.handle)
        ping.post.add(3)
        ping.post.add(4)
        assert(ping.req.count() == 7 and ping.req.posted() == 'one two' and ping.req.name() == 'pingserver')
        assert(select(2, ping.req.name()) == './pingserver/')
        assert(skynet.call(ping.handle, 'debug', 'INFO').ping.count == 1)
        refuses('call failed', ping.req.fail)
        refuses('request pingserver:none no exist', function() ping.req.none() end)
        refuses('post pingserver:none no exist', function() ping.post.none() end)
        assert(snax.bind(ping.handle, 'pingserver') == ping)
        refuses('of another type', snax.bind, ping.handle, 'other')
        local interface = snax.interface 'pingserver'
        assert(interface.response.ping and interface.accept.add and interface.system.hotfix == 3)
        local profile = snax.profile_info(ping)
        assert(profile.ping.count == 1 and profile.add.count == 2 and profile.ping.time >= 0)
        snax.printf('%s %d', 'printed', 5)
        snax.kill(ping, 'killed')
        refuses('', ping.req.count)
        local raw = snax.rawnewservice 'pingserver'
        assert(snax.bind(raw, 'pingserver').req.count() == 0)
        snax.bind(raw, 'pingserver').post.quit()
        local unique = snax.uniqueservice('pingserver', 'first')
        assert(snax.uniqueservice('pingserver', 'second') == unique and unique.req.posted() == 'first')
        assert(snax.queryservice 'pingserver' == unique and snax.globalservice 'pingserver' == unique)
        assert(snax.queryglobal 'pingserver' == unique)
        refuses('none', snax.newservice, 'none')
        refuses('call failed', skynet.call, unique.handle, 'snax', 99)
        refuses('call failed', skynet.call, unique.handle, 'snax', 1)",
        &[("pingserver.lua", PINGSERVER)],
    );
}

#[test]
fn a_patch_changes_functions_and_keeps_locals() {
    holds(
        "local snax = require 'skynet.snax'",
        "local ping = snax.newservice 'pingserver'
        ping.post.add(3)
        local before = snax.hotfix(ping, [[
            local count
            local hello
            function accept.add(n) count = count + 10 * n end
            function response.ping(text) return 'patched ' .. hello .. ' ' .. text end
            function hotfix(...)
                local old = count
                hello = 'good day'
                return old, ...
            end
        ]], 'more')
        assert(before == 3)
        ping.post.add(1)
        assert(ping.req.count() == 13 and ping.req.ping 'all' == 'patched good day all')
        refuses('Patch mismatch response.none', snax.hotfix, ping, 'function response.none() end')
        refuses('patch', snax.hotfix, ping, 'function (')
        assert(ping.req.count() == 13)
        assert(snax.hotfix(ping, 'local count function hotfix(n) count = n return count end', 100) == 100)
        assert(ping.req.count() == 100)
        local hotfix = require 'snax.hotfix'
        local ok = hotfix({}, 'function response.x() end')
        assert(ok == false)",
        &[("pingserver.lua", PINGSERVER)],
    );
}

#[test]
fn what_is_no_snax_service_is_refused() {
    passes(
        "local read = require 'snax.interface'
        local function refuses(text, why)
            local ok, err = pcall(read, 'x', {}, function(_, _, globals) return load(text, '=x', 'bt', globals) end)
            assert(not ok and tostring(err):find(why, 1, true), err)
        end
        refuses('accept[1] = function() end', 'accept method only support string')
        refuses('response.x = 1', 'response.x must be function')
        refuses('function accept.x() end function accept.x() end', 'accept.x duplicate definition')
        refuses('init = 1', 'init must be a function')
        refuses('(', 'x:1:')
        assert(not pcall(read, 'x', { init = print }))
        local functions, pattern = read('x', {}, function() return load 'a = 1' end)
        assert(#functions == 4 and functions[1][3] == 'init' and pattern)",
        &[],
    );
}

#[test]
fn channels_that_ended_services_left_make_room() {
    let hog = "local skynet = require 'skynet'
        local multicast = require 'skynet.multicast'
        skynet.start(function()
            local n = 0
            while pcall(multicast.new) do n = n + 1 end
            skynet.dispatch('lua', function()
                skynet.retpack(n)
                skynet.exit()
            end)
        end)";
    passes(
        "local multicast = require 'skynet.multicast'
        local got
        local mine = multicast.new { dispatch = function(_, _, what) got = what end }
        mine:subscribe()
        -- One service takes its share, and leaves room.
        local hogs = { skynet.newservice 'hog' }
        multicast.new():delete()
        for i = 2, 4 do hogs[i] = skynet.newservice 'hog' end
        assert(not pcall(multicast.new), 'there is no room')
        for i = 1, 4 do
            assert(skynet.call(hogs[i], 'lua') == (i < 4 and 16384 or 16383))
        end
        repeat skynet.sleep(1) until pcall(multicast.new)
        mine:publish 'still there'
        while not got do skynet.sleep(1) end
        assert(got == 'still there')
        for i = 1, 100 do multicast.new() end",
        &[("hog.lua", hog)],
    );
}
