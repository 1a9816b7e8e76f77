//! HAProxy's TCP mode.
//!
//! The modules, from top to bottom:
//!
//! - `frontend`, `name_rules`: frontends become listeners, and their rules maps
//! - `bind`, `client_rules`: where a frontend listens, and for which clients
//! - `backend`: backends become upstreams
//! - `server`, `peer_tls`, `check`: their servers, TLS towards them, and how they are checked
//! - `keywords`: what becomes of each keyword
//! - `proxy`: a section with its defaults
//! - `lines`, `value`: the syntax

mod backend;
mod bind;
mod check;
mod client_rules;
mod frontend;
mod keywords;
mod lines;
mod name_rules;
mod peer_tls;
mod proxy;
mod server;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeSet;
use std::path::Path;

use crate::Source;
use crate::files::Files;
use crate::note::{Place, Report, Reported};
use crate::toml::{Document, Entry, Table, Value, key};

use frontend::BackendTimes;
use lines::{Line, Section, sections};
use proxy::Proxy;

/// Imports a file.
pub(crate) fn import(
    source: &Source<'_>,
    files: &mut dyn Files,
    mut report: Report,
) -> (Document, Report) {
    let sections = sections(source.name, source.text, &mut report);
    for section in &sections {
        keywords::check(section, &mut report);
    }
    keywords::check_global_tls(&sections, &mut report);
    let proxies = proxies(&sections, &mut report);
    let mut document = Document::default();
    let mut upstreams = Vec::new();
    let mut used = BTreeSet::new();
    for proxy in &proxies {
        let kind = proxy.section.kind();
        if kind != "backend" {
            let target = target(*proxy, &proxies, &mut report);
            if let Ok(target) = target {
                used.extend(target.iter().map(|(name, _)| name.clone()));
                let rules = proxy.own(&["use_backend"]);
                used.extend(rules.iter().map(|line| line.word(1).to_owned()));
                let folder = source.folder;
                let tables = listeners(*proxy, target, &proxies, folder, files, &mut report);
                tables
                    .into_iter()
                    .flatten()
                    .for_each(|it| document.push(it));
            }
        }
        if kind != "frontend"
            && let Ok(entries) = backend::upstream(*proxy, source.folder, &mut report)
        {
            let head = &proxy.section.head;
            let heading = format!("[upstream.{}]", key(proxy.section.name()));
            let mut table = Table::new(heading, Some(&head.place));
            table.extend(entries);
            upstreams.push(table);
        }
    }
    for proxy in proxies.iter().filter(|it| it.section.kind() == "backend") {
        if !used.contains(proxy.section.name()) {
            let text = format!("no frontend passes to backend {}", proxy.section.name());
            report.remark(&proxy.section.head.place, text);
        }
    }
    upstreams.into_iter().for_each(|it| document.push(it));
    (document, report)
}

/// The frontends and backends of TCP that are not disabled.
fn proxies<'a>(sections: &'a [Section], report: &mut Report) -> Vec<Proxy<'a>> {
    let mut proxies: Vec<Proxy<'a>> = Vec::new();
    let mut last = None;
    for (at, section) in sections.iter().enumerate() {
        let from = section.head.words.iter().position(|it| it == "from");
        let from = from.map(|at| section.head.word(at + 1));
        match section.kind() {
            "defaults" => {
                if from.is_some() {
                    section
                        .head
                        .refuse(report, "with `from` is not imported by this version");
                }
                last = Some(section);
                continue;
            }
            "frontend" | "backend" | "listen" => {}
            _ => continue,
        }
        let named = |name: &str| {
            let mut defaults = sections[..at].iter().rev();
            defaults.find(|it| it.kind() == "defaults" && it.name() == name)
        };
        let proxy = Proxy::new(section, from.map_or(last, named));
        if proxy.one(&["disabled"]).is_some() && proxy.own(&["enabled"]).is_empty() {
            let text = format!(
                "`{} {}` is disabled, and left out",
                section.kind(),
                section.name()
            );
            report.remark(&section.head.place, text);
            continue;
        }
        if let Err(Reported) = check_head(proxy, &proxies, report) {
            continue;
        }
        proxies.push(proxy);
    }
    proxies
}

/// Refuses what is no section of TCP with a name of its own.
fn check_head(proxy: Proxy<'_>, before: &[Proxy<'_>], report: &mut Report) -> Result<(), Reported> {
    let section = proxy.section;
    let (kind, name) = (section.kind(), section.name());
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_fit) {
        let why = "needs a name of at most 64 letters, digits, hyphens, underscores and dots";
        return Err(section.head.refuse(report, why));
    }
    if let Some(mode) = proxy.one(&["mode"]).filter(|it| it.word(1) != "tcp") {
        let message = format!(
            "`{kind} {name}` has `mode {}` (line {}): only `mode tcp` is imported, HTTP must be relayed as bytes",
            mode.word(1),
            mode.place.line
        );
        return Err(report.error(&section.head.place, message));
    }
    let is_same = |other: &&Proxy<'_>| {
        let both =
            |kinds: [&str; 2]| kinds.contains(&kind) && kinds.contains(&other.section.kind());
        other.section.name() == name
            && (both(["frontend", "listen"]) || both(["backend", "listen"]))
    };
    match before.iter().find(is_same) {
        Some(other) => {
            let why = format!("{name} is there already: see {}", other.section.head.place);
            Err(section.head.refuse(report, why))
        }
        None => Ok(()),
    }
}

/// The upstream that a frontend passes to: its name, and where it is written.
fn target(
    proxy: Proxy<'_>,
    proxies: &[Proxy<'_>],
    report: &mut Report,
) -> Result<Option<(String, Place)>, Reported> {
    let section = proxy.section;
    let is_backend =
        |it: &Proxy<'_>, name: &str| it.section.kind() != "frontend" && it.section.name() == name;
    let known = |line: &Line, report: &mut Report| {
        let name = line.word(1);
        match proxies.iter().any(|it| is_backend(it, name)) {
            true => Ok((name.to_owned(), line.place.clone())),
            false => Err(line.refuse(report, format!("names {name:?}, which is no backend"))),
        }
    };
    let rules = proxy.own(&["use_backend"]);
    for line in &rules {
        known(line, report)?;
    }
    match proxy.one(&["default_backend"]) {
        Some(line) => known(line, report).map(Some),
        None if section.kind() == "listen" && !proxy.own(&["server"]).is_empty() => {
            let place = section.head.place.clone();
            Ok(Some((section.name().to_owned(), place)))
        }
        None if !rules.is_empty() => Ok(None),
        None => {
            let why = format!("{} has no `default_backend`", section.name());
            Err(section.head.refuse(report, why))
        }
    }
}

fn listeners(
    proxy: Proxy<'_>,
    target: Option<(String, Place)>,
    proxies: &[Proxy<'_>],
    folder: &Path,
    files: &mut dyn Files,
    report: &mut Report,
) -> Result<Vec<Table>, Reported> {
    let rules = proxy.own(&["use_backend"]);
    let default = target.as_ref().map(|(name, _)| &name[..]);
    let names = rules.iter().map(|line| line.word(1)).chain(default);
    let names: BTreeSet<&str> = names.collect();
    let backends = proxies.iter().filter(|it| it.section.kind() != "frontend");
    let backends = backends.filter(|it| names.contains(it.section.name()));
    let backends: Vec<_> = backends.collect();
    let mut shortest = |name: &str| {
        let timeouts = backends.iter().filter_map(|it| it.timeout(name, report));
        let timeouts = timeouts.filter(|(time, _)| *time > 0);
        timeouts.min_by_key(|(time, _)| *time)
    };
    let times = BackendTimes {
        server: shortest("server").map(|(time, _)| time),
        tunnel: shortest("tunnel"),
    };
    let name = proxy.section.name();
    let (upstream, map) = match (&target, rules.first()) {
        (_, Some(line)) => {
            let map = name_rules::map(proxy, name, default, report)?;
            let text = Value::text(format!("${{map.{name}}}"));
            (Entry::new("upstream", text, &line.place), Some(map))
        }
        (Some((name, place)), None) => (Entry::new("upstream", Value::text(name), place), None),
        (None, None) => return Err(Reported),
    };
    let mut tables = frontend::listeners(proxy, upstream, times, folder, files, report)?;
    tables.extend(map);
    Ok(tables)
}
