//! Settings of a server towards its peers. With Moorline they are the upstream's.

use std::net::{IpAddr, SocketAddr};

use super::context::Context;
use super::peer_ssl;
use super::resolver;
use super::scope::Scope;
use super::variables::{has_variables, template};
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
    let (address, is_transparent) = match &directive.arguments[..] {
        [off] if off == "off" => return None,
        [address] => (address, false),
        [address, transparent] if transparent == "transparent" => (address, true),
        _ => {
            directive.refuse(
                &mut cx.report,
                "takes an address, and perhaps `transparent`",
            );
            return None;
        }
    };
    let address = match has_variables(address) {
        // An address, with a port or without, or an empty text.
        true => template(address, &directive.place, cx).ok()?,
        false => match fixed(address) {
            Some(address) => address,
            None => {
                directive.refuse(&mut cx.report, "takes an IP address");
                return None;
            }
        },
    };
    let address = Value::text(address);
    let bind = match is_transparent {
        false => address,
        true => {
            let text = "`transparent` needs CAP_NET_ADMIN or CAP_NET_RAW, and routes for the answers, as with nginx";
            cx.report.remark(&directive.place, text);
            let transparent = ("transparent".to_owned(), Value::Flag(true));
            Value::Table(vec![("address".to_owned(), address), transparent])
        }
    };
    Some(Entry::new("bind", bind, &directive.place))
}

/// An IP address, perhaps with a port.
fn fixed(text: &str) -> Option<String> {
    let ip = text.trim_matches(['[', ']']).parse::<IpAddr>();
    let ip = ip.map(|ip| ip.to_string());
    let with_port = text.parse::<SocketAddr>();
    ip.or_else(|_| with_port.map(|it| it.to_string())).ok()
}
