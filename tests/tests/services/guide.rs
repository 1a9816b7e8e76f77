//! The examples of the page "Coming from skynet": they stand there, and run here.

use std::process::Command;
use std::sync::Arc;

use moorline_tests::{Client, Finish, Site, Wire};

use super::script::run;

/// The blocks of the page in this language, without their first lines, which name what they are.
fn blocks(language: &str) -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/skynet.md");
    let text = std::fs::read_to_string(path).expect("the page is there");
    let begin = format!("\n```{language}\n");
    let blocks = text.split(&begin).skip(1);
    let blocks = blocks.map(|rest| rest.split("\n```").next().unwrap_or_default());
    let named = blocks.map(|block| {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        let name = first.trim_start_matches(['-', '#', '/', ' ']);
        (name.to_owned(), rest.to_owned())
    });
    named.collect()
}

/// A block with this name: the part about gates has a main script of its own.
fn block(language: &str, name: &str, which: usize) -> String {
    let blocks = blocks(language);
    let mut found = blocks.iter().filter(|(found, _)| found == name);
    let found = found.nth(which);
    found
        .unwrap_or_else(|| panic!("the page has no {name}"))
        .1
        .clone()
}

fn write(site: &Site, files: &[(&str, usize)]) {
    for (name, which) in files {
        site.write(name, block("lua", name, *which));
    }
}

#[test]
fn the_deployment_of_the_page_starts_beside_a_tree_of_skynets() {
    let site = Site::new("moorline", "");
    write(
        &site,
        &[
            ("etc/config", 0),
            ("etc/path", 0),
            ("service/main.lua", 0),
            ("service/simpledb.lua", 0),
        ],
    );
    for name in [
        "skynet/lualib/loader.lua",
        "skynet/lualib/skynet.lua",
        "skynet/lualib/skynet/manager.lua",
        "skynet/service/launcher.lua",
        "skynet/service/bootstrap.lua",
        "skynet/service/debug_console.lua",
    ] {
        site.write(name, "error 'a script of skynet runs'");
    }
    let config = block("lua", "etc/config", 0);
    site.write(
        "etc/config",
        config.replace("debug_port = 8000", "debug_port = 0"),
    );
    // It would run for ever.
    let main = block("lua", "service/main.lua", 0);
    let ending = main.replace("skynet.exit()", "require 'skynet.manager'.abort()");
    assert_ne!(main, ending);
    site.write("service/main.lua", ending);
    let finished = site.command(&["run", "--config", "etc/config"]).finish();
    let finished = finished.expect_success();
    assert!(finished.stdout.ends_with("hello\n"), "{finished:#?}");
}

#[test]
fn the_module_in_c_of_the_page_is_built_as_it_says() {
    let site = Site::new("moorline", "");
    site.write("mine.c", block("c", "mine.c", 0));
    site.write("luaclib/folder", "");
    let commands = blocks("sh");
    let (first, rest) = commands
        .iter()
        .find(|(first, _)| first.contains("--sdk"))
        .expect("the page says how headers are written");
    let words: Vec<&str> = first.split(' ').skip(1).collect();
    site.command(&words).finish().expect_success();
    let mut cc = Command::new("cc");
    let cc = cc.args(rest.split(' ').skip(1));
    cc.current_dir(site.path("")).finish().expect_success();
    let main = "local skynet = require 'skynet'
        skynet.start(function() print(require 'mine'.add(2, 3)) skynet.exit() end)";
    site.write("main.lua", main);
    let run = ["run", "--path", "luaclib/?.lua", "main.lua"];
    let finished = site.command(&run).finish().expect_success();
    assert_eq!(finished.stdout, "5\n");
}

#[test]
fn lua_is_as_the_page_says() {
    let mut count = 0;
    for (name, text) in blocks("lua") {
        if let Some(why) = name.strip_prefix("fails: ") {
            let finished = run(&[("main.lua", &text)]);
            assert!(finished.stdout.contains(why), "{text}\n{finished:#?}");
        } else if name == "runs" {
            let end =
                "\nrequire('skynet.manager') require('skynet').start(require('skynet').abort)";
            run(&[("main.lua", &(text + end))]).expect_success();
        } else {
            continue;
        }
        count += 1;
    }
    assert!(count > 3, "{count}");
}

const WIRE: Wire = Wire::Length {
    width: 2,
    little_endian: false,
};

/// The files of the part about gates, with a port that is free.
fn gate() -> Arc<Site> {
    let site = Site::new("moorline", "");
    write(
        &site,
        &[("service/watchdog.lua", 0), ("service/agent.lua", 0)],
    );
    let main = block("lua", "service/main.lua", 1);
    site.write("service/main.lua", main.replace("port = 8888", "port = 0"));
    let config = block("toml", "moorline.toml", 0);
    site.configure(&config.replace("0.0.0.0:8888", "127.0.0.1:0"));
    site
}

#[test]
fn clients_of_the_gate_of_the_page_stay_over_reloads_and_are_known_after_them() {
    let engine = gate().start();
    let mut clients = ["ann", "bob"].map(|name| {
        let mut client = Client::connect(&engine, 0, WIRE);
        assert_eq!(client.ask(name), format!("hello {name}: {name}"));
        (name, client)
    });
    let agent = block("lua", "service/agent.lua", 0);
    let edited = agent.replace("%s %s: %s", "%s again, %s: %s");
    assert_ne!(agent, edited);
    engine.site().write("service/agent.lua", edited);
    engine.reload().expect_success();
    for (name, client) in &mut clients {
        assert_eq!(client.ask("x"), format!("hello again, {name}: x"));
    }
    engine.site().write("service/agent.lua", "x = = 1");
    engine.site().write("service/watchdog.lua", "x = = 1");
    assert!(!engine.reload().status.success());
    for (name, client) in &mut clients {
        assert_eq!(client.ask("y"), format!("hello again, {name}: y"));
    }
}

#[test]
fn the_agents_of_the_page_run_without_the_gateway_and_a_console_of_a_worker_takes_any_port() {
    let site = gate();
    let main = "local skynet = require 'skynet'
        local socket = require 'skynet.socket'
        require 'skynet.manager'
        skynet.start(function()
            skynet.setenv('greeting', 'hello')
            local watchdog = skynet.newservice 'watchdog'
            local _, port = skynet.call(watchdog, 'lua', 'start', { address = '127.0.0.1', port = 0 })
            local id = assert(socket.open('127.0.0.1', port))
            socket.write(id, string.pack('>s2', 'ann'))
            assert(socket.read(id, socket.header(socket.read(id, 2))) == 'hello ann: ann')
            skynet.abort()
        end)";
    site.write("service/alone.lua", main);
    let finished = site.command(&["run", "service/alone.lua"]).finish();
    finished.expect_success();
    let main = block("lua", "service/main.lua", 1).replace("port = 8888", "port = 0");
    let with_console = main.replace(
        "skynet.exit()",
        "skynet.newservice('debug_console', 0) skynet.exit()",
    );
    site.write("service/main.lua", with_console);
    let engine = site.start();
    let mut client = Client::connect(&engine, 0, WIRE);
    assert_eq!(client.ask("ann"), "hello ann: ann");
    engine.reload().expect_success();
    assert_eq!(client.ask("x"), "hello ann: x");
    engine.logged(&["Start debug console at 127.0.0.1:"]);
}
