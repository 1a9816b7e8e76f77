//! The engine as a service of systemd: its notifications, and the sockets that it gets. The test plays systemd.

use std::ffi::OsStr;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, PATIENCE, Site, Wire, eventually};
use nix::sys::signal::Signal;

/// Hears what the engine tells.
struct Manager(UnixDatagram);

impl Manager {
    fn new(site: &Site) -> Self {
        let socket = UnixDatagram::bind(site.path("notify")).expect("a socket can be bound");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        Self(socket)
    }

    fn start(&self, site: &Arc<Site>, watchdog: Duration) -> Engine {
        self.start_at(site.path("notify"), site, watchdog)
    }

    /// The same with another name of the socket.
    fn start_at(&self, address: impl AsRef<OsStr>, site: &Arc<Site>, watchdog: Duration) -> Engine {
        let prepare = |command: &mut std::process::Command| {
            command
                .env("NOTIFY_SOCKET", address)
                .env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        };
        site.try_start_by("WATCHDOG_PID=$$ exec \"$0\" \"$@\"", prepare)
            .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"))
    }

    /// The next notification, as its lines.
    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("something is told");
        String::from_utf8_lossy(&buffer[..length])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The next one that is not a sign of life, and its first line.
    fn news(&self) -> Vec<String> {
        loop {
            let lines = self.next();
            if lines != ["WATCHDOG=1"] {
                return lines;
            }
        }
    }
}

fn probe(listener: &str) -> String {
    format!("[workers]\ncount = 1\n{listener}")
}

#[test]
fn systemd_is_notified_of_readiness_reloads_and_the_stop() {
    let site = Site::new("probe", &probe(LENGTH_LISTENER));
    let manager = Manager::new(&site);
    let mut engine = manager.start(&site, PATIENCE);
    assert_eq!(manager.news(), ["READY=1", "STATUS=generation 1 serves"]);

    // For a unit whose Type is notify-reload, systemctl reload does this.
    moorline_tests::kill(engine.supervisor(), Signal::SIGHUP);
    let reloading = manager.news();
    assert_eq!(reloading[0], "RELOADING=1");
    let since = reloading[1].strip_prefix("MONOTONIC_USEC=");
    assert!(
        since.is_some_and(|since| since.parse::<u64>().is_ok()),
        "{reloading:?}"
    );
    assert_eq!(manager.news(), ["READY=1", "STATUS=generation 2 serves"]);

    // One that fails is over, too, and the old one serves.
    site.configure("nonsense");
    engine.reload().expect_refusal(&["nonsense"]);
    assert_eq!(manager.news()[0], "RELOADING=1");
    assert_eq!(manager.news(), ["READY=1", "STATUS=generation 2 serves"]);
    site.configure(&probe(LENGTH_LISTENER));

    moorline_tests::kill(engine.supervisor(), Signal::SIGTERM);
    assert_eq!(manager.news()[0], "STOPPING=1");
    assert!(engine.ended().success());
}

/// A name behind an `@` is no file.
#[test]
fn an_abstract_socket_is_notified_too() {
    let site = Site::new("probe", &probe(LENGTH_LISTENER));
    let folder = site.path("");
    let name = format!("{}/notify", folder.display());
    let address = SocketAddr::from_abstract_name(&name).expect("it is short");
    let manager = Manager(UnixDatagram::bind_addr(&address).expect("a name is free"));
    manager
        .0
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    let _engine = manager.start_at(format!("@{name}"), &site, PATIENCE);
    assert_eq!(manager.news(), ["READY=1", "STATUS=generation 1 serves"]);
}

#[test]
fn the_watchdog_gets_signs_of_life_until_the_supervisor_hangs() {
    let site = Site::new("probe", &probe(LENGTH_LISTENER));
    let manager = Manager::new(&site);
    let engine = manager.start(&site, Duration::from_millis(400));
    let mut signs = 0;
    while signs < 5 {
        signs += usize::from(manager.next() == ["WATCHDOG=1"]);
    }
    moorline_tests::kill(engine.supervisor(), Signal::SIGSTOP);
    manager
        .0
        .set_read_timeout(Some(Duration::from_millis(600)))
        .expect("a timeout can be set");
    // What was told before is heard first.
    let mut buffer = [0; 4096];
    while manager.0.recv(&mut buffer).is_ok() {}
    moorline_tests::kill(engine.supervisor(), Signal::SIGCONT);
    manager
        .0
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    assert_eq!(manager.next(), ["WATCHDOG=1"]);
}

/// Neither workers nor what they start may speak for the engine.
#[test]
fn other_processes_do_not_inherit_the_variables_of_systemd() {
    let site = Site::new("probe", &probe(LENGTH_LISTENER));
    let manager = Manager::new(&site);
    let engine = manager.start(&site, PATIENCE);
    let status = engine.status();
    for pid in [status.gateway.pid, status.workers[0].pid] {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
        assert!(!environment.contains("WATCHDOG"), "{environment}");
    }
}

/// Starts an engine whose descriptor 3 is this socket.
fn given(
    site: &Arc<Site>,
    socket: OwnedFd,
    name: &str,
) -> Result<Engine, moorline_tests::Finished> {
    let script = format!(
        "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec \"$0\" \"$@\""
    );
    site.try_start_by(&script, |command| {
        command.stdin(Stdio::from(socket));
    })
}

/// A port that was open before is taken over by its address, and stays open over restarts.
#[test]
fn a_socket_is_taken_over_by_its_address_and_outlives_the_engine() {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = door.local_addr().expect("it has an address");
    let site = Site::new(
        "probe",
        &probe(&LENGTH_LISTENER.replace("127.0.0.1:0", &address.to_string())),
    );
    let mut engine = given(
        &site,
        door.try_clone().expect("it can be copied").into(),
        "unknown",
    )
    .expect("it starts");
    assert_eq!(engine.socket_address(0), address);
    assert_eq!(engine.ask_once("build"), "first");
    engine.reload().expect_success();
    engine.kill_worker(0, Signal::SIGKILL);
    eventually("the worker is replaced", || {
        engine.status().ready_workers().len() == 1
    });
    assert_eq!(engine.ask_once("build"), "first");
    engine.run(&["stop"]).expect_success();
    assert!(engine.ended().success());

    // A client that connects meanwhile waits for the next engine.
    let mut client =
        Client::try_connect(&format!("tcp://{address}"), Wire::LENGTH).expect("the port is open");
    client.send("build");
    let engine = given(&site, door.into(), "unknown").expect("it starts");
    assert_eq!(client.receive(), b"first");
    drop(engine);
}

/// What was given is the engine's for as long as it runs, whichever listeners a reload takes away meanwhile.
#[test]
fn a_socket_that_was_given_serves_again_when_its_listener_comes_back() {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = door.local_addr().expect("it has an address");
    let other = probe(LENGTH_LISTENER);
    let both = format!(
        "{other}{}",
        LENGTH_LISTENER.replace("127.0.0.1:0", &address.to_string())
    );
    let site = Site::new("probe", &both);
    let engine = given(&site, door.into(), "unknown").expect("it starts");
    let connect = || Client::try_connect(&format!("tcp://{address}"), Wire::LENGTH);
    let mut stays = connect().expect("it is served");
    assert_eq!(stays.ask("build"), "first");
    engine.configure(&other);
    engine.reload().expect_success();
    assert_eq!(stays.ask("build"), "first");
    // The kernel completes connections that nobody accepts.
    let mut waits = connect().expect("the port is open");
    waits.send("build");
    assert!(waits.is_quiet_for(Duration::from_millis(300)));
    engine.configure(&both);
    engine.reload().expect_success();
    assert_eq!(waits.receive(), b"first");
    assert_eq!(stays.ask("build"), "first");
}

#[test]
fn a_unix_socket_is_taken_over_by_its_name_and_its_file_left() {
    let site = Site::new(
        "probe",
        &probe("[[listen]]\nname = \"door\"\naddress = \"unix://{folder}/elsewhere.sock\"\n"),
    );
    let door = UnixListener::bind(site.path("door.sock")).expect("a socket can be bound");
    let engine = given(&site, door.into(), "door").expect("it starts");
    let address = format!("unix://{}", site.path("door.sock").display());
    let mut client = Client::try_connect(&address, Wire::Raw).expect("it is served");
    client.send("build");
    assert_eq!(client.receive(), b"first");
    drop(client);
    drop(engine);
    assert!(site.path("door.sock").exists());
    assert!(!site.path("elsewhere.sock").exists());
}

/// Two listeners would take each other's connections away.
#[test]
fn a_socket_that_a_listener_has_by_its_name_serves_no_other() {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let bound = door.local_addr().expect("it has an address").to_string();
    let listen = |name: &str, address: &str| {
        let listener = LENGTH_LISTENER.replace("127.0.0.1:0", address);
        format!("{listener}name = \"{name}\"\n")
    };
    let site = Site::new("probe", &probe(&listen("door", "127.0.0.1:0")));
    let engine = given(&site, door.into(), "door").expect("it starts");
    assert_eq!(engine.socket_address(0).to_string(), bound);
    let other = listen("other", &bound);
    let both = [listen("door", "127.0.0.1:0"), other.clone()].concat();
    site.configure(&probe(&both));
    engine.reload().expect_refusal(&["[[listen]]", &bound]);
    for _ in 0..4 {
        assert_eq!(engine.ask_once("listener"), "door");
    }
    // Once that listener goes, it is there for the one that has its address.
    site.configure(&probe(&other));
    engine.reload().expect_success();
    assert_eq!(engine.ask_once("listener"), "other");
}

#[test]
fn a_socket_that_no_listener_fits_refuses_the_start() {
    let site = Site::new("probe", &probe(LENGTH_LISTENER));
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = door.local_addr().expect("it has an address").port();
    given(&site, door.into(), "stray")
        .err()
        .expect("it must not start")
        .expect_refusal(&["stray", &port.to_string()]);
}

#[test]
fn a_socket_for_datagrams_is_taken_over_by_its_address() {
    let door = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = door.local_addr().expect("it has an address");
    let site = Site::new(
        "probe",
        &probe(&format!(
            "[[listen]]\nname = \"pings\"\naddress = \"udp://{address}\"\n"
        )),
    );
    let ask = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        socket.send_to(b"listener", address).expect("it is sent");
        let mut answer = [0; 100];
        let count = socket.recv(&mut answer).expect("it is answered");
        answer[..count].to_vec()
    };
    let copy = door.try_clone().expect("it can be copied");
    let engine = given(&site, copy.into(), "unknown").expect("it starts");
    assert_eq!(ask(), b"pings");
    engine.reload().expect_success();
    assert_eq!(ask(), b"pings");
}

#[test]
fn a_socket_for_http_is_taken_over_by_its_name() {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = door.local_addr().expect("it has an address");
    let site = Site::new(
        "probe",
        &probe(
            "[[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:1\"\nwebsocket = \"/ws\"\n",
        ),
    );
    let _engine = given(&site, door.into(), "web").expect("it starts");
    let mut client =
        Client::try_connect(&format!("tcp://{address}"), Wire::WebSocket).expect("it is served");
    assert_eq!(client.ask("listener"), "web");
}

fn contributed(name: &str) -> String {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib");
    std::fs::read_to_string(place.join(name)).expect("the unit is there")
}

/// What the unit runs is understood, and serves.
#[test]
fn the_units_command_starts_an_engine() {
    let unit = contributed("moorline@.service");
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .expect("it runs something");
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/%i"));
    let arguments: Vec<&str> = words.collect();
    assert_eq!(arguments[..2], ["serve", "/etc/moorline/%i.toml"]);
    let site = Site::new(
        "probe",
        &format!(
            "[engine]\nrun_dir = \"{{folder}}/run\"\n{}",
            probe(LENGTH_LISTENER)
        ),
    );
    // As systemd makes it before.
    std::fs::create_dir(site.path("run")).expect("the folder takes folders");
    std::fs::set_permissions(site.path("run"), PermissionsExt::from_mode(0o700))
        .expect("it is ours");
    let script = format!("exec \"$0\" \"$@\" {}", arguments[2..].join(" "));
    let engine = site
        .try_start_by(&script, |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    assert_eq!(engine.ask_once("build"), "first");
}

/// systemd has nothing to say against the units, and each line is one that it reads.
#[test]
fn the_units_are_well_formed() {
    let site = Site::new("probe", &probe(LENGTH_LISTENER));
    let app = site.path("app").display().to_string();
    for (name, instance) in [
        ("moorline@.service", "moorline@chat.service"),
        ("moorline@.socket", "moorline@chat.socket"),
    ] {
        let unit = contributed(name).replace("/usr/local/bin/%i", &app);
        for line in unit.lines().filter(|line| !line.is_empty()) {
            let is_section = line.starts_with('[') && line.ends_with(']');
            let is_setting = line
                .split_once('=')
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_alphanumeric()));
            assert!(
                line.starts_with('#') || is_section || is_setting,
                "{name}: {line}"
            );
        }
        site.write(instance, unit);
    }
    for instance in ["moorline@chat.service", "moorline@chat.socket"] {
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(site.path(instance))
            .output()
            .expect("systemd is installed: `cargo xtask test` does that as root");
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        // Of other units of the machine it may have something to say.
        let of_ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("moorline"))
            .collect();
        assert_eq!(of_ours, Vec::<&str>::new());
    }
}
