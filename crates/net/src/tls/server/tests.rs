//! A client of rustls's own against `TlsRecords`, joined in memory, in pieces of any size.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;

use super::super::options::Pem;
use super::super::{RecordsError, TlsRecords};
use super::names::ShownCertificates;
use super::*;

/// Certificates of an own issuer, in files.
struct Issuer {
    folder: TempDir,
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Issuer {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names are legal");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let issuer = rcgen::CertifiedIssuer::self_signed(params, key).expect("an issuer");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { folder, issuer }
    }

    fn issue(&self, file: &str, names: &[&str]) -> ServerCertificate {
        self.issue_until(file, names, 4096)
    }

    fn issue_until(&self, file: &str, names: &[&str], year: i32) -> ServerCertificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let [certificate_file, key_file] = ["pem", "key"].map(|ending| self.path(file, ending));
        fs::write(&certificate_file, certificate.pem()).expect("a file");
        fs::write(&key_file, key.serialize_pem()).expect("a file");
        ServerCertificate::new(certificate_file, key_file)
    }

    fn path(&self, file: &str, ending: &str) -> PathBuf {
        self.folder.path().join(format!("{file}.{ending}"))
    }

    fn client(&self, host: &str, version: &'static SupportedProtocolVersion) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = ServerName::try_from(host.to_owned()).expect("a name");
        ClientConnection::new(Arc::new(config), host).expect("a client")
    }
}

fn options(certificates: Vec<ServerCertificate>) -> ServerOptions {
    ServerOptions::new(certificates)
}

fn server(options: &ServerOptions) -> ServerTls {
    let credentials = ServerCredentials::load(options).expect("they are good");
    ServerTls::new(options, &credentials).expect("they are good")
}

/// What a socket's reader does: puts pieces behind what is lent, and opens.
fn feed(
    records: &mut TlsRecords,
    mut input: &[u8],
    piece: usize,
    answer: &mut Vec<u8>,
) -> Result<Vec<u8>, RecordsError> {
    let mut plaintext = Vec::new();
    while !input.is_empty() {
        let mut buffer = vec![0; 64 * 1024];
        let before = records.lend(&mut buffer).expect("there is room");
        let count = piece.min(input.len()).min(buffer.len() - before);
        buffer[before..before + count].copy_from_slice(&input[..count]);
        input = &input[count..];
        let mut place = vec![0; 64 * 1024];
        let opened = records.open(&mut buffer[..before + count], &mut place, answer)?;
        plaintext.extend_from_slice(&place[..opened.plaintext]);
    }
    Ok(plaintext)
}

/// Passes everything both ways until nothing is left. Returns what the server has read.
fn converse(client: &mut ClientConnection, records: &mut TlsRecords, piece: usize) -> Vec<u8> {
    let mut plaintext = Vec::new();
    loop {
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).expect("into memory");
        }
        let mut answer = Vec::new();
        plaintext.extend(feed(records, &sent, piece, &mut answer).expect("a good client"));
        if sent.is_empty() && answer.is_empty() {
            return plaintext;
        }
        assert!(receive(client, &answer).is_empty());
    }
}

/// Gives the client what the server has sent. Returns what it reads.
fn receive(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plaintext = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("from memory");
        client.process_new_packets().expect("a good server");
        // "Would block" is how it says that there is no more.
        let _ = client.reader().read_to_end(&mut plaintext);
    }
    plaintext
}

#[test]
fn both_versions_work_in_pieces_of_any_size_and_an_idle_connection_keeps_no_byte() {
    let issuer = Issuer::new();
    let tls = server(&options(vec![issuer.issue("one", &["one.test"])]));
    for version in [&version::TLS12, &version::TLS13] {
        for piece in [1, 7, 1000, 64 * 1024] {
            let mut client = issuer.client("one.test", version);
            let mut records = TlsRecords::server(&tls).expect("randomness");
            assert!(records.is_handshaking());
            assert!(converse(&mut client, &mut records, piece).is_empty());
            assert!(!records.is_handshaking() && !client.is_handshaking());

            let message: Vec<u8> = (0..50_000_u32).map(|at| at as u8).collect();
            client.writer().write_all(&message).expect("a buffer");
            assert_eq!(converse(&mut client, &mut records, piece), message);
            assert_eq!(records.unfinished(), 0);

            let mut sealed = Vec::new();
            for part in message.chunks(40_000) {
                records.seal(part, &mut sealed).expect("an open connection");
            }
            assert_eq!(receive(&mut client, &sealed), message);

            client.send_close_notify();
            assert!(converse(&mut client, &mut records, piece).is_empty());
            assert!(records.is_over());
            // The other direction stays open until it is closed too.
            let mut last = Vec::new();
            records
                .seal(b"last", &mut last)
                .expect("half of it is open");
            records.close(&mut last);
            assert_eq!(receive(&mut client, &last), b"last");
        }
    }
}

#[test]
fn keys_may_be_updated_while_half_a_record_is_here() {
    let issuer = Issuer::new();
    let tls = server(&options(vec![issuer.issue("one", &["one.test"])]));
    let mut client = issuer.client("one.test", &version::TLS13);
    let mut records = TlsRecords::server(&tls).expect("randomness");
    converse(&mut client, &mut records, 64 * 1024);
    for round in 0..20 {
        client.refresh_traffic_keys().expect("TLS 1.3 can");
        client.writer().write_all(b"message").expect("a buffer");
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).expect("into memory");
        }
        let (first, second) = sent.split_at(1 + round % (sent.len() - 1));
        let mut answer = Vec::new();
        let mut plaintext = feed(&mut records, first, 9, &mut answer).expect("a good client");
        // In the middle of a record of the client's, which may be the update itself.
        records
            .seal(b"answer", &mut answer)
            .expect("an open connection");
        plaintext.extend(feed(&mut records, second, 9, &mut answer).expect("a good client"));
        assert_eq!(plaintext, b"message");
        assert_eq!(receive(&mut client, &answer), b"answer");
    }
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let issuer = Issuer::new();
    let options = options(vec![
        issuer.issue("one", &["one.test"]),
        issuer.issue("two", &["two.test", "*.two.test"]),
    ]);
    let tls = server(&options);
    for (host, is_for) in [
        ("one.test", Some("one")),
        ("TWO.test", Some("two")),
        ("a.two.test", Some("two")),
        // A wildcard stands for one label: the first is shown, which the client refuses.
        ("a.b.two.test", None),
        ("other.test", None),
    ] {
        let mut client = issuer.client(host, &version::TLS13);
        let mut records = TlsRecords::server(&tls).expect("randomness");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("into memory");
        let mut answer = Vec::new();
        feed(&mut records, &hello, hello.len(), &mut answer).expect("a good client");
        let mut rest = &answer[..];
        let mut accepted = Ok(());
        while !rest.is_empty() && accepted.is_ok() {
            client.read_tls(&mut rest).expect("from memory");
            accepted = client.process_new_packets().map(|_| ());
        }
        assert_eq!(accepted.is_ok(), is_for.is_some(), "{host}: {accepted:?}");
        if let Some(file) = is_for {
            let shown = client.peer_certificates().expect("it was shown one")[0].clone();
            let path = issuer.path(file, "pem");
            assert_eq!(
                super::super::pem::certificates(&path).expect("PEM"),
                [shown]
            );
        }
    }
}

#[test]
fn a_pattern_chooses_a_certificate_behind_names_and_wildcards() {
    let issuer = Issuer::new();
    let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
    let options = options(vec![
        issuer.issue("one", &["a1.test"]).names(names(&["b.test"])),
        issuer
            .issue("two", &["a1.test", "a2.test", "a3.test"])
            .names(names(&[r"~^A\d\.test$"])),
        issuer.issue("six", &["a3.test"]).names(names(&["a3.*"])),
    ]);
    let tls = server(&options);
    for (host, file) in [("a2.test", "two"), ("a3.test", "six")] {
        let mut client = issuer.client(host, &version::TLS13);
        let mut records = TlsRecords::server(&tls).expect("randomness");
        assert!(records.is_new());
        converse(&mut client, &mut records, 100);
        assert!(!records.is_new());
        let shown = client.peer_certificates().expect("it was shown one")[0].clone();
        let path = issuer.path(file, "pem");
        let written = super::super::pem::certificates(&path).expect("PEM");
        assert_eq!(written, [shown], "{host}");
    }
    let wrong = vec![issuer.issue("one", &["a1.test"]).names(names(&["~("]))];
    let options = self::options(wrong);
    let error = ServerCredentials::load(&options).expect_err("it is no pattern");
    assert!(error.to_string().contains("unclosed group"), "{error}");
}

#[test]
fn equal_patterns_have_all_their_certificates() {
    let issuer = Issuer::new();
    let certificate = |file, pattern: &str| {
        issuer
            .issue(file, &["a.test"])
            .names(vec![pattern.to_owned()])
    };
    let options = options(vec![
        certificate("one", "~^a"),
        certificate("other", "~test$"),
        certificate("two", "~^a"),
    ]);
    let credentials = ServerCredentials::load(&options).expect("they are good");
    let provider = aws_lc_rs::default_provider();
    let shown = ShownCertificates::new(&options, &credentials, &provider).expect("they are good");
    let shown = shown.named("a.test").iter().map(|it| it.cert[0].clone());
    let written = ["one", "two"].map(|file| {
        let path = issuer.path(file, "pem");
        super::super::pem::certificates(&path)
            .expect("PEM")
            .remove(0)
    });
    assert_eq!(shown.collect::<Vec<_>>(), written);
}

#[test]
fn a_server_that_rejects_all_names_needs_no_certificate() {
    let issuer = Issuer::new();
    let options = ServerOptions::new(Vec::new()).rejects_all_names(true);
    let tls = server(&options);
    let mut client = issuer.client("a.test", &version::TLS13);
    let mut records = TlsRecords::server(&tls).expect("randomness");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("into memory");
    let mut answer = Vec::new();
    let error = feed(&mut records, &hello, hello.len(), &mut answer).expect_err("it is refused");
    let expected =
        "no certificate is for the host that the client asks for, or `reject` refuses it";
    assert_eq!(error.to_string(), expected);
    // A record of its own: kind, version, length, level, unrecognized_name.
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 112]);
}

#[test]
fn credentials_that_cannot_be_shown_are_refused_with_the_name_of_the_file() {
    let issuer = Issuer::new();
    let good = issuer.issue("good", &["one.test"]);
    let other = issuer.issue("other", &["one.test"]);
    let expired = issuer.issue_until("expired", &["one.test"], 2001);
    let missing = Pem::from(issuer.path("missing", "pem"));
    let cases = [
        (
            &expired.certificate,
            &expired.key,
            &expired.certificate,
            "its certificate has expired",
        ),
        (
            &good.certificate,
            &other.key,
            &other.key,
            "it does not belong to",
        ),
        (&missing, &good.key, &missing, "No such file"),
        (
            &good.key,
            &good.key,
            &good.key,
            "there is no certificate in it",
        ),
        (
            &good.certificate,
            &good.certificate,
            &good.certificate,
            "there is no private key in it",
        ),
    ];
    for (certificate, key, culprit, problem) in cases {
        let Pem::File(path) = culprit else {
            unreachable!("they are files");
        };
        let files = ServerCertificate::new(certificate.clone(), key.clone());
        let refused = refusal(files);
        let named = path.display().to_string();
        assert!(
            refused.contains(&named) && refused.contains(problem),
            "{refused}"
        );
        if culprit == &missing {
            continue;
        }
        let refused = refusal(ServerCertificate::new(text(certificate), text(key)));
        let named = "cannot use the PEM text: ";
        assert!(
            refused.contains(named) && refused.contains(problem),
            "{refused}"
        );
    }
}

fn refusal(certificate: ServerCertificate) -> String {
    ServerCredentials::load(&options(vec![certificate]))
        .expect_err("it cannot be shown")
        .to_string()
}

/// The same PEM as text.
fn text(pem: &Pem) -> Pem {
    match pem {
        Pem::File(path) => Pem::from_bytes(&fs::read(path).expect("a file")),
        text => text.clone(),
    }
}

#[test]
fn certificates_keys_and_issuers_may_be_text_as_well_as_files() {
    let issuer = Issuer::new();
    let files = issuer.issue("one", &["one.test"]);
    let issuers = Pem::from(issuer.path("ca", "pem"));
    let in_files = ServerOptions {
        client_certificates: ClientCertificates::Optional {
            issuers: issuers.clone(),
        },
        ..options(vec![files.clone()])
    };
    let as_text = ServerOptions {
        client_certificates: ClientCertificates::Optional {
            issuers: text(&issuers),
        },
        ..options(vec![ServerCertificate::new(
            text(&files.certificate),
            text(&files.key),
        )])
    };
    assert_eq!(
        ServerCredentials::load(&as_text),
        ServerCredentials::load(&in_files)
    );
    let tls = server(&as_text);
    let mut client = issuer.client("one.test", &version::TLS13);
    let mut records = TlsRecords::server(&tls).expect("randomness");
    client
        .writer()
        .write_all(b"over text")
        .expect("into memory");
    assert_eq!(converse(&mut client, &mut records, 1000), b"over text");
}

#[test]
fn options_of_files_and_of_text_survive_text_formats_and_binary_ones() {
    let certificate = ServerCertificate::new(
        PathBuf::from("one.pem"),
        Pem::from_bytes(b"-----BEGIN PRIVATE KEY-----"),
    );
    let options = ServerOptions {
        client_certificates: ClientCertificates::Required {
            issuers: Pem::from_bytes(b"-----BEGIN CERTIFICATE-----"),
        },
        ..options(vec![certificate])
    };
    let json = serde_json::to_string(&options).expect("it can be written");
    assert!(
        json.contains(r#"{"certificate":"one.pem","key":{"pem":"-----BEGIN PRIVATE KEY-----"},"password_file":null,"names":[]}"#),
        "{json}"
    );
    assert_eq!(
        serde_json::from_str::<ServerOptions>(&json).expect("it can be read"),
        options
    );
    let bytes = postcard::to_stdvec(&options).expect("it can be written");
    assert_eq!(
        postcard::from_bytes::<ServerOptions>(&bytes).expect("it can be read"),
        options
    );
}

#[test]
fn neither_options_nor_credentials_show_a_key() {
    let issuer = Issuer::new();
    let files = issuer.issue("one", &["one.test"]);
    let as_text = ServerCertificate::new(text(&files.certificate), text(&files.key));
    let options = options(vec![as_text]);
    let credentials = ServerCredentials::load(&options).expect("they are good");
    assert_eq!(format!("{credentials:?}"), "ServerCredentials { .. }");
    assert!(!format!("{options:?}").contains("BEGIN"), "{options:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bytes of anyone's, before the handshake or in its middle, are an error or wait for more; never a panic.
    #[test]
    fn hostile_bytes_are_refused(
        after in 0usize..400,
        noise in proptest::collection::vec(any::<u8>(), 1..600),
        piece in 1usize..100,
    ) {
        thread_local! {
            static SERVER: (Issuer, ServerTls) = {
                let issuer = Issuer::new();
                let tls = server(&options(vec![issuer.issue("one", &["one.test"])]));
                (issuer, tls)
            };
        }
        SERVER.with(|(issuer, tls)| {
            let mut client = issuer.client("one.test", &version::TLS13);
            let mut input = Vec::new();
            client.write_tls(&mut input).expect("into memory");
            input.truncate(after);
            input.extend_from_slice(&noise);
            let mut records = TlsRecords::server(tls).expect("randomness");
            let mut answer = Vec::new();
            if feed(&mut records, &input, piece, &mut answer).is_err() {
                assert!(records.seal(b"x", &mut Vec::new()).is_err());
            }
        });
    }
}
