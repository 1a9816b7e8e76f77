//! What a relay of datagrams keeps until its peer answers: what another peer would need.

use crate::upstreams::Attempts;

/// The bytes that one relay keeps, in datagrams with a length of two bytes each: one of the longest, or many short ones.
const MOST: usize = 66 * 1024;

/// What another peer would need if the present one cannot be reached.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) attempts: Attempts,
    /// Until when, in the loop's milliseconds.
    pub(crate) until: u64,
    /// Each datagram, with its length before it.
    datagrams: Vec<u8>,
}

impl Unanswered {
    pub(crate) fn new(attempts: Attempts) -> Self {
        Self {
            attempts,
            until: u64::MAX,
            datagrams: Vec::new(),
        }
    }

    /// The bytes that one more datagram takes, if there is room for it.
    pub(crate) fn room_for(&self, datagram: &[u8]) -> Option<usize> {
        let more = datagram.len() + 2;
        (self.datagrams.len() + more <= MOST).then_some(more)
    }

    /// Keeps one more.
    pub(crate) fn keep(&mut self, datagram: &[u8]) {
        // None is longer: UDP has 16 bits for that.
        let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
        self.datagrams.extend(length.to_ne_bytes());
        self.datagrams
            .extend_from_slice(&datagram[..usize::from(length)]);
    }

    /// Those that are kept, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = &self.datagrams[..];
        std::iter::from_fn(move || {
            let (length, rest) = left.split_first_chunk()?;
            let (datagram, rest) = rest.split_at_checked(u16::from_ne_bytes(*length).into())?;
            left = rest;
            Some(datagram)
        })
    }

    /// The bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        self.datagrams.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_back_as_they_were_kept_also_empty_ones() {
        let mut kept = Unanswered::new(Attempts::new(0));
        let long = vec![7; 65_507];
        for datagram in [&b"one"[..], b"", &long, b""] {
            assert_eq!(kept.room_for(datagram), Some(datagram.len() + 2));
            kept.keep(datagram);
        }
        let came: Vec<_> = kept.iter().collect();
        assert_eq!(came, [&b"one"[..], b"", &long, b""]);
        assert_eq!(kept.held(), 3 + 65_507 + 4 * 2);
        assert_eq!(kept.room_for(&long), None);
    }
}
