//! Lua scripts, run by the program.

use moorline_tests::{Finish, Finished, Site};

/// Runs `main.lua` of these files on one loop, until it ends.
pub(crate) fn run(files: &[(&str, &str)]) -> Finished {
    run_with(files, &[])
}

/// Runs it with more arguments: options before `main.lua` are not possible here.
pub(crate) fn run_with(files: &[(&str, &str)], options: &[&str]) -> Finished {
    let site = Site::new("moorline", "");
    for (name, text) in files {
        site.write(name, text);
    }
    let mut arguments = vec!["run"];
    arguments.extend(options);
    arguments.push("main.lua");
    site.command(&arguments).finish()
}

/// A main script whose start function is this text. It ends the process.
pub(crate) fn main_of(body: &str) -> String {
    format!(
        "local skynet = require 'skynet'\nrequire 'skynet.manager'\nskynet.start(function()\n{body}\nskynet.abort()\nend)\n"
    )
}

/// Runs a start function, which fails or prints `done` at its end.
#[track_caller]
pub(crate) fn passes(body: &str, others: &[(&str, &str)]) {
    for loops in ["1", "2"] {
        let main = main_of(&format!("{body}\nprint 'done'"));
        let mut files = vec![("main.lua", main.as_str())];
        files.extend(others);
        let finished = run_with(&files, &["--loops", loops]);
        assert!(finished.status.success(), "{finished:#?}");
        assert!(finished.stdout.ends_with("done\n"), "{finished:#?}");
    }
}

/// A service that answers calls: each command is a function of the table `C`.
pub(crate) fn service(commands: &str) -> String {
    format!(
        "local skynet = require 'skynet'\nlocal C = {{}}\n{commands}\n\
         skynet.start(function()\nskynet.dispatch('lua', function(session, source, cmd, ...)\n\
         C[cmd](session, source, ...)\nend)\nend)\n"
    )
}
