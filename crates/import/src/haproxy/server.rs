//! `server` of a backend.

use std::path::Path;

use super::lines::Line;
use super::peer_tls::PeerTls;
use super::value::{Where, address, number, time};
use crate::note::{Report, Reported};
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
    pub(super) address: String,
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
        let optional = [
            (
                "weight",
                self.weight.filter(|it| *it > 1).map(Value::Number),
            ),
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
        let address = ("address".to_owned(), Value::text(&*self.address));
        let entries: Vec<_> = [address].into_iter().chain(written).collect();
        match &entries[..] {
            [(_, address)] => address.clone(),
            _ => Value::Table(entries),
        }
    }
}

/// Reads a line `server NAME ADDRESS …`, or `server-template NAME COUNT ADDRESS …`. `defaults`: of lines `default-server`.
/// `folder`: where relative paths begin.
pub(super) fn server(
    line: &Line,
    defaults: &BackendServer,
    folder: &Path,
    report: &mut Report,
) -> Result<BackendServer, Reported> {
    let mut server = defaults.clone();
    let address = peer_address(line, line.word(2), report);
    let options = options(line, 3, &mut server, folder, report);
    server.address = address?;
    options.map(|()| server)
}

/// What lines `default-server` say of the servers below them.
pub(super) fn defaults(
    line: &Line,
    mut so_far: BackendServer,
    folder: &Path,
    report: &mut Report,
) -> Result<BackendServer, Reported> {
    options(line, 1, &mut so_far, folder, report).map(|()| so_far)
}

fn peer_address(line: &Line, text: &str, report: &mut Report) -> Result<String, Reported> {
    let parsed = address(text).map_err(|problem| report.error(&line.place, problem))?;
    match parsed {
        Where::Path(path) => Ok(format!("unix://{path}")),
        Where::Host(host, Some(port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(format!("tcp://{host}:{port}"))
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
    folder: &Path,
    report: &mut Report,
) -> Result<(), Reported> {
    let mut words = line.words.iter().skip(from).map(String::as_str);
    let mut result = Ok(());
    while let Some(word) = words.next() {
        if flag(word, server) {
            continue;
        }
        let of_tls = server.tls.option(line, word, &mut words, folder, report);
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
