//! Settings of a server towards its peers. With Moorline they are the upstream's.

use std::net::IpAddr;

use super::context::Context;
use super::peer_ssl;
use super::resolver;
use super::scope::Scope;
use super::variables::has_variables;
use crate::note::Reported;
use crate::toml::{Entry, Value};
use crate::unit;

/// nginx's own default, in milliseconds.
const CONNECT_TIMEOUT: u64 = 60_000;
/// nginx has no limit for all attempts; this is far more than they take.
const NEXT_TIMEOUT: u64 = 24 * 3_600_000;

/// The keys of the upstream that come from the server. `host`: what `proxy_pass` names, without its port.
pub(super) fn settings(
    scope: Scope<'_>,
    host: &str,
    cx: &mut Context<'_>,
) -> Result<Vec<Entry>, Reported> {
    let mut entries = Vec::new();
    let connect_timeout = match scope.time("proxy_connect_timeout", cx) {
        Some((0, directive)) => {
            return Err(directive.refuse(&mut cx.report, "is zero"));
        }
        Some((time, directive)) => {
            let time = Value::text(unit::duration(time));
            Entry::new("connect_timeout", time, &directive.place)
        }
        None => {
            let time = Value::text(unit::duration(CONNECT_TIMEOUT));
            Entry::default("connect_timeout", time)
        }
    };
    entries.push(connect_timeout);
    entries.push(next(scope, cx));
    entries.extend(bind(scope, cx));
    if let Some((true, directive)) = scope.flag("proxy_protocol", cx) {
        let version = Value::Number(1);
        entries.push(Entry::new("proxy_protocol", version, &directive.place));
    }
    if has_variables(host) {
        entries.extend(resolver::resolver(scope, cx)?);
    }
    entries.extend(peer_ssl::tls(scope, host, cx)?);
    Ok(entries)
}

fn next(scope: Scope<'_>, cx: &mut Context<'_>) -> Entry {
    let tries = scope.number("proxy_next_upstream_tries", cx);
    let timeout = scope.time("proxy_next_upstream_timeout", cx);
    let switch = scope.flag("proxy_next_upstream", cx);
    let place = [
        tries.map(|(_, it)| it),
        timeout.map(|(_, it)| it),
        switch.map(|(_, it)| it),
    ];
    let place = place.into_iter().flatten().next();
    let tries = match switch {
        Some((false, _)) => Some(1),
        _ => tries.map(|(tries, _)| tries).filter(|it| *it > 0),
    };
    let timeout = timeout.map(|(time, _)| time).filter(|it| *it > 0);
    let timeout = unit::duration(timeout.unwrap_or(NEXT_TIMEOUT));
    let mut next = Vec::new();
    next.extend(tries.map(|tries| ("tries".to_owned(), Value::Number(tries))));
    next.push(("timeout".to_owned(), Value::text(timeout)));
    match place {
        Some(directive) => Entry::new("next", Value::Table(next), &directive.place),
        None => Entry::default("next", Value::Table(next)),
    }
}

fn bind(scope: Scope<'_>, cx: &mut Context<'_>) -> Option<Entry> {
    let directive = scope.one("proxy_bind", cx)?;
    let address = match &directive.arguments[..] {
        [off] if off == "off" => return None,
        [address] => address,
        [_, _] => {
            directive.refuse(
                &mut cx.report,
                "with `transparent` is not imported by this version",
            );
            return None;
        }
        _ => {
            directive.refuse(&mut cx.report, "takes an address");
            return None;
        }
    };
    let ip = address.trim_matches(['[', ']']).parse::<IpAddr>();
    match ip {
        Ok(ip) => Some(Entry::new(
            "bind",
            Value::text(ip.to_string()),
            &directive.place,
        )),
        Err(_) => {
            directive.refuse(&mut cx.report, "takes an IP address without a port");
            None
        }
    }
}
