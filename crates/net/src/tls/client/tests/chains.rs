//! Chains and lists as operators make them, judged as OpenSSL judges them.

mod issuers;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use super::Folder;
use crate::tls::authority::Authority;
use crate::tls::certificate::Certificate;
use crate::tls::options::Pem;
use crate::tls::pem;
use crate::tls::purpose::Purpose;
use crate::tls::revocation::RevocationList;
use crate::tls::roots::TrustedRoots;
use crate::tls::server::{
    ClientCertificates, ServerCertificate, ServerCredentials, ServerOptions, ServerTls,
};

const ISSUES: &str = "basicConstraints=critical,CA:TRUE";

impl Folder {
    /// A certificate of this issuer with these extensions; of version 1 without any.
    fn sign(&self, name: &str, issuer: &str, days: i32, extensions: &str) {
        fs::write(self.path("ext"), extensions.replace(';', "\n")).expect("a file");
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config plain.conf -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        let extensions = match extensions.is_empty() {
            true => "",
            false => " -extfile ext",
        };
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -days {days} -out {name}.pem{extensions}"
        ));
    }

    fn der(&self, name: &str) -> CertificateDer<'static> {
        let path = self.path(&format!("{name}.pem"));
        CertificateDer::from_pem_file(path).expect("a certificate")
    }

    /// Whether a client's certificate is good, here and for OpenSSL.
    fn judge(
        &self,
        leaf: &str,
        others: &[&str],
        depth: Option<u8>,
        crl: Option<&str>,
    ) -> (Result<(), webpki::Error>, bool) {
        let mut roots = TrustedRoots::empty();
        roots.add(self.der("root")).expect("a root");
        let lists = crl.map(|crl| Pem::File(self.path(crl)));
        let lists = lists.map_or_else(Vec::new, |crl| pem::crls(&crl).expect("lists"));
        let authority = Authority {
            roots: Arc::new(roots),
            crls: RevocationList::read_all(&lists).expect("they can be read"),
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
            depth,
        };
        let der = self.der(leaf);
        let certificate = Certificate::parse(&der).expect("a certificate");
        let others_ders: Vec<_> = others.iter().map(|other| self.der(other)).collect();
        let path = (&der, &certificate);
        let found = authority.verify(path, &others_ders, Purpose::Client, UnixTime::now());

        let mut command = Command::new("openssl");
        command.args(["verify", "-CAfile", "root.pem", "-purpose", "sslclient"]);
        let untrusted: String = others
            .iter()
            .map(|other| fs::read_to_string(self.path(&format!("{other}.pem"))).expect("a file"))
            .collect();
        fs::write(self.path("untrusted.pem"), untrusted).expect("a file");
        if !others.is_empty() {
            command.args(["-untrusted", "untrusted.pem"]);
        }
        if let Some(depth) = depth {
            command.args(["-verify_depth", &depth.to_string()]);
        }
        if let Some(crl) = crl {
            command.args(["-crl_check_all", "-CRLfile", crl]);
        }
        command
            .arg(format!("{leaf}.pem"))
            .current_dir(self.path("."));
        let output = command.output().expect("openssl is installed");
        (found, output.status.success())
    }

    /// Whether a listener accepts a client that shows the certificate that it trusts.
    fn is_client_accepted(&self, crl: Option<&str>) -> bool {
        self.self_signed("server", "/CN=server", " -addext subjectAltName=DNS:a.test");
        let certificate = ServerCertificate::new(
            self.path("server.pem").as_path(),
            self.path("server.key").as_path(),
        );
        let issuers = Pem::File(self.path("root.pem"));
        let mut options = ServerOptions::new(vec![certificate])
            .client_certificates(ClientCertificates::Required { issuers });
        options.client_crl = crl.map(|crl| Pem::File(self.path(crl)));
        let credentials = ServerCredentials::load(&options).expect("they are good");
        let tls = ServerTls::new(&options, &credentials).expect("they are good");
        let judge = tls.judge.expect("clients are asked");
        let found = judge.verify_client_cert(&self.der("root"), &[], UnixTime::now());
        found.is_ok()
    }

    #[track_caller]
    fn agree(
        &self,
        leaf: &str,
        others: &[&str],
        depth: Option<u8>,
        crl: Option<&str>,
        is_good: bool,
    ) {
        let (found, by_openssl) = self.judge(leaf, others, depth, crl);
        assert_eq!(
            (found.is_ok(), by_openssl),
            (is_good, is_good),
            "{leaf} below {others:?}, {depth:?}, {crl:?}: {found:?}"
        );
    }

    /// Issuers below it that may issue others or not.
    fn sign_issuers(&self) {
        self.sign("int", "root", 2, ISSUES);
        self.sign("int2", "int", 2, ISSUES);
        self.sign(
            "short",
            "root",
            2,
            "basicConstraints=critical,CA:TRUE,pathlen:0",
        );
        self.sign("below", "short", 2, ISSUES);
        self.sign("none", "root", 2, "basicConstraints=CA:FALSE");
        self.sign(
            "unsigning",
            "root",
            2,
            &format!("{ISSUES};keyUsage=cRLSign"),
        );
        self.sign("expired", "root", -1, ISSUES);
        self.sign(
            "servers",
            "root",
            2,
            &format!("{ISSUES};extendedKeyUsage=serverAuth"),
        );
        self.sign("old_issuer", "root", 2, "");
    }

    /// What `openssl ca` needs to make lists of revoked certificates of both issuers, in both versions.
    fn prepare_lists(&self) {
        for issuer in ["root", "int"] {
            fs::write(self.path(&format!("{issuer}.index")), "").expect("a file");
            fs::write(self.path(&format!("{issuer}.number")), "01").expect("a file");
            // Without the number of the list they are of version 1.
            for (version, number) in [
                (1, String::new()),
                (2, format!("crlnumber = {issuer}.number\n")),
            ] {
                let config = format!(
                    "[ca]\ndefault_ca = c\n[c]\ndatabase = {issuer}.index\ndefault_md = sha256\n{number}"
                );
                fs::write(self.path(&format!("{issuer}{version}.conf")), config).expect("a file");
            }
        }
    }
}

#[test]
fn certificates_of_version_1_and_of_issuers_are_judged_as_openssl_judges_them() {
    let folder = Folder::new();
    folder.self_signed("root", "/CN=root", &format!(" -addext {ISSUES}"));
    folder.sign_issuers();
    for (issuer, others, is_good) in [
        ("root", &[][..], true),
        ("int", &["int"], true),
        ("int2", &["int2", "int"], true),
        ("int2", &["int", "int2"], true),
        ("int2", &["int2"], false),
        ("short", &["short"], true),
        ("below", &["below", "short"], false),
        ("none", &["none"], false),
        ("unsigning", &["unsigning"], false),
        ("expired", &["expired"], false),
        ("servers", &["servers"], false),
        ("old_issuer", &["old_issuer"], false),
    ] {
        folder.sign("old", issuer, 2, "");
        folder.sign("able", issuer, 2, ISSUES);
        for leaf in ["old", "able"] {
            folder.agree(leaf, others, None, None, is_good);
        }
        folder.sign(
            "for_servers",
            issuer,
            2,
            &format!("{ISSUES};extendedKeyUsage=serverAuth"),
        );
        folder.agree("for_servers", others, None, None, false);
        folder.sign(
            "strange",
            issuer,
            2,
            &format!("{ISSUES};1.2.3.4=critical,DER:0500"),
        );
        folder.agree("strange", others, None, None, false);
        folder.sign("late", issuer, -1, ISSUES);
        folder.agree("late", others, None, None, false);
    }
    // Another one with the name of an issuer.
    folder.sign("old", "int", 2, "");
    fs::rename(folder.path("int.pem"), folder.path("true.pem")).expect("a file");
    folder.sign("int", "root", 2, ISSUES);
    folder.agree("old", &["int"], None, None, false);
    // OpenSSL looks at the first one alone.
    let (found, _) = folder.judge("old", &["int", "true"], None, None);
    assert_eq!(found, Ok(()));
}

#[test]
fn the_limits_of_a_root_hold_although_its_key_has_another_certificate() {
    let folder = Folder::new();
    let limited = "nameConstraints=critical,permitted;DNS:.good.example";
    folder.self_signed(
        "root",
        "/CN=root",
        &format!(" -addext {ISSUES} -addext {limited}"),
    );
    folder.openssl(&format!(
        "req -x509 -new -key root.key -config plain.conf -subj /CN=root -days 2 -addext {ISSUES} -out other.pem"
    ));
    folder.sign("old", "root", 2, "");
    folder.sign(
        "able",
        "root",
        2,
        &format!("{ISSUES};subjectAltName=DNS:bad.example"),
    );
    for leaf in ["old", "able"] {
        for others in [&[][..], &["other"]] {
            let (found, _) = folder.judge(leaf, others, None, None);
            assert!(found.is_err(), "{leaf} beside {others:?}");
        }
    }
}

#[test]
fn issuers_are_peers_only_if_their_keys_may_be_used_so() {
    let folder = Folder::new();
    folder.self_signed("root", "/CN=root", &format!(" -addext {ISSUES}"));
    for (usage, is_good) in [
        ("keyCertSign,cRLSign", false),
        ("keyCertSign,keyEncipherment", false),
        ("keyCertSign,digitalSignature", true),
        ("keyCertSign,keyAgreement", true),
    ] {
        folder.sign("able", "root", 2, &format!("{ISSUES};keyUsage={usage}"));
        folder.agree("able", &[], None, None, is_good);
    }
}

#[test]
fn many_certificates_with_one_name_cost_little_and_hide_no_path() {
    let folder = Folder::new();
    folder.self_signed("root", "/CN=root", &format!(" -addext {ISSUES}"));
    folder.sign("int", "root", 2, ISSUES);
    folder.sign("int2", "int", 2, ISSUES);
    folder.sign("leaf", "int2", 2, "keyUsage=digitalSignature");
    let mut roots = TrustedRoots::empty();
    roots.add(folder.der("root")).expect("a root");
    let authority = Authority {
        roots: Arc::new(roots),
        crls: Vec::new(),
        algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        depth: None,
    };
    // Each is its own issuer, and all have one name.
    let mut crowd = Vec::new();
    for _ in 0..40 {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names are legal");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::CommonName, "int2");
        params.distinguished_name = name;
        let key = rcgen::KeyPair::generate().expect("a key");
        crowd.push((
            params.self_signed(&key).expect("a certificate"),
            params,
            key,
        ));
    }
    let verify = |leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]| {
        let certificate = Certificate::parse(leaf).expect("a certificate");
        let path = (leaf, &certificate);
        let begun = Instant::now();
        let found = authority.verify(path, others, Purpose::Client, UnixTime::now());
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        found
    };
    let mut others: Vec<_> = crowd.iter().map(|(it, ..)| it.der().clone()).collect();
    let (_, params, key) = crowd.pop().expect("there are some");
    let issuer = rcgen::Issuer::new(params, key);
    let leaf = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    assert_eq!(
        verify(leaf.der(), &others),
        Err(webpki::Error::UnknownIssuer)
    );
    // The true ones behind them are found.
    others.extend(["int", "int2"].map(|name| folder.der(name)));
    assert_eq!(verify(&folder.der("leaf"), &others), Ok(()));
}

#[test]
fn chains_are_no_longer_than_allowed() {
    let folder = Folder::new();
    folder.self_signed("root", "/CN=root", &format!(" -addext {ISSUES}"));
    folder.sign("int", "root", 2, ISSUES);
    folder.sign("int2", "int", 2, ISSUES);
    let others = ["int2", "int"];
    for (extensions, name) in [
        ("", "old"),
        (ISSUES, "able"),
        ("keyUsage=digitalSignature", "new"),
    ] {
        folder.sign(name, "int2", 2, extensions);
        for (depth, is_good) in [(0, false), (1, false), (2, true), (3, true)] {
            folder.agree(name, &others, Some(depth), None, is_good);
        }
        folder.sign(name, "root", 2, extensions);
        folder.agree(name, &[], Some(0), None, true);
    }
}

#[test]
fn lists_of_revoked_certificates_are_judged_as_openssl_judges_them() {
    let folder = Folder::new();
    folder.self_signed("root", "/CN=root", &format!(" -addext {ISSUES}"));
    folder.sign("int", "root", 2, ISSUES);
    for (name, extensions) in [
        ("old", ""),
        ("able", ISSUES),
        ("new", "keyUsage=digitalSignature"),
    ] {
        folder.sign(name, "int", 2, extensions);
    }
    folder.prepare_lists();
    let list = |issuer: &str, version: u8, times: &str, to: &str| {
        folder.openssl(&format!(
            "ca -config {issuer}{version}.conf -cert {issuer}.pem -keyfile {issuer}.key -gencrl {times} -out {to}"
        ));
    };
    let both = |version: u8, times: &str, to: &str| {
        list("root", 2, "-crldays 2", "a");
        list("int", version, times, "b");
        let read = |name| fs::read_to_string(folder.path(name)).expect("a list");
        fs::write(folder.path(to), read("a") + &read("b")).expect("a file");
    };
    let past = "-crl_lastupdate 20200101000000Z -crl_nextupdate 20200102000000Z";
    for version in [1, 2] {
        both(version, "-crldays 2", "good");
        both(version, past, "past");
        list("int", version, "-crldays 2", "half");
        for leaf in ["old", "able", "new"] {
            folder.agree(leaf, &["int"], None, Some("good"), true);
            folder.agree(leaf, &["int"], None, Some("past"), false);
            folder.agree(leaf, &["int"], None, Some("half"), false);
        }
        // An old list beside a new one.
        let read = |name| fs::read_to_string(folder.path(name)).expect("a list");
        fs::write(folder.path("two"), read("past") + &read("good")).expect("a file");
        folder.agree("new", &["int"], None, Some("two"), true);
        folder.agree("old", &["int"], None, Some("two"), true);
    }
    // A list of another one with the same name.
    fs::rename(folder.path("int.key"), folder.path("true.key")).expect("a file");
    fs::rename(folder.path("int.pem"), folder.path("true.pem")).expect("a file");
    folder.self_signed("int", "/CN=int", &format!(" -addext {ISSUES}"));
    both(1, "-crldays 2", "false");
    fs::rename(folder.path("true.key"), folder.path("int.key")).expect("a file");
    fs::rename(folder.path("true.pem"), folder.path("int.pem")).expect("a file");
    for leaf in ["old", "able", "new"] {
        folder.agree(leaf, &["int"], None, Some("false"), false);
        for version in [1, 2] {
            folder.openssl(&format!(
                "ca -config int{version}.conf -cert int.pem -keyfile int.key -revoke {leaf}.pem"
            ));
            both(version, "-crldays 2", "good");
            folder.agree(leaf, &["int"], None, Some("good"), false);
            fs::write(folder.path("int.index"), "").expect("a file");
        }
    }
}

#[test]
fn where_the_issuer_does_not_count_a_client_is_accepted_as_nginx_accepts_it() {
    let folder = Folder::new();
    for issuer in ["root", "other"] {
        let subject = format!("/CN={issuer}");
        folder.self_signed(issuer, &subject, &format!(" -addext {ISSUES}"));
    }
    folder.self_signed("server", "/CN=server", " -addext subjectAltName=DNS:a.test");
    let certificate = ServerCertificate::new(
        folder.path("server.pem").as_path(),
        folder.path("server.key").as_path(),
    );
    let issuers = Some(Pem::File(folder.path("root.pem")));
    let options = ServerOptions::new(vec![certificate])
        .client_certificates(ClientCertificates::Unverified { issuers });
    let credentials = ServerCredentials::load(&options).expect("they are good");
    let tls = ServerTls::new(&options, &credentials).expect("they are good");
    let judge = tls.judge.expect("clients are asked");
    let use_of = "keyUsage=digitalSignature";
    for (name, issuer, days, extensions, is_accepted) in [
        ("a", "root", 2, use_of, true),
        ("b", "other", 2, use_of, true),
        ("c", "other", -1, use_of, false),
        ("d", "root", -1, use_of, false),
        ("e", "root", 2, "extendedKeyUsage=serverAuth", false),
        ("f", "other", 2, "extendedKeyUsage=serverAuth", true),
        ("g", "root", 2, "1.2.3.4=critical,DER:0500", false),
        ("h", "other", 2, "1.2.3.4=critical,DER:0500", true),
        ("i", "other", 2, "", true),
        ("j", "other", -1, "", false),
        ("k", "other", 2, ISSUES, true),
    ] {
        folder.sign(name, issuer, days, extensions);
        let found = judge.verify_client_cert(&folder.der(name), &[], UnixTime::now());
        assert_eq!(found.is_ok(), is_accepted, "{name}: {found:?}");
    }
    for (name, extensions, is_accepted) in [
        ("l", "", true),
        ("m", " -addext extendedKeyUsage=serverAuth", false),
        ("n", " -addext extendedKeyUsage=clientAuth", true),
    ] {
        folder.self_signed(name, &format!("/CN={name}"), extensions);
        let found = judge.verify_client_cert(&folder.der(name), &[], UnixTime::now());
        assert_eq!(found.is_ok(), is_accepted, "{name}: {found:?}");
    }
}

#[test]
fn a_trusted_certificate_must_be_the_one_that_is_trusted() {
    let folder = Folder::new();
    for extensions in ["basicConstraints=CA:FALSE", ISSUES] {
        folder.self_signed("root", "/CN=root", &format!(" -addext {extensions}"));
        folder.agree("root", &[], None, None, true);
        // The holder of its key makes another one for the same name.
        folder.openssl(&format!(
            "req -x509 -key root.key -config plain.conf -out again.pem -days 9 -subj /CN=root -addext {extensions}"
        ));
        folder.agree("again", &[], None, None, false);
    }
    // The same below an issuer that nobody trusts.
    folder.self_signed("other", "/CN=other", &format!(" -addext {ISSUES}"));
    folder.openssl("req -new -key root.key -config plain.conf -out again.csr -subj /CN=root");
    fs::write(folder.path("ext"), ISSUES).expect("a file");
    folder.openssl("x509 -req -in again.csr -CA other.pem -CAkey other.key -CAcreateserial -days 2 -out again.pem -extfile ext");
    folder.agree("again", &[], None, None, false);
}

#[test]
fn a_trusted_certificate_is_judged_by_lists_and_by_its_purpose() {
    let folder = Folder::new();
    fs::write(folder.path("index"), "").expect("a file");
    fs::write(
        folder.path("ca.conf"),
        "[ca]\ndefault_ca = c\n[c]\ndatabase = index\ndefault_md = sha256\n",
    )
    .expect("a file");
    let list = |times: &str, to: &str| {
        folder.openssl(&format!(
            "ca -config ca.conf -cert root.pem -keyfile root.key -gencrl {times} -out {to}"
        ));
    };
    let past = "-crl_lastupdate 20200101000000Z -crl_nextupdate 20200102000000Z";
    let good = "-crldays 2";
    for extensions in ["basicConstraints=CA:FALSE", ISSUES] {
        fs::write(folder.path("index"), "").expect("a file");
        folder.self_signed("other", "/CN=other", "");
        folder.self_signed("root", "/CN=root", &format!(" -addext {extensions}"));
        list(good, "good");
        list(past, "past");
        folder.openssl(
            "ca -config ca.conf -cert other.pem -keyfile other.key -gencrl -crldays 2 -out other",
        );
        folder.openssl("ca -config ca.conf -cert root.pem -keyfile root.key -revoke root.pem");
        list(good, "revoked");
        list(past, "past_revoked");
        for (crl, is_good) in [
            ("good", true),
            ("past", false),
            ("other", false),
            ("revoked", false),
            ("past_revoked", false),
        ] {
            assert_eq!(
                folder.is_client_accepted(Some(crl)),
                is_good,
                "{crl} with {extensions}"
            );
        }
        assert!(folder.is_client_accepted(None));
    }
    folder.self_signed("root", "/CN=root", " -addext extendedKeyUsage=serverAuth");
    assert!(!folder.is_client_accepted(None));
}
