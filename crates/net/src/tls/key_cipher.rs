//! Ciphers that private keys are encrypted by: all in CBC mode with padding (RFC 5652 §6.3).

use ::aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use ::aws_lc_rs::iv::FixedLength;
use des::TdesEde3;
use des::cipher::{BlockDecrypt, KeyInit};

use super::der::{Reader, SEQUENCE};

/// A cipher that private keys are encrypted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyCipher {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
}

/// A block of DES, in bytes.
const DES_BLOCK: usize = 8;

impl KeyCipher {
    /// Its key, in bytes.
    pub(super) fn key_length(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
        }
    }

    /// Decrypts a key in DER. `None`: with a wrong password there is no padding, or no key.
    pub(super) fn open(self, key: &[u8], iv: &[u8], content: &[u8]) -> Option<Vec<u8>> {
        let algorithm = match self {
            Self::Aes128 => &AES_128,
            Self::Aes192 => &AES_192,
            Self::Aes256 => &AES_256,
            Self::TripleDes => return whole(open_des(key, iv, content)?),
        };
        let key = UnboundCipherKey::new(algorithm, key).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let mut content = content.to_vec();
        let iv: [u8; 16] = iv.try_into().ok()?;
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        let opened = key.decrypt(&mut content, context).ok()?;
        whole(opened.to_vec())
    }
}

/// The bytes, if they are one value in DER.
fn whole(der: Vec<u8>) -> Option<Vec<u8>> {
    let mut reader = Reader::new(&der);
    reader.expect(SEQUENCE).ok()?;
    reader.is_empty().then_some(der)
}

fn open_des(key: &[u8], iv: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let cipher = TdesEde3::new_from_slice(key).ok()?;
    let (blocks, []) = content.as_chunks::<DES_BLOCK>() else {
        return None;
    };
    let mut before: [u8; DES_BLOCK] = iv.try_into().ok()?;
    let mut opened = Vec::with_capacity(content.len());
    for encrypted in blocks {
        let mut block = (*encrypted).into();
        cipher.decrypt_block(&mut block);
        opened.extend(block.iter().zip(before).map(|(byte, before)| byte ^ before));
        before = *encrypted;
    }
    let padding = usize::from(*opened.last()?);
    let length = opened.len().checked_sub(padding)?;
    let is_padding = (1..=DES_BLOCK).contains(&padding);
    let are_all = opened[length..]
        .iter()
        .all(|byte| usize::from(*byte) == padding);
    opened.truncate(length);
    (is_padding && are_all).then_some(opened)
}
