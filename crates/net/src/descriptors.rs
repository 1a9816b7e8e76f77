//! Room for descriptors.

use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Socket, Type};

/// Makes the kernel's table of this process's descriptors large enough for `count` of them, or for as many as
/// the limit of open files allows, and says which.
///
/// The kernel doubles a table that is full, and while several threads share it each doubling holds the thread
/// that opens a descriptor for some 15 ms: on the way to 10,000 connections seven times. Call this before
/// threads are started; it takes 8 bytes of the kernel's memory for each. It does not raise the limit.
///
/// # Errors
/// The system's, if it has no descriptor or memory left.
pub fn reserve_descriptors(count: u32) -> io::Result<u32> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = u64::from(count).min(limit);
    let Some(last) = count
        .checked_sub(1)
        .and_then(|last| i32::try_from(last).ok())
    else {
        return Ok(0);
    };
    let any = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The table reaches to the highest descriptor, and never shrinks.
    match fcntl_dupfd_cloexec(&any, last) {
        Ok(_) => Ok(count as u32),
        // That place and all behind it are taken: it is as large as that.
        Err(rustix::io::Errno::MFILE) => Ok(count as u32),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    fn table_size() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        line.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn the_table_grows_at_once_and_nothing_stays_open() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let wanted = 3000.min(limit as u32);
        assert_eq!(reserve_descriptors(wanted).unwrap(), wanted);
        assert!(table_size() >= u64::from(wanted), "{}", table_size());
        let last = format!("/proc/self/fd/{}", wanted - 1);
        assert!(fs::symlink_metadata(last).is_err());
    }

    #[test]
    fn more_than_the_limit_is_as_many_as_the_limit() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if limit <= 1 << 20 {
            assert_eq!(u64::from(reserve_descriptors(u32::MAX).unwrap()), limit);
        }
        assert_eq!(reserve_descriptors(0).unwrap(), 0);
    }
}
