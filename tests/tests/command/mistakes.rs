//! Each row of `docs/guide/mistakes.md` names a mistake that a test makes.

use std::fs;
use std::path::{Path, PathBuf};

/// What the rows of a table begin with, and the test that makes these mistakes: its file and name.
const MADE: &[(&[&str], &str, &str)] = &[
    (
        &[
            "`[listen]`",
            "no listener",
            "JSON or YAML instead of TOML",
            "`127.0.0.1:7000`",
            "`ws://…` as an address",
            "`framing = \"line\"`",
            "a key that is none",
            "`10s` without quotes",
            "`https://` without a certificate",
            "a folder or script that is not there",
        ],
        "command/first.rs",
        "mistakes_in_the_first_configuration_have_a_hint",
    ),
    (
        &["`moorline serve` for sessions without an app"],
        "command/first.rs",
        "the_command_without_an_app_says_how_to_have_one",
    ),
    (
        &["`#[tokio::main]` before `main`"],
        "command/first.rs",
        "a_main_within_a_runtime_is_told_to_leave_it",
    ),
    (
        &["`serve main.lua`", "`run moorline.toml`"],
        "command/first.rs",
        "a_script_is_no_configuration_and_a_configuration_no_script",
    ),
    (
        &[
            "a script without `skynet.start` or `moorline.serve`",
            "the new code does not start",
        ],
        "services/sessions.rs",
        "a_reload_with_a_broken_script_says_where_it_is_broken_and_changes_nothing",
    ),
    (
        &["the port is taken"],
        "command/command.rs",
        "a_port_that_is_taken_is_named_and_nothing_is_left_behind",
    ),
    (
        &["the engine runs already"],
        "command/command.rs",
        "a_second_engine_of_the_same_configuration_is_refused_and_the_first_unharmed",
    ),
    (
        &["too few open files"],
        "limits/descriptors.rs",
        "check_and_serve_say_how_many_open_files_are_needed_and_allowed",
    ),
    (
        &["`start`, `restart`"],
        "command/first.rs",
        "words_of_other_programs_are_understood",
    ),
    (
        &["no engine, or another configuration"],
        "command/first.rs",
        "commands_for_an_engine_that_does_not_run_say_how_to_reach_one",
    ),
    (
        &["another user"],
        "command/first.rs",
        "a_command_about_the_engine_of_another_user_says_whose_it_is",
    ),
    (
        &[
            "the new program is not there",
            "the new program is for another machine, or no app",
        ],
        "command/first.rs",
        "a_reload_into_something_that_is_no_app_says_what_is_wrong_and_the_client_stays",
    ),
    (
        &[
            "a browser at a TCP listener",
            "the wrong path",
            "a plain request to a WebSocket path",
            "a page of another site",
        ],
        "command/first.rs",
        "clients_of_another_protocol_are_told_or_named_in_the_log",
    ),
    (
        &[
            "TLS at a plain listener",
            "a length that counts the other way",
        ],
        "hostile/input.rs",
        "input_that_breaks_a_framing_is_logged_with_its_first_bytes_and_a_guess",
    ),
];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The first cells of all rows of the page.
fn listed() -> Vec<String> {
    let page = tests().join("../../docs/guide/mistakes.md");
    let text = fs::read_to_string(page).expect("the page is there");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| Some(row.split_once(" | ")?.0.to_owned()));
    let is_row = |cell: &String| cell != "mistake" && cell != "---";
    cells.filter(is_row).collect()
}

#[test]
fn each_mistake_of_the_page_is_made_by_a_test_and_no_others_are_claimed() {
    let mut listed = listed();
    let made = MADE.iter().flat_map(|(mistakes, ..)| *mistakes);
    let mut made: Vec<_> = made.map(ToString::to_string).collect();
    listed.sort();
    made.sort();
    assert_eq!(listed, made);
    for (mistakes, file, name) in MADE {
        let source = fs::read_to_string(tests().join(file)).expect("the tests have the file");
        let is_there = source.contains(&format!("#[test]\nfn {name}() {{"));
        assert!(is_there, "no test {name} in {file} makes {mistakes:?}");
    }
}
