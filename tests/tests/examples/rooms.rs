//! The rooms example as its users meet it: a login, two phones, a mirror, news from a program, and a new build meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use moorline_tests::{Browser, Engine, Finish, Site, Tab, eventually, kill};
use nix::sys::signal::Signal;
use serde_json::json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The example with its own page and configuration, on a port that is free.
fn start() -> Engine {
    let example = root().join("examples/rooms");
    let own = fs::read_to_string(example.join("moorline.toml")).expect("it has a configuration");
    let client = root().join("clients/js").display().to_string();
    let config = own
        .replace(":9503", ":0")
        .replace("../../clients/js", &client);
    let site = Site::new("rooms", &config);
    site.copy(&example.join("public"), "public");
    site.start()
}

#[track_caller]
fn sees(browser: &mut Browser, tab: &Tab, selector: &str, text: &str) {
    eventually(&format!("{selector} shows {text:?}"), || {
        browser.text(tab, selector).contains(text)
    });
}

/// A phone whose user has logged in. The tabs of a browser share their cookies.
fn come_aboard(browser: &mut Browser, page: &str, name: &str) -> Tab {
    let tab = browser.open(page);
    browser.be_a_dark_phone(&tab, 320);
    sees(browser, &tab, "#state", "who are you?");
    assert_eq!(browser.cut_off(&tab), json!([]));
    browser.type_into(&tab, "#name", name);
    browser.click(&tab, "#login button");
    sees(browser, &tab, "#state", "connected");
    sees(browser, &tab, "#present", name);
    tab
}

fn say(browser: &mut Browser, tab: &Tab, text: &str) {
    browser.type_into(tab, "#text", text);
    browser.click(tab, "#say button");
}

fn curl(engine: &Engine, path: &str, arguments: &[&str]) -> String {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30"])
        .args(["--write-out", "%{http_code}"])
        .args(arguments)
        .arg(format!("http://{}{path}", engine.socket_address(0)))
        .finish()
        .expect_success()
        .stdout
}

#[test]
fn a_room_goes_on_over_a_deploy_and_a_crash() {
    let engine = start();
    let page = format!("http://{}/", engine.socket_address(0));
    let mut browser = Browser::start();
    let ada = come_aboard(&mut browser, &page, "ada");
    say(&mut browser, &ada, "is anybody here?");
    sees(&mut browser, &ada, "#lines .mine", "ada is anybody here?");

    // Another browser, with cookies of its own; what was said before is there.
    let mut other = Browser::start();
    let grace = come_aboard(&mut other, &page, "grace");
    sees(
        &mut other,
        &grace,
        "#lines .said:not(.mine)",
        "is anybody here?",
    );
    sees(&mut browser, &ada, "#present", "grace");
    let mirror = other.open(&format!("{page}?mirror"));
    sees(&mut other, &mirror, "#lines", "is anybody here?");

    let news = ["--data", "the pilot is aboard", "--header"];
    let token = "Authorization: Bearer change-this-token";
    let publish = [&news[..], &[token]].concat();
    assert_eq!(curl(&engine, "/publish/lobby?event=news", &publish), "204");
    for tab in [&grace, &mirror] {
        sees(&mut other, tab, "#lines", "⚓ the pilot is aboard");
    }

    engine.reload().expect_success();
    for (browser, tab) in [(&mut browser, &ada), (&mut other, &grace)] {
        sees(
            browser,
            tab,
            "#story",
            "build 2 · code replaced, nobody disconnected",
        );
        sees(browser, tab, "#story", "connected · same connection for ");
    }
    say(&mut other, &grace, "still here");
    sees(&mut browser, &ada, "#lines", "grace still here");
    sees(&mut other, &mirror, "#lines", "grace still here");
    for slot in [0, 1] {
        engine.kill_worker(slot, Signal::SIGKILL);
    }
    engine.settled();
    say(&mut browser, &ada, "so am I");
    sees(&mut other, &grace, "#lines", "ada so am I");
    sees(&mut other, &mirror, "#story", "same connection for ");
    assert_eq!(browser.cut_off(&ada), json!([]));
    browser.screenshot(
        &ada,
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("rooms.png"),
    );

    // A page that is loaded again reads all, and knows what its tab has said.
    browser.reload(&ada);
    sees(&mut browser, &ada, "#lines", "grace still here");
    let own = "document.querySelectorAll('.mine').length";
    eventually("its own lines are marked", || {
        browser.evaluate(&ada, own) == 2
    });
    drop(other);
    eventually("grace is no longer present", || {
        browser.text(&ada, "#present") == "ada"
    });
}

#[test]
fn a_page_that_was_cut_off_gets_what_it_missed_or_is_told_of_a_gap() {
    let engine = start();
    let page = format!("http://{}/", engine.socket_address(0));
    let mut browser = Browser::start();
    let ada = come_aboard(&mut browser, &page, "ada");
    say(&mut browser, &ada, "before");
    sees(&mut browser, &ada, "#lines", "ada before");
    engine
        .site()
        .run(&["drain", "--over", "0s"])
        .expect_success();
    let token = "Authorization: Bearer change-this-token";
    let publish = ["--data", "meanwhile", "--header", token];
    assert_eq!(curl(&engine, "/publish/lobby?event=news", &publish), "204");
    sees(&mut browser, &ada, "#story", "connected · connection 2");
    sees(&mut browser, &ada, "#lines", "⚓ meanwhile");
    say(&mut browser, &ada, "after");
    sees(&mut browser, &ada, "#lines", "ada after");
    let lines = "document.querySelectorAll('#lines li').length";
    assert_eq!(browser.evaluate(&ada, lines), 3, "each comes once");

    // What was kept is gone with the gateway.
    kill(engine.status().gateway.pid, Signal::SIGKILL);
    sees(
        &mut browser,
        &ada,
        "#lines",
        "some of what was said before is gone",
    );
    sees(&mut browser, &ada, "#story", "connected · connection 3");
    say(&mut browser, &ada, "once more");
    sees(&mut browser, &ada, "#lines", "ada once more");
}

#[test]
fn nobody_enters_without_a_login() {
    let engine = start();
    assert_eq!(curl(&engine, "/login", &[]), "401");
    assert_eq!(curl(&engine, "/rooms/lobby", &[]), "log in first401");
    let jar = engine.site().path("jar").display().to_string();
    let login = ["--data", "ada", "--cookie-jar", &jar];
    assert_eq!(curl(&engine, "/login", &login), "204");
    assert_eq!(curl(&engine, "/login", &["--cookie", &jar]), "ada200");
    let forged = "user=616461.0123456789abcdef";
    assert_eq!(curl(&engine, "/login", &["--cookie", forged]), "401");
    assert_eq!(curl(&engine, "/login", &["--data", ""]), "400");
    let published = curl(&engine, "/publish/lobby", &["--data", "x"]);
    assert!(published.ends_with("401"), "{published}");
}
