//! `skynet.db.mongo` against a server of the tests, which keeps documents, proves passwords and lies: Debian has none of MongoDB.

use std::sync::Arc;

use moorline_tests::{Outsider, Site};

use super::script::passes;

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/mongo_peer.py");

fn peer() -> (Arc<Site>, Outsider) {
    let site = Site::new("moorline", "");
    let config = "PORT0 PORT1 PORT2 PORT3";
    let server = Outsider::start(&site, "python3", &[PEER], config, 4);
    (site, server)
}

/// A start function that has the module, a client, and the ports.
fn with_mongo(server: &Outsider, body: &str) -> String {
    format!(
        "local mongo, bson = require 'skynet.db.mongo', require 'bson'
        local ports = {{ {}, {}, {}, {} }}
        local place = {{ host = '127.0.0.1', port = ports[1] }}
        local client = mongo.client(place)
        local function fails(expected, ...)
            local ok, why = pcall(...)
            assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
        end
        local function same(expected, found)
            assert(expected == found, tostring(found))
        end
        local function names(cursor)
            local list = {{}}
            while cursor:hasNext() do list[#list + 1] = cursor:next().name end
            return table.concat(list, ' ')
        end
        {body}",
        server.ports[0], server.ports[1], server.ports[2], server.ports[3]
    )
}

#[test]
fn documents_are_written_in_every_way() {
    let (_site, server) = peer();
    let body = with_mongo(
        &server,
        "same('[mongo client : 127.0.0.1:' .. ports[1] .. ']', tostring(client))
        local db = client:getDB 'game'
        same('[mongo db : game]', tostring(db))
        local all = db:getCollection 'all'
        assert(all == db.all and tostring(all) == '[mongo collection : game.all]' and tostring(db.all.part) == '[mongo collection : game.all.part]')
        db:runCommand('drop', 'all')
        local function count(query) return all:find(query):count() end
        local function done(expected, ok, why, answer)
            assert(ok == true and why == nil and answer.n == expected, why)
        end
        local one = { name = 'one', size = 1 }
        all:insert(one)
        assert(bson.type(one._id) == 'objectid' and count() == 1)
        done(1, all:safe_insert { _id = 2, name = 'two', size = 2 })
        local ok, why, answer = all:safe_insert { _id = 2, name = 'again' }
        assert(ok == false and why:find 'E11000' and answer.writeErrors[1].code == 11000)
        done(1, all:raw_safe_insert(bson.encode_order('_id', 3, 'name', 'three', 'size', 3)))
        all:batch_insert { { name = 'four', size = 4 }, { name = 'five', size = 5 } }
        local list = { { name = 'six', size = 6 }, { _id = 7, name = 'seven', size = 7 } }
        done(2, all:safe_batch_insert(list))
        same(7, count())
        all:insert_many { { name = 'eight', size = 8 } } done(1, all:safe_insert_many { { name = 'nine', size = 9 } })
        all:update({ name = 'one' }, { ['$set'] = { size = 10 } })
        same(1, count { name = 'one', size = 10 })
        done(9, all:safe_update({}, { ['$inc'] = { seen = 1 } }, false, true))
        done(0, all:safe_update({ name = 'new' }, { ['$set'] = { size = 1 } }, true))
        same(1, count { name = 'new', size = 1 })
        all:batch_update { { query = { _id = 2 }, update = { name = 'second' } }, { query = { _id = 3 }, update = { ['$inc'] = { size = 1 } } } }
        same(1, count { name = 'second' }) same(1, count { _id = 3, size = 4 })
        done(2, all:safe_batch_update { { query = { _id = 2 }, update = { name = 'two' } }, { query = {}, update = { ['$inc'] = { seen = 1 } } } })
        done(1, all:raw_safe_update(bson.encode { q = { _id = 2 }, u = { ['$set'] = { size = 2 } } }))
        all:delete { name = 'eight' } same(0, count { name = 'eight' })
        all:delete({ size = 4 }, true) same(1, count { size = 4 })
        done(1, all:safe_delete { size = 4 }) done(1, all:safe_delete({ name = 'nine' }, true))
        done(2, all:safe_batch_delete { { name = 'six' }, { name = 'seven' } })
        done(1, all:raw_safe_delete { q = { _id = 2 }, limit = 1 })
        local found = all:findAndModify { query = { name = 'five' }, update = { ['$inc'] = { size = 1 } }, new = true }
        same(6, found.value.size)
        found = all:findAndModify { query = { name = 'five' }, remove = true }
        assert(found.value.name == 'five' and count { name = 'five' } == 0)
        fails('has a query', all.findAndModify, all, { update = {} }) fails('or remove', all.findAndModify, all, { query = {} })
        same(1, all:drop().ok)
        local gone = all:drop()
        assert(gone.ok == 0 and gone.errmsg == 'ns not found' and gone.code == 26)
        same(0, db:runCommand 'nonsense'.ok)
        same(1, db:send_command('insert', 'all', 'documents', { { _id = 1 } }).ok) same(1, count())
        ok, why, answer = client:bulkWrite({ { insert = 0, document = { _id = 5 } }, { insert = 1, document = { _id = 6 } } },
            { { ns = 'game.all' }, { ns = 'game.other' } }, true, true)
        assert(ok and answer.nInserted == 2 and count() == 2 and db.other:find():count() == 1, why)
        db.other:drop()
        assert(mongo.null == bson.null and mongo.maxkey == bson.maxkey and mongo.minkey == bson.minkey and mongo.type(bson.null) == 'nil')",
    );
    passes(&body, &[]);
}

#[test]
fn cursors_find_documents_in_batches() {
    let (_site, server) = peer();
    let body = with_mongo(
        &server,
        "local all = client.game.found
        all:drop()
        local list = {}
        for i = 1, 10 do list[i] = { _id = i, name = 'n' .. i, odd = i % 2, part = { i, { deep = true } } } end
        assert(all:safe_batch_insert(list))
        same('n1 n2 n3 n4 n5 n6 n7 n8 n9 n10', names(all:find()))
        same('n10 n9', names(all:find():sort({ _id = -1 }):limit(2)))
        same('n9 n7 n5 n3 n1 n10 n8 n6 n4 n2', names(all:find():sort({ odd = -1 }, { _id = -1 })))
        same('n3 n5', names(all:find({ odd = 1 }):sort { _id = 1 } :skip(1):limit(2)))
        same('n8 n9 n10', names(all:find { _id = { ['$gt'] = 7 } } :batchSize(1):maxTimeMS(500):hint '_id_'))
        same(5, all:find { odd = 1 } :count()) same(5, all:find { odd = 1 } :skip(4):limit(3):count())
        same(1, all:find { odd = 1 } :skip(4):limit(3):hint '_id_' :maxTimeMS(9):count(true))
        local one = all:findOne({ _id = 4 }, { name = 1 })
        assert(one.name == 'n4' and one._id == 4 and one.odd == nil and all:findOne { _id = 99 } == nil)
        same(true, all:findOne { _id = 4 } .part[2].deep)
        fails('hint provided', all:find():hint 'none' .hasNext, all:find():hint 'none')
        fails('hint provided', all:find():hint 'none' .count, all:find {} :hint 'none')
        local cursor = all:find()
        fails('Call hasNext first', cursor.next, cursor)
        assert(cursor:hasNext() and cursor:hasNext() and cursor:next().name == 'n1')
        cursor:close() cursor:close()
        -- What has come is there still.
        assert(names(cursor) == 'n2 n3' and not cursor:hasNext())
        fails('Call hasNext first', cursor.next, cursor)
        cursor = all:find():batchSize(2)
        assert(cursor:hasNext())
        client:runCommand('killCursors', 'x', 'cursors', { bson.int64(cursor.id) })
        assert(cursor:next() and cursor:next())
        fails('not found', cursor.hasNext, cursor) same(false, cursor:hasNext())
        local pipeline = { { ['$match'] = { odd = 0 } } }
        same('n2 n4 n6 n8 n10', names(all:aggregate(pipeline)))
        same('n8 n6', names(all:aggregate(pipeline, { allowDiskUse = true }):sort { _id = -1 } :skip(1):limit(2)))
        same('n2 n4 n6 n8 n10', names(all:aggregate(pipeline, { cursor = { batchSize = 1 } })))
        same('n2 n4 n6 n8 n10', names(all:aggregate(pipeline):batchSize(2):maxTimeMS(7)))
        same(5, all:aggregate(pipeline):skip(1):count()) same(2, all:aggregate(pipeline):skip(3):limit(9):count(true))
        same(0, all:aggregate { { ['$match'] = { odd = 7 } } } :count())
        assert(#pipeline == 1)
        fails('unknown field', all:aggregate(pipeline, { other = 1 }).hasNext, all:aggregate(pipeline, { other = 1 }))
        local left = 60
        for i = 1, left do
            skynet.fork(function()
                same('n' .. i % 10 + 1, all:findOne { _id = i % 10 + 1 } .name)
                left = left - 1
            end)
        end
        while left > 0 do skynet.sleep(1) end
        -- Indexes
        same(2, all:createIndex { { name = 1 }, { odd = -1 }, unique = true } .numIndexesAfter)
        same(3, all:createIndex({ name = 1 }, { unique = true }).numIndexesAfter)
        same(4, all:ensureIndex { 'name', 'odd' } .numIndexesAfter)
        same(6, all:createIndexes({ 'odd' }, { { _id = -1 }, name = 'own name' }).numIndexesAfter)
        fails('an index of several keys', all.createIndex, all, { name = 1, odd = 1 }, {})
        fails('an index has keys', all.createIndex, all, { unique = true })
        same(10, all:find():hint 'own name' :count())
        same(1, all:dropIndex 'own name'.ok) same(0, all:dropIndex 'own name'.ok) same(1, all:dropIndex '*'.ok)",
    );
    passes(&body, &[]);
}

#[test]
fn users_prove_their_passwords() {
    let (_site, server) = peer();
    let body = with_mongo(
        &server,
        "local function at(username, password, authmod, authdb)
            return { host = '127.0.0.1', port = ports[1], username = username, password = password, authmod = authmod, authdb = authdb }
        end
        same(0, client.locked:runCommand('ping').ok)
        for _, method in ipairs { 'scram_sha1', 'scram_sha256' } do
            for user, password in pairs { ann = 'secret', ['a=b,c'] = 'it, = is' } do
                local other = mongo.client(at(user, password, method, 'people'))
                same(1, other.locked:runCommand('ping').ok)
                -- Also on the next connection.
                pcall(other.runCommand, other, 'leave')
                same(1, other.locked:runCommand('ping').ok)
                same(true, other:logout()) same(0, other.locked:runCommand('ping').ok)
                same(true, other.people:auth(user, password)) same(1, other.locked:runCommand('ping').ok)
                other:disconnect() other:disconnect()
                fails('the client is disconnected', other.locked.runCommand, other.locked, 'ping')
            end
            for _, wrong in ipairs { { 'ann', 'wrong' }, { 'nobody', 'x' }, { 'few', 'x' }, { 'many', 'x' }, { 'thief', 'x' } } do
                fails('[Error: socket]', mongo.client, at(wrong[1], wrong[2], method))
            end
        end
        local ok, why = client.people:auth('ann', 'wrong')
        assert(ok == false and why == 'Authentication failed.') same(true, client.people:auth('ann', 'secret'))
        fails('hashes passwords 1 times', client.people.auth, client.people, 'few', 'x')
        fails('the server asks for other', client.people.auth, client.people, 'many', 'x')
        fails('not for this login', client.people.auth, client.people, 'thief', 'x')
        fails('[Error: socket]', mongo.client, at('ann', 'secret', 'mongodb_cr'))
        fails('[Error: socket]', mongo.client, { host = '127.0.0.1', port = 1 })
        local last = client.__id
        same(last + 1, client:genId())
        client.__id = 0x7fffffff
        assert(client:runCommand 'ping'.ok == 1 and client.__id == 1)",
    );
    passes(&body, &[]);
}

#[test]
fn the_primary_of_a_set_is_found() {
    let (_site, server) = peer();
    let body = with_mongo(
        &server,
        "local function set(...)
            local nodes = {}
            for i, at in ipairs { ... } do nodes[i] = { host = '127.0.0.1', port = at } end
            return mongo.client { rs = nodes }
        end
        for _, nodes in ipairs { { ports[2], ports[3] }, { ports[3] }, { ports[2] }, { 1, ports[2] } } do
            local found = set(table.unpack(nodes))
            assert(found:runCommand 'ismaster'.me == '127.0.0.1:' .. ports[3])
            pcall(found.runCommand, found, 'leave')
            assert(found:runCommand 'ismaster'.me == '127.0.0.1:' .. ports[3])
            found:disconnect()
        end
        fails('[Error: socket]', set, ports[4])
        fails('[Error: socket]', set, 1)",
    );
    passes(&body, &[]);
}

#[test]
fn transactions_are_done_as_a_whole_or_not_at_all() {
    let (_site, server) = peer();
    let body = with_mongo(
        &server,
        "mongo.enable 'transaction' mongo.enable 'transaction'
        local db = client.game
        local all = db.wealth
        all:drop()
        local function count() return all:find():count() end
        same(nil, db:run_transaction(function()
            assert(all:safe_insert { _id = 1 })
            all:insert { _id = 2 }
            assert(all:safe_update({ _id = 1 }, { ['$set'] = { rich = true } }))
        end))
        same(2, count())
        local why = db:run_transaction(function()
            assert(all:safe_insert { _id = 3 })
            same(3, count())
            -- Another coroutine has no part in it.
            local seen
            skynet.fork(function() seen = client:runCommand 'buildInfo'.version end)
            while not seen do skynet.sleep(1) end
            error 'no, not this'
        end)
        assert(why:find 'no, not this' and count() == 2)
        why = db:run_transaction(function() all:insert { _id = 1 } end)
        assert(why:find 'E11000' and count() == 2, why)
        same(nil, db:run_transaction(function() end))
        why = db:run_transaction(function()
            all:insert { _id = 4 }
            fails('has not ended', db.run_transaction, db, function() end)
            same(1, db:abort_transaction_().ok)
            same(0, db:commit_transaction_().ok)
            error 'undone by hand'
        end)
        assert(why:find 'undone by hand')
        same(2, count())
        local session = db:startSession_()
        assert(session.ok == 1 and db:endSessions_(session.id).ok == 1)
        db:test_transaction_()
        same(3, db.tb_test:find():count())",
    );
    passes(&body, &[]);
}

#[test]
fn a_server_that_lies_harms_nobody() {
    let (_site, server) = peer();
    let body = with_mongo(
        &server,
        "local other = mongo.client(place)
        local function lies(name, expected, func, ...)
            assert(other:runCommand('lie', name).ok == 1)
            fails(expected, func, ...)
            assert(other:runCommand('lie', '').ok == 1)
            same(1, client:runCommand 'ping'.ok)
        end
        local function ping() return client:runCommand 'ping' end
        lies('another request', 'which does not wait', ping)
        lies('an old kind', 'older than MongoDB 3.6', ping)
        lies('a section', 'a section that is no answer', ping)
        for _, name in ipairs { 'too long', 'too short', 'negative' } do lies(name, 'and may have 48000021', ping) end
        for _, name in ipairs { 'cut', 'cut in its length' } do lies(name, '[Error: socket]', ping) end
        lies('deep', 'Too depth', ping)
        lies('shorter than its document', 'Invalid bson block', ping)
        lies('an unknown type', 'Invalid bson type', ping)
        other:runCommand('lie', 'longer than its document') same(7, ping().n)
        other:runCommand('lie', 'with a checksum') same(8, ping().n)
        local all = client.game.lies
        local function find() return names(all:find()) end
        local function make() return names(all:aggregate {}) end
        for _, name in ipairs { 'no cursor', 'a false cursor' } do
            lies(name, 'has no cursor', find) lies(name, 'has no cursor', make)
        end
        lies('empty batches', '1000 batches in a row have no document', find)
        -- Of all who wait, each is told.
        other:runCommand('lie', 'cut')
        local told = 0
        for _ = 1, 20 do
            skynet.fork(function()
                local ok = pcall(ping)
                told = told + (ok and 0 or 1)
            end)
        end
        while told < 20 do skynet.sleep(1) end
        other:runCommand('lie', '')
        fails('Invalid value type', all.safe_insert, all, { x = print })
        same(1, ping().ok)",
    );
    passes(&body, &[]);
}
