//! The environment, which only a process with one thread may change.

use std::ffi::OsString;
use std::{fs, io};

/// Takes a variable out of this process's environment, so that nothing started from here has it.
///
/// Call it before anything else runs.
///
/// # Errors
/// `Other` if this process has more than one thread: another might be reading the environment.
pub fn take_variable(name: &str) -> io::Result<Option<OsString>> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other(format!(
            "{name} must be taken out of the environment before the first thread is started"
        )));
    }
    // SAFETY: the calling thread is the only one of this process, as was counted above, and it starts
    // none meanwhile; so nobody reads the environment now.
    unsafe { std::env::remove_var(name) };
    Ok(Some(value))
}
