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
