//! What the tests need and Rust does not bring: installed when root, named otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::steps::{Failure, cargo, program};

/// Debian's packages, each with a test that runs it: two tabs on the chat page (`tests/tests/examples/chat.rs`), networks of its own
/// and a wire that loses packets (`crates/net/tests/namespaces.rs`), a TLS peer that shares no code with ours (`tests/tests/command/dial.rs`,
/// `tests/tests/tls`), and what runs the unit (`tests/tests/system/service.rs`).
const DEBIAN: &[&str] = &["chromium", "iproute2", "openssl", "socat", "systemd"];

/// Cargo's own tools, as package and subcommand.
const CARGO: &[(&str, &str)] = &[("cargo-nextest", "nextest")];

/// Installs what is missing as root; anyone else is told the commands, and the step fails.
pub(crate) fn install() -> Result<(), Failure> {
    for component in ["fmt", "clippy"] {
        if !cargo(&format!("{component} --version")).succeeds() {
            return Err(Failure(format!(
                "`cargo {component}` is missing; install it with:\n  rustup component add rustfmt clippy"
            )));
        }
    }
    debian_packages()?;
    for (package, subcommand) in CARGO {
        cargo_tool(package, subcommand)?;
    }
    let names = DEBIAN
        .iter()
        .chain(CARGO.iter().map(|(package, _)| package));
    println!("have: {}", names.copied().collect::<Vec<_>>().join(", "));
    Ok(())
}

fn debian_packages() -> Result<(), Failure> {
    let missing: Vec<&str> = DEBIAN
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        let names = missing.join(" ");
        return Err(Failure(format!(
            "the tests need Debian's {names}; install it as root with:\n  \
             apt-get update && apt-get install -y --no-install-recommends {names}\n\
             or run `cargo xtask test` as root"
        )));
    }
    program("apt-get", ["update"]).run()?;
    let arguments = ["install", "-y", "--no-install-recommends"];
    program("apt-get", arguments.into_iter().chain(missing))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// Whether dpkg has it configured; a package that was removed but has files left does not count.
fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

/// Builds one of cargo's tools if it is missing: into the user's own folder, so root is not needed.
pub(crate) fn cargo_tool(package: &str, subcommand: &str) -> Result<(), Failure> {
    if cargo(&format!("{subcommand} --version")).succeeds() {
        return Ok(());
    }
    println!("{package} is missing; building it takes some minutes");
    cargo(&format!("install --locked {package}")).run()
}

pub(crate) fn is_root() -> bool {
    // This process's folder belongs to the user that it runs as.
    fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}
