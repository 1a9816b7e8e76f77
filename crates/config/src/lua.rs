//! `lua` in `[workers]`: services in Lua that handle the sessions.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::walk::{Field, Section};

/// What runs in each worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LuaScript {
    /// The script of the first service. Absolute.
    pub script: PathBuf,
    /// Where services and modules are found, before the script's folder: patterns with `?`, separated by semicolons. Absolute.
    pub path: Option<String>,
    /// The script's arguments: words.
    pub arguments: Vec<String>,
}

/// The keys of `[workers]` about it.
pub(super) fn lua(section: &Section<'_>, base: &Path) -> Result<Option<LuaScript>, Reported> {
    let script = section.read("lua", |field| script(&field, base));
    let path = section.read("lua_path", |field| patterns(&field, base));
    let arguments = section.read("lua_arguments", |field| {
        let hint = "write a list of words: [\"one\", \"two\"]";
        field.array(hint)?.map(|field| word(&field)).collect()
    });
    let Some(script) = script? else {
        let others = ["lua_path", "lua_arguments"];
        section.refuse_keys(
            &others,
            "there is no script: write `lua = \"main.lua\"` beside it",
        )?;
        return Ok(None);
    };
    Ok(Some(LuaScript {
        script,
        path: path?,
        arguments: arguments?.unwrap_or_default(),
    }))
}

fn script(field: &Field<'_>, base: &Path) -> Result<PathBuf, Reported> {
    let path = field.path(base)?;
    let name = path.file_name().and_then(|name| name.to_str());
    if name.is_some_and(|name| name.contains(char::is_whitespace)) {
        let hint = "rename it: services in Lua have names of one word";
        return Err(field.refuse("the name of the script has a space", hint));
    }
    if path.is_file() && path.to_str().is_some() {
        return Ok(path);
    }
    let message = format!("there is no script {}", path.display());
    let hint = "write the path of a Lua file, from this file's folder";
    Err(field.refuse(message, hint))
}

fn patterns(field: &Field<'_>, base: &Path) -> Result<String, Reported> {
    let absolute = |pattern: &str| base.join(pattern).to_string_lossy().into_owned();
    let patterns = field.text()?.split(';').filter(|it| !it.is_empty());
    let patterns: Vec<String> = patterns.map(absolute).collect();
    if patterns.iter().all(|pattern| pattern.contains('?')) {
        return Ok(patterns.join(";"));
    }
    let hint =
        "write ? where the name of a service or module stands: \"service/?.lua;lualib/?.lua\"";
    Err(field.refuse("a pattern has no ?", hint))
}

fn word(field: &Field<'_>) -> Result<String, Reported> {
    let word = field.text()?;
    if word.is_empty() || word.contains(char::is_whitespace) {
        let hint = "write several words: services in Lua get their arguments as words";
        return Err(field.refuse(format!("{word:?} is not one word"), hint));
    }
    Ok(word.to_owned())
}
