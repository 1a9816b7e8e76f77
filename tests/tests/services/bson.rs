//! `bson`: documents of MongoDB.

use super::script::passes;

const TOOLS: &str = "local bson = require 'bson'
    local function refuses(why, f, ...)
        local ok, err = pcall(f, ...)
        assert(not ok and type(err) == 'string' and err:find(why, 1, true), err)
    end
    local function back(value) return bson.encode({ v = value }):decode().v end\n";

#[track_caller]
fn holds(body: &str) {
    passes(&format!("{TOOLS}{body}"), &[]);
}

// The documents of bsonspec.org's examples.
#[test]
fn documents_are_those_of_the_specification() {
    holds(
        "local bytes = '\\x16\\0\\0\\0\\x02hello\\0\\x06\\0\\0\\0world\\0\\0'
        local document = bson.encode { hello = 'world' }
        assert(tostring(document) == bytes and #document == 22)
        assert(bson.decode(document).hello == 'world' and bson.decode(bytes).hello == 'world')
        local list = '1\\0\\0\\0\\4BSON\\0&\\0\\0\\0\\x020\\0\\8\\0\\0\\0awesome\\0\\x011\\x00333333\\x14@\\x102\\x00\\xc2\\7\\0\\0\\0\\0'
        assert(tostring(bson.encode { BSON = { 'awesome', 5.05, 1986 } }) == list)
        local ordered = bson.encode_order('b', 1, 'a', 2, 'c', { 3 })
        local found = {}
        for key in tostring(ordered):gmatch '\\x10(%l)\\0' do table.insert(found, key) end
        assert(table.concat(found) == 'ba' and ordered:decode().c[1] == 3)
        assert(tostring(bson.encode {}) == '\\5\\0\\0\\0\\0' and next(bson.encode({}):decode()) == nil)
        assert(bson.decode(nil) == nil and bson.to_lightuserdata(document) == document)",
    );
}

#[test]
fn values_of_every_type_come_back() {
    holds(
        "for _, value in ipairs { 1, -1, 2^31 // 1 | 0, math.mininteger, 1.5, true, false, '', 'a\\0b', bson.null, bson.minkey, bson.maxkey,
            bson.date(1700000000), bson.timestamp(1700000000, 7), bson.regex('^a', 'i'), bson.binary 'x\\0y', bson.objectid() } do
            local got = back(value)
            assert(got == value and math.type(got) == math.type(value), bson.type(value))
        end
        assert(back(bson.int64(7)) == 7 and tostring(bson.encode { v = bson.int64(7) }):byte(5) == 18)
        local kinds = { { 1, 'number', 1 }, { true, 'boolean', true }, { 'a', 'string', 'a' }, { bson.null, 'nil' },
            { bson.date(5), 'date', 5 }, { bson.timestamp(5, 6), 'timestamp', 5, 6 }, { bson.regex 'a', 'regex', 'a', '' },
            { bson.regex('a', 'im'), 'regex', 'a', 'im' }, { bson.binary 'ab', 'binary', 'ab', 0 }, { bson.int64(9), 'int64', 9 },
            { bson.minkey, 'minkey' }, { bson.maxkey, 'maxkey' },
            { bson.objectid '0123456789abcdefABCDEF01', 'objectid', '0123456789abcdefabcdef01' } }
        for _, it in ipairs(kinds) do
            local kind, a, b = bson.type(it[1])
            assert(kind == it[2] and a == it[3] and b == it[4], kind)
        end
        assert(bson.type(nil) == 'nil' and bson.type({}) == 'table')
        local ids = {}
        for _ = 1, 1000 do
            local id = bson.objectid()
            assert(not ids[id])
            ids[id] = true
        end
        local kind, first, count = bson.type(bson.timestamp(5))
        assert(select(3, bson.type(bson.timestamp(5))) == count + 1)
        local mixed = bson.encode({ v = { 1, 2, x = 3 } }):decode().v
        assert(mixed['1'] == 1 and mixed.x == 3)
        local object = setmetatable({}, { __pairs = function() return next, { a = 1 } end })
        local list = setmetatable({}, { __len = function() return 2 end, __index = function(_, i) return i * 10 end })
        local got = bson.encode({ o = object, l = list }):decode()
        assert(got.o.a == 1 and got.l[1] == 10 and got.l[2] == 20)
        assert(bson.encode({ v = bson.encode { inner = 1 } }):decode().v.inner == 1)",
    );
}

#[test]
fn values_of_fixed_length_are_replaced_in_place() {
    holds(
        "local document = bson.encode_order('n', 1, 'text', 'abc', 'r', 1.5, 'yes', false, 'id', bson.objectid(), 'at', bson.date(1),
            'large', 1 << 40, 'list', { 1, 2 }, 'stamp', bson.timestamp(1, 1))
        refuses('call makeindex first', function() document.n = 2 end)
        assert(document:makeindex() == document)
        local id = bson.objectid()
        document.n, document.r, document.yes, document.id, document.at = -7, 2.5, true, id, bson.date(99)
        document.large, document.stamp = 1 << 50, bson.timestamp(3, 4)
        local got = document:decode()
        assert(got.n == -7 and got.r == 2.5 and got.yes == true and got.id == id and got.at == bson.date(99))
        assert(got.large == 1 << 50 and got.text == 'abc' and #got.list == 2 and got.stamp == bson.timestamp(3, 4))
        refuses(\"Can't replace key : text\", function() document.text = 'x' end)
        refuses('must be a 32bit integer', function() document.n = 1.5 end)
        refuses('Type mismatch, need bson type 7', function() document.id = bson.date(1) end)
        refuses('Invalid date', function() document.at = '\\0\\9abcde' end)",
    );
}

#[test]
fn what_is_no_document_is_refused() {
    holds(
        "refuses('Invalid value type : function', bson.encode, { f = print })
        refuses('Invalid key type : table', bson.encode, { [{}] = 1 })
        refuses('zero byte', bson.encode, { ['a\\0b'] = 1 })
        refuses('Invalid ordered dict', bson.encode_order, 'a')
        refuses('Argument 3 need a string', bson.encode_order, 'a', 1, {}, 2)
        refuses('Invalid objectid', bson.objectid, 'short')
        refuses('Invalid subtype 99', bson.encode, { v = '\\0c' })
        refuses('Invalid date', bson.encode, { v = '\\0\\9' })
        refuses('Invalid regex', bson.type, '\\0\\11abc')
        refuses('Invalid type userdata', bson.type, bson.encode {})
        refuses('Invalid document end', bson.decode, '\\5\\0\\0\\0\\1')
        refuses('Invalid bson block', bson.decode, '')
        refuses('Invalid bson block', bson.decode, '\\xff\\xff\\0\\0')
        refuses('length = -1', bson.decode, '\\xff\\xff\\xff\\xff')
        refuses('Invalid bson type : 6', bson.decode, '\\8\\0\\0\\0\\6a\\0\\0')
        refuses('cstring', bson.decode, '\\7\\0\\0\\0\\1a\\0')
        local circle = {}
        circle.circle = circle
        refuses('Too depth while encoding bson', bson.encode, circle)
        local endless = setmetatable({}, { __len = function() return math.maxinteger end, __index = function() return true end })
        refuses('too large', bson.encode, { v = endless })
        refuses(\"bad argument #1 to 'encode' (table expected, got number)\", bson.encode, 1)",
    );
}

#[test]
fn documents_that_nobody_has_any_more_are_collected_by_their_size() {
    passes(
        "local bson = require 'bson'
        local function resident()
            local file <close> = assert(io.open '/proc/self/statm')
            local _, pages = file:read('n', 'n')
            return pages * 4096
        end
        local before = resident()
        for _ = 1, 300 do bson.encode { text = ('x'):rep(2 << 20) } end
        local more = resident() - before
        assert(more < 200 << 20, more)",
        &[],
    );
}
