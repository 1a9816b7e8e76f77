//! TLS towards the peers of an upstream.

use std::sync::{Arc, Mutex, PoisonError};

use moorline_config::MOST_PEERS;
use moorline_net::tls::client::ClientTls;
use moorline_net::tls::{ClientCertificate, ReadyCertificate};
use moorline_proxy::PeerAddress;
use rustc_hash::FxHashMap;

use crate::chosen_certificates::{CertificateFiles, ChosenCertificates, KnownCertificate};

/// TLS towards the peers of an upstream. Each peer has sessions of its own, which are resumed, and so has each certificate that
/// it is shown.
#[derive(Debug)]
pub(crate) struct PeerTls {
    made: ClientTls,
    by_peer: Mutex<FxHashMap<SessionsOf, ClientTls>>,
    certificates: Arc<ChosenCertificates>,
}

/// Whose sessions they are: a peer, and the digest of the certificate that it is shown.
type SessionsOf = (PeerAddress, Option<[u8; 32]>);

impl PeerTls {
    /// No peer was connected to so far.
    pub(crate) fn new(made: ClientTls) -> Self {
        Self {
            made,
            by_peer: Mutex::default(),
            certificates: Arc::new(ChosenCertificates::of_upstream()),
        }
    }

    /// The certificate in these files.
    pub(crate) fn certificate(&self, files: &CertificateFiles, now: u64) -> KnownCertificate {
        let read = || {
            let tls = self.made.clone();
            let read = move |files: &CertificateFiles| {
                let pair = ClientCertificate::new(files.certificate.clone(), files.key.clone());
                tls.read(&pair).map_err(|error| error.to_string())
            };
            Box::new(read) as _
        };
        self.certificates.get(files, read, now)
    }

    /// That of a peer, which is shown this certificate instead of the one of all.
    pub(crate) fn of(&self, peer: &PeerAddress, shown: Option<&ReadyCertificate>) -> ClientTls {
        let place = (peer.clone(), shown.map(ReadyCertificate::digest));
        // A panic ends the process, so no lock is poisoned.
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = by_peer.get(&place) {
            return tls.clone();
        }
        if by_peer.len() >= MOST_PEERS
            && let Some(another) = by_peer.keys().next().cloned()
        {
            // Addresses of names come and go.
            by_peer.remove(&another);
        }
        let tls = match shown {
            Some(shown) => self.made.showing(shown),
            None => self.made.for_another(),
        };
        by_peer.insert(place, tls.clone());
        tls
    }
}

/// The host in the address of a peer as it is written; `None` for a Unix socket.
pub(crate) fn host_of(entry: &str) -> Option<&str> {
    if entry.starts_with(['/', '@']) {
        return None;
    }
    let host = entry.rsplit_once(':').map_or(entry, |(host, _)| host);
    Some(host.trim_start_matches('[').trim_end_matches(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_unless_it_is_a_path() {
        for (entry, host) in [
            ("db.example:5432", Some("db.example")),
            ("10.0.0.1:1", Some("10.0.0.1")),
            ("[::1]:443", Some("::1")),
            ("/run/a:b.sock", None),
            ("@name", None),
        ] {
            assert_eq!(host_of(entry), host);
        }
    }
}
