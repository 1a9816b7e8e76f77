//! `allow` and `deny`: which clients may connect.

use super::context::Context;
use super::scope::Scope;
use super::tree::Directive;
use crate::network::masked;
use crate::note::Reported;
use crate::toml::{Entry, Value};

/// The rules of a server, if it has some.
pub(super) fn access(scope: Scope<'_>, cx: &mut Context<'_>) -> Option<Entry> {
    let mut rules = Vec::new();
    for directive in scope.any_of(&["allow", "deny"]) {
        let Ok(text) = directive.one(&mut cx.report) else {
            continue;
        };
        let clients = match text {
            "all" | "unix:" => text.to_owned(),
            text => match network(text, directive, cx) {
                Ok(network) => network,
                Err(Reported) => continue,
            },
        };
        let rule = Value::Table(vec![(directive.name.clone(), Value::text(clients))]);
        rules.push((rule, Some(directive.place.clone())));
    }
    (!rules.is_empty()).then(|| Entry::default("access", Value::Lines(rules)))
}

/// An address, or a network without bits behind its prefix.
pub(super) fn network(
    text: &str,
    directive: &Directive,
    cx: &mut Context<'_>,
) -> Result<String, Reported> {
    match masked(text) {
        Some(network) => Ok(network),
        None => {
            let why = format!("has {text:?}, which is neither an IP address nor a network");
            Err(directive.refuse(&mut cx.report, why))
        }
    }
}
