//! The unit in `contrib`, run by a real systemd: the one that is installed, started as the first process of namespaces
//! of its own. It sees this machine's files, cannot write to any outside the test's folder, reads no other units, and
//! rules over a control group that the test has made for it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use moorline_tests::{Finish, Finished, Site, eventually, require_root};

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

/// Gives the machine a control group of its own, makes everything that it sees read-only or new and empty, and becomes
/// systemd. Nothing of this is seen outside of its namespaces.
const BOOT: &str = r#"
set -e
if [ -n "$2" ]; then
    # The group is this process's before it becomes the root of all that is seen.
    echo 0 > "$2/cgroup.procs"
    exec unshare --cgroup sh "$0" "$1"
fi
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/site
mount --bind "$1" /mnt/site
mount -t tmpfs tmpfs /run
mkdir /run/site
mount --bind /mnt/site /run/site
umount -l /mnt
for folder in /tmp /var /root; do mount -t tmpfs tmpfs $folder; done
for device in null zero full random urandom; do
    touch /tmp/$device
    mount --bind /dev/$device /tmp/$device
done
mount --rbind /tmp /dev
umount -l /tmp
mount -t tmpfs tmpfs /tmp
mount -o remount,bind,ro /
umount -l /sys
mount -t sysfs -o ro sysfs /sys
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
exec env -i container=moorline-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH=/run/site/units SYSTEMD_GENERATOR_PATH=/run/site/none \
    /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=false
"#;

/// A machine of its own, as far as systemd can tell.
struct Machine {
    site: Arc<Site>,
    namespaces: Child,
    group: Group,
}

/// A control group below the test's own.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("it is mounted");
        let mut mounts = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let hierarchy = mounts
            .find(|words| words.get(2) == Some(&"cgroup2"))
            .expect("control groups of version 2 are mounted somewhere")[1]
            .to_owned();
        let groups = fs::read_to_string("/proc/self/cgroup").expect("it is mounted");
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = own.expect("the test is in a group");
        let place = Path::new(&hierarchy).join(own).join(name);
        fs::create_dir(&place).expect("root makes groups");
        Self(place)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // All that is left in it, which the end of its first process has ended already.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let removed = || {
            let _ = remove_groups(&self.0);
            !self.0.exists()
        };
        eventually("the machine's control groups are removed", removed);
    }
}

/// Removes a group with those below it.
fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

impl Machine {
    /// Starts systemd, which starts the unit with this configuration.
    fn boot(config: &str) -> Self {
        require_root("only root can start a systemd");
        let site = Site::new("probe", config);
        // What a unit depends on without saying so.
        for target in ["sysinit", "basic", "shutdown"] {
            site.write(
                &format!("units/{target}.target"),
                "[Unit]\nDefaultDependencies=no\n",
            );
        }
        let wants = format!("[Unit]\nDefaultDependencies=no\nWants={UNIT}\n");
        site.write("units/test.target", wants);
        let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib");
        let unit = fs::read_to_string(contrib.join("moorline@.service")).expect("it is there");
        let unit = unit
            .replace("/usr/local/bin/%i", &format!("{FOLDER}/app"))
            .replace("/etc/moorline/%i.toml", &format!("{FOLDER}/moorline.toml"));
        site.write("units/moorline@.service", unit);
        site.write("boot", BOOT);
        let log = fs::File::create(site.path("stderr")).expect("the folder can be written");
        let group = Group::new(&format!("moorline-test-{}", std::process::id()));
        let namespaces = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--mount", "--ipc", "--uts", "--net", "sh"])
            .args([&site.path("boot"), &site.path(""), &group.0])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("unshare is part of every Debian");
        Self {
            site,
            namespaces,
            group,
        }
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

    /// What systemd could do to this machine, it cannot.
    fn touches_nothing_of_the_host(&self) {
        let host = |place: &str| fs::symlink_metadata(place).map(|found| found.ino());
        for place in ["/tmp", "/run", "/var", "/dev", "/sys/fs/cgroup"] {
            let inside = self.run(&["stat", "-c", "%d", place]).expect_success();
            let outside = fs::metadata(place).expect("it is there").dev();
            assert_ne!(inside.stdout.trim(), outside.to_string(), "{place}");
        }
        for place in ["/", "/proc/sys/fs", "/sys/kernel", "/home"] {
            let inside = self.run(&["touch", &format!("{place}/moorline-test")]);
            assert!(!inside.status.success(), "{place} can be written");
            assert!(host(&format!("{place}/moorline-test")).is_err());
        }
        let others = self.run(&["cat", "/sys/fs/cgroup/cgroup.procs"]);
        assert!(!others.stdout.lines().any(|pid| pid == "0"), "{others:?}");
        assert!(
            self.group.0.join("init.scope").exists(),
            "it rules elsewhere"
        );
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
            moorline_tests::kill(first, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
    }
}

/// systemd sets no XDG_RUNTIME_DIR for it; a login does for the commands.
#[test]
fn an_engine_without_run_dir_that_systemd_has_started_is_found_from_every_login() {
    let config = CONFIG.replace("[engine]\nrun_dir = \"/run/moorline-chat\"\n", "");
    assert!(!config.contains("run_dir"));
    let machine = Machine::boot(&config);
    eventually("the unit is active", || {
        machine.first_process().is_some() && machine.systemctl("is-active").stdout == "active\n"
    });
    let (app, file) = (format!("{FOLDER}/app"), format!("{FOLDER}/moorline.toml"));
    for environment in ["--unset=XDG_RUNTIME_DIR", "XDG_RUNTIME_DIR=/run/user/0"] {
        let status = machine.run(&["env", environment, &app, "status", &file]);
        assert!(status.expect_success().stdout.contains("worker 0"));
    }
    machine.systemctl("reload").expect_success();
    // Where nothing is aged.
    machine
        .run(&["test", "-d", "/run/moorline"])
        .expect_success();
    machine.systemctl("stop").expect_success();
}

#[test]
fn a_real_systemd_starts_reloads_and_stops_the_unit() {
    let machine = Machine::boot(CONFIG);
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
    machine.touches_nothing_of_the_host();
}
