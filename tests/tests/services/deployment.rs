//! A deployment that runs: its log, its number, its terminal.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use moorline_tests::{Finish, Site, eventually, kill};
use nix::sys::signal::Signal;

/// A deployment. Dropping it ends it.
struct Deployment(Child);

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn site(config: &str, main: &str) -> Arc<Site> {
    let site = Site::new("moorline", "");
    site.write("config", format!("luaservice = './?.lua'\n{config}"));
    site.write("main.lua", main);
    site
}

fn command(site: &Site) -> Command {
    let mut command = site.command(&["run", "--config", "config"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A service that logs a number each hundredth of a second, until the file `stop` is there.
const COUNTS: &str = "local skynet = require 'skynet'
    require 'skynet.manager'
    skynet.start(function()
        skynet.fork(function()
            for n = 1, math.huge do
                skynet.error('count', n)
                skynet.sleep(1)
                if io.open 'stop' then skynet.abort() end
            end
        end)
    end)";

fn read(site: &Site, name: &str) -> String {
    fs::read_to_string(site.path(name)).unwrap_or_default()
}

#[test]
fn the_log_is_a_file_with_times_that_is_opened_again_after_a_hangup() {
    let site = site("logger = 'game.log'", COUNTS);
    site.write("game.log", "before\n");
    let deployment = Deployment(command(&site).spawn().expect("the program can be run"));
    eventually("a line in the log", || {
        read(&site, "game.log").contains("count 1\n")
    });
    fs::rename(site.path("game.log"), site.path("game.log.1")).expect("the log can be moved");
    eventually("a log that is opened again", || {
        kill(deployment.0.id().cast_signed(), Signal::SIGHUP);
        read(&site, "game.log").contains("count ")
    });
    let old = read(&site, "game.log.1");
    let mut lines = old.lines();
    assert_eq!(lines.next(), Some("before"));
    let line = lines.next().expect("there is a line");
    // 31/12/26 23:59:59.99 [:00000003] count 1
    let shape: String = line
        .chars()
        .map(|c| {
            if c.is_ascii_hexdigit() && !c.is_ascii_alphabetic() {
                '0'
            } else {
                c
            }
        })
        .collect();
    assert!(
        shape.starts_with("00/00/00 00:00:00.00 [:00000000] count 0"),
        "{line}"
    );
}

#[test]
fn a_daemon_leaves_its_terminal_writes_its_number_and_starts_once() {
    let site = site("daemon = 'game.pid'\nlogger = 'game.log'", COUNTS);
    let mut starting = command(&site).spawn().expect("the program can be run");
    assert!(starting.wait().expect("it ends").success());
    eventually("the number of the daemon", || {
        read(&site, "game.pid").ends_with('\n')
    });
    let number = read(&site, "game.pid");
    let again = site.command(&["run", "--config", "config"]).finish();
    let line = format!("it is already running, as process {}", number.trim());
    again.expect_refusal(&["daemon = game.pid", &line]);
    // Nobody but init is its parent, and its output is nowhere.
    let folder = format!("/proc/{}", number.trim());
    let output = fs::read_link(format!("{folder}/fd/1")).expect("the daemon lives");
    assert_eq!(output.to_str(), Some("/dev/null"));
    eventually("a line in the log", || {
        read(&site, "game.log").contains("count 1\n")
    });
    site.write("stop", "");
    eventually("the end of the daemon", || !site.path("game.pid").exists());
    eventually("the end of the process", || fs::metadata(&folder).is_err());
}

#[test]
fn a_daemon_that_cannot_write_its_number_says_so() {
    let site = site("daemon = 'absent/game.pid'", COUNTS);
    let finished = site.command(&["run", "--config", "config"]).finish();
    finished.expect_refusal(&["daemon = absent/game.pid", "No such file"]);
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start() {
    let site = site("logger = 'absent/game.log'", COUNTS);
    let finished = site.command(&["run", "--config", "config"]).finish();
    finished.expect_refusal(&["cannot open the log absent/game.log"]);
}

#[test]
fn the_service_of_a_log_is_told_of_a_hangup() {
    let log = "local skynet = require 'skynet'
        require 'skynet.manager'
        skynet.register_protocol {
            name = 'text', id = skynet.PTYPE_TEXT, unpack = skynet.tostring, dispatch = function(_, _, text)
                io.open('lines', 'a'):write(text, '\\n')
            end,
        }
        skynet.register_protocol {
            name = 'SYSTEM', id = skynet.PTYPE_SYSTEM, unpack = function(...) return ... end,
            dispatch = function() io.open('hangups', 'a'):write 'one' end,
        }
        skynet.start(function() end)";
    let site = site("logservice = 'snlua'\nlogger = 'mylog'", COUNTS);
    site.write("mylog.lua", log);
    let deployment = Deployment(command(&site).spawn().expect("the program can be run"));
    eventually("a line in the log", || {
        read(&site, "lines").contains("count 1\n")
    });
    kill(deployment.0.id().cast_signed(), Signal::SIGHUP);
    eventually("news of the hangup", || read(&site, "hangups") == "one");
}
