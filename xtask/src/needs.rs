//! What the tests need and Rust does not bring: installed when root, named otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::steps::{Failure, cargo, program, root};

/// Debian's packages, each with a test that runs it: two tabs on the chat page (`tests/tests/examples/chat.rs`), networks of its own
/// and a wire that loses packets (`crates/net/tests/namespaces.rs`), a TLS peer that shares no code with ours (`tests/tests/command/dial.rs`,
/// `tests/tests/tls`), proxies whose behaviour is compared (`tests/tests/proxy`, `tests/tests/import`), what runs the unit (`tests/tests/system/service.rs`), databases (`tests/tests/services`), NATS (`tests/tests/cluster`), what
/// reads metrics (`tests/tests/system/watching.rs`), and clients of others (`tests/tests/clients`).
const DEBIAN: &[&str] = &[
    "ca-certificates",
    "chromium",
    "curl",
    "haproxy",
    "iproute2",
    "libnginx-mod-stream",
    "mariadb-server",
    "nats-server",
    "nginx-light",
    "openssl",
    "prometheus",
    "python3-websockets",
    "redis-server",
    "socat",
    "systemd",
];

/// Programs that may come from elsewhere, and Debian's packages for those who have none.
const PROGRAMS: &[(&str, &str)] = &[("node", "nodejs"), ("npm", "npm")];

/// JavaScript clients, as their lock file names them.
const NPM: &str = "tests/clients";

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
    npm_packages()?;
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
        .chain(PROGRAMS.iter().filter_map(|(name, package)| {
            (!program(name, ["--version"]).succeeds()).then_some(*package)
        }))
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

/// Installs them beside their lock file, unless that is done. Needs no root.
fn npm_packages() -> Result<(), Failure> {
    let folder = root().join(NPM);
    let read = |name: &str| fs::read(folder.join(name)).ok();
    let done = "node_modules/.installed";
    if read(done).is_some_and(|done| read("package-lock.json") == Some(done)) {
        return Ok(());
    }
    let arguments = ["ci", "--prefix", NPM, "--no-audit", "--no-fund"];
    program("npm", arguments).run()?;
    fs::copy(folder.join("package-lock.json"), folder.join(done))
        .map(drop)
        .map_err(|error| Failure(format!("cannot write {NPM}/{done}: {error}")))
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
