//! Scripts and clients that go wrong with `socket.listen` in workers: nothing grows, and nobody else is harmed.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use moorline_tests::{Client, Engine, Site, Wire, eventually};
use nix::sys::signal::Signal;

use super::gateway_sockets::stream_byte;

fn config(workers: &str, listener: &str) -> String {
    format!(
        "[workers]\ncount = 1\nlua = \"main.lua\"\n{workers}\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n{listener}\n"
    )
}

/// A script whose connections each have a coroutine that runs this.
fn serving(code: &str) -> String {
    format!(
        "local skynet, socket = require 'skynet', require 'skynet.socket'
        local moorline = require 'moorline'
        skynet.start(function()
            local id = socket.listen('127.0.0.1', 0)
            socket.start(id, function(fd, addr) {code} end)
        end)"
    )
}

fn site(config: &str, script: &str) -> Arc<Site> {
    let site = Site::new("moorline", "");
    site.write("main.lua", script);
    site.configure(config);
    site
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine, 0, Wire::Line)
}

#[test]
fn a_client_of_a_script_that_does_not_read_is_held_back_and_loses_nothing_over_reloads() {
    let engine = site(
        &config("max_wait = \"2s\"", ""),
        &serving("socket.start(fd) socket.write(fd, 'started\\n')"),
    )
    .start();
    let mut client = connect(&engine);
    assert_eq!(client.receive(), b"started");
    let mut sender = client.stream.try_clone().expect("a clone");
    let total = 24 << 20;
    let sending = std::thread::spawn(move || {
        let mut at = 0;
        while (at as usize) < total {
            let piece: Vec<u8> = (0..64 << 10).map(|_| stream_byte(&mut at)).collect();
            std::io::Write::write_all(&mut sender, &piece).expect("it is read in the end");
        }
    });
    // The worker has little of it, and it is not in progress for ever.
    eventually("the client is held back", || {
        let status = engine.status();
        let held = status.gateway.held["state"];
        (64 << 10..=256 << 10).contains(&held) && status.workers[0].in_progress == 0
    });
    engine.reload().expect_success();
    assert_eq!(client.receive(), b"started");
    eventually("the next script does not read it either", || {
        engine.worker(0).in_progress == 0 && engine.status().gateway.held["state"] > 0
    });
    engine.kill_worker(0, Signal::SIGKILL);
    assert_eq!(client.receive(), b"started");
    assert!(!sending.is_finished());
    engine.site().write(
        "main.lua",
        serving(
            "socket.start(fd)
            while true do
                local bytes = socket.read(fd)
                if not bytes then return socket.close(fd) end
                socket.write(fd, bytes)
            end",
        ),
    );
    engine.reload().expect_success();
    let mut at = 0;
    while (at as usize) < total {
        let expected: Vec<u8> = (0..64 << 10).map(|_| stream_byte(&mut at)).collect();
        assert_eq!(client.receive_exactly(64 << 10), expected);
    }
    sending.join().expect("all is sent");
    assert_eq!(engine.status().lost.reload_forced, 0);
}

#[test]
fn a_reader_that_waits_for_more_than_is_kept_loses_its_connection_at_a_reload_and_no_other() {
    let script = serving(
        "socket.start(fd)
        while true do
            local size = socket.readline(fd)
            if not size then return socket.close(fd) end
            local bytes = socket.read(fd, tonumber(size))
            socket.write(fd, #bytes .. '\\n')
        end",
    );
    let engine = site(&config("", ""), &script).start();
    let (mut small, mut large, mut other) = (connect(&engine), connect(&engine), connect(&engine));
    other.send("3\nabc");
    assert_eq!(other.receive(), b"3");
    let size = 3 << 20;
    large.send(format!("{size}"));
    large.send_bytes(&vec![7; 2 << 20]).expect("it is open");
    small.send("300000");
    small.send_bytes(&vec![7; 200_000]).expect("it is open");
    eventually("the small one is kept, and the large one is not", || {
        let status = engine.status();
        status.gateway.held["state"] == 200_000
            && status.workers[0].in_progress == 0
            && status.gateway.held["received"] == 0
    });
    engine.reload().expect_success();
    assert_eq!(large.receive_to_end(), Vec::<Vec<u8>>::new());
    engine.logged(&["over 1 MiB"]);
    // The next script reads the part as what it is for it: a line.
    other.send("1\nx");
    assert_eq!(other.receive(), b"1");
    drop(small);
}

#[test]
fn a_large_line_is_whole_over_a_reload_and_its_reader_gets_it_once() {
    let script = serving(
        "socket.start(fd)
        while true do
            local line = socket.readline(fd)
            if not line then return socket.close(fd) end
            socket.write(fd, #line .. '\\n')
        end",
    );
    let engine = site(&config("", ""), &script).start();
    let mut client = connect(&engine);
    for _ in 0..3 {
        client.send_bytes(&vec![b'x'; 500_000]).expect("it is open");
        eventually("half of it is kept", || {
            engine.status().gateway.held["state"] == 500_000
        });
        engine.reload().expect_success();
        assert_eq!(client.ask("x".repeat(400_000)), "900000");
        assert_eq!(client.ask(""), "0");
    }
}

#[test]
fn a_connection_ends_with_the_service_that_started_it() {
    let site = site(
        &config("", ""),
        &serving("skynet.send(skynet.newservice 'agent', 'lua', fd)"),
    );
    site.write(
        "agent.lua",
        "local skynet, socket = require 'skynet', require 'skynet.socket'
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, fd)
                skynet.ignoreret()
                socket.start(fd)
                while socket.readline(fd) ~= 'exit' do socket.write(fd, 'here\\n') end
                socket.write(fd, 'bye\\n')
                skynet.exit()
            end)
        end)",
    );
    let engine = site.start();
    let (mut first, mut second) = (connect(&engine), connect(&engine));
    assert_eq!(first.ask("x"), "here");
    assert_eq!(second.ask("x"), "here");
    first.send("exit");
    assert_eq!(first.receive_to_end(), [b"bye".to_vec()]);
    assert_eq!(second.ask("x"), "here");
}

#[test]
fn what_is_written_before_a_close_arrives_and_what_is_too_much_ends_the_connection() {
    let script = serving(
        "socket.start(fd)
        local warned = 0
        socket.warning(fd, function(_, kilobytes) warned = warned + 1 end)
        local size = tonumber(socket.readline(fd))
        for i = 1, size >> 16 do socket.write(fd, ('x'):rep(1 << 16)) end
        socket.close(fd)
        assert(not socket.write(fd, 'late'))
        assert(socket.invalid(fd))",
    );
    let engine = site(&config("", "hard_limit = \"8MiB\""), &script).start();
    let mut client = connect(&engine);
    client.send((6 << 20).to_string());
    assert_eq!(client.receive_bytes_to_end().len(), 6 << 20);
    let mut client = connect(&engine);
    client.send((40 << 20).to_string());
    assert_eq!(client.receive_bytes_to_end().len(), 40 << 20);
    let mut client = connect(&engine);
    client.send((160 << 20).to_string());
    eventually(
        "a client that does not read has all that there is room for",
        || engine.status().gateway.sessions == 0,
    );
    assert!(client.receive_bytes_to_end().len() < 160 << 20);
    assert!(!engine.site().log().contains("assertion failed"));
}

#[test]
fn of_two_services_that_start_a_connection_the_last_one_has_it() {
    let site = site(
        &config("", ""),
        &serving(
            "local first, second = skynet.newservice 'reader', skynet.newservice 'reader'
            skynet.call(first, 'lua', fd, 'first')
            skynet.call(second, 'lua', fd, 'second')",
        ),
    );
    site.write(
        "reader.lua",
        "local skynet, socket = require 'skynet', require 'skynet.socket'
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, fd, name)
                assert(socket.start(fd) == fd)
                skynet.fork(function()
                    local function next_line(fd) return socket.readline(fd) or nil end
                    for line in next_line, fd do socket.write(fd, name .. ' ' .. line .. '\\n') end
                    socket.write(fd, name .. ' is over\\n')
                end)
                skynet.retpack(true)
            end)
        end)",
    );
    let engine = site.start();
    for round in 0..3 {
        let mut client = connect(&engine);
        client.send("x");
        let mut heard: Vec<_> = (0..2).map(|_| client.receive()).collect();
        heard.sort();
        let line = |text: &str| text.as_bytes().to_vec();
        let first = [line("first is over"), line("first x")];
        let second = [line("first is over"), line("second x")];
        assert!(heard == first || heard == second, "{round}: {heard:?}");
        assert_eq!(client.ask("y"), "second y");
        drop(client);
        engine.reload().expect_success();
    }
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

#[test]
fn an_address_is_listened_at_once_and_one_without_a_listener_is_named() {
    let (port, other) = (free_port(), free_port());
    let script = format!(
        "local skynet, socket = require 'skynet', require 'skynet.socket'
        skynet.start(function()
            local id, address, bound = socket.listen('0.0.0.0', {port})
            assert(address == '0.0.0.0' and bound == {port})
            local ok, why = pcall(socket.listen, '127.0.0.1', {port})
            assert(not ok and why:find 'Address already in use', why)
            socket.close(id)
            id = socket.listen('127.0.0.1', {port})
            socket.start(id, function(fd)
                socket.start(fd)
                while true do
                    local line = socket.readline(fd)
                    if not line then return socket.close(fd) end
                    if line == 'close' then socket.close(id) end
                    socket.write(fd, line .. '\\n')
                end
            end)
            socket.listen('127.0.0.1', {other})
            assert(not pcall(socket.listen, '127.0.0.1', {other}))
        end)"
    );
    let text = config("", "").replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let engine = site(&text, &script).start();
    let warning = format!("[[listen]] with address = \"tcp://127.0.0.1:{other}\"");
    engine.logged(&[&warning]);
    assert_eq!(engine.site().log().matches(&warning).count(), 1);
    let mut client = connect(&engine);
    assert_eq!(client.ask("close"), "close");
    // Nobody listens any more.
    assert_eq!(connect(&engine).receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(client.ask("x"), "x");
}

#[test]
fn a_listener_with_packets_says_what_to_write() {
    let port = free_port();
    let text = config("", "framing = { kind = \"line\" }");
    let text = text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let script = format!(
        "local skynet, socket = require 'skynet', require 'skynet.socket'
        skynet.start(function() socket.listen('127.0.0.1', {port}) end)"
    );
    let site = site(&text, &script);
    let refused = site.try_start().err().expect("it does not start");
    let told = format!("{}{}", refused.stderr, site.log());
    assert!(told.contains("framing = { kind = \"raw\" }"), "{told}");
}

#[test]
fn a_worker_that_a_script_aborts_closes_no_connection() {
    let script = serving(
        "socket.start(fd)
        while true do
            local line = socket.readline(fd)
            if not line then return socket.close(fd) end
            socket.write(fd, line .. '\\n')
            if line == 'abort' then skynet.timeout(50, function() require('skynet.manager') skynet.abort() end) end
        end",
    );
    let engine = site(&config("", ""), &script).start();
    let (mut first, mut second) = (connect(&engine), connect(&engine));
    let before = engine.worker(0).pid;
    assert_eq!(first.ask("one"), "one");
    assert_eq!(second.ask("abort"), "abort");
    eventually("there is another worker", || {
        engine
            .status()
            .ready_workers()
            .iter()
            .any(|it| it.pid != before)
    });
    assert_eq!(first.ask("two"), "two");
    assert_eq!(second.ask("three"), "three");
}

#[test]
fn a_client_that_ends_its_stream_gets_the_answers_to_all_that_it_has_sent() {
    let script = serving(
        "socket.start(fd)
        while true do
            local line, rest = socket.readline(fd)
            if not line then
                return socket.close(fd)
            end
            skynet.sleep(5)
            socket.write(fd, line:upper() .. '\\n')
        end",
    );
    let engine = site(&config("max_wait = \"4s\"", ""), &script).start();
    let mut client = connect(&engine);
    client.send("a\nb\nc");
    client.finish_sending();
    assert_eq!(client.receive_bytes_to_end(), b"A\nB\nC\n");
    // Also one that has said nothing for longer than a script may take.
    let mut client = connect(&engine);
    assert!(client.is_quiet_for(Duration::from_millis(2500)));
    client.send("late");
    client.finish_sending();
    assert_eq!(client.receive_bytes_to_end(), b"LATE\n");
    // A client that is gone at once harms nobody.
    for _ in 0..20 {
        let mut client = connect(&engine);
        client.send("x");
        client.reset();
    }
    assert_eq!(connect(&engine).ask("still"), "STILL");
    eventually("all others are gone", || {
        engine.status().gateway.sessions == 0
    });
}

#[test]
fn connections_that_end_before_a_script_accepts_them_wait_in_bounded_numbers() {
    let engine = site(
        &config("", ""),
        "local skynet, socket = require 'skynet', require 'skynet.socket'
        skynet.start(function()
            local id, accepted = socket.listen('127.0.0.1', 0), 0
            skynet.fork(function()
                repeat skynet.sleep(5) until io.open 'accept'
                socket.start(id, function(fd)
                    accepted = accepted + 1
                    socket.start(fd)
                    local line = socket.readline(fd)
                    if line == 'count' then
                        socket.write(fd, accepted .. '\\n')
                    end
                    socket.close(fd)
                end)
            end)
        end)",
    )
    .start();
    let mut living = connect(&engine);
    for _ in 0..1100 {
        connect(&engine).send("short");
    }
    engine.logged(&["connections dropped"]);
    eventually("all but one have ended", || {
        engine.status().workers[0].sessions == 1
    });
    engine.site().write("accept", "");
    // It comes behind them all.
    assert_eq!(connect(&engine).ask("count"), "1026");
    assert_eq!(living.ask("count"), "1026");
}

#[test]
fn a_write_larger_than_the_hard_limit_is_sent_in_parts() {
    let engine = site(
        &config(
            "",
            "low_watermark = \"1KiB\"\nhigh_watermark = \"2KiB\"\nhard_limit = \"4KiB\"",
        ),
        &serving(
            "socket.start(fd)
            while socket.readline(fd) do
                socket.write(fd, ('x'):rep(100000))
            end
            socket.close(fd)",
        ),
    )
    .start();
    let mut client = connect(&engine);
    for _ in 0..3 {
        client.send("more");
        assert_eq!(client.receive_exactly(100_000), vec![b'x'; 100_000]);
    }
}
