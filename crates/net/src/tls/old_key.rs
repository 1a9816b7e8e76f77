//! Private keys in the old encryption of PEM (RFC 1421 §4.6.1.3), as `openssl rsa -traditional -aes256` and old programs write them.

use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};
use md5::{Digest, Md5};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivateSec1KeyDer};

use super::key_cipher::KeyCipher;
use super::undecrypted::Undecrypted;

/// A private key in the old encryption of PEM.
pub(super) struct OldKey {
    kind: OldKind,
    cipher: KeyCipher,
    iv: Vec<u8>,
    content: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OldKind {
    Rsa,
    Ec,
}

const LABELS: &[(&str, OldKind)] = &[
    ("RSA PRIVATE KEY", OldKind::Rsa),
    ("EC PRIVATE KEY", OldKind::Ec),
];
const CIPHERS: &[(&str, KeyCipher)] = &[
    ("AES-128-CBC", KeyCipher::Aes128),
    ("AES-192-CBC", KeyCipher::Aes192),
    ("AES-256-CBC", KeyCipher::Aes256),
    ("DES-EDE3-CBC", KeyCipher::TripleDes),
];
/// The part of the initial vector that salts the key, in bytes.
const SALT: usize = 8;

impl OldKey {
    /// The first one in PEM.
    pub(super) fn read(pem: &[u8]) -> Result<Self, Undecrypted> {
        let pem = String::from_utf8_lossy(pem);
        let mut found = LABELS.iter().filter_map(|(label, kind)| {
            let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
            let (text, _) = rest.split_once(&format!("-----END {label}-----"))?;
            text.contains("ENCRYPTED").then_some((text, *kind))
        });
        let (text, kind) = found.next().ok_or(Undecrypted::UnknownWay)?;
        let info = text.lines().find_map(|line| line.strip_prefix("DEK-Info:"));
        let info = info.and_then(|info| info.split_once(','));
        let (name, iv) = info.ok_or(Undecrypted::UnknownWay)?;
        let cipher = CIPHERS.iter().find(|(known, _)| *known == name.trim());
        let iv = HEXUPPER_PERMISSIVE.decode(iv.trim().as_bytes());
        // Headers have a colon, which no other line has.
        let lines = text.lines().filter(|line| !line.contains(':'));
        let content = base64(lines.collect::<String>().as_bytes());
        match (cipher, iv, content) {
            (Some((_, cipher)), Ok(iv), Some(content)) if iv.len() >= SALT => Ok(Self {
                kind,
                cipher: *cipher,
                iv,
                content,
            }),
            _ => Err(Undecrypted::UnknownWay),
        }
    }

    /// Decrypts it with the first password that fits.
    pub(super) fn open_with(
        &self,
        passwords: &[Vec<u8>],
    ) -> Result<PrivateKeyDer<'static>, Undecrypted> {
        let opened = passwords.iter().find_map(|password| {
            let key = derive(password, &self.iv[..SALT], self.cipher.key_length());
            self.cipher.open(&key, &self.iv, &self.content)
        });
        let opened = opened.ok_or(Undecrypted::WrongPassword)?;
        Ok(match self.kind {
            OldKind::Rsa => PrivatePkcs1KeyDer::from(opened).into(),
            OldKind::Ec => PrivateSec1KeyDer::from(opened).into(),
        })
    }
}

/// The bytes of a text with white space.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.iter().copied();
    let text: Vec<u8> = text.filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(&text).ok()
}

/// A key of this number of bytes, by one round of MD5 for each 16 of them, as OpenSSL has it.
fn derive(password: &[u8], salt: &[u8], length: usize) -> Vec<u8> {
    let mut key: Vec<u8> = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    while key.len() < length {
        let mut round = Md5::new();
        round.update(&last);
        round.update(password);
        round.update(salt);
        last = round.finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}
