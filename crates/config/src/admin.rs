//! `[admin]`: where the engine can be looked at.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use moorline_net::{Address, HostPort};
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
    /// The collector that gets metrics and traces.
    pub otlp: Option<Box<Otlp>>,
    /// The token. Only the supervisor has it: it does not travel to other processes.
    #[serde(skip)]
    pub token: Option<Token>,
}

/// `[admin.otlp]`: a collector of OpenTelemetry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otlp {
    /// Its host, a name or an IP address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What its paths begin with: empty, or as in `/otlp`.
    pub path: String,
    /// The time from one export to the next.
    pub interval: Duration,
    /// The name that the engine has there.
    pub service: String,
    /// One handler of this many is in the traces; 0: none.
    pub sample_one_in: u32,
}

impl Otlp {
    /// As it is written.
    pub fn endpoint(&self) -> String {
        let Self {
            host, port, path, ..
        } = self;
        match host.contains(':') {
            true => format!("http://[{host}]:{port}{path}"),
            false => format!("http://{host}:{port}{path}"),
        }
    }
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
    let otlp = section.read("otlp", |field| otlp(&field));
    section.finish()?;
    let (listen, hosts, token) = (listen?, hosts?.unwrap_or_default(), token?);
    let otlp = otlp?;
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
        otlp: otlp.map(Box::new),
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

const OTLP_HINT: &str = "write [admin.otlp] and its keys below it";
const ENDPOINT_HINT: &str = r#"write endpoint = "http://127.0.0.1:4318""#;
/// The port of collectors for OTLP over HTTP.
const OTLP_PORT: u16 = 4318;
const OTLP_INTERVAL: Duration = Duration::from_secs(10);
const OTLP_SAMPLE: u32 = 100;
/// More often than twice a second asks the supervisor too much, more seldom than once in an hour shows nothing.
const OTLP_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_secs(3600);

fn otlp(field: &Field<'_>) -> Result<Otlp, Reported> {
    let section = field.section("[admin.otlp]", OTLP_HINT)?;
    let endpoint = section.require("endpoint", ENDPOINT_HINT, |field| endpoint(&field));
    let interval = section.read("interval", |field| {
        let interval = field.duration()?;
        match OTLP_INTERVALS.contains(&interval) {
            true => Ok(interval),
            false => Err(field.refuse(
                "`interval` is less than half a second or more than an hour".to_owned(),
                "write interval = \"10s\"",
            )),
        }
    });
    let service = section.read("service", |field| Ok(field.text()?.to_owned()));
    let sample_one_in = section.read("sample_one_in", |field| {
        field.number(0..=u64::from(u32::MAX))
    });
    section.finish()?;
    let (host, port, path) = endpoint?;
    Ok(Otlp {
        host,
        port,
        path,
        interval: interval?.unwrap_or(OTLP_INTERVAL),
        service: service?.unwrap_or_else(|| "moorline".to_owned()),
        sample_one_in: sample_one_in?.unwrap_or(OTLP_SAMPLE),
    })
}

/// Host, port and path of the collector.
fn endpoint(field: &Field<'_>) -> Result<(String, u16, String), Reported> {
    let text = field.text()?;
    let refuse = |reason: &str| {
        let message = format!("`endpoint`: {text:?} {reason}");
        Err(field.refuse(message, ENDPOINT_HINT))
    };
    let Some(rest) = text.strip_prefix("http://") else {
        return refuse("does not begin with http://: metrics and traces go there unencrypted");
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let path = path.trim_end_matches('/');
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.~/%".contains(c);
    if !path.chars().all(is_fit) {
        return refuse("has a path with other characters than letters, digits and -_.~/%");
    }
    let whole = match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => authority.to_owned(),
        _ => format!("{authority}:{OTLP_PORT}"),
    };
    match format!("tcp://{whole}").parse() {
        Ok(Address::Tcp(HostPort { host, port })) if port != 0 => Ok((host, port, path.to_owned())),
        _ => refuse("is no host with a port"),
    }
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
