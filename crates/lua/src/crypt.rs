//! `skynet.crypt`: what logins and signatures are made of. Hashes of 64 bits and DES are there for clients that speak them, and protect
//! little.

use data_encoding::{BASE64, HEXLOWER};
use des::Des;
use des::cipher::{Block, BlockDecrypt, BlockEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use mlua::{Lua, LuaString, Table};
use sha1::{Digest, Sha1};

use crate::md5;
use crate::module::{Module, failure};

/// The module's table.
pub(crate) fn module(lua: &Lua) -> mlua::Result<Table> {
    let padding = lua.create_table_from([("iso7816_4", 0), ("pkcs7", 1)])?;
    let module = Module::new(lua)?.value("padding", padding)?;
    Ok(texts(keys(module)?)?.into_table())
}

fn keys(module: Module<'_>) -> mlua::Result<Module<'_>> {
    module
        .function("randomkey", |lua, ()| lua.create_string(random_key()?))?
        .function("hashkey", |lua, text: LuaString| {
            lua.create_string(hash(&text.as_bytes()))
        })?
        .function("dhexchange", |lua, key: LuaString| {
            let key = word(&key, "dh uint64 key")?;
            lua.create_string(power(GENERATOR, nonzero(key)?).to_le_bytes())
        })?
        .function("dhsecret", |lua, (x, y): (LuaString, LuaString)| {
            let (x, y) = (word(&x, "uint64 x")?, word(&y, "uint64 y")?);
            lua.create_string(power(nonzero(x)?, nonzero(y)?).to_le_bytes())
        })?
        .function("hmac64", |lua, (x, y): (LuaString, LuaString)| {
            let (x, y) = (word(&x, "uint64 x")?, word(&y, "uint64 y")?);
            lua.create_string(sign(x, y).to_le_bytes())
        })?
        .function("hmac64_md5", |lua, (x, y): (LuaString, LuaString)| {
            let both = [
                word(&x, "uint64 x")?.to_le_bytes(),
                word(&y, "uint64 y")?.to_le_bytes(),
            ];
            lua.create_string(folded(md5::sum(&both.as_flattened().repeat(3))))
        })?
        .function("hmac_hash", |lua, (key, text): (LuaString, LuaString)| {
            let key = word(&key, "uint64 key")?;
            let text = u64::from_le_bytes(hash(&text.as_bytes()));
            lua.create_string(sign(text, key).to_le_bytes())
        })
}

fn texts(module: Module<'_>) -> mlua::Result<Module<'_>> {
    type Crypted = (LuaString, LuaString, Option<i64>);
    module
        .function("desencode", |lua, (key, text, padding): Crypted| {
            let (des, padding) = (cipher(&key)?, Padding::new(padding)?);
            lua.create_string(encrypted(&des, &text.as_bytes(), padding))
        })?
        .function("desdecode", |lua, (key, text, padding): Crypted| {
            let (des, padding) = (cipher(&key)?, Padding::new(padding)?);
            lua.create_string(decrypted(&des, &text.as_bytes(), padding)?)
        })?
        .function("hexencode", |_, text: LuaString| {
            Ok(HEXLOWER.encode(&text.as_bytes()))
        })?
        .function("hexdecode", |lua, text: LuaString| {
            let text = text.as_bytes();
            if !text.len().is_multiple_of(2) {
                return Err(failure(format!("Invalid hex text size {}", text.len())));
            }
            let bytes = HEXLOWER.decode(&text);
            lua.create_string(bytes.map_err(|_| failure("Invalid hex text"))?)
        })?
        .function("base64encode", |_, text: LuaString| {
            Ok(BASE64.encode(&text.as_bytes()))
        })?
        .function("base64decode", |lua, text: LuaString| {
            let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
            let text: Vec<u8> = text.as_bytes().iter().copied().filter(is_digit).collect();
            let bytes = BASE64.decode(&text);
            lua.create_string(bytes.map_err(|_| failure("Invalid base64 text"))?)
        })?
        .function("sha1", |lua, text: LuaString| {
            lua.create_string(Sha1::digest(&*text.as_bytes()))
        })?
        .function("hmac_sha1", |lua, (key, text): (LuaString, LuaString)| {
            let mac = <Hmac<Sha1> as Mac>::new_from_slice(&key.as_bytes()).map_err(failure)?;
            lua.create_string(mac.chain_update(&*text.as_bytes()).finalize().into_bytes())
        })?
        .function("xor_str", |lua, (text, key): (LuaString, LuaString)| {
            let (text, key) = (text.as_bytes(), key.as_bytes());
            if key.is_empty() {
                return Err(failure("Can't xor empty string"));
            }
            let xored = text.iter().zip(key.iter().cycle());
            lua.create_string(xored.map(|(a, b)| a ^ b).collect::<Vec<_>>())
        })
}

/// Eight bytes that are not all zero: a secret of `dhexchange`.
fn random_key() -> mlua::Result<[u8; 8]> {
    let mut key = [0; 8];
    getrandom::fill(&mut key).map_err(failure)?;
    if key == [0; 8] {
        key[0] = 1;
    }
    Ok(key)
}

/// The hashes of Bernstein and of Sobel for texts, one behind the other.
fn hash(text: &[u8]) -> [u8; 8] {
    let (mut bernstein, mut sobel) = (5381_u32, 1_315_423_911_u32);
    for byte in text {
        let byte = u32::from(*byte);
        bernstein = bernstein.wrapping_mul(33).wrapping_add(byte);
        sobel ^= (sobel << 5).wrapping_add(byte).wrapping_add(sobel >> 2);
    }
    (u64::from(sobel) << 32 | u64::from(bernstein)).to_le_bytes()
}

fn word(text: &LuaString, what: &str) -> mlua::Result<u64> {
    let bytes = <[u8; 8]>::try_from(&*text.as_bytes());
    Ok(u64::from_le_bytes(
        bytes.map_err(|_| failure(format!("Invalid {what}")))?,
    ))
}

fn nonzero(number: u64) -> mlua::Result<u64> {
    match number {
        0 => Err(failure("Can't be 0")),
        number => Ok(number),
    }
}

/// The greatest prime below 2^64.
const PRIME: u64 = u64::MAX - 58;
const GENERATOR: u64 = 5;

/// A power modulo the prime.
fn power(base: u64, exponent: u64) -> u64 {
    let product = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(PRIME)) as u64;
    let (mut square, mut result) = (base % PRIME, 1);
    for bit in 0..u64::BITS {
        if exponent >> bit & 1 == 1 {
            result = product(result, square);
        }
        square = product(square, square);
    }
    result
}

/// Two numbers through the rounds of MD5: four times both, the high word of each first, and without what MD5 adds at the end.
fn sign(x: u64, y: u64) -> u64 {
    let (high, low) = (|word: u64| (word >> 32) as u32, |word: u64| word as u32);
    let four = [high(x), low(x), high(y), low(y)];
    let block = std::array::from_fn(|index| four[index % 4]);
    let [a, b, c, d] = md5::rounds(&block);
    u64::from(a ^ b) << 32 | u64::from(c ^ d)
}

/// The halves of a hash, one over the other.
fn folded(sum: [u8; 16]) -> [u8; 8] {
    std::array::from_fn(|index| sum[index] ^ sum[index + 8])
}

const BLOCK: usize = 8;

/// What fills the last block.
#[derive(Debug, Clone, Copy)]
enum Padding {
    /// 0x80 and zeros.
    Iso7816,
    /// As many bytes as their value says.
    Pkcs7,
}

impl Padding {
    fn new(mode: Option<i64>) -> mlua::Result<Self> {
        match mode.unwrap_or(0) {
            0 => Ok(Self::Iso7816),
            1 => Ok(Self::Pkcs7),
            mode => Err(failure(format!("Invalid padding mode {mode}"))),
        }
    }

    fn add(self, bytes: &mut Vec<u8>) {
        let count = BLOCK - bytes.len() % BLOCK;
        match self {
            Self::Iso7816 => {
                bytes.push(0x80);
                bytes.resize(bytes.len() + count - 1, 0);
            }
            Self::Pkcs7 => bytes.resize(bytes.len() + count, count as u8),
        }
    }

    /// How many bytes it is at the end of these.
    fn count(self, bytes: &[u8]) -> Option<usize> {
        let count = match self {
            Self::Iso7816 => 1 + bytes.iter().rev().take_while(|byte| **byte == 0).count(),
            Self::Pkcs7 => usize::from(*bytes.last()?),
        };
        let (_, padding) = bytes.split_at_checked(bytes.len().checked_sub(count)?)?;
        let is_whole = match self {
            Self::Iso7816 => padding.first() == Some(&0x80),
            Self::Pkcs7 => padding.iter().all(|byte| usize::from(*byte) == count),
        };
        (is_whole && (1..=BLOCK).contains(&count)).then_some(count)
    }
}

fn cipher(key: &LuaString) -> mlua::Result<Des> {
    let key = key.as_bytes();
    Des::new_from_slice(&key)
        .map_err(|_| failure(format!("Invalid key size {}, need 8 bytes", key.len())))
}

fn encrypted(des: &Des, text: &[u8], padding: Padding) -> Vec<u8> {
    let mut bytes = text.to_vec();
    padding.add(&mut bytes);
    for block in bytes.chunks_exact_mut(BLOCK) {
        des.encrypt_block(Block::<Des>::from_mut_slice(block));
    }
    bytes
}

fn decrypted(des: &Des, text: &[u8], padding: Padding) -> mlua::Result<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(BLOCK) {
        let text = format!("Invalid des crypt text length {}", text.len());
        return Err(failure(text));
    }
    let mut bytes = text.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK) {
        des.decrypt_block(Block::<Des>::from_mut_slice(block));
    }
    let count = padding
        .count(&bytes)
        .ok_or_else(|| failure("Invalid des crypt text"))?;
    bytes.truncate(bytes.len() - count);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The modulus and the powers below were computed with integers of any size.
    #[test]
    fn powers_are_those_of_the_prime() {
        assert_eq!(PRIME, 0xffff_ffff_ffff_ffc5);
        assert_eq!(power(5, 1), 5);
        // Fermat's little theorem.
        assert_eq!(power(5, PRIME - 1), 1);
        assert_eq!(power(PRIME + 2, 3), 8);
        assert_eq!(power(power(5, 1234), 5678), power(power(5, 5678), 1234));
    }

    #[test]
    fn padding_comes_off_as_it_went_on() {
        for padding in [Padding::Iso7816, Padding::Pkcs7] {
            for length in 0..=17 {
                let mut bytes = vec![b'x'; length];
                padding.add(&mut bytes);
                assert!(bytes.len() % BLOCK == 0 && bytes.len() > length);
                assert_eq!(padding.count(&bytes), Some(bytes.len() - length));
            }
        }
        for (padding, bytes) in [
            (Padding::Iso7816, [0; 8]),
            (Padding::Iso7816, [1; 8]),
            (Padding::Pkcs7, [0; 8]),
            (Padding::Pkcs7, [9; 8]),
            (Padding::Pkcs7, [1, 1, 1, 1, 1, 1, 1, 3]),
        ] {
            assert_eq!(padding.count(&bytes), None, "{padding:?} {bytes:?}");
        }
    }
}
