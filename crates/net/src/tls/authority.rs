//! Who vouches for certificates: issuers that are trusted, and what they have revoked.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};

use super::certificate::Certificate;
use super::error::TlsError;
use super::purpose::Purpose;
use super::revocation::RevocationList;
use super::roots::TrustedRoots;

/// Issuers that are trusted, and what they have revoked.
pub(super) struct Authority {
    pub(super) roots: Arc<TrustedRoots>,
    /// If there are any, they must tell of each certificate of a chain.
    pub(super) crls: Vec<RevocationList>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// The most certificates between the peer's and a root.
    pub(super) depth: Option<u8>,
}

impl Authority {
    /// Whether no root limits the names of those that it has issued.
    pub(super) fn is_free(&self) -> bool {
        let mut roots = self.roots.anchors().iter();
        roots.all(|root| root.name_constraints.is_none())
    }

    /// Whether a root may issue a certificate for this, with this number of issuers below it.
    pub(super) fn may_issue(
        &self,
        root: &TrustAnchor<'_>,
        purpose: Purpose,
        issuers_below: usize,
    ) -> bool {
        let mut rights = self.roots.rights(root);
        rights.any(|it| it.permit(purpose, issuers_below))
    }

    /// Whether a root may sign lists of revoked certificates.
    pub(super) fn may_sign_lists(&self, root: &TrustAnchor<'_>) -> bool {
        self.roots.rights(root).any(|it| it.signs_lists)
    }

    /// Whether the certificate is itself among the roots.
    pub(super) fn has_root(&self, der: &CertificateDer<'_>) -> bool {
        self.roots.has(der)
    }
}

/// Whether a certificate holds now.
pub(super) fn check_dates(
    certificate: &Certificate<'_>,
    now: UnixTime,
) -> Result<(), webpki::Error> {
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

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("roots", &self.roots.anchors().len())
            .field("crls", &self.crls.len())
            .finish_non_exhaustive()
    }
}
