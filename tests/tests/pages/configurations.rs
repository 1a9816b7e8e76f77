//! Every configuration that a page shows is accepted.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use moorline_tests::{Issuer, Site};

use super::blocks::{blocks, pages};

/// What a configuration may name, and the pages do not show.
const FILES: &[&str] = &[
    "main.lua",
    "service/main.lua",
    "publish.token",
    "admin.token",
];

/// Pages whose blocks have a test of their own, since each is the result of an import.
const IMPORTED: &[&str] = &["guide/nginx.md", "guide/haproxy.md"];

#[test]
fn every_configuration_of_the_pages_is_accepted() {
    let site = Site::new("moorline", "");
    let certificate = Issuer::new().issue(&["a.example"]);
    for name in ["cert", "a", "b", "ca", "client"] {
        certificate.write(&site, name);
    }
    let key = std::fs::read(site.path("cert.key")).expect("it was written");
    site.write("key.pem", key);
    for name in FILES {
        site.write(name, "0123456789abcdef0123456789abcdef\n");
    }
    // The engine refuses one that others may read.
    site.write("admin.token", "0123456789abcdef0123456789abcdef\n");
    std::fs::set_permissions(site.path("admin.token"), Permissions::from_mode(0o600))
        .expect("it is ours");
    site.write("public/index.html", "");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages() {
        if IMPORTED.iter().any(|imported| page.ends_with(imported)) {
            continue;
        }
        for block in blocks(&page) {
            let is_ours = block
                .file
                .as_deref()
                .is_none_or(|file| file == "moorline.toml");
            if block.language != "toml" || !is_ours {
                continue;
            }
            count += 1;
            site.configure(&whole(&block.text));
            let checked = site.run(&["check"]);
            if !checked.status.success() {
                wrong.push(format!(
                    "{}:\n{}\n{}",
                    page.display(),
                    block.text,
                    checked.said()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count > 30, "only {count} configurations are found");
}

/// A part of a configuration with what it lacks: a listener, or the upstream that its listener names.
fn whole(part: &str) -> String {
    let mut whole = part.to_owned();
    if !part.contains("[[listen]]") {
        whole.insert_str(
            0,
            "[[listen]]\naddress = \"http://127.0.0.1:0\"\nstatic = \"public\"\n",
        );
    }
    if part.contains("upstream = \"mysql\"") && !part.contains("[upstream.mysql]") {
        whole += "\n[upstream.mysql]\npeers = [\"tcp://127.0.0.1:1\"]\n";
    }
    whole
}
