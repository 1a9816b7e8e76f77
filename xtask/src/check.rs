//! `cargo xtask check`: a fast look, before a commit, at what has changed. `test` is the whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::steps::{Failure, cargo, root, seconds};

/// Check formatting and lints and run the unit tests, of the packages that have changed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Since the last commit shared with this branch; without it `main`
    #[arg(long)]
    since: Option<String>,
}

/// Stops at the first command that fails.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let began = Instant::now();
    let packages = changed(args.since.as_deref())?;
    cargo("fmt --all --check").run()?;
    if packages.is_empty() {
        println!("no package has changed");
        return Ok(());
    }
    let selected: Vec<String> = packages.iter().map(Package::argument).collect();
    let selected = selected.join(" ");
    let clippy = format!("clippy {selected} --all-targets --locked -- -D warnings");
    cargo(&clippy).run()?;
    // The tests within the sources; those in folders of their own start processes or take long. Cargo refuses `--lib`
    // where no package has one.
    let lib = match packages.iter().any(Package::has_lib) {
        true => "--lib ",
        false => "",
    };
    let tests = format!("nextest run {selected} {lib}--bins --locked --no-tests pass");
    cargo(&tests).run()?;
    println!(
        "{} packages checked in {}",
        packages.len(),
        seconds(began.elapsed())
    );
    Ok(())
}

/// The packages with a file that differs from the last commit shared with a branch, in the tree or not yet added.
fn changed(since: Option<&str>) -> Result<Vec<Package>, Failure> {
    let base = match since {
        Some(branch) => git(&["merge-base", "HEAD", branch])?,
        None => ["main", "origin/main"]
            .iter()
            .find_map(|branch| git(&["merge-base", "HEAD", branch]).ok())
            .unwrap_or_else(|| "HEAD".to_owned()),
    };
    let differing = git(&["diff", "--name-only", base.trim()])?;
    let new = git(&["ls-files", "--others", "--exclude-standard"])?;
    let files = differing.lines().chain(new.lines());
    let packages: BTreeSet<Package> = files.filter_map(Package::of).collect();
    Ok(packages.into_iter().collect())
}

/// A package of the workspace.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    folder: PathBuf,
}

impl Package {
    /// The package that a file belongs to.
    fn of(file: &str) -> Option<Self> {
        let mut folders = file.split('/');
        let folder = match folders.next()? {
            "crates" => root().join("crates").join(folders.next()?),
            first => root().join(first),
        };
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
        let name = manifest
            .lines()
            .find_map(|line| line.strip_prefix("name = \""))?;
        let name = name.trim_end_matches('"').to_owned();
        // The fuzz targets are a workspace of their own.
        (name != "moorline-fuzz").then_some(Self { name, folder })
    }

    fn argument(&self) -> String {
        format!("--package {}", self.name)
    }

    fn has_lib(&self) -> bool {
        self.folder.join("src/lib.rs").exists()
    }
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
        let name = |file| Package::of(file).map(|package| package.name);
        assert_eq!(
            name("crates/ipc/src/lib.rs").as_deref(),
            Some("moorline-ipc")
        );
        assert_eq!(name("xtask/src/main.rs").as_deref(), Some("xtask"));
        assert_eq!(name("README.md"), None);
        assert_eq!(name("fuzz/replay.rs"), None);
    }
}
