//! The engine, nginx and HAProxy, each configured to relay the same.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::CertificateDer;

use moorline_benches::Result;
use moorline_benches::server::{Measured, free_address, pinned};

use super::clients::{HOST, Tls};
use super::peer::Peer;

/// Where Debian has nginx's module.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// Connections that a proxy may have: those of the idle sessions, and of some before.
const CONNECTIONS: usize = 12_000;

/// What all proxies need.
pub(crate) struct Site {
    moorline: PathBuf,
    peer: Peer,
    certificate: String,
    key: String,
    /// How clients trust the certificate.
    pub(crate) tls: Tls,
}

impl Site {
    pub(crate) fn new(moorline: &Path, peer: Peer) -> Result<Self> {
        let issued = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let certificate = CertificateDer::from(issued.cert.der().to_vec());
        Ok(Self {
            moorline: moorline.to_owned(),
            peer,
            certificate: issued.cert.pem(),
            key: issued.signing_key.serialize_pem(),
            tls: Tls::new(certificate)?,
        })
    }
}

/// A proxy under measurement.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    pub(crate) server: Measured,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// `None`: it relays no datagrams.
    pub(crate) datagrams: Option<SocketAddr>,
}

/// All that are installed.
#[derive(Debug)]
pub(crate) struct Proxies {
    pub(crate) all: Vec<Proxy>,
    /// What is not, and how to get it.
    pub(crate) absent: Vec<&'static str>,
}

impl Proxies {
    pub(crate) fn start(site: &Site) -> Result<Self> {
        let mut all = vec![engine(site)?];
        let mut absent = Vec::new();
        match installed("nginx").filter(|_| Path::new(NGINX_STREAM).exists()) {
            Some(program) => all.push(nginx(site, &program)?),
            None => absent.push("nginx (packages nginx-light and libnginx-mod-stream)"),
        }
        match installed("haproxy") {
            Some(program) => all.push(haproxy(site, &program)?),
            None => absent.push("HAProxy (package haproxy)"),
        }
        Ok(Self { all, absent })
    }
}

/// The program, in a folder of `PATH` or where the system's servers are.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join(name));
    programs.find(|program| program.is_file())
}

/// The addresses of a proxy, and the folder of its configuration.
struct Place {
    plain: SocketAddr,
    tls: SocketAddr,
    datagrams: SocketAddr,
    folder: tempfile::TempDir,
}

impl Place {
    /// Certificate and key are there as `cert.pem` and `key.pem`, and both as `both.pem`.
    fn new(site: &Site) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let Site {
            certificate, key, ..
        } = site;
        fs::write(folder.path().join("cert.pem"), certificate)?;
        fs::write(folder.path().join("key.pem"), key)?;
        fs::write(
            folder.path().join("both.pem"),
            format!("{certificate}{key}"),
        )?;
        Ok(Self {
            plain: free_address()?,
            tls: free_address()?,
            datagrams: free_address()?,
            folder,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(self, name: &'static str, command: Command) -> Result<Proxy> {
        Ok(Proxy {
            name,
            server: Measured::listening(command, self.plain, Some(self.folder))?,
            plain: self.plain,
            tls: self.tls,
            datagrams: Some(self.datagrams),
        })
    }
}

fn engine(site: &Site) -> Result<Proxy> {
    let place = Place::new(site)?;
    let Place {
        plain,
        tls,
        datagrams,
        ..
    } = &place;
    let Peer {
        stream: peer,
        datagrams: udp_peer,
    } = site.peer;
    let config = place.file("moorline.toml");
    let text = format!(
        r#"
[engine]
run_dir = "run"
gateway_loops = 1
[engine.log]
level = "warn"
[workers]
count = 0
max_wait = "1s"
[[listen]]
address = "tcp://{plain}"
upstream = "stream"
[[listen]]
address = "tls://{tls}"
upstream = "stream"
tls = {{ certificate = "cert.pem", key = "key.pem" }}
[[listen]]
address = "udp://{datagrams}"
upstream = "datagrams"
[upstream.stream]
peers = ["tcp://{peer}"]
[upstream.datagrams]
peers = ["udp://{udp_peer}"]
"#
    );
    fs::write(&config, text)?;
    let mut command = pinned(&site.moorline);
    command.arg("serve").arg(config);
    place.start("engine", command)
}

fn nginx(site: &Site, program: &Path) -> Result<Proxy> {
    let place = Place::new(site)?;
    let Place {
        plain,
        tls,
        datagrams,
        ..
    } = &place;
    let Peer {
        stream: peer,
        datagrams: udp_peer,
    } = site.peer;
    let [pid, log] = ["nginx.pid", "error.log"].map(|it| place.file(it).display().to_string());
    let [certificate, key] = ["cert.pem", "key.pem"].map(|it| place.file(it).display().to_string());
    let config = place.file("nginx.conf");
    let text = format!(
        r#"
load_module {NGINX_STREAM};
daemon off;
master_process off;
pid {pid};
error_log {log};
events {{ worker_connections {CONNECTIONS}; }}
stream {{
    server {{ listen {plain}; proxy_pass {peer}; }}
    server {{
        listen {tls} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        proxy_pass {peer};
    }}
    server {{ listen {datagrams} udp; proxy_pass {udp_peer}; }}
}}
"#
    );
    fs::write(&config, text)?;
    let mut command = pinned(program);
    command.arg("-e").arg(&log).arg("-c").arg(config);
    place.start("nginx", command)
}

fn haproxy(site: &Site, program: &Path) -> Result<Proxy> {
    let place = Place::new(site)?;
    let Place { plain, tls, .. } = &place;
    let (peer, sessions) = (site.peer.stream, CONNECTIONS / 2);
    let both = place.file("both.pem").display().to_string();
    let config = place.file("haproxy.cfg");
    let text = format!(
        r#"
global
    nbthread 1
    maxconn {sessions}
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    option splice-auto
    default_backend peer
frontend plain
    bind {plain}
frontend tls
    bind {tls} ssl crt {both}
backend peer
    server peer {peer}
"#
    );
    fs::write(&config, text)?;
    let mut command = pinned(program);
    command.arg("-db").arg("-f").arg(config);
    let proxy = place.start("haproxy", command)?;
    Ok(Proxy {
        datagrams: None,
        ..proxy
    })
}
