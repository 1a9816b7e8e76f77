//! Which certificate a client gets.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::super::asked;
use super::super::certificate::Certificate;
use super::super::error::TlsError;
use super::credentials::ServerCredentials;
use super::options::ServerOptions;

/// The certificates of a listener, found by the name that a client asks for (SNI, RFC 6066 §3).
pub(super) struct ShownCertificates {
    /// By host in lower case; several where there are keys of several kinds. A wildcard for one label has the key `*.parent`.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what hosts end with, from their first dot on: those of `*.example` and `.example`.
    by_end: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what hosts begin with, up to their last dot: those of `mail.*`.
    by_start: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what matches hosts, in their order.
    by_pattern: Vec<(Regex, Vec<Arc<CertifiedKey>>)>,
    /// All, in their order: a client that names no host, or an unknown one, gets the first whose key it can verify.
    all: Vec<Arc<CertifiedKey>>,
    /// Such a client is refused.
    rejects: bool,
    /// Every client is.
    rejects_all: bool,
}

/// A compiled pattern of names is no larger than this in bytes.
const MOST_BYTES: usize = 1 << 20;

/// Checks a pattern of names, what follows the `~`. Case does not matter.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn check_name_pattern(written: &str) -> Result<(), String> {
    name_pattern(written).map(drop)
}

fn name_pattern(written: &str) -> Result<Regex, String> {
    let text = written.strip_prefix('*').unwrap_or(written);
    let built = RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(true)
        .size_limit(MOST_BYTES)
        .dfa_size_limit(MOST_BYTES)
        .build();
    built.map_err(|error| {
        let text = error.to_string();
        let last = text.lines().next_back().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or(last).to_owned()
    })
}

impl ShownCertificates {
    pub(super) fn new(
        options: &ServerOptions,
        credentials: &ServerCredentials,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let mut shown = Self {
            by_name: HashMap::new(),
            by_end: HashMap::new(),
            by_start: HashMap::new(),
            by_pattern: Vec::new(),
            all: Vec::new(),
            rejects: options.rejects_unknown_names,
            rejects_all: options.rejects_all_names,
        };
        for (pair, files) in credentials.pairs.iter().zip(&options.certificates) {
            let certified = Arc::new(pair.certified(files.pair(), provider)?);
            match files.names.is_empty() {
                true => {
                    for name in names(&certified) {
                        add(&mut shown.by_name, name, &certified);
                    }
                }
                false => {
                    for name in &files.names {
                        shown.write(name, &certified)?;
                    }
                }
            }
            shown.all.push(certified);
        }
        let needs_none = shown.rejects_all || options.certificates_follow;
        match shown.all.is_empty() && !needs_none {
            true => Err(TlsError::Options("there is no certificate".into())),
            false => Ok(shown),
        }
    }

    /// Has a certificate shown for a name that was written for it.
    fn write(&mut self, name: &str, certified: &Arc<CertifiedKey>) -> Result<(), TlsError> {
        if let Some(written) = name.strip_prefix('~') {
            let pattern = name_pattern(written).map_err(|problem| {
                TlsError::Options(format!("{name:?} is no pattern of names: {problem}"))
            })?;
            let mut known = self.by_pattern.iter_mut();
            match known.find(|(it, _)| it.as_str() == pattern.as_str()) {
                Some((_, shown)) => shown.push(certified.clone()),
                None => self.by_pattern.push((pattern, vec![certified.clone()])),
            }
            return Ok(());
        }
        let name = &*name.to_ascii_lowercase();
        if let Some(end) = name.strip_prefix('*') {
            add(&mut self.by_end, end.to_owned(), certified);
        } else if let Some(domain) = name.strip_prefix('.') {
            add(&mut self.by_end, name.to_owned(), certified);
            add(&mut self.by_name, domain.to_owned(), certified);
        } else if let Some(start) = name.strip_suffix(".*") {
            add(&mut self.by_start, start.to_owned(), certified);
        } else {
            add(&mut self.by_name, name.to_owned(), certified);
        }
        Ok(())
    }

    /// Those for a host. Empty: none is.
    pub(super) fn named(&self, host: &str) -> &[Arc<CertifiedKey>] {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some(found) = self.by_name.get(&host) {
            return found;
        }
        // A wildcard of a certificate stands for one label (RFC 9525 §6.3).
        let parent = host
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        if let Some(found) = parent.and_then(|parent| self.by_name.get(&parent)) {
            return found;
        }
        // The longest one that is written, as in nginx.
        let dots = || host.match_indices('.').map(|(at, _)| at);
        let ends = dots().find_map(|at| self.by_end.get(&host[at..]));
        let found = ends.or_else(|| {
            let mut starts: Vec<_> = dots().collect();
            starts.reverse();
            starts
                .into_iter()
                .find_map(|at| self.by_start.get(&host[..at]))
        });
        if let Some(found) = found {
            return found;
        }
        let mut patterns = self.by_pattern.iter();
        let found = patterns.find(|(pattern, _)| pattern.is_match(host.as_bytes()));
        found.map_or(&[], |(_, shown)| shown)
    }
}

fn add(
    to: &mut HashMap<String, Vec<Arc<CertifiedKey>>>,
    name: String,
    certified: &Arc<CertifiedKey>,
) {
    to.entry(name).or_default().push(certified.clone());
}

impl ResolvesServerCert for ShownCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().map_or(&[][..], |host| self.named(host));
        let is_rejected = self.rejects_all || self.rejects && named.is_empty();
        asked::note(hello.server_name(), is_rejected);
        if is_rejected {
            return None;
        }
        let schemes = hello.signature_schemes();
        named
            .iter()
            .chain(&self.all)
            .find(|certified| certified.key.choose_scheme(schemes).is_some())
            .or(named.first())
            .or(self.all.first())
            .cloned()
    }
}

/// One certificate for every client.
pub(super) struct OneCertificate(pub(super) Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        asked::note(hello.server_name(), false);
        Some(self.0.clone())
    }
}

/// Without keys.
impl fmt::Debug for OneCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneCertificate").finish_non_exhaustive()
    }
}

/// Without keys.
impl fmt::Debug for ShownCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

fn names(certified: &CertifiedKey) -> Vec<String> {
    let leaf = certified
        .cert
        .first()
        .and_then(|leaf| Certificate::parse(leaf).ok());
    leaf.map_or_else(Vec::new, |leaf| leaf.names())
        .into_iter()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .collect()
}
