//! Servers and proxies of others, which run as people run them.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::{Site, eventually};

/// A program of others, which ends with the test.
#[derive(Debug)]
pub struct Outsider {
    program: String,
    /// The path of the configuration is the last.
    arguments: Vec<String>,
    child: Child,
    /// Where it listens.
    pub ports: Vec<u16>,
    site: Arc<Site>,
}

impl Outsider {
    /// Starts a program with a configuration and arguments in which `PORT0`, `PORT1` … stand for free ports, and `FOLDER` for the site's.
    /// The path of the configuration is its last argument, or the end of it if that ends with `=`. It accepts on all ports when this
    /// returns.
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
        let folder = site.path("").display().to_string();
        let fill = |text: &str| {
            let ports = ports.iter().enumerate();
            ports.fold(text.replace("FOLDER", &folder), |text, (at, port)| {
                text.replace(&format!("PORT{at}"), &port.to_string())
            })
        };
        let name = format!("{program}.conf");
        site.write(&name, fill(config));
        drop(free);
        let path = site.path(&name).display().to_string();
        let mut arguments: Vec<String> = arguments.iter().map(|it| fill(it)).collect();
        match arguments.last_mut() {
            Some(last) if last.ends_with('=') => last.push_str(&path),
            _ => arguments.push(path),
        }
        let outsider = Self {
            child: spawn(program, &arguments),
            program: program.to_owned(),
            arguments,
            ports,
            site: site.clone(),
        };
        outsider.wait_for_ports();
        outsider
    }

    /// Kills it, and starts it again with the same configuration and ports.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.program, &self.arguments);
        self.wait_for_ports();
    }

    /// Kills it.
    pub fn stop(&mut self) {
        // Nothing happens to one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn wait_for_ports(&self) {
        for port in &self.ports {
            eventually("the program accepts", || {
                TcpStream::connect(("127.0.0.1", *port)).is_ok()
            });
        }
    }
}

fn spawn(program: &str, arguments: &[String]) -> Child {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

impl Drop for Outsider {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.site.path("nginx.log"));
            eprintln!("{}", log.unwrap_or_default());
        }
    }
}
