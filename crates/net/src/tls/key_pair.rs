//! A certificate's chain and its key, as they are read from disk and passed to the process that uses them.

use ::aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::certificate::Certificate;
use super::error::TlsError;
use super::file_error::{self, FileError, FileErrorKind, PemSource};
use super::options::Pem;
use super::passwords::Passwords;
use super::pem;

/// A chain and its key, in DER.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyPair {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

/// Where they come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyPairFiles<'a> {
    pub(super) certificate: &'a Pem,
    pub(super) key: &'a Pem,
    /// The passwords of the key.
    pub(super) passwords: Passwords<'a>,
}

impl KeyPair {
    /// Reads and checks them. Blocks on files.
    pub(super) fn load(
        files: KeyPairFiles<'_>,
        provider: &CryptoProvider,
    ) -> Result<Self, FileError> {
        let chain = pem::certificates(files.certificate)?;
        check_dates(files.certificate, &chain)?;
        let key = pem::private_key(files.key, files.passwords)?;
        let pair = Self {
            chain: chain
                .into_iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
            key: key.secret_der().to_vec(),
        };
        pair.certified(files, provider)?;
        Ok(pair)
    }

    /// The SHA-256 of the chain and the key.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut whole = Context::new(&SHA256);
        for part in self.chain.iter().chain([&self.key]) {
            whole.update(&part.len().to_be_bytes());
            whole.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(whole.finish().as_ref());
        digest
    }

    /// Ready for signing.
    pub(super) fn certified(
        &self,
        files: KeyPairFiles<'_>,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, FileError> {
        let unusable = |problem: &dyn std::fmt::Display| file_error::unusable(files.key, problem);
        let key = PrivateKeyDer::try_from(self.key.clone()).map_err(|error| unusable(&error))?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| unusable(&error))?;
        let chain = self.chain.iter();
        let chain = chain.map(|der| CertificateDer::from(der.clone()));
        let certified = CertifiedKey::new(chain.collect(), key);
        match is_pair(&certified) {
            true => Ok(certified),
            false => Err(FileError::new(
                FileErrorKind::OtherKey,
                files.key,
                format_args!(
                    "it does not belong to {}",
                    PemSource::from(files.certificate)
                ),
            )),
        }
    }
}

/// Whether the key is the certificate's, as far as it tells.
fn is_pair(certified: &CertifiedKey) -> bool {
    let leaf = certified.cert.first();
    let leaf = leaf.and_then(|leaf| Certificate::parse(leaf).ok());
    match (leaf, certified.key.public_key()) {
        (Some(leaf), Some(key)) => leaf.public_key_der() == key.as_ref(),
        (None, _) => false,
        (_, None) => true,
    }
}

fn check_dates(source: &Pem, chain: &[CertificateDer<'_>]) -> Result<(), FileError> {
    let now = UnixTime::now();
    for (at, der) in chain.iter().enumerate() {
        let whose = match at {
            0 => "its certificate".to_owned(),
            _ => format!("certificate {} of its chain", at + 1),
        };
        let certificate = Certificate::parse(der)
            .map_err(|_| file_error::unusable(source, format!("{whose} cannot be read")))?;
        let [from, until] = certificate.dates();
        let problem = match certificate.check_dates(now) {
            Err(TlsError::Expired) => format!("{whose} has expired: it was valid until {until}"),
            Err(_) => format!("{whose} is not valid yet: it is from {from} on"),
            Ok(()) => continue,
        };
        return Err(FileError::new(FileErrorKind::Dates, source, problem));
    }
    Ok(())
}
