//! Network namespaces, which only root can make.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

/// A network of its own, without any other machine so far. Dropping it deletes it.
#[derive(Debug)]
pub struct Network {
    name: String,
}

impl Network {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("moorline-{}-{number}-{name}", std::process::id());
        ip(&format!("netns add {name}"));
        let this = Self { name };
        this.ip("link set lo up");
        this
    }

    /// Runs `ip` in it.
    #[track_caller]
    pub fn ip(&self, arguments: &str) {
        let wide = if arguments.starts_with("-6 ") {
            "-6 "
        } else {
            ""
        };
        let arguments = arguments.trim_start_matches("-6 ");
        ip(&format!("{wide}-n {} {arguments}", self.name));
    }

    /// A wire to another one, with an end of this name and these addresses in each.
    pub fn wire(&self, name: &str, own: &[&str], other: &Self, others: &[&str]) {
        let [a, b] = [&self.name, &other.name];
        ip(&format!(
            "link add {name} netns {a} type veth peer name {name} netns {b}"
        ));
        for (network, addresses) in [(self, own), (other, others)] {
            for address in addresses {
                network.ip(&format!("address add {address} dev {name} nodad"));
            }
            network.ip(&format!("link set {name} up"));
        }
    }

    /// Runs this in it, also the threads that it starts, and sockets that it makes stay there.
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/run/netns/{}", self.name)).expect("it was made");
        let enter = || {
            setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter a network");
            run()
        };
        thread::scope(|scope| scope.spawn(enter).join().expect("it does not panic"))
    }

    /// A script that runs the command in its arguments there.
    pub fn script(&self) -> String {
        format!("exec ip netns exec {} \"$0\" \"$@\"", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}

#[track_caller]
fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`ip {arguments}`: {said}");
}
