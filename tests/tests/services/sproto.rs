//! `sproto`, `sprotoparser`, `sprotoloader`, `sproto.core` and `http.url`.

use super::script::{passes, run, service};

const SCHEMA: &str = "local sproto = require 'sproto'
    local function refuses(why, f, ...)
        local ok, err = pcall(f, ...)
        assert(not ok and type(err) == 'string' and err:find(why, 1, true), err)
    end
    local sp = sproto.parse [[
.package {
    type 0 : integer
    session 1 : integer
    ud 2 : string
}
.Item {
    id 0 : integer
    name 1 : string
    weight 2 : integer(2)
}
.Bag {
    .Entry { key 0 : string  value 1 : integer }
    items 0 : *Item(id)
    counts 1 : *Entry()
    ratio 2 : double
    ratios 3 : *double
    raw 5 : binary
    open 6 : boolean
    flags 7 : *boolean
    best 8 : Item
    names 9 : *string
    large 10 : *integer
}
get 1 {
    request { what 0 : string }
    response { value 0 : string }
}
note 2 { request { text 0 : string } }
ping 3 { response nil }
quit 4 {}
]]\n";

#[track_caller]
fn holds(body: &str) {
    passes(&format!("{SCHEMA}{body}"), &[]);
}

#[test]
fn values_of_every_type_come_back() {
    holds(
        "local bag = {
            items = { [7] = { id = 7, name = 'seven', weight = 1.25 }, [-1] = { id = -1, weight = -0.5 } },
            counts = { a = 1, b = 1 << 40 }, ratio = 0.1, ratios = { 1.5, -2e300 }, raw = 'a\\0b', open = false,
            flags = { true, false }, best = { id = 3 }, names = { '', 'x' }, large = { 1, -1, math.mininteger },
        }
        for _, through in ipairs { { sp.encode, sp.decode }, { sp.pencode, sp.pdecode } } do
            local bytes = through[1](sp, 'Bag', bag)
            local back = through[2](sp, 'Bag', bytes)
            assert(back.items[7].name == 'seven' and back.items[7].weight == 1.25 and back.items[-1].weight == -0.5)
            assert(back.counts.a == 1 and back.counts.b == 1 << 40)
            assert(back.ratio == 0.1 and back.ratios[2] == -2e300 and #back.ratios == 2)
            assert(back.raw == 'a\\0b' and back.open == false and back.flags[1] == true and back.flags[2] == false)
            assert(back.best.id == 3 and back.names[1] == '' and back.names[2] == 'x' and #back.names == 2)
            assert(back.large[2] == -1 and back.large[3] == math.mininteger)
        end
        local empty = sp:decode('Bag', sp:encode('Bag', { names = {}, large = {}, items = {} }))
        assert(#empty.names == 0 and #empty.large == 0 and next(empty.items) == nil and empty.flags == nil)
        local into = { mine = 1 }
        local back, size = sp:decode('Item', sp:encode('Item', { id = 70000 }) .. 'behind', into)
        assert(back == into and into.mine == 1 and into.id == 70000 and size == 12)
        local walked = setmetatable({}, { __pairs = function() return next, { { id = 5 } } end })
        assert(sp:decode('Bag', sp:encode('Bag', { items = walked })).items[5].id == 5)
        local message, size = skynet.pack 'packed'
        local plain, plain_size = sproto.unpack(sproto.pack(message, size)), #skynet.packstring 'packed'
        assert(plain:sub(1, plain_size) == skynet.packstring 'packed')
        skynet.trash(message, size)",
    );
}

#[test]
fn requests_and_responses_go_between_two_hosts() {
    holds(
        "local server, client = sp:host 'package', sp:host()
        local ask = client:attach(sp)
        local kind, name, args, respond, ud = server:dispatch(ask('get', { what = 'hello' }, 1, 'mine'))
        assert(kind == 'REQUEST' and name == 'get' and args.what == 'hello' and ud == 'mine')
        local kind, session, value, ud = client:dispatch(respond({ value = 'world' }, 'theirs'))
        assert(kind == 'RESPONSE' and session == 1 and value.value == 'world' and ud == 'theirs')
        refuses('Unknown session', client.dispatch, client, respond { value = 'again' })
        local kind, name, args, respond = server:dispatch(ask('note', { text = 'x' }))
        assert(kind == 'REQUEST' and name == 'note' and args.text == 'x' and respond == nil)
        local _, name, args, respond = server:dispatch(ask('ping', nil, 2))
        assert(name == 'ping' and args == nil)
        assert(select('#', client:dispatch(respond())) >= 2)
        local _, name = server:dispatch(ask 'quit')
        assert(name == 'quit')
        refuses('nobody not found', ask, 'nobody')
        assert(sp:exist_proto 'get' and not sp:exist_proto 'nobody' and sp:exist_type 'Bag' and not sp:exist_type 'None')
        local p = sp:queryproto 'get'
        assert(p.name == 'get' and p.tag == 1 and sp:queryproto(1).name == 'get')
        local bytes, tag = sp:request_encode('get', { what = 'a' })
        local args, name = sp:request_decode('get', bytes)
        assert(tag == 1 and args.what == 'a' and name == 'get')
        assert(sp:response_decode('get', sp:response_encode('get', { value = 'b' })).value == 'b')
        assert(sp:request_encode 'quit' == '' and sp:response_encode 'quit' == '' and sp:response_decode('quit', '') == nil)
        assert(sp:default('get', 'REQUEST').what == '' and sp:default('get', 'RESPONSE').value == '')
        local default = sp:default 'Bag'
        assert(default.ratio == 0.0 and default.open == false and default.items.__array == 'Item' and default.best.__type == 'Item')
        refuses('Invalid type', sp.default, sp, 'get', 'OTHER')
        refuses('type not found', sp.encode, sp, 'None', {})
        refuses('type package not found', function() sproto.parse '.a {}':host() end)",
    );
}

#[test]
fn what_does_not_fit_the_schema_is_refused() {
    holds(
        "refuses('.id[0] is not an integer (Is a string)', sp.encode, sp, 'Item', { id = 'x' })
        refuses('.id[0] is not an integer (Is a number)', sp.encode, sp, 'Item', { id = 1.5 })
        refuses('.name[0] is not a string (Is a number)', sp.encode, sp, 'Item', { name = 1 })
        refuses('.open[0] is not a boolean (Is a number)', sp.encode, sp, 'Bag', { open = 1 })
        refuses('.best[0] is not a table (Is a number)', sp.encode, sp, 'Bag', { best = 1 })
        refuses('.names[2] is not a string (Is a boolean)', sp.encode, sp, 'Bag', { names = { 'a', true } })
        refuses('.*names(1) should be a table', sp.encode, sp, 'Bag', { names = 1 })
        refuses('decode error', sp.decode, sp, 'Item', '')
        refuses('decode error', sp.decode, sp, 'Item', '\\xff\\xff')
        refuses('Invalid unpack stream', sproto.unpack, '\\xff')
        refuses('Need a string or userdata', sproto.unpack, {})
        refuses('syntax error at [=text] line (2)', sproto.parse, '.a {\\n x : }')
        refuses('assertion failed', sproto.new, 'no bundle')
        local core = require 'sproto.core'
        refuses('Need a sproto object', core.querytype, 1, 'a')
        refuses('Should be number or string', core.protocol, core.newproto(require 'sprotoparser'.parse ''), {})
        local endless = setmetatable({}, { __index = function() return true end })
        refuses('object is too large (>1048576 elements)', sp.encode, sp, 'Bag', { flags = endless })
        refuses('object is too large (>16777216)', sp.encode, sp, 'Bag', { raw = ('x'):rep(17 << 20) })
        local loop = sproto.parse '.node { next 0 : node }'
        local node = {}
        node.next = node
        refuses('The table is too deep', loop.encode, loop, 'node', node)
        local object = core.newproto(require 'sprotoparser'.parse '.a {}')
        core.deleteproto(object)
        assert(not pcall(core.querytype, object, 'a'))
        refuses(\"Can't find main index (tag=0) in [items]\", sp.decode, sp, 'Bag',
            sproto.parse '.Item { name 1 : string } .Bag { items 0 : *Item }':encode('Bag', { items = { { name = 'a' } } }))",
    );
}

#[test]
fn services_share_schemas_by_number() {
    let user = service(
        "local loader = require 'sprotoloader'
        function C.value(_, _, bytes) skynet.retpack(loader.load(2):decode('a', bytes).x) end",
    );
    let text = ".a { x 0 : integer }";
    passes(
        "local loader = require 'sprotoloader'
        local user = skynet.newservice 'user'
        local ok, err = pcall(loader.load, 2)
        assert(not ok and err:find('nil sproto at index 2', 1, true))
        loader.register('a.sproto', 2)
        local sp = loader.load(2)
        assert(skynet.call(user, 'lua', 'value', sp:encode('a', { x = 77 })) == 77)
        loader.save(require 'sprotoparser'.parse '.a { y 0 : integer  x 1 : integer }', 2)
        assert(skynet.call(user, 'lua', 'value', loader.load(2):encode('a', { x = 78 })) == 78)
        assert(sp:decode('a', sp:encode('a', { x = 1 })).x == 1, 'what is loaded stays')
        for _, slot in ipairs { -1, 16 } do
            local ok, err = pcall(loader.load, slot)
            assert(not ok and err:find('Invalid global slot index ' .. slot, 1, true))
        end
        assert(not pcall(loader.save, 'no bundle', 1) and not pcall(loader.register, 'none.sproto', 1))",
        &[("user.lua", &user), ("a.sproto", text)],
    );
}

// The bundle of `.a { x 0 : integer  b 1 : *a(x) }`, put together by hand from the description in skynet's own parser.
#[test]
fn a_bundle_has_the_bytes_that_are_described() {
    let script = "local core, parser = require 'sproto.core', require 'sprotoparser'
        local function part(text) return string.pack('<s4', text) end
        local x = part('\\4\\0' .. '\\0\\0' .. '\\2\\0' .. '\\1\\0' .. '\\2\\0' .. part 'x')
        local b = part('\\6\\0' .. '\\0\\0' .. '\\1\\0' .. '\\2\\0' .. '\\4\\0' .. '\\4\\0' .. '\\2\\0' .. part 'b')
        local a = part('\\2\\0\\0\\0\\0\\0' .. part 'a' .. part(x .. b))
        local bundle = '\\1\\0\\0\\0' .. part(a)
        assert(parser.parse '.a { x 0 : integer  b 1 : *a(x) }' == bundle)
        local schema = core.newproto(bundle)
        core.dumpproto(schema)
        parser.dump(bundle:sub(1, 18))
        local bytes = core.encode(core.querytype(schema, 'a'), { b = { { x = 3 } } })
        assert(core.decode(core.querytype(schema, 'a'), bytes).b[3].x == 3)";
    let main = super::script::main_of(script);
    let finished = run(&[("main.lua", &main)]).expect_success();
    assert_eq!(
        finished.stdout,
        "=== 1 types ===\na\n\tx (0) integer\n\tb (1) *a[0]\n=== 0 protocol ===\n\
         01 00 00 00 3D 00 00 00 - 39 00 00 00 02 00 00 00 \n00 00 \n"
    );
}

#[test]
fn targets_and_queries_are_taken_apart() {
    passes(
        "local url = require 'http.url'
        local path, query = url.parse '/a%20b+c?x=1&y=%41'
        assert(path == '/a b c' and query == 'x=1&y=%41')
        local values = url.parse_query 'x=1&y=%41+b&x=2&x=3&empty='
        assert(values.y == 'A b' and values.empty == '' and table.concat(values.x, ' ') == '1 2 3')
        local path, query = url.parse '/%zz'
        assert(path == '/%zz' and query == '')
        assert(next(url.parse_query '') == nil)",
        &[],
    );
}
