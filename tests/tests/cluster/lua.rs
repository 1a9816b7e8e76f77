//! Services in Lua on several nodes.

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Nats, Site, Wire, eventually};

/// Runs what its sessions send, and greets other nodes. One service has its name in the second worker only.
const SCRIPT: &str = r"
local skynet = require 'skynet'
local moorline = require 'moorline'
local cluster = require 'skynet.cluster'

local commands = {}

function commands.greet(name) return 'hello ' .. name .. ' from NODE ' .. moorline.slot end
function commands.fail() error 'on purpose' end
function commands.size(bytes) return ('x'):rep(bytes) end
function commands.tell(id, how, text)
    local session = moorline.session(id)
    local ok, why = session[how](session, text)
    return tostring(ok or why)
end

skynet.start(function()
    skynet.dispatch('lua', function(_, _, command, ...) skynet.retpack(commands[command](...)) end)
    cluster.register 'greeter'
    cluster.open 'NODE'
    if moorline.slot == 1 then
        cluster.register 'second'
    end
    moorline.serve {
        message = function(session, data)
            local environment = { session = session, skynet = skynet, cluster = cluster, moorline = moorline }
            local order = assert(load(data, '=order', 't', setmetatable(environment, { __index = _G })))
            local _, result = pcall(order)
            session:send(tostring(result))
        end,
    }
end)
";

fn config(nats: &Nats, name: &str, number: u16) -> String {
    format!(
        "[workers]\ncount = 2\nlua = \"main.lua\"\n{}{LENGTH_LISTENER}\n",
        nats.cluster(name, number)
    )
}

fn node(nats: &Nats, name: &str, number: u16) -> Engine {
    let site = Site::new("moorline", "");
    site.write("main.lua", SCRIPT.replace("NODE", name));
    site.configure(&config(nats, name, number));
    site.start()
}

/// Two nodes, and a session of the first, which can call the other one.
fn two(nats: &Nats) -> (Engine, Engine, Client) {
    let (a, b) = (node(nats, "a", 1), node(nats, "b", 2));
    let mut client = Client::connect(&a, 0, Wire::LENGTH);
    eventually("the other node is called", || {
        greet(&mut client, "'@greeter'") == "hello you from b 0"
    });
    (a, b, client)
}

fn greet(client: &mut Client, service: &str) -> String {
    client.ask(format!(
        "return cluster.call('b', {service}, 'greet', 'you')"
    ))
}

#[test]
fn services_of_other_nodes_are_called_by_name_number_and_proxy() {
    let nats = Nats::start("");
    let (_a, _b, mut client) = two(&nats);
    let greeting = "hello you from b 0";
    assert_eq!(
        greet(&mut client, "cluster.query('b', 'greeter')"),
        greeting
    );
    let proxy = "return skynet.call(cluster.proxy 'b@greeter', 'lua', 'greet', 'you')";
    assert_eq!(client.ask(proxy), greeting);
    let sender = "return skynet.call(cluster.get_sender 'b', 'lua', 'req', '@greeter', skynet.packstring('greet', 'you'))";
    assert_eq!(client.ask(sender), greeting);
    // The second worker has it, also by the number that it gives.
    let second = "hello you from b 1";
    // A service has one name.
    assert_eq!(greet(&mut client, "'@second'"), second);
    assert_eq!(greet(&mut client, "cluster.query('b', 'second')"), second);
    let own = client.ask(
        "return cluster.call('a', moorline.slot == 1 and '@second' or '@greeter', 'greet', 'you')",
    );
    assert!(own.starts_with("hello you from a"), "{own}");
    let size = "return #cluster.call('b', '@greeter', 'size', 900000)";
    assert_eq!(client.ask(size), "900000");
}

#[test]
fn a_call_in_lua_that_fails_says_why() {
    let nats = Nats::start("");
    let (_a, b, mut client) = two(&nats);
    for (order, reason) in [
        (
            "cluster.call('b', '@nobody', 'greet')",
            "has no service @nobody",
        ),
        (
            "cluster.call('b', '.nobody', 'greet')",
            "has no service .nobody",
        ),
        ("cluster.query('b', 'nobody')", "name not found"),
        ("cluster.call('x', '@greeter', 'greet')", "the node is gone"),
        (
            "cluster.call('b', '@greeter', 'size', 2000000)",
            "over the limit",
        ),
        (
            "cluster.call('b', '@greeter', 'greet', ('x'):rep(2000000))",
            "over the limit",
        ),
    ] {
        let answer = client.ask(format!("return {order}"));
        assert!(answer.contains(reason), "{order}: {answer}");
    }
    let failed = client.ask("return pcall(cluster.call, 'b', '@greeter', 'fail')");
    assert_eq!(failed, "false");
    b.site().logged(&["on purpose"]);
    b.run(&["stop"]).expect_success();
    eventually("the node is gone", || {
        greet(&mut client, "'@greeter'").contains("the node is gone")
    });
}

#[test]
fn a_script_sends_to_and_closes_sessions_of_other_nodes() {
    let nats = Nats::start("");
    let (_a, _b, mut client) = two(&nats);
    for how in ["send", "push"] {
        client.send(format!(
            "cluster.send('b', '@greeter', 'tell', session.id, '{how}', 'by {how}') return 'sent'"
        ));
        let mut heard = [client.receive(), client.receive()]
            .map(|it| String::from_utf8_lossy(&it).into_owned());
        heard.sort();
        assert_eq!(heard, [format!("by {how}"), "sent".to_owned()]);
    }
    // From the first one on, whose worker is looked for, they stay in order.
    client.send("for i = 1, 200 do cluster.send('b', '@second', 'tell', session.id, 'push', tostring(i)) end return 'sent'");
    let mut next = 1;
    while next <= 200 {
        let heard = client.receive();
        if heard != b"sent" {
            assert_eq!(String::from_utf8_lossy(&heard), next.to_string());
            next += 1;
        }
    }
    client.send("cluster.send('b', '@greeter', 'tell', session.id, 'close') return 'sent'");
    let rest = client.receive_to_end();
    assert!(rest.iter().all(|it| it == b"sent"), "{rest:?}");
}

#[test]
fn old_tables_of_nodes_are_taken_and_reloads_keep_the_names() {
    let nats = Nats::start("");
    let (_a, b, mut client) = two(&nats);
    // Nobody listens there: `b` is a node, and `far` is not.
    let table = "cluster.reload { b = '127.0.0.1:1', far = '127.0.0.1:1' } return 'taken'";
    assert_eq!(client.ask(table), "taken");
    assert_eq!(greet(&mut client, "'@greeter'"), "hello you from b 0");
    let far = client.ask("return cluster.call('far', '@greeter', 'greet', 'you')");
    assert!(far.contains("127.0.0.1:1"), "{far}");
    b.reload().expect_success();
    assert_eq!(greet(&mut client, "'@greeter'"), "hello you from b 0");
}
