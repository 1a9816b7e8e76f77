//! `upstream` blocks: peers and how one is chosen.

use std::net::IpAddr;

use std::collections::BTreeMap;

use super::context::Context;
use super::directives::{self, Block};
use super::resolver;
use super::scope::Scope;
use super::tree::Directive;
use super::value::{self, host_port};
use super::variables::template;
use crate::note::{Place, Reported};
use crate::number::number;
use crate::toml::{Entry, Value};
use crate::unit;

/// What `proxy_pass` names.
#[derive(Debug, Clone)]
pub(super) struct To {
    pub(super) text: String,
    pub(super) place: Place,
}

/// An `upstream` block, or an address that a server passes to.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    pub(super) place: Place,
    /// Its keys but those that come from servers.
    pub(super) entries: Vec<Entry>,
}

/// The `upstream` blocks by their names.
pub(super) fn upstreams(stream: &[Directive], cx: &mut Context<'_>) -> BTreeMap<String, Upstream> {
    let mut found: BTreeMap<String, Upstream> = BTreeMap::new();
    for directive in stream.iter().filter(|it| it.name == "upstream") {
        let Ok(name) = directive.one(&mut cx.report) else {
            continue;
        };
        // nginx compares them without regard to case.
        let name = name.to_ascii_lowercase();
        if found.contains_key(&name) {
            directive.refuse(&mut cx.report, format!("{name} is written twice"));
            continue;
        }
        if let Ok(upstream) = upstream(directive, stream, cx) {
            found.insert(name, upstream);
        }
    }
    found
}

fn upstream(
    directive: &Directive,
    stream: &[Directive],
    cx: &mut Context<'_>,
) -> Result<Upstream, Reported> {
    let block = directive.block(&mut cx.report)?;
    directives::check(Block::Upstream, block, &mut cx.report);
    let mut entries = Vec::new();
    let mut result = balances(block, &mut entries, cx);
    let servers = block.iter().filter(|it| it.name == "server");
    let servers: Vec<_> = servers.map(|it| (server(it, cx), it)).collect();
    if servers.is_empty() {
        return Err(directive.refuse(&mut cx.report, "has no server"));
    }
    let is_single = match &servers[..] {
        [(Ok(server), _)] => !server.service && is_fixed(&server.address),
        _ => false,
    };
    if servers
        .iter()
        .any(|(server, _)| matches!(server, Ok(server) if server.resolves))
    {
        let scope = Scope {
            outer: stream,
            inner: block,
        };
        entries.extend(resolver::resolver(scope, cx)?);
    }
    let mut peers = Vec::new();
    let mut slow_start = None;
    for (server, directive) in servers {
        let Ok(server) = server else {
            result = Err(Reported);
            continue;
        };
        if let Some(time) = server.slow_start {
            match slow_start {
                None => slow_start = Some((time, directive)),
                Some((other, _)) if other == time => {}
                Some(_) => {
                    let why =
                        "has another `slow_start` than a server before it, and an upstream has one";
                    result = Err(directive.refuse(&mut cx.report, why));
                }
            }
        }
        peers.push((server.peer(is_single), Some(directive.place.clone())));
    }
    if let Some((time, directive)) = slow_start.filter(|(time, _)| *time > 0 && !is_single) {
        let time = Value::text(unit::duration(time));
        entries.push(Entry::new("slow_start", time, &directive.place));
    }
    result?;
    entries.push(Entry::default("peers", Value::Lines(peers)));
    Ok(Upstream {
        place: directive.place.clone(),
        entries,
    })
}

/// The way of balancing, of which there is one.
fn balances(
    block: &[Directive],
    entries: &mut Vec<Entry>,
    cx: &mut Context<'_>,
) -> Result<(), Reported> {
    const WAYS: &[&str] = &["least_conn", "hash", "random", "least_time"];
    let mut result = Ok(());
    let ways = block.iter().filter(|it| WAYS.contains(&&it.name[..]));
    for (at, directive) in ways.enumerate() {
        if at > 0 {
            let why = "is a second way of balancing in this upstream";
            result = Err(directive.refuse(&mut cx.report, why));
        }
        match balance(directive, cx) {
            Ok(value) => entries.push(Entry::new("balance", value, &directive.place)),
            Err(reported) => result = Err(reported),
        }
    }
    result
}

fn balance(directive: &Directive, cx: &mut Context<'_>) -> Result<Value, Reported> {
    let arguments: Vec<_> = directive.arguments.iter().map(String::as_str).collect();
    let table = |kind, more: &[(&str, &str)]| {
        let mut entries = vec![("kind".to_owned(), Value::text(kind))];
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::text(*value)));
        entries.extend(more);
        Ok(Value::Table(entries))
    };
    match (&directive.name[..], &arguments[..]) {
        ("least_conn", []) => Ok(Value::text("least-connections")),
        ("hash", [key]) => {
            let key = template(key, &directive.place, cx)?;
            table("hash", &[("key", &key), ("method", "plain")])
        }
        ("hash", [key, "consistent"]) => {
            let key = template(key, &directive.place, cx)?;
            table("hash", &[("key", &key), ("method", "ketama")])
        }
        ("random", ["two"] | ["two", "least_conn"]) => Ok(Value::text("random-two")),
        ("random", ["two", method]) if method.starts_with("least_time=") => {
            let by = time_of(directive, &method["least_time=".len()..], &[], cx)?;
            table("random-two", &[("by", by)])
        }
        ("random", []) => {
            let text = "`random` becomes `random two`, which is as random, and spreads load better";
            cx.report.remark(&directive.place, text);
            Ok(Value::text("random-two"))
        }
        ("least_time", [of, options @ ..]) => {
            let by = time_of(directive, of, options, cx)?;
            table("least-time", &[("by", by)])
        }
        _ => Err(directive.refuse(&mut cx.report, "has wrong arguments")),
    }
}

fn time_of(
    directive: &Directive,
    of: &str,
    options: &[&str],
    cx: &mut Context<'_>,
) -> Result<&'static str, Reported> {
    if options == ["inflight"] {
        let text = "`inflight` has no effect: open connections always count";
        cx.report.remark(&directive.place, text);
    } else if !options.is_empty() {
        return Err(directive.refuse(&mut cx.report, "has wrong arguments"));
    }
    match of {
        "connect" => Ok("connect"),
        "first_byte" => Ok("first-byte"),
        "last_byte" => Ok("last-byte"),
        _ => {
            let why = "is by `connect`, `first_byte` or `last_byte`";
            Err(directive.refuse(&mut cx.report, why))
        }
    }
}

/// `server` of an upstream.
struct UpstreamServer {
    /// As Moorline writes it.
    address: String,
    /// The name of a service stands in its place.
    service: bool,
    /// Names are to be looked up again and again.
    resolves: bool,
    weight: Option<u64>,
    max_conns: Option<u64>,
    max_fails: Option<u64>,
    fail_timeout: Option<u64>,
    slow_start: Option<u64>,
    backup: bool,
    down: bool,
}

impl UpstreamServer {
    /// As one of its upstream, or as the only one, which nginx never takes out.
    fn peer(self, is_single: bool) -> Value {
        let max_fails = match is_single {
            true => Some(0),
            false => self.max_fails,
        };
        let time = |time| Value::text(unit::duration(time));
        let optional = [
            ("weight", self.weight.map(Value::Number)),
            ("max_connections", self.max_conns.map(Value::Number)),
            ("max_fails", max_fails.map(Value::Number)),
            (
                "fail_timeout",
                self.fail_timeout
                    .filter(|it| *it > 0 && !is_single)
                    .map(time),
            ),
            ("backup", self.backup.then_some(Value::Flag(true))),
            ("down", self.down.then_some(Value::Flag(true))),
        ];
        let written = optional
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let key = if self.service { "service" } else { "address" };
        let address = Value::text(self.address);
        let entries: Vec<_> = [(key.to_owned(), address)]
            .into_iter()
            .chain(written)
            .collect();
        match &entries[..] {
            [(key, address)] if key == "address" => address.clone(),
            _ => Value::Table(entries),
        }
    }
}

fn server(directive: &Directive, cx: &mut Context<'_>) -> Result<UpstreamServer, Reported> {
    let Some((address, words)) = directive.arguments.split_first() else {
        return Err(directive.refuse(&mut cx.report, "has no address"));
    };
    let mut service = None;
    let mut server = UpstreamServer {
        address: String::new(),
        service: false,
        resolves: false,
        weight: None,
        max_conns: None,
        max_fails: None,
        fail_timeout: None,
        slow_start: None,
        backup: false,
        down: false,
    };
    let mut result = Ok(());
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let (number, time) = (number(value), value::time(value));
        match (name, number, time) {
            ("weight", Some(weight @ 1..), _) => server.weight = Some(weight).filter(|it| *it > 1),
            ("max_conns", Some(most), _) => server.max_conns = Some(most).filter(|it| *it > 0),
            ("max_fails", Some(most), _) => server.max_fails = Some(most).filter(|it| *it != 1),
            ("fail_timeout", _, Some(time)) => server.fail_timeout = Some(time),
            ("slow_start", _, Some(time)) => server.slow_start = Some(time),
            ("backup", ..) if value.is_empty() => server.backup = true,
            ("down", ..) if value.is_empty() => server.down = true,
            ("resolve", ..) if value.is_empty() => server.resolves = true,
            // Others are no names of services (RFC 2782).
            ("service", ..)
                if !value.is_empty() && value.starts_with('_') == value.contains('.') =>
            {
                service = Some(value);
            }
            _ => {
                let why = format!("has a parameter that is not imported: `{word}`");
                result = Err(directive.refuse(&mut cx.report, why));
            }
        }
    }
    if server.fail_timeout == Some(0) {
        // Failures are counted in no time.
        server.max_fails = Some(0);
    }
    server.address = match service {
        Some(service) => service_name(service, address),
        None => peer_address(address, directive, cx)?,
    };
    server.service = service.is_some();
    result.map(|()| server)
}

/// The name whose SRV records are asked for.
fn service_name(service: &str, host: &str) -> String {
    match service.starts_with('_') {
        true => format!("{service}.{host}"),
        false => format!("_{service}._tcp.{host}"),
    }
}

/// The address of a peer, as Moorline writes it.
pub(super) fn peer_address(
    text: &str,
    directive: &Directive,
    cx: &mut Context<'_>,
) -> Result<String, Reported> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with(['/', '@']) {
            true => Ok(format!("unix://{path}")),
            false => {
                let why = "has a Unix socket without an absolute path";
                Err(directive.refuse(&mut cx.report, why))
            }
        };
    }
    let (host, port) = host_port(text);
    let Some(port) = port else {
        return Err(directive.refuse(&mut cx.report, format!("has no port in {text:?}")));
    };
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() => Ok(format!("tcp://{host}:{port}")),
        _ => Err(directive.refuse(&mut cx.report, format!("has a wrong address {text:?}"))),
    }
}

/// Whether it is one peer: a name may have several addresses, and nginx never takes out one that is alone.
fn is_fixed(address: &str) -> bool {
    match address.split_once("://") {
        Some(("unix", _)) => true,
        Some((_, rest)) => rest.rsplit_once(':').is_some_and(|(host, _)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<IpAddr>().is_ok()
        }),
        None => false,
    }
}

/// Refuses what is neither an upstream nor an address.
fn check_target(to: &To, cx: &mut Context<'_>) -> Result<(), Reported> {
    if host_port(&to.text).1.is_some() || to.text.starts_with("unix:") {
        return Ok(());
    }
    let message = format!(
        "`proxy_pass` names {:?}, which is neither an upstream nor an address with a port",
        to.text
    );
    Err(cx.report.error(&to.place, message))
}

/// The upstream that an address is.
pub(super) fn direct(to: &To, cx: &mut Context<'_>) -> Result<Upstream, Reported> {
    check_target(to, cx)?;
    let directive = Directive {
        name: "proxy_pass".into(),
        arguments: Vec::new(),
        block: None,
        place: to.place.clone(),
    };
    let address = peer_address(&to.text, &directive, cx)?;
    let is_single = is_fixed(&address);
    let mut peer = vec![("address".into(), Value::text(address))];
    if is_single {
        peer.push(("max_fails".into(), Value::Number(0)));
    }
    let peer = Value::Table(peer);
    Ok(Upstream {
        place: to.place.clone(),
        entries: vec![Entry::new("peers", Value::List(vec![peer]), &to.place)],
    })
}
