//! `top`, in a terminal.

use std::process::Command;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, PseudoTerminal, Wire, built, eventually};
use nix::sys::signal::Signal;

const SIZE: (u16, u16) = (24, 80);

fn top(arguments: &[&str]) -> Command {
    let mut command = Command::new(built("moorline"));
    command.arg("top").args(arguments);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command
}

#[test]
fn keys_choose_panes_filter_and_help_and_q_leaves_the_terminal_as_it_was() {
    let mut terminal = PseudoTerminal::start(&top(&["--demo"]), SIZE);
    terminal.shows("messages/s");
    for (key, part) in [
        ("2", "worker 3"),
        ("3", "tcp://0.0.0.0:9501"),
        ("4", "player 20"),
        ("5", "10.0.0.3:3306"),
        ("6", "held: queued"),
        ("7", "is wrong"),
        ("1", "gateway     pid 4002"),
        ("?", "this help; any key closes it"),
    ] {
        terminal.press(key);
        terminal.shows(part);
    }
    terminal.press(" 4/player 13");
    terminal.shows("/player 13_");
    eventually("only one is left", || {
        let text = terminal.text();
        text.contains("192.0.2.13:") && !text.contains("player 12")
    });
    terminal.press("\r");
    terminal.shows("filter: player 13");
    terminal.press("q");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn it_fits_any_size_and_the_next_one() {
    let mut terminal = PseudoTerminal::start(&top(&["--demo"]), SIZE);
    terminal.shows("messages/s");
    for (rows, columns) in [(10, 40), (1, 1), (60, 200)] {
        terminal.resize(rows, columns);
        terminal.press("2");
        if rows > 1 {
            terminal.shows("worker 3");
        }
        terminal.press("1");
    }
    terminal.shows("7 wrong");
    terminal.press("\u{3}");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn signals_end_it_and_the_terminal_is_as_before() {
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGINT, 130),
    ] {
        let terminal = PseudoTerminal::start(&top(&["--demo"]), SIZE);
        terminal.shows("messages/s");
        terminal.signal(signal);
        assert_eq!(terminal.ended().code(), Some(code));
    }
}

#[test]
fn without_colours_words_say_the_same() {
    for (value, has_colours) in [("", true), ("1", false)] {
        let mut command = top(&["--demo"]);
        command.env("NO_COLOR", value);
        let mut terminal = PseudoTerminal::start(&command, SIZE);
        terminal.shows("healthy");
        terminal.press("q");
        let raw = String::from_utf8_lossy(&terminal.raw()).into_owned();
        terminal.ended();
        assert_eq!(raw.contains("\u{1b}[38;5;"), has_colours, "{raw:?}");
    }
}

fn top_of(engine: &Engine) -> Command {
    let mut command = engine.site().command(&["top"]);
    command.arg(engine.site().path("moorline.toml"));
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command
}

#[test]
fn a_label_with_escape_sequences_does_not_reach_the_terminal_raw() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("label \u{1b}]0;evil\u{7}\u{1b}[2J");
    let mut terminal = PseudoTerminal::start(&top_of(&engine), (24, 200));
    terminal.shows("healthy, up ");
    terminal.press("4");
    terminal.shows(r"\u{1b}]0;evil\u{7}\u{1b}[2J");
    terminal.press("q");
    let raw = String::from_utf8_lossy(&terminal.raw()).into_owned();
    terminal.ended();
    assert!(!raw.contains("\u{1b}]0;"), "{raw:?}");
}

#[test]
fn an_engine_that_is_away_is_told_and_shown_again_when_it_is_back() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    let site = engine.site();
    let mut terminal = PseudoTerminal::start(&top_of(&engine), SIZE);
    terminal.shows("healthy, up ");
    drop(engine);
    terminal.shows("The engine is away: ");
    let again = site.start();
    terminal.shows("healthy, up ");
    terminal.press("2");
    terminal.shows("worker 0");
    terminal.press("q");
    assert_eq!(terminal.ended().code(), Some(0));
    drop(again);
}

#[test]
fn a_script_gets_one_picture_and_an_exit_code() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    // Its output is a pipe.
    let said = engine.run(&["top"]).expect_success().stdout;
    assert!(
        said.starts_with("healthy\n\nsessions    0\nmessages/s  0\nsupervisor  pid "),
        "{said}"
    );
    assert!(said.contains("\nworker 0 "), "{said}");
    engine.site().configure("nonsense");
    engine.reload();
    let finished = engine.run(&["top", "--once"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished
            .stdout
            .starts_with("1 thing is wrong\nwarning  The last reload failed ")
    );
    let away = Command::new(built("moorline"))
        .args(["top", "--once", "--run-dir", "/nowhere/at/all"])
        .output()
        .expect("it is built");
    assert_eq!(away.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&away.stderr).starts_with("error: "),
        "{away:?}"
    );
}
