//! Paths of PEM files.

use std::path::Path;

use super::context::Context;
use super::tree::Directive;
use super::variables::{has_variables, literal, template};
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

/// A path without variables, where there may be some.
pub(super) fn as_template(path: &Value) -> Value {
    match path {
        Value::Text(path) => Value::text(literal(path)),
        other => other.clone(),
    }
}

/// The path of a PEM file, which connections may choose.
pub(super) fn chosen(directive: &Directive, cx: &mut Context<'_>) -> Result<Value, Reported> {
    let text = directive.one(&mut cx.report)?;
    if !has_variables(text) {
        return Ok(as_template(&file(directive, cx)?));
    }
    let path = template(text, &directive.place, cx)?;
    if text.starts_with('$') {
        // A value may be a whole path, or empty, which means no certificate.
        let remark = format!(
            "`{}`: if a value is a relative path, it begins at the folder of Moorline's file",
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
