//! The same configuration served by the program that it was written for, and by Moorline.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use moorline_tests::{Engine, PATIENCE, Site, eventually, kill};
use nix::sys::signal::Signal;

/// A port that nothing listens on.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("it is bound").port()
}

/// nginx with a configuration. Dropping it stops it.
pub(super) struct Nginx {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts it with this `stream` block, and waits until it listens on `port`.
    pub(super) fn start(stream: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("nginx.conf");
        let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let text = format!(
            "load_module {module};\ndaemon off;\nworker_processes 1;\nuser root;\npid {}/pid;\nerror_log stderr;\nevents {{ }}\n{stream}",
            folder.path().display()
        );
        fs::write(&path, text).expect("the folder can be written");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let nginx = Self {
            child,
            _folder: folder,
        };
        eventually("nginx listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(pid, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// HAProxy with a configuration. Dropping it stops it.
pub(super) struct Haproxy {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Haproxy {
    /// Starts it, and waits until it listens on `port`.
    pub(super) fn start(text: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, format!("global\n nbthread 1\n{text}"))
            .expect("the folder can be written");
        let child = Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("HAProxy is installed");
        let haproxy = Self {
            child,
            _folder: folder,
        };
        eventually("HAProxy listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        haproxy
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(pid, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Moorline, which serves a file that it imports.
pub(super) fn moorline(name: &str, text: &str) -> Engine {
    let site = Site::new("moorline", "");
    site.write(name, text);
    serve(&site, name)
}

/// The same with the file of a site.
pub(super) fn serve(site: &Arc<Site>, name: &str) -> Engine {
    let script = format!("exec \"$0\" import {name} --run");
    let started = site.try_start_by(&script, |_| {});
    started.unwrap_or_else(|finished| panic!("it does not start: {finished:#?}"))
}

/// What a client gets that sends something, and then its end.
pub(super) fn exchange(port: u16, from: Ipv4Addr, sent: &[u8]) -> Vec<u8> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a descriptor");
    socket
        .bind(&SocketAddr::from((from, 0)).into())
        .expect("an address of this machine");
    socket
        .connect(&address.into())
        .expect("the listener accepts");
    let mut stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time that is not zero");
    let mut answer = Vec::new();
    // A listener that refuses a client may have closed the connection already.
    if stream.write_all(sent).is_ok() {
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error} after {answer:?}"),
        }
    }
    answer
}

/// A peer that says its name and ends.
pub(super) fn named(name: &'static str) -> moorline_tests::PeerServer {
    moorline_tests::PeerServer::new(move |mut stream| {
        // The client may be gone.
        let _ = stream.write_all(name.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

/// A text in which `PORT0`, `PORT1` … are free ports of this machine, and `PEER0` … the peers; with the ports.
pub(super) fn filled(text: &str, peers: &[moorline_tests::PeerServer]) -> (String, Vec<u16>) {
    let count = (0..)
        .take_while(|at| text.contains(&format!("PORT{at}")))
        .count();
    let ports: Vec<_> = (0..count).map(|_| free_port()).collect();
    let mut text = text.to_owned();
    for (at, port) in ports.iter().enumerate() {
        text = text.replace(&format!("PORT{at}"), &format!("127.0.0.1:{port}"));
    }
    for (at, peer) in peers.iter().enumerate() {
        text = text.replace(&format!("PEER{at}"), &peer.address.to_string());
    }
    (text, ports)
}

/// The names of the peers that a client gets one after the other.
pub(super) fn names(port: u16, host: u8, count: usize) -> String {
    let from = Ipv4Addr::new(127, 0, 0, host);
    let answers = (0..count).map(|_| exchange(port, from, b""));
    answers
        .map(|answer| String::from_utf8_lossy(&answer).into_owned())
        .collect()
}
