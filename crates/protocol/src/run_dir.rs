//! Where a running engine is found.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use moorline_config::CONTROL_SOCKET;
use rustix::process::geteuid;

/// The control socket in a run folder.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join(CONTROL_SOCKET)
}

/// Whether this is a folder of the user that this process runs as.
pub fn is_ours(folder: &Path) -> bool {
    fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
}
