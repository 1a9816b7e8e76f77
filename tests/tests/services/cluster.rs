//! `skynet.cluster` between processes, and between a process and itself.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;

use moorline_tests::Site;

use super::script::{main_of, passes};

/// A process. Dropping it ends it.
pub(crate) struct Node {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    pub(crate) fn start(site: &Arc<Site>, arguments: &[&str]) -> Self {
        let mut command = site.command(&[&["run"], arguments].concat());
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let output = child.stdout.take().expect("it is piped");
        let lines = BufReader::new(output).lines();
        Self { child, lines }
    }

    /// Waits for a line that begins with this, and returns the rest of it.
    #[track_caller]
    pub(crate) fn says(&mut self, start: &str) -> String {
        self.line(start, |line| line.strip_prefix(start).map(str::to_owned))
    }

    /// Waits for a line with these words.
    #[track_caller]
    pub(crate) fn logs(&mut self, words: &str) {
        self.line(words, |line| line.contains(words).then(String::new));
    }

    #[track_caller]
    fn line(&mut self, what: &str, find: impl Fn(&str) -> Option<String>) -> String {
        let mut before = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.expect("it is text");
            if let Some(found) = find(&line) {
                return found;
            }
            before.push(line);
        }
        panic!("it never said {what}: {before:#?}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node that listens at a port, or at any if it is 0, and says which. `who` is its word.
pub(crate) fn server(who: &str, port: &str) -> String {
    format!(
        "local skynet = require 'skynet'
    require 'skynet.manager'
    local cluster = require 'skynet.cluster'
    local C, got = {{}}, {{}}
    function C.who() return '{who}' end
    function C.echo(...) return ... end
    function C.put(value) got[#got + 1] = type(value) == 'string' and #value or value end
    function C.got() return table.concat(got, ' ') end
    function C.fail() error('no such luck') end
    function C.none() skynet.exit() end
    function C.hang() print 'hanging' skynet.wait {{}} end
    function C.wait() skynet.wait {{}} end
    function C.name(name, addr) cluster.register(name, addr) end
    function C.forget(name) cluster.unregister(name) end
    skynet.start(function()
        skynet.dispatch('lua', function(session, _, command, ...)
            local result = table.pack(C[command](...))
            if session ~= 0 then skynet.retpack(table.unpack(result, 1, result.n)) end
        end)
        skynet.register '.server'
        cluster.register 'server'
        pcall(function() require('skynet.snax').uniqueservice('counter', 40) end)
        cluster.reload {{ me = '127.0.0.1:{port}' }}
        local host, port = cluster.open 'me'
        assert(host == '127.0.0.1')
        print('listening ' .. port)
    end)"
    )
}

const COUNTER: &str = "local skynet, snax = require 'skynet', require 'skynet.snax'
    local count
    function init(from) count = from snax.enablecluster() end
    function accept.add(n) count = count + n end
    function response.get(...) return count, ... end
    function response.fail() error 'not today' end";

/// Runs a start function that calls the node `b`, another process. It fails or prints `done` at its end.
#[track_caller]
fn passes_with_another(body: &str) {
    let site = Site::new("moorline", "");
    site.write("b.lua", server("b", "0"));
    site.write("counter.lua", COUNTER);
    let mut other = Node::start(&site, &["b.lua"]);
    let port = other.says("listening ");
    let body = format!(
        "local cluster = require 'skynet.cluster'
        cluster.reload {{ b = '127.0.0.1:{port}' }}\n{body}\nprint 'done'"
    );
    site.write("a.lua", main_of(&body));
    Node::start(&site, &["a.lua"]).says("done");
}

#[test]
fn services_of_a_node_are_called_by_address_and_by_names() {
    passes_with_another(
        "local values = table.pack(cluster.call('b', '@server', 'echo', 1, 'x', { 1, nil, 3, x = { y = 1.5 } }, nil, false, -1, 1 << 40, nil))
        assert(values.n == 8 and values[1] == 1 and values[2] == 'x' and values[4] == nil and values[5] == false and values[7] == 1 << 40)
        local t = values[3]
        assert(values[6] == -1 and t[1] == 1 and t[2] == nil and t[3] == 3 and t.x.y == 1.5)
        local address = cluster.query('b', 'server')
        assert(math.type(address) == 'integer' and cluster.call('b', address, 'who') == 'b')
        assert(cluster.call('b', '.server', 'who') == 'b')
        local sender = cluster.get_sender 'b'
        assert(sender == cluster.get_sender 'b')
        assert(skynet.call(sender, 'lua', 'req', '@server', skynet.packstring 'who') == 'b')
        skynet.send(sender, 'lua', 'push', '@server', skynet.packstring('put', 7))
        assert(cluster.call('b', address, 'got') == '7')
        assert(cluster.send('b', '@nobody', 'x') == nil and cluster.send('b', 77777, 'x') == nil)
        cluster.call('b', '@server', 'name', 'second', address)
        assert(cluster.call('b', '@second', 'who') == 'b' and cluster.query('b', 'second') == address)
        -- A service has one name.
        assert(not pcall(cluster.query, 'b', 'server'))
        assert(not pcall(cluster.call, 'b', '@server', 'who'))
        cluster.call('b', address, 'forget', 'second')
        cluster.call('b', address, 'forget', 'second')
        assert(not pcall(cluster.query, 'b', 'second'))
        cluster.call('b', address, 'name', 'server', address)
        cluster.call('b', address, 'name', 'server', address)
        local own = require 'cluster'
        assert(own == cluster)",
    );
}

#[test]
fn errors_come_to_the_caller() {
    passes_with_another(
        "local function fails(expected, f, ...)
            local ok, why = pcall(f, ...)
            assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
        end
        fails('call failed', cluster.call, 'b', '@server', 'fail')
        fails('Invalid name', cluster.call, 'b', '@nobody', 'x')
        fails('name not found', cluster.query, 'b', 'nobody')
        fails('', cluster.call, 'b', 77777, 'x')
        fails('', cluster.call, 'b', '.nobody', 'x')
        fails('1 to 255 bytes', cluster.call, 'b', '', 'x')
        fails('1 to 255 bytes', cluster.call, 'b', ('x'):rep(256), 'x')
        fails('32 bits', cluster.call, 'b', 1 << 32, 'x')
        fails('1 to 255 bytes', cluster.call, 'b', 1.5, 'x')
        fails('light userdata', cluster.call, 'b', '@server', 'echo', (skynet.pack(1)))
        fails('function', cluster.call, 'b', '@server', print)
        fails('packstring', skynet.call, cluster.get_sender 'b', 'lua', 'req', '@server', (skynet.pack(1)))
        fails('at most 64 MiB', cluster.call, 'b', '@server', ('x'):rep(64 << 20))
        assert(cluster.call('b', '@server', 'who') == 'b')
        fails('', cluster.call, 'b', '@server', 'none')
        fails('', cluster.call, 'b', '@server', 'who')",
    );
}

#[test]
fn messages_of_any_size_go_both_ways_and_keep_their_order() {
    passes_with_another(
        "for i = 1, 20 do
            cluster.send('b', '@server', 'put', i % 5 == 0 and ('x'):rep(i * 10000) or i)
        end
        local expected = {}
        for i = 1, 20 do expected[i] = i % 5 == 0 and i * 10000 or i end
        local got = cluster.call('b', '@server', 'got')
        assert(got == table.concat(expected, ' '), got)
        local done = 0
        for _, size in ipairs { 0, 1, 32755, 32760, 32761, 32768, 65535, 65536, 98304, 5000000 } do
            for shift = 0, 12 do
                skynet.fork(function()
                    local text = ('abc'):rep(size // 3 + 1):sub(1, size + shift)
                    local back, tail = cluster.call('b', '@server', 'echo', text, shift)
                    assert(back == text and tail == shift)
                    done = done + 1
                end)
                if size == 5000000 then break end
            end
        end
        while done < 9 * 13 + 1 do skynet.sleep(1) end",
    );
}

#[test]
fn proxies_and_snax_objects_stand_for_services_of_a_node() {
    passes_with_another(
        "local proxy = cluster.proxy 'b@server'
        assert(proxy == cluster.proxy('b', '@server') and cluster.proxy 'b.server' == cluster.proxy('b', '.server'))
        assert(skynet.call(proxy, 'lua', 'who') == 'b')
        local text = ('x'):rep(100000)
        local back, tail = skynet.call(proxy, 'lua', 'echo', text, 'tail')
        assert(back == text and tail == 'tail')
        skynet.send(proxy, 'lua', 'put', 5)
        skynet.send(proxy, 'lua', 'put', 'xx')
        assert(skynet.call(cluster.proxy('b', cluster.query('b', 'server')), 'lua', 'got') == '5 2')
        local ok, why = pcall(skynet.call, proxy, 'lua', 'fail')
        assert(not ok and why:find('call failed', 1, true), why)
        ok, why = pcall(skynet.call, cluster.proxy 'b@nobody', 'lua', 'x')
        assert(not ok and why:find('Invalid name', 1, true), why)
        ok, why = pcall(cluster.proxy, 'b')
        assert(not ok and why:find('Invalid name b', 1, true), why)
        ok, why = pcall(cluster.proxy, 'b', '@two words')
        assert(not ok and why:find('spaces', 1, true), why)
        skynet.kill(proxy)
        assert(cluster.proxy 'b@server' ~= proxy and skynet.call(cluster.proxy 'b@server', 'lua', 'who') == 'b')
        local counter = cluster.snax('b', 'counter')
        counter.post.add(2)
        assert(counter.req.get() == 42 and select(2, counter.req.get('x')) == 'x' and not pcall(counter.req.fail))
        assert(cluster.snax('b', 'counter') == counter)",
    );
}

/// Calls the node `b` of the file `nodes.lua`, whose process ends, comes back, and moves.
const CALLER: &str = "local skynet = require 'skynet'
    require 'skynet.manager'
    local cluster = require 'skynet.cluster'
    local function until_it_says(who, before)
        while true do
            before()
            local ok, said = pcall(cluster.call, 'b', '@server', 'who')
            if ok and said == who then return end
            skynet.sleep(2)
        end
    end
    skynet.start(function()
        assert(cluster.call('b', '@server', 'who') == 'b')
        local ok, why = pcall(cluster.call, 'b', '@server', 'hang')
        assert(not ok and why:find('cluster node [b]', 1, true) and why:find('lost', 1, true), why)
        ok, why = pcall(cluster.call, 'b', '@server', 'who')
        assert(not ok and why:find('no connection', 1, true), why)
        print 'lost'
        until_it_says('again', function() end)
        print 'back'
        until_it_says('moved', function() cluster.reload() end)
        cluster.reload { b = false }
        ok, why = pcall(cluster.call, 'b', '@server', 'who')
        assert(not ok and why:find('is down', 1, true), why)
        cluster.reload()
        assert(cluster.call('b', '@server', 'who') == 'moved')
        print 'done'
        skynet.abort()
    end)";

#[test]
fn a_node_that_ends_fails_its_calls_and_is_found_again_there_or_elsewhere() {
    let site = Site::new("moorline", "");
    site.write("b.lua", server("b", "0"));
    let mut other = Node::start(&site, &["b.lua"]);
    let port = other.says("listening ");
    let config = "luaservice = './?.lua'\nstart = 'a'\ncluster = './nodes.lua'\n";
    site.write("config", config);
    site.write("nodes.lua", format!("b = '127.0.0.1:{port}'"));
    site.write("a.lua", CALLER);
    let mut caller = Node::start(&site, &["--config", "config"]);
    other.says("hanging");
    drop(other);
    caller.says("lost");
    site.write("b.lua", server("again", &port));
    let mut again = Node::start(&site, &["b.lua"]);
    again.says("listening ");
    caller.says("back");
    site.write("b.lua", server("moved", "0"));
    let mut moved = Node::start(&site, &["b.lua"]);
    let port = moved.says("listening ");
    site.write("nodes.lua", format!("b = '127.0.0.1:{port}'"));
    caller.says("done");
}

#[test]
fn a_node_that_is_not_there_is_waited_for_or_refused() {
    passes(
        "local cluster = require 'skynet.cluster'
        skynet.dispatch('lua', function(_, _, ...) skynet.retpack(...) end)
        cluster.register 'main'
        local function fails(expected, f, ...)
            local ok, why = pcall(f, ...)
            assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
        end
        cluster.reload { me = '127.0.0.1:0', down = false, nobody = '127.0.0.1:1' }
        fails('[down] is down', cluster.call, 'down', '@main')
        fails('[nobody] (127.0.0.1:1): cannot connect', cluster.call, 'nobody', '@main')
        fails('[nobody] (127.0.0.1:1): cannot connect', cluster.proxy, 'nobody@main')
        fails('[down] is down', cluster.open, 'down')
        fails('HOST:PORT', cluster.reload, { x = 'nowhere' })
        fails('HOST:PORT', cluster.reload, { x = 1 })
        fails('is a string', cluster.reload, { 'x:1' })
        fails('is a string', cluster.call, 1, '@main')
        local _, port = cluster.open 'me'
        fails('cannot listen', cluster.open, port)
        local order, waiter = {}, {}
        for i = 1, 3 do
            skynet.fork(function()
                local answer = cluster.call('later', '@main', i)
                table.insert(order, answer)
                if #order == 3 then skynet.wakeup(waiter) end
            end)
            skynet.fork(cluster.send, 'later', '@main', i)
        end
        skynet.sleep(5)
        assert(#order == 0)
        -- Those behind one that is killed do not wait for it.
        local killed = skynet.fork(cluster.call, 'after', '@main', 0)
        skynet.fork(function() order.after = cluster.call('after', '@main', 'after') skynet.wakeup(order) end)
        skynet.sleep(1)
        assert(skynet.killthread(killed))
        cluster.reload { after = '127.0.0.1:' .. port }
        if not order.after then skynet.wait(order) end
        cluster.reload { later = '127.0.0.1:' .. port }
        skynet.wait(waiter)
        assert(table.concat(order) == '123')
        skynet.fork(function() fails('[never] is absent', cluster.call, 'never', '@main') skynet.wakeup(waiter) end)
        skynet.sleep(5)
        cluster.reload { __nowaiting = true }
        skynet.wait(waiter)
        fails('[absent] is absent', cluster.call, 'absent', '@main')",
        &[],
    );
}

#[test]
fn what_waits_and_what_is_known_is_bounded() {
    passes(
        "local cluster = require 'skynet.cluster'
        skynet.dispatch('lua', function(_, _, ...) skynet.retpack(...) end)
        local function fails(expected, f, ...)
            local ok, why = pcall(f, ...)
            assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
        end
        for i = 1, 16384 do cluster.send('later', '@main', i) end
        fails('too many messages wait', cluster.send, 'later', '@main', 1)
        fails('too many messages wait', cluster.call, 'later', '@main', 1)
        -- Names of services that are gone make room.
        for i = 1, 16384 do cluster.register('name' .. i, 1000000 + i) end
        cluster.register 'main'
        fails('1 to 254 bytes', cluster.register, ('x'):rep(255))
        local other = skynet.newservice 'other'
        fails('another service', cluster.register, 'main', other)
        cluster.reload { me = '127.0.0.1:0' }
        local _, port = cluster.open 'me'
        cluster.reload { here = '127.0.0.1:' .. port }
        assert(cluster.call('here', '@main', 'x') == 'x' and not pcall(cluster.query, 'here', 'name1'))
        for i = 2, 256 do cluster.open 'me' end
        fails('too many ports', cluster.open, 'me')
        for i = 1, 1024 do cluster.proxy('here', i) end
        fails('too many proxies', cluster.proxy, 'here', 2000)
        local many = {}
        for i = 1, 16385 do many['node' .. i] = false end
        fails('too many cluster nodes', cluster.reload, many)
        assert(cluster.call('here', '@main', 'x') == 'x')",
        &[(
            "other.lua",
            "local skynet = require 'skynet' skynet.start(function() skynet.dispatch('lua', function() end) end)",
        )],
    );
}
