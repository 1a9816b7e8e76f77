//! `md5`: sums, and what is made of them.

use ::md5::{Digest, Md5};
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use mlua::{Lua, LuaString, Table};

use crate::module::{Module, failure};

/// The module's table.
pub(crate) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = Module::new(lua)?
        .function("sum", |lua, text: LuaString| {
            lua.create_string(sum(&text.as_bytes()))
        })?
        .function("sumhexa", |_, text: LuaString| {
            Ok(HEXLOWER.encode(&sum(&text.as_bytes())))
        })?
        .function("hmacmd5", |_, (text, key): (LuaString, LuaString)| {
            let mac = <Hmac<Md5> as Mac>::new_from_slice(&key.as_bytes()).map_err(failure)?;
            let mac = mac.chain_update(&*text.as_bytes()).finalize();
            Ok(HEXLOWER.encode(&mac.into_bytes()))
        })?
        .function("exor", |lua, (a, b): (LuaString, LuaString)| {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            if a.len() != b.len() {
                let why = "bad argument #2 to 'exor' (lengths must be equal)";
                return Err(failure(why));
            }
            lua.create_string(
                a.iter()
                    .zip(b.iter())
                    .map(|(a, b)| a ^ b)
                    .collect::<Vec<_>>(),
            )
        })?;
    Ok(ciphers(module)?.into_table())
}

/// A text under a key, by sums that feed back.
fn ciphers(module: Module<'_>) -> mlua::Result<Module<'_>> {
    type Crypted = (LuaString, LuaString, Option<LuaString>);
    module
        .function("crypt", |lua, (text, key, seed): Crypted| {
            let seed = match seed {
                Some(seed) => seed.as_bytes().to_vec(),
                None => random_seed()?,
            };
            if seed.len() > SEED {
                return Err(failure(format!("seed too long (> {SEED})")));
            }
            let mut bytes = vec![seed.len() as u8];
            bytes.extend_from_slice(&seed);
            let mut stream = Stream::new(&seed, &key.as_bytes())?;
            for chunk in text.as_bytes().chunks(SEED) {
                let chunk = stream.crossed(chunk);
                stream.feed(&chunk);
                bytes.extend(chunk);
            }
            lua.create_string(bytes)
        })?
        .function("decrypt", |lua, (text, key): (LuaString, LuaString)| {
            let text = text.as_bytes();
            let parts = text.split_first().and_then(|(length, rest)| {
                rest.split_at_checked(usize::from(*length))
                    .filter(|(seed, _)| seed.len() <= SEED)
            });
            let Some((seed, text)) = parts else {
                let why = "bad argument #1 to 'decrypt' (invalid cyphered string)";
                return Err(failure(why));
            };
            let mut stream = Stream::new(seed, &key.as_bytes())?;
            let mut bytes = Vec::with_capacity(text.len());
            for chunk in text.chunks(SEED) {
                bytes.extend(stream.crossed(chunk));
                stream.feed(chunk);
            }
            lua.create_string(bytes)
        })
}

/// The most bytes of a seed, and those of a sum.
const SEED: usize = 16;
/// The most bytes of a key.
const LONGEST_KEY: usize = 256;

fn random_seed() -> mlua::Result<Vec<u8>> {
    let mut seed = vec![0; 8];
    getrandom::fill(&mut seed).map_err(failure)?;
    Ok(seed)
}

/// What is summed up for the next bytes: the last that were encrypted, and the key.
struct Stream(Vec<u8>);

impl Stream {
    fn new(seed: &[u8], key: &[u8]) -> mlua::Result<Self> {
        if key.len() > LONGEST_KEY {
            return Err(failure(format!("key too long (> {LONGEST_KEY})")));
        }
        let mut block = seed.to_vec();
        block.resize(SEED, 0);
        block.extend_from_slice(key);
        Ok(Self(block))
    }

    fn crossed(&self, chunk: &[u8]) -> Vec<u8> {
        let sum = sum(&self.0);
        chunk.iter().zip(sum).map(|(a, b)| a ^ b).collect()
    }

    fn feed(&mut self, encrypted: &[u8]) {
        self.0[..encrypted.len()].copy_from_slice(encrypted);
    }
}

pub(crate) fn sum(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// What MD5 begins with (RFC 1321, section 3.3).
const BEGINNING: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// By how many bits each of a round's four steps rotates.
const ROTATIONS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// The four rounds of RFC 1321 over one block, before its sum. The crate for MD5 keeps them to itself.
pub(crate) fn rounds(block: &[u32; 16]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = BEGINNING;
    for step in 0..64_usize {
        let (mixed, index) = match step / 16 {
            0 => (b & c | !b & d, step),
            1 => (d & b | !d & c, 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let sine = (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
        let sum = a
            .wrapping_add(mixed)
            .wrapping_add(sine)
            .wrapping_add(block[index % 16]);
        let rotated = sum.rotate_left(ROTATIONS[step / 16][step % 4]);
        (a, d, c, b) = (d, c, b, b.wrapping_add(rotated));
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_are_those_of_the_sum() {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(b"abc\x80");
        bytes[56] = 24;
        let block = std::array::from_fn(|index| {
            let word = bytes[4 * index..][..4].try_into().expect("four bytes");
            u32::from_le_bytes(word)
        });
        let rounds = rounds(&block);
        let words: Vec<u8> = rounds
            .iter()
            .zip(BEGINNING)
            .flat_map(|(word, first)| word.wrapping_add(first).to_le_bytes())
            .collect();
        assert_eq!(words, sum(b"abc"));
    }
}
