//! `[cluster]`: which other engines this one works with, and how it reaches them.

use std::path::Path;

use moorline_net::tls::{ClientCertificate, Pem, Roots, TlsConnector, TlsOptions};
use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::naming::check_name;
use super::route::Token;
use super::walk::{Field, Section};

/// As many as session ids have room for.
const MOST_NODES: u64 = 511;
/// More than a cluster of NATS has.
const MOST_SERVERS: usize = 32;
const LONGEST_SUBJECT: usize = 64;
/// A file of credentials has about 1 KiB.
const LARGEST_SECRET: u64 = 64 * 1024;

const SERVERS_HINT: &str = r#"write servers = ["nats://127.0.0.1:4222"]"#;
const NODE_HINT: &str = r#"write node = "a", another name on each machine"#;
const NUMBER_HINT: &str = "write number = 1, another number on each machine";
const TLS_HINT: &str = r#"write tls = {}, or tls = { ca = "ca.pem" }"#;

/// `[cluster]`: engines on several machines that work together, over NATS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Addresses of NATS servers: `nats://host:port` or `tls://host:port`. Not empty.
    pub servers: Vec<String>,
    /// The name of this node.
    pub node: String,
    /// The number of this node, which is in the ids of its sessions: 1 to 511.
    pub number: u16,
    /// What the subjects of the cluster begin with. Default `moorline`.
    pub subject: String,
    /// What it shows to the NATS servers.
    pub login: Option<ClusterLogin>,
    /// How connections to NATS are encrypted. The files are read already: workers may have no right to. `None`: by `tls://` alone,
    /// verified by the system's roots.
    pub tls: Option<TlsOptions>,
}

/// What a node shows to the NATS servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClusterLogin {
    /// A user and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Token,
    },
    /// A token.
    Token(Token),
    /// The text of a credentials file: a JWT and a seed.
    Credentials(Token),
    /// The seed of an NKey.
    Nkey(Token),
}

/// Reads the table, and the files that it names.
pub(super) fn cluster(root: &Section<'_>, base: &Path) -> Result<Option<Cluster>, Reported> {
    let section = root.read("cluster", |field| {
        field.section("[cluster]", "write [cluster] and its keys below it")
    })?;
    let Some(section) = section else {
        return Ok(None);
    };
    let servers = section.require("servers", SERVERS_HINT, |field| servers(&field));
    let node = section.require("node", NODE_HINT, |field| node(&field));
    let number = section.require("number", NUMBER_HINT, |field| field.number(1..=MOST_NODES));
    let subject = section.read("subject", |field| subject(&field));
    let login = login(&section, base);
    let tls = section.read("tls", |field| tls(&field, base));
    section.finish()?;
    Ok(Some(Cluster {
        servers: servers?,
        node: node?,
        number: number?,
        subject: subject?.unwrap_or_else(|| "moorline".to_owned()),
        login: login?,
        tls: tls?,
    }))
}

fn servers(field: &Field<'_>) -> Result<Vec<String>, Reported> {
    let servers: Vec<_> = field
        .array(SERVERS_HINT)?
        .map(|entry| server(&entry))
        .collect();
    let servers = servers.into_iter().collect::<Result<Vec<_>, _>>()?;
    match servers.len() {
        0 => Err(field.refuse("`servers` is empty", SERVERS_HINT)),
        1..=MOST_SERVERS => Ok(servers),
        _ => Err(field.refuse(
            format!("`servers` has over {MOST_SERVERS} addresses"),
            "a few are enough: each server tells about the others",
        )),
    }
}

fn server(entry: &Field<'_>) -> Result<String, Reported> {
    let text = entry.text()?;
    let address = ["nats://", "tls://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let Some(address) = address else {
        let message = format!("`servers`: {text:?} begins neither with nats:// nor with tls://");
        return Err(entry.refuse(message, SERVERS_HINT));
    };
    if address.contains('@') {
        return Err(entry.refuse(
            "`servers`: an address has a user in it",
            "write `user` and `password_file`, so that the password is in no log",
        ));
    }
    let is_fit =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    match !address.is_empty() && address.chars().all(is_fit) {
        true => Ok(text.to_owned()),
        false => {
            let message = format!("`servers`: {text:?} is no address of a host");
            Err(entry.refuse(message, SERVERS_HINT))
        }
    }
}

fn node(field: &Field<'_>) -> Result<String, Reported> {
    let name = field.text()?;
    check_name(field.report, "a node", name, field.value.span())?;
    Ok(name.to_owned())
}

fn subject(field: &Field<'_>) -> Result<String, Reported> {
    let text = field.text()?;
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut tokens = text.split('.');
    if text.len() <= LONGEST_SUBJECT
        && tokens.all(|token| !token.is_empty() && token.chars().all(is_fit))
    {
        return Ok(text.to_owned());
    }
    let message = format!("`subject`: {text:?} is no beginning of a subject");
    Err(field.refuse(
        message,
        "write letters, digits, - and _, in parts with a dot between them",
    ))
}

fn login(section: &Section<'_>, base: &Path) -> Result<Option<ClusterLogin>, Reported> {
    let user = section.read("user", |field| Ok(field.text()?.to_owned()));
    let password = section.read("password_file", |field| secret(&field, base));
    let token = section.read("token_file", |field| secret(&field, base));
    let credentials = section.read("credentials_file", |field| secret(&field, base));
    let nkey = section.read("nkey_file", |field| secret(&field, base));
    let (user, password) = (user?, password?);
    let by_password = match (user, password) {
        (Some(user), Some(password)) => Some(ClusterLogin::Password { user, password }),
        (None, None) => None,
        (user, _) => {
            let (written, missing) = match user {
                Some(_) => ("user", "password_file"),
                None => ("password_file", "user"),
            };
            return Err(section.report.error(
                section.key_place(written),
                format!("`{written}` without `{missing}`"),
                "write both, or none",
            ));
        }
    };
    let all = [
        by_password,
        token?.map(ClusterLogin::Token),
        credentials?.map(ClusterLogin::Credentials),
        nkey?.map(ClusterLogin::Nkey),
    ];
    let mut written = all.into_iter().flatten();
    let first = written.next();
    match written.next() {
        None => Ok(first),
        Some(_) => Err(section.report.error(
            section.span.clone(),
            "[cluster] has several ways to log in",
            "write one of: `user` with `password_file`, `token_file`, `credentials_file`, `nkey_file`",
        )),
    }
}

/// What is in a file, without the end of its last line.
fn secret(field: &Field<'_>, base: &Path) -> Result<Token, Reported> {
    let text = file(field, base)?;
    match text.trim().is_empty() {
        true => Err(field.refuse(
            format!("`{}`: the file is empty", field.key),
            "write the secret into it",
        )),
        false => Ok(Token::new(text.trim())),
    }
}

fn file(field: &Field<'_>, base: &Path) -> Result<String, Reported> {
    let path = field.path(base)?;
    let read = || {
        let size = std::fs::metadata(&path)?.len();
        match size <= LARGEST_SECRET {
            true => std::fs::read_to_string(&path),
            false => Err(std::io::Error::other("it has over 64 KiB")),
        }
    };
    read().map_err(|error| {
        let message = format!("`{}`: cannot read {}: {error}", field.key, path.display());
        field.refuse(message, "write the path of a file that the engine can read")
    })
}

fn tls(field: &Field<'_>, base: &Path) -> Result<TlsOptions, Reported> {
    let section = field.section("`tls` of the cluster", TLS_HINT)?;
    let pem = |field: Field<'_>| file(&field, base);
    let ca = section.read("ca", pem);
    let certificate = section.read("certificate", pem);
    let key = section.read("key", pem);
    section.finish()?;
    let mut options = TlsOptions::default();
    if let Some(ca) = ca? {
        options.roots = Roots::Pem(ca);
    }
    let text = |pem: String| Pem::from_bytes(pem.as_bytes());
    options.client_certificate = match (certificate?, key?) {
        (Some(certificate), Some(key)) => {
            Some(ClientCertificate::new(text(certificate), text(key)))
        }
        (None, None) => None,
        _ => {
            return Err(field.refuse(
                "`certificate` and `key` belong together",
                "write both, or none",
            ));
        }
    };
    match TlsConnector::new(&options) {
        Ok(_) => Ok(options),
        Err(error) => Err(field.refuse(format!("`tls`: {error}"), TLS_HINT)),
    }
}
