//! `[admin]`: where the engine can be looked at.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::route::{Token, token_in};
use super::walk::{Field, Section};
use super::{Helper, HelperTask};

/// The name of the helper that serves it.
const NAME: &str = "admin";
/// Names under which the page may be asked for.
const MOST_HOSTS: usize = 64;

/// `[admin]`: a page and metrics, over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names of this machine that requests may have in `Host`, in lower case. IP addresses and `localhost` are always served.
    pub hosts: Vec<String>,
    /// Whether who shows the token may change something.
    pub has_token: bool,
    /// The token. Only the supervisor has it: it does not travel to other processes.
    #[serde(skip)]
    pub token: Option<Token>,
}

/// Adds the helper that serves the page and metrics, if there is one.
pub(super) fn beside(
    helpers: Result<Vec<Helper>, Reported>,
    root: &Section<'_>,
    base: &Path,
) -> Result<Vec<Helper>, Reported> {
    let admin = admin(root, base);
    let (mut helpers, admin) = (helpers?, admin?);
    if admin.is_some() && helpers.iter().any(|helper| helper.name == NAME) {
        return Err(root.report.error(
            root.place("helpers"),
            format!("a helper has the name {NAME:?}, which is that of [admin]"),
            "give it another name",
        ));
    }
    helpers.extend(admin.map(|admin| Helper {
        name: NAME.to_owned(),
        task: HelperTask::Admin(admin),
    }));
    Ok(helpers)
}

fn admin(root: &Section<'_>, base: &Path) -> Result<Option<Admin>, Reported> {
    let section = root.read("admin", |field| {
        field.section("[admin]", "write [admin] and its keys below it")
    })?;
    let Some(section) = section else {
        return Ok(None);
    };
    let listen = section.require("listen", LISTEN_HINT, |field| listen(&field));
    let hosts = section.read("hosts", |field| hosts(&field));
    let token = section.read("token_file", |field| token_in(&field, base));
    section.finish()?;
    let (listen, hosts, token) = (listen?, hosts?.unwrap_or_default(), token?);
    if !listen.ip().is_loopback() {
        let can = match token {
            Some(_) => {
                "read the state of the engine, and read the token of those who change something"
            }
            None => "read the state of the engine",
        };
        root.report
            .warn(format!("[admin]: everyone who reaches {listen} can {can}"));
    }
    Ok(Some(Admin {
        listen,
        hosts,
        has_token: token.is_some(),
        token,
    }))
}

const LISTEN_HINT: &str = r#"write listen = "127.0.0.1:9400""#;

fn listen(field: &Field<'_>) -> Result<SocketAddr, Reported> {
    let text = field.text()?;
    let text = text.strip_prefix("http://").unwrap_or(text);
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        let message = format!("`{}`: {text:?} is no IP address with a port", field.key);
        field.refuse(message, LISTEN_HINT)
    })
}

fn hosts(field: &Field<'_>) -> Result<Vec<String>, Reported> {
    const HINT: &str = r#"write hosts = ["server1.example.org"]"#;
    let hosts: Vec<_> = field.array(HINT)?.map(|entry| host(&entry)).collect();
    let hosts = hosts.into_iter().collect::<Result<Vec<_>, _>>()?;
    match hosts.len() > MOST_HOSTS {
        false => Ok(hosts),
        true => Err(field.refuse(
            format!("`hosts` has over {MOST_HOSTS} names"),
            "leave out what nobody asks for",
        )),
    }
}

fn host(entry: &Field<'_>) -> Result<String, Reported> {
    let text = entry.text()?;
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !text.is_empty() && text.len() <= 253 && text.chars().all(is_fit) {
        true => Ok(text.to_ascii_lowercase()),
        false => {
            let message = format!("`hosts`: {text:?} is no name of a host");
            Err(entry.refuse(message, "write a name without a port"))
        }
    }
}
