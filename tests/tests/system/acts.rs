//! `[admin]`: what someone with the token can change, and nobody else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use moorline_tests::{Browser, Client, Engine, LENGTH_LISTENER, Site, Wire, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::watching::{address, ask, get};

const TOKEN: &str = "0123456789abcdefXYZ";

/// An engine whose page has a token.
fn changeable() -> Engine {
    let config = format!(
        "{LENGTH_LISTENER}name = \"door\"\n[workers]\ncount = 1\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n"
    );
    let site = Site::new("probe", &config);
    site.write("admin.token", format!("{TOKEN}\n"));
    site.start()
}

/// Asks for an act with this token. The answer with its head.
fn try_act(to: SocketAddr, token: Option<&str>, act: &Value) -> String {
    let authorization = token.map_or(String::new(), |it| format!("Authorization: Bearer {it}\n"));
    post(to, &authorization, &act.to_string())
}

fn post(to: SocketAddr, headers: &str, body: &str) -> String {
    let length = body.len();
    let head = format!(
        "POST /act HTTP/1.1\nHost: {to}\nContent-Type: application/json\nContent-Length: {length}\n{headers}"
    );
    ask(to, head.trim_end(), body)
}

#[track_caller]
fn act(to: SocketAddr, act: &Value) -> String {
    let answer = try_act(to, Some(TOKEN), act);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{act}: {answer}");
    answer
}

fn sessions(to: SocketAddr, query: &str) -> Value {
    let answer = get(to, &format!("/sessions.json?{query}"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).expect("JSON")
}

fn state(engine: &Engine) -> String {
    engine.status().listeners[0].state.clone()
}

#[test]
fn sessions_are_found_sorted_and_closed() {
    let engine = changeable();
    let admin = address(&engine);
    let mut clients: Vec<_> = (0..5)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for (at, client) in clients.iter_mut().enumerate() {
        (0..=at).for_each(|_| drop(client.ask("pid")));
    }
    let all = sessions(admin, "sort=messages&order=falling");
    assert_eq!((&all["found"], &all["complete"]), (&json!(5), &json!(true)));
    let rows = all["rows"].as_array().expect("rows");
    let messages: Vec<_> = rows.iter().map(|row| row["messages"].as_u64()).collect();
    assert_eq!(messages, [5, 4, 3, 2, 1].map(Some));
    let peer = rows[0]["peer"].as_str().expect("a text");
    let id = rows[0]["id"].as_str().expect("a text");
    for (query, found) in [
        (format!("peer={peer}"), 1),
        (format!("id={id}"), 1),
        (format!("any={id}&worker=1"), 0),
        ("listener=door&worker=0&rows=2".to_owned(), 5),
        ("listener=other".to_owned(), 0),
    ] {
        let seen = sessions(admin, &query);
        assert_eq!(seen["found"], found, "{query}: {seen}");
    }
    assert!(get(admin, "/sessions.json?colour=red").starts_with("HTTP/1.1 400 "));
    act(admin, &json!({ "command": "close-session", "id": id }));
    assert!(clients[4].receive_to_end().is_empty(), "it is closed");
    clients[0].ask("pid");
    let log = engine.site().log();
    assert!(log.contains(&format!("close session {id}, asked from 127.0.0.1:")));
    let gone = try_act(
        admin,
        Some(TOKEN),
        &json!({ "command": "close-session", "id": id }),
    );
    assert!(
        gone.starts_with("HTTP/1.1 409 ") && gone.contains("no session"),
        "{gone}"
    );
}

#[test]
fn sessions_are_listed_four_times_a_second_at_most() {
    let engine = changeable();
    let admin = address(&engine);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..3).for_each(|_| drop(sessions(admin, "rows=1"))));
        }
    });
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(5 * 250), "{took:?}");
}

#[test]
fn a_listener_stops_accepting_and_accepts_again() {
    let engine = changeable();
    let admin = address(&engine);
    let mut before = Client::connect(&engine, 0, Wire::LENGTH);
    before.ask("pid");
    let accept =
        |accepts: bool| json!({ "command": "accept", "listener": "door", "accepts": accepts });
    act(admin, &accept(false));
    assert_eq!(state(&engine), "stopped");
    let mut waiting = Client::connect(&engine, 0, Wire::LENGTH);
    waiting.send("pid");
    before.ask("pid");
    let is_alone = || engine.status().gateway.sessions == 1;
    assert!(is_alone());
    // That lasts over a reload, and over the death of the gateway.
    engine.reload().expect_success();
    before.ask("pid");
    assert!(is_alone());
    moorline_tests::kill(engine.status().gateway.pid, Signal::SIGKILL);
    engine.logged(&["the gateway (pid", "incarnation=2"]);
    eventually("it serves", || !engine.status().ready_workers().is_empty());
    drop(before);
    assert_eq!(state(&engine), "stopped");
    act(admin, &accept(true));
    assert_eq!(state(&engine), "accepting");
    Client::connect(&engine, 0, Wire::LENGTH).ask("pid");
    let unknown = json!({ "command": "accept", "listener": "window", "accepts": false });
    let refused = try_act(admin, Some(TOKEN), &unknown);
    assert!(refused.contains("there are door"), "{refused}");
}

#[test]
fn a_reload_and_a_drain_are_done_and_logged() {
    let engine = changeable();
    let admin = address(&engine);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("pid");
    act(admin, &json!({ "command": "reload", "scope": "all" }));
    engine.logged(&["[admin]: reload, asked from 127.0.0.1:", "generation 2"]);
    client.ask("pid");
    engine.site().install("never_ready");
    engine.site().configure("nonsense");
    let refused = try_act(
        admin,
        Some(TOKEN),
        &json!({ "command": "reload", "scope": "all" }),
    );
    assert!(
        refused.starts_with("HTTP/1.1 409 ") && refused.contains("refused"),
        "{refused}"
    );
    act(
        admin,
        &json!({ "command": "drain", "listener": "door", "over_ms": 0 }),
    );
    assert!(client.receive_to_end().is_empty());
}

#[test]
fn without_the_right_token_nothing_changes() {
    let reload = json!({ "command": "reload", "scope": "all" });
    let engine = changeable();
    let admin = address(&engine);
    let (bearer, body) = (
        format!("Authorization: Bearer {TOKEN}\n"),
        reload.to_string(),
    );
    let foreign = format!("{bearer}Origin: http://evil.example\n");
    let cookie = format!("Cookie: token={TOKEN}\n");
    let untyped = |host: &str| {
        let head = format!("POST /act HTTP/1.1\nHost: {host}\n{bearer}Content-Length: 0");
        ask(admin, &head, "")
    };
    for (request, status) in [
        (try_act(admin, None, &reload), 401),
        (try_act(admin, Some("0123456789abcdefXY"), &reload), 401),
        (post(admin, &foreign, &body), 403),
        (post(admin, &cookie, &body), 401),
        (post(admin, &bearer, "{\"command\":\"stop\"}"), 403),
        // What looks has limits that this is no way round.
        (post(admin, &bearer, "{\"command\":\"status\"}"), 403),
        (post(admin, &bearer, "nonsense"), 400),
        (post(admin, &bearer, &"x".repeat(5000)), 400),
        (untyped(&admin.to_string()), 415),
        (untyped("evil.example"), 421),
        (get(admin, "/act"), 405),
    ] {
        let expected = format!("HTTP/1.1 {status} ");
        assert!(request.starts_with(&expected), "{expected}{request}");
    }
    engine.logged(&["a wrong token was shown from 127.0.0.1:"]);
    // Many more are not even looked at. The right one is not looked at then, either, for some seconds.
    let mut refused = String::new();
    for _ in 0..20 {
        refused = try_act(admin, Some("0123456789abcdefXY"), &reload);
    }
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert_eq!(engine.status().reloads.done, 0);
    eventually("the right one is looked at again", || {
        try_act(admin, Some(TOKEN), &reload).starts_with("HTTP/1.1 200 ")
    });
    assert!(!engine.site().log().contains(TOKEN), "a token is logged");
}

#[test]
fn a_reload_brings_another_token_or_none() {
    let reload = json!({ "command": "reload", "scope": "all" });
    let engine = changeable();
    let other = "another-token-0123456789";
    let shown = |token| try_act(address(&engine), Some(token), &reload);
    // Once the process was started again.
    let reload_to = |starts| {
        engine.reload().expect_success();
        eventually("it serves again", || {
            engine.site().log().matches("serves http://").count() == starts
        });
    };
    engine.site().write("admin.token", other);
    reload_to(2);
    assert!(shown(other).starts_with("HTTP/1.1 200 "));
    assert!(shown(TOKEN).starts_with("HTTP/1.1 401 "));
    engine.site().configure(&format!(
        "{LENGTH_LISTENER}name = \"door\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"
    ));
    reload_to(3);
    assert!(shown(other).starts_with("HTTP/1.1 403 "));
    let log = engine.site().log();
    assert!(!log.contains("another-token"), "a token is logged");
}

#[test]
fn the_page_changes_what_someone_with_the_token_presses() {
    let engine = changeable();
    let admin = address(&engine);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("pid");
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{admin}/"));
    eventually("it is shown", || browser.text(&tab, "#state") == "healthy");
    let search = "document.querySelector('#search button').click()";
    eventually("the session is listed", || {
        browser.evaluate(&tab, search);
        browser.text(&tab, "#sessions").contains("door")
    });
    assert_eq!(
        browser.evaluate(&tab, "document.querySelectorAll('#sessions button').length"),
        0
    );
    browser.type_into(&tab, "#token", TOKEN);
    browser.click(&tab, "#unlock button");
    eventually("there are buttons", || {
        browser.text(&tab, "#act-list").contains("stop accepting")
    });
    let kept = browser.evaluate(
        &tab,
        "sessionStorage.length + localStorage.length * 10 + document.cookie.length * 100",
    );
    assert_eq!(kept, 1);
    // The first press only asks.
    browser.click(&tab, "#act-list button");
    assert!(
        browser
            .text(&tab, "#act-list")
            .contains("really stop accepting?")
    );
    assert_eq!(state(&engine), "accepting");
    browser.click(&tab, "#act-list button");
    eventually("it is stopped", || {
        browser.text(&tab, "#listeners").contains("stopped") && state(&engine) == "stopped"
    });
    browser.click(&tab, "#sessions button");
    browser.click(&tab, "#sessions button");
    assert!(client.receive_to_end().is_empty(), "the session is closed");
    browser.be_a_dark_phone(&tab, 360);
    let is_wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
    assert_eq!(browser.evaluate(&tab, is_wide), false);
}
