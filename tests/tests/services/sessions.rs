//! Sessions of the gateway in Lua, over reloads, errors and crashes.

use std::sync::Arc;
use std::thread;

use moorline_tests::{
    Client, Engine, Finish, LENGTH_LISTENER, Process, Site, Wire, eventually, kill, sized,
};
use nix::sys::signal::Signal;

/// A script whose first service serves with these handlers.
fn serving(handlers: &str) -> String {
    format!(
        "local skynet = require 'skynet'\nlocal moorline = require 'moorline'\n\
         skynet.start(function()\nmoorline.serve {{\n{handlers}\n}}\nend)\n"
    )
}

/// Tells a session how it was opened and what it has kept, keeps what it sends, and obeys some words.
const KEEPER: &str = r"
open = function(session, is_adopted)
    session:push((is_adopted and 'adopted ' or 'fresh ') .. tostring(session:load()))
end,
message = function(session, data)
    if data == 'fail' then error 'on purpose' end
    if data == 'exit' then skynet.exit() end
    if data == 'close' then return session:close() end
    assert(session:keep(data))
    assert(session:send('kept ' .. data))
end,
close = function(session, reason) print('closed ' .. session.id .. ' ' .. reason) end,
";

fn config(more: &str) -> String {
    format!("[workers]\ncount = 1\nlua = \"main.lua\"\n{LENGTH_LISTENER}{more}")
}

fn site(config: &str, script: &str) -> Arc<Site> {
    let site = Site::new("moorline", "");
    site.write("main.lua", script);
    site.configure(config);
    site
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine, 0, Wire::LENGTH)
}

#[track_caller]
fn hears(client: &mut Client, expected: &str) {
    assert_eq!(String::from_utf8_lossy(&client.receive()), expected);
}

#[test]
fn a_session_and_what_it_keeps_stay_while_the_script_changes_and_the_worker_dies() {
    let engine = site(&config(""), &serving(KEEPER)).start();
    let mut client = connect(&engine);
    hears(&mut client, "fresh nil");
    assert_eq!(client.ask("one"), "kept one");
    let script = serving(KEEPER).replace("'kept '", "'still kept '");
    engine.site().write("main.lua", script);
    engine.reload().expect_success();
    hears(&mut client, "adopted one");
    assert_eq!(client.ask("two"), "still kept two");
    engine.kill_worker(0, Signal::SIGKILL);
    hears(&mut client, "adopted two");
    client.send("close");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    engine.logged(&["closed ", " server"]);
}

#[test]
fn a_reload_with_a_broken_script_says_where_it_is_broken_and_changes_nothing() {
    let engine = site(&config(""), &serving(KEEPER)).start();
    let mut client = connect(&engine);
    hears(&mut client, "fresh nil");
    for (script, why) in [
        ("x = = 1", "main.lua:1: unexpected symbol near '='"),
        (
            "require('skynet').start(function() error 'not today' end)",
            "main.lua:1: not today",
        ),
        ("x = 1", "the script has ended without skynet.start"),
    ] {
        engine.site().write("main.lua", script);
        let failed = engine.reload();
        assert!(!failed.status.success());
        assert!(failed.stderr.contains(why), "{failed:#?}");
    }
    assert_eq!(client.ask("one"), "kept one");
}

#[test]
fn an_error_ends_its_session_alone_or_only_its_message() {
    let more = LENGTH_LISTENER.replace(
        "[[listen]]",
        "[[listen]]\nname = \"kind\"\non_error = \"keep\"",
    );
    let engine = site(&config(&more), &serving(KEEPER)).start();
    let mut other = connect(&engine);
    hears(&mut other, "fresh nil");
    let mut client = connect(&engine);
    hears(&mut client, "fresh nil");
    client.send("fail");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    engine.logged(&["main.lua:", "on purpose"]);
    let mut kind = Client::connect(&engine, 1, Wire::LENGTH);
    hears(&mut kind, "fresh nil");
    kind.send("fail");
    assert_eq!(kind.ask("on"), "kept on");
    assert_eq!(other.ask("one"), "kept one");
}

#[test]
fn sessions_of_a_service_that_ends_go_to_another_one_or_to_the_next_worker() {
    let worker = format!(
        "local skynet = require 'skynet'\nlocal moorline = require 'moorline'\n\
         skynet.start(function() moorline.serve {{ {KEEPER} }} end)\n"
    );
    let main = "local skynet = require 'skynet'\n\
         skynet.start(function() skynet.newservice 'worker' skynet.newservice 'worker' end)\n";
    let more = "on_error = \"keep\"\non_crash = \"drop\"\n";
    let site = site(&config(more), main);
    site.write("worker.lua", worker);
    let engine = site.start();
    let mut clients = [(); 4].map(|()| connect(&engine));
    for client in &mut clients {
        hears(client, "fresh nil");
        assert_eq!(client.ask("a"), "kept a");
    }
    clients[0].send("exit");
    for client in &mut clients {
        client.send("b");
        let mut answer = client.receive();
        if answer == b"adopted a" {
            answer = client.receive();
        }
        assert_eq!(answer, b"kept b");
    }
    let before = engine.worker(0).pid;
    clients[0].send("exit");
    engine.logged(&["the last service in Lua that serves a listener has ended"]);
    eventually("the worker is replaced", || engine.worker(0).pid != before);
    for client in &mut clients {
        let mut answer = client.receive();
        assert_eq!(answer, b"adopted b");
        client.send("c");
        answer = client.receive();
        assert_eq!(answer, b"kept c");
    }
}

#[test]
fn services_serve_the_listeners_that_they_name_and_the_rest() {
    let named = |name: &str| {
        format!(
            "local skynet = require 'skynet'\nlocal moorline = require 'moorline'\n\
             skynet.start(function() moorline.serve {{ {name} message = function(session) \
             session:push(skynet.address(skynet.self()) .. ' ' .. session.listener) end }} end)\n"
        )
    };
    let main = "local skynet = require 'skynet'\nskynet.start(function()\n\
        print('b is ' .. skynet.address(skynet.newservice 'b'))\nskynet.newservice 'any' end)\n";
    let listener = |name: &str| {
        LENGTH_LISTENER.replace("[[listen]]", &format!("[[listen]]\nname = \"{name}\""))
    };
    let text = format!(
        "[workers]\ncount = 1\nlua = \"main.lua\"\n{}{}",
        listener("a"),
        listener("b")
    );
    let site = site(&text, main);
    site.write("b.lua", named("listener = 'b',"));
    site.write("any.lua", named(""));
    let engine = site.start();
    let log = engine.site().logged(&["b is :"]);
    let b = log
        .split("b is ")
        .nth(1)
        .expect("it is there")
        .trim()
        .to_owned();
    let (mut of_a, mut of_b) = (connect(&engine), Client::connect(&engine, 1, Wire::LENGTH));
    assert_eq!(of_b.ask("x"), format!("{b} b"));
    let answer = of_a.ask("x");
    assert!(
        answer.ends_with(" a") && !answer.starts_with(&b),
        "{answer}"
    );
}

#[test]
fn groups_labels_settings_and_other_sessions_are_within_reach() {
    let handlers = r"
open = function(session) moorline.group 'all':join(session) session:push(session.id) end,
message = function(session, data)
    local word, rest = data:match '^(%S+) ?(.*)$'
    if word == 'say' then assert(moorline.group 'all':send(rest))
    elseif word == 'label' then assert(session:set_label(rest)) session:push 'done'
    elseif word == 'count' then session:push(tostring(#moorline.group 'all':members()))
    elseif word == 'to' then
        local id, text = rest:match '^(%x+) (.*)$'
        assert(moorline.session(id):push(text))
    elseif word == 'leave' then moorline.group 'all':leave(session) session:push 'left'
    elseif word == 'env' then session:push(tostring(skynet.getenv(rest)))
    elseif word == 'whoami' then session:push(session.peer .. ' ' .. session.listener)
    elseif word == 'big' then
        local ok, why = session:keep(('x'):rep(9000))
        session:push(tostring(ok) .. ' ' .. why)
    elseif word == 'none' then
        local ok, why = moorline.session '0000000000000001':push 'x'
        session:push(tostring(ok))
    end
end,
";
    let text = config("name = \"door\"\n[app]\ngreeting = \"ahoy\"\nrooms = [\"a\", \"b\"]\n");
    let engine = site(&text, &serving(handlers)).start();
    let mut clients = [(); 3].map(|()| connect(&engine));
    let ids = [0, 1, 2].map(|at: usize| String::from_utf8(clients[at].receive()).expect("an id"));
    let [first, second, third] = &mut clients;
    first.send("say hello");
    for client in [&mut *first, &mut *second, &mut *third] {
        hears(client, "hello");
    }
    assert_eq!(first.ask("count"), "3");
    assert_eq!(third.ask("leave"), "left");
    assert_eq!(first.ask("count"), "2");
    first.send(format!("to {} psst", ids[1]));
    hears(second, "psst");
    assert_eq!(second.ask("label tables 4"), "done");
    let listed = engine.site().run(&["sessions"]).expect_success();
    assert!(listed.stdout.contains("tables 4"), "{listed:#?}");
    assert_eq!(first.ask("env greeting"), "ahoy");
    assert_eq!(first.ask("env rooms.2"), "b");
    assert_eq!(first.ask("env nothing"), "nil");
    let port = first.port();
    assert_eq!(first.ask("whoami"), format!("127.0.0.1:{port} door"));
    assert!(first.ask("big").starts_with("nil "));
}

#[test]
fn a_service_that_sends_to_a_slow_reader_waits_and_others_go_on() {
    let handlers = r"
message = function(session, data)
    if data == 'flood' then
        for i = 1, 400 do assert(session:send(('x'):rep(65536))) end
        return session:push 'end'
    end
    session:push(data)
end,
";
    let engine = site(&config(""), &serving(handlers)).start();
    let (mut slow, mut quick) = (connect(&engine), connect(&engine));
    let gateway = engine.status().gateway.pid;
    let before = Process::private_memory(gateway);
    slow.send("flood");
    for number in 0..200 {
        assert_eq!(quick.ask(number.to_string()), number.to_string());
    }
    let grown = Process::private_memory(gateway).saturating_sub(before);
    assert!(grown < 20 << 20, "the gateway grew by {grown} bytes");
    for _ in 0..400 {
        assert_eq!(slow.receive().len(), 65536);
    }
    hears(&mut slow, "end");
}

#[test]
fn no_line_is_lost_or_doubled_over_reloads_under_load() {
    let handlers = "message = function(session, data) assert(session:send(data)) end,";
    let text = config("").replace("count = 1", "count = 2");
    let engine = site(&text, &serving(handlers)).start();
    let (threads, each) = (4, sized(25, 250));
    let over = std::sync::atomic::AtomicBool::new(false);
    let talk = || {
        let mut clients: Vec<Client> = (0..each).map(|_| connect(&engine)).collect();
        let mut round = 0_u64;
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            for client in &mut clients {
                client.send(format!("line {round}"));
            }
            for client in &mut clients {
                hears(client, &format!("line {round}"));
            }
            round += 1;
        }
        for client in &mut clients {
            client.finish_sending();
            assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
        }
        round
    };
    thread::scope(|scope| {
        let talking: Vec<_> = (0..threads).map(|_| scope.spawn(talk)).collect();
        for number in 0..sized(4, 20) {
            let comment = format!("-- build {number}\n");
            engine
                .site()
                .write("main.lua", comment + &serving(handlers));
            engine.reload().expect_success();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let rounds = talking
            .into_iter()
            .map(|talk| talk.join().expect("no line is wrong"));
        let least = rounds.min().unwrap_or_default();
        println!("{} clients, {least} rounds at least", threads * each);
        assert!(least > 3);
    });
    let status = engine.status();
    assert_eq!(status.closed("peer"), (threads * each) as u64);
}

#[test]
fn a_script_that_hangs_at_its_start_fails_the_reload_in_time() {
    let text = config("").replace("count = 1", "count = 1\nstart_timeout = \"1s\"");
    let engine = site(&text, &serving(KEEPER)).start();
    let mut client = connect(&engine);
    hears(&mut client, "fresh nil");
    for script in [
        "while true do end",
        "require('skynet').start(function() require('skynet').wait() end)",
    ] {
        engine.site().write("main.lua", script);
        let failed = engine.reload();
        assert!(!failed.status.success(), "{failed:#?}");
        assert_eq!(client.ask("one"), "kept one");
    }
}

#[test]
fn a_listener_that_no_service_serves_closes_its_sessions_and_says_why() {
    let engine = site(&config(""), "require('skynet').start(function() end)").start();
    assert_eq!(connect(&engine).receive_to_end(), Vec::<Vec<u8>>::new());
    engine.logged(&["no service in Lua serves the listener", "moorline"]);
}

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let site = Site::new("moorline", &config(""));
    let refused = site.run(&["check"]);
    assert!(refused.stderr.contains("moorline.toml:3:"), "{refused:#?}");
    assert!(
        refused.stderr.contains("there is no script"),
        "{refused:#?}"
    );
    site.write("main.lua", "require 'moorline'");
    let refused = site.command(&["run", "main.lua"]).finish();
    assert!(
        refused
            .stdout
            .contains("the module 'moorline' exists only in workers, which `moorline serve` runs"),
        "{refused:#?}"
    );
    let own = Site::new("probe", "");
    own.write("main.lua", "");
    own.configure(&config(""));
    let refused = own.run(&["serve"]);
    assert!(
        refused.stderr.contains("is for the `moorline` command"),
        "{refused:#?}"
    );
    let bare = Site::new("moorline", &config("").replace("lua = \"main.lua\"\n", ""));
    let refused = bare.run(&["serve"]);
    assert!(
        refused
            .stderr
            .contains("write `lua = \"main.lua\"` in [workers]"),
        "{refused:#?}"
    );
}

#[test]
fn a_killed_worker_leaves_nothing_behind() {
    let engine = site(&config(""), &serving(KEEPER)).start();
    let mut client = connect(&engine);
    hears(&mut client, "fresh nil");
    for _ in 0..3 {
        let pid = engine.worker(0).pid;
        kill(pid, Signal::SIGKILL);
        eventually("the next one serves", || engine.worker(0).pid != pid);
        hears(&mut client, "adopted nil");
    }
}

/// The first text of the page in a language.
fn sample(language: &str) -> &'static str {
    let page = include_str!("../../../docs/guide/lua.md");
    let begins = format!("```{language}\n");
    let text = page.split(&begins).nth(1).expect("the page has a sample");
    text.split("```").next().expect("it ends")
}

#[test]
fn the_sample_of_the_page_works_over_a_reload() {
    let site = site(&sample("toml").replace(":7000", ":0"), sample("lua"));
    let engine = site.start();
    let mut clients = [(); 2].map(|()| Client::connect(&engine, 0, Wire::Line));
    for (client, name) in clients.iter_mut().zip(["ada", "grace"]) {
        hears(client, "your name?");
        assert_eq!(client.ask(name), format!("hello {name}"));
    }
    engine.reload().expect_success();
    clients[0].send("ahoy");
    for client in &mut clients {
        hears(client, "ada: ahoy");
    }
}

const WEB: &str = r#"
[workers]
count = 1
lua = "main.lua"
[[listen]]
address = "http://127.0.0.1:0"
[[listen.route]]
path = "/ws"
kind = "websocket"
[[listen.route]]
path = "/api"
kind = "app"
"#;

const WEB_HANDLERS: &str = r"
accept = function(request)
    local user = request.query
    if user == 'nothing' then return end
    if user == 'nobody' then return false end
    if user == 'teapot' then return 418, 'short and stout' end
    if user == 'nonsense' then return 99 end
    return { label = user, headers = { ['x-user'] = user } }
end,
open = function(session) session:push_text 'open' end,
message = function(session, data, is_text) session:push_text(data .. ' ' .. tostring(is_text)) end,
request = function(request)
    if request.query == 'plain' then return 'plain' end
    if request.query == 'none' then return end
    if request.query == 'fail' then error 'on purpose' end
    if request.query == 'nonsense' then return 'a', { ['bad name'] = 'x' } end
    skynet.sleep(1)
    return 201, request.method .. ' ' .. request.body .. ' ' .. request.headers['x-test'], { ['x-answer'] = 'yes' }
end,
";

#[test]
fn requests_are_answered_and_sessions_let_in_or_refused() {
    let engine = site(WEB, &serving(WEB_HANDLERS)).start();
    let shake = |query: &str| {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        let head = client
            .shake_hands(&format!("/ws?{query}"))
            .expect("an answer");
        (client, head)
    };
    for (query, status) in [
        ("ada", " 101 "),
        ("nothing", " 101 "),
        ("nobody", " 403 "),
        ("teapot", " 418 "),
        ("nonsense", " 503 "),
    ] {
        let (_, head) = shake(query);
        assert!(head.contains(status), "{query}: {head}");
        assert_eq!(head.contains("x-user: ada"), query == "ada", "{head}");
    }
    for (request, status, contained) in [
        (
            "POST /api HTTP/1.1\r\nX-Test: a\r\nX-Test: b\r\nContent-Length: 2\r\n",
            " 201 ",
            "POST hi a, b",
        ),
        ("GET /api?plain HTTP/1.1\r\n", " 200 ", "plain"),
        ("GET /api?none HTTP/1.1\r\n", " 404 ", ""),
        ("GET /api?fail HTTP/1.1\r\n", " 500 ", ""),
        ("GET /api?nonsense HTTP/1.1\r\n", " 500 ", ""),
    ] {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        let body = if request.starts_with("POST") {
            "hi"
        } else {
            ""
        };
        let whole = format!("{request}Host: localhost\r\nConnection: close\r\n\r\n{body}");
        client.send_bytes(whole.as_bytes()).expect("it is open");
        let answer = client.receive_bytes_to_end();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.contains(status) && answer.contains(contained),
            "{request}: {answer}"
        );
    }
    engine.logged(&["on purpose"]);
}

/// With `round-robin` a session is with one worker after the other.
#[test]
fn sessions_that_have_moved_away_are_forgotten() {
    let handlers = r"
open = function(session, is_adopted) session.fresh = not is_adopted end,
message = function(session, data)
    if data == 'memory' then
        collectgarbage()
        return session:push(tostring(collectgarbage 'count' // 1))
    end
    session:push(tostring(session.seen))
    session.seen = data
end,
";
    let text = config("dispatch = \"round-robin\"\n").replace("count = 1", "count = 2");
    let engine = site(&text, &serving(handlers)).start();
    let memory = || {
        let mut client = connect(&engine);
        let answers = [(); 2].map(|()| client.ask("memory"));
        let kilobytes = answers.map(|answer| answer.trim_end_matches(".0").parse::<u64>());
        kilobytes.into_iter().flatten().max().expect("a number")
    };
    let visit = |visits: usize| {
        for number in 0..visits {
            let mut client = connect(&engine);
            for word in ["a", "b", "c"] {
                client.ask(format!("{number} {word}"));
            }
        }
    };
    visit(1_000);
    let before = memory();
    visit(3_000);
    let after = memory();
    assert!(after < before + 100, "from {before} to {after} KiB");
}

#[test]
fn waiting_in_a_start_function_is_refused_with_what_to_do() {
    let script = "local skynet = require 'skynet'
        local moorline = require 'moorline'
        skynet.start(function()
            local sent, why = moorline.group 'all':send 'x'
            assert(sent, why)
        end)";
    let refused = site(&config(""), script).try_start();
    let refused = refused.err().expect("it does not start");
    assert!(
        refused
            .stderr
            .contains("this worker does not serve yet: call this in a handler"),
        "{refused:#?}"
    );
}

#[test]
fn an_abort_ends_the_worker_and_no_session_that_was_idle() {
    let handlers = r"
open = function(session, is_adopted) session:push(is_adopted and 'adopted' or 'fresh') end,
message = function(session, data)
    if data == 'abort' then require 'skynet.manager' skynet.abort() end
    if data == 'ignore' then skynet.ignoreret() end
    session:push(data)
end,
";
    let engine = site(&config("on_crash = \"drop\"\n"), &serving(handlers)).start();
    let (mut first, mut second) = (connect(&engine), connect(&engine));
    hears(&mut first, "fresh");
    hears(&mut second, "fresh");
    assert_eq!(first.ask("ignore"), "ignore");
    assert_eq!(first.ask("on"), "on");
    first.send("abort");
    engine.logged(&["skynet.abort: this worker ends"]);
    loop {
        let heard = second.receive();
        if heard == b"adopted" {
            break;
        }
    }
    assert_eq!(second.ask("x"), "x");
}
