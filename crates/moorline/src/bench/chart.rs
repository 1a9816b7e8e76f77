//! The histogram drawn in the terminal.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::time::Time;

/// One row: the number of answers that took this time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Bar {
    from_us: f64,
    /// Exclusive; `None` for the last row, in which the slowest thousandth lies.
    to_us: Option<f64>,
    count: u64,
}

/// Twelve steps a decade, the E12 series of preferred numbers: rows are about equally wide on a logarithmic
/// scale and begin at numbers that read well.
const STEPS: [u64; 12] = [100, 120, 150, 180, 220, 270, 330, 390, 470, 560, 680, 820];

/// More rows than this are hard to read.
const MOST_ROWS: usize = 20;

/// Rows from the fastest answer to the slowest; the tail past p99.9 lies in the last one.
pub(super) fn bars(latency: &Histogram<u64>) -> Vec<Bar> {
    if latency.is_empty() {
        return Vec::new();
    }
    let last = latency.value_at_quantile(0.999);
    let mut recorded = latency.iter_recorded().peekable();
    let mut bars = Vec::new();
    for (from, to) in edges().skip_while(|&(_, to)| to <= latency.min()) {
        let is_last = to > last || bars.len() + 1 == MOST_ROWS;
        let mut count = 0;
        while let Some(value) = recorded.next_if(|value| is_last || value.value_iterated_to() < to)
        {
            count += value.count_at_value();
        }
        bars.push(Bar {
            from_us: from as f64 / 1000.0,
            to_us: (!is_last).then_some(to as f64 / 1000.0),
            count,
        });
        if is_last {
            break;
        }
    }
    bars
}

/// Each row's lower and upper edge, from 100 ns upwards without end; the first begins at 0.
pub(super) fn edges() -> impl Iterator<Item = (u64, u64)> {
    let edge = |index: u32| STEPS[index as usize % 12] * 10u64.pow(index / 12);
    // Up to 100 ns · 10¹⁵, past everything a histogram holds.
    (0..180).map(move |index| (if index == 0 { 0 } else { edge(index) }, edge(index + 1)))
}

/// Draws one row a line.
pub(super) fn draw(bars: &[Bar], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0);
    for bar in bars {
        let to = bar
            .to_us
            .map_or_else(|| "more".to_owned(), |to| Time(to).to_string());
        writeln!(
            f,
            "  {:>8} – {to:<8} {:<WIDTH$} {:6.2} %",
            Time(bar.from_us),
            blocks(bar.count, most),
            bar.count as f64 * 100.0 / total as f64,
        )?;
    }
    Ok(())
}

/// Characters of the longest bar: a row fits 80 columns.
const WIDTH: usize = 44;

/// A bar in eighths of a character; every count over zero shows.
fn blocks(count: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let length = (count as f64 / most.max(1) as f64 * (WIDTH * 8) as f64).round() as usize;
    let length = length.max(usize::from(count > 0));
    format!("{}{}", "█".repeat(length / 8), EIGHTHS[length % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_in_one_row() {
        let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        for nanoseconds in (0..6000).map(|step| 5 + step * step) {
            latency.record(nanoseconds).unwrap();
        }
        let bars = bars(&latency);
        assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), 6000);
        assert_eq!(bars.len(), MOST_ROWS);
        assert_eq!(bars[0].from_us, 0.0);
        for pair in bars.windows(2) {
            assert_eq!(pair[0].to_us, Some(pair[1].from_us));
        }
        assert_eq!(bars.last().map(|bar| bar.to_us), Some(None));
    }

    #[test]
    fn no_answer_draws_nothing() {
        let latency = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        assert_eq!(bars(&latency), []);
    }

    #[test]
    fn bars_have_eighths() {
        assert_eq!(blocks(0, 100), "");
        assert_eq!(blocks(1, 100_000), "▏");
        assert_eq!(blocks(50, 100), "█".repeat(WIDTH / 2));
        assert_eq!(blocks(100, 100), "█".repeat(WIDTH));
    }
}
