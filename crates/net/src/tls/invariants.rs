//! What holds for any certificates, lists of revoked ones and keys.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::authority::Authority;
use super::certificate::Certificate;
use super::facts::CertificateFacts;
use super::options::Pem;
use super::passwords::Passwords;
use super::pem;
use super::purpose::Purpose;
use super::revocation::RevocationList;
use super::roots::TrustedRoots;

/// The most parts of an input.
const MOST_PARTS: usize = 16;

/// Any certificates, each behind its length: a root, a peer's own, and others. They are judged in the end, and a good one can be read
/// and has a trusted one.
pub fn certificates(data: &[u8]) {
    let parts = parts(data);
    let [root, leaf, others @ ..] = &parts[..] else {
        return;
    };
    judge(root, leaf, others, &[]);
    if let Some(facts) = CertificateFacts::read(leaf) {
        // Texts get these.
        let lines = [facts.subject(), facts.issuer(), facts.serial()];
        assert!(
            lines.iter().all(|it| !it.contains(['\n', '\r', '\0'])),
            "{lines:?}"
        );
        let rest = [facts.fingerprint(), facts.start(), facts.end(), facts.pem()];
        assert!(rest.iter().all(|it| it.is_ascii()), "{rest:?}");
    }
}

/// Any list of revoked certificates behind a root and a certificate: it is read or refused, and judges in the end.
pub fn revocations(data: &[u8]) {
    if let [root, leaf, list, ..] = &parts(data)[..] {
        judge(root, leaf, &[], std::slice::from_ref(list));
    }
    let _ = RevocationList::read_all(&[data.to_vec()]);
}

/// Any text: it has certificates, lists and a key, or says what is wrong with it in words that are fit for a terminal.
pub fn keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let pem = &Pem::Text {
        pem: text.to_owned(),
    };
    let passwords = [b"password".to_vec()];
    let errors = [
        pem::private_key(pem, Passwords::None).err(),
        pem::private_key(pem, Passwords::Known(&passwords)).err(),
        pem::certificates(pem).err(),
        pem::crls(pem).err(),
    ];
    for error in errors.into_iter().flatten() {
        let text = error.to_string();
        assert!(
            !text.is_empty() && !text.chars().any(char::is_control),
            "{text:?}"
        );
    }
}

/// Parts, each behind its length in two bytes; what is left is the last one.
fn parts(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some(([high, low], rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (part, rest) = rest.split_at(length);
        parts.push(part.to_vec());
        data = rest;
        if parts.len() == MOST_PARTS {
            break;
        }
    }
    parts
}

fn judge(root: &[u8], leaf: &[u8], others: &[Vec<u8>], lists: &[Vec<u8>]) {
    let mut roots = TrustedRoots::empty();
    let is_trusted = roots.add(CertificateDer::from(root)).is_ok();
    let Ok(crls) = RevocationList::read_all(lists) else {
        return;
    };
    let authority = Authority {
        roots: Arc::new(roots),
        crls,
        algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        depth: None,
    };
    let der = CertificateDer::from(leaf);
    let Ok(certificate) = Certificate::parse(&der) else {
        return;
    };
    let others: Vec<_> = others
        .iter()
        .map(|it| CertificateDer::from(&**it))
        .collect();
    for purpose in [Purpose::Server, Purpose::Client] {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let found = authority.verify((&der, &certificate), &others, purpose, now);
        assert!(found.is_err() || is_trusted, "nobody vouches for it");
    }
}

#[cfg(test)]
mod tests {
    include!("../../../../fuzz/replay.rs");

    #[test]
    fn kept_inputs_break_no_invariant_of_certificates() {
        replay("certificates", super::certificates);
    }

    #[test]
    fn kept_inputs_break_no_invariant_of_revocations() {
        replay("revocations", super::revocations);
    }

    #[test]
    fn kept_inputs_break_no_invariant_of_keys() {
        replay("keys", super::keys);
    }
}
