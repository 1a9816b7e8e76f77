//! Clients against servers of rustls's own, joined in memory, and certificates as operators have them.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::super::options::{ClientCertificate, Pem, Roots};
use super::super::{RecordsError, TlsRecords, TlsVersion, Versions};
use super::*;

mod chains;
mod keys;

/// A folder in which `openssl` makes certificates.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let config = "[req]\ndistinguished_name = name\n[name]\n";
        fs::write(folder.path("plain.conf"), config).expect("a file");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command
            .args(arguments.split(' '))
            .current_dir(self.0.path());
        let output = command.output().expect("openssl is installed");
        assert!(output.status.success(), "{output:?}");
    }

    /// A certificate that is its own issuer. Without extensions it is of version 1.
    fn self_signed(&self, name: &str, subject: &str, more: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config plain.conf -keyout {name}.key -out {name}.pem \
             -days 2 -subj {subject}{more}"
        ));
    }

    fn server(&self, name: &str) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let der = CertificateDer::from_pem_file(self.path(&format!("{name}.pem")));
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")));
        let key = provider.key_provider.load_private_key(key.expect("a key"));
        let shown = CertifiedKey::new(vec![der.expect("a certificate")], key.expect("a key"));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        config.alpn_protocols = vec![b"b".to_vec()];
        config
    }

    fn trusting(&self, name: &str) -> ClientOptions {
        ClientOptions {
            roots: Roots::File(self.path(&format!("{name}.pem"))),
            ..ClientOptions::default()
        }
    }
}

fn ready(options: &ClientOptions) -> ClientTls {
    let credentials = ClientCredentials::load(options).expect("they are good");
    ClientTls::new(options, &credentials).expect("they are good")
}

/// Passes bytes on until neither side says anything more. Returns the client's plaintext.
fn converse(
    client: &mut TlsRecords,
    server: &mut ServerConnection,
) -> Result<Vec<u8>, RecordsError> {
    let mut plaintext = Vec::new();
    let mut to_server = Vec::new();
    client.open(&mut [], &mut [], &mut to_server)?;
    loop {
        let mut sent = to_server.as_slice();
        while !sent.is_empty() {
            server.read_tls(&mut sent).expect("memory");
            // What it refuses shows in its alert.
            let _ = server.process_new_packets();
        }
        to_server.clear();
        let mut to_client = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut to_client).expect("memory");
        }
        if to_client.is_empty() {
            return Ok(plaintext);
        }
        let mut place = vec![0; 64 * 1024];
        let lent = client.lend(&mut place).expect("there is room");
        place[lent..lent + to_client.len()].copy_from_slice(&to_client);
        let mut opened = vec![0; 64 * 1024];
        let bytes = client.open(
            &mut place[..lent + to_client.len()],
            &mut opened,
            &mut to_server,
        )?;
        plaintext.extend_from_slice(&opened[..bytes.plaintext]);
    }
}

fn shake(
    tls: &ClientTls,
    host: Option<&str>,
    config: &Arc<ServerConfig>,
) -> Result<TlsRecords, String> {
    let mut client = tls.connect(host).map_err(|error| error.to_string())?;
    let mut server = ServerConnection::new(config.clone()).expect("randomness");
    let shaken = converse(&mut client, &mut server);
    shaken.map_err(|error| error.to_string())?;
    assert!(!client.is_handshaking());
    Ok(client)
}

#[test]
fn bytes_pass_both_ways_in_both_versions() {
    let folder = Folder::new();
    folder.self_signed("a", "/CN=a", " -addext subjectAltName=DNS:a.test");
    let config = Arc::new(folder.server("a"));
    for (versions, version) in [
        (Versions::Tls12, TlsVersion::Tls12),
        (Versions::Tls13, TlsVersion::Tls13),
        (Versions::Both, TlsVersion::Tls13),
    ] {
        let options = ClientOptions {
            versions,
            alpn: vec!["a".into(), "b".into()],
            ..folder.trusting("a")
        };
        let mut client = ready(&options).connect(Some("a.test")).expect("a name");
        let mut server = ServerConnection::new(config.clone()).expect("randomness");
        converse(&mut client, &mut server).expect("it is the right server");
        assert_eq!(client.version(), Some(version));
        assert_eq!(client.alpn(), Some(&b"b"[..]));
        assert_eq!(server.server_name(), Some("a.test"));
        let sent = vec![7; 100_000];
        let mut sealed = Vec::new();
        client.seal(&sent, &mut sealed).expect("it is open");
        client.close(&mut sealed);
        let (mut rest, mut came) = (sealed.as_slice(), Vec::new());
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("memory");
            let state = server.process_new_packets().expect("good records");
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            server.reader().read_exact(&mut part).expect("it is there");
            came.extend(part);
        }
        assert!(came == sent);
        server.writer().write_all(b"hello").expect("memory");
        server.send_close_notify();
        let plaintext = converse(&mut client, &mut server).expect("good records");
        assert_eq!(plaintext, b"hello");
        assert!(client.is_over());
    }
}

#[test]
fn sessions_are_resumed_with_the_same_server_alone_and_only_if_they_may_be() {
    let folder = Folder::new();
    folder.self_signed("a", "/CN=a", " -addext subjectAltName=DNS:a.test");
    let config = Arc::new(folder.server("a"));
    for versions in [Versions::Tls12, Versions::Tls13] {
        for resumes in [true, false] {
            let options = ClientOptions {
                versions,
                resumes,
                ..folder.trusting("a")
            };
            let tls = ready(&options);
            let is_resumed =
                |tls: &ClientTls| shake(tls, Some("a.test"), &config).map(|it| it.is_resumed());
            assert_eq!(is_resumed(&tls), Ok(false));
            assert_eq!(is_resumed(&tls), Ok(resumes));
            assert_eq!(is_resumed(&tls.for_another()), Ok(false));
        }
    }
}

#[test]
fn certificates_of_version_1_count_where_they_are_trusted_or_nothing_is_verified() {
    let folder = Folder::new();
    folder.self_signed("old", "/CN=a.test", "");
    folder.self_signed("other", "/CN=other", "");
    let config = Arc::new(folder.server("old"));
    let shake = |options: &ClientOptions, host| shake(&ready(options), host, &config).map(drop);
    let unverified = ClientOptions {
        verifies: false,
        ..ClientOptions::default()
    };
    for versions in [Versions::Tls12, Versions::Tls13] {
        let unverified = ClientOptions {
            versions,
            ..unverified.clone()
        };
        for host in [None, Some("a.test"), Some("not a name")] {
            assert_eq!(shake(&unverified, host), Ok(()));
        }
        let trusting = ClientOptions {
            versions,
            ..folder.trusting("old")
        };
        assert_eq!(shake(&trusting, Some("a.test")), Ok(()));
        let error = shake(&trusting, Some("b.test")).expect_err("it has another name");
        assert!(error.contains("b.test"), "{error}");
        assert!(shake(&trusting, None).is_err());
    }
    let error =
        shake(&folder.trusting("other"), Some("a.test")).expect_err("nobody vouches for it");
    assert!(error.contains("self-signed"), "{error}");
}

#[test]
fn a_certificate_of_version_1_that_a_trusted_one_has_signed_counts() {
    let folder = Folder::new();
    folder.self_signed("ca", "/CN=ca", "");
    for issuer in ["ca", "fake"] {
        if issuer == "fake" {
            folder.self_signed("fake", "/CN=ca", "");
        }
        folder.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config plain.conf -keyout a.key -out a.csr -subj /CN=*.a.test");
        folder.openssl(&format!("x509 -req -in a.csr -CA {issuer}.pem -CAkey {issuer}.key -set_serial 5 -days 2 -out a.pem"));
        let config = Arc::new(folder.server("a"));
        let shaken = shake(&ready(&folder.trusting("ca")), Some("b.a.test"), &config).map(drop);
        match issuer {
            "ca" => assert_eq!(shaken, Ok(())),
            _ => assert!(
                shaken.is_err_and(|error| error.contains("version 1")),
                "{issuer}"
            ),
        }
    }
}

#[test]
fn a_common_name_does_not_escape_what_its_issuer_may_name() {
    let folder = Folder::new();
    for (issuer, limits) in [
        ("free", ""),
        ("bound", "nameConstraints=critical,permitted;DNS:corp.test"),
    ] {
        let extensions = format!("basicConstraints=critical,CA:TRUE\n{limits}\n");
        let config = format!(
            "[req]\ndistinguished_name = name\nx509_extensions = issuer\n[name]\n[issuer]\n{extensions}"
        );
        fs::write(folder.path("issuer.conf"), config).expect("a file");
        folder.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config issuer.conf -keyout {issuer}.key -out {issuer}.pem \
             -days 2 -subj /O={issuer}"
        ));
        folder.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config plain.conf -keyout peer.key -out peer.csr -subj /CN=db.test");
        fs::write(folder.path("peer.ext"), "keyUsage=digitalSignature\n").expect("a file");
        folder.openssl(&format!(
            "x509 -req -in peer.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -days 2 -extfile peer.ext -out peer.pem"
        ));
        let client = ready(&folder.trusting(issuer));
        let config = Arc::new(folder.server("peer"));
        let shaken = shake(&client, Some("db.test"), &config).map(drop);
        assert_eq!(shaken.is_ok(), issuer == "free", "{issuer}: {shaken:?}");
    }
}

#[test]
fn a_server_gets_the_certificate_that_it_asks_for() {
    let folder = Folder::new();
    folder.self_signed("a", "/CN=a", " -addext subjectAltName=DNS:a.test");
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_file(folder.path("a.pem"));
    roots.add(der.expect("a certificate")).expect("a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let of = folder.server("a");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a root"))
        .with_cert_resolver(of.cert_resolver);
    let config = Arc::new(config);
    let options = ClientOptions {
        versions: Versions::Tls12,
        ..folder.trusting("a")
    };
    let error = shake(&ready(&options), Some("a.test"), &config).expect_err("it has none");
    assert!(error.contains("Required"), "{error}");
    let shown = ClientOptions {
        certificate: Some(ClientCertificate::new(
            Pem::File(folder.path("a.pem")),
            Pem::File(folder.path("a.key")),
        )),
        ..options
    };
    assert_eq!(
        shake(&ready(&shown), Some("a.test"), &config).map(drop),
        Ok(())
    );
}

#[test]
fn what_was_revoked_is_refused() {
    let folder = Folder::new();
    folder.self_signed(
        "ca",
        "/CN=ca",
        " -addext basicConstraints=critical,CA:TRUE -addext keyUsage=cRLSign,keyCertSign",
    );
    fs::write(folder.path("index"), "").expect("a file");
    fs::write(folder.path("number"), "01").expect("a file");
    fs::write(folder.path("ext"), "subjectAltName=DNS:a.test").expect("a file");
    fs::write(
        folder.path("ca.conf"),
        "[ca]\ndefault_ca = c\n[c]\ndatabase = index\ndefault_md = sha256\ndefault_crl_days = 2\ncrlnumber = number\n",
    )
    .expect("a file");
    folder.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config plain.conf -keyout a.key -out a.csr -subj /CN=a");
    folder.openssl("x509 -req -in a.csr -CA ca.pem -CAkey ca.key -set_serial 5 -days 2 -extfile ext -out a.pem");
    let config = Arc::new(folder.server("a"));
    for is_revoked in [false, true] {
        if is_revoked {
            folder.openssl("ca -config ca.conf -cert ca.pem -keyfile ca.key -revoke a.pem");
        }
        folder.openssl("ca -config ca.conf -cert ca.pem -keyfile ca.key -gencrl -out crl.pem");
        let options = ClientOptions {
            crl: Some(Pem::File(folder.path("crl.pem"))),
            ..folder.trusting("ca")
        };
        let shaken = shake(&ready(&options), Some("a.test"), &config).map(drop);
        match is_revoked {
            false => assert_eq!(shaken, Ok(())),
            true => assert!(shaken.is_err_and(|error| error.contains("evoked"))),
        }
    }
}

/// The end of this number of records, or of all that are there.
fn ends(bytes: &[u8], records: usize) -> usize {
    let mut at = 0;
    for _ in 0..records {
        match bytes.get(at..at + 5) {
            Some(header) => at += 5 + usize::from(u16::from_be_bytes([header[3], header[4]])),
            None => break,
        }
    }
    at.clamp(1, bytes.len())
}

/// A client that takes its server's records in pieces, and sends in between.
struct Taker {
    client: TlsRecords,
    came: Vec<u8>,
    to_server: Vec<u8>,
    has_closed: bool,
}

impl Taker {
    fn new(tls: &ClientTls) -> Self {
        let mut client = tls.connect(Some("a.test")).expect("a name");
        let mut to_server = Vec::new();
        client
            .open(&mut [], &mut [], &mut to_server)
            .expect("it begins");
        Self {
            client,
            came: Vec::new(),
            to_server,
            has_closed: false,
        }
    }

    /// Takes one piece, up to any byte or to the end of a record.
    fn take(&mut self, to_client: &mut Vec<u8>, random: &mut fastrand::Rng) {
        let most = random.usize(1..60_000);
        let piece = match random.bool() {
            true => random.usize(1..=to_client.len().min(most)),
            false => ends(to_client, random.usize(1..6)),
        };
        let mut place = vec![0; 100_000];
        let lent = self.client.lend(&mut place).expect("there is room");
        place[lent..lent + piece].copy_from_slice(&to_client[..piece]);
        to_client.drain(..piece);
        let mut opened = vec![0; 100_000];
        let records = &mut place[..lent + piece];
        let bytes = self.client.open(records, &mut opened, &mut self.to_server);
        let bytes = bytes.expect("good records").plaintext;
        self.came.extend_from_slice(&opened[..bytes]);
        if !self.client.is_handshaking() && !self.has_closed {
            self.send(random);
        }
    }

    fn send(&mut self, random: &mut fastrand::Rng) {
        let before = self.client.unfinished();
        // Less than a whole record, of either version.
        let whole = match self.client.version() {
            Some(TlsVersion::Tls12) => 16_413,
            _ => 16_406,
        };
        assert!(before < whole, "{before}");
        match random.u8(..10) {
            0 => {
                self.client.close(&mut self.to_server);
                self.has_closed = true;
            }
            _ => {
                let sealed = self.client.seal(b"hello", &mut self.to_server);
                sealed.expect("it is open");
            }
        }
        assert_eq!(self.client.unfinished(), before);
    }
}

#[test]
fn records_pass_whole_in_pieces_of_any_size_while_the_other_way_goes_on() {
    let folder = Folder::new();
    folder.self_signed("a", "/CN=a", " -addext subjectAltName=DNS:a.test");
    let config = Arc::new(folder.server("a"));
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..300 {
        let options = ClientOptions {
            versions: [Versions::Tls12, Versions::Tls13][round % 2],
            ..folder.trusting("a")
        };
        let mut taker = Taker::new(&ready(&options));
        let mut server = ServerConnection::new(config.clone()).expect("randomness");
        server.set_buffer_limit(None);
        let bytes = 0..random.usize(..100_000);
        let sent: Vec<u8> = bytes.map(|_| random.u8(..)).collect();
        let (mut to_client, mut given) = (Vec::new(), 0);
        while !taker.client.is_over() {
            let mut rest = taker.to_server.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("memory");
                server.process_new_packets().expect("good records");
            }
            taker.to_server.clear();
            if !server.is_handshaking() && given < sent.len() {
                let part = &sent[given..given + random.usize(1..=sent.len() - given)];
                server.writer().write_all(part).expect("memory");
                given += part.len();
            } else if !server.is_handshaking() {
                server.send_close_notify();
            }
            while server.wants_write() {
                server.write_tls(&mut to_client).expect("memory");
            }
            while !to_client.is_empty() && !taker.client.is_over() {
                taker.take(&mut to_client, &mut random);
            }
        }
        assert!(taker.came == sent, "round {round}");
    }
}
