//! HAProxy's TCP mode.
//!
//! The modules, from top to bottom:
//!
//! - `frontend`: frontends become listeners
//! - `bind`: where a frontend listens
//! - `frontend_rules`: what its rules become
//! - `routes`, `client_rules`: where connections go, and which clients are refused
//! - `expression`, `lookup`, `sample`: names of backends that depend on the connection
//! - `condition`, `acl`, `pattern`: when a rule holds
//! - `backend`: backends become upstreams
//! - `server`, `peer_tls`, `check`: their servers, TLS towards them, and how they are checked
//! - `resolvers`: the DNS servers that know names
//! - `keywords`: what becomes of each keyword
//! - `map_names`: the names of maps that are made
//! - `proxy`: a section with its defaults
//! - `read_once`: files that several frontends name
//! - `bases`: where relative paths begin
//! - `lines`, `value`: the syntax

mod acl;
mod backend;
mod bases;
mod bind;
mod check;
mod client_rules;
mod condition;
mod expression;
mod frontend;
mod frontend_rules;
mod keywords;
mod lines;
mod lookup;
mod map_names;
mod pattern;
mod peer_tls;
mod proxy;
mod read_once;
mod resolvers;
mod routes;
mod sample;
mod server;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeSet;

use crate::Source;
use crate::files::Files;
use crate::note::{Place, Report, Reported};
use crate::toml::{Document, Table, key};

pub(crate) use lines::SECTIONS;

use bases::Bases;
use frontend::BackendTimes;
use lines::{Section, sections};
use map_names::MapNames;
use proxy::Proxy;
use read_once::ReadOnce;
use resolvers::Resolvers;

/// Imports a file.
pub(crate) fn import(
    source: &Source<'_>,
    files: &mut dyn Files,
    mut report: Report,
) -> (Document, Report) {
    let files = &mut ReadOnce::new(files);
    let sections = sections(source.name, source.text, &mut report);
    for section in &sections {
        keywords::check(section, &mut report);
    }
    keywords::check_global_tls(&sections, &mut report);
    let proxies = proxies(&sections, &mut report);
    let mut names = MapNames::new(&proxies);
    let bases = Bases::new(source.folder, &sections);
    let mut resolvers = Resolvers::new(&sections);
    let mut document = Document::default();
    let mut upstreams = Vec::new();
    let mut used = BTreeSet::new();
    for proxy in &proxies {
        let kind = proxy.section.kind();
        if kind != "backend"
            && let Ok(tables) = frontend(*proxy, &proxies, &bases, files, &mut names, &mut report)
        {
            let target = target(*proxy);
            used.extend(target.map(|(name, _)| name.to_owned()));
            used.extend(named(*proxy, &names).map(str::to_owned));
            tables.into_iter().for_each(|it| document.push(it));
        }
        if kind != "frontend"
            && let Ok(entries) = backend::upstream(*proxy, &bases, &mut resolvers, &mut report)
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
    resolvers.remark_unused(&mut report);
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

/// The listeners of a frontend, and their maps.
fn frontend<'a>(
    proxy: Proxy<'a>,
    proxies: &[Proxy<'a>],
    bases: &Bases,
    files: &mut dyn Files,
    names: &mut MapNames,
    report: &mut Report,
) -> Result<Vec<Table>, Reported> {
    check_targets(proxy, proxies, report)?;
    let default = target(proxy);
    let times = times(proxy, default, proxies, names, report);
    let rules = frontend_rules::rules(proxy, default, bases, files, names, report)?;
    let mut tables = frontend::listeners(proxy, &rules, times, bases, files, report)?;
    tables.extend(rules.maps);
    Ok(tables)
}

/// Refuses names that are no backends, and a frontend that passes to none.
fn check_targets(
    proxy: Proxy<'_>,
    proxies: &[Proxy<'_>],
    report: &mut Report,
) -> Result<(), Reported> {
    let is_backend =
        |it: &Proxy<'_>, name: &str| it.section.kind() != "frontend" && it.section.name() == name;
    let rules = proxy.own(&["use_backend"]);
    let default = proxy.one(&["default_backend"]);
    let mut result = Ok(());
    for line in rules.iter().copied().chain(default) {
        let name = line.word(1);
        if !expression::is_computed(name) && !proxies.iter().any(|it| is_backend(it, name)) {
            let why = format!("names {name:?}, which is no backend");
            result = Err(line.refuse(report, why));
        }
    }
    result?;
    match target(proxy).is_none() && rules.is_empty() {
        true => {
            let section = proxy.section;
            let why = format!("{} has no `default_backend`", section.name());
            Err(section.head.refuse(report, why))
        }
        false => Ok(()),
    }
}

/// The upstream that a frontend passes to where no rule holds: its name, and where it is written.
fn target<'a>(proxy: Proxy<'a>) -> Option<(&'a str, &'a Place)> {
    let section = proxy.section;
    match proxy.one(&["default_backend"]) {
        Some(line) => Some((line.word(1), &line.place)),
        None if section.kind() == "listen" && proxy.has_servers() => {
            Some((section.name(), &section.head.place))
        }
        None => None,
    }
}

/// The backends that rules of a frontend name, or may.
fn named<'a>(proxy: Proxy<'a>, names: &'a MapNames) -> impl Iterator<Item = &'a str> {
    let rules = proxy.own(&["use_backend"]).into_iter();
    let rules: Vec<&str> = rules.map(|line| line.word(1)).collect();
    let is_computed = rules.iter().any(|it| expression::is_computed(it));
    let all = names.backends.iter().filter(move |_| is_computed);
    rules.into_iter().chain(all.map(|it| &**it))
}

/// The shortest times of the backends that a frontend passes to.
fn times<'a>(
    proxy: Proxy<'_>,
    target: Option<(&str, &Place)>,
    proxies: &[Proxy<'a>],
    names: &MapNames,
    report: &mut Report,
) -> BackendTimes<'a> {
    let default = target.map(|(name, _)| name);
    let names: BTreeSet<&str> = named(proxy, names).chain(default).collect();
    let backends = proxies.iter().filter(|it| it.section.kind() != "frontend");
    let backends = backends.filter(|it| names.contains(it.section.name()));
    let backends: Vec<_> = backends.collect();
    let mut shortest = |name: &str| {
        let timeouts = backends.iter().filter_map(|it| it.timeout(name, report));
        let timeouts = timeouts.filter(|(time, _)| *time > 0);
        timeouts.min_by_key(|(time, _)| *time)
    };
    BackendTimes {
        server: shortest("server").map(|(time, _)| time),
        tunnel: shortest("tunnel"),
    }
}
