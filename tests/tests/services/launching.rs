//! Launching, naming and ending services, and the process around them.

use super::script::{main_of, passes, run, run_with, service};

#[test]
fn a_service_gets_its_arguments_as_words_and_knows_its_name() {
    let named = "local skynet = require 'skynet'
        local a, b, c, d = ...
        assert(a == 'x' and b == '1' and c == 'true' and d == nil)
        assert(SERVICE_NAME == 'named' and SERVICE_PATH == './')
        skynet.start(function() end)";
    passes(
        "local id = skynet.newservice('named', 'x', 1, true)
        assert(math.type(id) == 'integer' and skynet.address(id):match '^:%x%x%x%x%x%x%x%x$')
        assert(skynet.address(skynet.self()) ~= skynet.address(id))",
        &[("named.lua", named)],
    );
}

#[test]
fn a_service_that_does_not_start_says_why_at_its_launcher() {
    let syntax = "local = 1";
    let start = "require('skynet').start(function() error 'no luck' end)";
    let no_start = "local x = 1";
    let exits = "local skynet = require 'skynet' skynet.start(function() skynet.exit() end)";
    let requires = "require 'skynet.nothing'";
    passes(
        "local function why(name)
            local ok, err = pcall(skynet.newservice, name)
            assert(not ok)
            return tostring(err)
        end
        for name, text in pairs {
            syntax = './syntax.lua:1:', start = './start.lua:1: no luck', no_start = 'without skynet.start',
            nowhere = './nowhere.lua', requires = \"no module 'skynet.nothing' in this version of Moorline\",
        } do
            assert(why(name):find(text, 1, true), why(name))
        end
        assert(skynet.newservice 'exits' == nil)",
        &[
            ("syntax.lua", syntax),
            ("start.lua", start),
            ("no_start.lua", no_start),
            ("exits.lua", exits),
            ("requires.lua", requires),
        ],
    );
}

#[test]
fn a_name_is_found_by_all_and_ends_with_its_service() {
    let named = "local skynet = require 'skynet' require 'skynet.manager'
        skynet.start(function()
            skynet.register '.mine'
            skynet.dispatch('lua', function() skynet.retpack 'here' end)
        end)";
    passes(
        "assert(skynet.localname '.mine' == nil)
        local id = skynet.newservice 'named'
        assert(skynet.localname '.mine' == id and skynet.call('.mine', 'lua') == 'here')
        assert(skynet.call(skynet.address(id), 'lua') == 'here')
        assert(skynet.name('.other', id) and skynet.call('.other', 'lua') == 'here')
        skynet.kill '.mine'
        skynet.sleep(2)
        assert(skynet.localname '.mine' == nil and not pcall(skynet.call, '.mine', 'lua'))",
        &[("named.lua", named)],
    );
}

#[test]
fn a_unique_service_is_launched_once_and_a_query_waits_for_it() {
    let once = service("function C.id() skynet.retpack(skynet.self()) end");
    passes(
        "local asked
        skynet.fork(function() asked = skynet.queryservice 'once' end)
        skynet.sleep(2)
        assert(asked == nil)
        local ids = {}
        for i = 1, 5 do
            skynet.fork(function() ids[i] = skynet.uniqueservice 'once' end)
        end
        local id = skynet.uniqueservice(true, 'once')
        skynet.sleep(5)
        for i = 1, 5 do assert(ids[i] == id) end
        assert(asked == id and skynet.call(id, 'lua', 'id') == id)
        assert(not pcall(skynet.uniqueservice, 'nowhere'))
        assert(not pcall(skynet.uniqueservice, 'nowhere'))",
        &[("once.lua", &once)],
    );
}

#[test]
fn the_process_ends_when_all_services_have_ended() {
    let child = "local skynet = require 'skynet'
        skynet.start(function() skynet.timeout(5, function() print 'child ends' skynet.exit() end) end)";
    let main = "local skynet = require 'skynet'
        skynet.start(function() skynet.newservice 'child' print 'main ends' skynet.exit() print 'never' end)";
    let finished = run(&[("main.lua", main), ("child.lua", child)]).expect_success();
    assert_eq!(finished.stdout, "main ends\nchild ends\n");
}

#[test]
fn a_main_script_that_fails_ends_the_process_with_an_error() {
    for main in [
        "error 'at once'",
        "require('skynet').start(function() error 'at once' end)",
    ] {
        let finished = run(&[("main.lua", main)]);
        assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
        assert!(
            finished.said().contains("main.lua:1: at once"),
            "{finished:#?}"
        );
    }
}

#[test]
fn the_environment_is_set_once_and_shared() {
    let reader = "local skynet = require 'skynet'
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, key) skynet.retpack(skynet.getenv(key)) end)
        end)";
    passes(
        "skynet.setenv('answer', 42)
        assert(not pcall(skynet.setenv, 'answer', 43))
        local ok, err = pcall(skynet.setenv, 'long', ('x'):rep(64 * 1024))
        assert(not ok and err:find 'too long')
        repeat
            ok, err = pcall(skynet.setenv, 'key ' .. skynet.genid(), 1)
        until not ok
        assert(err:find 'too many values %(>16384%)', err)
        assert(skynet.call(skynet.newservice 'reader', 'lua', 'answer') == '42')
        assert(skynet.getenv 'nothing' == nil)
        assert(math.abs(skynet.time() - os.time()) < 5 and skynet.starttime() <= os.time())",
        &[("reader.lua", reader)],
    );
}

#[test]
fn services_and_modules_are_found_by_patterns_before_the_scripts_folder() {
    let main = main_of("assert(require 'tool' == 'tool' and skynet.newservice 'worker')");
    let worker = "assert(SERVICE_PATH == 'service/')\nrequire('skynet').start(function() end)";
    let files = [
        ("main.lua", main.as_str()),
        ("service/worker.lua", worker),
        ("lib/tool.lua", "return 'tool'"),
    ];
    let patterns = ["--path", "service/?.lua;lib/?.lua"];
    run_with(&files, &patterns).expect_success();
}

#[test]
fn lines_of_services_have_their_address_and_do_not_mix() {
    let child = "local skynet = require 'skynet'
        skynet.start(function()
            for i = 1, 200 do skynet.error('line', i, ('x'):rep(200)) print(('y'):rep(200)) end
            skynet.exit()
        end)";
    let main = "local skynet = require 'skynet'
        skynet.start(function() for i = 1, 4 do skynet.newservice 'child' end skynet.exit() end)";
    let files = [("main.lua", main), ("child.lua", child)];
    let finished = run_with(&files, &["--loops", "4"]).expect_success();
    for line in finished.stdout.lines() {
        let is_log = line.starts_with("[:0000000") && line.ends_with(&"x".repeat(200));
        assert!(is_log || line == "y".repeat(200), "{line}");
    }
    assert_eq!(finished.stdout.lines().count(), 1600);
}

#[test]
fn the_launcher_lists_measures_and_ends_services() {
    let busy = service(
        "function C.wait() skynet.sleep(100000) end
        skynet.info_func(function(what) return 'info of ' .. what end)",
    );
    passes(
        "local id = skynet.newservice('busy', 'now')
        local me, addr = skynet.address(skynet.self()), skynet.address(id)
        local list = skynet.call('.launcher', 'lua', 'LIST')
        assert(list[me] == 'snlua main' and list[addr] == 'snlua busy now')
        skynet.send(id, 'lua', 'wait')
        skynet.sleep(2)
        local stat = skynet.call('.launcher', 'lua', 'STAT')[addr]
        assert(stat.task == 1 and stat.mqlen == 0 and stat.message >= 2)
        assert(skynet.call('.launcher', 'lua', 'MEM')[addr]:match '^%d+%.%d%d Kb %(snlua busy now%)$')
        assert(skynet.call('.launcher', 'lua', 'GC')[me])
        assert(skynet.call(id, 'debug', 'INFO', 'x') == 'info of x')
        assert(next(skynet.call(id, 'debug', 'TASK')):find 'session')
        assert(skynet.call(id, 'debug', 'SUPPORT', 'lua') and not skynet.call(id, 'debug', 'SUPPORT', 'snax'))
        skynet.call(id, 'debug', 'PING')
        local linked
        skynet.fork(function() linked = not pcall(skynet.call, id, 'debug', 'LINK') end)
        skynet.sleep(2)
        assert(not linked)
        assert(skynet.call('.launcher', 'lua', 'KILL', addr)[addr] == 'snlua busy now')
        skynet.sleep(2)
        assert(linked and not skynet.call('.launcher', 'lua', 'LIST')[addr])
        assert(math.type(skynet.call('.launcher', 'lua', 'LAUNCH', 'snlua', 'busy')) == 'integer')",
        &[("busy.lua", &busy)],
    );
}
