//! Which trusted certificates may issue others.

use super::super::Folder;
use super::ISSUES;
use crate::tls::options::Roots;
use crate::tls::purpose::Purpose;
use crate::tls::roots;

#[test]
fn a_trusted_certificate_issues_others_only_if_it_is_an_issuer() {
    let folder = Folder::new();
    let signs = "keyUsage=keyCertSign,cRLSign";
    for (extensions, is_good) in [
        (&["basicConstraints=CA:FALSE"][..], false),
        (&["basicConstraints=CA:FALSE", signs], false),
        (&["subjectAltName=DNS:a.test"], false),
        (&["keyUsage=digitalSignature"], false),
        (&[ISSUES, "keyUsage=digitalSignature"], false),
        (&[ISSUES, "extendedKeyUsage=serverAuth"], false),
        (&[ISSUES, "extendedKeyUsage=clientAuth"], true),
        (&[signs], true),
        (&[ISSUES], true),
        (&["basicConstraints=CA:TRUE,pathlen:1"], true),
    ] {
        let added = extensions.iter().map(|it| format!(" -addext {it}"));
        folder.self_signed("root", "/CN=root", &added.collect::<String>());
        for (leaf, of_leaf) in [
            ("new", "keyUsage=digitalSignature"),
            ("able", ISSUES),
            ("old", ""),
        ] {
            folder.sign(leaf, "root", 2, of_leaf);
            folder.agree(leaf, &[], None, None, is_good);
            folder.sign("int", "root", 2, ISSUES);
            folder.sign(leaf, "int", 2, of_leaf);
            folder.agree(leaf, &["int"], None, None, is_good);
        }
    }
    // Without extensions it is an old root.
    folder.self_signed("root", "/CN=root", "");
    folder.sign("new", "root", 2, "keyUsage=digitalSignature");
    folder.agree("new", &[], None, None, true);
}

#[test]
fn a_root_says_how_many_issuers_may_be_below_it() {
    let folder = Folder::new();
    let limited = "basicConstraints=critical,CA:TRUE,pathlen:1";
    folder.self_signed("root", "/CN=root", &format!(" -addext {limited}"));
    folder.sign("int", "root", 2, ISSUES);
    folder.sign("int2", "int", 2, ISSUES);
    for (leaf, extensions) in [
        ("new", "keyUsage=digitalSignature"),
        ("able", ISSUES),
        ("old", ""),
    ] {
        folder.sign(leaf, "int", 2, extensions);
        folder.agree(leaf, &["int"], None, None, true);
        folder.sign(leaf, "int2", 2, extensions);
        folder.agree(leaf, &["int", "int2"], None, None, false);
    }
}

#[test]
fn a_root_that_may_not_sign_lists_has_none() {
    let folder = Folder::new();
    for (usage, is_good) in [("keyCertSign", false), ("keyCertSign,cRLSign", true)] {
        folder.self_signed(
            "root",
            "/CN=root",
            &format!(" -addext {ISSUES} -addext keyUsage={usage}"),
        );
        folder.prepare_lists();
        for version in [1, 2] {
            folder.openssl(&format!(
                "ca -config root{version}.conf -cert root.pem -keyfile root.key -gencrl -crldays 2 -out list"
            ));
            for (leaf, extensions) in [("new", "keyUsage=digitalSignature"), ("old", "")] {
                folder.sign(leaf, "root", 2, extensions);
                folder.agree(leaf, &[], None, Some("list"), is_good);
            }
        }
    }
}

#[test]
fn every_root_of_debian_is_an_issuer() {
    let list = "/etc/ssl/certs/ca-certificates.crt".into();
    let roots = roots::load(&Roots::File(list));
    let roots = roots.expect("the package `ca-certificates` is installed");
    let issuers = roots.issuers(Purpose::Server);
    assert_eq!(issuers.len(), roots.anchors().len());
}
