//! TLS of a server towards its peers.

use super::conf_command::{Commands, commands};
use super::context::Context;
use super::pem_file::{as_template, chosen, file};
use super::scope::Scope;
use super::ssl::{verify_depth, versions};
use super::tree::Directive;
use super::variables::{has_variables, template};
use crate::note::Reported;
use crate::toml::{Entry, Value};

const COMMANDS: &str = "proxy_ssl_conf_command";

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
    let commands = commands(COMMANDS, scope, cx)?;
    table.extend(shown(directive, scope, &commands, cx)?);
    let mut push = |key: &str, value| table.push((key.to_owned(), value));
    if let Some(versions) = peer_versions(scope, &commands, cx)? {
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

/// The certificate that peers are shown, and its key.
fn shown(
    server: &Directive,
    scope: Scope<'_>,
    commands: &Commands,
    cx: &mut Context<'_>,
) -> Result<Vec<(String, Value)>, Reported> {
    let pair = |certificate, key| {
        let certificate = ("certificate".to_owned(), certificate);
        vec![certificate, ("key".to_owned(), key)]
    };
    match (&commands.certificate, &commands.key) {
        (Some(certificate), Some(key)) => {
            return Ok(pair(as_template(certificate), as_template(key)));
        }
        (None, None) => {}
        _ => {
            let why = "has only one of `proxy_ssl_conf_command Certificate` and `PrivateKey`";
            return Err(server.refuse(&mut cx.report, why));
        }
    }
    let certificate = scope.one("proxy_ssl_certificate", cx);
    match (certificate, scope.one("proxy_ssl_certificate_key", cx)) {
        (Some(certificate), Some(key)) => {
            let mut keys = pair(chosen(certificate, cx)?, chosen(key, cx)?);
            if let Some(passwords) = scope.one("proxy_ssl_password_file", cx) {
                keys.push(("password_file".to_owned(), file(passwords, cx)?));
            }
            Ok(keys)
        }
        (Some(other), None) | (None, Some(other)) => {
            Err(other.refuse(&mut cx.report, "has no certificate or no key beside it"))
        }
        (None, None) => Ok(Vec::new()),
    }
}

fn peer_versions(
    scope: Scope<'_>,
    commands: &Commands,
    cx: &mut Context<'_>,
) -> Result<Option<Value>, Reported> {
    let written = versions("proxy_ssl_protocols", scope, cx)?;
    Ok(match commands.bounded(written, COMMANDS, scope, cx)? {
        Some((true, false)) => Some(Value::List(vec![Value::text("1.2")])),
        Some((false, true)) => Some(Value::List(vec![Value::text("1.3")])),
        _ => None,
    })
}
