//! What the Lua services of a process share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moorline_actor::ServiceId;
use moorline_net::{DialOptions, Dialer, KeepAlive, SocketOptions};
use rustc_hash::FxHashMap;

use crate::builtin::{Builtin, Builtins};
use crate::commons::Commons;
use crate::foreign::{FIRST_FOREIGN_SOCKET, ForeignModule, ForeignSockets, ForeignStreams};
use crate::message_logs::MessageLogs;
use crate::options::RunOptions;
use crate::scripts::Scripts;
use crate::socket::SocketRegistry;
use crate::watches::Watches;

/// One for the process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where services are found: patterns with `?`, separated by semicolons.
    pub(crate) service_path: String,
    /// Where `require` looks, as `package.path`.
    pub(crate) lua_path: String,
    pub(crate) lua_cpath: String,
    /// A file that runs in each service before its own.
    pub(crate) preload: Option<String>,
    /// A script of the user's that loads services.
    pub(crate) loader: Option<String>,
    /// Values of `getenv`.
    environment: Mutex<FxHashMap<String, String>>,
    pub(crate) builtins: &'static Builtins,
    pub(crate) scripts: Scripts,
    /// Modules of the program that embeds the services.
    pub(crate) foreign: Vec<ForeignModule>,
    foreign_sockets: Option<ForeignSockets>,
    pub(crate) services: Services,
    /// What modules share.
    pub(crate) commons: Commons,
    pub(crate) sockets: SocketRegistry,
    /// Opens connections.
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) watches: Watches,
    pub(crate) message_logs: MessageLogs,
    /// The loop of the services that answer while others do not return.
    pub(crate) own_loop: Option<usize>,
    /// The number of the script that is a client and no service, if there is one: it may take its time, and end when it wants to.
    pub(crate) client: AtomicU32,
    /// The first service did not start.
    pub(crate) has_failed: AtomicBool,
    /// Seconds since 1970 at the start.
    pub(crate) start_time: u64,
    /// Bytes that one service may use, unless it says otherwise.
    pub(crate) memory_limit: usize,
}

impl Process {
    pub(crate) fn new(options: &RunOptions) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            service_path: options.service_path.clone(),
            lua_path: options.lua_path.clone(),
            lua_cpath: options.lua_cpath.clone(),
            preload: options.preload.clone(),
            loader: options.loader.clone(),
            environment: Mutex::new(options.environment.clone().into_iter().collect()),
            builtins: Builtins::shared(),
            scripts: Scripts::default(),
            foreign: Vec::new(),
            foreign_sockets: None,
            services: Services::default(),
            commons: Commons::default(),
            sockets: SocketRegistry::default(),
            dialer: Arc::new(Dialer::new(
                DialOptions::default()
                    .socket(SocketOptions::default().keep_alive(Some(KeepAlive::default()))),
            )),
            watches: Watches::default(),
            message_logs: MessageLogs::default(),
            own_loop: None,
            client: AtomicU32::new(0),
            has_failed: AtomicBool::new(false),
            start_time: now.map_or(0, |now| now.as_secs()),
            memory_limit: half_of_memory(),
        }
    }

    /// What an embedding program adds.
    pub(crate) fn embed(&mut self, modules: Vec<ForeignModule>, sockets: Option<ForeignSockets>) {
        self.foreign = modules;
        self.foreign_sockets = sockets;
    }

    /// What a number is sent by that is not one of a service's socket.
    pub(crate) fn foreign_socket(&self, id: u32) -> Option<ForeignSockets> {
        self.foreign_sockets.filter(|_| id >= FIRST_FOREIGN_SOCKET)
    }

    /// Whether a script is the client of `client.socket`.
    pub(crate) fn is_client(&self, id: ServiceId) -> bool {
        self.client.load(Ordering::Relaxed) == id.number()
    }

    /// How connections of the embedding program are listened for.
    pub(crate) fn foreign_streams(&self) -> Option<ForeignStreams> {
        self.foreign_sockets.map(|sockets| sockets.streams)
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        environment.get(name).cloned()
    }

    /// Begins to write what a service receives to a file in the folder `logpath` of the configuration.
    ///
    /// # Errors
    /// There is no such service or folder, or too many files.
    pub(crate) fn log_messages(&self, id: ServiceId, uptime: Duration) -> Result<String, String> {
        if !self.services.has(id) {
            return Err(format!("there is no service {id}"));
        }
        let Some(folder) = self.variable("logpath") else {
            return Err("the configuration has no logpath: set it to a folder".to_owned());
        };
        let path = self.message_logs.begin(Path::new(&folder), id, uptime)?;
        Ok(path.display().to_string())
    }

    /// Sets a variable once.
    ///
    /// # Errors
    /// It has a value, or there are too many.
    pub(crate) fn set_variable(&self, name: &str, value: &str) -> Result<(), String> {
        let mut environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if environment.contains_key(name) {
            return Err(format!("Can't setenv exist key : {name}"));
        }
        if environment.len() >= MOST_VARIABLES {
            return Err(format!("there are too many values (>{MOST_VARIABLES})"));
        }
        if name.len() + value.len() > LONGEST_VARIABLE {
            return Err(format!(
                "the value is too long (>{LONGEST_VARIABLE} bytes with its key)"
            ));
        }
        environment.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// What runs under a service's name.
    ///
    /// # Errors
    /// There is no such service: the error names the files that were tried.
    pub(crate) fn find(&self, name: &str) -> Result<ServiceCode<'_>, String> {
        let builtin = self.builtins.service(name);
        let mut tried = String::new();
        for pattern in self.service_path.split(';').filter(|text| !text.is_empty()) {
            let path = PathBuf::from(pattern.replace('?', name));
            if path.is_file() {
                return Ok(match builtin {
                    Some(builtin) if is_skynets(&path) => ServiceCode::Builtin(builtin),
                    _ => ServiceCode::File(path, pattern),
                });
            }
            tried += &format!("\n\tno file '{}'", path.display());
        }
        match builtin {
            Some(builtin) => Ok(ServiceCode::Builtin(builtin)),
            None => Err(format!("cannot find service {name}:{tried}")),
        }
    }
}

/// The most values of `setenv` with those of the configuration. They stay as long as the process.
const MOST_VARIABLES: usize = 16_384;
/// The most bytes of one, with its name.
const LONGEST_VARIABLE: usize = 64 << 10;

/// The services that came with the program and answer while others do not return.
const ALWAYS_THERE: &[&str] = &["console", "debug_console", "launcher", "service_mgr"];

impl Process {
    /// The loop of a service that came with the program, if it has one of its own.
    pub(crate) fn loop_of(&self, builtin: &str) -> Option<usize> {
        self.own_loop.filter(|_| ALWAYS_THERE.contains(&builtin))
    }
}

/// What runs under a service's name.
pub(crate) enum ServiceCode<'a> {
    /// A script, and the pattern that named it.
    File(PathBuf, &'a str),
    /// What came with the program. A script of the user's with its name comes first, the one of skynet's own tree does not.
    Builtin(&'static Builtin),
}

/// Whether a service lies in the folder `service` of skynet's tree: the folder `lualib` beside it has skynet's main module.
fn is_skynets(service: &Path) -> bool {
    let folder = service.parent().unwrap_or(Path::new("."));
    let is_folder = folder.file_name().is_some_and(|name| name == "service");
    is_folder && folder.join("../lualib/skynet.lua").is_file()
}

/// The Lua services that live, each with its name and arguments.
#[derive(Debug, Default)]
pub(crate) struct Services(Mutex<FxHashMap<ServiceId, Box<str>>>);

impl Services {
    pub(crate) fn add(&self, id: ServiceId, line: &str) {
        self.lines().insert(id, line.into());
    }

    pub(crate) fn has(&self, id: ServiceId) -> bool {
        self.lines().contains_key(&id)
    }

    pub(crate) fn remove(&self, id: ServiceId) {
        self.lines().remove(&id);
    }

    pub(crate) fn all(&self) -> Vec<(ServiceId, Box<str>)> {
        let lines = self.lines();
        lines.iter().map(|(id, line)| (*id, line.clone())).collect()
    }

    fn lines(&self) -> MutexGuard<'_, FxHashMap<ServiceId, Box<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A service that allocates for ever ends before the process does.
fn half_of_memory() -> usize {
    let kilobytes = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    };
    kilobytes().unwrap_or(2 << 20) / 2 * 1024
}
