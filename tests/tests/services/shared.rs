//! What services read without copies: `skynet.sharedata`, `skynet.sharetable`, `skynet.datasheet`, `skynet.stm` and `skynet.sharemap`.

use super::script::{passes, service};

const TOOLS: &str = "local function refuses(why, f, ...)
        local ok, err = pcall(f, ...)
        assert(not ok and type(err) == 'string' and err:find(why, 1, true), err)
    end\n";

#[track_caller]
fn holds(body: &str, others: &[(&str, &str)]) {
    passes(&format!("{TOOLS}{body}"), others);
}

#[test]
fn shared_data_is_read_as_a_table_and_follows_updates() {
    let reader = service(
        "local sharedata = require 'skynet.sharedata'
        local data
        function C.query(_, _, name) data = sharedata.query(name) skynet.retpack(data.x, #data.list) end
        function C.read(_, _, ...)
            local value = data
            for _, key in ipairs { ... } do value = value[key] end
            skynet.retpack(value)
        end
        function C.copy(_, _, ...) skynet.retpack(sharedata.deepcopy(...)) end",
    );
    holds(
        "local sharedata = require 'skynet.sharedata'
        local reader = skynet.newservice 'reader'
        sharedata.new('conf', { x = 1, list = { 10, 20, 30 }, sub = { deep = { 'a', y = 2.5, yes = true } }, [100] = 'far' })
        local x, count = skynet.call(reader, 'lua', 'query', 'conf')
        assert(x == 1 and count == 3)
        local conf = sharedata.query 'conf'
        assert(conf == sharedata.query 'conf' and conf[100] == 'far' and conf.none == nil and conf.sub.deep[1] == 'a')
        local seen, sum = {}, 0
        for key, value in pairs(conf) do seen[key] = value end
        for _, value in ipairs(conf.list) do sum = sum + value end
        assert(seen.x == 1 and seen[100] == 'far' and seen.sub.deep.yes == true and sum == 60)
        assert(table.concat(conf.list, ' ') == '10 20 30' and select('#', table.unpack(conf.list)) == 3)
        refuses('Error newindex, the key [.sub]', function() conf.sub.new = 1 end)
        refuses('is there already', sharedata.new, 'conf', {})
        local deep, gone = conf.sub.deep, conf.sub
        sharedata.update('conf', { x = 2, list = {}, sub = { deep = { 'b' } } })
        assert(conf.x == 2 and deep[1] == 'b' and deep.y == nil and #conf.list == 0)
        assert(skynet.call(reader, 'lua', 'read', 'sub', 'deep', 1) == 'b')
        sharedata.update('conf', { x = 3 })
        refuses(\"The key [.sub.deep] doesn't exist after update\", function() return deep[1] end)
        assert(conf.x == 3 and skynet.call(reader, 'lua', 'read', 'x') == 3)
        sharedata.flush()
        sharedata.update('code', 'a = 1 b = { ... }', 5, 6)
        assert(sharedata.query 'code'.a == 1 and sharedata.query 'code'.b[2] == 6)
        sharedata.update('file', '@conf.lua', 7)
        assert(sharedata.query 'file'.given == 7)
        local copy = skynet.call(reader, 'lua', 'copy', 'code')
        assert(copy.b[1] == 5 and skynet.call(reader, 'lua', 'copy', 'code', 'b', 1) == 5)
        assert(skynet.call(reader, 'lua', 'copy', 'code', 'none') == nil)
        sharedata.delete 'conf'
        assert(conf.x == 3, 'what is there stays')
        refuses('there is no shared data conf', sharedata.query, 'conf')
        refuses('there is no shared data conf', sharedata.delete, 'conf')
        sharedata.new('conf', { x = 4 })
        assert(sharedata.query 'conf'.x == 4 and conf.x == 3)
        sharedata.new 'empty'
        assert(next(sharedata.deepcopy 'empty') == nil)
        refuses('Unknown data type number', sharedata.new, 'number', 1)
        refuses('Unsupport type function', sharedata.new, 'f', { print })
        local circle = {}
        circle.circle = circle
        refuses('too deep', sharedata.new, 'circle', circle)
        refuses('Unsupport type table as a key', sharedata.new, 'key', { [{}] = 1 })",
        &[("reader.lua", &reader), ("conf.lua", "given = ...")],
    );
}

#[test]
fn the_functions_below_shared_data_work_by_themselves() {
    holds(
        "local core, corelib = require 'skynet.sharedata.core', require 'skynet.sharedata.corelib'
        local object = core.new { 1, 2, a = { b = 3 } }
        assert(core.len(object) == 2 and core.hashlen(object) == 1 and core.index(object, 1) == 1 and core.getref(object) >= 1)
        assert(core.nextkey(object, nil) == 1 and core.nextkey(object, 2) == 'a' and core.nextkey(object, 'a') == nil)
        refuses('Invalid next key', core.nextkey, object, 'none')
        assert(core.box(object) == object and not core.isdirty(object) and core.needupdate(object) == nil)
        core.incref(object) core.decref(object) core.delete(object)
        local root = corelib.box(object)
        local a = root.a
        corelib.update(root, core.new { a = { b = 4 } })
        assert(core.isdirty(object) and a.b == 4 and root[1] == nil)
        corelib.flush(root)
        assert(corelib.copy(root.__obj).a.b == 4 and corelib.copy(root.__obj, 'a', 'b') == 4)
        local key, value = corelib.next(root, nil)
        assert(key == 'a' and value == a)
        core.markdirty(object)
        refuses('a shared object is needed', core.len, require 'skynet.stm'.new 'x')
        corelib.host.delete(corelib.host.new {})",
        &[],
    );
}

#[test]
fn shared_tables_stay_as_they_are_until_a_service_updates_them() {
    let reader = service(
        "local sharetable = require 'skynet.sharetable'
        local t
        function C.query(_, _, name) t = sharetable.query(name) skynet.retpack(t ~= nil) end
        function C.read(_, _, key) skynet.retpack(t.sub[key]) end
        function C.update(_, _, name) sharetable.update(name) skynet.retpack() end",
    );
    holds(
        "local sharetable = require 'skynet.sharetable'
        local reader = skynet.newservice 'reader'
        sharetable.loadtable('t', { 1, 2, sub = { x = 1 }, old = { y = 1 } })
        local t = sharetable.query 't'
        local sub, old = t.sub, t.old
        assert(type(t) == 'table' and #t == 2 and sub.x == 1 and t == sharetable.query 't')
        local keys = {}
        for key in pairs(t) do keys[key] = true end
        assert(keys[1] and keys[2] and keys.sub and keys.old)
        assert(skynet.call(reader, 'lua', 'query', 't') and not skynet.call(reader, 'lua', 'query', 'none'))
        skynet.call(reader, 'lua', 'query', 't')
        sharetable.loadtable('t', { 3, sub = { x = 2 } })
        assert(t[1] == 1 and sub.x == 1 and skynet.call(reader, 'lua', 'read', 'x') == 1)
        local newer = sharetable.query 't'
        assert(newer ~= t and newer[1] == 3)
        sharetable.update('t', 'none')
        skynet.call(reader, 'lua', 'update', 't')
        assert(t[1] == 3 and sub.x == 2 and old.y == nil and #old == 0 and next(old) ~= false and skynet.call(reader, 'lua', 'read', 'x') == 2)
        sharetable.loadstring('s', 'return { given = ... }', 5)
        sharetable.loadfile('table.lua', 6)
        local all = sharetable.queryall()
        assert(all.s.given == 5 and all['table.lua'].given == 6 and all.t[1] == 3)
        assert(sharetable.queryall({ 's' }).t == nil and sharetable.query 'none' == nil)
        refuses('attempt to change a shared table', function() t.x = 1 end)
        refuses('returns no table', sharetable.loadstring, 'n', 'return 1')
        refuses('a shared table is made of a table', sharetable.loadtable, 'n', 1)
        assert(not pcall(sharetable.loadfile, 'none.lua') and not pcall(sharetable.loadstring, 'n', 'return ('))",
        &[
            ("reader.lua", &reader),
            ("table.lua", "return { given = ... }"),
        ],
    );
}

#[test]
fn a_datasheet_follows_what_its_builder_makes() {
    let reader = service(
        "local datasheet = require 'skynet.datasheet'
        function C.read(_, _, name, key) skynet.retpack(datasheet.query(name)[key]) end",
    );
    holds(
        "local builder, datasheet = require 'skynet.datasheet.builder', require 'skynet.datasheet'
        local dump = require 'skynet.datasheet.dump'
        local reader = skynet.newservice 'reader'
        refuses('create data first', datasheet.query, 'foobar')
        builder.new('foobar', { a = 1, list = { 1, 2, 3 }, sub = { x = 'y' } })
        local t = datasheet.query 'foobar'
        local sub = t.sub
        assert(t.a == 1 and #t.list == 3 and sub.x == 'y' and skynet.call(reader, 'lua', 'read', 'foobar', 'a') == 1)
        builder.update('foobar', { a = 2, sub = { x = 'z' } })
        assert(t.a == 2 and sub.x == 'z' and t.list == nil and skynet.call(reader, 'lua', 'read', 'foobar', 'a') == 2)
        local text = builder.compile { a = 3 }
        builder.update('foobar', text)
        assert(t.a == 3 and dump.undump(dump.dump { 1 })[1] == 1 and dump.diff(text, 'newer') == 'newer')
        refuses('is there already', builder.new, 'foobar', {})
        refuses('there is no none', builder.update, 'none', {})
        refuses('not a datasheet of this program', builder.new, 'other', 'text')",
        &[("reader.lua", &reader)],
    );
}

#[test]
fn readers_see_what_a_writer_has_written_last() {
    let reader = service(
        "local stm = require 'skynet.stm'
        local reader
        function C.open(_, _, copy) reader = stm.newcopy(copy) skynet.retpack() end
        function C.read()
            skynet.retpack(reader(function(msg, sz, more) return more, skynet.unpack(msg, sz) end, 'more'))
        end",
    );
    holds(
        "local stm = require 'skynet.stm'
        local reader = skynet.newservice 'reader'
        local writer = stm.new(skynet.pack(1, 'a'))
        skynet.call(reader, 'lua', 'open', stm.copy(writer))
        local function read() return skynet.call(reader, 'lua', 'read') end
        local is_new, more, one, text = read()
        assert(is_new == true and more == 'more' and one == 1 and text == 'a')
        assert(read() == false)
        writer(skynet.pack(2, 'b'))
        writer(skynet.packstring(3, 'c'))
        local is_new, _, three = read()
        assert(is_new == true and three == 3 and read() == false)
        local copy = stm.copy(writer)
        local own = stm.newcopy(copy)
        refuses('taken before', stm.newcopy, copy)
        refuses('taken before', stm.newcopy, 'text')
        assert(select('#', own(function(msg, sz) return msg, sz end)) == 3)
        refuses('is needed', writer, {})
        refuses('inside', stm.newcopy(stm.copy(writer)), function() error 'inside' end)
        writer = nil
        collectgarbage()
        collectgarbage()
        assert(read() == false)
        local many = stm.new 'x'
        refuses('the service has too many copies (>16384)', function() for _ = 1, 70000 do stm.copy(many) end end)",
        &[("reader.lua", &reader)],
    );
}

#[test]
fn a_map_has_the_fields_of_its_schema_and_is_committed() {
    let reader = service(
        "local sharemap = require 'skynet.sharemap'
        local reader
        function C.open(_, _, name, copy) reader = sharemap.reader(name, copy) skynet.retpack(reader.x, reader.s) end
        function C.update() local is_new = reader:update() skynet.retpack(is_new, reader.x, reader.s) end",
    );
    holds(
        "local sharemap = require 'skynet.sharemap'
        sharemap.register 'map.sproto'
        local reader = skynet.newservice 'reader'
        local writer = sharemap.writer('foobar', { x = 0, s = 'hello' })
        local x, s = skynet.call(reader, 'lua', 'open', 'foobar', writer:copy())
        assert(x == 0 and s == 'hello')
        writer.x, writer.s = 7, nil
        assert(skynet.call(reader, 'lua', 'update') == false)
        writer:commit()
        local is_new, x, s = skynet.call(reader, 'lua', 'update')
        assert(is_new == true and x == 7 and s == 'hello' == (writer.s ~= nil))
        assert(not pcall(sharemap.writer, 'none'))
        local own = sharemap.reader('foobar', writer:copy())
        assert(own.x == 7 and not pcall(function() own.x = 1 end))",
        &[
            ("reader.lua", &reader),
            ("map.sproto", ".foobar { x 0 : integer  s 1 : string }"),
        ],
    );
}

#[test]
fn functions_on_memory_of_c_say_why_they_cannot_work() {
    holds(
        "local sharetable = require 'skynet.sharetable'
        local core = require 'skynet.sharetable.core'
        sharetable.loadtable('t', { sub = {} })
        local t = sharetable.query 't'
        assert(core.is_sharedtable(t) and core.is_sharedtable(t.sub) and not core.is_sharedtable({}) and not core.is_sharedtable(1))
        for name, functions in pairs {
            ['skynet.sharetable.core'] = { 'clone', 'matrix', 'stackvalues' },
            ['skynet.datasheet.core'] = { 'new', 'stringpointer', 'update' },
            ['skynet.multicast.core'] = { 'bind', 'close', 'nextid', 'pack', 'packremote', 'remote', 'unpack' },
        } do
            for _, f in ipairs(functions) do
                refuses(name .. '.' .. f .. ': ', require(name)[f], 1, 2)
            end
        end",
        &[],
    );
}

#[test]
fn copies_whose_writer_is_gone_make_room() {
    let hog = "local skynet = require 'skynet'
        local stm = require 'skynet.stm'
        skynet.start(function()
            local writer = stm.new 'x'
            repeat until not pcall(stm.copy, writer)
            skynet.dispatch('lua', function()
                skynet.retpack(type(writer))
                skynet.exit()
            end)
        end)";
    holds(
        "local stm = require 'skynet.stm'
        local writer = stm.new 'mine'
        local before = stm.copy(writer)
        -- One service takes its share, and leaves room.
        local hogs = { skynet.newservice 'hog' }
        assert(stm.newcopy(stm.copy(writer)))
        for i = 2, 4 do hogs[i] = skynet.newservice 'hog' end
        refuses('there are too many copies (>65536)', stm.copy, writer)
        for _, hog in ipairs(hogs) do skynet.call(hog, 'lua') end
        local copy
        repeat
            skynet.sleep(1)
            local ok, made = pcall(stm.copy, writer)
            copy = ok and made
        until copy
        for _, each in ipairs { before, copy } do
            local ok, read = stm.newcopy(each)(skynet.tostring)
            assert(ok and read == 'mine')
        end",
        &[("hog.lua", hog)],
    );
}
