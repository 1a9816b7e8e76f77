//! Options that make no sense.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use moorline_net::tls::{ClientCertificate, Roots, TlsConnector, TlsError};

use crate::authority::Authority;
use crate::trusting;

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn senseless_options_name_the_mistake() {
    let authority = Authority::new("root");
    let folder = authority.folder();
    let one = authority.issue_client("one.test");
    let two = authority.issue_client("two.test");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
        path
    };
    let empty = file("empty.pem", b"");
    let broken = file(
        "broken.pem",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    );
    let encrypted = file(
        "encrypted.key",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let rooted = |path: &Path| trusting(path);
    let shown = |certificate: &Path, key: &Path| {
        trusting(&authority.root).client_certificate(Some(ClientCertificate::new(certificate, key)))
    };
    let usual = trusting(&authority.root);
    let bare = tempfile::tempdir().unwrap();
    for (options, words) in [
        (rooted(&folder.join("none.pem")), "none.pem: No such file"),
        (rooted(&empty), "empty.pem: there is no certificate in it"),
        (rooted(&broken), "broken.pem: "),
        (rooted(folder), "it is no file"),
        (
            usual.clone().roots(Roots::Folder(bare.path().to_owned())),
            "there is no certificate in its files",
        ),
        (shown(&one.certificate, &two.key), "one.test.pem"),
        (shown(&one.certificate, &encrypted), "is encrypted"),
        (
            shown(&one.certificate, &one.certificate),
            "there is no private key in it",
        ),
        (
            usual.clone().fingerprints(vec!["abc".into()]),
            "64 hex digits",
        ),
        (usual.clone().alpn(vec![String::new()]), "1 to 255 bytes"),
        (
            usual.clone().server_name(Some("two words".into())),
            "`two words` is no name of a server",
        ),
    ] {
        match TlsConnector::new(&options) {
            Err(TlsError::Options(problem)) => {
                assert!(problem.contains(words), "{problem}");
                // Nothing of what stands in a key file.
                assert!(!problem.contains("MIIB"), "{problem}");
            }
            other => panic!("{words}: {other:?}"),
        }
    }
    let connector = TlsConnector::new(&shown(&one.certificate, &one.key)).unwrap();
    assert!(!format!("{connector:?}").to_lowercase().contains("key"));
}
