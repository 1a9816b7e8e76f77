//! The engines that are harmed: what they consist of, where they listen, and the small disks that are filled.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use crate::plan::Powers;
use moorline_tests::{Issuer, Site};

/// A disk that is soon full.
const DISK: &str = "size=2m";

/// The `/dev/shm` that everything here sees.
const SHARED_MEMORY: &str = "/dev/shm";

/// Whether [`mount_shared_memory`] was called.
static HAS_SHARED_MEMORY: OnceLock<()> = OnceLock::new();

/// Whether no other process sees what is mounted here: for root, in namespaces other than its parent's.
pub(crate) fn may_mount() -> bool {
    let seen_by = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let parent = nix::unistd::getppid().to_string();
    nix::unistd::geteuid().is_root() && seen_by("self") != seen_by(&parent)
}

/// Puts a small `/dev/shm` in place of the machine's, in a mount namespace of our own.
pub(crate) fn mount_shared_memory() {
    mount(Path::new(SHARED_MEMORY));
    let _ = HAS_SHARED_MEMORY.set(());
}

/// Whether filling it fills nobody else's.
pub(crate) fn has_shared_memory_of_its_own() -> bool {
    HAS_SHARED_MEMORY.get().is_some()
}

/// Listeners of the echo, for each fate that messages may have.
pub(crate) struct EchoDoors {
    pub(crate) redeliver: SocketAddr,
    /// The same, encrypted.
    pub(crate) sealed: SocketAddr,
    /// Redelivered too, and each message goes to another worker than the one before.
    pub(crate) spread: SocketAddr,
    pub(crate) close: SocketAddr,
    pub(crate) drop: SocketAddr,
    /// For outsiders alone.
    pub(crate) flooded: SocketAddr,
    /// A board with a history, and plain requests.
    pub(crate) web: SocketAddr,
}

pub(crate) struct ChatDoors {
    pub(crate) web: SocketAddr,
    pub(crate) terminals: SocketAddr,
}

pub(crate) struct WildDoors {
    pub(crate) redeliver: SocketAddr,
    pub(crate) close: SocketAddr,
    pub(crate) drop: SocketAddr,
}

impl WildDoors {
    pub(crate) fn free() -> WildDoors {
        let [redeliver, close, drop] = free_addresses();
        WildDoors {
            redeliver,
            close,
            drop,
        }
    }
}

impl EchoDoors {
    pub(crate) fn free() -> EchoDoors {
        let [redeliver, sealed, spread, close, drop, flooded, web] = free_addresses();
        EchoDoors {
            redeliver,
            sealed,
            spread,
            close,
            drop,
            flooded,
            web,
        }
    }
}

impl ChatDoors {
    pub(crate) fn free() -> ChatDoors {
        let [web, terminals] = free_addresses();
        ChatDoors { web, terminals }
    }
}

/// The name in its certificate.
pub(crate) const HOST: &str = "echo.test";

/// Its workers are recycled now and then, and its log lies on a disk of its own if that can be had. A client that trusts the
/// issuer trusts it.
pub(crate) fn echo(doors: &EchoDoors, issuer: &Issuer, powers: Powers) -> Arc<Site> {
    let head = r#"
[engine]
gateway_loops = 2
[engine.log]
file = "{folder}/log/engine.log"
[workers]
count = 2
max_wait = "3s"
max_requests = 5000
[tasks]
count = 2
attempts = 20
max_requests = 1000
[[helpers]]
name = "feeder"
command = ["/bin/sh", "-c", "while :; do echo fed; sleep 1; done"]
[app]
commands = true
delay = "2ms"
"#;
    // More attempts than random deaths use up.
    let redeliver = "on_crash = \"redeliver\"\nattempts = 20\n";
    let sealed = format!("{redeliver}tls = {{ certificate = \"echo.pem\", key = \"echo.key\" }}\n");
    let spread = format!("{redeliver}dispatch = \"round-robin\"\n");
    let flooded = "high_watermark = \"256KiB\"\nhard_limit = \"1MiB\"\n";
    let listeners = [
        (doors.redeliver, redeliver),
        (doors.sealed, &sealed),
        (doors.spread, &spread),
        (doors.close, "on_crash = \"close\"\n"),
        (doors.drop, "on_crash = \"drop\"\n"),
        (doors.flooded, flooded),
    ]
    .map(|(address, keys)| length_listener(address) + keys)
    .concat();
    let web = web_listener(doors.web);
    let site = Site::new("echo", &format!("{head}{listeners}{web}"));
    issuer.issue(&[HOST]).write(&site, "echo");
    let log = site.path("log");
    fs::create_dir(&log).expect("the folder can be written");
    if powers == Powers::Root {
        mount(&log);
    }
    site
}

/// Puts a small file system there. In a mount namespace of our own, so that it goes with us.
fn mount(folder: &Path) {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", DISK, "chaos"])
        .arg(folder)
        .status();
    let mounted = mounted.expect("mount is part of every Debian");
    assert!(mounted.success(), "a small disk on {}", folder.display());
}

pub(crate) fn chat(doors: &ChatDoors) -> Arc<Site> {
    let web = doors.web;
    let head = format!(
        r#"
[workers]
count = 2
max_wait = "3s"
[[listen]]
address = "http://{web}"
websocket = "/ws"
"#
    );
    Site::new("chat", &(head + &length_listener(doors.terminals)))
}

/// Where a hostile worker is let in, one at a time.
pub(crate) fn wild(doors: &WildDoors) -> Arc<Site> {
    let head = r#"
[engine]
gateway_loops = 2
ring_memory = "2MiB"
[workers]
count = 2
max_wait = "3s"
[tasks]
count = 1
"#;
    let listeners = [
        (doors.redeliver, "on_crash = \"redeliver\"\nattempts = 20\n"),
        (doors.close, "on_crash = \"close\"\n"),
        (doors.drop, "on_crash = \"drop\"\n"),
    ]
    .map(|(address, keys)| length_listener(address) + keys)
    .concat();
    Site::new("hostile_worker", &format!("{head}{listeners}"))
}

/// Events of a board, and requests that the app answers.
fn web_listener(address: SocketAddr) -> String {
    format!(
        r#"
[[listen]]
name = "web"
address = "http://{address}"
on_crash = "redeliver"
attempts = 20
[[listen.route]]
path = "/board"
kind = "sse"
[[listen.route]]
path = "/*rest"
kind = "app"
"#
    )
}

fn length_listener(address: SocketAddr) -> String {
    format!(
        r#"
[[listen]]
address = "tcp://{address}"
framing = {{ kind = "length", width = 4, endian = "big", offset = 0, counts = "payload", max = "1MiB" }}
"#
    )
}

/// Addresses that nobody listens on. An engine that is started again has the same as before, as in real life; so they
/// are none that the kernel gives to clients, one of which would take it while there is no engine.
fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    // Engines of two such runs at a time begin at different ones.
    let mut port = 15_000 + (std::process::id() % 1_000) as u16 * 16;
    [(); COUNT].map(|()| {
        loop {
            port += 1;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if TcpListener::bind(address).is_ok() {
                return address;
            }
        }
    })
}
