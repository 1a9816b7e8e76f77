//! Times as people read them.

use std::fmt;

/// Microseconds in the unit that reads best, with three digits.
pub(crate) struct Time(pub(crate) f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            us if us < 1e3 => (us, "µs"),
            us if us < 1e6 => (us / 1e3, "ms"),
            us => (us / 1e6, "s"),
        };
        let digits = match value {
            value if value < 9.995 => 2,
            value if value < 99.95 => 1,
            _ => 0,
        };
        // One string, so that a width given by the caller holds for number and unit together.
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let shown = [0.25, 9.999, 42.0, 999.4, 1234.0, 61e6].map(|us| Time(us).to_string());
        assert_eq!(
            shown,
            [
                "0.25 µs", "10.0 µs", "42.0 µs", "999 µs", "1.23 ms", "61.0 s"
            ]
        );
    }
}
