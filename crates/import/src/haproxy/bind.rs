//! `bind`: where a frontend listens.

use super::bases::Bases;
use super::lines::Line;
use super::value::{Where, address, time};
use crate::files::Files;
use crate::note::{Report, Reported};
use crate::number::{self, MOST_PORTS, number};
use crate::toml::{Entry, Value};
use crate::unit;
use std::path::Path;

/// Options of TLS.
const TLS: &[&str] = &[
    "ssl",
    "crt",
    "alpn",
    "ca-file",
    "crl-file",
    "verify",
    "ssl-min-ver",
];
/// Options without an effect.
const FLAGS: &[&str] = &["defer-accept", "tfo", "expose-fd", "no-ca-names"];
/// The same, with a value behind them.
const WITH_VALUES: &[&str] = &[
    "backlog",
    "id",
    "process",
    "thread",
    "shards",
    "ciphers",
    "ciphersuites",
    "curves",
    "ecdhe",
    "mss",
    "nice",
    "level",
    "severity-output",
    "tls-ticket-keys",
    "client-sigalgs",
    "sigalgs",
];

/// Some addresses, and the keys of their listeners.
#[derive(Debug)]
pub(super) struct Bind {
    pub(super) addresses: Vec<String>,
    pub(super) entries: Vec<Entry>,
}

/// The options of a line that make up `tls`.
#[derive(Default)]
struct Tls {
    ssl: bool,
    certificates: Vec<String>,
    alpn: Vec<String>,
    verify: Option<&'static str>,
    issuers: Option<String>,
    revoked: Option<String>,
    min_version: Option<&'static str>,
}

/// Reads a line.
pub(super) fn bind(
    line: &Line,
    bases: &Bases,
    files: &mut dyn Files,
    report: &mut Report,
) -> Result<Bind, Reported> {
    if line.words.len() < 2 {
        return Err(line.refuse(report, "has no address"));
    }
    let addresses = addresses(line, report);
    let (mut tls, mut entries) = (Tls::default(), Vec::new());
    let options = options(line, bases, &mut tls, &mut entries, report);
    let (mut addresses, options) = (addresses?, options?);
    if options.both_families {
        let of_ipv4 = addresses.iter().filter_map(|address| {
            let port = address.strip_prefix("tcp://[::]")?;
            Some(format!("tcp://0.0.0.0{port}"))
        });
        addresses.extend(of_ipv4.collect::<Vec<_>>());
    }
    if tls.ssl {
        let table = table(line, tls, files, report)?;
        entries.push(Entry::new("tls", table, &line.place));
    }
    Ok(Bind { addresses, entries })
}

/// Each connection begins with the header of the PROXY protocol, which is believed.
pub(super) fn proxied(line: &Line) -> [Entry; 2] {
    let any = Value::text("any");
    let all = ["0.0.0.0/0", "::/0", "unix"].map(Value::text);
    [
        Entry::new("proxy_protocol", any, &line.place),
        Entry::new("trusted_proxies", Value::List(all.into()), &line.place),
    ]
}

fn addresses(line: &Line, report: &mut Report) -> Result<Vec<String>, Reported> {
    let mut found = Vec::new();
    for text in line.word(1).split(',') {
        let parsed = address(text).map_err(|problem| report.error(&line.place, problem))?;
        let (host, ports) = match parsed {
            Where::Path(path) => {
                found.push(format!("unix://{path}"));
                continue;
            }
            Where::Host(host, Some(ports)) => (host, ports),
            Where::Host(_, None) => {
                return Err(line.refuse(report, format!("has no port in {text:?}")));
            }
        };
        match number::ports(&ports).filter(|it| (1..=MOST_PORTS).contains(&it.len())) {
            Some(ports) => found.extend(ports.map(|port| format!("tcp://{host}:{port}"))),
            None => return Err(line.refuse(report, format!("has a wrong port in {text:?}"))),
        }
    }
    Ok(found)
}

struct BindOptions {
    both_families: bool,
}

fn options(
    line: &Line,
    bases: &Bases,
    tls: &mut Tls,
    entries: &mut Vec<Entry>,
    report: &mut Report,
) -> Result<BindOptions, Reported> {
    let mut words = line.words[2..].iter().map(String::as_str);
    let mut options = BindOptions {
        both_families: false,
    };
    let mut result = Ok(());
    while let Some(word) = words.next() {
        match word {
            word if TLS.contains(&word) => {
                let read = tls_option(line, word, &mut words, tls, bases, report);
                result = result.and(read);
            }
            "accept-proxy" => entries.extend(proxied(line)),
            "maxconn" => match words.next().and_then(number) {
                Some(most) if most > 0 => {
                    let most = Value::Number(most);
                    entries.push(Entry::new("max_sessions", most, &line.place));
                }
                _ => result = Err(line.refuse(report, "has a wrong `maxconn`")),
            },
            "tcp-ut" => match words.next().and_then(time) {
                Some(time) if time > 0 => {
                    let time = Value::text(unit::duration(time));
                    entries.push(Entry::new("tcp_user_timeout", time, &line.place));
                }
                _ => result = Err(line.refuse(report, "has a wrong `tcp-ut`")),
            },
            "v4v6" => options.both_families = true,
            word if FLAGS.contains(&word) => {
                let text = format!("`{word}` of `bind` has no effect");
                report.remark(&line.place, text);
            }
            word if WITH_VALUES.contains(&word) => {
                let value = words.next().unwrap_or_default();
                let text = format!("`{word} {value}` of `bind` has no effect");
                report.remark(&line.place, text);
            }
            "mode" | "uid" | "user" | "gid" | "group" => {
                words.next();
                let why = format!(
                    "has `{word}`: a socket of Moorline has mode 0666, so protect its folder and leave this out"
                );
                result = Err(line.refuse(report, why));
            }
            "name" => drop(words.next()),
            "v6only" | "no-sslv3" | "no-tlsv10" | "no-tlsv11" | "prefer-client-ciphers" => {}
            other => {
                let why = format!("has an option that is not imported: `{other}`");
                result = Err(line.refuse(report, why));
                // It is not known whether a value stands behind it.
                break;
            }
        }
    }
    result.map(|()| options)
}

/// Reads an option of TLS.
fn tls_option<'a>(
    line: &Line,
    word: &str,
    words: &mut impl Iterator<Item = &'a str>,
    tls: &mut Tls,
    bases: &Bases,
    report: &mut Report,
) -> Result<(), Reported> {
    match word {
        "crt" => tls
            .certificates
            .extend(words.next().map(|it| bases.certificate(it))),
        "alpn" => {
            let names = words.next().unwrap_or_default().split(',');
            tls.alpn = names.map(str::to_owned).collect();
        }
        "ca-file" => tls.issuers = words.next().map(|it| bases.issuers(it)),
        "crl-file" => tls.revoked = words.next().map(|it| bases.issuers(it)),
        "verify" => match words.next() {
            Some("none") => tls.verify = None,
            Some("optional") => tls.verify = Some("optional"),
            Some("required") => tls.verify = Some("required"),
            _ => return Err(line.refuse(report, "has a wrong `verify`")),
        },
        "ssl-min-ver" => match words.next() {
            Some("TLSv1.3") => tls.min_version = Some("1.3"),
            Some("TLSv1.2") => {}
            _ => {
                let text = "`ssl-min-ver`: the oldest version that Moorline has is TLSv1.2";
                report.remark(&line.place, text);
            }
        },
        _ => tls.ssl = true,
    }
    Ok(())
}

fn table(
    line: &Line,
    tls: Tls,
    files: &mut dyn Files,
    report: &mut Report,
) -> Result<Value, Reported> {
    let mut pairs = Vec::new();
    for certificate in &tls.certificates {
        for certificate in members(line, certificate, files, report)? {
            // The key stands in the same file, or in one beside it.
            let beside = format!("{certificate}.key");
            let has_own = files
                .matching(Path::new(&beside))
                .is_ok_and(|it| !it.is_empty());
            let key = if has_own { beside } else { certificate.clone() };
            pairs.push(vec![
                ("certificate".to_owned(), Value::text(certificate)),
                ("key".to_owned(), Value::text(key)),
            ]);
        }
    }
    let mut table = match pairs.len() {
        0 => return Err(line.refuse(report, "has `ssl` and no certificate: write `crt`")),
        1 => pairs.remove(0),
        _ => {
            let pairs = pairs.into_iter().map(Value::Table);
            vec![("certificates".to_owned(), Value::List(pairs.collect()))]
        }
    };
    if let Some(verify) = tls.verify {
        let Some(issuers) = tls.issuers else {
            return Err(line.refuse(report, "has `verify` without `ca-file`"));
        };
        table.push(("client_certificates".to_owned(), Value::text(verify)));
        table.push(("client_issuers".to_owned(), Value::text(issuers)));
        if let Some(revoked) = tls.revoked {
            table.push(("client_crl".to_owned(), Value::text(revoked)));
        }
    }
    if let Some(version) = tls.min_version {
        table.push(("min_version".to_owned(), Value::text(version)));
    }
    if !tls.alpn.is_empty() {
        let names = tls.alpn.iter().map(Value::text);
        table.push(("alpn".to_owned(), Value::List(names.collect())));
    }
    Ok(Value::Table(table))
}

/// The file, or those of a folder without the keys beside others.
fn members(
    line: &Line,
    path: &str,
    files: &mut dyn Files,
    report: &mut Report,
) -> Result<Vec<String>, Reported> {
    let within = files
        .matching(&Path::new(path).join("*"))
        .map_err(|error| report.error(&line.place, format!("`{path}` cannot be read: {error}")))?;
    if within.is_empty() {
        return Ok(vec![path.to_owned()]);
    }
    let names = within.iter().map(|it| it.to_string_lossy().into_owned());
    let is_certificate = |name: &String| {
        let other = [".key", ".ocsp", ".issuer", ".sctl"];
        !other.iter().any(|ending| name.ends_with(ending))
    };
    Ok(names.filter(is_certificate).collect())
}
