//! The unit in `contrib`, run by a real systemd: the one that is installed, started as the first process of namespaces
//! of its own. It sees this machine's files, cannot write to any outside the test's folder, and reads no other units.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use support::{Finish, Finished, Site, eventually, require_root};

const UNIT: &str = "moorline@chat.service";
/// Where systemd sees the site's folder.
const FOLDER: &str = "/run/site";

const CONFIG: &str = r#"
[engine]
run_dir = "/run/moorline-chat"
[workers]
count = 1
[[listen]]
address = "tcp://127.0.0.1:9501"
framing = { kind = "length" }
"#;

/// Makes everything but the site's folder read-only or new and empty, then becomes systemd.
const BOOT: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/site
mount --bind "$1" /mnt/site
mount -t tmpfs tmpfs /run
mkdir /run/site
mount --bind /mnt/site /run/site
umount -l /mnt
for folder in /tmp /var /root; do mount -t tmpfs tmpfs $folder; done
mount -o remount,bind,ro /
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=moorline-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH=/run/site/units SYSTEMD_GENERATOR_PATH=/run/site/none \
    /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=false
"#;

/// A machine of its own, as far as systemd can tell.
struct Machine {
    site: Arc<Site>,
    namespaces: Child,
}

impl Machine {
    /// Starts systemd, which starts the unit.
    fn boot() -> Self {
        require_root("only root can start a systemd");
        let site = Site::new("probe", CONFIG);
        // What a unit depends on without saying so.
        for target in ["sysinit", "basic", "shutdown"] {
            site.write(
                &format!("units/{target}.target"),
                "[Unit]\nDefaultDependencies=no\n",
            );
        }
        let wants = format!("[Unit]\nDefaultDependencies=no\nWants={UNIT}\n");
        site.write("units/test.target", wants);
        let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib");
        let unit = fs::read_to_string(contrib.join("moorline@.service")).expect("it is there");
        let unit = unit
            .replace("/usr/local/bin/%i", &format!("{FOLDER}/app"))
            .replace("/etc/moorline/%i.toml", &format!("{FOLDER}/moorline.toml"));
        site.write("units/moorline@.service", unit);
        site.write("boot", BOOT);
        let log = fs::File::create(site.path("stderr")).expect("the folder can be written");
        let namespaces = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--mount", "--cgroup", "--ipc", "--uts", "--net", "sh"])
            .args([site.path("boot"), site.path("")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("unshare is part of every Debian");
        Self { site, namespaces }
    }

    /// A command on this machine.
    fn run(&self, command: &[&str]) -> Finished {
        let first = self.first_process().unwrap_or_else(|| {
            panic!("systemd has not started: {}", self.site.log());
        });
        Command::new("nsenter")
            .args(["--target", &first, "--mount", "--pid", "--net", "--ipc"])
            .args(["--uts", "--cgroup"])
            .args(command)
            .stdin(Stdio::null())
            .finish()
    }

    fn systemctl(&self, verb: &str) -> Finished {
        self.run(&["systemctl", verb, UNIT])
    }

    /// What systemd knows of the unit.
    fn shows(&self, property: &str) -> String {
        let shown = self.run(&["systemctl", "show", "--value", "-p", property, UNIT]);
        shown.stdout.trim().to_owned()
    }

    /// systemd, as seen from outside.
    fn first_process(&self) -> Option<String> {
        let pid = self.namespaces.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Some(children.split_whitespace().next()?.to_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- systemd's log ---\n{}", self.site.log());
        }
        // All processes of a pid namespace end with its first.
        if let Some(first) = self.first_process().and_then(|pid| pid.parse().ok()) {
            support::kill(first, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
    }
}

#[test]
fn a_real_systemd_starts_reloads_and_stops_the_unit() {
    let machine = Machine::boot();
    let is_active =
        || machine.first_process().is_some() && machine.systemctl("is-active").stdout == "active\n";
    eventually("the unit is active", is_active);
    // Active only once the engine serves.
    assert_eq!(machine.shows("StatusText"), "generation 1 serves");
    let status = machine.run(&[
        &format!("{FOLDER}/app"),
        "status",
        "--run-dir",
        "/run/moorline-chat",
    ]);
    assert!(status.expect_success().stdout.contains("worker 0"));

    machine.systemctl("reload").expect_success();
    assert_eq!(machine.shows("StatusText"), "generation 2 serves");

    // A reload that fails is told, and what served goes on.
    machine.site.write("moorline.toml", "nonsense");
    assert!(!machine.systemctl("reload").status.success());
    assert_eq!(machine.shows("ReloadResult"), "exit-code");
    assert_eq!(machine.shows("StatusText"), "generation 2 serves");
    assert_eq!(machine.systemctl("is-active").stdout, "active\n");

    // An engine that dies is started again.
    machine.site.configure(CONFIG);
    let before = machine.shows("MainPID");
    machine.run(&["kill", "-KILL", &before]).expect_success();
    eventually("it is started again", || {
        let now = machine.shows("MainPID");
        is_active() && now != before && now != "0"
    });

    machine.systemctl("stop").expect_success();
    assert_eq!(machine.shows("ActiveState"), "inactive");
    assert_eq!(machine.shows("Result"), "success");
}
