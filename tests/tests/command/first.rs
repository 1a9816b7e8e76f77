//! Mistakes of the first day: each message says what to do. `docs/guide/mistakes.md` lists them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use moorline_tests::{Client, Finish, LENGTH_LISTENER, Site, Wire, require_root, run_dir};

/// A mistake, and what the command says: the words of the page.
fn said(config: &str, words: &[&str]) {
    let site = Site::new("moorline", config);
    let finished = site.run(&["check"]).expect_refusal(words);
    assert!(finished.said().contains("hint: "), "{finished:#?}");
}

#[test]
fn mistakes_in_the_first_configuration_have_a_hint() {
    let listen = |lines: &str| format!("[[listen]]\n{lines}\n");
    said(
        "[listen]\naddress = \"tcp://127.0.0.1:0\"\n",
        &["[[listen]] with double brackets"],
    );
    said("[workers]\ncount = 1\n", &["add [[listen]]"]);
    said("{\"listen\": []}", &["this is no TOML", "[[listen]]"]);
    said(
        &listen("address = \"127.0.0.1:7000\""),
        &["no scheme", "tcp://127.0.0.1:7000"],
    );
    said(&listen("address = \"tcp://127.0.0.1\""), &["no port"]);
    said(
        &listen("address = \"ws://127.0.0.1:1/\""),
        &["not an address to listen on", "http://127.0.0.1:1"],
    );
    said(
        &listen("address = \"tcp://127.0.0.1:0\"\nframing = \"line\""),
        &["framing = { kind ="],
    );
    said(
        &listen("address = \"tcp://127.0.0.1:0\"\nframing = { kind = \"lines\" }"),
        &["did you mean \"line\""],
    );
    said(
        &listen("address = \"http://127.0.0.1:0\""),
        &["serves nothing", "websocket = \"/ws\""],
    );
    said(
        &listen("address = \"tcp://127.0.0.1:0\"\nadress = \"x\""),
        &["unknown key", "did you mean"],
    );
    said(
        &listen("address = \"tcp://127.0.0.1:0\"\nidle_timeout = 10s"),
        &["text without quotes", "\"10s\""],
    );
    said(
        &listen("address = \"https://127.0.0.1:0\"\nwebsocket = \"/\""),
        &["certificate", "tls = {"],
    );
    said(
        &listen("address = \"http://127.0.0.1:0\"\nstatic = \"none\""),
        &["no folder", "create it"],
    );
    said(
        &format!("[workers]\nlua = \"none.lua\"\n{LENGTH_LISTENER}"),
        &["there is no script"],
    );
}

#[test]
fn the_command_without_an_app_says_how_to_have_one() {
    let site = Site::new("moorline", LENGTH_LISTENER);
    let words = ["has no app", "lua = \"main.lua\"", "moorline::run"];
    site.run(&["serve"]).expect_refusal(&words);
}

#[test]
fn a_script_is_no_configuration_and_a_configuration_no_script() {
    let site = Site::new("moorline", LENGTH_LISTENER);
    site.write("main.lua", "");
    let serve = site.command(&["serve", "main.lua"]).finish();
    serve.expect_refusal(&["`lua` in [workers]", "`run`"]);
    let run = site.command(&["run", "moorline.toml"]).finish();
    run.expect_refusal(&["is a configuration", "`serve moorline.toml`"]);
}

#[test]
fn words_of_other_programs_are_understood() {
    let site = Site::new("moorline", "");
    for (word, command) in [("start", "serve"), ("restart", "reload"), ("kill", "stop")] {
        let finished = site.command(&[word]).finish();
        assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
        finished.expect_refusal(&[&format!("hint: the command is `{command}` here")]);
    }
}

#[test]
fn a_main_within_a_runtime_is_told_to_leave_it() {
    let site = Site::new("within_a_runtime", LENGTH_LISTENER);
    let finished = site.run(&["serve"]);
    assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
    finished.expect_refusal(&["within a tokio runtime", "without #[tokio::main]"]);
}

#[test]
fn commands_for_an_engine_that_does_not_run_say_how_to_reach_one() {
    let site = Site::new("echo", LENGTH_LISTENER);
    for command in ["reload", "status", "stop", "sessions", "drain"] {
        site.run(&[command]).expect_refusal(&[
            "no engine is running",
            "hint: start it with `serve`",
            "--run-dir",
        ]);
    }
}

#[test]
fn a_command_about_the_engine_of_another_user_says_whose_it_is() {
    require_root("becoming another user");
    let site = Site::new("echo", LENGTH_LISTENER);
    let _engine = site.start();
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("users can be looked up")
        .expect("every Debian has it");
    let folder = site.path("");
    chown(folder, Some(nobody.uid.as_raw()), None).expect("root may give it away");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
    command.arg(site.path("app")).args(["status", "--run-dir"]);
    let finished = command.arg(run_dir(&site)).finish();
    finished.expect_refusal(&[
        "belongs to another user",
        "hint: run the command as the user",
    ]);
}

#[test]
fn a_reload_into_something_that_is_no_app_says_what_is_wrong_and_the_client_stays() {
    let site = Site::new("echo", LENGTH_LISTENER);
    let engine = site.start();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("one"), "one");
    let app = site.path("app");
    fs::remove_file(&app).expect("it is there");
    engine
        .reload()
        .expect_refusal(&["cannot open the executable", "hint: put the new program"]);
    for (text, mode) in [("#!/bin/sh\necho no\n", 0o755), ("no program", 0o755)] {
        fs::write(&app, text).expect("the folder can be written");
        fs::set_permissions(&app, Permissions::from_mode(mode)).expect("it is ours");
        engine
            .reload()
            .expect_refusal(&["before it was ready", "hint: ", "`moorline::run`"]);
    }
    fs::set_permissions(&app, Permissions::from_mode(0o644)).expect("it is ours");
    engine.reload().expect_refusal(&["Permission denied"]);
    assert_eq!(client.ask("two"), "two");
}

#[test]
fn clients_of_another_protocol_are_told_or_named_in_the_log() {
    let config = format!(
        "{LENGTH_LISTENER}[[listen]]\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n"
    );
    let site = Site::new("echo", &config);
    let engine = site.start();
    let get = |listener: usize, request: &str| {
        let mut client = Client::connect(&engine, listener, Wire::Raw);
        client.send_bytes(request.as_bytes()).expect("it is open");
        String::from_utf8_lossy(&client.receive_bytes_to_end()).into_owned()
    };
    assert_eq!(get(0, "GET / HTTP/1.1\r\n\r\n"), "");
    site.logged(&["input breaks the framing", "looks like an HTTP request"]);
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    let answer = get(1, &format!("GET /ws HTTP/1.1\r\n{close}"));
    assert!(
        answer.contains("426") && answer.contains("this path speaks websocket"),
        "{answer}"
    );
    let answer = get(1, &format!("GET /other HTTP/1.1\r\n{close}"));
    assert!(answer.contains("404"), "{answer}");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://other.example\r\n\r\n";
    let answer = get(1, upgrade);
    assert!(
        answer.contains("403") && answer.contains("see `origins`"),
        "{answer}"
    );
}
