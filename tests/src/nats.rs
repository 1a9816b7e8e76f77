//! A NATS server.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::eventually;

/// A NATS server of its own, on a port that stays the same when it is started again. Dropping it ends it.
#[derive(Debug)]
pub struct Nats {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Nats {
    /// Starts one, with more settings.
    pub fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Given up before the server takes it; nobody else is given it so soon.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let settings = settings.replace("{folder}", &folder.path().display().to_string());
        let settings = format!("host: 127.0.0.1\nport: {port}\n{settings}\n");
        fs::write(folder.path().join("nats.conf"), settings).expect("the folder can be written");
        let mut nats = Self {
            folder,
            port,
            server: None,
        };
        nats.restart();
        nats
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        let server = Command::new("nats-server")
            .arg("--config")
            .arg(self.path("nats.conf"))
            .arg("--log")
            .arg(self.path("nats.log"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed");
        self.server = Some(server);
        let port = self.port;
        eventually("the NATS server listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        Some(self.server.as_ref()?.id())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The `[cluster]` of a node.
    pub fn cluster(&self, node: &str, number: u16) -> String {
        let port = self.port;
        format!(
            "[cluster]\nservers = [\"nats://127.0.0.1:{port}\"]\nnode = \"{node}\"\nnumber = {number}\n"
        )
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
