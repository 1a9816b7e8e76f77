//! `server` of the `stream` block.

use super::access;
use super::addresses::{Addresses, Part};
use super::context::Context;
use super::limit;
use super::listen::{self, HANDSHAKE, Listen};
use super::log::Logs;
use super::peers;
use super::scope::Scope;
use super::ssl;
use super::tree::Directive;
use super::upstream::To;
use super::value::{host_port, size};
use super::variables::{has_variables, template};
use crate::note::{Place, Reported};
use crate::toml::{Entry, Value};
use crate::unit;

/// nginx's own default, in milliseconds.
const PROXY_PROTOCOL_TIMEOUT: u64 = 30_000;

/// A server: the addresses that it listens on, and what it does there.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) listens: Vec<Listen>,
    pub(super) target: Target,
    pub(super) target_place: Place,
    /// Keys that each of its listeners has.
    common: Vec<Entry>,
    /// Keys of those without TLS.
    plain: Vec<Entry>,
    /// Keys of those with TLS.
    tls: Vec<Entry>,
    /// Keys of those of datagrams.
    datagrams: Vec<Entry>,
    /// Keys of those with the PROXY protocol.
    proxied: Vec<Entry>,
}

/// What becomes of a connection.
#[derive(Clone)]
pub(super) enum Target {
    /// It is relayed.
    Peers {
        to: To,
        /// Keys of the upstream.
        settings: Vec<Entry>,
    },
    /// The client gets this text.
    Return(String),
}

/// Imports a server, which listens on some of these addresses.
pub(super) fn server(
    (number, directive): (usize, &Directive),
    scope: Scope<'_>,
    (addresses, logs): (&Addresses, &mut Logs),
    cx: &mut Context<'_>,
) -> Result<Server, Reported> {
    let mut listens = Vec::new();
    let mut result = Ok(());
    for listen in scope.inner.iter().filter(|it| it.name == "listen") {
        match listen::listens(listen, &mut cx.report) {
            Ok(more) => listens.extend(more.into_iter().map(|it| addresses.amended(it))),
            Err(reported) => result = Err(reported),
        }
    }
    if listens.is_empty() && result.is_ok() {
        result = Err(directive.refuse(&mut cx.report, "has no `listen`"));
    }
    let parts = listens.iter().map(|it| (it, addresses.part(number, it)));
    let parts: Vec<_> = parts.collect();
    let is_host = |it: &Part| matches!(it, Part::Host(_));
    if parts.iter().any(|(_, part)| !is_host(part)) {
        remark_on_early(scope.inner, cx);
    }
    let shows = |(listen, part): &(&Listen, Part)| listen.ssl && is_host(part);
    let must_show = parts.iter().any(shows);
    let mut common = common(scope, cx);
    common.extend(logs.used(scope, cx));
    let tls = match listens.iter().any(|it| it.ssl) {
        true => ssl::tls(directive, scope, must_show, cx),
        false => Ok(Vec::new()),
    };
    if listens.iter().any(|it| it.proxy_protocol) {
        remark_on_ends(scope, cx);
    }
    let proxied = proxied(scope, cx);
    let plain = preread(scope, cx);
    let datagrams = datagrams(scope, cx);
    let target = target(directive, scope, cx);
    result?;
    let (target, target_place) = target?;
    Ok(Server {
        listens,
        target,
        target_place,
        common,
        plain,
        tls: tls?,
        datagrams,
        proxied,
    })
}

impl Server {
    /// The keys of one of its listeners.
    pub(super) fn entries(&self, listen: &Listen) -> Vec<Entry> {
        let mut entries = self.common.clone();
        if listen.udp {
            entries.extend(self.datagrams.iter().cloned());
            return entries;
        }
        let of_its_kind = if listen.ssl { &self.tls } else { &self.plain };
        entries.extend(of_its_kind.iter().cloned());
        if listen.proxy_protocol {
            let any = Value::text("any");
            entries.push(Entry::new("proxy_protocol", any, &listen.place));
            // A handshake of TLS comes behind the header, and has longer.
            let more = self.proxied.iter();
            entries.extend(
                more.filter(|it| !listen.ssl || it.key != HANDSHAKE)
                    .cloned(),
            );
        }
        if let Some(keepalive) = listen.keepalive {
            let time = keepalive.map_or("off".into(), unit::duration);
            let time = Value::text(time);
            entries.push(Entry::new("tcp_keepalive", time, &listen.place));
        }
        entries
    }
}

impl Server {
    /// The keys that it has behind a listener of another server, whose keys are these.
    pub(super) fn entries_behind(
        &self,
        listen: &Listen,
        host: &[Entry],
        cx: &mut Context<'_>,
    ) -> Vec<Entry> {
        let common = self.common.iter();
        let mut entries: Vec<_> = common
            .filter(|it| !EARLY_KEYS.contains(&it.key))
            .cloned()
            .collect();
        let tls = |entries: &[Entry]| entries.iter().find(|it| it.key == "tls").cloned();
        if let Some((own, host)) = tls(&self.tls).zip(tls(host)).filter(|_| listen.ssl) {
            entries.extend(ssl::behind(&own, &host, cx));
        }
        entries
    }
}

/// What counts before the name is known that a client asks for.
const EARLY_KEYS: &[&str] = &["access", "limits"];
const EARLY: &[&str] = &[
    "allow",
    "deny",
    "limit_conn",
    "limit_conn_dry_run",
    "set_real_ip_from",
    "proxy_protocol_timeout",
    "preread_buffer_size",
    "preread_timeout",
    "ssl_preread",
    "ssl_handshake_timeout",
];

/// Says which directives of a server have no effect, as its connections begin with another server.
fn remark_on_early(inner: &[Directive], cx: &mut Context<'_>) {
    for directive in inner.iter().filter(|it| EARLY.contains(&&it.name[..])) {
        let text = format!(
            "`{}` has no effect where another server is the default one, as with nginx: it counts before the name is known that a client \
             asks for, so only that of the default server counts",
            directive.name
        );
        cx.report.remark(&directive.place, text);
    }
}

/// Says which address peers are told as the server's, where a header from a proxy in front is believed.
fn remark_on_ends(scope: Scope<'_>, cx: &mut Context<'_>) {
    if scope.all("set_real_ip_from").is_empty() {
        return;
    }
    if let Some((true, directive)) = scope.flag("proxy_protocol", cx) {
        let text = "`proxy_protocol`: peers are told both ends of the connection as the proxy in front names them, where it is one of \
                    `set_real_ip_from`; nginx names its own address as the server's";
        cx.report.remark(&directive.place, text);
    }
}

fn common(scope: Scope<'_>, cx: &mut Context<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    entries.extend(set(scope, cx));
    entries.extend(access::access(scope, cx));
    entries.extend(limit::limits(scope, cx));
    entries.extend(rate(scope, cx));
    if let Some((time, directive)) = scope.time("proxy_timeout", cx) {
        match time {
            0 => {
                directive.refuse(&mut cx.report, "is zero");
            }
            time => {
                let time = Value::text(unit::duration(time));
                entries.push(Entry::new("idle_timeout", time, &directive.place));
            }
        }
    }
    if let Some((false, directive)) = scope.flag("tcp_nodelay", cx) {
        let text = "`tcp_nodelay` is always on: a relay delays no byte";
        cx.report.remark(&directive.place, text);
    }
    if let Some((false, directive)) = scope.flag("proxy_half_close", cx) {
        let text =
            "`proxy_half_close` is always on: the end of one direction leaves the other open";
        cx.report.remark(&directive.place, text);
    }
    entries
}

/// How fast bytes pass.
fn rate(scope: Scope<'_>, cx: &mut Context<'_>) -> Option<Entry> {
    let mut table = Vec::new();
    let mut place = None;
    for (name, key) in [("proxy_upload_rate", "up"), ("proxy_download_rate", "down")] {
        let Some(directive) = scope.one(name, cx) else {
            continue;
        };
        let Ok(text) = directive.one(&mut cx.report) else {
            continue;
        };
        if !has_variables(text) && size(text).is_none() {
            directive.refuse(&mut cx.report, "takes a size, such as 16k or 1m");
            continue;
        }
        if let Ok(text) = template(text, &directive.place, cx) {
            table.push((key.to_owned(), Value::text(text)));
            place.get_or_insert(&directive.place);
        }
    }
    Some(Entry::new("rate", Value::Table(table), place?))
}

/// The variables that the server sets.
fn set(scope: Scope<'_>, cx: &mut Context<'_>) -> Option<Entry> {
    let mut sets: Vec<(String, Value)> = Vec::new();
    let mut place = None;
    for directive in scope.inner.iter().filter(|it| it.name == "set") {
        let Ok((name, text)) = named(directive, cx) else {
            continue;
        };
        let Ok(text) = template(text, &directive.place, cx) else {
            continue;
        };
        place.get_or_insert(&directive.place);
        match sets.iter().any(|(other, _)| other == name) {
            true => {
                directive.refuse(&mut cx.report, format!("sets ${name} twice"));
            }
            false => sets.push((name.to_owned(), Value::text(text))),
        }
    }
    Some(Entry::new("set", Value::Table(sets), place?))
}

/// The name that a `set` has, and its value.
pub(super) fn named<'a>(
    directive: &'a Directive,
    cx: &mut Context<'_>,
) -> Result<(&'a str, &'a str), Reported> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match &directive.arguments[..] {
        [name, text] => match name.strip_prefix('$') {
            Some(name) if !name.is_empty() && name.chars().all(is_fit) => Ok((name, text)),
            _ => Err(directive.refuse(&mut cx.report, format!("names no variable by {name:?}"))),
        },
        _ => Err(directive.refuse(&mut cx.report, "has wrong arguments")),
    }
}

/// Keys of listeners of datagrams.
fn datagrams(scope: Scope<'_>, cx: &mut Context<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    // Zero: no limit.
    let requests = scope.number("proxy_requests", cx);
    if let Some((number, directive)) = requests.filter(|(number, _)| *number > 0) {
        let number = Value::Number(number);
        entries.push(Entry::new("requests", number, &directive.place));
    }
    if let Some((number, directive)) = scope.number("proxy_responses", cx) {
        let number = Value::Number(number);
        entries.push(Entry::new("responses", number, &directive.place));
    }
    entries
}

/// Keys of listeners that look at what a TLS client asks for.
fn preread(scope: Scope<'_>, cx: &mut Context<'_>) -> Vec<Entry> {
    /// A gateway's loop reads no more at once.
    const LARGEST_BUFFER: u64 = 64 << 10;
    let buffer = scope.size("preread_buffer_size", cx);
    let timeout = scope.time("preread_timeout", cx);
    let Some((true, directive)) = scope.flag("ssl_preread", cx) else {
        return Vec::new();
    };
    let buffer = buffer.map(|(bytes, directive)| {
        if bytes > LARGEST_BUFFER {
            let text = "`preread_buffer_size` becomes 64k: no hello is longer";
            cx.report.remark(&directive.place, text);
        }
        Value::text(unit::size(bytes.min(LARGEST_BUFFER)))
    });
    let timeout = timeout.map(|(time, _)| Value::text(unit::duration(time)));
    let entries = [("buffer", buffer), ("timeout", timeout)];
    let entries = entries
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let table = Value::Table(entries.collect());
    vec![Entry::new("preread", table, &directive.place)]
}

/// Keys of listeners that begin with the PROXY protocol.
fn proxied(scope: Scope<'_>, cx: &mut Context<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    let trusted: Vec<_> = scope
        .all("set_real_ip_from")
        .into_iter()
        .filter_map(|directive| {
            let text = directive.one(&mut cx.report).ok()?;
            let text = match text {
                "unix:" => "unix".to_owned(),
                host if is_host(host) => host.to_owned(),
                text => access::network(text, directive, cx).ok()?,
            };
            Some((Value::text(text), Some(directive.place.clone())))
        })
        .collect();
    // nginx takes the header from everyone, too, and believes those.
    if !trusted.is_empty() {
        entries.push(Entry::default("trusted_proxies", Value::Lines(trusted)));
    }
    let time = scope.time("proxy_protocol_timeout", cx);
    let place = time.map(|(_, directive)| directive.place.clone());
    let time = time.map_or(PROXY_PROTOCOL_TIMEOUT, |(time, _)| time);
    entries.push(Entry {
        key: HANDSHAKE,
        value: Value::text(unit::duration(time)),
        from: place,
    });
    entries
}

/// Whether it is the name of a host, and neither an address nor a network.
fn is_host(text: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let last = text.trim_end_matches('.').rsplit('.').next();
    text.chars().all(is_fit) && last.is_some_and(|it| it.chars().any(|c| c.is_ascii_alphabetic()))
}

fn target(
    server: &Directive,
    scope: Scope<'_>,
    cx: &mut Context<'_>,
) -> Result<(Target, Place), Reported> {
    let ends = scope.inner.iter();
    let mut ends = ends.filter(|it| matches!(&it.name[..], "proxy_pass" | "return"));
    let Some(end) = ends.next() else {
        return Err(server.refuse(&mut cx.report, "has neither `proxy_pass` nor `return`"));
    };
    if let Some(more) = ends.next() {
        let why = if more.name == end.name {
            "is written twice".to_owned()
        } else {
            format!("stands beside `{}`", end.name)
        };
        return Err(more.refuse(&mut cx.report, why));
    }
    let text = end.one(&mut cx.report)?.to_owned();
    let place = end.place.clone();
    if end.name == "return" {
        let text = template(&text, &place, cx)?;
        return Ok((Target::Return(text), place));
    }
    let (host, _) = host_port(&text);
    let host = if text.starts_with("unix:") {
        "localhost"
    } else {
        host
    };
    let settings = peers::settings(scope, host.trim_matches(['[', ']']), cx)?;
    let to = To {
        text,
        place: place.clone(),
    };
    Ok((Target::Peers { to, settings }, place))
}
