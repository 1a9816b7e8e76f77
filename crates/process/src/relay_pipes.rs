//! The pipes of relays that move much: how much of them the kernel allows a user.

use std::fmt;

use moorline_config::{Config, Destination};
use moorline_net::Address;

/// Pipes of one loop.
pub const MOST: usize = 64;
/// The capacity of one in bytes, if the kernel allows it.
pub const BYTES: usize = 256 * 1024;
/// The pages of all pipes that a user without rights may have; 0: any number.
const LIMIT: &str = "/proc/sys/fs/pipe-user-pages-soft";

/// What the pipes of all loops take at most, compared with what the kernel allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayPipes {
    pipes: usize,
    /// The kernel counts pages (pipe(7)).
    page_bytes: usize,
    /// 0: any number. `None`: it is not known.
    allowed: Option<usize>,
}

impl RelayPipes {
    /// For this configuration, if it relays connections.
    pub fn of(config: &Config) -> Option<Self> {
        let relays = config
            .listeners
            .iter()
            .filter(|listener| !matches!(listener.address, Address::Udp(_)))
            .any(|it| !matches!(it.destination, None | Some(Destination::Return(_))));
        let text = std::fs::read_to_string(LIMIT).unwrap_or_default();
        let allowed = text.trim().parse().ok();
        relays.then_some(Self {
            pipes: usize::from(config.engine.gateway_loops) * MOST,
            page_bytes: rustix::param::page_size(),
            allowed,
        })
    }

    fn pages(&self) -> usize {
        self.pipes * BYTES.div_ceil(self.page_bytes)
    }

    /// Whether the kernel allows as much as the pipes may take.
    pub fn fit(&self) -> bool {
        self.allowed
            .is_none_or(|pages| pages == 0 || self.pages() <= pages)
    }
}

impl fmt::Display for RelayPipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pipes, pages) = (self.pipes, self.pages());
        write!(
            f,
            "relays that move much use up to {pipes} pipes of {pages} pages"
        )?;
        match self.allowed {
            Some(0) => f.write_str("; the kernel allows any number"),
            Some(allowed) => write!(
                f,
                "; the kernel allows a user {allowed} (fs.pipe-user-pages-soft), root any number"
            ),
            None => f.write_str("; how many the kernel allows is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_of_many_loops_need_more_than_the_kernel_allows_by_default() {
        let of = |loops: usize| RelayPipes {
            pipes: loops * MOST,
            page_bytes: 4096,
            allowed: Some(16_384),
        };
        assert!(of(4).fit());
        assert!(!of(5).fit());
        let of_large_pages = RelayPipes {
            page_bytes: 65_536,
            ..of(64)
        };
        assert!(of_large_pages.fit());
        let any = RelayPipes {
            allowed: Some(0),
            ..of(64)
        };
        assert!(any.fit());
        let text = "relays that move much use up to 128 pipes of 8192 pages; the kernel allows a user 16384 (fs.pipe-user-pages-soft), root any number";
        assert_eq!(of(2).to_string(), text);
    }
}
