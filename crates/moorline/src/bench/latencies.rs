//! Latencies as a histogram.

use hdrhistogram::Histogram;

use super::chart::edges;

/// The longest latency that is told apart, in nanoseconds.
pub(super) const LONGEST_NS: u64 = 60_000_000_000;

/// Nanoseconds to a minute in three digits: some 200 KiB.
pub(super) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3)
        .expect("these bounds are valid: 1 or more, twice that or more, 5 digits or fewer")
}

/// A range of latencies in nanoseconds, and the part of the answers in it, from 0 to 1, for each of several histograms.
#[derive(Debug, PartialEq)]
pub(super) struct Range {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) shares: Vec<f64>,
}

/// The ranges from the fastest answer of all to the slowest one, twelve for a factor of ten; nothing without answers.
pub(super) fn ranges(histograms: &[&Histogram<u64>]) -> Vec<Range> {
    let answered = || histograms.iter().filter(|one| !one.is_empty());
    let Some(fastest) = answered().map(|one| one.min()).min() else {
        return Vec::new();
    };
    let slowest = answered().map(|one| one.max()).max().unwrap_or(fastest);
    let mut recorded: Vec<_> = histograms
        .iter()
        .map(|one| one.iter_recorded().peekable())
        .collect();
    let mut ranges = Vec::new();
    for (from, to) in edges().skip_while(|&(_, to)| to <= fastest) {
        let shares = recorded.iter_mut().zip(histograms).map(|(values, one)| {
            let mut count = 0;
            while let Some(value) = values.next_if(|value| value.value_iterated_to() < to) {
                count += value.count_at_value();
            }
            count as f64 / one.len().max(1) as f64
        });
        let shares = shares.collect();
        ranges.push(Range { from, to, shares });
        if to > slowest {
            break;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_histograms_share_their_ranges() {
        let (mut fast, mut slow) = (empty_histogram(), empty_histogram());
        fast.record_n(1000, 3).unwrap();
        fast.record_n(1300, 1).unwrap();
        slow.record_n(1900, 2).unwrap();
        let range = |from, to, shares: [f64; 2]| Range {
            from,
            to,
            shares: shares.into(),
        };
        assert_eq!(
            ranges(&[&fast, &slow]),
            [
                range(1000, 1200, [0.75, 0.0]),
                range(1200, 1500, [0.25, 0.0]),
                range(1500, 1800, [0.0, 0.0]),
                range(1800, 2200, [0.0, 1.0])
            ]
        );
        assert_eq!(ranges(&[&empty_histogram()]), []);
    }

    #[test]
    fn the_slowest_answers_are_in_a_range() {
        let mut slow = empty_histogram();
        slow.record(1).unwrap();
        slow.saturating_record(u64::MAX);
        let ranges = ranges(&[&slow]);
        let share: f64 = ranges.iter().map(|range| range.shares[0]).sum();
        assert!((share - 1.0).abs() < 1e-9, "{share}");
        assert!(ranges.len() < 120, "{}", ranges.len());
    }
}
