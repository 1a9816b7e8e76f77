//! Backends become upstreams.

use std::net::IpAddr;

use super::bases::Bases;
use super::check;
use super::lines::Line;
use super::proxy::Proxy;
use super::resolvers::Resolvers;
use super::server::{self, BackendServer};
use crate::note::{Report, Reported};
use crate::toml::{Entry, Value};
use crate::unit;

/// HAProxy's own default.
const RETRIES: u64 = 3;

/// The keys of the upstream that a backend becomes.
pub(super) fn upstream(
    proxy: Proxy<'_>,
    bases: &Bases,
    resolvers: &mut Resolvers<'_>,
    report: &mut Report,
) -> Result<Vec<Entry>, Reported> {
    let mut entries = Vec::new();
    if let Some((time, line)) = proxy
        .timeout("connect", report)
        .filter(|(time, _)| *time > 0)
    {
        let time = Value::text(unit::duration(time));
        entries.push(Entry::new("connect_timeout", time, &line.place));
    }
    entries.push(next(proxy, report));
    let balance = balance(proxy, report);
    let bind = bind(proxy, report);
    let servers = servers(proxy, bases, report);
    entries.extend(balance?);
    entries.extend(bind?);
    let servers = servers?;
    entries.extend(resolver(&servers, resolvers, report)?);
    entries.extend(shared(proxy, &servers, report)?);
    let peers = servers
        .iter()
        .map(|(server, line)| (server.peer(), Some(line.place.clone())));
    let peers = Value::Lines(peers.collect());
    entries.push(Entry::default("peers", peers));
    Ok(entries)
}

/// How often another peer is asked.
fn next(proxy: Proxy<'_>, report: &mut Report) -> Entry {
    let retries = proxy.number("retries", report);
    let tries = retries
        .map_or(RETRIES, |(tries, _)| tries)
        .saturating_add(1);
    let table = Value::Table(vec![("tries".to_owned(), Value::Number(tries))]);
    match retries {
        Some((_, line)) => Entry::new("next", table, &line.place),
        None => Entry::default("next", table),
    }
}

fn balance(proxy: Proxy<'_>, report: &mut Report) -> Result<Option<Entry>, Reported> {
    let hash_type = proxy.one(&["hash-type"]);
    let Some(line) = proxy.one(&["balance"]) else {
        return Ok(None);
    };
    let method = line.word(1);
    let has_more = line.words.len() > 2;
    let value = match (method, line.word(2)) {
        ("roundrobin" | "static-rr", "") => return Ok(None),
        ("leastconn", "") => Value::text("least-connections"),
        ("source", "") | ("hash", "src") => {
            let method = match hash_type.map(|line| line.word(1)) {
                Some("consistent") => "ketama",
                _ => "plain",
            };
            let text =
                "a hash of the client's address: clients may get other peers than with HAProxy";
            report.remark(
                &line.place,
                format!("`balance {}` becomes {text}", line.word(1)),
            );
            let keys = [
                ("kind", "hash"),
                ("key", "${client.address}"),
                ("method", method),
            ];
            let keys = keys.map(|(key, value)| (key.to_owned(), Value::text(value)));
            Value::Table(keys.into())
        }
        ("random" | "random(2)", "") => Value::text("random-two"),
        ("first", _) => {
            let why = "first cannot be expressed: write `leastconn`, or servers with `backup`";
            return Err(line.refuse(report, why));
        }
        _ => {
            let text = line.words[1..].join(" ");
            let why = if has_more || method.starts_with("random(") {
                format!("{text} cannot be expressed")
            } else {
                format!("{text} is not imported: it belongs to HTTP or is unknown")
            };
            return Err(line.refuse(report, why));
        }
    };
    Ok(Some(Entry::new("balance", value, &line.place)))
}

fn bind(proxy: Proxy<'_>, report: &mut Report) -> Result<Option<Entry>, Reported> {
    let Some(line) = proxy.one(&["source"]) else {
        return Ok(None);
    };
    let host = line.word(1).trim_end_matches(":0");
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if line.words.len() == 2 && ip.is_unspecified() => Ok(None),
        Ok(ip) if line.words.len() == 2 => {
            let ip = Value::text(ip.to_string());
            Ok(Some(Entry::new("bind", ip, &line.place)))
        }
        _ => Err(line.refuse(report, "takes an IP address alone")),
    }
}

type Servers<'a> = Vec<(BackendServer, &'a Line)>;

fn servers<'a>(
    proxy: Proxy<'a>,
    bases: &Bases,
    report: &mut Report,
) -> Result<Servers<'a>, Reported> {
    let mut defaults = BackendServer::default();
    for line in proxy.inherited(&["default-server"]) {
        defaults = server::defaults(line, defaults, bases, report)?;
    }
    let mut servers = Vec::new();
    let mut result = Ok(());
    for line in &proxy.section.lines {
        match line.word(0) {
            "default-server" => defaults = server::defaults(line, defaults, bases, report)?,
            "server" | "server-template" => match server::server(line, &defaults, bases, report) {
                Ok(server) => servers.push((server, line)),
                Err(reported) => result = Err(reported),
            },
            _ => {}
        }
    }
    result?;
    if servers.is_empty() {
        let head = &proxy.section.head;
        return Err(head.refuse(report, format!("{} has no server", head.word(1))));
    }
    let backups = servers.iter().filter(|(server, _)| server.backup).count();
    if backups == servers.len() {
        // Without others they are what there is.
        for (server, _) in &mut servers {
            server.backup = false;
        }
    } else if backups > 1 && proxy.one(&["option", "allbackups"]).is_none() {
        let text = "all backups share the connections, as with `option allbackups`";
        report.remark(&proxy.section.head.place, text);
    }
    Ok(servers)
}

/// `resolver` for all servers with names.
fn resolver(
    servers: &Servers<'_>,
    resolvers: &mut Resolvers<'_>,
    report: &mut Report,
) -> Result<Option<Entry>, Reported> {
    let mut named = servers.iter().filter(|(it, _)| it.target.is_resolved());
    let Some((first, line)) = named.next() else {
        return Ok(None);
    };
    let mut result = Ok(());
    for (server, line) in named {
        if server.resolvers != first.resolvers {
            let why = "has other `resolvers` than a server before it, and an upstream has one for all: write a backend for each";
            result = Err(line.refuse(report, why));
        }
    }
    result?;
    let Some(name) = &first.resolvers else {
        return Ok(None);
    };
    let table = resolvers.table(name, line, report)?;
    Ok(Some(Entry::new("resolver", table, &line.place)))
}

/// What belongs to a server in HAProxy, and to the upstream in Moorline.
fn shared(
    proxy: Proxy<'_>,
    servers: &Servers<'_>,
    report: &mut Report,
) -> Result<Vec<Entry>, Reported> {
    let (first, _) = &servers[0];
    let mut entries = Vec::new();
    let mut result = Ok(());
    for (server, line) in servers {
        for (is_other, option) in [
            (server.proxy_protocol != first.proxy_protocol, "send-proxy"),
            (server.slow_start != first.slow_start, "slowstart"),
            (server.observes != first.observes, "observe"),
            (server.tls != first.tls, "ssl"),
        ] {
            if is_other {
                let why = format!(
                    "has another `{option}` than the first server, and an upstream has one for all"
                );
                result = Err(line.refuse(report, why));
            }
        }
    }
    let place = |server: &Line| server.place.clone();
    if let Some(version) = first.proxy_protocol {
        let version = Value::Number(version);
        entries.push(Entry::new("proxy_protocol", version, &place(servers[0].1)));
    }
    if let Some(time) = first.slow_start.filter(|it| *it > 0) {
        let time = Value::text(unit::duration(time));
        entries.push(Entry::new("slow_start", time, &place(servers[0].1)));
    }
    match first.tls.table(servers[0].1, report) {
        Ok(table) => {
            let table = table.map(|it| Entry::new("tls", it, &place(servers[0].1)));
            entries.extend(table);
        }
        Err(reported) => result = Err(reported),
    }
    if !first.observes {
        // Only checks take a server out.
        entries.push(Entry::default("max_fails", Value::Number(0)));
    }
    let mut checked = servers.iter().filter(|(server, _)| server.check);
    if let Some((one, line)) = checked.next() {
        for (server, line) in servers {
            let why = match server.check {
                false => "has no `check`, and other servers have: an upstream checks all of them",
                true if server.times != one.times => {
                    "has another `inter`, `rise` or `fall` than a server before it: an upstream has one for all"
                }
                true => continue,
            };
            report.remark(&line.place, format!("`server` {why}"));
        }
        let check = check::check(proxy, one, report)?;
        entries.push(Entry::new("check", check, &line.place));
    }
    result.map(|()| entries)
}
