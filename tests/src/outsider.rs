//! Servers and proxies of others, which run as people run them.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::{Site, eventually, kill};

/// A program of others, which ends with the test.
#[derive(Debug)]
pub struct Outsider {
    child: Child,
    /// Where it listens.
    pub ports: Vec<u16>,
    site: Arc<Site>,
}

impl Outsider {
    /// Starts a program with a configuration in which `PORT0`, `PORT1` … stand for free ports, and `FOLDER` for the site's.
    /// The path of the configuration is its last argument. It accepts on all ports when this returns.
    pub fn start(
        site: &Arc<Site>,
        program: &str,
        arguments: &[&str],
        config: &str,
        ports: usize,
    ) -> Self {
        let free: Vec<_> = (0..ports)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free"))
            .collect();
        let ports: Vec<u16> = free
            .iter()
            .map(|it| it.local_addr().expect("it is bound").port())
            .collect();
        let mut config = config.replace("FOLDER", &site.path("").display().to_string());
        for (at, port) in ports.iter().enumerate() {
            config = config.replace(&format!("PORT{at}"), &port.to_string());
        }
        let name = format!("{program}.conf");
        site.write(&name, config);
        drop(free);
        let child = Command::new(program)
            .args(arguments)
            .arg(site.path(&name))
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let outsider = Self {
            child,
            ports,
            site: site.clone(),
        };
        for port in &outsider.ports {
            eventually("the program accepts", || {
                TcpStream::connect(("127.0.0.1", *port)).is_ok()
            });
        }
        outsider
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        kill(self.child.id() as i32, Signal::SIGKILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.site.path("nginx.log"));
            eprintln!("{}", log.unwrap_or_default());
        }
    }
}
