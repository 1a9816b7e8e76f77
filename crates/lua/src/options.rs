//! What runs, and how: the same from a script and from a configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::configuration::{Configuration, ConfigurationError};

/// What [`run`](crate::run) runs.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The first service and its arguments: words.
    pub(crate) first: String,
    /// The event loops.
    pub(crate) loops: u8,
    /// Where services are found: patterns with `?`, separated by semicolons.
    pub(crate) service_path: String,
    /// What `package.path` and `package.cpath` are.
    pub(crate) lua_path: String,
    pub(crate) lua_cpath: String,
    /// A file that runs in each service before its own.
    pub(crate) preload: Option<String>,
    /// A script of the user's that loads services.
    pub(crate) loader: Option<String>,
    /// Where the log goes: standard output, unless it says otherwise.
    pub(crate) log: Log,
    /// The process leaves its terminal, and writes its number there.
    pub(crate) pid_file: Option<PathBuf>,
    /// `SIGHUP` is for the log. Otherwise it ends the process.
    pub(crate) is_deployment: bool,
    /// Values of `skynet.getenv`.
    pub(crate) environment: BTreeMap<String, String>,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Log {
    StandardOutput,
    File(PathBuf),
    /// A Lua service, with its arguments.
    Service(String),
}

impl RunOptions {
    /// Runs a script. Services and modules are found by the patterns of `path`, then in the script's folder.
    ///
    /// # Errors
    /// The script's path is no text.
    pub fn for_script(
        script: &Path,
        arguments: &[String],
        path: Option<&str>,
        loops: u8,
    ) -> Result<Self, ConfigurationError> {
        let text = script.to_str();
        let script = text.ok_or_else(|| {
            ConfigurationError(format!("the path {} is no text", script.display()))
        })?;
        let (folder, file) = script.rsplit_once('/').unwrap_or((".", script));
        let name = file.strip_suffix(".lua").unwrap_or(file);
        let own = format!("{folder}/?.lua;{folder}/?/init.lua");
        let path = match path {
            Some(path) => format!("{path};{own}"),
            None => own,
        };
        let modules = path
            .split(';')
            .filter_map(|pattern| pattern.strip_suffix(".lua"));
        let modules: Vec<String> = modules.map(|pattern| format!("{pattern}.so")).collect();
        let lua_cpath = modules.join(";");
        let mut words = vec![name.to_owned()];
        words.extend(arguments.iter().cloned());
        let environment = [
            ("start", name),
            ("thread", &loops.to_string()),
            ("luaservice", &path),
            ("lua_path", &path),
            ("lua_cpath", &lua_cpath),
            ("harbor", "0"),
            ("standalone", "true"),
        ];
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(Self {
            first: words.join(" "),
            loops,
            service_path: path.clone(),
            lua_path: path,
            lua_cpath,
            preload: None,
            loader: None,
            log: Log::StandardOutput,
            pid_file: None,
            is_deployment: false,
            environment: environment.into(),
        })
    }

    /// Runs what a configuration of skynet's says. Paths in it start at the working directory.
    ///
    /// # Errors
    /// The file is not read, is no Lua, or says what cannot be done: the error names the line.
    pub fn from_configuration(file: &Path) -> Result<Self, ConfigurationError> {
        let configuration = Configuration::read(file)?;
        let get = |key: &str, default: &str| configuration.get(key).unwrap_or(default).to_owned();
        let options = Self {
            first: first(&configuration)?,
            loops: loops(&configuration)?,
            service_path: get("luaservice", "./service/?.lua"),
            lua_path: get("lua_path", "./lualib/?.lua;./lualib/?/init.lua"),
            lua_cpath: get("lua_cpath", "./luaclib/?.so"),
            preload: configuration.get("preload").map(str::to_owned),
            loader: loader(&configuration)?,
            log: log(&configuration)?,
            pid_file: configuration.get("daemon").map(PathBuf::from),
            is_deployment: true,
            environment: environment(&configuration)?,
        };
        Ok(options)
    }
}

/// The values of `skynet.getenv`: those of the file, and what is taken for keys that it leaves out.
fn environment(
    configuration: &Configuration,
) -> Result<BTreeMap<String, String>, ConfigurationError> {
    let values = configuration.values();
    let mut environment: BTreeMap<String, String> = values
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let defaults = [
        ("start", "main"),
        ("thread", "8"),
        ("cpath", "./cservice/?.so"),
        ("harbor", "0"),
        ("bootstrap", "snlua bootstrap"),
        ("logservice", "logger"),
        ("profile", "true"),
    ];
    for (key, value) in defaults {
        environment.entry(key.into()).or_insert(value.into());
    }
    let (harbor, is_alone) = (
        &environment["harbor"],
        environment.contains_key("standalone"),
    );
    match harbor.parse::<u8>() {
        Ok(0) => {
            environment.insert("standalone".to_owned(), "true".to_owned());
        }
        Ok(_) if is_alone => {}
        Ok(_) => {
            let why = "this process would join the harbors of another one, and there are no harbors \
                       here: write harbor = 0, and connect processes by skynet.cluster";
            return Err(configuration.wrong("harbor", why));
        }
        Err(_) => return Err(configuration.wrong("harbor", "harbor is a number from 0 to 255")),
    }
    Ok(environment)
}

fn first(configuration: &Configuration) -> Result<String, ConfigurationError> {
    let line = configuration.get("bootstrap").unwrap_or("snlua bootstrap");
    lua_service("bootstrap", line, configuration)
}

/// The service of a line that begins with its host.
fn lua_service(
    key: &str,
    line: &str,
    configuration: &Configuration,
) -> Result<String, ConfigurationError> {
    match line.split_once(' ') {
        Some(("snlua", service)) if !service.trim().is_empty() => Ok(service.trim().to_owned()),
        _ => {
            let why = format!("{key} is no service in Lua: write 'snlua' and its name");
            Err(configuration.wrong(key, why))
        }
    }
}

fn loops(configuration: &Configuration) -> Result<u8, ConfigurationError> {
    let Some(text) = configuration.get("thread") else {
        return Ok(DEFAULT_LOOPS);
    };
    match text.parse() {
        Ok(0) | Err(_) => Err(configuration.wrong("thread", "thread is a number from 1 to 255")),
        Ok(loops) => Ok(loops),
    }
}

/// As skynet has it.
const DEFAULT_LOOPS: u8 = 8;

/// The user's own loader. That of skynet's tree does what the program does itself: it may be there or not.
fn loader(configuration: &Configuration) -> Result<Option<String>, ConfigurationError> {
    let Some(file) = configuration.get("lualoader") else {
        return Ok(None);
    };
    let path = Path::new(file);
    if !path.is_file() {
        if path.ends_with("lualib/loader.lua") {
            return Ok(None);
        }
        let why =
            format!("there is no file {file}: leave lualoader out, services are loaded without it");
        return Err(configuration.wrong("lualoader", why));
    }
    let is_skynets = path.with_file_name("skynet.lua").is_file();
    Ok((!is_skynets).then(|| file.to_owned()))
}

fn log(configuration: &Configuration) -> Result<Log, ConfigurationError> {
    let name = configuration.get("logger");
    match (configuration.get("logservice").unwrap_or("logger"), name) {
        ("logger", None) => Ok(Log::StandardOutput),
        ("logger", Some(file)) => Ok(Log::File(file.into())),
        ("snlua", Some(service)) => Ok(Log::Service(service.to_owned())),
        ("snlua", None) => {
            let why = "logservice = 'snlua' needs the name of a service: set logger";
            Err(configuration.wrong("logservice", why))
        }
        _ => {
            let why = "logservice is 'logger', or 'snlua' for a service in Lua that logger names";
            Err(configuration.wrong("logservice", why))
        }
    }
}
