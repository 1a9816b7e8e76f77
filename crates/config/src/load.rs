//! From a path to a checked configuration.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::admin;
use super::cluster;
use super::error::{ConfigErrors, Report, Reported};
use super::host::Host;
use super::known::Known;
use super::no_workers;
use super::stream::warn_of_unused_rules;
use super::walk::{Field, Section};
use super::{
    Config, Dispatch, access_log, destination, limit, listen, map, naming, process, upstream, uses,
};

/// A configuration as it was loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration, with every default filled in.
    pub config: Config,
    /// The file: absolute, its folder without symbolic links.
    pub path: PathBuf,
    /// Settings that are allowed and probably not intended.
    pub warnings: Vec<String>,
}

/// Loads a configuration from a TOML file, or from `moorline.toml` in a folder. Blocks on the file system
/// and on the user database.
///
/// # Errors
/// All mistakes in it, not only the first.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    let (file, text) = read(path)?;
    load_text(&text, &file)
}

/// Loads a configuration from text as if it were the file at `path`, which need not exist.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, path: &Path) -> Result<Loaded, ConfigErrors> {
    load_on(text, path, &Host::current())
}

/// Where the engine of the configuration at `path` has its lock and control socket. It works with a file that is partly
/// broken: a running engine must still be found then.
///
/// # Errors
/// The file cannot be read, or its `run_dir` is not acceptable.
pub fn run_dir(path: &Path) -> Result<PathBuf, ConfigErrors> {
    let (file, text) = read_again(path)?;
    run_dir_in(&text, &file, &Host::current())
}

/// The folders in which the engine of the configuration at `path` may have its control socket, [`run_dir`] first.
/// Without a written `run_dir` the folder depends on `$XDG_RUNTIME_DIR`, which the engine may not have had.
///
/// # Errors
/// As [`run_dir`].
pub fn run_dirs(path: &Path) -> Result<Vec<PathBuf>, ConfigErrors> {
    let (file, text) = read_again(path)?;
    let host = Host::current();
    let run_dir = run_dir_in(&text, &file, &host)?;
    let common = common_run_dir_on(&canonical(&file), &run_dir, &host);
    Ok([run_dir].into_iter().chain(common).collect())
}

impl Loaded {
    /// Where commands with another `$XDG_RUNTIME_DIR` look for the engine. `None`: in its `run_dir`.
    pub fn common_run_dir(&self) -> Option<PathBuf> {
        common_run_dir_on(&self.path, &self.config.engine.run_dir, &Host::current())
    }
}

fn common_run_dir_on(file: &Path, run_dir: &Path, host: &Host) -> Option<PathBuf> {
    let common = host.common_run_dir(file);
    (run_dir == host.default_run_dir(file) && run_dir != common).then_some(common)
}

/// The file that `path` means, as an engine that was started with it knows it.
pub fn resolved(path: &Path) -> PathBuf {
    canonical(&file(path))
}

/// [`run_dir`] of a text, on a given machine.
pub(super) fn run_dir_in(text: &str, file: &Path, host: &Host) -> Result<PathBuf, ConfigErrors> {
    let absolute = canonical(file);
    let (tree, _) = DeTable::parse_recoverable(text);
    let report = Report::new(file, text);
    let written = tree
        .get_ref()
        .get("engine")
        .and_then(|engine| engine.get_ref().get("run_dir"));
    let run_dir = written
        .map(|value| {
            process::written_run_dir(
                &Field {
                    report: &report,
                    key: "run_dir",
                    value,
                },
                folder(&absolute),
            )
        })
        .unwrap_or_else(|| Ok(host.default_run_dir(&absolute)));
    report.finish()?;
    run_dir.map_err(|Reported| unreachable_report(file))
}

fn file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("moorline.toml")
    } else {
        path.to_owned()
    }
}

/// [`read`] for a command about an engine that has read the file. A pipe says nothing any more, and is not waited for.
fn read_again(path: &Path) -> Result<(PathBuf, String), ConfigErrors> {
    let file = file(path);
    match fs::metadata(&file) {
        Ok(found) if !found.is_file() => Ok((file, String::new())),
        _ => read(path),
    }
}

/// Finds the file that `path` means and reads it.
pub(super) fn read(path: &Path) -> Result<(PathBuf, String), ConfigErrors> {
    let file = file(path);
    if file.extension().is_some_and(|extension| extension == "lua") {
        return Err(ConfigErrors::about_file(
            &file,
            "configurations in Lua are not in this version".into(),
            "write it in TOML: `lua` in [workers] names a script whose services handle the sessions. `run` runs a script alone",
        ));
    }
    let bytes = fs::read(&file).map_err(|error| {
        ConfigErrors::about_file(
            &file,
            format!("cannot be read: {error}"),
            "name a TOML file, or a folder with `moorline.toml`",
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        ConfigErrors::about_file(
            &file,
            format!("line {line} is not UTF-8"),
            "save the file as UTF-8",
        )
    })?;
    Ok((file, text))
}

/// [`load_text`] on a given machine.
pub(super) fn load_on(text: &str, file: &Path, host: &Host) -> Result<Loaded, ConfigErrors> {
    let path = canonical(file);
    let report = Report::new(file, text);
    let config = parse(&report, text, &path, host);
    let warnings = report.finish()?;
    let config = config.map_err(|Reported| unreachable_report(file))?;
    Ok(Loaded {
        config,
        path,
        warnings,
    })
}

/// `Reported` without a report would be a bug in this module. It becomes an error instead of a panic.
fn unreachable_report(file: &Path) -> ConfigErrors {
    ConfigErrors::about_file(
        file,
        "is not accepted, and the reason was lost".into(),
        "please report this as a fault",
    )
}

fn parse(report: &Report<'_>, text: &str, path: &Path, host: &Host) -> Result<Config, Reported> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(report, text, &errors));
    }

    let base = folder(path);
    let root = Section::new(report, "", &tree);
    let engine = process::engine(&root, path, host);
    let workers = process::workers(&root, base, host);
    let tasks = process::tasks(&root);
    let helpers = admin::beside(process::helpers(&root, base), &root, base);
    let cluster = cluster::cluster(&root, base);
    let dispatch = workers
        .as_ref()
        .map_or(Dispatch::Sticky, |workers| workers.dispatch);
    let maps = map::maps(&root);
    let upstreams = upstream::upstreams(&root, base);
    let limits = limit::limits(&root);
    let access_logs = access_log::access_logs(&root, base);
    let known = Known {
        upstreams: &upstreams,
        limits: &limits.names,
        access_logs: &access_logs.names,
    };
    let listeners = listen::listeners(&root, base, dispatch, known);
    let app = root.read("app", app_settings);
    root.finish()?;

    let named = naming::check(report);
    let filled = listeners.as_ref().map_or(Ok(()), |listeners| {
        upstreams.warn_of_unused(report, listeners);
        warn_of_unused_rules(report, listeners, &limits, &access_logs);
        upstreams.refuse_empty(report, listeners)
    });
    let (mut listeners, maps, workers) = (listeners?, maps?, workers?);
    let destinations = listeners.iter().filter_map(|it| it.destination.as_ref());
    let fits = destination::check_maps(report, destinations, &maps, &upstreams.tables.names);
    let (upstreams, limits) = (upstreams.tables.parsed?, limits.parsed?);
    let access_logs = access_logs.parsed?;
    let needs = uses::MapNeeds::of(&maps);
    needs
        .refuse_circles(report, &listeners)
        .and(named)
        .and(fits)
        .and(filled)
        .and(no_workers::check(report, &tree, &workers, &listeners))?;
    needs.fill_in(&mut listeners, &upstreams, &limits, &access_logs);
    drop(needs);
    Ok(Config {
        name: name(path),
        engine: engine?,
        workers,
        tasks: tasks?,
        helpers: helpers?,
        cluster: cluster?,
        listeners,
        upstreams,
        limits,
        access_logs,
        maps,
        app: app?.unwrap_or_default(),
    })
}

/// After an error the parser continues and often fails at the same line again; the first error is the true one.
fn syntax_errors(report: &Report<'_>, text: &str, errors: &[toml::de::Error]) -> Reported {
    let mut told = HashSet::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = report.line(span.start);
        if told.insert(line) {
            let hint = syntax_hint(text, span.start).or_else(|| bare_word_hint(text, &span, error));
            match hint {
                Some(hint) => report.error(span, "the value is text without quotes", hint),
                None if has_no_value(text, span.start) => report.error(
                    span,
                    "the key has no value",
                    "write a value behind the =, or remove the line",
                ),
                None if text.trim_start().starts_with('{') => report.error(
                    span,
                    "this is no TOML",
                    "a configuration begins as in: [[listen]] and below it address = \"tcp://127.0.0.1:9501\"",
                ),
                None => report.plain_error(span, error.message()),
            };
        }
    }
    Reported
}

/// `max_wait =` and nothing more.
fn has_no_value(text: &str, at: usize) -> bool {
    let start = text
        .get(..at)
        .map(|before| before.rfind('\n').map_or(0, |newline| newline + 1));
    let line = start.and_then(|start| text[start..].lines().next());
    line.is_some_and(|line| line.trim_end().ends_with('=') && line.matches('=').count() == 1)
}

/// The commonest slip: `max_wait = 10s`, `address = tcp://…`.
fn syntax_hint(text: &str, at: usize) -> Option<String> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let (key, value) = text[start..].lines().next()?.split_once('=')?;
    let value = value.trim();
    // A hint is shown as it is.
    let bare = value.contains(|c: char| c.is_ascii_alphabetic())
        && !value.contains(['"', '\'', '#', '{', '[', ' ', '='])
        && !key.trim().contains(char::is_control);
    bare.then(|| {
        format!(
            "put the value in quotes: {} = \"{}\"",
            key.trim(),
            value.escape_debug()
        )
    })
}

/// The same within a table or an array: `{ kind = length }`, `[mqtt]`.
fn bare_word_hint(text: &str, span: &Range<usize>, error: &toml::de::Error) -> Option<String> {
    if !error.message().starts_with("string values must be quoted") {
        return None;
    }
    let word = text.get(span.clone())?.trim();
    let is_plain = |word: &str| !word.is_empty() && !word.contains(['"', '\'', '\n']);
    let before = text[..span.start].trim_end().strip_suffix('=');
    let key = before.map(|before| {
        let start = before.rfind(['{', ',', '\n']).map_or(0, |at| at + 1);
        before[start..].trim()
    });
    match key.filter(|key| is_plain(key)) {
        _ if !is_plain(word) => None,
        Some(key) => Some(format!(
            "put the value in quotes: {key} = \"{}\"",
            word.escape_debug()
        )),
        None => Some(format!(
            "put the value in quotes: \"{}\"",
            word.escape_debug()
        )),
    }
}

/// `[app]`, which only the app understands, as text again.
fn app_settings(field: Field<'_>) -> Result<String, Reported> {
    field.section("[app]", "write [app] and its keys below it")?;
    let DeValue::Table(table) = field.value.get_ref() else {
        return Err(Reported);
    };
    let deserializer = toml::Deserializer::from(Spanned::new(field.value.span(), table.clone()));
    let refuse = |span, message: &str| {
        field.report.error(
            span,
            format!("[app] is not acceptable: {message}"),
            "write a value that TOML allows",
        )
    };
    let values = toml::Table::deserialize(deserializer)
        .map_err(|error| refuse(error.span().unwrap_or(field.value.span()), error.message()))?;
    toml::to_string(&values).map_err(|error| refuse(field.value.span(), &error.to_string()))
}

/// The file's own name stays as it is: a link that is pointed at another file is still the same configuration.
fn canonical(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    match (
        absolute.parent().map(fs::canonicalize),
        absolute.file_name(),
    ) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => absolute,
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

fn name(file: &Path) -> String {
    let of_folder = file
        .file_name()
        .is_some_and(|name| name == "moorline.toml")
        .then(|| folder(file).file_name())
        .flatten();
    let name = of_folder
        .or(file.file_stem())
        .unwrap_or_default()
        .to_string_lossy();
    if name.is_empty() {
        "moorline".into()
    } else {
        name.into_owned()
    }
}
