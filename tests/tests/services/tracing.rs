//! What tells how services work: traces, tasks, times, and the protocol `debug`.

use super::script::{main_of, passes, run, service};

#[test]
fn a_trace_follows_a_call_into_the_next_services_and_back() {
    let back =
        service("function C.get(_, _, n) skynet.sleep(0) skynet.retpack(n, skynet.tracetag()) end");
    let front = "local skynet = require 'skynet'
        local back
        skynet.start(function()
            back = skynet.newservice 'back'
            skynet.dispatch('lua', function(_, _, n)
                skynet.retpack(skynet.tracetag(), skynet.call(back, 'lua', 'get', n))
            end)
        end)";
    let main = main_of(
        "local front = skynet.newservice 'front'
        assert(skynet.call(front, 'lua', 1) == nil)
        skynet.fork(function()
            skynet.trace 'here'
            local tag, n, below = skynet.call(front, 'lua', 2)
            assert(n == 2 and tag == skynet.tracetag() and below == tag, tag)
            print('tag', tag)
        end)
        skynet.sleep(5)
        local tag, n, below = skynet.call(front, 'lua', 3)
        assert(tag == nil and n == 3 and below == nil)
        print(skynet.tracecall('own', front, 'lua', skynet.pack(4)) ~= nil)",
    );
    let finished = run(&[
        ("main.lua", &main),
        ("front.lua", front),
        ("back.lua", &back),
    ]);
    let finished = finished.expect_success();
    let said = finished.said();
    let tag = said
        .lines()
        .find_map(|line| line.strip_prefix("tag\t"))
        .expect("it has a tag");
    let steps: Vec<_> = said
        .lines()
        .filter_map(|line| line.split_once(&format!("<TRACE {tag}> ")))
        .map(|(_, rest)| rest.split_ascii_whitespace().nth(1).expect("it has a text"))
        .collect();
    assert_eq!(
        steps,
        [
            "trace", "call", "request", "call", "request", "sleep", "resume", "response", "end",
            "resume", "response", "end", "resume", "end"
        ],
        "{said}"
    );
    assert!(said.contains(" call : @./main.lua:"), "{said}");
    assert!(
        said.contains("<TRACE own>") && said.contains("tracecall end"),
        "{said}"
    );
}

#[test]
fn a_protocol_is_traced_or_not_and_services_are_asked_for_it() {
    let back = service("function C.get() skynet.retpack(skynet.tracetag()) end");
    passes(
        "local back = skynet.newservice 'back'
        local function get() return skynet.call(back, 'lua', 'get') end
        assert(get() == nil)
        skynet.call(back, 'debug', 'TRACELOG', true)
        assert(get():match '^:%x+%-%d+$' and get() ~= get())
        skynet.call(back, 'debug', 'TRACELOG', 'lua', false)
        assert(get() == false)
        skynet.call(back, 'debug', 'TRACELOG', 'lua', nil)
        assert(get() == nil)
        skynet.traceproto('lua', true) skynet.traceproto('lua', nil)
        assert(not pcall(skynet.traceproto, 'nothing', true))
        skynet.tracelog('tag', 'text') skynet.tracelog('tag', 'text', 1) skynet.tracelog('tag', 'text', coroutine.running(), 0)",
        &[("back.lua", &back)],
    );
}

#[test]
fn calls_to_a_service_are_ended_from_outside() {
    let slow = service("function C.wait() skynet.sleep(100000) end");
    passes(
        "local slow, other = skynet.newservice 'slow', skynet.newservice 'slow'
        local failed, late = 0, 0
        for i = 1, 3 do
            skynet.fork(function() if not pcall(skynet.call, slow, 'lua', 'wait') then failed = failed + 1 end end)
            skynet.fork(function() if not pcall(skynet.call, other, 'lua', 'wait') then late = late + 1 end end)
        end
        skynet.fork(function()
            for _, answer in skynet.request { slow, 'lua', 'wait' } :select() do
                failed = failed + (answer and 0 or 1)
            end
        end)
        skynet.sleep(1)
        skynet.term(slow)
        skynet.sleep(1)
        assert(failed == 4 and late == 0)
        skynet.call(skynet.self(), 'debug', 'TERM', other)
        skynet.sleep(1)
        assert(late == 3)",
        &[("slow.lua", &slow)],
    );
}

#[test]
fn tasks_are_listed_counted_and_timers_with_the_place_that_set_them() {
    passes(
        "assert(skynet.task 'init':find 'main.lua' and skynet.task() == 0)
        skynet.trace_timeout(true)
        local timer = skynet.timeout(100000, function() end)
        for i = 1, 12 do skynet.fork(skynet.sleep, 100000) end
        local co = skynet.fork(function() skynet.wait() end)
        skynet.yield()
        local all, n = {}, 0
        skynet.task(all)
        for name in pairs(all) do assert(name:find ' session: %d+$') n = n + 1 end
        assert(n == 14 and skynet.task() == 14)
        assert(skynet.task(timer):find '^TIMER %d+%+100000 : ' and skynet.task(timer):find 'main.lua')
        assert(skynet.task(skynet.task(co)):find 'traceback' and skynet.task(99999) == 'No session')
        local found
        for head in pairs(skynet.uniqtask()) do found = found or head:match '^12\\tsessions:%[(%d+,.*)%.%.%.%]\\n$' end
        assert(found)
        skynet.trace_timeout(false)",
        &[],
    );
}

#[test]
fn services_are_measured() {
    let busy = service(
        "function C.work() local till = skynet.hpc() + 20000000 while skynet.hpc() < till do end skynet.retpack() end",
    );
    passes(
        "local busy = skynet.newservice 'busy'
        assert(skynet.stat 'mqlen' == 0 and skynet.stat 'message' > 0 and skynet.stat 'endless' == 0)
        assert(skynet.stat 'cpu' >= 0 and skynet.stat 'time' >= 0 and skynet.stat 'nothing' == nil)
        skynet.call(busy, 'lua', 'work')
        local stat = skynet.call(busy, 'debug', 'STAT')
        assert(stat.cpu >= 0.02 and stat.cpu < 60 and stat.message >= 1 and stat.task == 0, stat.cpu)
        local memory = require 'skynet.memory'
        assert(memory.total() > memory.current() and math.type(memory.current()) == 'integer')
        local ok, err = pcall(memory.mallctl, 'x')
        assert(not ok and err:find 'there is no jemalloc')
        for _, name in ipairs { 'block', 'dump', 'dumpinfo', 'info', 'dumpheap', 'jestat', 'profactive' } do
            assert(not pcall(memory[name]))
        end",
        &[("busy.lua", &busy)],
    );
}

#[test]
fn a_profile_counts_the_time_in_which_a_coroutine_runs() {
    let profiled = service(
        "local profile = require 'skynet.profile'
        local function work() local till = skynet.hpc() + 10000000 while skynet.hpc() < till do end end
        function C.check()
            profile.start()
            assert(not pcall(profile.start))
            work() skynet.sleep(30) work()
            local time = profile.stop()
            assert(time >= 0.02 and time < 0.25, time)
            assert(not pcall(profile.stop))
            local co = coroutine.create(function() work() coroutine.yield(1) work() return 2 end)
            profile.start(co)
            assert(select(2, profile.resume(co)) == 1 and select(2, profile.resume(co)) == 2)
            assert(profile.stop(co) >= 0.02)
            assert(profile.wrap(function(x) return x end)(7) == 7 and not pcall(profile.wrap(error), 'x'))
            skynet.retpack()
        end",
    );
    passes(
        "skynet.call(skynet.newservice 'profiled', 'lua', 'check')",
        &[("profiled.lua", &profiled)],
    );
}
