//! `moorline.secrets`: what drivers of databases prove passwords with.

use std::num::NonZeroU32;

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::{digest, hmac, pbkdf2};
use data_encoding::BASE64;
use mlua::{Lua, LuaString, Table};

use crate::module::{Module, failure};

/// The most rounds that a server may ask for: half a second, in which the services of the loop wait.
const MOST_ROUNDS: u32 = 500_000;
/// The longest key of a server in bytes: one of 16,384 bits has 3 KiB as text.
const LONGEST_KEY: usize = 8 << 10;

/// The module's table.
pub(crate) fn module(lua: &Lua) -> mlua::Result<Table> {
    type Keyed = (LuaString, LuaString, LuaString);
    type Stretched = (LuaString, LuaString, LuaString, u32);
    let module = Module::new(lua)?
        .function("sha256", |lua, text: LuaString| {
            lua.create_string(digest::digest(&digest::SHA256, &text.as_bytes()))
        })?
        .function("hmac", |lua, (hash, key, text): Keyed| {
            let key = hmac::Key::new(SecretHash::named(&hash)?.hmac(), &key.as_bytes());
            lua.create_string(hmac::sign(&key, &text.as_bytes()))
        })?
        .function(
            "stretch",
            |lua, (hash, password, salt, rounds): Stretched| {
                let hash = SecretHash::named(&hash)?;
                let key = hash.stretched(&password.as_bytes(), &salt.as_bytes(), rounds)?;
                lua.create_string(key)
            },
        )?
        .function("encrypt", |lua, (key, text): (LuaString, LuaString)| {
            lua.create_string(encrypted(&key.as_bytes(), &text.as_bytes())?)
        })?;
    Ok(module.into_table())
}

/// The hashes of SCRAM.
#[derive(Debug, Clone, Copy)]
enum SecretHash {
    Sha1,
    Sha256,
}

impl SecretHash {
    fn named(name: &LuaString) -> mlua::Result<Self> {
        match &*name.as_bytes() {
            b"sha1" => Ok(Self::Sha1),
            b"sha256" => Ok(Self::Sha256),
            _ => Err(failure("a hash is sha1 or sha256")),
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    /// PBKDF2 (RFC 8018 §5.2), as long as the hash.
    fn stretched(self, password: &[u8], salt: &[u8], rounds: u32) -> mlua::Result<Vec<u8>> {
        let rounds = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= MOST_ROUNDS);
        let rounds = rounds.ok_or_else(|| {
            failure(format!(
                "a password is hashed 1 to {MOST_ROUNDS} times, and the server asks for other"
            ))
        })?;
        let (algorithm, size) = match self {
            Self::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
        };
        let mut key = vec![0; size];
        pbkdf2::derive(algorithm, rounds, salt, password, &mut key);
        Ok(key)
    }
}

/// A text that the owner of an RSA key alone reads (OAEP with SHA-1). The key is PEM.
fn encrypted(key: &[u8], text: &[u8]) -> mlua::Result<Vec<u8>> {
    let refused = || failure("the server's key is no RSA key of 2,048 bits or more");
    if key.len() > LONGEST_KEY {
        return Err(refused());
    }
    let key = std::str::from_utf8(key).map_err(|_| refused())?;
    let lines = key.lines().map(str::trim);
    let digits: String = lines.filter(|line| !line.starts_with("-----")).collect();
    let key = BASE64.decode(digits.as_bytes()).map_err(|_| refused())?;
    let key = PublicEncryptingKey::from_der(&key).map_err(|_| refused())?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| refused())?;
    let mut bytes = vec![0; key.ciphertext_size()];
    let sealed = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, text, &mut bytes, None)
        .map_err(|_| failure("the password is too long for the server's key"))?;
    Ok(sealed.to_vec())
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn stretched_passwords_are_those_of_the_standards() {
        // RFC 6070, and RFC 7677's example: its salted password as computed with another library.
        let sha1 = SecretHash::Sha1.stretched(b"password", b"salt", 4096);
        let sha1 = HEXLOWER.encode(&sha1.expect("it is allowed"));
        assert_eq!(sha1, "4b007901b765489abead49d926f721d065a429c1");
        let salt = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==");
        let salt = salt.expect("it is base64");
        let sha256 = SecretHash::Sha256.stretched(b"pencil", &salt, 4096);
        let sha256 = HEXLOWER.encode(&sha256.expect("it is allowed"));
        assert_eq!(
            sha256,
            "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d"
        );
        for rounds in [0, MOST_ROUNDS + 1, u32::MAX] {
            assert!(SecretHash::Sha1.stretched(b"", b"", rounds).is_err());
        }
    }

    #[test]
    fn what_is_no_key_encrypts_nothing() {
        for key in [
            &b""[..],
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n",
            &[0xff; 9],
            &[b'A'; 9000],
        ] {
            assert!(encrypted(key, b"secret").is_err());
        }
    }
}
