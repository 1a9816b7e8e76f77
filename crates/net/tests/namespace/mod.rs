//! Running a test in a process with networks and files of its own.

use std::fs;
use std::process::Command;

/// Set in the process that [`alone`] starts.
const INSIDE: &str = "MOORLINE_TEST_NAMESPACE";

/// Runs `inside`, in a runtime of its own, where port 53 is free, `/etc` is empty but for the files of a resolver that
/// asks 127.0.0.1, and `lo` is the only interface. `test` is the name of the test that calls this.
pub(crate) fn alone(test: &str, inside: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        return tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(inside());
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    // That it was found there by its name.
    assert!(said.contains("1 passed"), "{said}\n{complained}");
}

fn prepare() {
    run("ip", "link set lo up");
    run("mount", "-t tmpfs tmpfs /etc");
    fs::write("/etc/nsswitch.conf", "hosts: files dns\n").unwrap();
    fs::write("/etc/hosts", "").unwrap();
    // A try of getaddrinfo takes as long as a whole test may.
    let patient = "nameserver 127.0.0.1\noptions timeout:30 attempts:2\n";
    fs::write("/etc/resolv.conf", patient).unwrap();
}

/// Runs a program that must succeed.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &str) {
    let status = Command::new(program)
        .args(arguments.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments}");
}
