//! `limit_conn`: connections that are counted by a key.

use std::collections::BTreeSet;

use super::context::Context;
use super::scope::Scope;
use super::tree::Directive;
use super::value::size;
use super::variables::template;
use crate::note::Reported;
use crate::number::number;
use crate::toml::{Entry, Table, Value, key};

/// The tables of `limit_conn_zone`, and makes their names known.
pub(super) fn tables(stream: &[Directive], cx: &mut Context<'_>) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut names = BTreeSet::new();
    for directive in stream.iter().filter(|it| it.name == "limit_conn_zone") {
        let Ok((name, table)) = zone(directive, cx) else {
            continue;
        };
        match names.insert(name) {
            true => tables.push(table),
            false => {
                directive.refuse(&mut cx.report, "names a zone that is there already");
            }
        }
    }
    tables
}

fn zone(directive: &Directive, cx: &mut Context<'_>) -> Result<(String, Table), Reported> {
    let [counted, zone] = &directive.arguments[..] else {
        return Err(directive.refuse(&mut cx.report, "has wrong arguments"));
    };
    let parts = zone.strip_prefix("zone=").and_then(|it| it.split_once(':'));
    let Some((name, _)) = parts.filter(|(_, bytes)| size(bytes).is_some()) else {
        return Err(directive.refuse(&mut cx.report, "has no `zone=NAME:SIZE`"));
    };
    check_name(name, directive, cx)?;
    let counted = template(counted, &directive.place, cx)?;
    let mut table = Table::new(format!("[limit.{}]", key(name)), Some(&directive.place));
    table.push(Entry::new("key", Value::text(counted), &directive.place));
    Ok((name.to_owned(), table))
}

fn check_name(name: &str, directive: &Directive, cx: &mut Context<'_>) -> Result<(), Reported> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.len() <= 64 && name.chars().all(is_fit) {
        true => Ok(()),
        false => Err(directive.refuse(
            &mut cx.report,
            format!("has a name that Moorline does not take: {name:?}"),
        )),
    }
}

/// The limits of a server.
pub(super) fn limits(scope: Scope<'_>, cx: &mut Context<'_>) -> Option<Entry> {
    let dry_run = scope.flag("limit_conn_dry_run", cx);
    let is_dry_run = dry_run.is_some_and(|(is_dry_run, _)| is_dry_run);
    let mut limits = Vec::new();
    for directive in scope.all("limit_conn") {
        let [name, most] = &directive.arguments[..] else {
            directive.refuse(&mut cx.report, "has wrong arguments");
            continue;
        };
        let is_zone = |it: &&Directive| {
            let zone = it.arguments.get(1).and_then(|it| it.strip_prefix("zone="));
            zone.and_then(|it| it.split_once(':'))
                .is_some_and(|(zone, _)| zone == name)
        };
        let mut zones = scope.outer.iter().filter(|it| it.name == "limit_conn_zone");
        if zones.find(is_zone).is_none() {
            directive.refuse(
                &mut cx.report,
                format!("names {name:?}, which no `limit_conn_zone` makes"),
            );
            continue;
        }
        let Some(most @ 1..) = number(most) else {
            directive.refuse(&mut cx.report, "takes a number of connections, at least 1");
            continue;
        };
        let mut limit = vec![
            ("limit".to_owned(), Value::text(name)),
            ("most".to_owned(), Value::Number(most)),
        ];
        if is_dry_run {
            limit.push(("dry_run".to_owned(), Value::Flag(true)));
        }
        limits.push((Value::Table(limit), Some(directive.place.clone())));
    }
    (!limits.is_empty()).then(|| Entry::default("limits", Value::Lines(limits)))
}
