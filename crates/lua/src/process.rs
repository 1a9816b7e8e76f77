//! What the Lua services of a process share.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use moorline_actor::ServiceId;
use rustc_hash::FxHashMap;

use crate::builtin::Builtins;

/// One for the process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where services are found: patterns with `?`, separated by semicolons.
    pub(crate) service_path: String,
    /// Where `require` looks, as `package.path`.
    pub(crate) lua_path: String,
    pub(crate) lua_cpath: String,
    /// Values of `getenv`.
    environment: Mutex<FxHashMap<String, String>>,
    pub(crate) builtins: Builtins,
    pub(crate) services: Services,
    /// The first service did not start.
    pub(crate) has_failed: AtomicBool,
    /// Seconds since 1970 at the start.
    pub(crate) start_time: u64,
    /// Bytes that one service may use, unless it says otherwise.
    pub(crate) memory_limit: usize,
}

impl Process {
    pub(crate) fn new(path: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            service_path: path.to_owned(),
            lua_path: path.to_owned(),
            lua_cpath: path
                .split(';')
                .filter_map(|pattern| pattern.strip_suffix(".lua"))
                .map(|pattern| format!("{pattern}.so"))
                .collect::<Vec<_>>()
                .join(";"),
            environment: Mutex::default(),
            builtins: Builtins::default(),
            services: Services::default(),
            has_failed: AtomicBool::new(false),
            start_time: now.map_or(0, |now| now.as_secs()),
            memory_limit: half_of_memory(),
        }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        environment.get(name).cloned()
    }

    /// Sets a variable once. False if it has a value.
    pub(crate) fn set_variable(&self, name: &str, value: &str) -> bool {
        let mut environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if environment.contains_key(name) {
            return false;
        }
        environment.insert(name.to_owned(), value.to_owned());
        true
    }

    /// The file of a service, and the pattern that named it.
    pub(crate) fn find(&self, name: &str) -> Result<(PathBuf, &str), String> {
        let mut tried = String::new();
        for pattern in self.service_path.split(';').filter(|text| !text.is_empty()) {
            let path = PathBuf::from(pattern.replace('?', name));
            if path.is_file() {
                return Ok((path, pattern));
            }
            tried += &format!("\n\tno file '{}'", path.display());
        }
        Err(format!("cannot find service {name}:{tried}"))
    }
}

/// The Lua services that live, each with its name and arguments.
#[derive(Debug, Default)]
pub(crate) struct Services(Mutex<FxHashMap<ServiceId, Box<str>>>);

impl Services {
    pub(crate) fn add(&self, id: ServiceId, line: &str) {
        self.lines().insert(id, line.into());
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
