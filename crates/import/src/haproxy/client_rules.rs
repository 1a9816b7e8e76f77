//! `tcp-request connection`: which clients may connect.

use super::lines::Line;
use super::proxy::Proxy;
use crate::network::masked;
use crate::note::{Report, Reported};
use crate::toml::{Entry, Value};

/// The rules of a frontend, if it has some.
pub(super) fn access(proxy: Proxy<'_>, report: &mut Report) -> Result<Option<Entry>, Reported> {
    let mut rules = Vec::new();
    let mut result = Ok(());
    for line in proxy.own(&["tcp-request", "connection"]) {
        let key = match line.word(2) {
            "accept" => "allow",
            "reject" => "deny",
            _ => {
                result = Err(line.refuse(report, "is imported with `accept` and `reject` only"));
                continue;
            }
        };
        match clients(proxy, line, report) {
            Ok(clients) => rules.extend(clients.into_iter().map(|it| {
                let rule = Value::Table(vec![(key.to_owned(), Value::text(it))]);
                (rule, Some(line.place.clone()))
            })),
            Err(reported) => result = Err(reported),
        }
    }
    let is_first = |line: &&Line| line.words.iter().any(|word| word == "accept-proxy");
    if let (false, Some(line)) = (
        rules.is_empty(),
        proxy.own(&["bind"]).into_iter().find(is_first),
    ) {
        let why = "has `accept-proxy`: `tcp-request connection` looks at the proxy's address, and `access` at the client's";
        result = Err(line.refuse(report, why));
    }
    result.map(|()| (!rules.is_empty()).then(|| Entry::default("access", Value::Lines(rules))))
}

/// The clients of a line: of `{ src … }`, or of a named `acl`.
fn clients(proxy: Proxy<'_>, line: &Line, report: &mut Report) -> Result<Vec<String>, Reported> {
    let words: Vec<&str> = line.words[3..].iter().map(String::as_str).collect();
    match &words[..] {
        [] => Ok(vec!["all".to_owned()]),
        ["if", "{", "src", networks @ .., "}"] if !networks.contains(&"}") => {
            sources(line, networks, report)
        }
        ["if", name] if !name.starts_with('!') => {
            let rules = proxy.own(&["acl", name]);
            if rules.is_empty() {
                return Err(line.refuse(report, format!("names {name:?}, which is no `acl`")));
            }
            let mut found = Vec::new();
            for acl in rules {
                if acl.word(2) != "src" {
                    return Err(acl.refuse(report, "is imported with `src` only"));
                }
                let networks: Vec<&str> = acl.words[3..].iter().map(String::as_str).collect();
                found.extend(sources(acl, &networks, report)?);
            }
            Ok(found)
        }
        _ => Err(line.refuse(report, "is imported with one condition `if { src … }` only")),
    }
}

fn sources(line: &Line, networks: &[&str], report: &mut Report) -> Result<Vec<String>, Reported> {
    let mut found = Vec::new();
    for text in networks {
        let Some(network) = masked(text) else {
            let why = format!("has {text:?}, which is neither an IP address nor a network");
            return Err(line.refuse(report, why));
        };
        found.push(network);
    }
    match found.is_empty() {
        true => Err(line.refuse(report, "has `src` without an address")),
        false => Ok(found),
    }
}
