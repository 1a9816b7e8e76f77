//! A TLS server that is not ours.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use super::Finish;

/// `openssl s_server` with a certificate of its own making.
pub struct TlsServer {
    process: Child,
    /// Where it listens, on 127.0.0.1.
    pub address: String,
    /// SHA-256 of its certificate, which is for `localhost`, in hex.
    pub fingerprint: String,
    folder: tempfile::TempDir,
}

impl TlsServer {
    /// One that sends each line back, turned round.
    pub fn start() -> Self {
        Self::start_with("-rev")
    }

    /// One that answers each request with a page about its client, and ends.
    pub fn start_web() -> Self {
        Self::start_with("-www")
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> std::path::PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn start_with(manner: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let openssl = |arguments: &str| {
            let mut command = Command::new("openssl");
            command
                .args(arguments.split(' '))
                .current_dir(folder.path());
            command
        };
        openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost")
            .finish()
            .expect_success();
        let fingerprint = openssl("x509 -in cert.pem -noout -fingerprint -sha256")
            .finish()
            .expect_success();
        let (_, fingerprint) = fingerprint
            .stdout
            .trim()
            .split_once('=')
            .expect("name=value");
        let start = format!("s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem {manner}");
        let mut process = openssl(&start)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let output = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:").map(str::to_owned))
            .expect("it says where it listens");
        // Read on, so that it never writes into a closed pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self {
            process,
            address: format!("tls://127.0.0.1:{port}"),
            fingerprint: fingerprint.replace(':', "").to_lowercase(),
            folder,
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
