//! `[access_log.NAME]`: a line for each connection, in a file of its own.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::naming::known_name;
use super::tables::{TableKind, Tables, tables};
use super::variables::{self, Template};
use super::walk::{Field, Section};

const MOST_TABLES: usize = 1024;
/// Logs of one listener.
const MOST_USED: usize = 16;
/// Fields of one line.
const MOST_FIELDS: usize = 64;
const DEFAULT_BUFFER: u64 = 64 * 1024;
const MOST_BUFFERED: u64 = 16 << 20;

/// The fields of a line whose table names none.
const DEFAULT_FIELDS: &[&str] = &[
    "time.iso",
    "listener",
    "connection",
    "client.address",
    "client.port",
    "status",
    "reason",
    "upstream.name",
    "upstream.address",
    "upstream.connect_time",
    "bytes.received",
    "bytes.sent",
    "session_time",
];

const TABLE_HINT: &str = "write [access_log.NAME] and its keys below it";
const PATH_HINT: &str = r#"write path = "/var/log/access.log", "stdout" or "stderr""#;
const FORMAT_HINT: &str =
    r#"write format = "${client.address} ${status}", or fields = ["client.address", "status"]"#;
const HINT: &str = r#"write access_log = ["NAME"], and a table [access_log.NAME] with its path"#;

/// Where connections leave a line at their end, and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// What listeners and log lines call it. Unique.
    pub name: String,
    /// Where its lines go.
    pub path: AccessLogPath,
    /// What a line says.
    pub line: AccessLogLine,
    /// A connection for which this is empty or `0` leaves no line.
    pub condition: Option<Template>,
    /// Lines are kept until there are this many bytes. Default: they are written at once, with `gzip` 64 KiB.
    pub buffer: Option<u64>,
    /// They are kept for no longer than this. Default: for as long as the buffer has room.
    pub flush: Option<Duration>,
    /// How hard they are compressed, 1 to 9.
    pub gzip: Option<u32>,
}

impl AccessLog {
    /// The texts that a connection fills in.
    pub(super) fn texts(&self) -> Vec<&Template> {
        let mut texts: Vec<_> = self.condition.iter().collect();
        if let AccessLogPath::File(path) = &self.path {
            texts.push(path);
        }
        match &self.line {
            AccessLogLine::Text(format, _) => texts.push(format),
            AccessLogLine::Fields(fields) => texts.extend(fields.iter().map(|(_, it)| it)),
        }
        texts
    }
}

/// Where the lines of a log go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLogPath {
    /// The engine's standard output.
    Stdout,
    /// The engine's standard error.
    Stderr,
    /// This file; absolute. A connection fills it in.
    File(Template),
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLogLine {
    /// This text.
    Text(Template, Escape),
    /// One JSON object with these values, by their names.
    Fields(Vec<(String, Template)>),
}

/// How values are written into a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Escape {
    /// As nginx does: `\xHH` for quotes, backslashes and what is not printable, and `-` for a value that is not known.
    #[default]
    Default,
    /// As within a string of JSON.
    Json,
    /// As they are.
    None,
}

const KIND: TableKind = TableKind {
    one: "[access_log.NAME]",
    all: "tables [access_log.NAME]",
    most: MOST_TABLES,
    hint: TABLE_HINT,
};

pub(super) fn access_logs(root: &Section<'_>, base: &Path) -> Tables<AccessLog> {
    let read = root.read("access_log", |field| {
        tables(&field, &KIND, |field, name| access_log(field, name, base))
    });
    Tables::of(read)
}

fn access_log(field: &Field<'_>, name: &str, base: &Path) -> Result<AccessLog, Reported> {
    let section = field.section("[access_log.NAME]", TABLE_HINT)?;
    let path = section.require("path", PATH_HINT, |field| path(&field, base));
    let line = line(&section, field);
    let condition = section.read("if", |field| variables::template(&field));
    let buffer = buffering(&section, path.as_ref().ok());
    section.finish()?;
    let (buffer, flush, gzip) = buffer?;
    Ok(AccessLog {
        name: name.to_owned(),
        path: path?,
        line: line?,
        condition: condition?,
        buffer,
        flush,
        gzip,
    })
}

fn path(field: &Field<'_>, base: &Path) -> Result<AccessLogPath, Reported> {
    let text = match field.text()? {
        "stdout" => return Ok(AccessLogPath::Stdout),
        "stderr" => return Ok(AccessLogPath::Stderr),
        text => text,
    };
    if text.ends_with('/') {
        return Err(field.refuse(format!("`path`: {text:?} is a folder"), PATH_HINT));
    }
    let absolute = match text.starts_with('/') {
        true => text.to_owned(),
        // What stands there for itself must not begin a variable.
        false => format!("{}/{text}", base.display().to_string().replace('$', "$$")),
    };
    Ok(AccessLogPath::File(variables::parse(
        field,
        &absolute,
        &[],
    )?))
}

fn line(section: &Section<'_>, table: &Field<'_>) -> Result<AccessLogLine, Reported> {
    let format = section.read("format", |field| {
        // Also with tabs and the like.
        variables::any_template(&field, &[])
    });
    let fields = section.read("fields", |field| fields(&field));
    let escape = section.read("escape", |field| {
        field.choice(&[
            ("default", Escape::Default),
            ("json", Escape::Json),
            ("none", Escape::None),
        ])
    });
    let (format, fields, escape) = (format?, fields?, escape?);
    if format.is_none() {
        let reason = "has no effect without `format`: fields are written as JSON";
        section.refuse_keys(&["escape"], reason)?;
    }
    match (format, fields) {
        (Some(_), Some(_)) => Err(section.report.error(
            section.key_place("fields"),
            "an access log has either `format` or `fields`",
            FORMAT_HINT,
        )),
        (Some(format), None) => Ok(AccessLogLine::Text(format, escape.unwrap_or_default())),
        (None, Some(fields)) => Ok(AccessLogLine::Fields(fields)),
        (None, None) => {
            let fields = DEFAULT_FIELDS.iter().map(|name| named(table, name));
            Ok(AccessLogLine::Fields(fields.collect::<Result<_, _>>()?))
        }
    }
}

fn fields(field: &Field<'_>) -> Result<Vec<(String, Template)>, Reported> {
    let entries = field.array(FORMAT_HINT)?;
    if entries.len() == 0 || entries.len() > MOST_FIELDS {
        let message = format!(
            "`fields` has {} entries, and may have 1 to {MOST_FIELDS}",
            entries.len()
        );
        return Err(field.refuse(message, FORMAT_HINT));
    }
    let fields: Vec<_> = entries.map(|entry| named(&entry, entry.text()?)).collect();
    fields.into_iter().collect()
}

/// The variable with this name.
fn named(field: &Field<'_>, name: &str) -> Result<(String, Template), Reported> {
    if name.contains(['$', '{', '}']) {
        let message = format!("`{}`: {name:?} is no name of a variable", field.key);
        return Err(field.refuse(message, FORMAT_HINT));
    }
    let template = variables::parse(field, &format!("${{{name}}}"), &[])?;
    Ok((name.to_owned(), template))
}

type Buffering = (Option<u64>, Option<Duration>, Option<u32>);

fn buffering(section: &Section<'_>, path: Option<&AccessLogPath>) -> Result<Buffering, Reported> {
    let buffer = section.read("buffer", |field| {
        let size = field.size()?;
        if size > MOST_BUFFERED {
            let message = format!("`buffer` is over {MOST_BUFFERED} bytes");
            return Err(field.refuse(message, "write a smaller one, such as \"64KiB\""));
        }
        Ok(size)
    });
    let flush = section.read("flush", |field| field.timeout());
    let gzip = section.read("gzip", |field| field.number(1..=9));
    let (buffer, flush, gzip) = (buffer?, flush?, gzip?);
    if buffer.is_none() && gzip.is_none() {
        section.refuse_keys(&["flush"], "has no effect without `buffer` or `gzip`")?;
    }
    if matches!(path, Some(AccessLogPath::Stdout | AccessLogPath::Stderr)) {
        section.refuse_keys(&["gzip"], "belongs to logs in files")?;
    }
    let buffer = buffer.or(gzip.map(|_| DEFAULT_BUFFER));
    Ok((buffer, flush, gzip))
}

/// Reads `access_log` of a listener. `names`: those of the file's access logs.
pub(super) fn used(field: &Field<'_>, names: &[String]) -> Result<Vec<String>, Reported> {
    let entries = field.array(HINT)?;
    if entries.len() > MOST_USED {
        let message = format!("`access_log` has over {MOST_USED} entries");
        return Err(field.refuse(message, "write fewer of them"));
    }
    let used: Vec<_> = entries
        .map(|entry| known_name(&entry, ("access log", "access_log", "path"), names))
        .collect();
    used.into_iter().collect()
}
