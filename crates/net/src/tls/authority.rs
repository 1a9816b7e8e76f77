//! Who vouches for certificates: issuers that are trusted, and what they have revoked.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationOptionsBuilder, VerifiedPath,
};

use super::certificate::Certificate;
use super::error::TlsError;

/// Issuers that are trusted, and what they have revoked.
pub(super) struct Authority {
    pub(super) roots: Arc<RootCertStore>,
    /// If there are any, they must tell of each certificate of a chain.
    pub(super) crls: Vec<CertRevocationList<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// The most certificates between the peer's and a root.
    pub(super) depth: Option<u8>,
}

/// What a certificate must be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

impl Authority {
    /// Looks for a path from a certificate to a root, no longer than allowed.
    pub(super) fn verify(
        &self,
        (der, certificate): (&CertificateDer<'_>, &Certificate<'_>),
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        if certificate.is_version_1() {
            return self.verify_old(certificate, now);
        }
        let entity = EndEntityCert::try_from(der)?;
        let is_short = |path: &VerifiedPath<'_>| match self.depth {
            Some(most) if path.intermediate_certificates().count() > usize::from(most) => {
                Err(webpki::Error::MaximumPathDepthExceeded)
            }
            _ => Ok(()),
        };
        let crls: Vec<_> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&crls).ok();
        let revocation =
            revocation.map(|it| it.with_expiration_policy(ExpirationPolicy::Enforce).build());
        entity
            .verify_for_usage(
                self.algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                match purpose {
                    Purpose::Server => KeyUsage::server_auth(),
                    Purpose::Client => KeyUsage::client_auth(),
                },
                revocation,
                Some(&is_short),
            )
            .map(drop)
    }

    /// One of X.509 version 1, which says of nothing what it is for: a root itself must have signed it.
    fn verify_old(
        &self,
        certificate: &Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let mut roots = self.roots.roots.iter();
        let is_signed = roots.any(|root| {
            certificate.is(root)
                || (certificate.issuer() == root.subject.as_ref()
                    && root.name_constraints.is_none()
                    && !certificate.is_signed_weakly()
                    && certificate.is_signed_by(&root.subject_public_key_info))
        });
        if !is_signed {
            return Err(webpki::Error::UnsupportedCertVersion);
        }
        if self.has_revoked(certificate) {
            return Err(webpki::Error::CertRevoked);
        }
        // As for others, the lists must tell of it.
        let mut lists = self.crls.iter();
        let is_told_of = lists.any(|crl| crl.issuer() == certificate.issuer());
        if !self.crls.is_empty() && !is_told_of && !self.has_root(certificate) {
            return Err(webpki::Error::UnknownRevocationStatus);
        }
        match certificate.check_dates(now) {
            Ok(()) => Ok(()),
            Err(TlsError::NotYetValid) => Err(webpki::Error::CertNotValidYet {
                time: now,
                not_before: now,
            }),
            Err(_) => Err(webpki::Error::CertExpired {
                time: now,
                not_after: now,
            }),
        }
    }

    fn has_revoked(&self, certificate: &Certificate<'_>) -> bool {
        let mut own = self.crls.iter();
        own.any(|crl| {
            let is_listed = crl.find_serial(certificate.serial());
            crl.issuer() == certificate.issuer() && !matches!(is_listed, Ok(None))
        })
    }

    /// Whether no root limits the names of those that it has issued.
    pub(super) fn is_free(&self) -> bool {
        let mut roots = self.roots.roots.iter();
        roots.all(|root| root.name_constraints.is_none())
    }

    /// Whether the certificate is itself among the roots.
    pub(super) fn has_root(&self, certificate: &Certificate<'_>) -> bool {
        self.roots.roots.iter().any(|root| certificate.is(root))
    }

    /// Reads lists of revoked certificates, in DER.
    pub(super) fn read_crls(
        ders: &[Vec<u8>],
    ) -> Result<Vec<CertRevocationList<'static>>, webpki::Error> {
        let read = |der: &Vec<u8>| OwnedCertRevocationList::from_der(der);
        ders.iter().map(|der| read(der).map(Into::into)).collect()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("roots", &self.roots.len())
            .field("crls", &self.crls.len())
            .finish_non_exhaustive()
    }
}
