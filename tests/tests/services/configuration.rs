//! `moorline run --config`: the configuration of a deployment, as skynet has it.

use std::sync::Arc;

use moorline_tests::{Finish, Finished, Site};

fn site(files: &[(&str, &str)]) -> Arc<Site> {
    let site = Site::new("moorline", "");
    for (name, text) in files {
        site.write(name, text);
    }
    site
}

fn run(files: &[(&str, &str)]) -> Finished {
    let site = site(files);
    let mut command = site.command(&["run", "--config", "etc/config"]);
    command.env("ROOT", "game").env_remove("NOWHERE").finish()
}

/// A service that runs this text and ends the process.
fn ending(body: &str) -> String {
    format!(
        "local skynet = require 'skynet'\nrequire 'skynet.manager'\nlocal arguments = {{ ... }}\n\
         skynet.start(function()\n{body}\nprint 'done'\nskynet.abort()\nend)\n"
    )
}

#[track_caller]
fn passes(files: &[(&str, &str)]) -> Finished {
    let finished = run(files).expect_success();
    assert!(finished.stdout.ends_with("done\n"), "{finished:#?}");
    finished
}

#[test]
fn a_deployment_starts_what_its_configuration_names() {
    let main = ending(
        "assert(SERVICE_NAME == 'main' and SERVICE_PATH == 'game/service/main/' and #arguments == 0)
        assert(require 'shared' == 'lualib' and require 'own' == 'of main' and preloaded == 'main')
        for key, value in pairs {
            root = 'game/', port = '8888', ratio = '0.5', debug = 'true', off = 'false', greeting = '$ and $',
            thread = '3', harbor = '0', standalone = 'true', start = 'main', logservice = 'logger',
            profile = 'true', bootstrap = 'snlua bootstrap', cpath = './cservice/?.so', deep = 'game/',
        } do
            assert(skynet.getenv(key) == value, key .. ' is ' .. tostring(skynet.getenv(key)))
        end
        assert(skynet.getenv 'nothing' == nil and skynet.getenv 'include' == nil)
        assert(skynet.call(skynet.newservice('echo', 'x'), 'lua', 1) == 'echo x 1')
        assert(skynet.localname '.launcher' and skynet.localname '.service')",
    );
    let echo = "local skynet = require 'skynet'
        local word = ...
        assert(SERVICE_PATH == 'game/service/' and preloaded == 'echo' and not pcall(require, 'own'))
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, n)
                skynet.retpack(('echo %s %d'):format(word, n))
            end)
        end)";
    passes(&[
        (
            "etc/config",
            "include 'common/paths'
            thread = 3
            harbor = 0
            start = 'main'
            port = 8000 + 888
            ratio, debug, off = 0.5, true, false
            greeting = '$ and $'
            preload = root .. 'preload.lua'",
        ),
        (
            "etc/common/paths",
            "root = '$ROOT/'
            include 'deep'
            luaservice = root .. 'service/?.lua;' .. root .. 'service/?/main.lua'
            lua_path = root .. 'lualib/?.lua'",
        ),
        ("etc/common/deep", "deep = root"),
        ("game/preload.lua", "preloaded = ..."),
        ("game/lualib/shared.lua", "return 'lualib'"),
        ("game/service/main/main.lua", &main),
        ("game/service/main/own.lua", "return 'of main'"),
        ("game/service/echo.lua", echo),
    ]);
}

#[test]
fn an_error_names_its_file_and_line() {
    for (config, words) in [
        (
            "start = 'main'\nthread = = 1",
            "etc/config:2: unexpected symbol near '='",
        ),
        ("\nlist = {}", "etc/config:2: list is a table: write a text"),
        ("\n\nx = nowhere.x", "etc/config:3:"),
        ("x = 1\nx = os.time()", "etc/config:2:"),
        (
            "-- a\npath = '$NOWHERE/x'",
            "etc/config:2: the environment has no NOWHERE",
        ),
        (
            "thread = 4\nthread = 'many'",
            "etc/config:2: thread is a number from 1 to 255",
        ),
        ("\nthread = 0", "etc/config:2: thread is a number"),
        ("\ninclude 'absent'", "etc/config:2: cannot read etc/absent"),
        ("\ninclude 'wrong'", "etc/wrong:2: list is a function"),
        (
            "include 'config'",
            "etc/config:1: more than 32 files include each other",
        ),
        (
            "\nharbor = 2",
            "etc/config:2: this process would join the harbors",
        ),
        (
            "harbor = 'x'",
            "etc/config:1: harbor is a number from 0 to 255",
        ),
        (
            "\nbootstrap = 'harbor 1'",
            "etc/config:2: bootstrap is no service in Lua",
        ),
        (
            "lualoader = 'absent.lua'",
            "etc/config:1: there is no file absent.lua",
        ),
        (
            "logservice = 'mine'",
            "etc/config:1: logservice is 'logger', or 'snlua'",
        ),
        (
            "logservice = 'snlua'",
            "etc/config:1: logservice = 'snlua' needs the name",
        ),
    ] {
        let finished = run(&[("etc/config", config), ("etc/wrong", "\nlist = include")]);
        assert_eq!(finished.status.code(), Some(2), "{config}: {finished:#?}");
        finished.expect_refusal(&[words]);
    }
    let finished = site(&[]).command(&["run", "--config", "absent"]).finish();
    finished.expect_refusal(&["error: cannot read absent"]);
    let finished = site(&[])
        .command(&["run", "main.lua", "--config", "c"])
        .finish();
    assert_eq!(finished.status.code(), Some(2));
    let finished = site(&[]).command(&["run"]).finish();
    assert_eq!(finished.status.code(), Some(2));
}

#[test]
fn a_deployment_whose_first_service_does_not_start_ends() {
    let config = "start = 'main'\nluaservice = './?.lua'";
    let finished = run(&[("etc/config", config)]);
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    finished.expect_refusal(&["cannot find service main", "no file './main.lua'"]);
    let finished = run(&[("etc/config", config), ("main.lua", "error 'no luck'")]);
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    finished.expect_refusal(&["main.lua:1: no luck"]);
}

#[test]
fn a_first_service_that_exits_in_its_start_function_leaves_the_others_running() {
    let main = "local skynet = require 'skynet'
        skynet.start(function()
            skynet.newservice 'worker'
            skynet.exit()
        end)";
    // By then the first service, and what has launched it, have ended.
    let worker = ending(
        "skynet.fork(function()
            while #names() > 1 do
                skynet.sleep(1)
            end
            print 'done'
            skynet.abort()
        end)
        do return end",
    );
    let names = "function names()
            local found = {}
            for _, line in pairs(require('skynet').call('.launcher', 'lua', 'LIST')) do
                if line:find 'worker' or line:find 'main' or line:find 'bootstrap' then
                    found[#found + 1] = line
                end
            end
            return found
        end\n"
        .to_owned();
    passes(&[
        (
            "etc/config",
            "luaservice = './?.lua'\nlualoader = './lualib/loader.lua' -- skynet's, which is not here",
        ),
        ("main.lua", main),
        ("worker.lua", &(names + &worker)),
    ]);
    let alone = "local skynet = require 'skynet' skynet.start(skynet.exit)";
    let finished = run(&[
        ("etc/config", "luaservice = './?.lua'"),
        ("main.lua", alone),
    ]);
    assert_eq!(finished.expect_success().stdout, "");
}

#[test]
fn what_skynets_own_tree_has_is_not_loaded_and_what_the_user_replaces_is() {
    let main = ending(
        "local datacenter = require 'skynet.datacenter'
        datacenter.set('a', 1)
        assert(datacenter.get 'a' == 1 and skynet.call('.mine', 'lua') == 'mine')",
    );
    let mine = "local skynet = require 'skynet'
        require 'skynet.manager'
        skynet.start(function()
            skynet.dispatch('lua', function() skynet.retpack 'mine' end)
            skynet.register '.mine'
            skynet.newservice(skynet.getenv 'start')
        end)";
    let theirs = "error 'this is skynet\\'s own'";
    passes(&[
        (
            "etc/config",
            "luaservice = './skynet/service/?.lua;./service/?.lua'
            lualoader = './skynet/lualib/loader.lua'
            lua_path = './skynet/lualib/?.lua'",
        ),
        ("skynet/lualib/skynet.lua", theirs),
        ("skynet/lualib/loader.lua", theirs),
        ("skynet/service/datacenterd.lua", theirs),
        ("service/bootstrap.lua", mine),
        ("service/main.lua", &main),
    ]);
}

#[test]
fn a_bootstrap_script_of_the_users_own_launches_what_skynets_does() {
    let boot = "local skynet = require 'skynet'
        require 'skynet.manager'
        local word = ...
        skynet.start(function()
            local launcher = assert(skynet.launch('snlua', 'launcher'))
            skynet.name('.launcher', launcher)
            skynet.name('DATACENTER', assert(skynet.newservice 'datacenterd'))
            assert(skynet.newservice 'service_mgr')
            assert(word == 'fast')
            pcall(skynet.newservice, skynet.getenv 'start' or 'main')
            skynet.exit()
        end)";
    let main = ending(
        "local once = skynet.uniqueservice 'once'
        assert(once == skynet.queryservice 'once' and once == skynet.uniqueservice 'once')
        assert(skynet.call('.launcher', 'lua', 'LIST')[skynet.address(once)] == 'snlua once')",
    );
    let once = "require('skynet').start(function() end)";
    passes(&[
        (
            "etc/config",
            "bootstrap = 'snlua boot fast'\nluaservice = './?.lua'",
        ),
        ("boot.lua", boot),
        ("main.lua", &main),
        ("once.lua", once),
    ]);
}

#[test]
fn a_loader_of_the_users_own_gets_what_skynets_gets() {
    let loader = "local words = {}
        for word in (...):gmatch '%S+' do words[#words + 1] = word end
        SERVICE_NAME = words[1]
        package.path = LUA_PATH
        assert(LUA_CPATH == 'c/?.so' and LUA_PRELOAD == nil)
        assert(loadfile((LUA_SERVICE:gsub('?', SERVICE_NAME))))(table.unpack(words, 2))";
    let main = ending(
        "assert(require 'mine' == 7)
        assert(skynet.call(skynet.newservice('echo', 'a', 'b'), 'lua') == 'a b')",
    );
    let echo = "local skynet = require 'skynet'
        local a, b = ...
        skynet.start(function()
            skynet.dispatch('lua', function() skynet.retpack(a .. ' ' .. b) end)
        end)";
    passes(&[
        (
            "etc/config",
            "lualoader = 'load.lua'\nluaservice = './?.lua'\nlua_path = 'lib/?.lua'\nlua_cpath = 'c/?.so'",
        ),
        ("load.lua", loader),
        ("lib/mine.lua", "return 7"),
        ("main.lua", &main),
        ("echo.lua", echo),
    ]);
}

#[test]
fn a_service_of_the_users_own_gets_the_log() {
    let log = "local skynet = require 'skynet'
        require 'skynet.manager'
        skynet.register_protocol {
            name = 'text', id = skynet.PTYPE_TEXT, unpack = skynet.tostring,
            dispatch = function(_, source, text)
                print(('log %s %s'):format(skynet.address(source), text))
                if text == 'three' then
                    assert(skynet.localname '.logger' == skynet.self())
                    -- What it logs itself does not come back.
                    skynet.error 'the last'
                    print 'done'
                    skynet.abort()
                end
            end,
        }
        skynet.start(function() end)";
    let main = "local skynet = require 'skynet'
        skynet.start(function()
            skynet.error 'one'
            skynet.error('two', 2)
            skynet.error 'three'
        end)";
    let finished = passes(&[
        (
            "etc/config",
            "luaservice = './?.lua'\nlogservice = 'snlua'\nlogger = 'userlog'",
        ),
        ("userlog.lua", log),
        ("main.lua", main),
    ]);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let texts: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split_once("] "))
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, ["the last"], "{finished:#?}");
    let logged: Vec<&str> = lines
        .iter()
        .filter(|line| line.starts_with("log :"))
        .map(|line| &line[14..])
        .collect();
    assert_eq!(logged, ["one", "two 2", "three"], "{finished:#?}");
}
