//! Clients that others wrote, and the one for JavaScript of `clients/js`.

mod curl;
mod javascript;
mod others;

use std::path::{Path, PathBuf};
use std::process::Command;

use moorline_tests::{Finish, Finished};

/// Where the JavaScript and Python of these tests is, with what `cargo xtask test` installs there.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Runs a script to its end: each fails for itself if it is not done in time.
#[track_caller]
fn run(program: &str, script: &str, arguments: &[&str]) -> Finished {
    if program == "node" {
        assert!(
            scripts().join("node_modules").exists(),
            "clients are missing: `cargo xtask test` installs them"
        );
    }
    Command::new(program)
        .arg(scripts().join(script))
        .args(arguments)
        .finish()
        .expect_success()
}
