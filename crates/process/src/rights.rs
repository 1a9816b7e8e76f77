//! Giving up the rights of the supervisor's user.

use std::io;
use std::path::Path;

use nix::unistd::{Gid, Group, User, chdir, chroot, geteuid, setgid, setgroups, setuid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
};

/// Becomes this user and group, if the process runs as root and one is given, and never gets rights back. A process
/// that becomes a user sees this folder as `/` from then on, if there is one; root could leave it. No other process of
/// that user may read its memory. Only the calling thread keeps what is kept, and threads that it starts.
///
/// Without root there are no rights to drop, so names are not looked up.
///
/// # Errors
/// An unknown name, or a step that the kernel refused. The process must not continue then.
pub fn drop_to(
    user: Option<&str>,
    group: Option<&str>,
    root: Option<&Path>,
    kept: Kept,
) -> io::Result<()> {
    if geteuid().is_root() && (user.is_some() || group.is_some()) {
        if kept == Kept::OtherAddresses {
            set_keep_capabilities(true).map_err(|error| failed("keeping a right", error.into()))?;
        }
        change(user, group, root.filter(|_| user.is_some()))?;
        if kept == Kept::OtherAddresses && user.is_some() {
            keep_only(CapabilitySet::NET_RAW)?;
        }
        if user.is_some() {
            // The kernel does this, too, unless it is configured otherwise (`fs.suid_dumpable`).
            hide_memory()?;
        }
    }
    rustix::thread::set_no_new_privs(true).map_err(|error| failed("no_new_privs", error.into()))
}

/// What remains of root's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// None.
    Nothing,
    /// Sockets may have addresses of other machines (`CAP_NET_RAW`).
    OtherAddresses,
}

/// Whether sockets of this thread may have addresses of other machines.
pub fn may_use_other_addresses() -> bool {
    let wanted = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    capabilities(None).is_ok_and(|sets| sets.effective.intersects(wanted))
}

/// Drops all capabilities except these, if the process had them.
fn keep_only(wanted: CapabilitySet) -> io::Result<()> {
    let keep = || {
        let kept = capabilities(None)?.permitted & wanted;
        set_capabilities(
            None,
            CapabilitySets {
                effective: kept,
                permitted: kept,
                inheritable: CapabilitySet::empty(),
            },
        )
    };
    keep().map_err(|error| failed("keeping a right", error.into()))
}

fn change(user: Option<&str>, group: Option<&str>, root: Option<&Path>) -> io::Result<()> {
    let user = match user {
        Some(name) => Some(
            User::from_name(name)
                .map_err(|error| failed("looking the user up", error.into()))?
                .ok_or_else(|| unknown("user", name))?,
        ),
        None => None,
    };
    let gid = match (group, &user) {
        (Some(name), _) => Some(
            Group::from_name(name)
                .map_err(|error| failed("looking the group up", error.into()))?
                .ok_or_else(|| unknown("group", name))?
                .gid,
        ),
        (None, Some(user)) => Some(user.gid),
        (None, None) => None,
    };
    // After the names were looked up: their files may be out of reach then.
    if let Some(root) = root {
        chroot(root).map_err(|error| failed("changing the root folder", error.into()))?;
        // Files outside could still be reached from the folder that the process was started in.
        chdir("/").map_err(|error| failed("entering the new root folder", error.into()))?;
    }
    // The group first: only root may change it.
    setgroups(&[] as &[Gid])
        .map_err(|error| failed("giving up supplementary groups", error.into()))?;
    if let Some(gid) = gid {
        setgid(gid).map_err(|error| failed("changing the group", error.into()))?;
    }
    if let Some(user) = user {
        setuid(user.uid).map_err(|error| failed("changing the user", error.into()))?;
    }
    Ok(())
}

/// No other process of the same user may read this one's memory: it holds every session's bytes.
pub fn hide_memory() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| failed("making the process not dumpable", error.into()))
}

fn unknown(what: &str, name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("there is no {what} {name:?} on this machine"),
    )
}

fn failed(step: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{step} failed: {error}"))
}
