//! The chain from a certificate to a root that is trusted.

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, RevocationOptionsBuilder, VerifiedPath};

use super::authority::Authority;
use super::certificate::Certificate;
use super::old_path::OldPath;
use super::purpose::Purpose;
use super::revocation::{ListIssuer, RevocationList};

/// A peer sends one or two, and the time that these may cost does not matter.
const FEW_INTERMEDIATES: usize = 4;
/// Signatures that are verified to find those of more that are issuers.
const MOST_SIGNATURES: u32 = 64;
/// Certificates of one issuer, for its one key, that are looked at: each of another one above it.
const MOST_ALIKE: usize = 3;

impl Authority {
    /// Looks for a path from a certificate to a root, no longer than allowed.
    pub(super) fn verify(
        &self,
        (der, certificate): (&CertificateDer<'_>, &Certificate<'_>),
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let issuers;
        let intermediates = match intermediates.len() {
            ..=FEW_INTERMEDIATES => intermediates,
            _ => {
                issuers = issuers_of(certificate, intermediates);
                &issuers
            }
        };
        // A certificate with the name and the key of a root could have other dates and be for other things.
        let is_root = self.has_root(der);
        if !is_root && certificate.is_self_signed() {
            return Err(webpki::Error::UnknownIssuer);
        }
        let old = OldPath {
            authority: self,
            is_root,
            intermediates,
            purpose,
            now,
        };
        if certificate.is_version_1() {
            return old.find(der, certificate);
        }
        let entity = EndEntityCert::try_from(der)?;
        let crls = RevocationList::for_webpki(&self.crls);
        // One that is trusted itself needs no issuer.
        let anchors = match is_root {
            true => self.roots.anchors(),
            false => self.roots.issuers(purpose),
        };
        let is_read = crls.is_some();
        let is_good =
            |path: &VerifiedPath<'_>| self.check_path(path, (is_root, is_read), purpose, now);
        let revocation = RevocationOptionsBuilder::new(crls.as_deref().unwrap_or_default()).ok();
        let revocation =
            revocation.map(|it| it.with_expiration_policy(ExpirationPolicy::Enforce).build());
        let found = entity.verify_for_usage(
            self.algorithms.all,
            anchors,
            intermediates,
            now,
            purpose.usage(),
            revocation,
            Some(&is_good),
        );
        match found {
            Err(webpki::Error::CaUsedAsEndEntity) => old.find(der, certificate),
            Err(webpki::Error::UnknownIssuer)
                if self.is_below_no_issuer(certificate, intermediates) =>
            {
                Err(webpki::Error::EndEntityUsedAsCa)
            }
            found => found.map(drop),
        }
    }

    /// Whether a path is as short as allowed, and its root may issue it. `is_root`: it is that of a certificate that is trusted
    /// itself. `is_read`: webpki reads the lists.
    fn check_path(
        &self,
        path: &VerifiedPath<'_>,
        (is_root, is_read): (bool, bool),
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let below = path.intermediate_certificates().count();
        let root = path.anchor();
        if self.depth.is_some_and(|most| below > usize::from(most)) {
            return Err(webpki::Error::MaximumPathDepthExceeded);
        }
        if !is_root && !self.may_issue(root, purpose, below) {
            return Err(webpki::Error::PathLenConstraintViolated);
        }
        if !is_read {
            return self.check_lists(path, now);
        }
        match self.crls.is_empty() || is_root || self.may_sign_lists(root) {
            true => Ok(()),
            false => Err(webpki::Error::IssuerNotCrlSigner),
        }
    }

    /// Whether the key of a trusted certificate that is no issuer has signed one of these.
    fn is_below_no_issuer(
        &self,
        certificate: &Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> bool {
        let is_by_root = |of: &Certificate<'_>| {
            let mut roots = self.roots.anchors().iter();
            roots.any(|root| {
                root.subject.as_ref() == of.issuer()
                    && of.is_signed_by(&root.subject_public_key_info)
            })
        };
        let mut intermediates = intermediates.iter();
        is_by_root(certificate)
            || intermediates.any(|it| Certificate::parse(it).is_ok_and(|it| is_by_root(&it)))
    }

    /// Whether lists that webpki does not read say that no certificate of a path is revoked.
    fn check_lists(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), webpki::Error> {
        let issuers = path.intermediate_certificates().map(|it| it.der());
        let ders: Vec<_> = std::iter::once(path.end_entity().der())
            .chain(issuers)
            .collect();
        let read = |der| Certificate::parse(der).map_err(|_| webpki::Error::BadDer);
        let certificates: Vec<_> = ders.iter().map(read).collect::<Result<_, _>>()?;
        for (at, certificate) in certificates.iter().enumerate() {
            let issuer = match certificates.get(at + 1) {
                Some(issuer) => ListIssuer {
                    public_key: issuer.public_key(),
                    may_sign_lists: issuer.may_sign_lists(),
                },
                None => ListIssuer {
                    public_key: &path.anchor().subject_public_key_info,
                    may_sign_lists: self.may_sign_lists(path.anchor()),
                },
            };
            RevocationList::check(&self.crls, certificate, &issuer, now)?;
        }
        Ok(())
    }
}

/// Those of these certificates that are issuers of this one, or of each other above it. A path that does not exist is looked for
/// among all orders of certificates with one name, so a peer's must be few.
fn issuers_of<'a>(
    leaf: &Certificate<'_>,
    intermediates: &[CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    let read = |der| Certificate::parse(der).ok();
    let read: Vec<_> = intermediates.iter().map(read).collect();
    let (mut kept, mut at, mut signatures) = (Vec::new(), 0, 0);
    let mut child = Some(leaf);
    while let Some(of) = child {
        for (place, issuer) in read.iter().enumerate() {
            let Some(issuer) = issuer else { continue };
            if kept.contains(&place) || issuer.subject().0 != of.issuer() {
                continue;
            }
            let is_same = |other: &&usize| {
                let other = read[**other].as_ref();
                other.is_some_and(|other| other.has_name_and_key_of(issuer))
            };
            signatures += 1;
            if signatures > MOST_SIGNATURES {
                break;
            }
            if kept.iter().filter(is_same).count() < MOST_ALIKE
                && of.is_signed_by(issuer.public_key())
            {
                kept.push(place);
            }
        }
        child = kept.get(at).and_then(|place| read[*place].as_ref());
        at += 1;
    }
    kept.iter()
        .map(|place| intermediates[*place].clone())
        .collect()
}

/// Whether there is no path to a root. One that is trusted itself needs none, but must be good otherwise.
pub(super) fn has_no_path(error: &webpki::Error) -> bool {
    matches!(
        error,
        webpki::Error::UnknownIssuer
            | webpki::Error::InvalidSignatureForPublicKey
            | webpki::Error::UnsupportedCertVersion
    )
}
