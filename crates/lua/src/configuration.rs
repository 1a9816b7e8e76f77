//! A configuration of skynet's: a text in Lua whose globals are the values.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{env, fmt, fs};

use mlua::chunk::ChunkMode;
use mlua::{Lua, Table, Value};

/// What a configuration file says.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    entries: BTreeMap<String, ConfiguredValue>,
    file: String,
}

/// One value, and where it is set.
#[derive(Debug)]
pub(crate) struct ConfiguredValue {
    pub(crate) text: String,
    /// File and line.
    place: String,
}

/// Why a configuration is not used: the file, the line and what is wrong there.
#[derive(Debug)]
pub struct ConfigurationError(pub(crate) String);

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigurationError {}

/// Files that include each other end here.
const MOST_INCLUDED: usize = 32;

impl Configuration {
    /// Reads a file, and those that it includes.
    pub(crate) fn read(file: &Path) -> Result<Self, ConfigurationError> {
        let reader = Rc::new(FileReader::default());
        let lua = Lua::new();
        let read = environment(&lua, &reader).and_then(|environment| {
            let name = file.display().to_string();
            reader.include(&lua, &environment, &name, "")
        });
        match read {
            Ok(()) => Ok(Self {
                entries: reader.entries.take(),
                file: file.display().to_string(),
            }),
            Err(error) => Err(ConfigurationError(text_of(&error))),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|value| value.text.as_str())
    }

    /// All values, by key.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&String, &String)> {
        self.entries.iter().map(|(key, value)| (key, &value.text))
    }

    /// An error at the line that sets a key.
    pub(crate) fn wrong(&self, key: &str, why: impl fmt::Display) -> ConfigurationError {
        let place = self.entries.get(key).map(|value| &value.place);
        ConfigurationError(format!("{}: {why}", place.unwrap_or(&self.file)))
    }
}

#[derive(Debug, Default)]
struct FileReader {
    entries: RefCell<BTreeMap<String, ConfiguredValue>>,
    /// The folders of the files that are being read, the innermost last.
    folders: RefCell<Vec<PathBuf>>,
}

impl FileReader {
    /// Runs a file. A relative path starts at the folder of the file that includes it, the first one at the working directory.
    fn include(&self, lua: &Lua, environment: &Table, name: &str, place: &str) -> mlua::Result<()> {
        let depth = self.folders.borrow().len();
        if depth == MOST_INCLUDED {
            let why = format!("{place}: more than {MOST_INCLUDED} files include each other");
            return Err(mlua::Error::RuntimeError(why));
        }
        let folder = self.folders.borrow().last().cloned().unwrap_or_default();
        let path = folder.join(name);
        let text = fs::read_to_string(&path).map_err(|error| {
            let head = if place.is_empty() { "" } else { ": " };
            let why = format!("{place}{head}cannot read {}: {error}", path.display());
            mlua::Error::RuntimeError(why)
        })?;
        let text = with_variables(&text, &path).map_err(mlua::Error::RuntimeError)?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        self.folders.borrow_mut().push(folder);
        let ran = lua
            .load(text)
            .set_name(format!("@{}", path.display()))
            .set_mode(ChunkMode::Text)
            .set_environment(environment.clone())
            .exec();
        self.folders.borrow_mut().pop();
        ran
    }

    fn set(&self, key: &Value, value: &Value, place: String) -> mlua::Result<()> {
        let refused = |why: String| Err(mlua::Error::RuntimeError(format!("{place}: {why}")));
        let Value::String(key) = key else {
            return refused("a key is a name".to_owned());
        };
        let key = key.to_string_lossy();
        let text = match value {
            Value::Nil => {
                self.entries.borrow_mut().remove(&key);
                return Ok(());
            }
            Value::Boolean(_) | Value::Integer(_) | Value::Number(_) | Value::String(_) => {
                value.to_string()?
            }
            other => {
                let kind = other.type_name();
                return refused(format!(
                    "{key} is a {kind}: write a text, a number or a truth value"
                ));
            }
        };
        let value = ConfiguredValue { text, place };
        self.entries.borrow_mut().insert(key, value);
        Ok(())
    }
}

/// The globals of a configuration: those that it sets, and `include`.
fn environment(lua: &Lua, reader: &Rc<FileReader>) -> mlua::Result<Table> {
    let (environment, values) = (lua.create_table()?, lua.create_table()?);
    let metatable = lua.create_table()?;
    metatable.set("__index", &values)?;
    let (setter, kept) = (reader.clone(), values.clone());
    let set = lua.create_function(move |lua, (_, key, value): (Table, Value, Value)| {
        setter.set(&key, &value, place(lua))?;
        kept.raw_set(key, value)
    })?;
    metatable.set("__newindex", set)?;
    environment.set_metatable(Some(metatable))?;
    let (reader, globals) = (reader.clone(), environment.clone());
    let include = lua.create_function(move |lua, name: String| {
        reader.include(lua, &globals, &name, &place(lua))
    })?;
    values.raw_set("include", include)?;
    Ok(environment)
}

/// The file and line that called a function of Rust.
fn place(lua: &Lua) -> String {
    let place = lua.inspect_stack(1, |caller| {
        let source = caller.source();
        let file = source.short_src.as_deref().unwrap_or("?").to_owned();
        match caller.current_line() {
            Some(line) => format!("{file}:{line}"),
            None => file,
        }
    });
    place.unwrap_or_default()
}

/// Replaces each `$NAME` by the variable's value.
fn with_variables(text: &str, path: &Path) -> Result<String, String> {
    let mut pieces = text.split('$');
    let mut result = pieces.next().unwrap_or_default().to_owned();
    let mut line = 1 + result.matches('\n').count();
    for piece in pieces {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = piece.find(|c| !is_part(c)).unwrap_or(piece.len());
        let (name, rest) = piece.split_at(end);
        match name {
            "" => result.push('$'),
            name => {
                let value = env::var(name).map_err(|_| {
                    format!(
                        "{}:{line}: the environment has no {name}: set it before the start",
                        path.display()
                    )
                })?;
                result += &value;
            }
        }
        line += rest.matches('\n').count();
        result += rest;
    }
    Ok(result)
}

/// What a configuration's author is told, without the way that the error took.
fn text_of(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) => {
            let traceback = message.find("\nstack traceback:");
            message[..traceback.unwrap_or(message.len())].to_owned()
        }
        mlua::Error::CallbackError { cause, .. } => text_of(cause),
        other => other.to_string(),
    }
}
