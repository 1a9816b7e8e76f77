//! `tls = { … }` of an upstream: how its peers are verified, and what they are shown.

use std::path::Path;

use moorline_net::Address;
use moorline_net::tls::client::{ClientCredentials, ClientOptions};
use moorline_net::tls::{ClientCertificate, Pem, Roots};
use serde::{Deserialize, Serialize};

use super::chosen_certificate::ChosenCertificate;
use super::error::Reported;
use super::tls::{alpn, remedy, verify_depth, versions};
use super::variables::{Template, template};
use super::walk::{Field, Section};

const HINT: &str = r#"write tls = {}, or tls = { ca = "ca.pem", server_name = "db.example" }"#;

/// How the peers of an upstream are verified, and what they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerTls {
    /// What is the same for all connections.
    pub options: ClientOptions,
    /// The host that peers are sent and verified by. Default: the one in the peer's address.
    pub server_name: Option<Template>,
    /// The certificate for peers that ask, if connections choose it. One that is the same for all is in the options.
    pub certificate: Option<ChosenCertificate>,
}

impl PeerTls {
    /// The texts that connections fill in.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Template> {
        let chosen = self.certificate.iter();
        let files = chosen.flat_map(|chosen| [&chosen.certificate, &chosen.key]);
        self.server_name.iter().chain(files)
    }
}

/// The certificate for peers.
enum Shown {
    None,
    Fixed(ClientCertificate),
    Chosen(ChosenCertificate),
}

/// Reads the table, and the files that it names: unusable ones are refused here.
pub(super) fn peer_tls(field: &Field<'_>, base: &Path) -> Result<PeerTls, Reported> {
    let section = field.section("`tls` of an upstream", HINT)?;
    let verifies = section.read("verify", |field| field.flag());
    let roots = section.read("ca", |field| field.path(base).map(Roots::File));
    let crl = section.read("crl", |field| field.path(base).map(Pem::File));
    let depth = section.read("verify_depth", |field| verify_depth(&field));
    let server_name = section.read("server_name", |field| template(&field));
    let sends_name = section.read("send_server_name", |field| field.flag());
    let certificate = certificate(&section, base);
    let passwords = section.read("password_file", |field| field.path(base));
    if section.has("password_file") && !section.has("key") {
        section.refuse_keys(&["password_file"], "has no effect without `key`")?;
    }
    let alpn = section.read("alpn", |field| alpn(&field));
    let versions = section.read("versions", |field| versions(&field));
    let resumes = section.read("reuse", |field| field.flag());
    let unverified = check_unverified(&section, verifies.as_ref().ok().copied().flatten());
    section.finish()?;
    unverified?;
    let mut options = ClientOptions::default();
    options.verifies = verifies?.unwrap_or(true);
    options.roots = roots?.unwrap_or_default();
    options.crl = crl?;
    options.verify_depth = depth?;
    let certificate = match certificate? {
        Shown::None => None,
        Shown::Fixed(files) => {
            options.certificate = Some(files);
            None
        }
        Shown::Chosen(chosen) => Some(chosen),
    };
    options.password_file = passwords?;
    options.alpn = alpn?.unwrap_or_default();
    options.versions = versions?.unwrap_or_default();
    options.sends_name = sends_name?.unwrap_or(true);
    options.resumes = resumes?.unwrap_or(true);
    let server_name = server_name?;
    match ClientCredentials::load_files(&options) {
        Ok(_) => Ok(PeerTls {
            options,
            server_name,
            certificate,
        }),
        Err(error) => {
            let message = format!("`tls`: {error}");
            Err(match remedy(error.kind()) {
                Some(hint) => field.refuse(message, hint),
                None => field.report.plain_error(field.value.span(), message),
            })
        }
    }
}

/// TLS of an upstream whose peers have these addresses, which lose it: `tls://` says so, too.
pub(super) fn encrypted(
    section: &Section<'_>,
    tls: Option<PeerTls>,
    peers: &mut [&mut Address],
) -> Result<Option<PeerTls>, Reported> {
    let is_encrypted = |peer: &&mut Address| matches!(peer, Address::Tls(_));
    let tls = match tls {
        None if !peers.iter().any(is_encrypted) => return Ok(None),
        None if peers.iter().all(is_encrypted) => default(section)?,
        None => {
            return Err(section.report.error(
                section.place("peers"),
                "some peers have TLS, and others have none",
                "write tls:// for all of them, or an upstream for each kind",
            ));
        }
        Some(tls) => tls,
    };
    if peers.iter().any(|peer| matches!(peer, Address::Udp(_))) {
        section.refuse_keys(
            &["tls"],
            "has no effect on udp:// peers: datagrams are not encrypted",
        )?;
    }
    let is_unix = |peer: &&mut Address| matches!(peer, Address::Unix(_));
    if tls.options.verifies && tls.server_name.is_none() && peers.iter().any(is_unix) {
        return Err(section.report.error(
            section.place("tls"),
            "the peer on a Unix socket has no name that it could be verified by",
            r#"write tls = { server_name = "db.example" }, or verify = false"#,
        ));
    }
    for peer in peers {
        if let Address::Tls(host_port) = peer {
            **peer = Address::Tcp(host_port.clone());
        }
    }
    Ok(Some(tls))
}

/// TLS of peers whose addresses alone say that they have it.
fn default(section: &Section<'_>) -> Result<PeerTls, Reported> {
    let options = ClientOptions::default();
    match ClientCredentials::load_files(&options) {
        Ok(_) => Ok(PeerTls {
            options,
            server_name: None,
            certificate: None,
        }),
        Err(error) => Err(section.report.error(
            section.place("peers"),
            format!("`tls://`: {error}"),
            "write tls = { ca = \"ca.pem\" } beside `peers`",
        )),
    }
}

fn certificate(section: &Section<'_>, base: &Path) -> Result<Shown, Reported> {
    let certificate = section.read("certificate", |field| template(&field));
    let key = section.read("key", |field| template(&field));
    match (certificate?, key?) {
        (None, None) => Ok(Shown::None),
        (Some(certificate), Some(key)) => Ok(match (certificate.constant(), key.constant()) {
            (Some(certificate), Some(key)) => {
                let absolute = |path| std::path::absolute(base.join(path));
                let path = |path| absolute(path).unwrap_or_else(|_| base.join(path));
                let [certificate, key] = [certificate, key].map(path);
                Shown::Fixed(ClientCertificate::new(certificate, key))
            }
            _ => Shown::Chosen(ChosenCertificate {
                certificate,
                key,
                base: base.to_owned(),
            }),
        }),
        (Some(_), None) => Err(section.report.error(
            section.key_place("certificate"),
            "`certificate` has no effect without `key`",
            r#"write key = "peer.key" beside it"#,
        )),
        (None, Some(_)) => Err(section.report.error(
            section.key_place("key"),
            "`key` has no effect without `certificate`",
            r#"write certificate = "peer.pem" beside it"#,
        )),
    }
}

/// What is written to be verified, and is not.
fn check_unverified(section: &Section<'_>, verifies: Option<bool>) -> Result<(), Reported> {
    match verifies {
        Some(false) => section.refuse_keys(
            &["ca", "crl", "verify_depth"],
            "has no effect with `verify = false`: nothing is verified",
        ),
        _ => Ok(()),
    }
}
