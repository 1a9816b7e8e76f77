//! How many descriptors a loop may have for connections.

/// How many descriptors there are for connections. Asked for once a millisecond: a system call for each connection is felt in a
/// storm of them.
#[derive(Debug, Default)]
pub(crate) struct DescriptorLimit {
    /// The number, and when it was asked for, in the loop's milliseconds.
    known: Option<(u64, u64)>,
}

impl DescriptorLimit {
    pub(crate) fn get(&mut self, now: u64, ask: impl FnOnce() -> u64) -> u64 {
        match self.known {
            Some((count, at)) if at == now => count,
            _ => self.known.insert((ask(), now)).0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_descriptors_is_asked_for_once_a_millisecond() {
        let mut limit = DescriptorLimit::default();
        assert_eq!(limit.get(7, || 100), 100);
        assert_eq!(limit.get(7, || unreachable!("it was asked")), 100);
        assert_eq!(limit.get(8, || 50), 50);
    }
}
