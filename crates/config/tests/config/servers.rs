//! Servers behind one address: what is wrong with them, and what they are.

use std::path::Path;

use moorline_config::{Config, load_text};

fn load(listen: &str, servers: &str) -> Result<Config, String> {
    let text = format!(
        "[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\n{listen}\n{servers}\n\
         [upstream.up]\npeers = [\"tcp://127.0.0.1:1\"]\n[upstream.dns]\npeers = [\"udp://127.0.0.1:1\"]\n"
    );
    match load_text(&text, Path::new("/a.toml")) {
        Ok(loaded) => Ok(loaded.config),
        Err(errors) => Err(errors.to_string()),
    }
}

const SERVER: &str = "[[listen.server]]\n";

/// Keys of a server, and the error that they bring.
const WRONG: &[(&str, &str)] = &[
    ("upstream = \"up\"", "[[listen.server]] has no `names`"),
    ("names = [\"a\"]", "has neither `upstream` nor `return`"),
    ("names = []\nupstream = \"up\"", "`names` has 0 entries"),
    (
        "names = [\"a b\"]\nupstream = \"up\"",
        "`names`: \"a b\" is no host",
    ),
    (
        "names = [\"*\"]\nupstream = \"up\"",
        "`names`: \"*\" is no host",
    ),
    (
        "names = [\"a..b\"]\nupstream = \"up\"",
        "`names`: \"a..b\" is no host",
    ),
    (
        "names = [\"*..a\"]\nupstream = \"up\"",
        "`names`: \"*..a\" is no host",
    ),
    (
        "names = [\"*.a\", \"*.a.\"]\nupstream = \"up\"",
        "is written twice for one address",
    ),
    (
        "names = [\"~(\"]\nupstream = \"up\"",
        "`names`: \"(\" is no pattern: unclosed group",
    ),
    (
        "names = [\"a\", \"A\"]\nupstream = \"up\"",
        "\"a\" is written twice for one address",
    ),
    (
        "names = [\"*.a\", \".a\"]\nupstream = \"up\"",
        "\"*.a\" is written twice for one address",
    ),
    (
        "names = [\"a\"]\nreturn = \"${match.x}\"",
        "no pattern among `names` has a group \"x\"",
    ),
    (
        "names = [\"~(?<word>a)\"]\nreturn = \"${match.wrd}\"",
        "did you mean ${match.word}?",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\nreturn = \"\"",
        "`return` and `upstream` exclude each other",
    ),
    (
        "names = [\"a\"]\nupstream = \"dns\"",
        "which has udp:// peers",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\nlimits = [{ limit = \"x\", most = 1 }]",
        "there is no limit \"x\"",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\naccess_log = [\"x\"]",
        "there is no access log \"x\"",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\naccess = [{}]",
        "says neither `allow` nor `deny`",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\nrate = { up = \"x\" }",
        "`up`",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\nset = { x = \"${y}\" }",
        "there is no variable \"y\"",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\nidle_timeout = 3",
        "`idle_timeout` is a bare number",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\ntls = {}",
        "has no effect without `tls` of the listener: write that, too",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\nname = \"front\"",
        "the listener \"front\" is already on line",
    ),
    (
        "names = [\"a\"]\nupstream = \"up\"\nmax_sessions = 3",
        "unknown key `max_sessions`",
    ),
];

#[test]
fn a_wrong_key_of_a_server_is_named() {
    for (keys, expected) in WRONG {
        let errors = load("upstream = \"up\"", &format!("{SERVER}{keys}"));
        let errors = errors.expect_err(expected);
        assert!(errors.contains(expected), "{expected}:\n{errors}");
    }
    let many = "\"a\", ".repeat(1001);
    let keys = format!("{SERVER}names = [{many}]\nupstream = \"up\"");
    let errors = load("upstream = \"up\"", &keys).expect_err("there are too many");
    assert!(errors.contains("`names` has 1001 entries"), "{errors}");
    let one = format!("{SERVER}names = [\"a\"]\nupstream = \"up\"\n");
    let errors = load("upstream = \"up\"", &one.repeat(2)).expect_err("twice");
    assert!(errors.contains("\"a\" is written twice"), "{errors}");
}

#[test]
fn a_listener_without_a_destination_or_of_datagrams_has_no_servers() {
    let server = format!("{SERVER}names = [\"a\"]\nreturn = \"\"");
    let errors = load("", &server).expect_err("there is no destination");
    assert!(
        errors.contains("`server` has no effect without `upstream` or `return`"),
        "{errors}"
    );
    let text = format!(
        "[[listen]]\naddress = \"udp://127.0.0.1:0\"\nupstream = \"dns\"\n{server}\n[upstream.dns]\npeers = [\"udp://127.0.0.1:1\"]\n"
    );
    let errors = load_text(&text, Path::new("/a.toml"))
        .expect_err("of datagrams")
        .to_string();
    assert!(errors.contains("has no effect on datagrams"), "{errors}");
}

#[test]
fn a_server_has_its_own_settings_and_the_listener_reads_names_for_it() {
    let server = format!(
        "{SERVER}names = [\"A.Example.\", \"${{hostname}}\"]\nreturn = \"${{connection.address}} ${{proxy.port}}\""
    );
    let config = load(
        "upstream = \"up\"\nmax_sessions_per_address = 3\nrate = { up = \"1KiB\" }",
        &server,
    );
    let config = config.expect("it is right");
    let [front, server] = &config.listeners[..] else {
        panic!("{:?}", config.listeners);
    };
    assert!(front.is_bound() && !server.is_bound());
    assert_eq!(
        (server.name.as_str(), server.host.as_deref()),
        ("front/a.example", Some("front"))
    );
    assert!(front.stream.preread.is_some() && server.stream.preread.is_none());
    assert!(front.uses.connection && front.uses.header);
    assert!(front.stream.rate.is_some() && server.stream.rate.is_none());
    assert_eq!(server.max_sessions_per_address, None);
    assert!(!server.continues(front) && server.continues(server));
}

#[test]
fn servers_behind_one_address_have_a_thousand_patterns_in_all() {
    let server = |letter: char, count: usize| {
        let names = (0..count).map(|at| format!("'~^{letter}{at}$'"));
        let names = names.collect::<Vec<_>>().join(", ");
        format!("{SERVER}names = [{names}]\nreturn = \"\"\n")
    };
    let many = server('a', 600) + &server('b', 400);
    assert!(load("upstream = \"up\"", &many).is_ok());
    let errors = load("upstream = \"up\"", &(many + &server('c', 1)));
    let errors = errors.expect_err("one too many");
    let expected = "`names`: there are over 1000 patterns for one address";
    assert!(errors.contains(expected), "{errors}");
}

#[test]
fn a_server_behind_a_listener_that_rejects_every_handshake_needs_its_own_tls() {
    let server = format!("{SERVER}names = [\"a\"]\nreturn = \"\"");
    let errors = load("return = \"\"\ntls = { reject = true }", &server);
    let errors = errors.expect_err("every handshake would be refused");
    assert!(
        errors.contains("give this server a `tls` with a certificate"),
        "{errors}"
    );
}

#[test]
fn places_of_servers_count_among_those_of_listeners() {
    let servers = (0..256).map(|at| format!("{SERVER}names = [\"n{at}\"]\nreturn = \"\"\n"));
    let servers = servers.collect::<String>();
    let listeners = (0..256).map(|at| {
        format!(
            "[[listen]]\nname = \"l{at}\"\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"\"\n{servers}"
        )
    });
    let text = listeners.collect::<String>();
    let errors = load_text(&text, Path::new("/a.toml")).expect_err("there are too many");
    let expected = "there are too many listeners and servers behind them";
    assert!(errors.to_string().contains(expected), "{errors}");
}

#[test]
fn a_group_of_another_server_is_warned_of() {
    let server =
        |names: &str, text: &str| format!("{SERVER}names = [{names}]\nreturn = \"{text}\"\n");
    let one = server("\"~^(?<word>a+)$\"", "${match.word} ${match.1}");
    let other = server("\"~^b$\"", "${match.word} ${match.0}");
    let text = format!(
        "[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"${{match.1}}\"\n{one}{other}"
    );
    let loaded = load_text(&text, Path::new("/a.toml")).expect("it is right");
    let warned = |listener: &str, line: u32, group: &str| {
        format!(
            "listener {listener:?} (line {line}): no pattern among its `names` has a group {group:?}, so ${{match.{group}}} is empty there"
        )
    };
    let expected = [warned("front", 4, "1"), warned("front/~^b$", 10, "word")];
    let warnings = loaded.warnings.into_iter();
    let warnings = warnings.filter(|it| it.starts_with("listener"));
    assert_eq!(warnings.collect::<Vec<_>>(), expected);
}

/// A file with this number of listeners, servers behind each, and names of each server, in order of the listeners.
fn crowd(listeners: usize, servers: usize, names: usize) -> String {
    let mut text = String::new();
    let mut number = 0;
    for listener in 0..listeners {
        text += &format!(
            "[[listen]]\nname = \"front{listener}\"\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"\"\n"
        );
        for _ in 0..servers {
            let names = (0..names).map(|_| {
                number += 1;
                format!("\"a{number}.example\", ")
            });
            let names: String = names.collect();
            text += &format!("[[listen.server]]\nnames = [{names}]\nreturn = \"\"\n");
        }
    }
    text
}

#[test]
fn twenty_thousand_names_are_no_work() {
    for (listeners, servers, names) in [(1, 20, 1000), (100, 200, 1), (10_000, 1, 2)] {
        let begun = std::time::Instant::now();
        let loaded = load_text(&crowd(listeners, servers, names), Path::new("/a.toml"));
        let config = loaded.expect("it is right").config;
        assert_eq!(config.listeners.len(), listeners * (servers + 1));
        // Quadratic work would take minutes.
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
    }
}
