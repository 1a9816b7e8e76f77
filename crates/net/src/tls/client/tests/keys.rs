//! Encrypted keys as OpenSSL writes them.

use std::fs;

use super::Folder;
use crate::tls::options::Pem;
use crate::tls::passwords::Passwords;
use crate::tls::pem;

impl Folder {
    /// Reads a key with these passwords.
    fn key(&self, file: &str, passwords: &[&str]) -> Result<Vec<u8>, String> {
        let passwords: Vec<_> = passwords.iter().map(|it| it.as_bytes().to_vec()).collect();
        let key = Pem::File(self.path(file));
        let key = pem::private_key(&key, Passwords::Known(&passwords));
        key.map(|key| key.secret_der().to_vec())
            .map_err(|error| error.to_string())
    }
}

#[test]
fn keys_are_decrypted_whichever_way_openssl_encrypts_them() {
    let folder = Folder::new();
    folder.openssl("genrsa -traditional -out rsa.key 2048");
    folder.openssl("ecparam -genkey -name prime256v1 -noout -out ec.key");
    for kind in ["rsa", "ec"] {
        let plain = format!("{kind}.key");
        let bare = folder.key(&plain, &["right"]).expect("it is a key");
        let traditional = match kind {
            "rsa" => "rsa -traditional",
            _ => "ec",
        };
        for cipher in ["aes128", "aes192", "aes256", "des3"] {
            folder.openssl(&format!(
                "{traditional} -in {plain} -{cipher} -passout pass:right -out locked.key"
            ));
            let text = fs::read_to_string(folder.path("locked.key")).expect("a file");
            assert!(text.contains("Proc-Type: 4,ENCRYPTED"), "{text}");
            let opened = folder.key("locked.key", &["wrong", "right"]);
            assert_eq!(opened.as_ref(), Ok(&bare), "{kind} {cipher}");
            for wrong in [&[][..], &["wrong", "Right"]] {
                let error = folder.key("locked.key", wrong).expect_err("it is locked");
                assert!(error.contains("none of the passwords fits"), "{error}");
            }
        }
        folder.openssl(&format!("pkcs8 -topk8 -nocrypt -in {plain} -out bare8.key"));
        let bare = folder.key("bare8.key", &[]).expect("it is a key");
        for cipher in ["aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "des3"] {
            for more in [
                "",
                " -v2prf hmacWithSHA1",
                " -v2prf hmacWithSHA512 -iter 100000",
            ] {
                folder.openssl(&format!(
                    "pkcs8 -topk8 -in {plain} -v2 {cipher}{more} -passout pass:right -out locked.key"
                ));
                let opened = folder.key("locked.key", &["wrong", "right"]);
                assert_eq!(opened.as_ref(), Ok(&bare), "{kind} {cipher}{more}");
                let error = folder
                    .key("locked.key", &["wrong"])
                    .expect_err("it is locked");
                assert!(error.contains("none of the passwords fits"), "{error}");
            }
        }
    }
}

#[test]
fn a_key_that_would_take_too_long_or_is_broken_is_refused() {
    let folder = Folder::new();
    folder.openssl("ecparam -genkey -name prime256v1 -noout -out ec.key");
    folder.openssl("pkcs8 -topk8 -in ec.key -iter 4000000 -passout pass:right -out slow.key");
    let error = folder.key("slow.key", &["a", "b", "right"]);
    assert!(error.is_err_and(|error| error.contains("too long")));
    folder.openssl("pkcs8 -topk8 -in ec.key -v1 PBE-SHA1-3DES -passout pass:right -out old.key");
    let error = folder.key("old.key", &["right"]);
    assert!(error.is_err_and(|error| error.contains("not read here")));
    folder.openssl("ec -in ec.key -aes256 -passout pass:right -out good.key");
    let good = fs::read_to_string(folder.path("good.key")).expect("a file");
    let half = &good[..good.len() / 2];
    for (text, problem) in [
        (good.replace("AES-256-CBC", "BF-CBC"), "not read here"),
        (
            good.replace("DEK-Info: AES-256-CBC,", "DEK-Info: AES-256-CBC,zz"),
            "not read here",
        ),
        (good.replace("DEK-Info", "DEK"), "not read here"),
        (half.to_owned(), "not read here"),
        (
            good.replace("AES-256-CBC", "DES-EDE3-CBC"),
            "none of the passwords",
        ),
    ] {
        fs::write(folder.path("bad.key"), &text).expect("a file");
        let error = folder.key("bad.key", &["right"]).expect_err("it is broken");
        assert!(error.contains(problem), "{text}: {error}");
    }
}
