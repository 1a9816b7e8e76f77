//! `resolver`: the DNS servers that know the names of peers.

use std::net::{IpAddr, SocketAddr};

use super::context::Context;
use super::scope::Scope;
use super::tree::Directive;
use super::value::time;
use crate::note::Reported;
use crate::toml::{Entry, Value};
use crate::unit;

/// The key `resolver` of an upstream, if servers are named.
pub(super) fn resolver(scope: Scope<'_>, cx: &mut Context<'_>) -> Result<Option<Entry>, Reported> {
    let Some(directive) = scope.one("resolver", cx) else {
        return Ok(None);
    };
    let timeout = scope.time("resolver_timeout", cx);
    let mut servers = Vec::new();
    let mut table = Vec::new();
    for word in &directive.arguments {
        match word.split_once('=') {
            None => servers.push(Value::text(server(word, directive, cx)?)),
            Some(("valid", text)) => match time(text).filter(|it| *it > 0) {
                Some(time) => {
                    let time = Value::text(unit::duration(time));
                    table.push(("valid".to_owned(), time));
                }
                None => {
                    return Err(directive.refuse(&mut cx.report, format!("has a wrong `{word}`")));
                }
            },
            Some((family @ ("ipv4" | "ipv6"), "on" | "off")) => {
                if word.ends_with("off") {
                    table.push((family.to_owned(), Value::Flag(false)));
                }
            }
            Some(("status_zone", _)) => {
                let text = "`status_zone` of `resolver` has no effect: see `moorline upstreams`";
                cx.report.remark(&directive.place, text);
            }
            Some(_) => {
                return Err(directive.refuse(&mut cx.report, format!("has a wrong `{word}`")));
            }
        }
    }
    if servers.is_empty() {
        return Err(directive.refuse(&mut cx.report, "names no server"));
    }
    table.insert(0, ("servers".to_owned(), Value::List(servers)));
    if let Some((time, _)) = timeout.filter(|(time, _)| *time > 0) {
        let time = Value::text(unit::duration(time));
        table.push(("timeout".to_owned(), time));
    }
    Ok(Some(Entry::new(
        "resolver",
        Value::Table(table),
        &directive.place,
    )))
}

/// An IP address, with or without a port.
fn server(text: &str, directive: &Directive, cx: &mut Context<'_>) -> Result<String, Reported> {
    let bare = text.trim_matches(['[', ']']);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => {
            let why = format!("names {text:?}, and takes IP addresses of DNS servers");
            Err(directive.refuse(&mut cx.report, why))
        }
    }
}
