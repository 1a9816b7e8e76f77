//! Programs as users of skynet have them, for the modules that compute or share.

use super::script::{passes, run, service};

pub(super) const PROTOCOL: &str = "local parser = require 'sprotoparser'
        local proto = {}
        proto.c2s = parser.parse [[
            .package { type 0 : integer  session 1 : integer }
            handshake 1 { response { msg 0 : string } }
            get 2 { request { what 0 : string } response { result 0 : string } }
            set 3 { request { what 0 : string  value 1 : string } }
            quit 4 {}
        ]]
        proto.s2c = parser.parse [[
            .package { type 0 : integer  session 1 : integer }
            heartbeat 1 {}
        ]]
        return proto";

const LOADER: &str = "local skynet = require 'skynet'
        local proto, sprotoloader = require 'proto', require 'sprotoloader'
        skynet.start(function()
            sprotoloader.save(proto.c2s, 1)
            sprotoloader.save(proto.s2c, 2)
        end)";

/// A server and a client that speak sproto over messages, with a schema for each direction that a loader service keeps.
#[test]
fn agents_answer_clients_by_a_protocol_of_each_direction() {
    let agent = service(
        "local sprotoloader = require 'sprotoloader'
        local host, send_request, values, REQUEST = nil, nil, {}, {}
        function REQUEST:get() return { result = values[self.what] } end
        function REQUEST:set() values[self.what] = self.value end
        function REQUEST:handshake() return { msg = 'welcome' } end
        function C.start()
            host = sprotoloader.load(1):host 'package'
            send_request = host:attach(sprotoloader.load(2))
            skynet.retpack(send_request 'heartbeat')
        end
        function C.data(_, _, bytes)
            local kind, name, args, response = host:dispatch(bytes)
            assert(kind == 'REQUEST')
            local result = REQUEST[name](args or {})
            skynet.retpack(response and response(result))
        end",
    );
    let body = "skynet.uniqueservice 'protoloader'
        local agent = skynet.newservice 'agent'
        local proto, sproto = require 'proto', require 'sproto'
        local host = sproto.new(proto.s2c):host 'package'
        local request = host:attach(sproto.new(proto.c2s))
        local kind, name = host:dispatch(skynet.call(agent, 'lua', 'start'))
        assert(kind == 'REQUEST' and name == 'heartbeat')
        local session = 0
        local function ask(name, args)
            session = session + 1
            local answer = skynet.call(agent, 'lua', 'data', request(name, args, session))
            local kind, got, result = host:dispatch(answer)
            assert(kind == 'RESPONSE' and got == session)
            return result
        end
        assert(ask 'handshake'.msg == 'welcome')
        assert(next(ask('get', { what = 'hello' })) == nil)
        assert(skynet.call(agent, 'lua', 'data', request('set', { what = 'hello', value = 'world' })) == nil)
        assert(ask('get', { what = 'hello' }).result == 'world')";
    passes(
        body,
        &[
            ("proto.lua", PROTOCOL),
            ("protoloader.lua", LOADER),
            ("agent.lua", &agent),
        ],
    );
}

/// A service that runs for itself, and ends the process when it has seen what another has changed.
#[test]
fn a_game_reads_its_tables_while_an_editor_changes_them() {
    let editor = "local skynet = require 'skynet'
        local sharedata = require 'skynet.sharedata'
        skynet.start(function()
            for level = 1, 20 do
                sharedata.update('rules', { level = level, items = { { id = level, price = level * 10 } } })
                skynet.sleep(1)
            end
            skynet.exit()
        end)";
    let main = "local skynet = require 'skynet'
        local sharedata = require 'skynet.sharedata'
        skynet.start(function()
            sharedata.new('rules', { level = 0, items = { { id = 0, price = 0 } } })
            local rules = sharedata.query 'rules'
            local item = rules.items[1]
            skynet.newservice 'editor'
            local last = 0
            while last < 20 do
                local level, price = rules.level, item.price
                assert(level >= last and price >= last * 10)
                last = level
                skynet.sleep(1)
            end
            print('seen', rules.level, item.id, item.price)
            skynet.exit()
        end)";
    for loops in ["1", "2"] {
        let files = [("main.lua", main), ("editor.lua", editor)];
        let finished = super::script::run_with(&files, &["--loops", loops]).expect_success();
        assert_eq!(finished.stdout, "seen\t20\t20\t200\n");
    }
}

/// A snax service with locals, a call that waits, a failure, a patch and an end. It keeps the process running by itself.
#[test]
fn a_snax_service_is_patched_while_it_serves() {
    let pingserver = "local skynet = require 'skynet'
        local i = 0
        local hello = 'hello'
        function response.ping(text) skynet.sleep(1) return text end
        function accept.hello() i = i + 1 print(i, hello) end
        function response.error() error 'throw an error' end
        function init(...) print('start:', ...) end
        function exit(...) print('exit:', ...) end";
    let main = "local skynet = require 'skynet'
        local snax = require 'skynet.snax'
        skynet.start(function()
            local ps = snax.newservice('pingserver', 'hello world')
            print(ps.req.ping 'foobar')
            ps.post.hello()
            print(pcall(ps.req.error))
            print('Hotfix (i) :', snax.hotfix(ps, [[
                local i
                local hello
                function accept.hello() i = i + 1 print('fix', i, hello) end
                function hotfix(...) local temp = i i = 100 return temp end
            ]]))
            ps.post.hello()
            snax.kill(ps, 'exit')
            skynet.exit()
        end)";
    let finished = run(&[("main.lua", main), ("pingserver.lua", pingserver)]).expect_success();
    let lines: Vec<&str> = finished
        .stdout
        .lines()
        .filter(|line| !line.starts_with(['[', '\t', 's']))
        .collect();
    assert_eq!(
        lines,
        [
            "foobar",
            "1\thello",
            "false\tcall failed",
            "Hotfix (i) :\t1",
            "fix\t101\thello",
            "exit:\texit",
        ],
        "{finished:#?}"
    );
    assert!(finished.stdout.starts_with("start:\thello world\n"));
}
