//! How the servers of a backend are checked.

use super::lines::Line;
use super::proxy::Proxy;
use super::server::BackendServer;
use crate::note::{Report, Reported};
use crate::toml::Value;
use crate::unit;

/// HAProxy's own default, in milliseconds.
const INTERVAL: u64 = 2000;
const REDIS_PING: &str = "*1\r\n$4\r\nPING\r\n";

/// The table `check`.
pub(super) fn check(
    proxy: Proxy<'_>,
    server: &BackendServer,
    report: &mut Report,
) -> Result<Value, Reported> {
    let exchange = exchange(proxy, report)?;
    let times = &server.times;
    let interval = times.inter.unwrap_or(INTERVAL).max(1);
    let timeout = proxy.timeout("check", report).map(|(time, _)| time);
    // Without a time of its own a check may take as long as the next one lets it.
    let timeout = timeout.unwrap_or(interval).clamp(1, interval);
    let kind = match (exchange.is_empty(), server.tls.ssl) {
        (false, _) => "expect",
        (true, true) => "tls",
        (true, false) => "connect",
    };
    let mut table = vec![("kind".to_owned(), Value::text(kind))];
    table.extend(exchange);
    table.push(("interval".to_owned(), Value::text(unit::duration(interval))));
    table.push(("timeout".to_owned(), Value::text(unit::duration(timeout))));
    let counts = [("rise", times.rise), ("fall", times.fall)];
    let counts = counts
        .into_iter()
        .filter_map(|(key, count)| Some((key.to_owned(), Value::Number(count?.max(1)))));
    table.extend(counts);
    Ok(Value::Table(table))
}

type ExchangeKeys = Vec<(String, Value)>;

/// What is sent and expected; nothing if a check only connects.
fn exchange(proxy: Proxy<'_>, report: &mut Report) -> Result<ExchangeKeys, Reported> {
    let is_redis = proxy.one(&["option", "redis-check"]).is_some();
    if is_redis {
        return Ok(keys(REDIS_PING.as_bytes(), b"+PONG"));
    }
    if proxy.one(&["option", "tcp-check"]).is_none() {
        return Ok(Vec::new());
    }
    let (mut sent, mut expected) = (Vec::new(), None);
    for line in proxy.all(&["tcp-check"]) {
        let bytes = match (line.word(1), line.word(2)) {
            ("connect", "") | ("comment", _) => continue,
            ("send", text) if !text.is_empty() => text.as_bytes().to_vec(),
            ("send-binary", digits) => binary(line, digits, report)?,
            ("expect", "string") => line.word(3).as_bytes().to_vec(),
            ("expect", "binary") => binary(line, line.word(3), report)?,
            ("expect", _) => {
                let why = "is by `string` or `binary` only";
                return Err(line.refuse(report, why));
            }
            _ => return Err(line.refuse(report, "cannot be expressed")),
        };
        match (line.word(1), &expected) {
            ("expect", None) if !bytes.is_empty() => expected = Some(bytes),
            ("expect", None) => return Err(line.refuse(report, "expects nothing")),
            (_, None) => sent.extend(bytes),
            (_, Some(_)) => {
                let why = "follows an `expect`: a check sends once, and waits for one answer";
                return Err(line.refuse(report, why));
            }
        }
    }
    match (expected, sent.is_empty()) {
        (Some(expected), _) => Ok(keys(&sent, &expected)),
        (None, true) => Ok(Vec::new()),
        (None, false) => {
            let message = "`tcp-check send` without `tcp-check expect` cannot be expressed";
            Err(report.error(&proxy.section.head.place, message))
        }
    }
}

fn keys(sent: &[u8], expected: &[u8]) -> ExchangeKeys {
    let mut keys = Vec::new();
    if !sent.is_empty() {
        keys.push(("send".to_owned(), bytes(sent)));
    }
    keys.push(("expect".to_owned(), bytes(expected)));
    keys
}

/// Text where it is some.
fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::text(text),
        Err(_) => Value::List(bytes.iter().map(|it| Value::Number((*it).into())).collect()),
    }
}

fn binary(line: &Line, digits: &str, report: &mut Report) -> Result<Vec<u8>, Reported> {
    let wrong = |report: &mut Report| line.refuse(report, "has no hexadecimal digits in pairs");
    if digits.is_empty() || !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return Err(wrong(report));
    }
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    let bytes: Result<Vec<_>, _> = pairs.map(|pair| u8::from_str_radix(pair, 16)).collect();
    bytes.map_err(|_| wrong(report))
}
