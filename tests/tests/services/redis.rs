//! `skynet.db.redis` against a server of Redis, and against one that lies.

use std::sync::Arc;

use moorline_tests::{Outsider, Site};

use super::attendant::{ATTEND, Attendant};
use super::script::passes;

const CONFIG: &str =
    "port PORT0\nbind 127.0.0.1\nsave \"\"\nappendonly no\ndir FOLDER\nlogfile FOLDER/redis.log\n";

fn start(more: &str) -> (Arc<Site>, Outsider) {
    let site = Site::new("moorline", "");
    let config = format!("{CONFIG}{more}");
    let server = Outsider::start(&site, "redis-server", &[], &config, 1);
    (site, server)
}

/// A start function that has a module and a connection.
fn with_db(server: &Outsider, body: &str) -> String {
    format!(
        "local redis = require 'skynet.db.redis'
        local place = {{ host = '127.0.0.1', port = {} }}
        local db = redis.connect(place)
        local function same(expected, ...)
            assert(... == expected, tostring((...)))
        end
        {body}",
        server.ports[0]
    )
}

#[test]
fn commands_are_methods_with_answers_of_every_kind() {
    let (_site, server) = start("");
    let body = with_db(
        &server,
        "db:flushall()
        same('OK', db:set('number', 17))
        same('17', db:get 'number') same(18, db:incr 'number') same(nil, db:get 'none')
        same('OK', db:SET({ 'word', 'x y' })) same('x y', db:get { 'word' })
        same(true, db:exists 'word') same(false, db:exists 'none')
        same(1, db:sadd('set', 'one')) same(true, db:sismember('set', 'one')) same(false, db:sismember('set', 'two'))
        same(4, db:rpush('list', 1, 2.5, true, ''))
        same('1,2.5,true,', table.concat(db:lrange('list', 0, -1), ','))
        same(0, #db:lrange('none', 0, -1))
        local many = db:mget('none', 'word', 'none')
        assert(many[1] == nil and many[2] == 'x y' and many[3] == nil)
        local tree = db:eval(\"return { 1, { 'two', { 3 }, false }, {} , 'five' }\", 0)
        assert(tree[1] == 1 and tree[2][1] == 'two' and tree[2][2][1] == 3 and tree[2][3] == nil and #tree[3] == 0 and tree[4] == 'five')
        same(math.maxinteger, db:incrby('most', math.maxinteger))
        local all = {}
        for i = 0, 255 do all[i] = string.char(i) end
        local binary = table.concat(all, '', 0) .. '\\r\\n$-1\\r\\n'
        db:set(binary, binary) same(binary, db:get(binary))
        local large = ('0123456789abcdef'):rep(1 << 20)
        db:set('large text', large) same(large, db:get 'large text')
        for i = 1, 20 do
            local words = {}
            for j = 1, 1000 do words[j] = i * 1000 + j end
            db:rpush('many', words[1], table.unpack(words, 2))
        end
        local found = db:lrange('many', 0, -1)
        assert(#found == 20000 and found[1] == '1001' and found[20000] == '21000')
        local other = redis.connect { host = '127.0.0.1', port = place.port, db = 3, overload = function() end }
        same(nil, other:get 'word') other:set('word', 'elsewhere') same('x y', db:get 'word')
        other:disconnect()
        assert(not pcall(function() return other:get 'word' end))",
    );
    passes(&body, &[]);
}

#[test]
fn errors_are_raised_at_the_caller_and_only_there() {
    let (_site, server) = start("");
    let body = with_db(
        &server,
        "db:flushall() db:set('word', 'x')
        local function fails(expected, ...)
            local ok, why = pcall(...)
            assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
        end
        fails('ERR unknown command', db.nonsense, db, 1)
        fails('WRONGTYPE', db.hget, db, 'word', 'field')
        fails('argument 2 of SET is nil', db.set, db, 'word', nil, 'EX')
        fails('wrong number of arguments', db.set, db, 'word', nil)
        fails('at least one command', db.pipeline, db, {})
        local answers = {}
        assert(db:pipeline({ { 'set', 'a', 1 }, { 'hget', 'a', 'x' }, { 'get', 'none' }, { 'incr', 'a' } }, answers) == answers)
        assert(#answers == 4 and answers[1].ok and answers[1].out == 'OK' and not answers[2].ok)
        assert(answers[2].out:find 'WRONGTYPE' and answers[3].ok and answers[3].out == nil and answers[4].out == 2)
        same(3, db:pipeline { { 'get', 'a' }, { 'incr', 'a' } })
        fails('WRONGTYPE', db.pipeline, db, { { 'get', 'a' }, { 'hget', 'a', 'x' } })
        same('OK', db:multi()) same('QUEUED', db:incr 'a') same('QUEUED', db:get 'a')
        local done = db:exec()
        assert(done[1] == 4 and done[2] == '4')
        db:watch 'a' db:multi() db:incr 'a'
        redis.connect(place):set('a', 'changed')
        same(nil, db:exec())
        db:multi() db:incr 'a' db:get 'a'
        local ok, values = pcall(db.exec, db)
        assert(not ok and type(values) == 'table' and values[1]:find 'not an integer' and values[2] == 'changed')
        -- Many wait at once, and each gets its own answer.
        local left = 200
        for i = 1, left do
            skynet.fork(function()
                if i % 10 == 0 then
                    fails('WRONGTYPE', db.hget, db, 'a', i)
                else
                    same('echo ' .. i, db:echo('echo ' .. i))
                end
                left = left - 1
            end)
        end
        while left > 0 do skynet.sleep(1) end
        fails('[Error: socket]', redis.connect, { host = '127.0.0.1', port = 1 })",
    );
    passes(&body, &[]);
}

#[test]
fn passwords_are_sent_on_every_connection() {
    let (_site, server) = start("requirepass secret\nuser someone on >other ~* &* +@all\n");
    let body = format!(
        "local redis = require 'skynet.db.redis'
        local function at(auth, username)
            return {{ host = '127.0.0.1', port = {}, auth = auth, username = username, db = 2 }}
        end
        for _, wrong in ipairs {{ at(), at 'wrong', at('secret', 'someone') }} do
            assert(not pcall(redis.connect, wrong))
            wrong.db = nil
            local watched, watcher = pcall(redis.watch, wrong)
            assert(not watched or not wrong.auth)
        end
        for _, right in ipairs {{ at 'secret', at('other', 'someone'), at {{ 'someone', 'other' }} }} do
            local db = redis.connect(right)
            assert(db:ping() == 'PONG' and db:client('info'):find ' db=2 ')
            db:client('kill', 'id', db:client 'id', 'skipme', 'no')
            -- The connection may be found lost at one request or at none.
            pcall(db.ping, db)
            assert(db:ping() == 'PONG' and db:client('info'):find ' db=2 ')
            redis.watch(right):disconnect()
        end",
        server.ports[0]
    );
    passes(&body, &[]);
}

#[test]
fn watchers_get_what_is_published_also_after_a_lost_connection() {
    let (_site, server) = start("");
    let body = with_db(
        &server,
        "local function subscribed(topic, count)
            repeat local numbers = db:pubsub('numsub', topic) until numbers[2] == count
        end
        local watcher = redis.watch(place)
        watcher:subscribe('one', 'two') watcher:psubscribe('p*', 'q*')
        subscribed('two', 1)
        while db:pubsub 'numpat' < 2 do end
        local function heard(topic, text, ...)
            assert(db:publish(topic, text) == 1)
            local got, expected = table.pack(watcher:message()), table.pack(text, ...)
            assert(got.n == expected.n or #got == #expected, got.n)
            for i = 1, #expected do assert(got[i] == expected[i], tostring(got[i])) end
        end
        heard('one', 'first', 'one')
        heard('two', 'a\\0b\\r\\n', 'two')
        heard('pattern', 'third', 'pattern', 'p*')
        watcher:unsubscribe 'two' watcher:punsubscribe 'q*'
        subscribed('two', 0)
        while db:pubsub 'numpat' > 1 do end
        assert(db:publish('two', 'nobody') == 0 and db:publish('queue', 'nobody') == 0)
        heard('one', 'still', 'one')
        local lost
        skynet.fork(function()
            local ok, why = pcall(watcher.message, watcher)
            lost = not ok and tostring(why)
        end)
        skynet.sleep(1)
        db:client('kill', 'type', 'pubsub')
        while not lost do skynet.sleep(1) end
        assert(lost == '[Error: socket]', lost)
        local again
        skynet.fork(function() again = watcher:message() end)
        subscribed('one', 1)
        db:publish('one', 'again')
        while not again do skynet.sleep(1) end
        assert(again == 'again')
        heard('pole', 'fourth', 'pole', 'p*')
        watcher:disconnect()
        subscribed('one', 0)",
    );
    passes(&body, &[]);
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let (_site, server) = start("");
    let body = with_db(
        &server,
        "local waiting
        skynet.fork(function()
            local ok, why = pcall(db.blpop, db, 'never', 0)
            waiting = not ok and tostring(why)
        end)
        local watcher = redis.watch(place)
        watcher:subscribe 'news'
        local news
        skynet.fork(function()
            repeat
                local ok, text = pcall(watcher.message, watcher)
                news = ok and text
            until news
        end)
        same('OK', redis.connect(place):set('kept', 'nowhere'))
        attend 'stop0'
        while waiting == nil do skynet.sleep(1) end
        assert(waiting == '[Error: socket]', waiting)
        assert(not pcall(db.get, db, 'kept') and not pcall(redis.connect, place))
        attend 'back0'
        same(nil, db:get 'kept')
        while not news do
            db:publish('news', 'it is back')
            skynet.sleep(2)
        end
        assert(news == 'it is back')",
    );
    let attendant = Attendant::new(vec![server]);
    passes(
        &format!("local attendant = {}\n{ATTEND}{body}", attendant.port),
        &[],
    );
}

/// Answers each request with what it was told, and ends the connection if it was told so.
const LIAR: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local reply, is_last = '+OK\\r\\n', false
    local function serve(id)
        socket.start(id)
        while socket.read(id) do
            socket.write(id, reply)
            if is_last then break end
        end
        socket.close(id)
    end
    skynet.start(function()
        local listener, _, port = socket.listen('127.0.0.1', 0)
        socket.start(listener, function(id) skynet.fork(serve, id) end)
        skynet.dispatch('lua', function(_, _, ...)
            if ... then reply, is_last = ... end
            skynet.retpack(port)
        end)
    end)";

#[test]
fn a_server_that_lies_ends_the_connection_and_nothing_else() {
    passes(
        "local redis = require 'skynet.db.redis'
        local liar = skynet.newservice 'liar'
        local db = redis.connect { host = '127.0.0.1', port = skynet.call(liar, 'lua') }
        local function fails(expected, reply, is_last)
            skynet.call(liar, 'lua', reply, is_last)
            local ok, why = pcall(db.get, db, 'x')
            assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
            skynet.call(liar, 'lua', '+OK\\r\\n', false)
            assert(db:get 'x' == 'OK')
        end
        local cut, long = '[Error: socket]', 'an answer has more than 536870912 bytes'
        for _, part in ipairs { '', '+', '+OK\\r', '$5', '$5\\r\\n', '$5\\r\\nabcde', '$5\\r\\nabcde\\r', '*2\\r\\n:1\\r\\n' } do
            fails(cut, part, true)
        end
        fails(long, '$600000000\\r\\n')
        fails(long, '*40000000\\r\\n')
        fails(long, '*9223372036854775807\\r\\n')
        fails(long, '*2\\r\\n*20000000\\r\\n*20000000\\r\\n')
        fails('as a number', '$99999999999999999999\\r\\n')
        fails('as a number', ':one\\r\\n')
        fails('as a number', '*\\r\\n')
        fails('as a number', ':1.5\\r\\n')
        fails('64 arrays in arrays', ('*1\\r\\n'):rep(100000))
        fails('none of RESP2', '\\r\\n')
        fails('none of RESP2', '%1\\r\\n+a\\r\\n+b\\r\\n')
        fails('none of RESP2', 'HTTP/1.1 200 OK\\r\\n\\r\\n')
        fails('longer than it says', '$3\\r\\nabcdefg\\r\\n')
        fails(cut, ('x'):rep(1 << 22))
        skynet.call(liar, 'lua', '$-5\\r\\n', false)
        assert(db:get 'x' == nil)
        skynet.call(liar, 'lua', '*-1\\r\\n', false)
        assert(db:get 'x' == nil)
        -- More than was asked for is the answer to the next request, as anywhere.
        skynet.call(liar, 'lua', '+one\\r\\n+two\\r\\n', false)
        assert(db:get 'x' == 'one' and db:get 'x' == 'two')",
        &[("liar.lua", LIAR)],
    );
}
