//! Certificates that a hostile server may send, and options as they are written.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::authority::Authority;
use super::certificate::Certificate;
use super::roots::TrustedRoots;
use super::verifier::{HostNames, ServerVerifier};
use super::*;

/// A root, and a certificate that it has issued for `chat.test`; one for the same that is its own issuer.
struct Chain {
    roots: Arc<TrustedRoots>,
    issued: CertificateDer<'static>,
    self_signed: CertificateDer<'static>,
}

static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let mut roots = TrustedRoots::empty();
    roots
        .add(params.self_signed(&key).unwrap().der().clone())
        .unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(["chat.test".to_owned()]).unwrap();
    Chain {
        roots: Arc::new(roots),
        issued: leaf.signed_by(&key, &issuer).unwrap().der().clone(),
        self_signed: leaf.self_signed(&key).unwrap().der().clone(),
    }
});

fn accepts(verification: Verification, certificate: &CertificateDer<'_>) -> bool {
    let verifier = ServerVerifier {
        verification,
        names: HostNames::Listed,
        fingerprints: Vec::new(),
        authority: Authority {
            roots: Arc::clone(&CHAIN.roots),
            crls: Vec::new(),
            depth: None,
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        },
    };
    let name = ServerName::try_from("chat.test").unwrap();
    // In 2030: what rcgen issues holds for centuries.
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));
    verifier
        .verify_server_cert(certificate, &[], &name, &[], now)
        .is_ok()
}

#[test]
fn the_certificates_are_accepted_as_they_are() {
    assert!(accepts(Verification::Full, &CHAIN.issued));
    assert!(!accepts(Verification::Full, &CHAIN.self_signed));
    assert!(accepts(Verification::AllowSelfSigned, &CHAIN.self_signed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// One changed byte, and it is refused; nothing panics.
    #[test]
    fn a_certificate_that_was_tampered_with_is_refused(
        at in any::<prop::sample::Index>(),
        change in 1u8..,
        self_signed in any::<bool>(),
    ) {
        let whole = match self_signed {
            true => &CHAIN.self_signed,
            false => &CHAIN.issued,
        };
        let mut bytes = whole.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(!accepts(Verification::AllowSelfSigned, &bytes.into()));
    }

    /// Any bytes, or a part of a certificate: nothing panics.
    #[test]
    fn a_file_without_certificates_is_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        length in any::<prop::sample::Index>(),
    ) {
        prop_assert!(!accepts(Verification::AllowSelfSigned, &bytes.clone().into()));
        let part = CHAIN.self_signed[..length.index(CHAIN.self_signed.len())].to_vec();
        prop_assert!(!accepts(Verification::AllowSelfSigned, &part.into()));
        if let Ok(read) = Certificate::parse(&bytes.into()) {
            let _ = (read.names(), read.is_self_signed());
        }
    }

    /// A fingerprint is read as it is shown, and in openssl's way.
    #[test]
    fn fingerprints_are_read_as_they_are_shown(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let fingerprint = Fingerprint::of(&bytes.into());
        let text = fingerprint.to_string();
        prop_assert_eq!(text.parse(), Ok(fingerprint));
        let pairs: Vec<&str> = (0..32).map(|index| &text[2 * index..2 * index + 2]).collect();
        prop_assert_eq!(pairs.join(":").to_uppercase().parse(), Ok(fingerprint));
        prop_assert!(text[1..].parse::<Fingerprint>().is_err());
        let longer = format!("{text}00");
        prop_assert!(longer.parse::<Fingerprint>().is_err());
    }
}

#[test]
fn options_are_written_by_their_names_and_unknown_ones_refused() {
    let read = |text| toml::from_str::<TlsOptions>(text);
    let options = TlsOptions {
        verification: Verification::AllowSelfSigned,
        roots: Roots::File("roots.pem".into()),
        verify_depth: Some(2),
        alpn: vec!["h2".into()],
        client_certificate: Some(ClientCertificate::new(
            Path::new("ship.pem"),
            Pem::Text {
                pem: "-----BEGIN".into(),
            },
        )),
        ..TlsOptions::default()
    };
    let text = r#"
        verification = "allow-self-signed"
        roots = { file = "roots.pem" }
        verify_depth = 2
        alpn = ["h2"]
        client_certificate = { certificate = "ship.pem", key = { pem = "-----BEGIN" } }
    "#;
    assert_eq!(read(text), Ok(options));
    assert_eq!(read(""), Ok(TlsOptions::default()));
    assert!(read("verify = false").is_err());
    assert!(read("verification = \"none\"").is_err());
}
