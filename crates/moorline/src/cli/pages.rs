//! The pages about the command line are right: the reference is written from the arguments, and every command that a page
//! shows is one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::builder::ValueRange;
use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory};

use super::Cli;

const HEAD: &str = "\
# Command line

This page lists every command with its arguments, as `--help` does. A test compares it with the program, and `cargo xtask docs`
writes it. [Commands](../guide/commands.md) tells what they do, and the signals.

Every app in Rust has these commands, except `run`, `demo`, `top`, `import`, `bench`, `dial`, `completions` and `man`, which need the features
`lua`, `demo`, `top`, `import`, `tools` and `manual`. CONFIG is a TOML file, or a folder with `moorline.toml`; without it, the `moorline.toml` in this folder. The exit code is 0 for
success, 1 if the command failed, and 2 if its arguments or the configuration are wrong.
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_reference_of_the_command_line_is_current() {
    let path = root().join("docs/reference/command-line.md");
    let page = reference();
    if env::var_os("MOORLINE_WRITE_PAGES").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/reference/command-line.md is not current: write it with `cargo xtask docs`"
    );
}

fn reference() -> String {
    let mut command = Cli::command();
    command.build();
    let mut page = HEAD.to_owned();
    for command in command
        .get_subcommands()
        .filter(|one| one.get_name() != "help")
    {
        describe(command, &mut page);
    }
    page
}

fn describe(command: &Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or_default();
    let heading = name.split_once(' ').map_or(name, |(_, rest)| rest);
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    // A string takes every write.
    let _ = write!(
        page,
        "\n## {heading}\n\n{}\n\n```text\n{usage}\n```\n",
        sentence(&about)
    );
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let mut rows = command.get_arguments().filter(shown).peekable();
    if rows.peek().is_some() {
        page.push_str("\n| argument | what it does | default |\n| --- | --- | --- |\n");
    }
    for arg in rows {
        page.push_str(&row(arg));
    }
    for command in command
        .get_subcommands()
        .filter(|one| one.get_name() != "help")
    {
        describe(command, page);
    }
}

fn row(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help());
    let help = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let mut values = arg.get_possible_values();
    values.retain(|value| !value.is_hide_set());
    let takes_values = arg
        .get_num_args()
        .is_none_or(|count| count != ValueRange::EMPTY);
    let values = match takes_values && !values.is_empty() {
        true => {
            let told: Vec<String> = values
                .iter()
                .map(|value| match value.get_help() {
                    Some(help) => format!(
                        "`{}` ({})",
                        value.get_name(),
                        help.to_string().trim_end_matches('.')
                    ),
                    None => format!("`{}`", value.get_name()),
                })
                .collect();
            format!(" One of: {}.", told.join(", "))
        }
        false => String::new(),
    };
    let defaults = arg.get_default_values();
    let default = match (takes_values, defaults) {
        (true, [value, ..]) => format!("`{}`", value.to_string_lossy()),
        _ => String::new(),
    };
    let text = format!("{help}{values}").replace('|', "\\|");
    format!("| `{arg}` | {text} | {default} |\n")
}

/// The text in one line, as a sentence.
fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.is_empty() || text.ends_with(['.', '?', '!']) {
        true => text,
        false => format!("{text}."),
    }
}

#[test]
fn every_command_of_the_pages_is_understood() {
    let mut pages = vec![root().join("README.md")];
    collect(&root().join("docs"), &mut pages);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page can be read");
        for CommandShown { command, is_whole } in commands(&text) {
            count += 1;
            // A sentence may leave out what stands behind a command or an option.
            let is_complete = |kind: ErrorKind| {
                is_whole
                    || !matches!(
                        kind,
                        ErrorKind::MissingRequiredArgument | ErrorKind::InvalidValue
                    )
            };
            if let Err(error) = Cli::command().try_get_matches_from(words(&command))
                && error.use_stderr()
                && is_complete(error.kind())
            {
                wrong.push(format!("{}: {command}\n{error}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 20, "only {count} commands are found");
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder)
        .expect("a folder can be read")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
}

/// A command on a page.
struct CommandShown {
    command: String,
    /// It is to be typed as it is.
    is_whole: bool,
}

/// What a page tells to type: lines of its blocks that begin with the command, and the same in backticks.
fn commands(page: &str) -> Vec<CommandShown> {
    let joined = page.replace("\\\n", " ");
    let mut found: Vec<CommandShown> = Vec::new();
    let mut is_code = false;
    for line in joined.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            let line = line.trim_start_matches("$ ").trim_start_matches("sudo ");
            let own = line.starts_with("moorline ").then_some(line);
            // These examples have arguments of their own.
            let is_other = ["--example dial ", "--example chat-client "]
                .iter()
                .any(|other| line.contains(other));
            let by_cargo = (line.starts_with("cargo run ") && !is_other)
                .then(|| line.split_once(" -- "))
                .flatten()
                .map(|(_, rest)| format!("moorline {rest}"));
            let command = own.map(str::to_owned).or(by_cargo);
            found.extend(command.map(|command| CommandShown {
                command,
                is_whole: true,
            }));
        } else {
            let quoted = line.split('`').skip(1).step_by(2);
            // A sentence may name a part of it: `moorline import` needs a file.
            let whole = quoted
                .filter(|text| text.starts_with("moorline ") && text.matches(' ').count() > 1);
            found.extend(whole.map(|command| CommandShown {
                command: command.to_owned(),
                is_whole: false,
            }));
        }
    }
    // What a table leaves open is no command: `moorline top [CONFIG]`.
    found.retain(|CommandShown { command, .. }| {
        !command.starts_with("moorline = ") && !command.contains(['[', '<', '…'])
    });
    found
}

/// The words of a line, as a shell splits them, up to a pipe, a redirection or a comment.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '|' | '>' | '&' | ';') => break,
            (None, '#') if word.is_empty() => break,
            (None, ' ') => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()))
            }
            _ => word.push(letter),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[test]
fn commands_are_found_in_blocks_and_in_backticks() {
    let page = "A `moorline serve a.toml`, and `moorline import` reads.\n\n```sh\n\
        cargo run --release -- bench echo x \\\n    --size 2 # c\n$ moorline run 'a b' | less\n```\n";
    let found = commands(page);
    let split: Vec<Vec<String>> = found.iter().map(|shown| words(&shown.command)).collect();
    assert_eq!(
        split,
        [
            vec!["moorline", "serve", "a.toml"],
            vec!["moorline", "bench", "echo", "x", "--size", "2"],
            vec!["moorline", "run", "a b"],
        ]
    );
}
