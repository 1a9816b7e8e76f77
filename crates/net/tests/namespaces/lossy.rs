//! A wire that loses packets, on any kernel: a tunnel device of socat's at either end, and between the two this
//! process, which throws some packets away.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a thread that waits for packets looks whether it is still wanted.
const PAUSE: Duration = Duration::from_millis(50);
/// The largest packet there is.
const PACKET_BYTES: usize = 64 * 1024;

/// Dropping it takes the wire away.
pub(super) struct LossyWire {
    tunnels: Vec<Child>,
    carriers: Vec<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

impl LossyWire {
    /// Joins two networks, each with the address that it gets, and loses one packet of `one_of`.
    pub(super) fn between(ends: [(&str, &str); 2], one_of: u32) -> Self {
        let seed = fastrand::u64(..);
        println!("packets are lost by seed {seed}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mine, theirs) = (["left", "right"], ["left.tunnel", "right.tunnel"]);
        let sockets = mine.map(|name| {
            let socket = UnixDatagram::bind(folder.path().join(name)).expect("a socket");
            socket.set_read_timeout(Some(PAUSE)).expect("an option");
            socket
        });
        let tunnels = (0..2)
            .map(|side| {
                let (network, address) = ends[side];
                let peer = folder.path().join(mine[side]);
                tunnel(network, address, &peer, &folder.path().join(theirs[side]))
            })
            .collect();
        let mut wire = Self {
            tunnels,
            carriers: Vec::new(),
            is_over: Arc::default(),
            lost: Arc::default(),
            _folder: folder,
        };
        for (side, socket) in sockets.iter().enumerate() {
            // The other side's tunnel takes packets from our socket on that side alone.
            let out = sockets[1 - side].try_clone().expect("a descriptor");
            let to = wire._folder.path().join(theirs[1 - side]);
            let socket = socket.try_clone().expect("a descriptor");
            let (is_over, lost) = (wire.is_over.clone(), wire.lost.clone());
            let mut random = fastrand::Rng::with_seed(seed + side as u64);
            wire.carriers.push(thread::spawn(move || {
                let mut packet = vec![0; PACKET_BYTES];
                while !is_over.load(Ordering::Relaxed) {
                    match socket.recv(&mut packet) {
                        Ok(_) if random.u32(..one_of) == 0 => {
                            lost.fetch_add(1, Ordering::Relaxed);
                        }
                        // What finds no room is lost too, as on any wire.
                        Ok(bytes) => drop(out.send_to(&packet[..bytes], &to)),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => panic!("the wire broke: {error}"),
                    }
                }
            }));
        }
        wire
    }

    /// How many packets were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for LossyWire {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for tunnel in &mut self.tunnels {
            let _ = tunnel.kill();
            let _ = tunnel.wait();
        }
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}

/// A device in this network whose packets go to and come from the socket at `peer`.
fn tunnel(network: &str, address: &str, peer: &Path, own: &Path) -> Child {
    let child = Command::new("ip")
        .args(["netns", "exec", network, "socat"])
        .arg(format!("TUN:{address},up,iff-no-pi"))
        .arg(format!(
            "UNIX-SENDTO:{},bind={}",
            peer.display(),
            own.display()
        ))
        .stdin(Stdio::null())
        .spawn()
        .expect("iproute2 is installed");
    // The device is up before the socket is bound.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !own.exists() {
        assert!(
            Instant::now() < deadline,
            "socat makes no tunnel: is it installed, and is this root?"
        );
        thread::sleep(Duration::from_millis(5));
    }
    child
}
