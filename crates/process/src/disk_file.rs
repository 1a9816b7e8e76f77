//! Which files can be sent: those whose bytes are on a disk when they are read.

use std::os::fd::AsFd;

use rustix::fs::{FileType, FsWord, fstat, fstatfs};

/// File systems that make up their files when they are read, or ask a process for them. A read may block for ever
/// there, and with it a loop of the gateway. `linux/magic.h` names them.
const MADE_UP: [FsWord; 6] = [
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x6573_5546, // FUSE
    0x6367_7270, // cgroup2
];

/// The reason why a file cannot be sent; `None` if there is none. May block where its file system does.
///
/// # Errors
/// The system's error for the question about the file.
pub fn is_unfit(file: impl AsFd) -> rustix::io::Result<Option<&'static str>> {
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(Some("it is not a regular file"));
    }
    let kind = fstatfs(file)?.f_type;
    Ok(MADE_UP
        .contains(&kind)
        .then_some("its file system makes it up"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    fn verdict(file: impl Into<OwnedFd>) -> Option<&'static str> {
        is_unfit(file.into()).expect("the system answers")
    }

    #[test]
    fn files_of_a_disk_are_fit_and_all_else_is_not() {
        assert_eq!(verdict(tempfile::tempfile().unwrap()), None);
        let open = |path| verdict(File::open(path).unwrap());
        assert_eq!(
            open("/proc/self/status"),
            Some("its file system makes it up")
        );
        for path in ["/", "/dev/zero"] {
            assert_eq!(open(path), Some("it is not a regular file"), "{path}");
        }
        let (pipe, _) = std::io::pipe().unwrap();
        assert_eq!(verdict(pipe), Some("it is not a regular file"));
    }
}
