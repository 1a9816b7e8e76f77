//! What was measured, in one table.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};

use super::comparison::Comparisons;

/// One figure of the engine's, beside the other server's.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: Cow<'static, str>,
    /// One of each in a round, which follow each other on the same machine: what counts is the median, and the median of
    /// the rounds' ratios.
    pub(super) engine: Vec<f64>,
    /// Empty without another server.
    pub(super) other: Vec<f64>,
    pub(super) aim: Option<Aim>,
}

/// What the figure should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Aim {
    /// The ratio to the other's, at the most.
    Ratio(f64),
    /// … at the least, where more is better.
    LeastRatio(f64),
    /// The engine's own, at the most.
    AtMost(f64),
    /// … at the least.
    AtLeast(f64),
}

impl Aim {
    /// Whether these miss it: the ratio, and the engine's own.
    pub(super) fn is_missed(self, ratio: f64, engine: f64) -> bool {
        match self {
            Self::Ratio(most) => ratio > most,
            Self::LeastRatio(least) => ratio < least,
            Self::AtMost(most) => engine > most,
            Self::AtLeast(least) => engine < least,
        }
    }
}

impl Row {
    fn ratio(&self) -> f64 {
        let pairs = self.engine.iter().zip(&self.other);
        median(pairs.map(|(engine, other)| engine / other))
    }

    fn medians(&self) -> (f64, f64) {
        let of = |values: &[f64]| median(values.iter().copied());
        (of(&self.engine), of(&self.other))
    }

    fn is_missed(&self) -> bool {
        self.aim
            .is_some_and(|aim| aim.is_missed(self.ratio(), self.medians().0))
    }

    fn to_json(&self) -> Value {
        let (engine, other) = self.medians();
        json!({
            "what": self.what,
            "unit": self.unit,
            "rounds": self.engine.len(),
            "engine": engine,
            "other": other,
            "ratio": self.ratio(),
            "aim": self.aim.map(|aim| aim.to_string()),
            "missed": self.is_missed(),
        })
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(most) => write!(f, "ratio ≤ {most:.2}"),
            Self::LeastRatio(least) => write!(f, "ratio ≥ {least:.2}"),
            Self::AtMost(most) => write!(f, "≤ {most:.0}"),
            Self::AtLeast(least) => write!(f, "≥ {least:.0}"),
        }
    }
}

/// Everything measured.
pub(super) struct Report {
    /// What was measured.
    pub(super) commit: String,
    pub(super) rows: Vec<Row>,
    /// Beside other proxies.
    pub(super) relays: Option<Comparisons>,
}

impl Report {
    pub(super) fn to_json(&self) -> Value {
        let mut rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        rows.extend(self.relays.iter().flat_map(Comparisons::to_json));
        json!({ "commit": self.commit, "rows": rows })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "at commit {}; medians, the ratio's of the rounds' ratios; other is a program by hand on tokio, or the one named\n",
            self.commit
        )?;
        if !self.rows.is_empty() {
            write_rows(f, &self.rows)?;
        }
        if let Some(relays) = &self.relays {
            let gap = if self.rows.is_empty() { "" } else { "\n" };
            write!(f, "{gap}{relays}")?;
        }
        let missed = self.rows.iter().filter(|row| row.is_missed()).count()
            + self.relays.as_ref().map_or(0, Comparisons::missed);
        if missed > 0 {
            let were = if missed == 1 { "aim is" } else { "aims are" };
            writeln!(f, "\n{missed} {were} missed")?;
        }
        Ok(())
    }
}

fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    let (what, unit) = ("what", "unit");
    writeln!(
        f,
        "{what:<48}{unit:<20}{:>10}{:>10}{:>8}  aim",
        "engine", "other", "ratio"
    )?;
    for row in rows {
        let (engine, other) = row.medians();
        let digits = if engine < 1000.0 { 2 } else { 0 };
        write!(f, "{:<48}{:<20}{engine:>10.digits$}", row.what, row.unit)?;
        match row.other.is_empty() {
            true => write!(f, "{:>18}", "")?,
            false => write!(f, "{other:>10.digits$}{:>8.2}", row.ratio())?,
        }
        match row.aim {
            None => writeln!(f)?,
            Some(aim) if row.is_missed() => writeln!(f, "  {aim} MISSED")?,
            Some(aim) => writeln!(f, "  {aim}")?,
        }
    }
    Ok(())
}

/// Bytes in the unit that people say them in.
pub(super) fn size(bytes: u32) -> String {
    const KIB: u32 = 1 << 10;
    const MIB: u32 = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        MIB.. => format!("{} MiB", bytes / MIB),
    }
}

/// The middle one, or the mean of the two.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    }

    #[test]
    fn a_size_has_its_unit() {
        let sizes = [128, 16 << 10, 1 << 20].map(size);
        assert_eq!(sizes, ["128 B", "16 KiB", "1 MiB"]);
    }

    #[test]
    fn a_figure_with_nothing_beside_it_has_no_ratio() {
        let row = |other: &[f64]| Row {
            what: "calls".into(),
            unit: "calls / second".into(),
            engine: vec![4000.0, 6000.0],
            other: other.to_vec(),
            aim: Some(Aim::AtLeast(4500.0)),
        };
        let report = Report {
            commit: "1234567".into(),
            rows: vec![row(&[]), row(&[1000.0, 2000.0])],
            relays: None,
        };
        let text = report.to_string();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .skip(3)
            .map(|line| line.split_whitespace().skip(4).collect())
            .collect();
        let expected: [&[&str]; 2] = [
            &["5000", "≥", "4500"],
            &["5000", "1500", "3.50", "≥", "4500"],
        ];
        assert_eq!(lines, expected);
        let json = report.to_json();
        let alone = &json["rows"][0];
        assert_eq!(
            (&alone["other"], &alone["ratio"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn an_aim_is_missed_by_the_rounds_ratios() {
        let mut row = Row {
            what: "echo".into(),
            unit: "µs".into(),
            engine: vec![1.0, 20.0, 3.0],
            other: vec![1.0, 10.0, 3.0],
            aim: Some(Aim::Ratio(1.0)),
        };
        assert!(!row.is_missed());
        row.other[0] = 0.5;
        assert!(row.is_missed());
        row.aim = Some(Aim::LeastRatio(1.5));
        assert!(!row.is_missed());
        row.aim = Some(Aim::AtMost(2.0));
        assert!(row.is_missed());
        row.aim = Some(Aim::AtLeast(2.0));
        assert!(!row.is_missed());
    }
}
