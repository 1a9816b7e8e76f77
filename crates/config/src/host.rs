//! What defaults and checks take from the machine, not from the file.

use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{AccessFlags, Group, Pid, User, access, geteuid};

/// The machine, and the user that starts the engine.
pub(super) struct Host {
    pub(super) uid: u32,
    /// At least one.
    pub(super) cpus: u16,
    /// The numbers of those that may be used.
    pub(super) allowed_cpus: Vec<u16>,
    /// `$XDG_RUNTIME_DIR`.
    pub(super) runtime_dir: Option<PathBuf>,
    /// This user may make folders in `/run`.
    pub(super) has_run: bool,
    pub(super) knows_user: fn(&str) -> bool,
    pub(super) knows_group: fn(&str) -> bool,
}

impl Host {
    /// This machine.
    pub(super) fn current() -> Self {
        Self {
            uid: geteuid().as_raw(),
            cpus: std::thread::available_parallelism()
                .map_or(1, |cpus| u16::try_from(cpus.get()).unwrap_or(u16::MAX)),
            allowed_cpus: allowed_cpus(),
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute()),
            has_run: access("/run", AccessFlags::W_OK | AccessFlags::X_OK).is_ok(),
            knows_user: |name| User::from_name(name).is_ok_and(|user| user.is_some()),
            knows_group: |name| Group::from_name(name).is_ok_and(|group| group.is_some()),
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// The engine's folder for the configuration at `file`, unless it names one: the same for every command with this
    /// file.
    pub(super) fn default_run_dir(&self, file: &Path) -> PathBuf {
        match &self.runtime_dir {
            Some(folder) => folder.join("moorline").join(folder_name(file)),
            None => self.common_run_dir(file),
        }
    }

    /// Where that engine is also found, in any environment: the same for every command of this user.
    pub(super) fn common_run_dir(&self, file: &Path) -> PathBuf {
        let folder = match self.is_root() && self.has_run {
            // Other users can neither take that name nor write there, and no cleaner removes old files from it.
            true => PathBuf::from("/run/moorline"),
            false => PathBuf::from(format!("/tmp/moorline-{}", self.uid)),
        };
        folder.join(folder_name(file))
    }
}

/// The numbers of the CPUs that this process may use; none if the system does not report them.
pub fn allowed_cpus() -> Vec<u16> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .filter_map(|cpu| u16::try_from(cpu).ok())
        .collect()
}

/// The name of the folder with the configuration at `file`.
fn folder_name(file: &Path) -> String {
    format!("{:016x}", fnv1a(file.as_os_str().as_encoded_bytes()))
}

/// The 64-bit FNV-1a hash (RFC 9923): the same in every build, unlike the standard library's.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
