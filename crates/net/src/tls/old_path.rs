//! Paths that webpki does not take, and OpenSSL does: from certificates of X.509 version 1, and from those that may issue others, as
//! `openssl req -x509` and simple authorities make them.

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error};

use super::authority::{Authority, check_dates};
use super::certificate::Certificate;
use super::purpose::Purpose;
use super::revocation::{ListIssuer, RevocationList};

/// The most certificates between the peer's and a root, as webpki has it.
const MOST_ISSUERS: usize = 6;
/// Signatures that are verified for one path at most: a peer sends as many certificates as it likes.
const MOST_SIGNATURES: u32 = 50;

/// The search for a path.
pub(super) struct OldPath<'a> {
    pub(super) authority: &'a Authority,
    /// The peer's certificate is itself among the roots.
    pub(super) is_root: bool,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    pub(super) purpose: Purpose,
    pub(super) now: UnixTime,
}

impl OldPath<'_> {
    /// Looks for a path from a peer's certificate to a root. All issuers but roots must be of version 3.
    pub(super) fn find(
        &self,
        der: &CertificateDer<'_>,
        leaf: &Certificate<'_>,
    ) -> Result<(), Error> {
        if !leaf.is_version_1() {
            // What it must not have in it is found by that.
            EndEntityCert::try_from(der)?;
        }
        let mut budget = MOST_SIGNATURES;
        self.climb(leaf, 0, &mut budget)?;
        if leaf.is_for(self.purpose) != Ok(true) || !leaf.may_be_shown_by(self.purpose) {
            return Err(Error::RequiredEkuNotFoundContext(
                webpki::RequiredEkuNotFoundContext {
                    required: self.purpose.usage(),
                    present: Vec::new(),
                },
            ));
        }
        check_dates(leaf, self.now)
    }

    /// A path from this certificate, which has this number of issuers below it. The error is that of the path that went furthest.
    fn climb(&self, of: &Certificate<'_>, below: usize, budget: &mut u32) -> Result<(), Error> {
        let mut problem = match of.is_version_1() {
            true => Error::UnsupportedCertVersion,
            false => Error::UnknownIssuer,
        };
        for root in self.authority.roots.anchors() {
            // Only the peer's, whole: others with the name and the key of a root could lack its limits.
            let is_root = below == 0 && self.is_root && of.is(root);
            if is_root || self.is_by_root(of, below, root, budget)? {
                let issuer = ListIssuer {
                    public_key: &root.subject_public_key_info,
                    may_sign_lists: self.authority.may_sign_lists(root),
                };
                match RevocationList::check(&self.authority.crls, of, &issuer, self.now) {
                    Ok(()) => return Ok(()),
                    Err(error) => problem = error,
                }
            }
        }
        let most = self.authority.depth.map_or(MOST_ISSUERS, usize::from);
        for der in self.intermediates {
            let Ok(issuer) = Certificate::parse(der) else {
                continue;
            };
            if issuer.subject().0 != of.issuer() || !self.is_issuer(der, &issuer, below) {
                continue;
            }
            if below >= most.min(MOST_ISSUERS) {
                problem = Error::MaximumPathDepthExceeded;
                continue;
            }
            spend(budget)?;
            if of.is_signed_weakly() || !of.is_signed_by(issuer.public_key()) {
                continue;
            }
            let found = self.check_issuer(of, &issuer);
            match found.and_then(|()| self.climb(&issuer, below + 1, budget)) {
                Ok(()) => return Ok(()),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    fn is_by_root(
        &self,
        of: &Certificate<'_>,
        below: usize,
        root: &TrustAnchor<'_>,
        budget: &mut u32,
    ) -> Result<bool, Error> {
        if of.issuer() != root.subject.as_ref()
            || root.name_constraints.is_some()
            || !self.authority.may_issue(root, self.purpose, below)
        {
            return Ok(false);
        }
        spend(budget)?;
        Ok(!of.is_signed_weakly() && of.is_signed_by(&root.subject_public_key_info))
    }

    /// Whether this may be an issuer, with this number of issuers below it. One that limits the names of others is none here.
    fn is_issuer(&self, der: &CertificateDer<'_>, issuer: &Certificate<'_>, below: usize) -> bool {
        EndEntityCert::try_from(der).is_ok()
            && !issuer.is_constrained()
            && issuer.may_issue(below)
            && issuer.is_for(self.purpose) == Ok(true)
    }

    fn check_issuer(&self, of: &Certificate<'_>, issuer: &Certificate<'_>) -> Result<(), Error> {
        check_dates(issuer, self.now)?;
        let issuer = ListIssuer {
            public_key: issuer.public_key(),
            may_sign_lists: issuer.may_sign_lists(),
        };
        RevocationList::check(&self.authority.crls, of, &issuer, self.now)
    }
}

fn spend(budget: &mut u32) -> Result<(), Error> {
    *budget = budget
        .checked_sub(1)
        .ok_or(Error::MaximumSignatureChecksExceeded)?;
    Ok(())
}
