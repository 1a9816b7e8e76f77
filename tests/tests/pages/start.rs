//! The page "Start in five minutes", step by step.

use moorline_tests::{Client, Site, Wire, kill};
use nix::sys::signal::Signal;

use super::blocks::file;

const PAGE: &str = "start.md";

#[test]
fn the_first_five_minutes_go_as_the_page_says() {
    let config = file(PAGE, "moorline.toml").replace(":7000", ":0");
    let script = file(PAGE, "main.lua");
    let site = Site::new("moorline", &config);
    site.write("main.lua", &script);
    site.run(&["check"]).expect_success();
    let engine = site.start();
    let mut client = Client::connect(&engine, 0, Wire::Line);
    assert_eq!(client.ask("ada"), "welcome, ada: line 1");

    let edited = script.replace("\"welcome\"", "\"welcome aboard\"");
    site.write("main.lua", &edited);
    engine.reload().expect_success();
    assert_eq!(client.ask("ada"), "welcome aboard, ada: line 2");

    let (broken, _) = edited.rsplit_once("end)").expect("the page says so");
    site.write("main.lua", broken);
    engine.reload().expect_refusal(&["main.lua:", "<eof>"]);
    assert_eq!(client.ask("ada"), "welcome aboard, ada: line 3");
    site.write("main.lua", &edited);

    let status = site.run(&["status"]).expect_success().stdout;
    let worker = status.lines().find(|line| line.starts_with("worker 0"));
    let pid = worker
        .and_then(|line| line.split_whitespace().nth(2)?.parse().ok())
        .unwrap_or_else(|| panic!("{status}"));
    kill(pid, Signal::SIGKILL);
    assert_eq!(client.ask("ada"), "welcome aboard, ada: line 4");
}
