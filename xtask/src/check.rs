//! `cargo xtask check`: a fast look at what has changed since `main`, before a commit. `test` is the whole.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::steps::{self, Failure, Step, cargo, root};

const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "unit tests",
        run: unit_tests,
    },
];

/// Runs every step; stops at the first that fails.
pub(crate) fn run() -> Result<(), Failure> {
    let packages = changed()?;
    if packages.is_empty() {
        println!("no package has changed since `main`");
        return format();
    }
    println!("changed since `main`: {}", packages.join(", "));
    steps::run(STEPS)
}

fn format() -> Result<(), Failure> {
    cargo("fmt --all --check").run()
}

fn clippy() -> Result<(), Failure> {
    let packages = selected()?;
    cargo(&format!(
        "clippy {packages} --all-targets --locked -- -D warnings"
    ))
    .run()
}

/// The tests within the sources; those in folders of their own start processes or take long.
fn unit_tests() -> Result<(), Failure> {
    let packages = selected()?;
    cargo(&format!(
        "nextest run {packages} --lib --bins --locked --no-tests pass"
    ))
    .run()
}

/// The changed packages as arguments.
fn selected() -> Result<String, Failure> {
    let packages: Vec<String> = changed()?
        .iter()
        .map(|name| format!("--package {name}"))
        .collect();
    Ok(packages.join(" "))
}

/// The packages with a file that differs from the last commit shared with `main`, in the tree or not yet added.
fn changed() -> Result<Vec<String>, Failure> {
    let bases = ["main", "origin/main"].into_iter();
    let base = bases
        .filter_map(|branch| git(&["merge-base", "HEAD", branch]).ok())
        .next()
        .unwrap_or_else(|| "HEAD".to_owned());
    let differing = git(&["diff", "--name-only", base.trim()])?;
    let new = git(&["ls-files", "--others", "--exclude-standard"])?;
    let names: BTreeSet<String> = differing
        .lines()
        .chain(new.lines())
        .filter_map(package)
        .collect();
    Ok(names.into_iter().collect())
}

/// The package that a file belongs to.
fn package(file: &str) -> Option<String> {
    let mut folders = file.split('/');
    let folder = match folders.next()? {
        "crates" => format!("crates/{}", folders.next()?),
        first => first.to_owned(),
    };
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).ok()?;
    let name = manifest
        .lines()
        .find_map(|line| line.strip_prefix("name = \""))?;
    let name = name.trim_end_matches('"');
    // Of a workspace of its own.
    (name != "moorline-fuzz").then(|| name.to_owned())
}

fn git(arguments: &[&str]) -> Result<String, Failure> {
    let failed = |why: String| Failure(format!("`git {}` failed: {why}", arguments.join(" ")));
    let output = Command::new("git")
        .current_dir(root())
        .args(arguments)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_package_of_its_folder() {
        assert_eq!(
            package("crates/ipc/src/lib.rs").as_deref(),
            Some("moorline-ipc")
        );
        assert_eq!(package("xtask/src/main.rs").as_deref(), Some("xtask"));
        assert_eq!(package("README.md"), None);
        assert_eq!(package("fuzz/replay.rs"), None);
    }
}
