//! Private keys that a password protects: PKCS #8 (RFC 5958 §3) with PBES2 (RFC 8018 §6.2), as OpenSSL writes them, and the old way.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use ::aws_lc_rs::pbkdf2;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::certificate::Fingerprint;
use super::der::{INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};
use super::key_cipher::KeyCipher;
use super::old_key::{OldKey, base64};
use super::undecrypted::Undecrypted;

const BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";

/// 1.2.840.113549.1.5.13, and 12.
const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
/// 1.2.840.113549.2.7, 9, 10 and 11.
const HMACS: &[(&[u8], pbkdf2::Algorithm)] = &[
    (
        b"\x2a\x86\x48\x86\xf7\x0d\x02\x07",
        pbkdf2::PBKDF2_HMAC_SHA1,
    ),
    (
        b"\x2a\x86\x48\x86\xf7\x0d\x02\x09",
        pbkdf2::PBKDF2_HMAC_SHA256,
    ),
    (
        b"\x2a\x86\x48\x86\xf7\x0d\x02\x0a",
        pbkdf2::PBKDF2_HMAC_SHA384,
    ),
    (
        b"\x2a\x86\x48\x86\xf7\x0d\x02\x0b",
        pbkdf2::PBKDF2_HMAC_SHA512,
    ),
];
/// 2.16.840.1.101.3.4.1.2, 22 and 42, and 1.2.840.113549.3.7.
const CIPHERS: &[(&[u8], KeyCipher)] = &[
    (b"\x60\x86\x48\x01\x65\x03\x04\x01\x02", KeyCipher::Aes128),
    (b"\x60\x86\x48\x01\x65\x03\x04\x01\x16", KeyCipher::Aes192),
    (b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a", KeyCipher::Aes256),
    (b"\x2a\x86\x48\x86\xf7\x0d\x03\x07", KeyCipher::TripleDes),
];
/// Of the derivations for one key, with all passwords together: more would keep the engine from starting.
const MOST_ITERATIONS: u32 = 10_000_000;
/// Decrypted keys that are remembered: a configuration is checked before it is used, so each is asked for twice.
const MOST_REMEMBERED: usize = 64;

/// What was decrypted last, by the digest of the text and its passwords. The process has these keys anyway.
static REMEMBERED: Mutex<VecDeque<(Fingerprint, PrivateKeyDer<'static>)>> =
    Mutex::new(VecDeque::new());

/// The first encrypted key in PEM, decrypted with the first password that fits.
pub(super) fn decrypt(
    pem: &[u8],
    passwords: &[Vec<u8>],
) -> Result<PrivateKeyDer<'static>, Undecrypted> {
    let lengths = passwords.iter().map(|it| it.len().to_be_bytes());
    let lengths: Vec<u8> = lengths.flatten().collect();
    let whole = [&lengths, pem, &passwords.concat()].concat();
    let digest = Fingerprint::of(&whole.into());
    // Nothing panics while it is locked.
    let remembered = || REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = remembered();
    if let Some((_, key)) = known.iter().find(|(of, _)| *of == digest) {
        return Ok(key.clone_key());
    }
    drop(known);
    let key = match body(pem) {
        Some(der) => EncryptedKey::read(&der)?.open_with(passwords)?,
        None => OldKey::read(pem)?.open_with(passwords)?,
    };
    let mut known = remembered();
    if known.len() >= MOST_REMEMBERED {
        known.pop_front();
    }
    known.push_back((digest, key.clone_key()));
    Ok(key)
}

fn body(pem: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memmem::find(pem, BEGIN)? + BEGIN.len();
    let length = memchr::memmem::find(&pem[start..], END)?;
    base64(&pem[start..start + length])
}

struct EncryptedKey<'a> {
    salt: &'a [u8],
    iterations: NonZeroU32,
    hmac: pbkdf2::Algorithm,
    cipher: KeyCipher,
    iv: &'a [u8],
    content: &'a [u8],
}

impl<'a> EncryptedKey<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Undecrypted> {
        let mut whole = Reader::new(der).expect(SEQUENCE)?.reader();
        let mut algorithm = whole.expect(SEQUENCE)?.reader();
        let content = whole.expect(OCTET_STRING)?.content;
        if algorithm.expect(OBJECT_IDENTIFIER)?.content != PBES2 {
            return Err(Undecrypted::UnknownWay);
        }
        let mut parameters = algorithm.expect(SEQUENCE)?.reader();
        let mut derivation = parameters.expect(SEQUENCE)?.reader();
        if derivation.expect(OBJECT_IDENTIFIER)?.content != PBKDF2 {
            return Err(Undecrypted::UnknownWay);
        }
        let mut derivation = derivation.expect(SEQUENCE)?.reader();
        let salt = derivation.expect(OCTET_STRING)?.content;
        let iterations = number(derivation.expect(INTEGER)?.content)?;
        derivation.next_if(INTEGER)?;
        let hmac = match derivation.next_if(SEQUENCE)? {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(hmac) => {
                let kind = hmac.reader().expect(OBJECT_IDENTIFIER)?.content;
                let known = HMACS.iter().find(|(known, _)| *known == kind);
                known.ok_or(Undecrypted::UnknownWay)?.1
            }
        };
        let mut scheme = parameters.expect(SEQUENCE)?.reader();
        let kind = scheme.expect(OBJECT_IDENTIFIER)?.content;
        let cipher = CIPHERS.iter().find(|(known, _)| *known == kind);
        let (_, cipher) = cipher.ok_or(Undecrypted::UnknownWay)?;
        Ok(Self {
            salt,
            iterations,
            hmac,
            cipher: *cipher,
            iv: scheme.expect(OCTET_STRING)?.content,
            content,
        })
    }

    fn open_with(&self, passwords: &[Vec<u8>]) -> Result<PrivateKeyDer<'static>, Undecrypted> {
        let most = usize::try_from(MOST_ITERATIONS / self.iterations).unwrap_or(usize::MAX);
        let mut tried = passwords.iter().take(most);
        match tried.find_map(|password| self.open(password)) {
            Some(found) => Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(found))),
            None if passwords.len() > most => Err(Undecrypted::TooLong),
            None => Err(Undecrypted::WrongPassword),
        }
    }

    fn open(&self, password: &[u8]) -> Option<Vec<u8>> {
        let mut key = vec![0; self.cipher.key_length()];
        pbkdf2::derive(self.hmac, self.iterations, self.salt, password, &mut key);
        self.cipher.open(&key, self.iv, self.content)
    }
}

fn number(bytes: &[u8]) -> Result<NonZeroU32, Undecrypted> {
    if bytes.len() > 4 {
        return Err(Undecrypted::UnknownWay);
    }
    let number = bytes
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    NonZeroU32::new(number)
        .filter(|number| number.get() <= MOST_ITERATIONS)
        .ok_or(Undecrypted::UnknownWay)
}
