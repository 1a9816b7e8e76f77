//! Modules in C that users build themselves.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use moorline_tests::{Client, Finish, LENGTH_LISTENER, Site, Wire};

const MODULE: &str = r#"
#include "lauxlib.h"

static int add(lua_State *L) {
    lua_pushinteger(L, luaL_checkinteger(L, 1) + luaL_checkinteger(L, 2));
    return 1;
}

static int fail(lua_State *L) {
    return luaL_error(L, "%s went wrong", luaL_checkstring(L, 1));
}

static int call_twice(lua_State *L) {
    lua_pushvalue(L, 1);
    lua_call(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_call(L, 0, 1);
    return 2;
}

static int ended(lua_State *L) {
    lua_getiuservalue(L, 1, 1);
    lua_call(L, 0, 0);
    return 0;
}

static int object(lua_State *L) {
    lua_newuserdatauv(L, 8, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (luaL_newmetatable(L, "own object")) {
        lua_pushcfunction(L, ended);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return 1;
}

static const luaL_Reg functions[] = {
    {"add", add}, {"fail", fail}, {"call_twice", call_twice}, {"object", object}, {NULL, NULL},
};

int luaopen_OPENED(lua_State *L) {
    luaL_newlib(L, functions);
    return 1;
}
"#;

/// Builds a shared library.
fn build(site: &Site, source: &str, include: &str, library: &str) {
    site.write("module.c", source);
    let library = site.path(library);
    let folder = library.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let mut compiler = Command::new("cc");
    let compiler = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
    let compiler = compiler.arg("-I").arg(site.path(include));
    let built = compiler.arg(site.path("module.c")).finish();
    built.expect_success();
}

/// A deployment with the headers that the program writes.
fn site(main: &str) -> Arc<Site> {
    let site = Site::new("moorline", "");
    site.command(&["run", "--sdk", "sdk"])
        .finish()
        .expect_success();
    site.write(
        "config",
        "luaservice = './?.lua'\nlua_cpath = './luaclib/?.so'",
    );
    let main = format!(
        "local skynet = require 'skynet'\nrequire 'skynet.manager'\nskynet.start(function()\n{main}\nprint 'done'\nskynet.abort()\nend)"
    );
    site.write("main.lua", main);
    site
}

#[track_caller]
fn passes(site: &Site) {
    let finished = site.command(&["run", "--config", "config"]).finish();
    let finished = finished.expect_success();
    assert!(finished.stdout.ends_with("done\n"), "{finished:#?}");
}

#[test]
fn a_module_in_c_is_built_with_the_headers_of_the_program_loaded_and_called() {
    let site = site(
        "local mine = require 'mine'
        assert(mine.add(2, 3) == 5)
        local ok, err = pcall(mine.fail, 'all')
        assert(not ok and err == 'all went wrong', err)
        ok, err = pcall(mine.add, 'x', 1)
        assert(not ok and err:find 'number expected, got string', err)
        local n = 0
        local a, b = mine.call_twice(function() n = n + 1 return n end)
        assert(a == 1 and b == 2)
        -- An error of a function that C calls, and one of a service whose handler calls C.
        ok, err = pcall(mine.call_twice, function() error { code = 7 } end)
        assert(not ok and err.code == 7)
        local ended
        mine.object(function() ended = true end)
        collectgarbage()
        assert(ended)
        -- In a folder; and several modules in one library.
        assert(require 'in.folder'.add(1, 1) == 2)
        assert(require 'mine' == mine and package.loaded['in.folder'] ~= mine)
        local other = skynet.newservice 'other'
        ok, err = pcall(skynet.call, other, 'lua')
        assert(not ok)
        assert(skynet.call(other, 'lua', 'part') == 3)",
    );
    site.write(
        "other.lua",
        "local skynet = require 'skynet'
        local mine = require 'mine'
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, text)
                skynet.retpack(text and require 'whole.part'.add(1, 2) or mine.fail())
            end)
        end)",
    );
    let named = |name: &str| MODULE.replace("OPENED", name);
    build(&site, &named("mine"), "sdk/include", "luaclib/mine.so");
    build(
        &site,
        &named("in_folder"),
        "sdk/include",
        "luaclib/in/folder.so",
    );
    build(
        &site,
        &named("whole_part"),
        "sdk/include",
        "luaclib/whole.so",
    );
    passes(&site);
}

#[test]
fn a_module_for_another_version_of_lua_says_so() {
    let site = site(
        "for _, name in ipairs { 'older', 'unknown' } do
            local ok, err = pcall(require, name)
            assert(not ok and err:find(\"C module '\" .. name .. \"' is built for another version of Lua\", 1, true), err)
            assert(err:find('build it for Lua 5.5', 1, true) and err:find('--sdk', 1, true), err)
        end
        local ok, err = pcall(require, 'nothing')
        assert(not ok and err:find('undefined symbol: luaopen_nothing', 1, true), err)
        assert(not err:find 'another version', err)
        ok, err = pcall(require, 'text')
        assert(not ok and err:find(\"error loading module 'text' from file './luaclib/text.so'\", 1, true), err)
        ok, err = pcall(require, 'absent')
        assert(not ok and err:find(\"no file './luaclib/absent.so'\", 1, true), err)",
    );
    for name in ["lauxlib.h", "lua.h", "luaconf.h", "lualib.h"] {
        let text = std::fs::read_to_string(site.path(&format!("sdk/include/{name}")));
        let text = text.expect("the header is there");
        let older = text.replace(
            "#define LUA_VERSION_MINOR_N\t5",
            "#define LUA_VERSION_MINOR_N\t4",
        );
        assert_eq!(older == text, name != "lua.h");
        site.write(&format!("older/{name}"), older);
    }
    let named = |name: &str| MODULE.replace("OPENED", name);
    build(&site, &named("older"), "older", "luaclib/older.so");
    let unknown = named("unknown")
        .replace(
            "static int add",
            "int lua_gone(lua_State *L);\nstatic int add",
        )
        .replace("return luaL_error", "lua_gone(L); return luaL_error");
    build(&site, &unknown, "sdk/include", "luaclib/unknown.so");
    build(
        &site,
        &named("something"),
        "sdk/include",
        "luaclib/nothing.so",
    );
    site.write("luaclib/text.so", "this is no library");
    passes(&site);
}

#[test]
fn a_module_in_c_serves_sessions_in_a_worker() {
    let site = site("");
    build(
        &site,
        &MODULE.replace("OPENED", "mine"),
        "sdk/include",
        "luaclib/mine.so",
    );
    site.write(
        "main.lua",
        "local skynet, moorline, mine = require 'skynet', require 'moorline', require 'mine'
        skynet.start(function()
            moorline.serve {
                message = function(session, text)
                    if text == 'fail' then mine.fail 'it' end
                    session:push(tostring(mine.add(tonumber(text), 1)))
                end,
            }
        end)",
    );
    let more = LENGTH_LISTENER.replace("[[listen]]", "[[listen]]\non_error = \"keep\"");
    site.configure(&format!(
        "[workers]\ncount = 1\nlua = \"main.lua\"\nlua_path = \"luaclib/?.lua\"\n{more}"
    ));
    let engine = site.start();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("41"), "42");
    client.send("fail");
    assert_eq!(client.ask("1"), "2");
    engine.reload().expect_success();
    assert_eq!(client.ask("2"), "3");
    engine.logged(&["it went wrong"]);
}

#[test]
fn the_headers_go_where_they_can_be_written() {
    let site = Site::new("moorline", "");
    site.write("file", "");
    let refused = site.command(&["run", "--sdk", "file"]).finish();
    assert!(!refused.status.success());
    assert!(
        refused.stderr.contains("cannot write file/"),
        "{refused:#?}"
    );
}
