//! TLS of a server towards its peers.

use std::path::Path;

use super::context::Context;
use super::scope::Scope;
use super::ssl::{file, verify_depth, versions};
use super::tree::Directive;
use super::variables::{has_variables, literal, template};
use crate::note::Reported;
use crate::toml::{Entry, Value};

/// The key `tls` of the upstream, if the server speaks TLS with its peers. `host`: what `proxy_pass` names.
pub(super) fn tls(
    scope: Scope<'_>,
    host: &str,
    cx: &mut Context<'_>,
) -> Result<Option<Entry>, Reported> {
    let Some((true, directive)) = scope.flag("proxy_ssl", cx) else {
        return Ok(None);
    };
    let mut table = Vec::new();
    let mut push = |key: &str, value| table.push((key.to_owned(), value));
    let verifies = matches!(scope.flag("proxy_ssl_verify", cx), Some((true, _)));
    let sends_name = matches!(scope.flag("proxy_ssl_server_name", cx), Some((true, _)));
    if verifies {
        let Some(ca) = scope.one("proxy_ssl_trusted_certificate", cx) else {
            let why = "is verified without `proxy_ssl_trusted_certificate`";
            return Err(directive.refuse(&mut cx.report, why));
        };
        push("ca", file(ca, cx)?);
        if let Some(crl) = scope.one("proxy_ssl_crl", cx) {
            push("crl", file(crl, cx)?);
        }
        let depth = scope.number("proxy_ssl_verify_depth", cx);
        push("verify_depth", verify_depth(depth));
    } else {
        push("verify", Value::Flag(false));
    }
    let name = match scope.one("proxy_ssl_name", cx) {
        Some(name) => template(name.one(&mut cx.report)?, &name.place, cx)?,
        // A name that follows from a variable is the host that it names.
        None if has_variables(host) => String::new(),
        None => host.to_owned(),
    };
    if !name.is_empty() && (verifies || sends_name) {
        push("server_name", Value::text(name));
    }
    if !sends_name {
        push("send_server_name", Value::Flag(false));
    }
    let certificate = scope.one("proxy_ssl_certificate", cx);
    let key = scope.one("proxy_ssl_certificate_key", cx);
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            push("certificate", chosen(certificate, cx)?);
            push("key", chosen(key, cx)?);
            if let Some(passwords) = scope.one("proxy_ssl_password_file", cx) {
                push("password_file", file(passwords, cx)?);
            }
        }
        (Some(other), None) | (None, Some(other)) => {
            return Err(other.refuse(&mut cx.report, "has no certificate or no key beside it"));
        }
        (None, None) => {}
    }
    if let Some(versions) = peer_versions(scope, cx)? {
        push("versions", versions);
    }
    if let Some((false, _)) = scope.flag("proxy_ssl_session_reuse", cx) {
        push("reuse", Value::Flag(false));
    }
    Ok(Some(Entry::new(
        "tls",
        Value::Table(table),
        &directive.place,
    )))
}

/// The path of a PEM file, which connections may choose.
fn chosen(directive: &Directive, cx: &mut Context<'_>) -> Result<Value, Reported> {
    let text = directive.one(&mut cx.report)?;
    if !has_variables(text) {
        return match file(directive, cx)? {
            Value::Text(path) => Ok(Value::text(literal(&path))),
            other => Ok(other),
        };
    }
    let path = template(text, &directive.place, cx)?;
    if text.starts_with('$') {
        // A value may be a whole path, or empty, which means no certificate.
        let remark = format!(
            "`{}`: relative values begin at the folder of Moorline's file",
            directive.name
        );
        cx.report.remark(&directive.place, remark);
        return Ok(Value::text(path));
    }
    // The folder's own dollar signs begin no variable.
    let folder = literal(&cx.folder.to_string_lossy());
    let path = Path::new(&folder).join(path);
    Ok(Value::text(path.to_string_lossy()))
}

fn peer_versions(scope: Scope<'_>, cx: &mut Context<'_>) -> Result<Option<Value>, Reported> {
    Ok(match versions("proxy_ssl_protocols", scope, cx)? {
        Some((true, false)) => Some(Value::List(vec![Value::text("1.2")])),
        Some((false, true)) => Some(Value::List(vec![Value::text("1.3")])),
        _ => None,
    })
}
