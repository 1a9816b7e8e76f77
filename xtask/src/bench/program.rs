//! How large programs are.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Result;
use super::report::{Aim, Row};

/// An app as the README builds it, with the names, files and lines that panics and reports of stalls print.
const AIM_APP: Aim = Aim::AtMost(20.0);

/// The chat's program in megabytes, and the command's. The chat is built alone, as a reader of the README does: beside the
/// command it would have its features.
pub(super) fn measure(root: &Path, release: &Path) -> Result<Vec<Row>> {
    let command = megabytes(&release.join("moorline"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--example", "chat"])
        .status()?;
    if !status.success() {
        return Err("the chat could not be built".into());
    }
    let app = megabytes(&release.join("examples/chat"))?;
    let row = |what: &str, size, aim| Row {
        what: what.to_owned(),
        unit: "MB".into(),
        engine: vec![size],
        other: Vec::new(),
        aim,
    };
    Ok(vec![
        row("the program of an app, the chat", app, Some(AIM_APP)),
        row("the command `moorline`", command, None),
    ])
}

fn megabytes(program: &Path) -> Result<f64> {
    Ok(fs::metadata(program)?.len() as f64 / 1e6)
}
