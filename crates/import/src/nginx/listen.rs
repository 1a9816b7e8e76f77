//! `listen` of a server.

use super::tree::Directive;
use super::value::host_port;
use crate::note::{Place, Report, Reported};
use crate::number::{MOST_PORTS, number, ports};

/// The key for the time until a handshake is over, be it of TLS or of the PROXY protocol.
pub(super) const HANDSHAKE: &str = "handshake_timeout";

/// One address that a server listens on.
#[derive(Debug, Clone)]
pub(super) struct Listen {
    /// `tcp://…`, `udp://…` or `unix://…`; with TLS, too, as the key `tls` says it.
    pub(super) address: String,
    pub(super) ssl: bool,
    pub(super) udp: bool,
    pub(super) proxy_protocol: bool,
    /// `tcp_keepalive`: a time in milliseconds, or `None` within: off.
    pub(super) keepalive: Option<Option<u64>>,
    /// The server is that of clients that ask for no name of others.
    pub(super) is_default: bool,
    pub(super) place: Place,
}

/// The options behind an address.
#[derive(Default)]
struct ListenOptions {
    ssl: bool,
    udp: bool,
    proxy_protocol: bool,
    keepalive: Option<Option<u64>>,
    both_families: bool,
    is_default: bool,
}

/// What a `listen` means: an address, or one for each port of a range.
pub(super) fn listens(directive: &Directive, report: &mut Report) -> Result<Vec<Listen>, Reported> {
    let Some((address, words)) = directive.arguments.split_first() else {
        return Err(directive.refuse(report, "has no address"));
    };
    let options = options(directive, words, report);
    let addresses = addresses(directive, address, report);
    let (options, mut addresses) = (options?, addresses?);
    if options.both_families {
        // Each listener is of one family.
        let of_ipv4 = addresses.iter().filter_map(|(is_unix, rest)| {
            let port = rest.strip_prefix("[::]")?;
            (!is_unix).then(|| (false, format!("0.0.0.0{port}")))
        });
        addresses.extend(of_ipv4.collect::<Vec<_>>());
    }
    if options.udp && (options.ssl || options.proxy_protocol) {
        let why = "has `udp` beside `ssl` or `proxy_protocol`, which datagrams do not have";
        return Err(directive.refuse(report, why));
    }
    let listens = addresses.into_iter().map(|(is_unix, rest)| {
        let scheme = match (is_unix, options.udp) {
            (true, _) => "unix",
            (false, true) => "udp",
            (false, false) => "tcp",
        };
        Listen {
            address: format!("{scheme}://{rest}"),
            ssl: options.ssl,
            udp: options.udp,
            proxy_protocol: options.proxy_protocol,
            keepalive: options.keepalive.filter(|_| !is_unix),
            is_default: options.is_default,
            place: directive.place.clone(),
        }
    });
    let listens: Vec<_> = listens.collect();
    match options.udp && listens.iter().any(|it| it.address.starts_with("unix:")) {
        true => Err(directive.refuse(report, "has `udp` on a Unix socket")),
        false => Ok(listens),
    }
}

fn options(
    directive: &Directive,
    words: &[String],
    report: &mut Report,
) -> Result<ListenOptions, Reported> {
    let mut options = ListenOptions::default();
    let mut result = Ok(());
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        match (name, value) {
            ("ssl", None) => options.ssl = true,
            ("udp", None) => options.udp = true,
            ("proxy_protocol", None) => options.proxy_protocol = true,
            // Every listener has a socket.
            ("bind" | "reuseport", None) => {}
            ("default_server" | "default", None) => options.is_default = true,
            ("ipv6only", Some("on")) => {}
            ("ipv6only", Some("off")) => options.both_families = true,
            ("so_keepalive", Some(value)) => match keepalive(value) {
                Some(keepalive) => {
                    options.keepalive = keepalive;
                    if value.contains(':') {
                        let text = "`so_keepalive`: the interval and count of probes follow from the time until the first one";
                        report.remark(&directive.place, text);
                    }
                }
                None => {
                    result = Err(directive.refuse(report, format!("has a wrong `{word}`")));
                }
            },
            ("backlog" | "rcvbuf" | "sndbuf" | "fastopen", Some(_)) => {
                let text =
                    format!("`{word}` of `listen` is left out: the system's default is taken");
                report.remark(&directive.place, text);
            }
            ("deferred", None) => {
                let text = "`deferred` of `listen` is left out: a connection is accepted at once";
                report.remark(&directive.place, text);
            }
            ("quic" | "http2" | "spdy" | "setfib" | "accept_filter" | "multipath", _) => {
                let why = format!("has `{word}`, which Moorline does not have");
                result = Err(directive.refuse(report, why));
            }
            _ => {
                result = Err(directive.refuse(report, format!("has an unknown option `{word}`")));
            }
        }
    }
    result.map(|()| options)
}

/// The time until the first probe; `None` for a wrong value.
fn keepalive(value: &str) -> Option<Option<Option<u64>>> {
    match value {
        "on" => return Some(None),
        "off" => return Some(Some(None)),
        _ => {}
    }
    let parts: Vec<_> = value.split(':').collect();
    let [idle, interval, count] = parts[..] else {
        return None;
    };
    let fits = |text: &str| text.is_empty() || super::value::time(text).is_some();
    if !fits(interval) || !(count.is_empty() || number(count).is_some()) {
        return None;
    }
    match idle {
        "" => Some(None),
        idle => super::value::time(idle).map(|time| Some(Some(time))),
    }
}

/// Whether each is a path, and what stands behind the scheme.
fn addresses(
    directive: &Directive,
    text: &str,
    report: &mut Report,
) -> Result<Vec<(bool, String)>, Reported> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') {
            true => Ok(vec![(true, path.to_owned())]),
            false => Err(directive.refuse(report, "has a Unix socket without an absolute path")),
        };
    }
    let (host, port) = match host_port(text) {
        (alone, None) if alone.split('-').all(|it| number(it).is_some()) => ("0.0.0.0", alone),
        (_, None) => return Err(directive.refuse(report, format!("has no port in {text:?}"))),
        (host, Some(port)) => (host, port),
    };
    let host = if host == "*" { "0.0.0.0" } else { host };
    let Some(ports) = ports(port) else {
        return Err(directive.refuse(report, format!("has a wrong port in {text:?}")));
    };
    if host.is_empty() || ports.is_empty() {
        return Err(directive.refuse(report, format!("has a wrong address {text:?}")));
    }
    if ports.len() > MOST_PORTS {
        return Err(directive.refuse(report, format!("has over {MOST_PORTS} ports")));
    }
    Ok(ports
        .map(|port| (false, format!("{host}:{port}")))
        .collect())
}
