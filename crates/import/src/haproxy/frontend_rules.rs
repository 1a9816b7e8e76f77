//! What the rules of a frontend become: `access`, `upstream`, and `preread`.

use super::acl::{Acls, Subject};
use super::bases::Bases;
use super::bind::proxied;
use super::client_rules::{Stage, access};
use super::condition::condition;
use super::lines::Line;
use super::map_names::MapNames;
use super::proxy::Proxy;
use super::routes::{Routes, routes};
use super::value::time;
use crate::files::Files;
use crate::note::{Place, Report, Reported};
use crate::toml::{Entry, Table, Value};
use crate::unit;

/// Keys of the listeners, and the maps that these name.
pub(super) struct FrontendRules {
    pub(super) upstream: Entry,
    pub(super) entries: Vec<Entry>,
    pub(super) maps: Vec<Table>,
}

/// Reads all rules. `default`: the backend of what no rule sends elsewhere.
pub(super) fn rules(
    proxy: Proxy<'_>,
    default: Option<(&str, &Place)>,
    bases: &Bases,
    files: &mut dyn Files,
    names: &mut MapNames,
    report: &mut Report,
) -> Result<FrontendRules, Reported> {
    let mut acls = Acls::new(proxy, bases.folder(), files);
    let connection = Stage::read(proxy, "connection", &mut acls, report);
    let session = Stage::read(proxy, "session", &mut acls, report);
    let content = Stage::read(proxy, "content", &mut acls, report);
    let (connection, session, content) = (connection?, session?, content?);
    for (stage, kind) in [(&connection, "connection"), (&session, "session")] {
        if !stage.is_of_clients(&acls) {
            let lines = proxy.own(&["tcp-request", kind]);
            let why = "is imported with `src` only: write `tcp-request content` for anything else";
            return Err(lines.first().map_or(Reported, |it| it.refuse(report, why)));
        }
    }
    let proxied = expected_proxies(proxy, &mut acls, report)?;
    check_proxied(proxy, &connection, report)?;
    // What asks for more than the client decides where connections go.
    let none = Stage::default();
    let (of_clients, others) = match content.is_of_clients(&acls) {
        true if content.rejects() => (&content, &none),
        true => (&none, &none),
        false => (&none, &content),
    };
    let access = access(proxy, &[&connection, &session, of_clients], &acls, report);
    let routes = routes(proxy, default, others, &mut acls, names, report);
    let (access, routes) = (access?, routes?);
    let preread = preread(proxy, &routes, report)?;
    acls.remark_unused(report);
    Ok(FrontendRules {
        upstream: routes.upstream,
        entries: access.into_iter().chain(preread).chain(proxied).collect(),
        maps: routes.maps,
    })
}

/// `tcp-request connection expect-proxy layer4`: as `accept-proxy` of each `bind`, or for the clients that it names.
fn expected_proxies(
    proxy: Proxy<'_>,
    acls: &mut Acls<'_>,
    report: &mut Report,
) -> Result<Vec<Entry>, Reported> {
    let lines = proxy.own(&["tcp-request", "connection", "expect-proxy"]);
    let Some(line) = lines.first() else {
        return Ok(Vec::new());
    };
    if line.word(3) != "layer4" {
        return Err(line.refuse(report, "is imported with `expect-proxy layer4` only"));
    }
    let condition = condition(line, &line.words[4..], acls, report)?;
    if condition.is_always() {
        return Ok(proxied(line).into());
    }
    let tests = condition.any().unwrap_or_default();
    let tests: Vec<_> = tests.into_iter().map(|test| &acls.tests[test]).collect();
    if tests.is_empty() || tests.iter().any(|test| test.subject != Subject::Client) {
        let why = "expects a header of some clients: it is imported with `if` and `src` only";
        return Err(line.refuse(report, why));
    }
    let networks = tests.iter().flat_map(|test| &test.keys).map(Value::text);
    Ok(vec![
        Entry::new("proxy_protocol", Value::text("trusted"), &line.place),
        Entry::new(
            "trusted_proxies",
            Value::List(networks.collect()),
            &line.place,
        ),
    ])
}

/// Refuses rules of connections that are of a proxy's address, while `access` is of the client's.
fn check_proxied(
    proxy: Proxy<'_>,
    connection: &Stage,
    report: &mut Report,
) -> Result<(), Reported> {
    let is_proxied = |line: &&Line| line.words.iter().any(|word| word == "accept-proxy");
    let expected = proxy.own(&["tcp-request", "connection", "expect-proxy"]);
    let mut lines = proxy.own(&["bind"]).into_iter().chain(expected);
    match lines.find(|it| is_proxied(it) || it.word(0) == "tcp-request") {
        Some(line) if !connection.0.is_empty() => {
            let how = match line.word(0) {
                "bind" => "accept-proxy",
                _ => "expect-proxy",
            };
            let why = format!(
                "has `{how}`: `tcp-request connection` looks at the proxy's address, and `access` at the client's: write `tcp-request session`"
            );
            Err(line.refuse(report, why))
        }
        _ => Ok(()),
    }
}

/// How long a hello is waited for: `tcp-request inspect-delay`.
fn preread(
    proxy: Proxy<'_>,
    routes: &Routes,
    report: &mut Report,
) -> Result<Option<Entry>, Reported> {
    let Some(line) = proxy.own(&["tcp-request", "inspect-delay"]).pop() else {
        return Ok(None);
    };
    let Some(time) = time(line.word(2)).filter(|it| *it > 0) else {
        return Err(line.refuse(report, "takes a time, such as 5s"));
    };
    let mut binds = proxy.own(&["bind"]).into_iter();
    let has_tls = binds.any(|bind| bind.words.iter().any(|word| word == "ssl"));
    if has_tls || !routes.asks_hello {
        let text = "`tcp-request inspect-delay` has no effect: no rule asks for a hello";
        report.remark(&line.place, text);
        return Ok(None);
    }
    let time = Value::text(unit::duration(time));
    let table = Value::Table(vec![("timeout".to_owned(), time)]);
    Ok(Some(Entry::new("preread", table, &line.place)))
}
