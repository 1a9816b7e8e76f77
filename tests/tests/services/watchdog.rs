//! Services that do not return are named with their stack and can be ended; others are launched, asked and heard meanwhile.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use moorline_tests::{Client, LENGTH_LISTENER, Site, Wire, eventually};

use super::script::{main_of, run_with, service};

const BAD: &str = "local function spin() while true do end end
    function C.spin() spin() end
    function C.caught() while true do pcall(spin) end end
    function C.handled() while true do xpcall(spin, function(err) return err .. '!' end) end end
    function C.inside() coroutine.wrap(spin)() end
    function C.closed() local x <close> = setmetatable({}, {__close = function() end}) coroutine.wrap(spin)() end
    function C.ok() skynet.retpack 'ok' end";

#[test]
fn a_service_that_does_not_return_is_named_with_its_stack() {
    let bad = service(BAD);
    let main = main_of(
        "local core = require 'moorline.core'
        local bad = skynet.newservice 'bad'
        skynet.fork(skynet.call, bad, 'lua', 'inside')
        skynet.sleep(750)
        assert(core.signal(bad, 0))
        assert(skynet.call(bad, 'lua', 'ok') == 'ok')",
    );
    let files = [("main.lua", main.as_str()), ("bad.lua", bad.as_str())];
    let finished = run_with(&files, &["--loops", "2"]).expect_success();
    let said = finished.said();
    let (_, after) = said
        .split_once("maybe in an endless loop")
        .expect("it is named");
    for words in [
        "stack traceback:",
        "./bad.lua:3: in function <./bad.lua:3>",
        "./bad.lua:3: signal 0",
    ] {
        assert!(after.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_signal_ends_the_message_that_does_not_return_and_the_service_goes_on() {
    let bad = service(BAD);
    let main = main_of(
        "local core = require 'moorline.core'
        local bad = skynet.newservice 'bad'
        assert(not core.signal(bad, 0) and not core.signal(skynet.self() + 1000, 0) and not core.signal(bad, 7))
        for _, command in ipairs { 'spin', 'caught', 'handled', 'inside', 'closed', 'spin' } do
            local failed, signals = false, 0
            skynet.fork(function()
                local ok, err = pcall(skynet.call, bad, 'lua', command)
                assert(not ok and err:find 'call failed', err)
                failed = true
            end)
            repeat
                skynet.sleep(10)
                if core.signal(bad, 0) then signals = signals + 1 end
            until failed
            assert(signals >= 1)
            assert(skynet.call(bad, 'lua', 'ok') == 'ok', command)
        end
        skynet.fork(pcall, skynet.call, bad, 'lua', 'spin')
        skynet.sleep(10)
        assert(core.signal(bad, 1))
        repeat skynet.sleep(10) until core.signal(bad, 0)
        assert(skynet.call(bad, 'lua', 'ok') == 'ok')
        print 'all ended'",
    );
    let files = [("main.lua", main.as_str()), ("bad.lua", bad.as_str())];
    let finished = run_with(&files, &["--loops", "2"]).expect_success();
    let said = finished.said();
    assert!(
        said.contains("all ended") && said.contains("Current Memory "),
        "{said}"
    );
    assert!(said.contains("signal 0"), "{said}");
}

/// Lua looks around only between its own instructions.
#[test]
fn a_loop_in_a_function_of_c_is_named_by_its_service() {
    let bad = service("function C.find() (('a'):rep(200)):find(('a-'):rep(30) .. 'b') end");
    let main = main_of(
        "local bad = skynet.newservice 'bad'
        print(skynet.address(bad))
        skynet.fork(pcall, skynet.call, bad, 'lua', 'find')
        skynet.sleep(750)",
    );
    let files = [("main.lua", main.as_str()), ("bad.lua", bad.as_str())];
    let said = run_with(&files, &["--loops", "2"]).expect_success().said();
    let address = said.lines().next().expect("it prints an address");
    let named = format!("to [ {address} ] maybe in an endless loop");
    assert!(said.contains(&named), "{said}");
}

#[test]
fn a_service_that_loops_in_its_start_holds_up_no_launch_and_no_list() {
    let starts = "local skynet = require 'skynet'
        skynet.start(function() skynet.error 'loops' while true do end end)";
    let top = "local skynet = require 'skynet' while true do end";
    let good = service("function C.ok() skynet.retpack(skynet.endless()) end");
    let main = main_of(
        "local core = require 'moorline.core'
        local function id_of(line)
            for id, found in pairs(core.services()) do if found == line then return id end end
        end
        for _, name in ipairs { 'starts', 'top' } do
            local why
            skynet.fork(function() why = select(2, pcall(skynet.newservice, name)) end)
            skynet.sleep(200)
            for i = 1, 10 do
                assert(skynet.call(skynet.newservice 'good', 'lua', 'ok') == false)
            end
            local list = skynet.call('.launcher', 'lua', 'LIST')
            assert(list[skynet.address(id_of(name))] == 'snlua ' .. name)
            repeat core.signal(id_of(name), 0) skynet.sleep(10) until why
            assert(why:find 'signal 0', why)
        end",
    );
    let files = [
        ("main.lua", main.as_str()),
        ("starts.lua", starts),
        ("top.lua", top),
        ("good.lua", good.as_str()),
    ];
    run_with(&files, &["--loops", "2"]).expect_success();
}

#[test]
fn a_reader_that_stops_holds_nobody_up_and_is_told_what_it_has_missed() {
    let site = Site::new("moorline", "");
    let main = main_of(
        "local line = ('x'):rep(1 << 16)
        for i = 1, 600 do print(line) if i % 50 == 0 then skynet.yield() end end
        local file = io.open('alive', 'w') file:write 'yes' file:close()
        skynet.sleep(100000)",
    );
    site.write("main.lua", &main);
    let mut command = site.command(&["run", "main.lua"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::read(site.path("alive")).unwrap_or_default() != b"yes" {
        assert!(
            Instant::now() < deadline,
            "the service waits for its reader"
        );
        thread::sleep(Duration::from_millis(20));
    }
    let mut output = child.stdout.take().expect("it is a pipe");
    let (mut said, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    while !said.ends_with(b"standard output was not read\n") {
        let count = output.read(&mut buffer).expect("it can be read");
        assert!(count > 0, "no line tells of lost lines");
        said.extend_from_slice(&buffer[..count]);
    }
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    let said = String::from_utf8(said).expect("it is text");
    let (lost, whole): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| line.contains("lost"));
    assert!(
        whole.iter().all(|line| line.len() == 1 << 16),
        "a line is broken"
    );
    let lost: Vec<usize> = lost
        .iter()
        .map(|line| {
            line.split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        })
        .collect();
    assert_eq!(lost.iter().sum::<usize>() + whole.len(), 600);
}

#[test]
fn lines_before_an_exit_in_the_middle_of_a_script_are_written() {
    let main = main_of("for i = 1, 2000 do print(i) end os.exit(3)");
    let finished = run_with(&[("main.lua", &main)], &[]);
    assert_eq!(finished.status.code(), Some(3));
    assert!(finished.stdout.ends_with("\n2000\n"), "{finished:#?}");
}

#[test]
fn a_worker_names_a_stuck_service_by_both_of_its_stacks_and_goes_on() {
    let site = Site::new("moorline", "");
    let main = "local skynet = require 'skynet'
        local function spin() local till = os.time() + 9 while os.time() < till do end end
        skynet.start(function()
            require('moorline').serve { message = function(session, data)
                if data == 'spin' then spin() end
                session:send('did ' .. data)
            end }
        end)";
    site.write("main.lua", main);
    site.configure(&format!(
        "[workers]\ncount = 1\nlua = \"main.lua\"\n{LENGTH_LISTENER}"
    ));
    let engine = site.start();
    let pid = engine.worker(0).pid;
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("spin");
    // The worker takes its own stack by one signal, and the Lua stack is taken by another.
    eventually("its stack in Rust is there", || {
        let stalls = engine.status().stalls;
        stalls.first().is_some_and(|stall| !stall.stack.is_empty())
    });
    engine.logged(&["maybe in an endless loop, for 5 s"]);
    engine.logged(&["main.lua:2: in", "spin"]);
    assert_eq!(client.receive(), b"did spin");
    assert_eq!(client.ask("more"), "did more");
    assert_eq!(engine.worker(0).pid, pid);
}

#[test]
fn the_launcher_answers_with_as_many_loops_as_there_can_be() {
    let main = main_of("assert(next(skynet.call('.launcher', 'lua', 'LIST')))");
    run_with(&[("main.lua", &main)], &["--loops", "255"]).expect_success();
}
