//! `server` of a backend.

use std::net::IpAddr;

use super::bases::Bases;
use super::lines::Line;
use super::peer_tls::PeerTls;
use super::value::{Where, address, time};
use crate::note::{Report, Reported};
use crate::number::number;
use crate::toml::Value;

/// Options without an effect.
const IGNORED: &[&str] = &[
    "tfo",
    "no-tfo",
    "check-send-proxy",
    "no-check-send-proxy",
    "non-stick",
    "stick",
];
/// The same, with a value behind them.
const WITH_VALUES: &[&str] = &[
    "fastinter",
    "downinter",
    "minconn",
    "maxqueue",
    "id",
    "init-addr",
    "error-limit",
    "on-error",
    "resolve-prefer",
    "resolve-opts",
    "resolve-net",
    "pool-max-conn",
    "pool-low-conn",
    "pool-purge-delay",
    "log-proto",
    "cookie",
    "ciphers",
    "ciphersuites",
    "curves",
    "sigalgs",
];

/// A server with its options.
#[derive(Debug, Clone, Default)]
pub(super) struct BackendServer {
    pub(super) target: ServerTarget,
    pub(super) weight: Option<u64>,
    pub(super) max_connections: Option<u64>,
    pub(super) backup: bool,
    pub(super) disabled: bool,
    pub(super) check: bool,
    pub(super) times: Times,
    pub(super) proxy_protocol: Option<u64>,
    pub(super) slow_start: Option<u64>,
    pub(super) tls: PeerTls,
    /// Failures of connections count, too.
    pub(super) observes: bool,
    /// The section that knows its name.
    pub(super) resolvers: Option<String>,
}

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServerTarget {
    Address(String),
    /// A name of the DNS with the ports and weights of its servers (SRV).
    Service(String),
}

impl Default for ServerTarget {
    fn default() -> Self {
        Self::Address(String::new())
    }
}

impl ServerTarget {
    /// The host of an address, if it is a name.
    pub(super) fn host(&self) -> Option<&str> {
        let Self::Address(address) = self else {
            return None;
        };
        let (host, _) = address.strip_prefix("tcp://")?.rsplit_once(':')?;
        let is_name = !host.starts_with('[') && host.parse::<IpAddr>().is_err();
        is_name.then_some(host)
    }

    /// Whether DNS servers are asked for it.
    pub(super) fn is_resolved(&self) -> bool {
        matches!(self, Self::Service(_)) || self.host().is_some()
    }
}

/// How often and how it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) inter: Option<u64>,
    pub(super) rise: Option<u64>,
    pub(super) fall: Option<u64>,
}

impl BackendServer {
    /// Its entry of `peers`.
    pub(super) fn peer(&self) -> Value {
        let (key, target) = match &self.target {
            ServerTarget::Address(address) => ("address", address),
            ServerTarget::Service(name) => ("service", name),
        };
        let weight = self.weight.filter(|_| key == "address");
        let optional = [
            ("weight", weight.filter(|it| *it > 1).map(Value::Number)),
            ("max_connections", self.max_connections.map(Value::Number)),
            ("backup", self.backup.then_some(Value::Flag(true))),
            // One that weighs nothing gets no new connections.
            (
                "down",
                (self.disabled || self.weight == Some(0)).then_some(Value::Flag(true)),
            ),
        ];
        let written = optional
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let target = (key.to_owned(), Value::text(&**target));
        let entries: Vec<_> = [target].into_iter().chain(written).collect();
        match &entries[..] {
            [(key, address)] if key == "address" => address.clone(),
            _ => Value::Table(entries),
        }
    }
}

/// Reads a line `server NAME ADDRESS …`, or `server-template NAME COUNT ADDRESS …`. `defaults`: of lines `default-server`.
pub(super) fn server(
    line: &Line,
    defaults: &BackendServer,
    bases: &Bases,
    report: &mut Report,
) -> Result<BackendServer, Reported> {
    let mut server = defaults.clone();
    let at = match line.word(0) {
        "server-template" => 3,
        _ => 2,
    };
    let target = target(line, line.word(at), report);
    let options = options(line, at + 1, &mut server, bases, report);
    let count = count(line, report);
    server.target = target?;
    options?;
    remark_count(line, &server.target, count?, report);
    Ok(server)
}

/// What lines `default-server` say of the servers below them.
pub(super) fn defaults(
    line: &Line,
    mut so_far: BackendServer,
    bases: &Bases,
    report: &mut Report,
) -> Result<BackendServer, Reported> {
    options(line, 1, &mut so_far, bases, report).map(|()| so_far)
}

/// The number of servers that a line stands for.
fn count(line: &Line, report: &mut Report) -> Result<u64, Reported> {
    if line.word(0) != "server-template" {
        return Ok(1);
    }
    let range = line.word(2);
    let (first, last) = range.split_once('-').unwrap_or(("1", range));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((last - first).saturating_add(1)),
        _ => Err(line.refuse(report, format!("has a wrong number {range:?}"))),
    }
}

/// A name has all its addresses here, and one of them with HAProxy, or one for each of a template.
fn remark_count(line: &Line, target: &ServerTarget, count: u64, report: &mut Report) {
    let is_template = line.word(0) == "server-template";
    let text = match target {
        ServerTarget::Service(name) if is_template => {
            format!("each server of {name} is a peer: HAProxy takes {count} of them")
        }
        ServerTarget::Service(_) => return,
        ServerTarget::Address(address) => match target.host() {
            Some(host) => {
                format!("each address of {host} is a peer: HAProxy takes {count} of them")
            }
            None if count > 1 => format!("{address} is one peer: HAProxy counts it as {count}"),
            None => return,
        },
    };
    report.remark(&line.place, text);
}

fn target(line: &Line, text: &str, report: &mut Report) -> Result<ServerTarget, Reported> {
    let parsed = address(text).map_err(|problem| report.error(&line.place, problem))?;
    match parsed {
        Where::Path(path) => Ok(ServerTarget::Address(format!("unix://{path}"))),
        Where::Host(name, _) if name.starts_with('_') => Ok(ServerTarget::Service(name)),
        Where::Host(host, Some(port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(ServerTarget::Address(format!("tcp://{host}:{port}")))
        }
        Where::Host(..) => {
            let why = format!("has no port of its own in {text:?}");
            Err(line.refuse(report, why))
        }
    }
}

fn options(
    line: &Line,
    from: usize,
    server: &mut BackendServer,
    bases: &Bases,
    report: &mut Report,
) -> Result<(), Reported> {
    let mut words = line.words.iter().skip(from).map(String::as_str);
    let mut result = Ok(());
    while let Some(word) = words.next() {
        if flag(word, server) {
            continue;
        }
        let of_tls = server.tls.option(line, word, &mut words, bases, report);
        if let Some(read) = of_tls {
            result = result.and(read);
            continue;
        }
        if IGNORED.contains(&word) || WITH_VALUES.contains(&word) {
            let value = match WITH_VALUES.contains(&word) {
                true => format!(" {}", words.next().unwrap_or_default()),
                false => String::new(),
            };
            let text = format!("`{word}{value}` of `{}` has no effect", line.word(0));
            report.remark(&line.place, text);
            continue;
        }
        let (slot, parse): (_, fn(&str) -> Option<u64>) = match word {
            "weight" => (&mut server.weight, number),
            "maxconn" => (&mut server.max_connections, number),
            "inter" => (&mut server.times.inter, time),
            "rise" => (&mut server.times.rise, number),
            "fall" => (&mut server.times.fall, number),
            "slowstart" => (&mut server.slow_start, time),
            "resolvers" => {
                server.resolvers = words.next().map(str::to_owned);
                continue;
            }
            "observe" => {
                server.observes = words.next() == Some("layer4");
                continue;
            }
            other => {
                let why = format!("has an option that is not imported: `{other}`");
                // It is not known whether a value stands behind it.
                return Err(line.refuse(report, why));
            }
        };
        match words.next().and_then(parse) {
            Some(value) => *slot = Some(value),
            None => result = Err(line.refuse(report, format!("has a wrong `{word}`"))),
        }
    }
    server.max_connections = server.max_connections.filter(|it| *it > 0);
    if server.max_connections.is_some() && line.words.iter().any(|word| word == "maxconn") {
        let text =
            "`maxconn` of a server: connections over it do not wait, and get another peer or none";
        report.remark(&line.place, text);
    }
    result
}

/// An option without a value. False: it is another one.
fn flag(word: &str, server: &mut BackendServer) -> bool {
    match word {
        "check" => server.check = true,
        "no-check" => server.check = false,
        "backup" => server.backup = true,
        "no-backup" => server.backup = false,
        "disabled" => server.disabled = true,
        "enabled" => server.disabled = false,
        "send-proxy" => server.proxy_protocol = Some(1),
        "send-proxy-v2" => server.proxy_protocol = Some(2),
        "no-send-proxy" | "no-send-proxy-v2" => server.proxy_protocol = None,
        _ => return false,
    }
    true
}
