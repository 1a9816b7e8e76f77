//! The date and time of day in UTC, as logs write them.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY: u64 = 24 * 60 * 60;

/// A second in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc {
    year: u64,
    /// From 1.
    month: u64,
    day: u64,
    /// Seconds since midnight.
    second: u64,
}

impl Utc {
    /// The present one.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::at(since.unwrap_or_default().as_secs())
    }

    /// The second that is this number of seconds after the Unix epoch.
    pub fn at(seconds: u64) -> Self {
        // Days are counted from 1 March of year 0, so that a leap day is the last of its year (Howard Hinnant's
        // `civil_from_days`).
        let days = seconds / DAY + 719_468;
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            second: seconds % DAY,
        }
    }

    /// As in `2026-11-29T14:05:06+00:00`.
    pub fn iso(self) -> String {
        let Self {
            year, month, day, ..
        } = self;
        format!("{year:04}-{month:02}-{day:02}T{}+00:00", self.clock())
    }

    /// As in `20261129T140506Z`: later ones are greater texts.
    pub fn compact(self) -> String {
        let Self {
            year, month, day, ..
        } = self;
        let clock = self.clock().replace(':', "");
        format!("{year:04}{month:02}{day:02}T{clock}Z")
    }

    /// As in `29/Nov/2026:14:05:06 +0000`.
    pub fn log(self) -> String {
        let Self {
            year, month, day, ..
        } = self;
        let month = MONTHS[(month as usize - 1) % MONTHS.len()];
        format!("{day:02}/{month}/{year:04}:{} +0000", self.clock())
    }

    fn clock(self) -> String {
        let second = self.second;
        format!(
            "{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_their_date() {
        for (seconds, iso) in [
            (0, "1970-01-01T00:00:00+00:00"),
            (951_782_399, "2000-02-28T23:59:59+00:00"),
            (951_782_400, "2000-02-29T00:00:00+00:00"),
            (1_709_251_199, "2024-02-29T23:59:59+00:00"),
            (1_798_761_599, "2026-12-31T23:59:59+00:00"),
            (4_107_542_400, "2100-03-01T00:00:00+00:00"),
        ] {
            assert_eq!(Utc::at(seconds).iso(), iso);
        }
        assert_eq!(Utc::at(951_782_399).compact(), "20000228T235959Z");
        assert_eq!(Utc::at(951_782_400).log(), "29/Feb/2000:00:00:00 +0000");
    }
}
