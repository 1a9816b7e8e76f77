//! What a client verifies: dates, names, issuers, fingerprints.

use std::process::Command;

use moorline_net::tls::{Fingerprint, Roots, TlsConnector, TlsError, TlsOptions, Verification};

use crate::authority::{Authority, Dates, Identity};
use crate::server::Server;
use crate::{outcome, session, trusting};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

#[tokio::test]
async fn a_certificate_out_of_its_dates_is_refused() {
    let authority = Authority::new("root");
    let options = trusting(&authority.root);
    for flag in VERSIONS {
        let past = Server::start(&authority.issue(&["chat.test"], Dates::Past), &[flag]);
        assert_eq!(
            outcome(&options, &past, "chat.test").await,
            Err(TlsError::Expired)
        );
        let future = Server::start(&authority.issue(&["chat.test"], Dates::Future), &[flag]);
        assert_eq!(
            outcome(&options, &future, "chat.test").await,
            Err(TlsError::NotYetValid)
        );
    }
}

#[tokio::test]
async fn a_certificate_for_other_names_is_refused() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["chat.test", "*.ships.test"], Dates::Now);
    let server = Server::start(&identity, &[]);
    let options = trusting(&authority.root);
    assert_eq!(outcome(&options, &server, "a.ships.test").await, Ok(()));
    for host in [
        "ships.test",
        "a.b.ships.test",
        "127.0.0.1",
        "chat.test.evil.test",
    ] {
        assert_eq!(
            outcome(&options, &server, host).await,
            Err(TlsError::WrongHost {
                expected: host.into(),
                found: vec!["chat.test".into(), "*.ships.test".into()],
            })
        );
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_refused_even_where_self_signed_ones_are_allowed() {
    let authority = Authority::new("root");
    // One of the same name is told apart by its key.
    for name in ["other", "root"] {
        let unknown = Authority::new(name);
        let server = Server::start(&unknown.issue(&["chat.test"], Dates::Now), &[]);
        for verification in [Verification::Full, Verification::AllowSelfSigned] {
            let options = trusting(&authority.root).verification(verification);
            assert_eq!(
                outcome(&options, &server, "chat.test").await,
                Err(TlsError::UnknownIssuer)
            );
        }
    }
}

#[tokio::test]
async fn the_systems_roots_do_not_trust_a_private_authority() {
    let authority = Authority::new("root");
    let server = Server::start(&authority.issue(&["chat.test"], Dates::Now), &[]);
    match TlsConnector::new(&TlsOptions::default()) {
        Ok(connector) => assert_eq!(
            session(&connector, &server, "chat.test").await,
            Err(TlsError::UnknownIssuer)
        ),
        // A machine without the package ca-certificates.
        Err(error) => assert!(matches!(error, TlsError::Options(_)), "{error}"),
    }
}

#[tokio::test]
async fn a_self_signed_certificate_needs_permission_and_is_still_verified() {
    let authority = Authority::new("root");
    let never = trusting(&authority.root);
    let allowed = never.clone().verification(Verification::AllowSelfSigned);
    for identity in [
        authority.self_signed(&["chat.test"], Dates::Now),
        authority.self_signed_ca(&["chat.test"]),
    ] {
        let server = Server::start(&identity, &[]);
        assert_eq!(
            outcome(&never, &server, "chat.test").await,
            Err(TlsError::SelfSigned)
        );
        assert_eq!(outcome(&allowed, &server, "chat.test").await, Ok(()));
        assert_eq!(
            outcome(&allowed, &server, "mail.test").await,
            Err(TlsError::WrongHost {
                expected: "mail.test".into(),
                found: vec!["chat.test".into()],
            })
        );
    }
    let expired = Server::start(&authority.self_signed(&["chat.test"], Dates::Past), &[]);
    assert_eq!(
        outcome(&allowed, &expired, "chat.test").await,
        Err(TlsError::Expired)
    );
    // Permission takes nothing away.
    let issued = Server::start(&authority.issue(&["chat.test"], Dates::Now), &[]);
    assert_eq!(outcome(&allowed, &issued, "chat.test").await, Ok(()));
}

#[tokio::test]
async fn a_self_signed_certificate_is_known_by_its_signature_of_any_kind() {
    let folder = tempfile::tempdir().unwrap();
    let other = Authority::new("other");
    for kind in [
        "ec -pkeyopt ec_paramgen_curve:P-256",
        "ec -pkeyopt ec_paramgen_curve:P-384",
        "ed25519",
        "rsa:2048 -sha256",
        "rsa:2048 -sha1",
        "rsa:2048 -sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest",
    ] {
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        let made = Command::new("openssl")
            .args("req -x509 -nodes -days 2 -subj /CN=own".split(' '))
            .args("-addext subjectAltName=DNS:chat.test -newkey".split(' '))
            .args(kind.split(' '))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("Debian's package openssl has it");
        assert!(made.status.success(), "{kind}: {made:?}");
        let identity = Identity {
            certificate,
            key,
            chain: None,
            der: Vec::new(),
        };
        let server = Server::start(&identity, &[]);
        let options = trusting(&other.root);
        let refused = outcome(&options, &server, "chat.test").await;
        assert_eq!(refused, Err(TlsError::SelfSigned), "{kind}");
        let options = options.verification(Verification::AllowSelfSigned);
        assert_eq!(
            outcome(&options, &server, "chat.test").await,
            Ok(()),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_self_signed_certificate_among_the_roots_is_trusted() {
    let authority = Authority::new("root");
    for identity in [
        authority.self_signed(&["chat.test"], Dates::Now),
        authority.self_signed_ca(&["chat.test"]),
    ] {
        let server = Server::start(&identity, &[]);
        let options = trusting(&identity.certificate);
        assert_eq!(outcome(&options, &server, "chat.test").await, Ok(()));
    }
}

#[tokio::test]
async fn a_certificate_must_have_one_of_the_pinned_fingerprints() {
    let authority = Authority::new("root");
    let identity = authority.self_signed(&["chat.test"], Dates::Now);
    let server = Server::start(&identity, &[]);
    let found = Fingerprint::of(&identity.der.clone().into()).to_string();
    let colons: Vec<String> = found
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
        .collect();
    let other = "00".repeat(32);
    for verification in [Verification::AllowSelfSigned, Verification::DangerouslyNone] {
        let pinned = |fingerprints: &[&str]| {
            trusting(&authority.root)
                .verification(verification)
                .fingerprints(fingerprints.iter().map(|text| (*text).to_owned()).collect())
        };
        for right in [&pinned(&[&found]), &pinned(&[&other, &colons.join(":")])] {
            assert_eq!(outcome(right, &server, "chat.test").await, Ok(()));
        }
        assert_eq!(
            outcome(&pinned(&[&other]), &server, "chat.test").await,
            Err(TlsError::WrongFingerprint {
                found: found.clone()
            })
        );
    }
    // A pin is no permission.
    let options = trusting(&authority.root).fingerprints(vec![found.clone()]);
    assert_eq!(
        outcome(&options, &server, "chat.test").await,
        Err(TlsError::SelfSigned)
    );
}

#[tokio::test]
async fn without_verification_anybody_is_accepted() {
    let authority = Authority::new("root");
    let server = Server::start(&authority.self_signed(&["mail.test"], Dates::Past), &[]);
    let options = TlsOptions::default().verification(Verification::DangerouslyNone);
    assert_eq!(outcome(&options, &server, "chat.test").await, Ok(()));
}

#[tokio::test]
async fn a_chain_longer_than_allowed_is_refused() {
    let root = Authority::new("root");
    let lower = root.intermediate("middle").intermediate("lower");
    let server = Server::start(&lower.issue(&["chat.test"], Dates::Now), &[]);
    let limited = |verify_depth| trusting(&root.root).verify_depth(verify_depth);
    for enough in [None, Some(2), Some(9)] {
        let accepted = outcome(&limited(enough), &server, "chat.test").await;
        assert_eq!(accepted, Ok(()), "{enough:?}");
    }
    for too_few in [0, 1] {
        assert_eq!(
            outcome(&limited(Some(too_few)), &server, "chat.test").await,
            Err(TlsError::ChainTooLong)
        );
    }
}

#[tokio::test]
async fn a_folder_of_roots_is_read() {
    let authority = Authority::new("root");
    let other = Authority::new("other");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(&authority.root, folder.path().join("a.pem")).unwrap();
    std::fs::copy(&other.root, folder.path().join("b.pem")).unwrap();
    std::os::unix::fs::symlink("a.pem", folder.path().join("4242abcd.0")).unwrap();
    std::os::unix::fs::symlink("gone.pem", folder.path().join("4242abcd.1")).unwrap();
    std::fs::write(folder.path().join("README"), "no certificate").unwrap();
    let options = TlsOptions::default().roots(Roots::Folder(folder.path().to_owned()));
    let server = Server::start(&authority.issue(&["chat.test"], Dates::Now), &[]);
    assert_eq!(outcome(&options, &server, "chat.test").await, Ok(()));
}
