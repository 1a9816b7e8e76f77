//! Private keys that a password protects: PKCS #8 (RFC 5958 §3) with PBES2 (RFC 8018 §6.2), as OpenSSL writes them.

use std::num::NonZeroU32;

use ::aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use ::aws_lc_rs::iv::FixedLength;
use ::aws_lc_rs::pbkdf2;
use data_encoding::BASE64;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::der::{INTEGER, Malformed, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};

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
/// 2.16.840.1.101.3.4.1.2 and 42: AES in CBC mode, with keys of this number of bytes.
const AES_CBC_128: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x02";
const AES_CBC_256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
/// Of a key that is derived: more would keep the engine from starting.
const MOST_ITERATIONS: u32 = 10_000_000;

/// Why a key cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undecrypted {
    /// No password fits.
    WrongPassword,
    /// It is encrypted in a way that is not known here.
    UnknownWay,
}

impl From<Malformed> for Undecrypted {
    fn from(_: Malformed) -> Self {
        Self::UnknownWay
    }
}

/// The first encrypted key in PEM, decrypted with the first password that fits.
pub(super) fn decrypt(
    pem: &[u8],
    passwords: &[Vec<u8>],
) -> Result<PrivateKeyDer<'static>, Undecrypted> {
    let der = body(pem).ok_or(Undecrypted::UnknownWay)?;
    let key = EncryptedKey::read(&der)?;
    let mut passwords = passwords.iter();
    let found = passwords.find_map(|password| key.open(password));
    let found = found.ok_or(Undecrypted::WrongPassword)?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(found)))
}

fn body(pem: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memmem::find(pem, BEGIN)? + BEGIN.len();
    let length = memchr::memmem::find(&pem[start..], END)?;
    let text = pem[start..start + length].iter().copied();
    let text: Vec<u8> = text.filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(&text).ok()
}

struct EncryptedKey<'a> {
    salt: &'a [u8],
    iterations: NonZeroU32,
    hmac: pbkdf2::Algorithm,
    cipher: &'static Algorithm,
    key_length: usize,
    iv: [u8; 16],
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
        let (cipher, key_length) = match scheme.expect(OBJECT_IDENTIFIER)?.content {
            AES_CBC_128 => (&AES_128, 16),
            AES_CBC_256 => (&AES_256, 32),
            _ => return Err(Undecrypted::UnknownWay),
        };
        let iv = scheme.expect(OCTET_STRING)?.content;
        Ok(Self {
            salt,
            iterations,
            hmac,
            cipher,
            key_length,
            iv: iv.try_into().map_err(|_| Undecrypted::UnknownWay)?,
            content,
        })
    }

    /// Decrypts it. A wrong password gives no padding, or no key.
    fn open(&self, password: &[u8]) -> Option<Vec<u8>> {
        let mut key = vec![0; self.key_length];
        pbkdf2::derive(self.hmac, self.iterations, self.salt, password, &mut key);
        let key = UnboundCipherKey::new(self.cipher, &key).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let mut content = self.content.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(self.iv));
        let opened = key.decrypt(&mut content, context).ok()?;
        Reader::new(opened).expect(SEQUENCE).ok()?;
        Some(opened.to_vec())
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
