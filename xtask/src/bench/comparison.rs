//! The engine beside several named programs, of which some may be missing.

use std::fmt;

use serde_json::{Value, json};

use super::report::{Aim, median};

/// One figure of the engine's, beside those of other programs.
pub(super) struct Comparison {
    pub(super) what: String,
    pub(super) unit: String,
    /// A figure for each round.
    pub(super) engine: Vec<f64>,
    /// Those of each program in the order of the names; empty without it.
    pub(super) others: Vec<Vec<f64>>,
    pub(super) aim: Option<Aim>,
    pub(super) to: Reference,
}

/// What a ratio is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference {
    /// The program with the lowest figure.
    Best,
    /// The first one.
    First,
}

/// A table of them.
pub(super) struct Comparisons {
    /// Of the other programs.
    pub(super) names: Vec<&'static str>,
    pub(super) rows: Vec<Comparison>,
    /// Programs that are not installed.
    pub(super) absent: Vec<String>,
}

impl Comparison {
    /// The median of the rounds' ratios to the program that counts. `None`: it is not installed.
    fn ratio(&self) -> Option<f64> {
        let others = self.others.iter().filter(|figures| !figures.is_empty());
        let other = match self.to {
            Reference::First => self.others.first().filter(|figures| !figures.is_empty())?,
            Reference::Best => others.min_by(|a, b| of(a).total_cmp(&of(b)))?,
        };
        let pairs = self.engine.iter().zip(other);
        Some(median(pairs.map(|(engine, other)| engine / other)))
    }

    /// An aim beside a program that is not there is not missed.
    fn is_missed(&self) -> bool {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        self.aim
            .is_some_and(|aim| aim.is_missed(ratio, of(&self.engine)))
    }
}

impl Comparisons {
    pub(super) fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.is_missed()).count()
    }

    pub(super) fn to_json(&self) -> Vec<Value> {
        let row = |row: &Comparison| {
            let others = self.names.iter().zip(&row.others);
            let others = others.filter(|(_, figures)| !figures.is_empty());
            let others: serde_json::Map<_, _> = others
                .map(|(name, figures)| ((*name).to_owned(), of(figures).into()))
                .collect();
            json!({
                "what": row.what,
                "unit": row.unit,
                "rounds": row.engine.len(),
                "engine": of(&row.engine),
                "others": others,
                "ratio": row.ratio(),
                "aim": row.aim.map(|aim| aim.to_string()),
                "missed": row.is_missed(),
            })
        };
        self.rows.iter().map(row).collect()
    }
}

impl fmt::Display for Comparisons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, unit) = ("what", "unit");
        write!(f, "{what:<48}{unit:<20}{:>10}", "engine")?;
        for name in &self.names {
            write!(f, "{name:>10}")?;
        }
        writeln!(f, "{:>8}  aim", "ratio")?;
        for row in &self.rows {
            write!(f, "{:<48}{:<20}", row.what, row.unit)?;
            for figures in [&row.engine].into_iter().chain(&row.others) {
                match of(figures) {
                    _ if figures.is_empty() => write!(f, "{:>10}", "")?,
                    large if large >= 1000.0 => write!(f, "{large:>10.0}")?,
                    small => write!(f, "{small:>10.2}")?,
                }
            }
            match row.ratio() {
                Some(ratio) => write!(f, "{ratio:>8.2}")?,
                None => write!(f, "{:>8}", "")?,
            }
            match row.aim {
                None => writeln!(f)?,
                Some(aim) if row.is_missed() => writeln!(f, "  {aim} MISSED")?,
                Some(aim) => writeln!(f, "  {aim}")?,
            }
        }
        for program in &self.absent {
            writeln!(f, "not installed: {program}")?;
        }
        Ok(())
    }
}

fn of(figures: &[f64]) -> f64 {
    median(figures.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_to_the_best_program_or_to_the_first() {
        let mut row = Comparison {
            what: "relay".into(),
            unit: "µs".into(),
            engine: vec![1.0, 20.0, 3.0],
            others: vec![vec![4.0, 40.0, 6.0], vec![2.0, 20.0, 3.0]],
            aim: Some(Aim::Ratio(0.95)),
            to: Reference::Best,
        };
        assert_eq!(row.ratio(), Some(1.0));
        assert!(row.is_missed());
        row.to = Reference::First;
        assert_eq!(row.ratio(), Some(0.5));
        assert!(!row.is_missed());
    }

    #[test]
    fn a_program_that_is_not_installed_has_no_figure_and_no_aim() {
        let mut row = Comparison {
            what: "relay".into(),
            unit: "µs".into(),
            engine: vec![1.0],
            others: vec![vec![], vec![0.5]],
            aim: Some(Aim::Ratio(0.95)),
            to: Reference::First,
        };
        assert_eq!((row.ratio(), row.is_missed()), (None, false));
        row.to = Reference::Best;
        assert_eq!((row.ratio(), row.is_missed()), (Some(2.0), true));
        let table = Comparisons {
            names: vec!["nginx", "haproxy"],
            rows: vec![row],
            absent: vec!["nginx".into()],
        };
        let text = table.to_string();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|it| it.split_whitespace().collect())
            .collect();
        let expected: [&[&str]; 3] = [
            &["what", "unit", "engine", "nginx", "haproxy", "ratio", "aim"],
            &[
                "relay", "µs", "1.00", "0.50", "2.00", "ratio", "≤", "0.95", "MISSED",
            ],
            &["not", "installed:", "nginx"],
        ];
        assert_eq!(lines, expected);
    }
}
