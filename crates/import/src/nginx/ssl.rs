//! TLS of a server's listeners.

use super::conf_command::{Commands, commands};
use super::context::Context;
use super::listen::HANDSHAKE;
use super::pem_file::{chosen, file};
use super::scope::Scope;
use super::tree::Directive;
use super::variables::has_variables;
use crate::note::Reported;
use crate::toml::{Entry, Value};
use crate::unit;

/// nginx's own default, in milliseconds.
const HANDSHAKE_TIMEOUT: u64 = 60_000;

/// The keys that say which certificates a listener shows.
const SHOWN: &[&str] = &[
    "reject",
    "certificate",
    "key",
    "password_file",
    "certificates",
];
/// The keys of clients' certificates.
const CLIENTS: &[&str] = &[
    "client_certificates",
    "client_issuers",
    "client_crl",
    "client_verify_depth",
];

/// The keys of listeners with TLS. Without certificates of its own a server has those of the one that has its address, unless it
/// is that one (`must_show`): see [`behind`].
pub(super) fn tls(
    server: &Directive,
    scope: Scope<'_>,
    must_show: bool,
    cx: &mut Context<'_>,
) -> Result<Vec<Entry>, Reported> {
    let rejects = scope.flag("ssl_reject_handshake", cx).filter(|it| it.0);
    let mut table = Vec::new();
    let commands = commands("ssl_conf_command", scope, cx)?;
    let shows_none = scope.all("ssl_certificate").is_empty() && rejects.is_none();
    if shows_none && !must_show && commands.certificate.is_none() && commands.key.is_none() {
        return lent(server, scope, cx).map(|entry| vec![entry]);
    }
    let certificates = certificates((server, rejects), scope, &commands, cx);
    let clients = clients(scope, cx);
    let versions = oldest(scope, &commands, cx);
    let alpn = scope.one("ssl_alpn", cx);
    let time = scope.time("ssl_handshake_timeout", cx);
    let (certificates, place) = certificates?;
    table.extend(certificates);
    table.extend(clients?);
    table.extend(versions?);
    table.extend(reuse(scope, &commands, cx));
    if let Some(alpn) = alpn {
        let names = alpn.arguments.iter().map(Value::text);
        table.push(("alpn".to_owned(), Value::List(names.collect())));
    }
    let place = Entry::new("tls", Value::Table(table), &place.place);
    let timeout = match time {
        Some((time, directive)) => {
            let time = Value::text(unit::duration(time.max(1)));
            Entry::new(HANDSHAKE, time, &directive.place)
        }
        None => Entry::default(HANDSHAKE, Value::text(unit::duration(HANDSHAKE_TIMEOUT))),
    };
    Ok(vec![place, timeout])
}

type Keys = Vec<(String, Value)>;

/// What a server without certificates says of TLS: nginx takes all but the certificates of clients from the default server.
fn lent(server: &Directive, scope: Scope<'_>, cx: &mut Context<'_>) -> Result<Entry, Reported> {
    const UNUSED: &[&str] = &[
        "ssl_alpn",
        "ssl_conf_command",
        "ssl_protocols",
        "ssl_session_cache",
        "ssl_session_tickets",
    ];
    for directive in scope
        .inner
        .iter()
        .filter(|it| UNUSED.contains(&&it.name[..]))
    {
        let text = format!(
            "`{}` has no effect here, as with nginx: this server has no `ssl_certificate`, so that of the default server counts",
            directive.name
        );
        cx.report.remark(&directive.place, text);
    }
    let place = scope.one("ssl_verify_client", cx).unwrap_or(server);
    let keys = match client_mode(scope, cx)? {
        Some((mode, _)) => written_clients(mode, scope, cx)?,
        None => Vec::new(),
    };
    Ok(Entry::new("tls", Value::Table(keys), &place.place))
}

/// The TLS of a server behind a listener that has this one, if it is another. One without certificates shows those of the listener.
pub(super) fn behind(own: &Entry, host: &Entry, cx: &mut Context<'_>) -> Option<Entry> {
    let (Value::Table(own_keys), Value::Table(host_keys)) = (&own.value, &host.value) else {
        return None;
    };
    if has_one(own_keys, SHOWN) {
        return (!own.same(host)).then(|| own.clone());
    }
    let place = own.from.as_ref()?;
    if has_one(host_keys, &["reject"]) {
        let why = "this server has TLS and no `ssl_certificate`, and the default server has none";
        cx.report.error(place, why);
        return None;
    }
    let all = |keys: &Keys, names: &[&str]| -> Keys {
        let named = keys.iter().filter(|(key, _)| names.contains(&&key[..]));
        named.cloned().collect()
    };
    let mut keys = all(host_keys, SHOWN);
    let of_clients = CLIENTS.iter().filter_map(|name| {
        let own = own_keys.iter().find(|(key, _)| key == name);
        own.or_else(|| host_keys.iter().find(|(key, _)| key == name))
    });
    if has_one(own_keys, &CLIENTS[..1]) {
        keys.extend(of_clients.cloned());
        if !has_one(&keys, &["client_issuers"]) {
            let why = "`ssl_verify_client` needs `ssl_client_certificate`";
            cx.report.error(place, why);
            return None;
        }
        if !has_one(&keys, &["client_verify_depth"]) {
            keys.push(("client_verify_depth".to_owned(), verify_depth(None)));
        }
        if all(&keys, &CLIENTS[1..]) != all(host_keys, &CLIENTS[1..]) {
            let text = "this server's own issuers, revocation lists and depth count for its clients: as it has no `ssl_certificate`, nginx takes \
                        those of the default server, and asks for no certificate if that one asks for none";
            cx.report.remark(place, text);
        }
    }
    let is_other =
        |(key, _): &&(String, Value)| !SHOWN.contains(&&key[..]) && !CLIENTS.contains(&&key[..]);
    keys.extend(host_keys.iter().filter(is_other).cloned());
    let entry = Entry::new("tls", Value::Table(keys), place);
    (!entry.same(host)).then_some(entry)
}

fn has_one(keys: &Keys, names: &[&str]) -> bool {
    keys.iter().any(|(key, _)| names.contains(&&key[..]))
}

fn certificates<'a>(
    (server, rejects): (&'a Directive, Option<(bool, &'a Directive)>),
    scope: Scope<'a>,
    commands: &Commands,
    cx: &mut Context<'_>,
) -> Result<(Keys, &'a Directive), Reported> {
    if let Some((_, directive)) = rejects {
        // Then none is shown.
        return Ok((vec![("reject".to_owned(), Value::Flag(true))], directive));
    }
    let certificates = scope.all("ssl_certificate");
    let keys = scope.all("ssl_certificate_key");
    let Some(first) = certificates.first().copied() else {
        return Err(server.refuse(&mut cx.report, "has TLS and no `ssl_certificate`"));
    };
    if certificates.len() != keys.len() {
        let why = "has no `ssl_certificate_key` of its own, or one too many";
        return Err(first.refuse(&mut cx.report, why));
    }
    let passwords = scope.one("ssl_password_file", cx);
    if certificates.iter().chain(&keys).any(|it| is_chosen(it)) {
        let pair = (&certificates[..], &keys[..]);
        return chosen_certificate(pair, passwords, commands, cx).map(|keys| (keys, first));
    }
    let mut pairs = Vec::new();
    for (certificate, key) in certificates.iter().zip(keys) {
        let mut pair = match (&commands.certificate, &commands.key) {
            (Some(certificate), Some(key)) => vec![
                ("certificate".to_owned(), certificate.clone()),
                ("key".to_owned(), key.clone()),
            ],
            _ => vec![
                ("certificate".to_owned(), file(certificate, cx)?),
                ("key".to_owned(), file(key, cx)?),
            ],
        };
        if let Some(passwords) = passwords {
            pair.push(("password_file".to_owned(), file(passwords, cx)?));
        }
        pairs.push(pair);
    }
    if let (Some(_), None) | (None, Some(_)) = (&commands.certificate, &commands.key) {
        let why = "needs both `ssl_conf_command Certificate` and `PrivateKey` where one of them is written";
        return Err(first.refuse(&mut cx.report, why));
    }
    if commands.certificate.is_some() {
        // OpenSSL has them in place of the others.
        pairs.truncate(1);
    }
    let table = match pairs.len() {
        1 => pairs.remove(0),
        _ => {
            let pairs = pairs.into_iter().map(Value::Table);
            vec![("certificates".to_owned(), Value::List(pairs.collect()))]
        }
    };
    Ok((table, first))
}

/// Whether a path has variables.
fn is_chosen(directive: &Directive) -> bool {
    directive.arguments.iter().any(|it| has_variables(it))
}

/// A certificate whose path has variables.
fn chosen_certificate(
    (certificates, keys): (&[&Directive], &[&Directive]),
    passwords: Option<&Directive>,
    commands: &Commands,
    cx: &mut Context<'_>,
) -> Result<Keys, Reported> {
    let ([certificate], [key]) = (certificates, keys) else {
        let why = "has variables beside other certificates: write one with variables alone";
        return Err(certificates[0].refuse(&mut cx.report, why));
    };
    if let Some(passwords) = passwords {
        let why =
            "cannot be expressed where the path of a key has variables: such keys have no password";
        return Err(passwords.refuse(&mut cx.report, why));
    }
    if commands.certificate.is_some() || commands.key.is_some() {
        let why = "has variables beside `ssl_conf_command Certificate`, which counts alone";
        return Err(certificate.refuse(&mut cx.report, why));
    }
    for directive in [certificate, key] {
        let text = directive.one(&mut cx.report)?;
        if ["data:", "engine:", "store:"]
            .iter()
            .any(|it| text.starts_with(it))
        {
            let why = "names no file: keys come from files";
            return Err(directive.refuse(&mut cx.report, why));
        }
    }
    Ok(vec![
        ("certificate".to_owned(), chosen(certificate, cx)?),
        ("key".to_owned(), chosen(key, cx)?),
    ])
}

/// Certificates of clients.
fn clients(scope: Scope<'_>, cx: &mut Context<'_>) -> Result<Keys, Reported> {
    let Some((mode, verify)) = client_mode(scope, cx)? else {
        return Ok(Vec::new());
    };
    let mut keys = written_clients(mode, scope, cx)?;
    if !has_one(&keys, &["client_issuers"]) {
        return Err(verify.refuse(&mut cx.report, "needs `ssl_client_certificate`"));
    }
    if !has_one(&keys, &["client_verify_depth"]) {
        keys.push(("client_verify_depth".to_owned(), verify_depth(None)));
    }
    Ok(keys)
}

/// How clients are asked for certificates, if they are.
fn client_mode<'a>(
    scope: Scope<'a>,
    cx: &mut Context<'_>,
) -> Result<Option<(&'static str, &'a Directive)>, Reported> {
    let Some(verify) = scope.one("ssl_verify_client", cx) else {
        return Ok(None);
    };
    let mode = match verify.one(&mut cx.report)? {
        "off" => return Ok(None),
        "on" => "required",
        "optional" => "optional",
        "optional_no_ca" => "optional-no-ca",
        _ => {
            let why = "is `on`, `off`, `optional` or `optional_no_ca`";
            return Err(verify.refuse(&mut cx.report, why));
        }
    };
    Ok(Some((mode, verify)))
}

/// What is written of clients that are asked in this way.
fn written_clients(mode: &str, scope: Scope<'_>, cx: &mut Context<'_>) -> Result<Keys, Reported> {
    let issuers = ["ssl_client_certificate", "ssl_trusted_certificate"];
    let issuers: Vec<_> = issuers.iter().filter_map(|it| scope.one(it, cx)).collect();
    if issuers.len() > 1 {
        let text =
            "only `ssl_client_certificate` counts: clients are told all issuers that are trusted";
        cx.report.remark(&issuers[1].place, text);
    }
    let mut keys = vec![("client_certificates".to_owned(), Value::text(mode))];
    if let Some(first) = issuers.first() {
        keys.push(("client_issuers".to_owned(), file(first, cx)?));
    }
    if let Some(crl) = scope.one("ssl_crl", cx) {
        keys.push(("client_crl".to_owned(), file(crl, cx)?));
    }
    if let Some(depth) = scope.number("ssl_verify_depth", cx) {
        let depth = verify_depth(Some(depth));
        keys.push(("client_verify_depth".to_owned(), depth));
    }
    Ok(keys)
}

/// nginx's own default is 1.
pub(super) fn verify_depth(written: Option<(u64, &Directive)>) -> Value {
    const MOST: u64 = 100;
    let depth = written.map_or(1, |(depth, _)| depth);
    Value::Number(depth.min(MOST))
}

/// Whether sessions are resumed: by tickets, which nginx has unless they are off, or by a cache, which it has if it is named.
fn reuse(scope: Scope<'_>, commands: &Commands, cx: &mut Context<'_>) -> Keys {
    let has_tickets = !matches!(scope.flag("ssl_session_tickets", cx), Some((false, _)));
    let has_tickets = commands.tickets.unwrap_or(has_tickets);
    let cache = scope.one("ssl_session_cache", cx);
    let has_cache = cache.is_some_and(|it| {
        let first = it.arguments.first().map_or("off", String::as_str);
        !matches!(first, "off" | "none")
    });
    if let (false, true, Some(cache)) = (has_tickets, has_cache, cache) {
        let text = "sessions are resumed by tickets, too: Moorline has no cache without them, so leave it out if tickets must not be";
        cx.report.remark(&cache.place, text);
    }
    match has_tickets || has_cache {
        true => Vec::new(),
        false => vec![("reuse".to_owned(), Value::Flag(false))],
    }
}

/// Whether TLS 1.2 and TLS 1.3 are among the versions of a directive; `None`: it is not written.
pub(super) fn versions(
    name: &str,
    scope: Scope<'_>,
    cx: &mut Context<'_>,
) -> Result<Option<(bool, bool)>, Reported> {
    let Some(directive) = scope.one(name, cx) else {
        return Ok(None);
    };
    let has = |version: &str| directive.arguments.iter().any(|it| it == version);
    let known = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
    let mut unknown = directive
        .arguments
        .iter()
        .filter(|it| !known.contains(&&it[..]));
    if let Some(unknown) = unknown.next() {
        let why = format!("has an unknown version `{unknown}`");
        return Err(directive.refuse(&mut cx.report, why));
    }
    if known[..4].iter().any(|old| has(old)) {
        let text = format!("`{name}`: versions before TLSv1.2 are left out, as they are broken");
        cx.report.remark(&directive.place, text);
    }
    match (has("TLSv1.2"), has("TLSv1.3")) {
        (false, false) => {
            let why = "has neither TLSv1.2 nor TLSv1.3: Moorline has no other versions";
            Err(directive.refuse(&mut cx.report, why))
        }
        found => Ok(Some(found)),
    }
}

/// The oldest version of a listener.
fn oldest(scope: Scope<'_>, commands: &Commands, cx: &mut Context<'_>) -> Result<Keys, Reported> {
    let written = versions("ssl_protocols", scope, cx)?;
    match commands.bounded(written, "ssl_conf_command", scope, cx)? {
        None | Some((true, true)) => Ok(Vec::new()),
        Some((false, _)) => Ok(vec![("min_version".to_owned(), Value::text("1.3"))]),
        Some((true, false)) => {
            let old = Value::List(vec![Value::text("1.2")]);
            Ok(vec![("versions".to_owned(), old)])
        }
    }
}
