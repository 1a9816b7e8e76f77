//! Values by IP address.

use std::cmp::Reverse;
use std::net::IpAddr;

use moorline_config::{Addresses, Template};

/// Values by IP address: the narrowest entry that has it decides.
#[derive(Debug)]
pub(super) struct Networks {
    v4: Segments,
    v6: Segments,
    values: Vec<Template>,
}

/// Where each segment begins, in order, and the place of its value.
type Segments = Vec<(u128, Option<u32>)>;

impl Networks {
    /// Entries are within each other, or beside each other.
    pub(super) fn new(entries: &[(Addresses, Template)]) -> Self {
        let of_family = |is_v4: bool| {
            let entries = (0..)
                .zip(entries)
                .map(|(at, (addresses, _))| (at, addresses));
            let entries = entries.filter(|(_, addresses)| addresses.first.is_ipv4() == is_v4);
            entries
                .map(|(at, it)| (number(it.first), number(it.last), at))
                .collect()
        };
        Self {
            v4: segments(of_family(true)),
            v6: segments(of_family(false)),
            values: entries.iter().map(|(_, value)| value.clone()).collect(),
        }
    }

    pub(super) fn find(&self, address: IpAddr) -> Option<&Template> {
        let segments = if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        let after = segments.partition_point(|(begin, _)| *begin <= number(address));
        let (_, value) = segments.get(after.checked_sub(1)?)?;
        self.values.get(value.as_ref().copied()? as usize)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// Cuts nested ranges into segments beside each other. Of several that begin at one place the last one holds.
fn segments(mut ranges: Vec<(u128, u128, u32)>) -> Segments {
    ranges.sort_by_key(|(first, last, _)| (*first, Reverse(*last)));
    let mut segments = Segments::new();
    let mut around: Vec<(u128, u32)> = Vec::new();
    let close = |around: &mut Vec<(u128, u32)>, segments: &mut Segments, last: u128| {
        let outer = around.last().map(|(_, value)| *value);
        segments.extend(last.checked_add(1).map(|next| (next, outer)));
    };
    for (first, last, value) in ranges {
        while let Some((ended, _)) = around.pop_if(|(last, _)| *last < first) {
            close(&mut around, &mut segments, ended);
        }
        segments.push((first, Some(value)));
        around.push((last, value));
    }
    while let Some((ended, _)) = around.pop() {
        close(&mut around, &mut segments, ended);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The narrowest of all that have it, one by one.
    fn narrowest(ranges: &[(u128, u128, u32)], number: u128) -> Option<u32> {
        let has = |(first, last, _): &&(u128, u128, u32)| (*first..=*last).contains(&number);
        let found = ranges
            .iter()
            .filter(has)
            .min_by_key(|(first, last, _)| last - first);
        found.map(|(_, _, value)| *value)
    }

    #[test]
    fn the_narrowest_range_decides() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            // Of prefixes, which never overlap by a part.
            let mut ranges: Vec<(u128, u128, u32)> = Vec::new();
            for value in 0..random.u32(1..20) {
                let bits = random.u32(0..=8);
                let first = u128::from(random.u8(..)) >> bits << bits;
                let last = first + (1 << bits) - 1;
                if !ranges.iter().any(|it| (it.0, it.1) == (first, last)) {
                    ranges.push((first, last, value));
                }
            }
            let segments = segments(ranges.clone());
            for number in 0..=256 {
                let after = segments.partition_point(|(begin, _)| *begin <= number);
                let found = after.checked_sub(1).and_then(|at| segments[at].1);
                assert_eq!(found, narrowest(&ranges, number), "{number} in {ranges:?}");
            }
        }
    }
}
