//! How the supervisor starts its children: their environment variables and descriptors.

use std::os::fd::RawFd;

use moorline_config::HelperTask;
use serde::{Deserialize, Serialize};

/// The environment variable that makes a process a role.
pub const ROLE_VARIABLE: &str = "MOORLINE_ROLE";
/// The environment variable that makes a process a helper. Its value: a [`HelperStart`] in JSON.
pub const HELPER_VARIABLE: &str = "MOORLINE_HELPER";
/// Where a role finds its control channel.
pub const CONTROL_FD: RawFd = 3;
/// Where a role finds the executable it was started from. It stays open across exec, so that the interpreter of a
/// script can read it, too.
pub const EXECUTABLE_FD: RawFd = 4;

/// The options that a helper is started with. One that serves `[admin]` finds the stream of its questions at [`CONTROL_FD`].
#[derive(Debug, Serialize, Deserialize)]
pub struct HelperStart {
    /// What it does.
    pub task: HelperTask,
    /// The user to become.
    pub user: Option<String>,
    /// The group to become.
    pub group: Option<String>,
    /// The soft limit of open files that the supervisor was started with.
    pub open_files: Option<u64>,
}
