//! nginx's variables in Moorline's words.

use super::context::Context;
use crate::note::{Place, Reported};

/// nginx's name and ours.
pub(super) const VARIABLES: &[(&str, &str)] = &[
    ("remote_addr", "client.address"),
    ("binary_remote_addr", "client.binary"),
    ("remote_port", "client.port"),
    ("realip_remote_addr", "connection.address"),
    ("realip_remote_port", "connection.port"),
    ("proxy_protocol_addr", "proxy.address"),
    ("proxy_protocol_port", "proxy.port"),
    ("proxy_protocol_server_addr", "proxy.server.address"),
    ("proxy_protocol_server_port", "proxy.server.port"),
    ("server_addr", "server.address"),
    ("server_port", "server.port"),
    ("protocol", "protocol"),
    ("connection", "connection"),
    ("status", "status"),
    ("bytes_sent", "bytes.sent"),
    ("bytes_received", "bytes.received"),
    ("limit_conn_status", "limit.status"),
    ("session_time", "session_time"),
    ("upstream_addr", "upstream.address"),
    ("upstream_connect_time", "upstream.connect_time"),
    ("upstream_first_byte_time", "upstream.first_byte_time"),
    ("upstream_session_time", "upstream.session_time"),
    ("upstream_bytes_sent", "upstream.bytes_sent"),
    ("upstream_bytes_received", "upstream.bytes_received"),
    ("ssl_preread_server_name", "sni"),
    ("ssl_preread_alpn_protocols", "alpn"),
    ("ssl_preread_protocol", "hello.version"),
    ("ssl_ciphers", "tls.ciphers"),
    ("ssl_curves", "tls.curves"),
    ("ssl_protocol", "tls.version"),
    ("ssl_cipher", "tls.cipher"),
    ("ssl_curve", "tls.curve"),
    ("ssl_session_reused", "tls.resumed"),
    ("ssl_server_name", "tls.server_name"),
    ("ssl_alpn_protocol", "tls.alpn"),
    ("ssl_client_s_dn", "tls.client.subject"),
    ("ssl_client_i_dn", "tls.client.issuer"),
    ("ssl_client_serial", "tls.client.serial"),
    ("ssl_client_fingerprint", "tls.client.fingerprint"),
    ("ssl_client_verify", "tls.client.verify"),
    ("ssl_client_v_start", "tls.client.start"),
    ("ssl_client_v_end", "tls.client.end"),
    ("ssl_client_v_remain", "tls.client.days"),
    ("ssl_client_raw_cert", "tls.client.certificate"),
    ("ssl_client_cert", "tls.client.certificate_tabbed"),
    ("ssl_client_escaped_cert", "tls.client.certificate_escaped"),
    ("time_iso8601", "time.iso"),
    ("time_local", "time.local"),
    ("msec", "time.msec"),
    ("pid", "pid"),
    ("hostname", "hostname"),
    ("nginx_version", "engine.version"),
];

/// A value with variables, as Moorline writes it.
pub(super) fn template(
    text: &str,
    place: &Place,
    cx: &mut Context<'_>,
) -> Result<String, Reported> {
    template_with(text, place, cx, &|_| None)
}

/// [`template`], where some names mean captures of a regular expression.
pub(super) fn template_with(
    text: &str,
    place: &Place,
    cx: &mut Context<'_>,
    capture: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Reported> {
    let mut written = String::new();
    let mut rest = text;
    let mut result = Ok(());
    while let Some((before, after)) = rest.split_once('$') {
        written.push_str(before);
        let (name, after) = name(after);
        rest = after;
        match name.and_then(|name| capture(name).or_else(|| variable(name, cx))) {
            Some(variable) if is_never_matched(&variable, cx) => {
                let text = format!(
                    "${} is always empty, as with nginx: no connection is known by a pattern that has this group",
                    name.unwrap_or_default()
                );
                cx.report.remark(place, text);
            }
            Some(variable) => {
                written.push_str("${");
                written.push_str(&variable);
                written.push('}');
            }
            None => {
                let message = match name {
                    Some(name) => format!("the variable ${name} is not there in Moorline"),
                    None => format!("{text:?} has a `$` that begins no variable"),
                };
                result = Err(cx.report.error(place, message));
            }
        }
    }
    written.push_str(rest);
    result.map(|()| written)
}

/// Whether it is a group that no pattern in Moorline's file has.
fn is_never_matched(variable: &str, cx: &Context<'_>) -> bool {
    let group = variable.strip_prefix("match.");
    group.is_some_and(|group| !cx.matched.contains(group))
}

/// A text without variables.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Whether a value has variables.
pub(super) fn has_variables(text: &str) -> bool {
    text.contains('$')
}

/// The name at the start of a text behind a `$`, and the rest.
fn name(text: &str) -> (Option<&str>, &str) {
    if let Some(braced) = text.strip_prefix('{') {
        return match braced.split_once('}') {
            Some((name, rest)) if is_name(name) => (Some(name), rest),
            _ => (None, text),
        };
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    // A capture by number has one digit.
    match name.as_bytes().first() {
        Some(digit) if digit.is_ascii_digit() => (Some(&text[..1]), &text[1..]),
        Some(_) => (Some(name), rest),
        None => (None, text),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What Moorline calls it.
fn variable(name: &str, cx: &Context<'_>) -> Option<String> {
    if name
        .parse()
        .is_ok_and(|group: usize| (1..=cx.groups).contains(&group))
    {
        return Some(format!("match.{name}"));
    }
    if let Some(made) = cx.made.get(name) {
        return Some(made.written.clone());
    }
    if let Some(field) = name.strip_prefix("proxy_protocol_tlv_") {
        return proxy_field(field);
    }
    let known = VARIABLES.iter().find(|(known, _)| *known == name);
    known.map(|(_, ours)| (*ours).to_owned())
}

/// A field of the PROXY header, by its name or its number.
fn proxy_field(name: &str) -> Option<String> {
    const NAMES: &[&str] = &["alpn", "authority", "unique_id", "ssl", "netns"];
    const NAMES_OF_TLS: &[&str] = &["verify", "version", "cn", "cipher", "sig_alg", "key_alg"];
    let is_number = |name: &str| {
        let digits = name.strip_prefix("0x").unwrap_or_default();
        matches!(digits.len(), 1..=2) && digits.bytes().all(|it| it.is_ascii_hexdigit())
    };
    if let Some(of_tls) = name.strip_prefix("ssl_") {
        let is_known = NAMES_OF_TLS.contains(&of_tls) || is_number(of_tls);
        return is_known.then(|| format!("proxy.tlv.ssl.{of_tls}"));
    }
    let is_known = NAMES.contains(&name) || is_number(name);
    is_known.then(|| format!("proxy.tlv.{name}"))
}
