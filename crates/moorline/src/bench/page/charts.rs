//! The charts of one run or of two.

use hdrhistogram::Histogram;

use super::super::latencies::{Range, ranges};
use super::super::series::{Intervals, Part};
use super::super::time::Time;
use super::markup::{decimal, number, percent};
use super::plot::Plot;

/// Rows of a table over time: each has several of the chart's intervals.
const ROWS: usize = 60;

/// The names of two runs on one axis.
pub(super) const NAMES: [&str; 2] = ["A", "B"];
const KINDS: [&str; 2] = ["one", "two"];

/// How the latencies of one run, or of two, are distributed.
pub(super) fn histogram(latencies: &[&Histogram<u64>]) -> Plot {
    let ranges = ranges(latencies);
    let most = ranges.iter().flat_map(|range| &range.shares);
    let most = most.copied().fold(0.0, f64::max);
    let caption = match latencies {
        [_] => {
            "The part of the answers that took a time in each range. The scale of times is logarithmic."
        }
        _ => {
            "The part of each run's answers that took a time in each range: A is the area, B the dashed line. The scale of times is logarithmic."
        }
    };
    let mut plot = Plot::new("Latency histogram", caption.to_owned());
    plot.across(1.0, &percent(most));
    let width = 1.0 / ranges.len().max(1) as f64;
    let height = |range: &Range, of: usize| range.shares[of] / most.max(f64::MIN_POSITIVE);
    for (at, range) in ranges.iter().enumerate().filter(|_| latencies.len() == 1) {
        let from = at as f64 * width;
        plot.bar(from, from + width, height(range, 0), "one");
    }
    for of in (0..latencies.len()).filter(|_| latencies.len() > 1) {
        let steps = ranges.iter().enumerate().flat_map(|(at, range)| {
            let from = at as f64 * width;
            [(from, height(range, of)), (from + width, height(range, of))]
        });
        let steps: Vec<_> = steps.collect();
        if of == 0 {
            plot.area(&steps, KINDS[0]);
        }
        plot.line(&steps, KINDS[of]);
    }
    let each = ranges.len().div_ceil(5).max(1);
    for (at, range) in ranges.iter().enumerate().step_by(each) {
        plot.tick(at as f64 * width, &shown(range.from));
    }
    let row = |range: &Range| {
        let bounds = format!("{} – {}", shown(range.from), shown(range.to));
        let shares = range.shares.iter().map(|share| percent(*share));
        [bounds].into_iter().chain(shares).collect()
    };
    let rows: Vec<Vec<String>> = ranges.iter().map(row).collect();
    match latencies {
        [_] => plot.table(&["took", "of the answers"], &rows),
        _ => plot.table(&["took", NAMES[0], NAMES[1]], &rows),
    }
}

/// Parts of the answers whose slowest one is shown.
const PARTS: [f64; 12] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999, 1.0,
];

/// The latencies below which parts of the answers stay.
pub(super) fn percentiles(latencies: &[&Histogram<u64>]) -> Plot {
    let most = latencies.iter().map(|one| one.len()).max().unwrap_or(0);
    // Each step to the right has a tenth of the answers of the one before it.
    let nines = (most.max(10) as f64).log10();
    let answered = || latencies.iter().filter(|one| !one.is_empty());
    let fastest = answered().map(|one| one.min()).min().unwrap_or(1).max(1);
    let slowest = answered().map(|one| one.max()).max().unwrap_or(10);
    let (low, high) = (
        (fastest as f64).log10().floor(),
        (slowest as f64).log10().ceil(),
    );
    let span = (high - low).max(1.0);
    let caption = "The time within which each part of the answers came. Both scales are logarithmic: each step to the right leaves a tenth of the answers.";
    let mut plot = Plot::new("Percentiles", caption.to_owned());
    for power in (low as i32 + 1)..=(low + span) as i32 {
        let value = 10f64.powi(power);
        plot.across(
            (f64::from(power) - low) / span,
            &Time(value / 1000.0).to_string(),
        );
    }
    for (of, latency) in latencies.iter().enumerate() {
        plot.line(
            &curve(latency, nines, |ns| (ns.max(1.0).log10() - low) / span),
            KINDS[of],
        );
    }
    for (part, name) in [
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
    ] {
        let at = -f64::log10(1.0 - part) / nines;
        if at <= 1.0 {
            plot.tick(at, name);
        }
    }
    let is_told = |part: &&f64| **part == 1.0 || (1.0 - **part) * most as f64 >= 1.0;
    let row = |part: &f64| {
        let name = match *part {
            0.0 => "fastest".to_owned(),
            1.0 => "slowest".to_owned(),
            part => format!("{} %", ((part * 1e7).round() / 1e5)),
        };
        let values = latencies
            .iter()
            .map(|one| shown(one.value_at_quantile(*part)));
        [name].into_iter().chain(values).collect()
    };
    let rows: Vec<Vec<String>> = PARTS.iter().filter(is_told).map(row).collect();
    match latencies {
        [_] => plot.table(&["of the answers", "within"], &rows),
        _ => plot.table(&["of the answers", NAMES[0], NAMES[1]], &rows),
    }
}

/// The places of a curve, from the fastest answer to the slowest.
fn curve(latency: &Histogram<u64>, nines: f64, height: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    /// Enough for a smooth line.
    const STEPS: u32 = 240;
    if latency.is_empty() {
        return Vec::new();
    }
    let end = (latency.len() as f64).log10().max(1.0);
    let place = |step: u32| {
        let at = end * f64::from(step) / f64::from(STEPS);
        let value = latency.value_at_quantile(1.0 - 10f64.powf(-at));
        (at / nines, height(value as f64))
    };
    let slowest = (end / nines, height(latency.max() as f64));
    (0..STEPS).map(place).chain([slowest]).collect()
}

/// Answers a second, from the beginning to the end. `total` is the run's length in seconds.
pub(super) fn throughput(runs: &[(&Intervals, f64)]) -> Plot {
    let rate = |length: f64, part: Part| match length > 0.0 {
        true => part.answers as f64 / length,
        false => 0.0,
    };
    let caption = "Right answers a second, from the beginning of the measured time to its end.";
    let plot = over_time("Throughput", caption, runs, &rate, &|value| {
        format!("{}/s", decimal(value))
    });
    with_rows(plot, runs, "answers a second", |length, part| {
        decimal(rate(length, part))
    })
}

/// The slowest answer of each interval.
pub(super) fn slowest(runs: &[(&Intervals, f64)]) -> Plot {
    let slowest = |_: f64, part: Part| part.slowest_us;
    let caption = "The slowest answer that came in each interval. A peak is a time in which the server stood still, or was busy with something else.";
    let plot = over_time("Slowest answers", caption, runs, &slowest, &|value| {
        Time(value).to_string()
    });
    with_rows(plot, runs, "slowest", |_, part| {
        Time(part.slowest_us).to_string()
    })
}

/// The errors of one run.
pub(super) fn errors(intervals: &Intervals, total: f64) -> Plot {
    let groups = intervals.grouped(total, usize::MAX);
    let most = groups
        .iter()
        .map(|(.., part)| part.errors)
        .max()
        .unwrap_or(0);
    let caption = "Connections that failed and answers that were wrong, in each interval.";
    let mut plot = Plot::new("Errors", caption.to_owned());
    plot.across(1.0, &number(most));
    for (begin, length, part) in groups {
        let height = part.errors as f64 / most.max(1) as f64;
        plot.bar(begin / total, (begin + length) / total, height, "bad");
    }
    times(&mut plot, total);
    with_rows(plot, &[(intervals, total)], "errors", |_, part| {
        number(part.errors)
    })
}

/// Something of each interval as a line for each run, on one axis.
fn over_time(
    title: &str,
    caption: &str,
    runs: &[(&Intervals, f64)],
    value: &dyn Fn(f64, Part) -> f64,
    show: &dyn Fn(f64) -> String,
) -> Plot {
    let longest = runs.iter().map(|(_, total)| *total).fold(0.0, f64::max);
    let lines: Vec<Vec<(f64, f64)>> = runs
        .iter()
        .map(|(intervals, total)| {
            let groups = intervals.grouped(*total, usize::MAX).into_iter();
            let place = |(begin, length, part): (f64, f64, Part)| {
                ((begin + length / 2.0) / longest, value(length, part))
            };
            groups.map(place).collect()
        })
        .collect();
    let most = lines
        .iter()
        .flatten()
        .map(|place| place.1)
        .fold(0.0, f64::max);
    let caption = match runs {
        [_] => caption.to_owned(),
        _ => format!("{caption} A is the solid line, B the dashed one."),
    };
    let mut plot = Plot::new(title, caption);
    plot.across(1.0, &show(most));
    plot.across(0.5, &show(most / 2.0));
    for (line, kind) in lines.iter().zip(KINDS) {
        let places = line
            .iter()
            .map(|(at, value)| (*at, value / most.max(f64::MIN_POSITIVE)));
        plot.line(&places.collect::<Vec<_>>(), kind);
    }
    times(&mut plot, longest);
    plot
}

/// Labels of seconds below.
fn times(plot: &mut Plot, total: f64) {
    for quarter in 0..=4 {
        let at = f64::from(quarter) / 4.0;
        plot.tick(at, &format!("{} s", decimal(total * at)));
    }
}

/// The table behind a chart over time.
fn with_rows(
    plot: Plot,
    runs: &[(&Intervals, f64)],
    what: &str,
    show: impl Fn(f64, Part) -> String,
) -> Plot {
    let groups: Vec<_> = runs
        .iter()
        .map(|(intervals, total)| intervals.grouped(*total, ROWS))
        .collect();
    let count = groups.iter().map(Vec::len).max().unwrap_or(0);
    let row = |at: usize| {
        let cells = groups.iter().map(|groups| match groups.get(at) {
            Some((begin, length, part)) => [format!("{} s", decimal(*begin)), show(*length, *part)],
            None => ["–".to_owned(), "–".to_owned()],
        });
        cells.flatten().collect()
    };
    let rows: Vec<Vec<String>> = (0..count).map(row).collect();
    let of = |name: &str| format!("{name}: {what}");
    match runs {
        [_] => plot.table(&["from", what], &rows),
        _ => plot.table(&["A from", &of("A"), "B from", &of("B")], &rows),
    }
}

fn shown(nanoseconds: u64) -> String {
    Time(nanoseconds as f64 / 1000.0).to_string()
}
