//! Workers that hang, leak, or are not replaced.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Onlooker, Site, Wire};

#[test]
fn a_stuck_handler_is_named() {
    let admin = Onlooker::ADMIN;
    let config = format!("[workers]\ncount = 1\nstall_after = \"500ms\"\n{LENGTH_LISTENER}{admin}");
    let engine = Engine::start("probe", &config);
    let onlooker = Onlooker::new(&engine);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("block 1500");
    onlooker.sees("handlers-are-stuck", "hook message) was found stuck after ");
}

/// Keeps a mebibyte for each message.
const LEAK: &str = r"
local skynet = require 'skynet'
local moorline = require 'moorline'
local kept = {}
skynet.start(function()
    moorline.serve {
        message = function(session, data)
            kept[#kept + 1] = string.rep('x', 1 << 20) .. #kept
            session:send(data)
        end,
    }
end)
";

#[test]
fn a_leaking_worker_is_named() {
    let admin = Onlooker::ADMIN;
    let config = format!("[workers]\ncount = 1\nlua = \"main.lua\"\n{LENGTH_LISTENER}{admin}");
    let site = Site::new("moorline", "");
    site.write("main.lua", LEAK);
    site.configure(&config);
    let engine = site.start();
    let onlooker = Onlooker::new(&engine);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(&engine, 0, Wire::LENGTH);
            while !is_over.load(Ordering::Relaxed) {
                client.ask("more");
                // Five mebibytes each second, whatever the machine can do.
                thread::sleep(Duration::from_millis(200));
            }
        });
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            onlooker.sees("memory-grows", "Worker 0 (pid ");
        }));
        is_over.store(true, Ordering::Relaxed);
        assert!(seen.is_ok(), "see above");
    });
}

#[test]
fn a_refused_reload_is_named() {
    let admin = Onlooker::ADMIN;
    let engine = Engine::start("probe", &format!("{LENGTH_LISTENER}{admin}"));
    let onlooker = Onlooker::new(&engine);
    engine.site().configure("[engine]\nnonsense = 1\n");
    engine.reload();
    onlooker.sees("reload-failed", "nonsense");
}
