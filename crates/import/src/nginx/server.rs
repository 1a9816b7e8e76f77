//! `server` of the `stream` block.

use super::access;
use super::context::Context;
use super::listen::{self, HANDSHAKE, Listen};
use super::peers;
use super::scope::Scope;
use super::ssl;
use super::tree::Directive;
use super::upstream::{Upstream, peer_address};
use super::value::host_port;
use super::variables::has_variables;
use crate::note::{Place, Reported};
use crate::toml::{Entry, Value};
use crate::unit;

/// nginx's own default, in milliseconds.
const PROXY_PROTOCOL_TIMEOUT: u64 = 30_000;

/// A server: the addresses that it listens on, and what it does there.
pub(super) struct Server {
    pub(super) listens: Vec<Listen>,
    pub(super) target: Target,
    pub(super) target_place: Option<Place>,
    /// Keys that each of its listeners has.
    common: Vec<Entry>,
    /// Keys of those without TLS.
    plain: Vec<Entry>,
    /// Keys of those with TLS.
    tls: Vec<Entry>,
    /// Keys of those with the PROXY protocol.
    proxied: Vec<Entry>,
}

/// What becomes of a connection.
pub(super) enum Target {
    /// It is relayed.
    Peers {
        to: To,
        /// Keys of the upstream.
        settings: Vec<Entry>,
    },
}

/// What `proxy_pass` names.
#[derive(Debug, Clone)]
pub(super) struct To {
    pub(super) text: String,
    pub(super) place: Place,
}

/// Imports a server.
pub(super) fn server(
    directive: &Directive,
    scope: Scope<'_>,
    cx: &mut Context<'_>,
) -> Result<Server, Reported> {
    let mut listens = Vec::new();
    let mut result = Ok(());
    for listen in scope.inner.iter().filter(|it| it.name == "listen") {
        match listen::listens(listen, &mut cx.report) {
            Ok(more) => listens.extend(more),
            Err(reported) => result = Err(reported),
        }
    }
    if listens.is_empty() && result.is_ok() {
        result = Err(directive.refuse(&mut cx.report, "has no `listen`"));
    }
    for listen in listens.iter().filter(|it| it.udp) {
        let message = "`udp` of `listen` is not imported by this version";
        result = Err(cx.report.error(&listen.place, message));
    }
    let common = common(scope, cx);
    let tls = match listens.iter().any(|it| it.ssl) {
        true => ssl::tls(directive, scope, cx),
        false => Ok(Vec::new()),
    };
    let proxied = proxied(scope, cx);
    let plain = preread(scope, cx);
    let target = target(directive, scope, cx);
    result?;
    let (target, place) = target?;
    Ok(Server {
        tls: tls?,
        plain,
        listens,
        target,
        target_place: Some(place),
        common,
        proxied,
    })
}

impl Server {
    /// The keys of one of its listeners.
    pub(super) fn entries(&self, listen: &Listen) -> Vec<Entry> {
        let mut entries = self.common.clone();
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
            entries.push(Entry::new(
                "tcp_keepalive",
                Value::text(time),
                &listen.place,
            ));
        }
        entries
    }
}

fn common(scope: Scope<'_>, cx: &mut Context<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    entries.extend(access::access(scope, cx));
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

/// Keys of listeners that look at what a TLS client asks for.
fn preread(scope: Scope<'_>, cx: &mut Context<'_>) -> Vec<Entry> {
    let buffer = scope.size("preread_buffer_size", cx);
    let timeout = scope.time("preread_timeout", cx);
    let Some((true, directive)) = scope.flag("ssl_preread", cx) else {
        return Vec::new();
    };
    let buffer = buffer.map(|(bytes, _)| Value::text(unit::size(bytes)));
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

fn target(
    server: &Directive,
    scope: Scope<'_>,
    cx: &mut Context<'_>,
) -> Result<(Target, Place), Reported> {
    let mut passes = scope.inner.iter().filter(|it| it.name == "proxy_pass");
    let Some(pass) = passes.next() else {
        return Err(server.refuse(&mut cx.report, "has no `proxy_pass`"));
    };
    if let Some(more) = passes.next() {
        return Err(more.refuse(&mut cx.report, "is written twice"));
    }
    let text = pass.one(&mut cx.report)?.to_owned();
    if has_variables(&text) {
        return Err(pass.refuse(
            &mut cx.report,
            "with variables is not imported by this version",
        ));
    }
    let to = To {
        text,
        place: pass.place.clone(),
    };
    let settings = peers::settings(scope, cx);
    let target = Target::Peers { to, settings };
    Ok((target, pass.place.clone()))
}

/// The upstream that an address is.
pub(super) fn direct(to: &To, cx: &mut Context<'_>) -> Result<Upstream, Reported> {
    let directive = Directive {
        name: "proxy_pass".into(),
        arguments: Vec::new(),
        block: None,
        place: to.place.clone(),
    };
    if host_port(&to.text).1.is_none() && !to.text.starts_with("unix:") {
        let why = format!(
            "names {:?}, which is neither an upstream nor an address with a port",
            to.text
        );
        return Err(directive.refuse(&mut cx.report, why));
    }
    let address = peer_address(&to.text, &directive, cx)?;
    // nginx never takes out a server that is alone.
    let peer = Value::Table(vec![
        ("address".into(), Value::text(address)),
        ("max_fails".into(), Value::Number(0)),
    ]);
    Ok(Upstream {
        place: to.place.clone(),
        entries: vec![Entry::new("peers", Value::List(vec![peer]), &to.place)],
    })
}
