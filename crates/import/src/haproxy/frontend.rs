//! Frontends become listeners.

use super::bases::Bases;
use super::bind;
use super::frontend_rules::FrontendRules;
use super::lines::Line;
use super::proxy::Proxy;
use crate::files::Files;
use crate::note::{Report, Reported};
use crate::number::number;
use crate::toml::{Entry, Table, Value};
use crate::unit;

/// The listeners of a frontend with these rules. `backends`: the times of those that it passes to.
pub(super) fn listeners(
    proxy: Proxy<'_>,
    rules: &FrontendRules,
    backends: BackendTimes<'_>,
    bases: &Bases,
    files: &mut dyn Files,
    report: &mut Report,
) -> Result<Vec<Table>, Reported> {
    let mut common = common(proxy, backends, report);
    let mut binds = Vec::new();
    let mut result = Ok(());
    for line in proxy.own(&["bind"]) {
        match bind::bind(line, bases, files, report) {
            Ok(bind) => binds.push((bind, line)),
            Err(reported) => result = Err(reported),
        }
    }
    let head = &proxy.section.head;
    if binds.is_empty() && result.is_ok() {
        result = Err(head.refuse(report, format!("{} has no `bind`", head.word(1))));
    }
    result?;
    common.extend(rules.entries.iter().cloned());
    let count: usize = binds.iter().map(|(bind, _)| bind.addresses.len()).sum();
    let mut tables = Vec::new();
    for (bind, line) in &binds {
        for address in &bind.addresses {
            let name = match count {
                1 => head.word(1).to_owned(),
                _ => format!("{}-{}", head.word(1), tables.len() + 1),
            };
            let mut table = Table::new("[[listen]]", Some(&head.place));
            table.push(Entry::new("name", Value::text(name), &head.place));
            table.push(Entry::new("address", Value::text(address), &line.place));
            table.push(rules.upstream.clone());
            let own = |entry: &&Entry| bind.entries.iter().all(|own| own.key != entry.key);
            table.extend(common.iter().filter(own).cloned());
            table.extend(bind.entries.iter().cloned());
            tables.push(table);
        }
    }
    Ok(tables)
}

/// The shortest times of the backends of a frontend.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackendTimes<'a> {
    pub(super) server: Option<u64>,
    /// With its line. HAProxy counts it instead of the others.
    pub(super) tunnel: Option<(u64, &'a Line)>,
}

fn common<'a>(proxy: Proxy<'a>, backends: BackendTimes<'a>, report: &mut Report) -> Vec<Entry> {
    let mut entries = Vec::new();
    let server_timeout = backends.server;
    let tunnel = proxy.timeout("tunnel", report).or(backends.tunnel);
    let client = proxy.timeout("client", report);
    let idle = tunnel.or(client).map(|(time, line)| {
        let shorter = server_timeout.filter(|_| tunnel.is_none());
        let shorter = shorter.filter(|it| (1..time).contains(it));
        (shorter.unwrap_or(time), line)
    });
    if let Some((time, line)) = idle.filter(|(time, _)| *time > 0) {
        if server_timeout
            .is_some_and(|other| other != time || client.is_some_and(|(it, _)| it != time))
        {
            let text = "`timeout client` and `timeout server` become one `idle_timeout`, the shorter of them or `timeout tunnel`";
            report.remark(&line.place, text);
        }
        let time = Value::text(unit::duration(time));
        entries.push(Entry::new("idle_timeout", time, &line.place));
    }
    if let Some((most, line)) = proxy
        .number("maxconn", report)
        .filter(|(most, _)| *most > 0)
    {
        let most = Value::Number(most);
        entries.push(Entry::new("max_sessions", most, &line.place));
    }
    if let Some(line) = proxy.one(&["rate-limit"]) {
        match (line.word(1), number(line.word(2))) {
            ("sessions", Some(0)) => {}
            ("sessions", Some(rate)) => {
                let rate = Value::Number(rate);
                entries.push(Entry::new("accept_rate", rate, &line.place));
            }
            _ => {
                line.refuse(report, "takes `sessions` and a whole number");
            }
        }
    }
    entries
}
