//! `socket.listen` in workers: the connections are sessions of the gateway, and stay over reloads and crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use moorline_tests::{Client, Engine, Random, Site, Wire, eventually};
use nix::sys::signal::Signal;

const CONFIG: &str =
    "[workers]\ncount = 1\nlua = \"main.lua\"\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n";

/// An agent for each connection, as servers on skynet have them.
const AGENTS: &str = "local skynet, socket = require 'skynet', require 'skynet.socket'
    skynet.start(function()
        local id = socket.listen('127.0.0.1', 0)
        socket.start(id, function(fd, addr)
            assert(addr:match '^127%.0%.0%.1:%d+$')
            skynet.send(skynet.newservice 'agent', 'lua', fd)
        end)
    end)";

/// An agent that answers with what `answer(fd)` gives, until that is nothing.
fn agent(answer: &str) -> String {
    format!(
        "local skynet, socket = require 'skynet', require 'skynet.socket'
        local function answer(fd) {answer} end
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, fd)
                skynet.ignoreret()
                assert(socket.start(fd))
                for text in answer, fd do
                    assert(socket.write(fd, text))
                end
                socket.close(fd)
                skynet.exit()
            end)
        end)"
    )
}

const LINES: &str = "local line = socket.readline(fd) return line and line:upper() .. '\\n'";

fn site(main: &str, agent: &str) -> Arc<Site> {
    let site = Site::new("moorline", "");
    site.write("main.lua", main);
    site.write("agent.lua", agent);
    site.configure(CONFIG);
    site
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine, 0, Wire::Line)
}

#[test]
fn connections_of_agents_stay_while_their_scripts_are_edited_and_their_worker_is_killed() {
    let engine = site(AGENTS, &agent(LINES)).start();
    let mut clients = [(); 4].map(|()| connect(&engine));
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "HELLO");
        client.send("a\nb\n\nc");
        for text in ["A", "B", "", "C"] {
            assert_eq!(client.receive(), text.as_bytes());
        }
    }
    engine
        .site()
        .write("agent.lua", agent(&LINES.replace("upper", "reverse")));
    engine.reload().expect_success();
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "olleh");
    }
    // All that was sent is answered, and the script waits: nothing is in progress.
    engine.kill_worker(0, Signal::SIGKILL);
    for client in &mut clients {
        assert_eq!(client.ask("again"), "niaga");
    }
    for client in clients {
        let mut client = client;
        client.finish_sending();
        assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    }
    assert_eq!(connect(&engine).ask("new"), "wen");
}

#[test]
fn a_part_that_no_script_has_read_is_for_the_next_worker() {
    let engine = site(AGENTS, &agent(LINES)).start();
    let mut client = connect(&engine);
    assert_eq!(client.ask("first"), "FIRST");
    let mut expected = String::new();
    for round in 0..6 {
        let part = format!("part {round} ");
        client.send_bytes(part.as_bytes()).expect("it is open");
        expected += &part.to_uppercase();
        // The worker has it, and has nothing in progress.
        eventually("the gateway keeps the part", || {
            engine.status().gateway.held["state"] == expected.len() as u64
        });
        match round % 2 {
            0 => drop(engine.reload().expect_success()),
            _ => drop(engine.kill_worker(0, Signal::SIGKILL)),
        }
        engine.settled();
    }
    client.send("end");
    expected += "END";
    assert_eq!(String::from_utf8_lossy(&client.receive()), expected);
    assert_eq!(client.ask("more"), "MORE");
}

/// What a client sends in pieces of any size comes back whole, over reloads.
fn streams_are_whole(answer: &str, size: usize) {
    let engine = site(AGENTS, &agent(answer)).start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let talking: Vec<_> = (0..4_u64)
            .map(|seed| {
                let (engine, over) = (&engine, &over);
                scope.spawn(move || {
                    let mut random = Random::seeded(seed);
                    let mut client = Client::connect(engine, 0, Wire::Raw);
                    let (mut sent, mut next) = (0_usize, 0_u32);
                    while !over.load(Ordering::Relaxed) || sent % size != 0 {
                        let most = match over.load(Ordering::Relaxed) {
                            true => size - sent % size,
                            false => 3 * size,
                        };
                        let count = random.within(1..most + 1);
                        let piece: Vec<u8> = (0..count).map(|_| stream_byte(&mut next)).collect();
                        client.send_bytes(&piece).expect("it stays");
                        let before = sent / size * size;
                        sent += count;
                        let whole = sent / size * size - before;
                        let got = client.receive_exactly(whole);
                        let mut at = u32::try_from(before).unwrap_or(0);
                        let expected: Vec<u8> = (0..whole).map(|_| stream_byte(&mut at)).collect();
                        assert_eq!(got, expected, "after {before} bytes, seed {seed}");
                    }
                    sent
                })
            })
            .collect();
        for _ in 0..4 {
            engine.reload().expect_success();
        }
        over.store(true, Ordering::Relaxed);
        for talk in talking {
            assert!(talk.join().expect("no byte is wrong") > 0);
        }
    });
}

/// Any two places of the stream differ soon.
pub(super) fn stream_byte(at: &mut u32) -> u8 {
    let byte = at.wrapping_mul(2_654_435_761).to_le_bytes()[3];
    *at += 1;
    byte
}

#[test]
fn bytes_are_neither_lost_nor_doubled_over_reloads() {
    streams_are_whole("return (socket.read(fd))", 1);
}

#[test]
fn packets_that_scripts_cut_are_whole_over_reloads() {
    streams_are_whole("return (socket.read(fd, 100))", 100);
    streams_are_whole("return (socket.read(fd, 30000))", 30_000);
}

#[test]
fn a_script_knows_its_session_and_what_it_keeps() {
    let main = "local skynet, socket = require 'skynet', require 'skynet.socket'
        local moorline = require 'moorline'
        skynet.start(function()
            local id = socket.listen('127.0.0.1', 0)
            socket.start(id, function(fd, addr)
                local session, is_adopted = moorline.session_of(fd)
                socket.start(fd)
                socket.write(fd, tostring(is_adopted) .. ' ' .. tostring(session:load()) .. '\\n')
                while true do
                    local line = socket.readline(fd)
                    if not line then break end
                    session:keep(line)
                    session:set_label(line)
                end
                socket.close(fd)
            end)
        end)";
    let engine = site(main, "").start();
    let mut client = connect(&engine);
    assert_eq!(client.receive(), b"false nil");
    client.send("ann");
    eventually("it is kept", || engine.status().gateway.held["state"] > 0);
    engine.reload().expect_success();
    assert_eq!(client.receive(), b"true ann");
    client.send("bob");
    let sessions = || engine.run(&["sessions"]).stdout;
    eventually("it has its label", || sessions().contains("bob"));
    engine.kill_worker(0, Signal::SIGKILL);
    assert_eq!(client.receive(), b"true bob");
}

/// A script that handles messages of sockets itself.
#[test]
fn the_driver_of_sockets_has_them_too() {
    let main = "local skynet, driver = require 'skynet', require 'skynet.socketdriver'
        local listening
        skynet.register_protocol {
            name = 'socket', id = skynet.PTYPE_SOCKET, unpack = driver.unpack,
            dispatch = function(_, _, kind, id, number, data)
                if kind == 1 then
                    local text = skynet.tostring(data, number)
                    driver.drop(data, number)
                    driver.send(id, text:upper())
                elseif kind == 2 and id == listening then
                    print('listens at', number, data)
                elseif kind == 3 then
                    driver.close(id)
                elseif kind == 4 then
                    driver.start(number)
                end
            end,
        }
        skynet.start(function()
            listening = driver.listen('127.0.0.1', 0)
            driver.start(listening)
        end)";
    let engine = site(main, "").start();
    let mut clients = [(); 3].map(|()| connect(&engine));
    for round in 0..4 {
        for client in &mut clients {
            assert_eq!(
                client.ask(format!("round {round}")),
                format!("ROUND {round}")
            );
        }
        match round % 2 {
            0 => drop(engine.reload().expect_success()),
            _ => drop(engine.kill_worker(0, Signal::SIGKILL)),
        }
    }
    engine.logged(&["listens at", "127.0.0.1"]);
    clients[0].finish_sending();
    assert_eq!(clients[0].receive_to_end(), Vec::<Vec<u8>>::new());
}

/// A chat by lines, in one service: what one says all hear once, in the order of its lines.
#[test]
fn a_chat_goes_on_over_reloads() {
    let main = "local skynet, socket = require 'skynet', require 'skynet.socket'
        local moorline = require 'moorline'
        local names = {}
        skynet.start(function()
            local id = assert(socket.listen('127.0.0.1', 0))
            socket.start(id, function(fd)
                socket.start(fd)
                local session = moorline.session_of(fd)
                local name = session:load()
                if not name then
                    name = socket.readline(fd)
                    session:keep(name)
                    socket.write(fd, 'hello ' .. name .. '\\n')
                end
                names[fd] = name
                local function next_line(fd) return socket.readline(fd) or nil end
                for line in next_line, fd do
                    for other in pairs(names) do socket.write(other, name .. ': ' .. line .. '\\n') end
                end
                names[fd] = nil
                socket.close(fd)
            end)
        end)";
    let engine = site(main, "").start();
    let mut clients = ["ann", "bob", "cid"].map(|name| {
        let mut client = connect(&engine);
        assert_eq!(client.ask(name), format!("hello {name}"));
        client
    });
    for round in 0..3 {
        for (speaker, name) in ["ann", "bob", "cid"].iter().enumerate() {
            clients[speaker].send(format!("{round}"));
            for client in &mut clients {
                assert_eq!(client.receive(), format!("{name}: {round}").as_bytes());
            }
        }
        engine.reload().expect_success();
        eventually("the new worker has all", || engine.worker(0).sessions == 3);
    }
}

/// A request that has not come whole is the next worker's.
#[test]
fn a_web_server_answers_each_request_once_over_reloads() {
    let main = "local skynet, socket = require 'skynet', require 'skynet.socket'
        local httpd, sockethelper = require 'http.httpd', require 'http.sockethelper'
        skynet.start(function()
            local id = socket.listen('127.0.0.1', 0)
            socket.start(id, function(fd)
                socket.start(fd)
                while true do
                    local code, url, method, header, body = httpd.read_request(sockethelper.readfunc(fd), 1 << 20)
                    if code ~= 200 then break end
                    print('request ' .. url)
                    httpd.write_response(sockethelper.writefunc(fd), 200, method .. ' ' .. url .. ' ' .. #body)
                end
                socket.close(fd)
            end)
        end)";
    let engine = site(main, "").start();
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let mut ask = |number: usize, size: usize, cut: usize| {
        let head = format!("POST /{number} HTTP/1.1\r\nContent-Length: {size}\r\n\r\n");
        let request = [head.into_bytes(), vec![b'x'; size]].concat();
        client.send_bytes(&request[..cut]).expect("it is open");
        eventually("the part is kept", || {
            engine.status().gateway.held["state"] == cut as u64
        });
        match number % 2 {
            0 => drop(engine.reload().expect_success()),
            _ => drop(engine.kill_worker(0, Signal::SIGKILL)),
        }
        client.send_bytes(&request[cut..]).expect("it is open");
        let head = client.receive_head().expect("an answer");
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1).expect("a length");
        let length = length.lines().next().and_then(|text| text.parse().ok());
        let body = client.receive_exactly(length.expect("a number"));
        assert_eq!(
            String::from_utf8_lossy(&body),
            format!("POST /{number} {size}")
        );
    };
    ask(0, 10, 1);
    ask(1, 10, 20);
    ask(2, 100_000, 50_000);
    ask(3, 100_000, 90_000);
    // The last lines of a process that is killed may be missing.
    let log = engine.site().log();
    for number in 0..4 {
        let times = log.matches(&format!("request /{number}")).count();
        assert!(times <= 1, "{log}");
    }
}

/// What is read in several steps and does not come whole is the next worker's, too.
#[test]
fn packets_that_are_read_in_steps_are_whole_over_reloads() {
    streams_are_whole(
        "return (require('moorline').whole(fd, function()
            local head = socket.read(fd, 4)
            local rest = head and socket.read(fd, 46)
            return rest and head .. rest
        end))",
        50,
    );
}

/// A script that is busy with one line does not read the next one when another worker has it.
#[test]
fn a_line_is_for_one_worker_also_if_the_one_before_lives_on() {
    let site = Site::new("moorline", "");
    let (go, done) = (site.path("go"), site.path("done"));
    let main = format!(
        "local skynet, socket = require 'skynet', require 'skynet.socket'
        local function until_there(name, meanwhile)
            local file = io.open(name)
            while not file do
                meanwhile()
                skynet.sleep(20)
                file = io.open(name)
            end
            file:close()
        end
        local function answer(fd, line)
            print('ran ' .. line)
            if line == 'buy 1' then until_there({go:?}, function() end) end
            if line == 'hold' then until_there({done:?}, function() socket.write(fd, '.') end) end
            socket.write(fd, line .. '\\n')
        end
        skynet.start(function()
            local id = socket.listen('127.0.0.1', 0)
            socket.start(id, function(fd)
                socket.start(fd)
                for line in function() return socket.readline(fd) or nil end do answer(fd, line) end
                print('reader is over')
            end)
        end)"
    );
    site.write("main.lua", main);
    site.configure(&CONFIG.replace("count = 1", "count = 1\nmax_wait = \"50s\""));
    let engine = site.start();
    let (mut holding, mut buying) = (connect(&engine), connect(&engine));
    holding.send("hold");
    engine.logged(&["ran hold"]);
    buying.send_bytes(b"buy 1\nbuy 2\n").expect("it is open");
    engine.logged(&["ran buy 1"]);
    eventually("the script is idle", || engine.worker(0).in_progress == 1);
    thread::scope(|scope| {
        let reload = scope.spawn(|| engine.reload());
        assert_eq!(buying.receive(), b"buy 2");
        site.write("go", "");
        engine.logged(&["reader is over"]);
        // The session takes what the worker before writes.
        assert_eq!(buying.receive(), b"buy 1");
        site.write("done", "");
        reload.join().expect("it ends").expect_success();
    });
    assert_eq!(site.log().matches("ran buy 2").count(), 1);
    assert_eq!(buying.ask("buy 3"), "buy 3");
    assert!(holding.receive().ends_with(b".hold"));
}
