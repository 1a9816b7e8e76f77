//! Two saved runs side by side.

use std::fmt::{self, Write as _};

use super::report::{Report, Shown, ShownMemory, ShownRates};
use super::saved::Saved;
use super::time::Time;

/// A run, and another that it is compared with.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) runs: [Saved; 2],
}

/// A figure of both.
#[derive(Debug, PartialEq)]
pub(super) struct ComparedFigure {
    name: &'static str,
    values: [Option<f64>; 2],
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Count,
    Microseconds,
}

impl Comparison {
    /// Nothing if one measured requests, and the other the memory of idle sessions.
    pub(super) fn new(a: Saved, b: Saved) -> Option<Self> {
        let kind = |saved: &Saved| std::mem::discriminant(&saved.results.outcome);
        (kind(&a) == kind(&b)).then_some(Self { runs: [a, b] })
    }

    pub(super) fn rows(&self) -> Vec<ComparedFigure> {
        let [a, b] = &self.runs;
        let both = |name, unit, value: &dyn Fn(&Saved) -> Option<f64>| ComparedFigure {
            name,
            values: [value(a), value(b)],
            unit,
        };
        let mut rows = Vec::new();
        for (name, unit, figure) in RATES {
            rows.push(both(name, *unit, &|saved| figure(rates(saved)?)));
        }
        rows.insert(
            1,
            both("median of the intervals", Unit::Count, &median_rate),
        );
        for (name, figure) in MEMORY {
            rows.push(both(name, Unit::Count, &|saved| figure(memory(saved)?)));
        }
        rows.push(both("errors", Unit::Count, &|saved| {
            Some(saved.results.errors.total as f64)
        }));
        rows.retain(|row| row.values.iter().any(Option::is_some));
        rows
    }

    /// In which ways the runs are not alike, besides their results.
    pub(super) fn differences(&self) -> Vec<String> {
        let [a, b] = &self.runs;
        let pairs = setting(&a.results).into_iter().zip(setting(&b.results));
        let mut lines: Vec<String> = pairs
            .filter(|((_, one), (_, two))| one != two)
            .map(|((name, one), (_, two))| format!("{name}: {one}, {two}"))
            .collect();
        if a.machine != b.machine {
            let machine = |saved: &Saved| {
                let machine = &saved.machine;
                format!(
                    "{} with {} CPUs, {}",
                    machine.cpu, machine.cpus, machine.system
                )
            };
            lines.push(format!("machine: {}; {}", machine(a), machine(b)));
        }
        lines
    }
}

/// What was asked for.
fn setting(results: &Report) -> [(&'static str, String); 5] {
    let rate = match &results.outcome {
        Shown::Rates(ShownRates {
            pace: Some(pace), ..
        }) => format!("{}/s", pace.requests_per_second),
        _ => "none".to_owned(),
    };
    [
        ("mode", results.mode.clone()),
        ("connections", results.connections.to_string()),
        ("size", results.size_bytes.to_string()),
        ("framing", results.framing.clone()),
        ("rate", rate),
    ]
}

type Figure<T> = fn(&T) -> Option<f64>;

const RATES: &[(&str, Unit, Figure<ShownRates>)] = &[
    ("requests a second", Unit::Count, |it| {
        Some(it.requests_per_second)
    }),
    ("p50", Unit::Microseconds, |it| Some(it.latency_us.p50)),
    ("p90", Unit::Microseconds, |it| Some(it.latency_us.p90)),
    ("p99", Unit::Microseconds, |it| Some(it.latency_us.p99)),
    ("p99.9", Unit::Microseconds, |it| Some(it.latency_us.p99_9)),
    ("slowest", Unit::Microseconds, |it| Some(it.latency_us.max)),
    ("server's CPU time", Unit::Microseconds, |it| {
        it.server_cpu_us_per_request
    }),
    ("load's CPU time", Unit::Microseconds, |it| {
        Some(it.load_cpu_us_per_request)
    }),
    ("late for answers", Unit::Count, |it| {
        Some(it.pace.as_ref()?.late_for_answers as f64)
    }),
    ("late by the load", Unit::Count, |it| {
        Some(it.pace.as_ref()?.late_by_load as f64)
    }),
    ("never sent", Unit::Count, |it| {
        Some(it.pace.as_ref()?.unsent as f64)
    }),
];

const MEMORY: &[(&str, Figure<ShownMemory>)] = &[
    ("sessions", |it| Some(it.sessions as f64)),
    ("bytes for a session", |it| it.server_bytes_per_session),
];

fn rates(saved: &Saved) -> Option<&ShownRates> {
    match &saved.results.outcome {
        Shown::Rates(rates) => Some(rates),
        Shown::Memory(_) => None,
    }
}

fn memory(saved: &Saved) -> Option<&ShownMemory> {
    match &saved.results.outcome {
        Shown::Memory(memory) => Some(memory),
        Shown::Rates(_) => None,
    }
}

/// Answers a second in the middle one of the intervals: one bad second does not change it.
fn median_rate(saved: &Saved) -> Option<f64> {
    let groups = saved
        .intervals
        .as_ref()?
        .grouped(saved.results.duration_s, usize::MAX);
    let rate = |(_, length, part): &(f64, f64, super::series::Part)| part.answers as f64 / length;
    let mut rates: Vec<f64> = groups
        .iter()
        .map(rate)
        .filter(|rate| rate.is_finite())
        .collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

impl ComparedFigure {
    /// Its name, both values, and the ratio.
    pub(super) fn cells(&self) -> [String; 4] {
        let shown = |value: Option<f64>| match (value, self.unit) {
            (None, _) => "–".to_owned(),
            (Some(value), Unit::Microseconds) => Time(value).to_string(),
            (Some(value), Unit::Count) => format!("{value:.0}"),
        };
        let ratio = match self.values {
            [Some(a), Some(b)] if a > 0.0 => format!("{:.2}", b / a),
            _ => "–".to_owned(),
        };
        [
            self.name.to_owned(),
            shown(self.values[0]),
            shown(self.values[1]),
            ratio,
        ]
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (saved, name) in self.runs.iter().zip(["A", "B"]) {
            writeln!(f, "{name}  {} ({})", saved.command, saved.began)?;
        }
        f.write_char('\n')?;
        writeln!(f, "  {:<24} {:>12} {:>12} {:>8}", "", "A", "B", "B / A")?;
        for row in self.rows() {
            let [name, a, b, ratio] = row.cells();
            writeln!(f, "  {name:<24} {a:>12} {b:>12} {ratio:>8}")?;
        }
        for (at, line) in self.differences().iter().enumerate() {
            let head = if at == 0 {
                "\n  not alike: "
            } else {
                "             "
            };
            writeln!(f, "{head}{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::saved::tests::{saved, value};
    use super::*;

    #[test]
    fn figures_stand_beside_their_ratio_and_differences_are_named() {
        let mut other = value();
        other["results"]["requests_per_second"] = json!(80.0);
        other["results"]["connections"] = json!(4);
        let comparison = Comparison {
            runs: [saved(&value()), saved(&other)],
        };
        let rows: Vec<_> = comparison
            .rows()
            .iter()
            .map(ComparedFigure::cells)
            .collect();
        assert_eq!(rows[0], ["requests a second", "40", "80", "2.00"]);
        assert_eq!(rows[1], ["median of the intervals", "50", "50", "1.00"]);
        assert_eq!(rows[2], ["p50", "1.00 µs", "1.00 µs", "1.00"]);
        assert_eq!(comparison.differences(), ["connections: 2, 4"]);
    }
}
