//! `tls = { … }` of a listener: what it shows, and what it asks for.

use std::path::Path;

use moorline_net::tls::server::{
    ClientCertificates, ServerCertificate, ServerCredentials, ServerOptions, check_name_pattern,
};
use moorline_net::tls::{FileErrorKind, Pem, Versions};

use super::chosen_certificate::ChosenCertificate;
use super::error::Reported;
use super::variables::template;
use super::walk::{Field, Section};

const HINT: &str = r#"write tls = { certificate = "cert.pem", key = "key.pem" }"#;
const MORE_HINT: &str =
    r#"write certificates = [ { certificate = "a.pem", key = "a.key" }, … ], one for each name"#;
/// More certificates than anyone keeps at one address: a slip.
const MAX_CERTIFICATES: usize = 1000;
/// The most certificates between a peer's and a root that a limit may say; no chain has more than six.
const MOST_DEPTH: u64 = 100;
/// The longest name of a protocol, in bytes (RFC 7301 §3.1).
const MAX_PROTOCOL: usize = 255;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Off,
    Optional,
    Unverified,
    Required,
}

/// What a listener shows and asks for.
pub(super) struct ListenerTls {
    pub(super) options: ServerOptions,
    /// The certificate, if connections choose it.
    pub(super) certificate: Option<ChosenCertificate>,
}

/// Reads the table, and the files that it names: unusable ones are refused here. `protocols` are those of the
/// listener's scheme, used unless the table names others.
pub(super) fn tls(
    field: &Field<'_>,
    base: &Path,
    protocols: &[&str],
) -> Result<ListenerTls, Reported> {
    let section = field.section("`tls`", HINT)?;
    let chosen = chosen(&section, base);
    let is_chosen = !matches!(chosen, Ok(None));
    let needs_none =
        section.has("reject") && !section.has("certificate") && !section.has("certificates");
    let certificates = match needs_none || is_chosen {
        true => Ok(Vec::new()),
        false => certificates(&section, base),
    };
    let client_certificates = client_certificates(&section, base);
    let depth = section.read("client_verify_depth", |field| verify_depth(&field));
    let crl = section.read("client_crl", |field| field.path(base).map(Pem::File));
    if matches!(client_certificates, Ok(ClientCertificates::Off)) {
        section.refuse_keys(
            &["client_verify_depth", "client_crl"],
            "has no effect: clients are not asked for certificates",
        )?;
    }
    let alpn = section.read("alpn", |field| alpn(&field));
    let versions = spoken(&section);
    let rejects = section.read("reject_unknown_names", |field| field.flag());
    let rejects_all = section.read("reject", |field| field.flag());
    let resumes = section.read("reuse", |field| field.flag());
    section.finish()?;
    let protocols = || protocols.iter().map(|&name| name.to_owned()).collect();
    let options = ServerOptions::new(certificates?)
        .client_certificates(client_certificates?)
        .client_verify_depth(depth?)
        .client_crl(crl?)
        .alpn(alpn?.unwrap_or_else(protocols))
        .versions(versions?)
        .rejects_unknown_names(rejects?.unwrap_or(false))
        .rejects_all_names(rejects_all?.unwrap_or(false))
        .resumes(resumes?.unwrap_or(true))
        .certificates_follow(is_chosen);
    let certificate = chosen?;
    match ServerCredentials::load_files(&options) {
        Ok(_) => Ok(ListenerTls {
            options,
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

/// The versions of TLS that are spoken: all of them, or from one on.
fn spoken(section: &Section<'_>) -> Result<Versions, Reported> {
    let oldest = section.read("min_version", |field| {
        field.choice(&[("1.2", Versions::Both), ("1.3", Versions::Tls13)])
    });
    let versions = section.read("versions", |field| versions(&field));
    if section.has("versions") {
        section.refuse_keys(&["min_version"], "has no effect with `versions`")?;
    }
    Ok(versions?.or(oldest?).unwrap_or_default())
}

/// The remedy for an unusable file, where the error leaves it open.
pub(super) fn remedy(kind: FileErrorKind) -> Option<&'static str> {
    match kind {
        FileErrorKind::Missing => {
            Some("name PEM files that are there; a relative path begins at this file's folder")
        }
        FileErrorKind::Forbidden => {
            Some("let the user that starts the engine read it, or name another file")
        }
        FileErrorKind::NoCertificate => {
            Some("name a PEM file with `-----BEGIN CERTIFICATE-----` in it")
        }
        FileErrorKind::NoKey => Some("name a PEM file with `-----BEGIN PRIVATE KEY-----` in it"),
        FileErrorKind::Dates => Some("have it renewed, and name the new file; check the clock too"),
        FileErrorKind::OtherKey => {
            Some("name the key that the certificate was issued for: the two are a pair")
        }
        _ => None,
    }
}

fn certificates(section: &Section<'_>, base: &Path) -> Result<Vec<ServerCertificate>, Reported> {
    let several = section.read("certificates", |field| {
        let fields = field.array(MORE_HINT)?;
        if fields.len() == 0 || fields.len() > MAX_CERTIFICATES {
            let message = format!("`certificates` has {} entries", fields.len());
            return Err(field.refuse(message, format!("write 1 to {MAX_CERTIFICATES}")));
        }
        fields
            .map(|field| {
                let section = field.section("an entry of `certificates`", MORE_HINT)?;
                let files = files(&section, base, MORE_HINT);
                let names = section.read("names", |field| names(&field));
                section.finish()?;
                Ok(files?.names(names?.unwrap_or_default()))
            })
            .collect()
    });
    match several? {
        None => Ok(vec![files(section, base, HINT)?]),
        Some(several) => {
            // Read here, so that they are known keys; with both forms at once it would be open which certificate is the
            // first.
            for key in ["certificate", "key", "password_file"] {
                section.read(key, |field| {
                    Err::<(), _>(field.refuse(
                        format!("`{key}` stands beside `certificates`"),
                        "write it as an entry there",
                    ))
                })?;
            }
            Ok(several)
        }
    }
}

/// The certificate whose path has variables, if it has some.
fn chosen(section: &Section<'_>, base: &Path) -> Result<Option<ChosenCertificate>, Reported> {
    let mut has_variables = false;
    for key in ["certificate", "key"] {
        let has = section.read(key, |field| {
            Ok(field.is_text() && field.text()?.contains("${"))
        });
        has_variables |= has?.unwrap_or(false);
    }
    if !has_variables {
        return Ok(None);
    }
    let certificate = section.require("certificate", HINT, |field| template(&field));
    let key = section.require("key", HINT, |field| template(&field));
    section.refuse_keys(
        &["password_file"],
        "has no effect on a key whose path has variables: the gateway reads keys without a password",
    )?;
    section.refuse_keys(
        &["certificates", "reject_unknown_names", "reject"],
        "has no effect beside a `certificate` whose path has variables",
    )?;
    Ok(Some(ChosenCertificate {
        certificate: certificate?,
        key: key?,
        base: base.to_owned(),
    }))
}

fn files(section: &Section<'_>, base: &Path, hint: &str) -> Result<ServerCertificate, Reported> {
    let certificate = section.require("certificate", hint, |field| field.path(base));
    let key = section.require("key", hint, |field| field.path(base));
    let passwords = section.read("password_file", |field| field.path(base));
    Ok(ServerCertificate::new(certificate?, key?).password_file(passwords?))
}

/// Hosts, with a wildcard at one end.
fn names(field: &Field<'_>) -> Result<Vec<String>, Reported> {
    const HINT: &str = r#"write hosts, as in ["a.example", "*.b.example", ".c.example", "mail.*", '~^d\d\.example$']"#;
    let fields = field.array(HINT)?;
    if fields.len() == 0 {
        return Err(field.refuse("`names` is empty", HINT));
    }
    fields
        .map(|field| {
            let name = field.text()?;
            if let Some(pattern) = name.strip_prefix('~') {
                return match check_name_pattern(pattern) {
                    Ok(()) => Ok(name.to_owned()),
                    Err(problem) => {
                        let message = format!("`names`: {name:?} is no pattern: {problem}");
                        Err(field.refuse(message, HINT))
                    }
                };
            }
            let bare = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'));
            let bare = bare.or_else(|| name.strip_suffix(".*")).unwrap_or(name);
            let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            match !bare.is_empty() && bare.chars().all(is_host) {
                true => Ok(name.to_owned()),
                false => {
                    let message = format!("`names`: {name:?} is no host, and no pattern of hosts");
                    Err(field.refuse(message, HINT))
                }
            }
        })
        .collect()
}

fn client_certificates(section: &Section<'_>, base: &Path) -> Result<ClientCertificates, Reported> {
    let asks = section.read("client_certificates", |field| {
        field.choice(&[
            ("off", Asks::Off),
            ("optional", Asks::Optional),
            ("optional-no-ca", Asks::Unverified),
            ("required", Asks::Required),
        ])
    });
    let issuers = section.read("client_issuers", |field| field.path(base).map(Pem::File));
    match (asks?.unwrap_or(Asks::Off), issuers?) {
        (Asks::Off, None) => Ok(ClientCertificates::Off),
        (Asks::Unverified, issuers) => Ok(ClientCertificates::Unverified { issuers }),
        (Asks::Optional, Some(issuers)) => Ok(ClientCertificates::Optional { issuers }),
        (Asks::Required, Some(issuers)) => Ok(ClientCertificates::Required { issuers }),
        (Asks::Off, Some(_)) => Err(section.report.error(
            section.key_place("client_issuers"),
            "`client_issuers` has no effect: clients are not asked for certificates",
            r#"write client_certificates = "required" or "optional" beside it"#,
        )),
        (_, None) => Err(section.report.error(
            section.key_place("client_certificates"),
            "`client_certificates` needs `client_issuers`: no issuer is trusted",
            r#"write client_issuers = "ca.pem" beside it"#,
        )),
    }
}

/// The most certificates between a peer's and a root.
pub(super) fn verify_depth(field: &Field<'_>) -> Result<u8, Reported> {
    field.number(0..=MOST_DEPTH)
}

pub(super) fn alpn(field: &Field<'_>) -> Result<Vec<String>, Reported> {
    const HINT: &str = r#"write the names of protocols, as in ["mqtt"]"#;
    field
        .array(HINT)?
        .map(|field| {
            let name = field.text()?;
            match name.len() <= MAX_PROTOCOL {
                true => Ok(name.to_owned()),
                false => Err(field.refuse("`alpn` has a name of over 255 bytes", HINT)),
            }
        })
        .collect()
}

/// The versions of TLS that are spoken.
pub(super) fn versions(field: &Field<'_>) -> Result<Versions, Reported> {
    const HINT: &str = r#"write ["1.2", "1.3"], or one of them; older ones are not spoken"#;
    let (mut old, mut new) = (false, false);
    for field in field.array(HINT)? {
        match field.text()? {
            "1.2" => old = true,
            "1.3" => new = true,
            other => {
                let message =
                    format!("`versions` has {other:?}, which is none of TLS that is spoken");
                return Err(field.refuse(message, HINT));
            }
        }
    }
    match (old, new) {
        (true, true) => Ok(Versions::Both),
        (true, false) => Ok(Versions::Tls12),
        (false, true) => Ok(Versions::Tls13),
        (false, false) => Err(field.refuse("`versions` is empty", HINT)),
    }
}
