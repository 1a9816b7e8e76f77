//! What the machine runs out of.

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moorline_tests::{
    Client, Issuer, LENGTH_LISTENER, Onlooker, Site, Wire, eventually, require_root,
};

#[test]
fn an_expired_certificate_is_named() {
    let admin = Onlooker::ADMIN;
    let listener = LENGTH_LISTENER.replace("tcp://", "tls://");
    let config = |name: &str| {
        format!("{listener}tls = {{ certificate = \"{name}.pem\", key = \"{name}.key\" }}\n{admin}")
    };
    let site = Site::new("probe", &config("good"));
    let issuer = Issuer::new();
    issuer.issue(&["one.test"]).write(&site, "good");
    let engine = site.start();
    let onlooker = Onlooker::new(&engine);
    // One that has ended is refused. A slow machine needs one that lasts longer.
    engine.site().configure(&config("short"));
    let lasts = [5, 20, 80].into_iter().map(Duration::from_secs);
    let mut ends = lasts.map(|lasts| {
        let end = SystemTime::now() + lasts;
        let since = end.duration_since(UNIX_EPOCH).expect("it is later");
        issuer
            .issue_ending(&["one.test"], since)
            .write(&engine.site(), "short");
        (engine.reload().status.success(), end)
    });
    let end = ends.find(|(is_taken, _)| *is_taken);
    let (_, end) = end.expect("a reload takes less than a minute");
    onlooker.sees("certificate-ends", "short.pem of listener ");
    let left = end.duration_since(SystemTime::now());
    thread::sleep(left.unwrap_or_default());
    onlooker.sees("certificate-ends", " has ended ");
}

#[test]
fn a_full_disk_is_named() {
    require_root("mounting a small disk");
    let admin = Onlooker::ADMIN;
    let config = format!(
        "[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
         access_log = [\"small\"]\n[access_log.small]\npath = \"{{folder}}/disk/access\"\n\
         [upstream.back]\npeers = [\"tcp://127.0.0.1:9\"]\n{admin}"
    );
    let site = Site::new("moorline", &config);
    // The engine's own; what is mounted is seen by nobody else, and is gone when it is.
    let script = "mkdir disk && exec unshare --mount sh -c 'mount -t tmpfs -o size=4m small disk; \
                  exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let engine = site
        .try_start_by(script, |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    let disk = format!(
        "/proc/{}/root{}",
        engine.supervisor(),
        site.path("disk").display()
    );
    let onlooker = Onlooker::new(&engine);
    // As much as fits.
    let filled = Command::new("dd")
        .args(["if=/dev/zero", &format!("of={disk}/all"), "bs=64k"])
        .output();
    assert!(!filled.expect("dd is part of every Debian").status.success());
    onlooker.sees(
        "disk-is-full",
        "The disk of access log small has 0 B of 4.0 MiB left",
    );
}

#[test]
fn a_shortage_of_descriptors_is_named() {
    let admin = Onlooker::ADMIN;
    let config =
        format!("[engine]\ngateway_loops = 1\n[workers]\ncount = 1\n{LENGTH_LISTENER}{admin}");
    let site = Site::new("probe", &config);
    let engine = site
        .try_start_by("ulimit -n 300 && exec \"$0\" \"$@\"", |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    let onlooker = Onlooker::new(&engine);
    Client::connect(&engine, 0, Wire::LENGTH).ask("build");
    let address = engine.socket_address(0);
    let crowd: Vec<_> = (0..300)
        .map(|_| TcpStream::connect(address).expect("it waits at least"))
        .collect();
    onlooker.sees(
        "descriptors-are-short",
        "Accepting has paused for lack of descriptors: ",
    );
    onlooker.sees(
        "listener-accepts-nothing",
        "accepts nothing: there is no descriptor or memory for those that connect.",
    );
    assert_eq!(engine.status().listeners[0].state, "paused");
    drop(crowd);
    eventually("it accepts again", || {
        engine.status().listeners[0].state == "accepting"
    });
}
