//! Paths of PEM files.

use super::context::Context;
use super::tree::Directive;
use super::variables::has_variables;
use crate::note::Reported;
use crate::toml::Value;

/// The path of a PEM file.
pub(super) fn file(directive: &Directive, cx: &mut Context<'_>) -> Result<Value, Reported> {
    let text = directive.one(&mut cx.report)?;
    path_of(text, directive, cx)
}

/// The path of a PEM file that is a part of a directive.
pub(super) fn path_of(
    text: &str,
    directive: &Directive,
    cx: &mut Context<'_>,
) -> Result<Value, Reported> {
    if has_variables(text) {
        let why = "with variables cannot be expressed: write several `ssl_certificate`";
        return Err(directive.refuse(&mut cx.report, why));
    }
    if text.starts_with("data:") || text.starts_with("engine:") || text.starts_with("store:") {
        let why = "names no file: keys come from files";
        return Err(directive.refuse(&mut cx.report, why));
    }
    Ok(Value::text(cx.path(text)))
}
