//! `skynet.db.redis.cluster` against nodes of Redis, and against nodes that lie.

use std::process::Command;
use std::sync::Arc;

use moorline_tests::{Finish, Outsider, Site};

use super::attendant::{ATTEND, Attendant};
use super::script::passes;

const CONFIG: &str = "port PORT0\ncluster-port PORT1\nbind 127.0.0.1\nsave \"\"\nappendonly no\ndir FOLDER\n\
    logfile FOLDER/redis.log\ncluster-enabled yes\ncluster-node-timeout 1000\ncluster-require-full-coverage no\n\
    repl-diskless-sync-delay 0\n";

/// What a script has of the nodes: their places, and connections of its own.
const NODES: &str = "
    local cluster, redis = require 'skynet.db.redis.cluster', require 'skynet.db.redis'
    local nodes, links, ids = {}, {}, {}
    for i, port in ipairs(ports) do
        nodes[i] = { host = '127.0.0.1', port = port }
        links[i] = redis.connect(nodes[i])
        ids[i] = links[i]:cluster 'myid'
    end
    local function until_true(func)
        local since = skynet.now()
        while not func() do
            assert(skynet.now() - since < 6000, 'it does not happen')
            skynet.sleep(5)
        end
    end
    -- A new node refuses commands for two seconds.
    for i, link in ipairs(links) do
        until_true(function()
            local info = link:cluster 'info'
            return info:find 'cluster_state:ok' and info:find 'cluster_slots_assigned:16384' and info:find('cluster_known_nodes:' .. #nodes)
        end)
    end
    local function node_of(slot)
        for _, range in ipairs(links[2]:cluster 'slots') do
            if range[1] <= slot and slot <= range[2] then
                for i, id in ipairs(ids) do
                    if id == range[3][3] then return i end
                end
            end
        end
    end
    local function fails(expected, ...)
        local ok, why = pcall(...)
        assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
    end
    ";

/// Three nodes that share the slots.
fn start() -> (Vec<Arc<Site>>, Vec<Outsider>) {
    let (sites, nodes): (Vec<_>, Vec<_>) = (0..3).map(|_| node()).unzip();
    let create = ["--cluster", "create", "--cluster-yes"].map(str::to_owned);
    let places = nodes.iter().map(place);
    redis_cli(create.into_iter().chain(places));
    (sites, nodes)
}

fn node() -> (Arc<Site>, Outsider) {
    let site = Site::new("moorline", "");
    let node = Outsider::start(&site, "redis-server", &[], CONFIG, 2);
    (site, node)
}

fn place(node: &Outsider) -> String {
    format!("127.0.0.1:{}", node.ports[0])
}

fn redis_cli(arguments: impl IntoIterator<Item = String>) -> String {
    let finished = Command::new("redis-cli").args(arguments).finish();
    finished.expect_success().stdout
}

/// A fourth node, which follows the third one.
fn replica(nodes: &[Outsider]) -> (Arc<Site>, Outsider) {
    let (site, node) = self::node();
    let port = nodes[2].ports[0].to_string();
    let id = redis_cli(["-p", &port, "cluster", "myid"].map(str::to_owned));
    let (new, old) = (place(&node), place(&nodes[0]));
    let join = ["--cluster", "add-node", &new, &old, "--cluster-slave"];
    let of = ["--cluster-master-id", id.trim()];
    redis_cli(join.into_iter().chain(of).map(str::to_owned));
    (site, node)
}

fn ports(nodes: &[Outsider]) -> String {
    let ports: Vec<String> = nodes.iter().map(|node| node.ports[0].to_string()).collect();
    format!("local ports = {{ {} }}\n", ports.join(", "))
}

#[test]
fn commands_go_to_the_nodes_of_their_keys() {
    let (_sites, nodes) = start();
    let body = "
        local db = cluster.new({ { host = '127.0.0.1', port = 1 }, nodes[1] }, { max_connections = 8 })
        -- The checksum of the standard, and the examples of Redis's specification.
        assert(require 'skynet.db.redis.crc16' '123456789' == 0x31c3)
        assert(db:keyslot '123456789' == 0x31c3 and db:keyslot 'foo' == 12182 and db:keyslot(17) == db:keyslot '17')
        for key, tag in pairs { ['{user1000}.following'] = 'user1000', ['foo{{bar}}zap'] = '{bar', ['foo{bar}{zap}'] = 'bar' } do
            assert(db:keyslot(key) == db:keyslot(tag), key)
        end
        for _, key in ipairs { 'foo{}{bar}', '', '{', 'a\\0b' } do
            assert(db:keyslot(key) == links[1]:cluster('keyslot', key), key)
        end
        for i = 1, 100 do assert(db:set('key' .. i, i) == 'OK') end
        for i = 1, 100 do assert(db:get('key' .. i) == tostring(i)) end
        local count = 0
        for _, link in ipairs(links) do
            assert(link:dbsize() > 0)
            count = count + link:dbsize()
        end
        assert(count == 100)
        assert(db:exists 'key1' == true and db:exists 'none' == false and db:call('SET', { 'key1', 'x' }) == 'OK')
        assert(db:sadd('{a}set', 1, 2) == 2 and db:sismember('{a}set', 1) == true and db:sismember('{a}set', 3) == false)
        assert(db:mset('{a}1', 1, '{a}2', 2) == 'OK' and db:mget('{a}1', '{a}2', '{a}3')[2] == '2')
        fails('CROSSSLOT', db.mget, db, 'key1', 'key2')
        fails('WRONGTYPE', db.hget, db, 'key1', 'field')
        assert(db:eval('return { KEYS[1], ARGV[1] }', 1, 'key1', 'v')[2] == 'v')
        fails('eval - all keys must map to the same key slot', db.eval, db, 'return 1', 2, 'key1', 'key2')
        for _, name in ipairs { 'multi', 'exec', 'info', 'config' } do
            fails('No way to dispatch this command to Redis Cluster: ' .. name, db[name], db, 'x')
        end
        assert(db:get_key_from_command { 'GET', 'it' } == 'it' and db:get_key_from_command { 'evalsha', 'x', 1, 'it' } == 'it')
        assert(db:get_key_from_command { 'INFO' } == nil and db:get_key_from_command { 'ping' } == nil)
        local function open() local n = 0 for _ in pairs(db.connections) do n = n + 1 end return n end
        assert(open() == 3)
        db:close_all_connection() assert(open() == 0)
        db.max_connections = 2
        for i = 1, 100 do assert(db:exists('key' .. i)) assert(open() <= 2) end
        db:close_existing_connection() assert(open() == 1)
        local node = { host = '127.0.0.1', port = ports[3] }
        db:set_node_name(node) assert(node.name == '127.0.0.1:' .. ports[3])
        assert(db:get_connection(node) == db:get_connection(nodes[3]) and db:get_connection(node):cluster 'myid' == ids[3])
        local link = db:get_redis_link(nodes[1])
        assert(link:cluster 'myid' == ids[1]) link:disconnect()
        assert(db:get_random_connection():ping() == 'PONG')
        assert(db:get_connection_by_slot(db:keyslot 'foo'):cluster 'myid' == ids[node_of(12182)])
        -- Many at once make one connection to each node.
        db:close_all_connection()
        db.max_connections = 256
        local left = 100
        for i = 1, left do
            skynet.fork(function() assert(db:incr('counter' .. i) == 1) left = left - 1 end)
        end
        while left > 0 do skynet.sleep(1) end
        assert(open() == 3)
        for i = 1, 100 do db:del('counter' .. i) db:del('key' .. i) end
        db:del '{a}1' db:del '{a}2' db:del '{a}set'";
    passes(&format!("{}{NODES}{body}", ports(&nodes)), &[]);
}

#[test]
fn slots_that_move_are_followed() {
    let (_sites, nodes) = start();
    let body = "
        local db = cluster.new(nodes[1])
        local slot = db:keyslot '{moving}'
        local from = node_of(slot)
        local to = from % 3 + 1
        local function has(at) return db.slots[slot].name == '127.0.0.1:' .. ports[at] end
        assert(has(from) and db:set('{moving}kept', 1) == 'OK')
        -- A wrong map is corrected by the first answer, and asked for again at the next command.
        db.slots[slot] = { host = '127.0.0.1', port = ports[to], name = '127.0.0.1:' .. ports[to] }
        assert(db:get '{moving}kept' == '1' and has(from) and db.refresh_table_asap)
        assert(db:get '{moving}kept' == '1' and not db.refresh_table_asap)
        db:flush_slots_cache()
        assert(db:get '{moving}kept' == '1')
        db:initialize_slots_cache()
        assert(has(from))
        -- While it moves, what is no longer there is asked for at the other node, and the map stays.
        links[to]:cluster('setslot', slot, 'importing', ids[from])
        links[from]:cluster('setslot', slot, 'migrating', ids[to])
        assert(db:get '{moving}kept' == '1')
        local left = 50
        for i = 1, left do
            skynet.fork(function()
                assert(db:set('{moving}' .. i, i) == 'OK' and db:get('{moving}' .. i) == tostring(i))
                left = left - 1
            end)
        end
        while left > 0 do skynet.sleep(1) end
        fails('WRONGTYPE', db.hget, db, '{moving}7', 'field')
        assert(has(from) and links[from]:cluster('countkeysinslot', slot) == 1 and links[to]:cluster('countkeysinslot', slot) == 50)
        -- Half of the keys are here and half are there: it is tried again until they are together.
        local both
        skynet.fork(function() both = db:mget('{moving}kept', '{moving}7') end)
        skynet.sleep(20)
        links[from]:migrate('127.0.0.1', ports[to], '{moving}kept', 0, 5000)
        while not both do skynet.sleep(1) end
        assert(both[1] == '1' and both[2] == '7')
        for _, at in ipairs { to, from } do links[at]:cluster('setslot', slot, 'node', ids[to]) end
        until_true(function() return node_of(slot) == to end)
        assert(db:get '{moving}kept' == '1' and has(to))
        for i = 1, 50 do db:del('{moving}' .. i) end
        db:del '{moving}kept'";
    passes(&format!("{}{NODES}{body}", ports(&nodes)), &[]);
}

#[test]
fn channels_are_heard_wherever_they_are_published() {
    let (_sites, nodes) = start();
    let body = "
        local heard, links_lost = {}, 0
        local db = cluster.new(nodes, {}, function(text, channel, pattern)
            heard[text] = channel .. ' ' .. tostring(pattern)
            if text == 'fault' then error 'of the handler' end
        end)
        db:subscribe('one', 'two') db:psubscribe 'p*'
        until_true(function()
            local counts, patterns = { one = 0, two = 0 }, 0
            for _, link in ipairs(links) do
                for name in pairs(counts) do counts[name] = counts[name] + link:pubsub('numsub', name)[2] end
                patterns = patterns + link:pubsub 'numpat'
            end
            return counts.one == 1 and counts.two == 1 and patterns == 1
        end)
        for i, link in ipairs(links) do
            link:publish('one', 'first' .. i) link:publish('two', 'fault') link:publish('pole', 'third' .. i)
        end
        for i = 1, 3 do until_true(function() return heard['first' .. i] == 'one nil' and heard['third' .. i] == 'pole p*' end) end
        local watcher = db:get_watch_connection_by_slot(db:keyslot 'one')
        assert(watcher == db:get_watch_connection(db.slots[db:keyslot 'one']))
        for _, link in ipairs(links) do link:client('kill', 'type', 'pubsub') end
        until_true(function()
            links[1]:publish('one', 'again')
            return heard.again
        end)
        db:unsubscribe('one', 'two') db:punsubscribe 'p*'
        until_true(function() heard = {} links[2]:publish('one', 'late') skynet.sleep(5) return not heard.late end)";
    passes(&format!("{}{NODES}{body}", ports(&nodes)), &[]);
}

#[test]
fn the_slots_of_a_lost_node_are_found_at_its_replica() {
    let (_sites, mut nodes) = start();
    let (_site, replica) = replica(&nodes);
    nodes.push(replica);
    let ports = ports(&nodes);
    let attendant = Attendant::new(nodes);
    let body = "
        local db, reader = cluster.new(nodes), cluster.new(nodes, { read_slave = true })
        local slot = db:keyslot 'foo'
        local lost, other = node_of(slot), 'other'
        assert(lost >= 3)
        local spare = links[7 - lost]
        for i = 1, 100 do
            if node_of(db:keyslot('k' .. i)) ~= lost then other = 'k' .. i end
        end
        until_true(function() return spare:info 'replication':find 'master_link_status:up' end)
        for _, link in ipairs(links) do
            until_true(function()
                for _, range in ipairs(link:cluster 'slots') do
                    if #range == 4 then return true end
                end
            end)
        end
        assert(db:set('foo', 'kept') == 'OK' and db:set(other, 'here') == 'OK' and reader:get 'foo' == 'kept')
        -- It waits for what its own connection has written.
        assert(db:get_connection_by_slot(slot):wait(1, 10000) == 1)
        db:initialize_slots_cache() reader:initialize_slots_cache()
        attend('stop' .. lost - 1)
        -- The replica reads for its master at once, and writes after it was elected.
        assert(reader:get 'foo' == 'kept' and db:get(other) == 'here')
        until_true(function() return pcall(db.set, db, 'foo', 'elected') end)
        assert(db:get 'foo' == 'elected')
        -- The node that is asked may learn it a moment later.
        until_true(function() return node_of(slot) == 7 - lost end)
        attend('back' .. lost - 1)
        until_true(function() return redis.connect(nodes[lost]):info 'replication':find 'master_link_status:up' end)
        assert(db:get 'foo' == 'elected' and db:get(other) == 'here')";
    let body = format!(
        "{ports}local attendant = {}\n{ATTEND}{NODES}{body}",
        attendant.port
    );
    passes(&body, &[]);
}

#[test]
fn what_a_lost_node_had_fails_in_time_and_the_rest_works() {
    let (_sites, nodes) = start();
    let ports = ports(&nodes);
    let attendant = Attendant::new(nodes);
    let body = "
        local db = cluster.new(nodes)
        local lost, other = node_of(db:keyslot 'foo'), nil
        for i = 1, 100 do
            if node_of(db:keyslot('k' .. i)) ~= lost then other = 'k' .. i end
        end
        assert(db:set('foo', 'kept') == 'OK' and db:set(other, 'here') == 'OK')
        attend('stop' .. lost - 1)
        assert(db:get(other) == 'here')
        local ok, why = pcall(db.get, db, 'foo')
        assert(not ok and (why:find 'maybe node is disconnected' or why:find 'CLUSTERDOWN'), why)
        attend('back' .. lost - 1)
        until_true(function() return pcall(db.set, db, 'foo', 'again') end)
        assert(db:get 'foo' == 'again' and db:get(other) == 'here')
        local nobody = cluster.new { host = '127.0.0.1', port = 1 }
        fails('t reach a single startup node.', nobody.get, nobody, 'foo')
        fails('no node has the slot', nobody.subscribe, nobody, 'news')";
    let body = format!(
        "{ports}local attendant = {}\n{ATTEND}{NODES}{body}",
        attendant.port
    );
    passes(&body, &[]);
}

/// Answers `CLUSTER` with one text and what is not of the login with another.
const LIAR: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local map, reply = '*0\\r\\n', '+OK\\r\\n'
    local function serve(id)
        socket.start(id)
        while true do
            local words = socket.read(id)
            if not words then break end
            local answer = words:find 'SELECT' and '+OK\\r\\n' or words:find 'CLUSTER' and map or words:find 'PING' and '+PONG\\r\\n' or reply
            socket.write(id, answer)
            if words:find 'ASKING' then socket.write(id, reply) end
        end
        socket.close(id)
    end
    skynet.start(function()
        local listener, _, port = socket.listen('127.0.0.1', 0)
        socket.start(listener, function(id) skynet.fork(serve, id) end)
        skynet.dispatch('lua', function(_, _, new_map, new_reply)
            map, reply = new_map or map, new_reply or reply
            skynet.retpack(port)
        end)
    end)";

#[test]
fn nodes_that_lie_are_not_followed_for_ever() {
    passes(
        "local cluster = require 'skynet.db.redis.cluster'
        local liar = skynet.newservice 'liar'
        local port = skynet.call(liar, 'lua')
        local db
        local function with(map, reply)
            skynet.call(liar, 'lua', map, reply)
            db = cluster.new { host = '127.0.0.1', port = port }
        end
        local function fails(expected)
            local ok, why = pcall(db.get, db, 'foo')
            assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
        end
        local function range(first, last, host, number)
            return ('*3\\r\\n:%s\\r\\n:%s\\r\\n*2\\r\\n$%d\\r\\n%s\\r\\n:%d\\r\\n'):format(first, last, #host, host, number)
        end
        local all = '*1\\r\\n' .. range(0, 16383, '127.0.0.1', port)
        with(all, '+fine\\r\\n')
        assert(db:get 'foo' == 'fine' and db.slots[0].port == port)
        -- Maps that are none are not taken over, and the node is asked nevertheless.
        local ranges = { range(0, 9223372036854775807, 'x', 1), range(-1, 5, 'x', 1), range(0, 16384, 'x', 1) }
        for _, one in ipairs(ranges) do
            with('*1\\r\\n' .. one) assert(next(db.slots) == nil and db:get 'foo' == 'fine')
        end
        with('*2\\r\\n' .. range(0, 16383, 'x', 1):rep(2)) assert(next(db.slots) == nil)
        for _, map in ipairs { '+OK\\r\\n', ':1\\r\\n', '*1\\r\\n:1\\r\\n', '*1\\r\\n*0\\r\\n', '*1\\r\\n*3\\r\\n:0\\r\\n:1\\r\\n*0\\r\\n', '-ERR no\\r\\n' } do
            with(map) assert(next(db.slots) == nil and db:get 'foo' == 'fine')
        end
        -- A node that does not know its address is where it was asked.
        with('*1\\r\\n' .. range(0, 16383, '', port)) assert(db.slots[7].host == '127.0.0.1' and db:get 'foo' == 'fine')
        with(all, '-MOVED 12182 :' .. port .. '\\r\\n') fails 'Too many Cluster redirections?'
        with(all, '-MOVED 12182 127.0.0.1:' .. port .. '\\r\\n') fails 'Too many Cluster redirections?'
        with(all, '-ASK 12182 127.0.0.1:' .. port .. '\\r\\n') fails 'Too many Cluster redirections?'
        with(all, '-ASK 12182 127.0.0.1:1\\r\\n') fails 'Too many Cluster redirections?'
        with(all, '-TRYAGAIN later\\r\\n') fails 'Too many Cluster redirections?'
        for _, garbage in ipairs { 'MOVED', 'MOVED 1', 'MOVED 99999999999999999999 127.0.0.1:1', 'MOVED 16384 127.0.0.1:1', 'ASK 1 127.0.0.1:70000', 'CLUSTERDOWN' } do
            with(all, '-' .. garbage .. '\\r\\n') fails(garbage)
        end",
        &[("liar.lua", LIAR)],
    );
}
