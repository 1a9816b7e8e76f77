//! What both sides agree on: versions, protocols, names, certificates of clients, earlier sessions.

use std::path::Path;
use std::sync::Arc;

use moorline_net::tls::rustls::crypto::aws_lc_rs;
use moorline_net::tls::rustls::pki_types::CertificateDer;
use moorline_net::tls::rustls::pki_types::pem::PemObject;
use moorline_net::tls::rustls::{ClientConfig, RootCertStore};
use moorline_net::tls::{
    ClientCertificate, Fingerprint, Pem, Roots, TlsConnector, TlsError, TlsOptions, TlsVersion,
    typed,
};
use moorline_net::{ConnectCause, DialOptions, Dialer};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::authority::{Authority, Dates, Identity};
use crate::server::Server;
use crate::{PATIENCE, connect, outcome, session, trusting};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

fn showing(identity: &Identity) -> Option<ClientCertificate> {
    let (certificate, key) = (identity.certificate.as_path(), identity.key.as_path());
    Some(ClientCertificate::new(certificate, key))
}

#[tokio::test]
async fn a_server_with_a_trusted_certificate_is_accepted_and_described() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["chat.test", "127.0.0.1"], Dates::Now);
    let options = trusting(&authority.root);
    for (flag, version) in VERSIONS
        .into_iter()
        .zip([TlsVersion::Tls12, TlsVersion::Tls13])
    {
        let server = Server::start(&identity, &[flag]);
        let connector = TlsConnector::new(&options).unwrap();
        // By name, as a fully qualified one, and by address.
        for host in ["chat.test", "CHAT.test.", "127.0.0.1"] {
            let found = session(&connector, &server, host).await.unwrap();
            assert_eq!(found.version, version);
            assert!(found.cipher.starts_with("TLS_"), "{}", found.cipher);
            assert_eq!(found.alpn, None);
            assert_eq!(found.names, ["chat.test", "127.0.0.1"]);
            assert_eq!(found.certificate.as_ref(), identity.der);
            assert_eq!(found.fingerprint, Fingerprint::of(&found.certificate));
        }
    }
}

#[tokio::test]
async fn later_handshakes_with_a_server_are_resumed() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["chat.test"], Dates::Now);
    for flag in VERSIONS {
        let server = Server::start(&identity, &[flag]);
        let connector = TlsConnector::new(&trusting(&authority.root)).unwrap();
        let first = session(&connector, &server, "chat.test").await.unwrap();
        let second = session(&connector.clone(), &server, "chat.test")
            .await
            .unwrap();
        assert_eq!((first.resumed, second.resumed), (false, true), "{flag}");
        assert_eq!(first.certificate, second.certificate);
    }
}

#[tokio::test]
async fn the_right_client_certificate_is_shown() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["chat.test"], Dates::Now);
    let options =
        trusting(&authority.root).client_certificate(showing(&authority.issue_client("ship.test")));
    for flag in VERSIONS {
        let root = authority.root.to_str().unwrap();
        let server = Server::start(
            &identity,
            &[
                flag,
                "-Verify",
                "2",
                "-verify_return_error",
                "-CAfile",
                root,
            ],
        );
        assert_eq!(outcome(&options, &server, "chat.test").await, Ok(()));
    }
}

#[tokio::test]
async fn pem_text_serves_as_well_as_files() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["chat.test"], Dates::Now);
    let own = authority.issue_client("ship.test");
    let text = |path: &Path| Pem::from_bytes(&std::fs::read(path).unwrap());
    let options = TlsOptions::default()
        .roots(Roots::Pem(
            std::fs::read_to_string(&authority.root).unwrap(),
        ))
        .client_certificate(Some(ClientCertificate::new(
            text(&own.certificate),
            text(&own.key),
        )));
    let shown = format!("{:?}", options.client_certificate);
    assert!(!shown.contains("PRIVATE"), "{shown}");
    let root = authority.root.to_str().unwrap();
    let arguments = ["-Verify", "2", "-verify_return_error", "-CAfile", root];
    let server = Server::start(&identity, &arguments);
    assert_eq!(outcome(&options, &server, "chat.test").await, Ok(()));
    let broken = options.roots(Roots::Pem("no certificate".into()));
    let error = TlsConnector::new(&broken).unwrap_err();
    let expected = "cannot use the PEM text: there is no certificate in it";
    assert_eq!(error, TlsError::Options(expected.into()));
}

#[tokio::test]
async fn a_callers_own_configuration_decides_on_verification() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["127.0.0.1"], Dates::Now);
    let server = Server::start(&identity, &[]);
    for (roots, is_trusted) in [(&authority, true), (&Authority::new("other"), false)] {
        let mut store = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(&roots.root).unwrap();
        store.add(root).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store)
            .with_no_client_auth();
        let connector = TlsConnector::from_config(Arc::new(config));
        let dialer = Dialer::new(DialOptions::default()).with_tls(connector);
        let address = format!("tls://{}", server.address).parse().unwrap();
        let dialed = timeout(PATIENCE, dialer.connect(&address)).await.unwrap();
        match dialed {
            Ok(connection) => assert!(is_trusted && connection.tls().is_some()),
            Err(error) => {
                let cause = ConnectCause::Tls(TlsError::UnknownIssuer);
                assert!(!is_trusted, "{error}");
                assert_eq!(error.cause().to_string(), cause.to_string());
            }
        }
    }
}

/// What the handshake says, or the first read.
async fn refusal(options: &TlsOptions, server: &Server) -> (TlsError, Stage) {
    let connector = TlsConnector::new(options).unwrap();
    match connect(&connector, server, "chat.test").await {
        Err(error) => (error, Stage::Handshake),
        Ok(mut stream) => {
            let read = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
            let error = typed(read.expect_err("the server refused"));
            (TlsError::of(&error).expect("it is one of TLS"), Stage::Read)
        }
    }
}

#[derive(Debug, PartialEq)]
enum Stage {
    Handshake,
    Read,
}

#[tokio::test]
async fn a_refused_client_certificate_has_its_own_error() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["chat.test"], Dates::Now);
    let other = Authority::new("other");
    let missing = trusting(&authority.root);
    let wrong = missing
        .clone()
        .client_certificate(showing(&other.issue_client("ship.test")));
    let root = authority.root.to_str().unwrap();
    let arguments = ["-Verify", "2", "-verify_return_error", "-CAfile", root];
    for (flag, stage) in VERSIONS.into_iter().zip([Stage::Handshake, Stage::Read]) {
        let server = Server::start(&identity, &[&[flag], &arguments[..]].concat());
        for options in [&missing, &wrong] {
            let (error, when) = refusal(options, &server).await;
            assert!(
                matches!(error, TlsError::ClientCertificateRefused(_)),
                "{flag}: {error:?}"
            );
            assert_eq!(when, stage, "{flag}");
        }
    }
}

#[tokio::test]
async fn a_protocol_is_agreed_on_or_the_server_refused() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["chat.test"], Dates::Now);
    let offering = |alpn: &[&str]| {
        trusting(&authority.root).alpn(alpn.iter().map(|name| (*name).to_owned()).collect())
    };
    for flag in VERSIONS {
        let server = Server::start(&identity, &[flag, "-alpn", "h2,http/1.1"]);
        let connector = TlsConnector::new(&offering(&["chat/1", "h2"])).unwrap();
        let found = session(&connector, &server, "chat.test").await.unwrap();
        assert_eq!(found.alpn.as_deref(), Some("h2"));
        assert_eq!(
            outcome(&offering(&["chat/1"]), &server, "chat.test").await,
            Err(TlsError::NoCommonProtocol)
        );
        // One that does not know protocols.
        let server = Server::start(&identity, &[flag]);
        assert_eq!(
            outcome(&offering(&["h2"]), &server, "chat.test").await,
            Err(TlsError::NoCommonProtocol)
        );
        assert_eq!(outcome(&offering(&[]), &server, "chat.test").await, Ok(()));
    }
}

#[tokio::test]
async fn the_name_sent_is_the_hosts_or_another_or_none() {
    let authority = Authority::new("root");
    let first = authority.issue(&["first.test"], Dates::Now);
    let second = authority.issue(&["second.test"], Dates::Now);
    let server = Server::start(
        &first,
        &[
            "-servername",
            "second.test",
            "-cert2",
            second.certificate.to_str().unwrap(),
            "-key2",
            second.key.to_str().unwrap(),
        ],
    );
    let options = trusting(&authority.root);
    let names = async |options: &TlsOptions, host| {
        let connector = TlsConnector::new(options).unwrap();
        session(&connector, &server, host)
            .await
            .map(|found| found.names)
    };
    assert_eq!(
        names(&options, "first.test").await,
        Ok(vec!["first.test".into()])
    );
    assert_eq!(
        names(&options, "second.test").await,
        Ok(vec!["second.test".into()])
    );
    let named = options.clone().server_name(Some("second.test".into()));
    assert_eq!(
        names(&named, "127.0.0.1").await,
        Ok(vec!["second.test".into()])
    );
    let silent = options.no_sni(true);
    assert_eq!(
        names(&silent, "second.test").await,
        Err(TlsError::WrongHost {
            expected: "second.test".into(),
            found: vec!["first.test".into()],
        })
    );
}
