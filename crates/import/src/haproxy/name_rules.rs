//! `use_backend` by the name that a TLS client asks for.

use super::lines::Line;
use super::proxy::Proxy;
use super::value::time;
use crate::note::{Report, Reported};
use crate::toml::{Entry, Table, Value, key};
use crate::unit;

/// The map of a frontend: patterns in the order of its rules. `default`: where all else goes.
pub(super) fn map(
    proxy: Proxy<'_>,
    name: &str,
    default: Option<&str>,
    report: &mut Report,
) -> Result<Table, Reported> {
    let mut pairs: Vec<(Value, Option<_>)> = Vec::new();
    let mut keys = Vec::new();
    let rules = proxy.own(&["use_backend"]);
    for line in &rules {
        for pattern in condition(proxy, line, report)? {
            // The first rule counts.
            if !keys.contains(&pattern) {
                let pair = [Value::text(&*pattern), Value::text(line.word(1))];
                pairs.push((Value::List(pair.into()), Some(line.place.clone())));
                keys.push(pattern);
            }
        }
    }
    let head = &proxy.section.head;
    let mut table = Table::new(format!("[map.{}]", key(name)), Some(&head.place));
    table.push(Entry::default("from", Value::text("${sni}")));
    table.push(Entry::default(
        "default",
        Value::text(default.unwrap_or_default()),
    ));
    table.push(Entry::default("values", Value::Lines(pairs)));
    Ok(table)
}

/// How long a hello is waited for: `tcp-request inspect-delay`, and the rules of contents that say what is one.
pub(super) fn preread(proxy: Proxy<'_>, report: &mut Report) -> Result<Option<Entry>, Reported> {
    let (mut accepts, mut result) = (false, Ok(()));
    for line in proxy.own(&["tcp-request", "content"]) {
        let words: Vec<&str> = line.words[2..].iter().map(String::as_str).collect();
        let has_default = proxy.one(&["default_backend"]).is_some()
            || proxy.own(&["use_backend"]).is_empty()
            || !proxy.own(&["server"]).is_empty();
        match &words[..] {
            [
                "accept",
                "if",
                "{",
                "req_ssl_hello_type" | "req.ssl_hello_type",
                "1",
                "}",
            ] => accepts = true,
            ["reject"] if accepts && !has_default => {}
            _ => {
                let why = "is imported with `accept if { req.ssl_hello_type 1 }` only, and `reject` without a default";
                result = Err(line.refuse(report, why));
            }
        }
    }
    result?;
    let Some(line) = proxy.own(&["tcp-request", "inspect-delay"]).pop() else {
        return Ok(None);
    };
    let Some(time) = time(line.word(2)).filter(|it| *it > 0) else {
        return Err(line.refuse(report, "takes a time, such as 5s"));
    };
    let mut binds = proxy.own(&["bind"]).into_iter();
    let has_tls = binds.any(|bind| bind.words.iter().any(|word| word == "ssl"));
    if has_tls || proxy.own(&["use_backend"]).is_empty() {
        let text = "`tcp-request inspect-delay` has no effect: no rule asks for a hello";
        report.remark(&line.place, text);
        return Ok(None);
    }
    let time = Value::text(unit::duration(time));
    let table = Value::Table(vec![("timeout".to_owned(), time)]);
    Ok(Some(Entry::new("preread", table, &line.place)))
}

/// The patterns of `if A || B`.
fn condition(proxy: Proxy<'_>, line: &Line, report: &mut Report) -> Result<Vec<String>, Reported> {
    let words = line.words.get(3..).unwrap_or_default();
    if line.word(2) != "if" || words.is_empty() {
        return Err(line.refuse(report, "is imported with `if` only"));
    }
    let mut found = Vec::new();
    for term in words.split(|word| word == "||" || word == "or") {
        match term {
            [open, test @ .., close]
                if open == "{" && close == "}" && !test.iter().any(|it| it == "}") =>
            {
                found.extend(criterion(proxy, line, test, report)?);
            }
            [name] if !name.starts_with('!') => {
                let acls = proxy.own(&["acl", name]);
                if acls.is_empty() {
                    return Err(line.refuse(report, format!("names {name:?}, which is no `acl`")));
                }
                for acl in acls {
                    found.extend(criterion(proxy, acl, &acl.words[2..], report)?);
                }
            }
            _ => return Err(line.refuse(report, "is imported with conditions joined by `||` only")),
        }
    }
    Ok(found)
}

/// The patterns of `req.ssl_sni -i a.example b.example`.
fn criterion(
    proxy: Proxy<'_>,
    line: &Line,
    test: &[String],
    report: &mut Report,
) -> Result<Vec<String>, Reported> {
    let mut words = test.iter().map(String::as_str);
    let is_own = match words.next().unwrap_or_default() {
        "req.ssl_sni" | "req_ssl_sni" => false,
        "ssl_fc_sni" => true,
        other => {
            let why =
                format!("is imported with `req.ssl_sni` and `ssl_fc_sni` only, not `{other}`");
            return Err(line.refuse(report, why));
        }
    };
    let has_tls = |bind: &&Line| bind.words.iter().any(|word| word == "ssl");
    if proxy
        .own(&["bind"])
        .iter()
        .any(|bind| has_tls(bind) != is_own)
    {
        let why = "asks for `ssl_fc_sni` without `ssl` of `bind`, or for `req.ssl_sni` with it";
        return Err(line.refuse(report, why));
    }
    let (mut way, mut case, mut found) = ("str", "~", Vec::new());
    while let Some(word) = words.next() {
        match word {
            "-i" => case = "~*",
            "-m" => way = words.next().unwrap_or_default(),
            flag if flag.starts_with('-') => {
                return Err(line.refuse(report, format!("has `{flag}`, which is not imported")));
            }
            text => {
                let plain = regex::escape(text);
                found.push(match way {
                    "str" => format!("{case}^{plain}$"),
                    "end" => format!("{case}{plain}$"),
                    "beg" => format!("{case}^{plain}"),
                    "reg" if regex::bytes::Regex::new(text).is_ok() => format!("{case}{text}"),
                    _ => return Err(line.refuse(report, format!("has a wrong `-m {way}`"))),
                });
            }
        }
    }
    if found.is_empty() {
        return Err(line.refuse(report, "compares a name with nothing"));
    }
    Ok(found)
}
