//! `cargo xtask check`: a fast look, before a commit, at what has changed. `test` is the whole.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::steps::{Failure, cargo, root, seconds};

/// Check formatting and lints and run the unit tests, of the packages that have changed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// Since the last commit shared with this branch; without it `main`
    #[arg(long)]
    since: Option<String>,
}

/// Stops at the first command that fails.
pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let began = Instant::now();
    let changed = changed(args.since.as_deref())?;
    cargo("fmt --all --check").run()?;
    let selected = match &changed {
        Changed::Workspace => "--workspace".to_owned(),
        Changed::Packages(packages) if packages.is_empty() => {
            println!("no package has changed");
            return Ok(());
        }
        Changed::Packages(packages) => {
            let arguments: Vec<String> = packages.iter().map(Package::argument).collect();
            arguments.join(" ")
        }
    };
    let clippy = format!("clippy {selected} --all-targets --locked -- -D warnings");
    cargo(&clippy).run()?;
    // The tests within the sources; those in folders of their own start processes or take long. Cargo refuses `--lib`
    // where no package has one.
    let lib = match &changed {
        Changed::Packages(packages) if !packages.iter().any(Package::has_lib) => "",
        _ => "--lib ",
    };
    let tests = format!("nextest run {selected} {lib}--bins --locked --no-tests pass");
    cargo(&tests).run()?;
    println!("{changed} checked in {}", seconds(began.elapsed()));
    Ok(())
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
enum Changed {
    /// A file that all packages are built with.
    Workspace,
    Packages(BTreeSet<Package>),
}

/// The files that all packages are built with.
const SHARED: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo/config.toml",
];

impl Changed {
    /// What these files belong to.
    fn by<'a>(files: impl Iterator<Item = &'a str>) -> Self {
        let mut packages = BTreeSet::new();
        for file in files {
            if SHARED.contains(&file) {
                return Self::Workspace;
            }
            packages.extend(Package::of(file));
        }
        Self::Packages(packages)
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workspace => f.write_str("all packages"),
            Self::Packages(packages) => write!(f, "{} packages", packages.len()),
        }
    }
}

/// What differs from the last commit shared with a branch, in the tree or not yet added.
fn changed(since: Option<&str>) -> Result<Changed, Failure> {
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
    Ok(Changed::by(files))
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

    #[test]
    fn a_manifest_or_a_lock_file_at_the_root_changes_every_package() {
        let by = |files: &[&str]| Changed::by(files.iter().copied());
        assert_eq!(by(&["README.md", "Cargo.toml"]), Changed::Workspace);
        assert_eq!(by(&["Cargo.lock"]), Changed::Workspace);
        let Changed::Packages(packages) = by(&["README.md", "xtask/Cargo.toml"]) else {
            panic!("no file of all packages");
        };
        assert_eq!(packages.len(), 1);
    }
}
