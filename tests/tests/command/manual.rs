//! Completions for shells, and man pages.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use moorline_tests::{Finish, Site};

#[test]
fn each_shell_gets_completions_that_name_every_command() {
    let site = Site::new("moorline", "");
    for shell in ["bash", "zsh", "fish"] {
        let finished = site.command(&["completions", shell]).finish();
        let script = finished.expect_success().stdout;
        for word in ["serve", "reload", "upstreams", "--run-dir"] {
            let word = match shell {
                "fish" => word.trim_start_matches('-'),
                _ => word,
            };
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    site.command(&["completions", "tcsh"])
        .finish()
        .expect_refusal(&["tcsh", "bash"]);
}

#[test]
fn bash_completes_a_command_by_its_beginning() {
    let site = Site::new("moorline", "");
    let script = site.command(&["completions", "bash"]).finish();
    site.write("completions", script.expect_success().stdout);
    let ask = "source ./completions; COMP_WORDS=(moorline relo); COMP_CWORD=1; \
        _moorline moorline relo moorline; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    let bash = bash.args(["--norc", "-c", ask]).current_dir(site.path(""));
    assert_eq!(bash.finish().expect_success().stdout, "reload\n");
}

#[test]
fn man_pages_are_written_for_every_command() {
    let site = Site::new("moorline", "");
    let wrote = site.command(&["man", "man1"]).finish();
    wrote.expect_success();
    let names = fs::read_dir(site.path("man1")).expect("the folder was made");
    let names: BTreeSet<String> = names
        .map(|entry| entry.expect("it can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    for name in ["moorline.1", "moorline-serve.1", "moorline-upstreams-set.1"] {
        assert!(names.contains(name), "{names:?}");
    }
    let page = fs::read_to_string(site.path("man1/moorline-drain.1")).expect("it was written");
    assert!(
        page.contains(".TH") && page.contains("\\-\\-over"),
        "{page}"
    );
    site.write("file", "");
    let refused = site.command(&["man", "file/man1"]).finish();
    refused.expect_refusal(&["cannot write man pages to file/man1", "hint: "]);
}
