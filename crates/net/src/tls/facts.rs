//! What a certificate says, in the words of OpenSSL: what operators and their logs know.

use std::fmt::Write;

use ::aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;
use rustls::pki_types::UnixTime;

use super::certificate::Certificate;

/// The facts of a peer's certificate.
#[derive(Debug)]
pub struct CertificateFacts<'a> {
    der: &'a [u8],
    read: Certificate<'a>,
}

impl<'a> CertificateFacts<'a> {
    /// Reads a certificate in DER; `None` if it is none.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let read = Certificate::read(der).ok()?;
        Some(Self { der, read })
    }

    /// The subject (RFC 2253): the last part first, with commas between them.
    pub fn subject(&self) -> String {
        self.read.subject().to_string()
    }

    /// The issuer, likewise.
    pub fn issuer(&self) -> String {
        self.read.issuer_name().to_string()
    }

    /// The serial number in upper-case hex, of whole bytes.
    pub fn serial(&self) -> String {
        let bytes = match self.read.serial() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            bytes => bytes,
        };
        hex(bytes).to_ascii_uppercase()
    }

    /// The SHA-1 of its DER form in lower-case hex.
    pub fn fingerprint(&self) -> String {
        hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, self.der).as_ref())
    }

    /// When it begins to hold, as in `Nov 29 14:05:06 2026 GMT`.
    pub fn start(&self) -> String {
        self.read.times()[0].to_string()
    }

    /// When it ends to hold.
    pub fn end(&self) -> String {
        self.read.times()[1].to_string()
    }

    /// The same in seconds since the Unix epoch; 0 before that.
    pub fn end_time(&self) -> u64 {
        u64::try_from(self.read.times()[1].seconds()).unwrap_or(0)
    }

    /// The whole days that it still holds; 0 once it has expired.
    pub fn days(&self) -> u64 {
        let now = UnixTime::now().as_secs();
        let left = self.read.times()[1].seconds() - i64::try_from(now).unwrap_or(i64::MAX);
        u64::try_from(left).unwrap_or(0) / 86_400
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        let text = BASE64.encode(self.der);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, behind) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = behind;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // A string takes every write.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The name of a cipher suite, as OpenSSL writes it.
pub(super) fn openssl_name(suite: rustls::CipherSuite) -> String {
    let name = format!("{suite:?}");
    if let Some(rest) = name.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    let name = name.strip_prefix("TLS_").unwrap_or(&name);
    let name = name.replace("_WITH_", "_").replace("AES_", "AES");
    // The hash of this one is in its name already.
    let name = name.replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305");
    name.replace('_', "-")
}
