//! `resolvers`: the DNS servers that know the names of servers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::lines::{Line, Section};
use super::value::time;
use crate::note::{Report, Reported};
use crate::number::number;
use crate::toml::Value;
use crate::unit;

/// HAProxy's own defaults: how long an answer holds, how long one question waits, both in milliseconds, and how many are asked.
const VALID: u64 = 10_000;
const RETRY: u64 = 1000;
const RETRIES: u64 = 3;
/// Lines without an effect.
const IGNORED: &[&str] = &[
    "accepted_payload_size",
    "hold nx",
    "hold obsolete",
    "hold other",
    "hold refused",
    "hold timeout",
    "timeout resolve",
];

/// All such sections.
pub(super) struct Resolvers<'a> {
    sections: Vec<&'a Section>,
    used: BTreeSet<&'a str>,
}

impl<'a> Resolvers<'a> {
    pub(super) fn new(sections: &'a [Section]) -> Self {
        let sections = sections.iter().filter(|it| it.kind() == "resolvers");
        Self {
            sections: sections.collect(),
            used: BTreeSet::new(),
        }
    }

    /// The table `resolver` of an upstream whose server names these.
    pub(super) fn table(
        &mut self,
        name: &str,
        line: &Line,
        report: &mut Report,
    ) -> Result<Value, Reported> {
        let Some(section) = self.sections.iter().find(|it| it.name() == name) else {
            return Err(line.refuse(report, format!("names {name:?}, which is no `resolvers`")));
        };
        self.used.insert(section.name());
        table(section, report)
    }

    /// Says of each section that no server names that it has no effect.
    pub(super) fn remark_unused(&self, report: &mut Report) {
        let unused = |it: &&&Section| !self.used.contains(it.name());
        for section in self.sections.iter().filter(unused) {
            let text = format!(
                "`resolvers {}` is left out: no server names it",
                section.name()
            );
            report.remark(&section.head.place, text);
        }
    }
}

const WRONG_VALUE: &str =
    "has a wrong value: it takes a time such as `10s`, and `resolve_retries` a number";

fn table(section: &Section, report: &mut Report) -> Result<Value, Reported> {
    let mut servers = Vec::new();
    let mut has_system = false;
    let (mut valid, mut retry, mut retries) = (VALID, None, None);
    let mut result = Ok(());
    for line in &section.lines {
        let slot = match &*line.name() {
            "nameserver" => {
                match server(line, report) {
                    Ok(server) => servers.push(Value::text(server)),
                    Err(reported) => result = Err(reported),
                }
                continue;
            }
            "parse-resolv-conf" => {
                has_system = true;
                continue;
            }
            "hold valid" => time(line.word(2)).map(|time| valid = time),
            "timeout retry" => time(line.word(2)).map(|time| retry = Some(time)),
            "resolve_retries" => number(line.word(1)).map(|it| retries = Some(it)),
            name if IGNORED.contains(&name) => {
                let text = format!(
                    "`{name}` has no effect: `hold valid` is how long an answer holds, and what is known stays while servers fail"
                );
                report.remark(&line.place, text);
                continue;
            }
            _ => {
                result = Err(line.refuse(report, "is not imported by this version"));
                continue;
            }
        };
        if slot.is_none() {
            result = Err(line.refuse(report, WRONG_VALUE));
        }
    }
    result?;
    let mut table = Vec::new();
    match (servers.is_empty(), has_system) {
        (false, false) => table.push(("servers".to_owned(), Value::List(servers))),
        // Moorline takes those of the system where none are named.
        (true, true) => {}
        (true, false) => {
            let why = format!("{} has no `nameserver`", section.name());
            return Err(section.head.refuse(report, why));
        }
        (false, true) => {
            let why = "has both `nameserver` and `parse-resolv-conf`: leave one of them out";
            return Err(section.head.refuse(report, why));
        }
    }
    let time = |time: u64| Value::text(unit::duration(time.max(1)));
    table.push(("valid".to_owned(), time(valid)));
    if retry.is_some() || retries.is_some() {
        let all = retry
            .unwrap_or(RETRY)
            .saturating_mul(retries.unwrap_or(RETRIES).max(1));
        table.push(("timeout".to_owned(), time(all)));
    }
    Ok(Value::Table(table))
}

/// An IP address, with or without a port.
fn server(line: &Line, report: &mut Report) -> Result<String, Reported> {
    let text = line.word(2);
    let (family, text) = text.split_once('@').unwrap_or(("", text));
    match family {
        "" | "udp" | "udp4" | "udp6" | "ipv4" | "ipv6" => {}
        "tcp" | "tcp4" | "tcp6" => {
            let why =
                "`nameserver` is asked over UDP first, and over TCP if the answer is too long";
            report.remark(&line.place, why);
        }
        _ => return Err(line.refuse(report, format!("has a wrong address {:?}", line.word(2)))),
    }
    let alone = text.trim_matches(['[', ']']).parse::<IpAddr>();
    let alone = alone.map(|it| it.to_string());
    let with_port = || text.parse::<SocketAddr>().map(|it| it.to_string());
    alone.or_else(|_| with_port()).map_err(|_| {
        let why = format!("takes the IP address of a DNS server, not {text:?}");
        line.refuse(report, why)
    })
}
