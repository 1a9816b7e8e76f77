//! Durations and sizes as they are written: a whole number and its unit.

use std::fmt;
use std::time::Duration;

/// The longest duration, in milliseconds (365 days): far more than anything needs, and little enough that
/// adding it to a clock can never overflow.
const MAX_MILLISECONDS: u64 = 365 * 24 * 3_600_000;
/// The largest size, in bytes: two of them still add up in 64 bits.
const MAX_BYTES: u64 = i64::MAX as u64;

const DURATION_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Why a text is no duration or size.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.hint)
    }
}

impl std::error::Error for UnitError {}

/// For `#[serde(with = "as_duration")]`: a duration written as [`duration`] reads it, in whole milliseconds.
pub mod as_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        super::duration(&text).map_err(D::Error::custom)
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}ms", duration.as_millis()))
    }
}

/// [`as_duration`] for what may be absent.
pub mod as_optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| super::duration(&text).map_err(D::Error::custom))
            .transpose()
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::as_duration::serialize(duration, to),
            None => to.serialize_none(),
        }
    }
}

/// For `#[serde(with = "as_size")]`: a number of bytes written as [`size`] reads it.
pub mod as_size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        super::size(&text).map_err(D::Error::custom)
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{bytes}B"))
    }
}

/// [`as_size`] for what may be absent.
pub mod as_optional_size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| super::size(&text).map_err(D::Error::custom))
            .transpose()
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(bytes: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::as_size::serialize(bytes, to),
            None => to.serialize_none(),
        }
    }
}

/// Parses a duration: `10ms`, `5s`, `2m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    Quantity {
        noun: "duration",
        units: DURATION_UNITS,
        examples: DURATION_EXAMPLES,
        max: MAX_MILLISECONDS,
        limit: "8760h",
    }
    .parse(text)
    .map(Duration::from_millis)
}

/// Parses a size in bytes: `512B`, `64KiB`, `2MiB`, `1GiB`.
pub fn size(text: &str) -> Result<u64, UnitError> {
    Quantity {
        noun: "size",
        units: SIZE_UNITS,
        examples: SIZE_EXAMPLES,
        max: MAX_BYTES,
        limit: "8589934591GiB",
    }
    .parse(text)
}

/// How durations are written, for hints.
pub const DURATION_EXAMPLES: &str = r#""10ms", "5s", "2m" or "1h""#;
/// How sizes are written, for hints.
pub const SIZE_EXAMPLES: &str = r#""512B", "64KiB", "2MiB" or "1GiB""#;

struct Quantity {
    noun: &'static str,
    units: &'static [(&'static str, u64)],
    examples: &'static str,
    max: u64,
    /// `max`, as it is written.
    limit: &'static str,
}

impl Quantity {
    fn parse(&self, text: &str) -> Result<u64, UnitError> {
        let Quantity {
            noun,
            examples,
            limit,
            ..
        } = self;
        let (number, unit) = text.split_at(
            text.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len()),
        );
        if number.is_empty() {
            let message = if text.starts_with('-') {
                format!("{text:?} is negative")
            } else {
                format!("{text:?} is no {noun}")
            };
            return Err(UnitError {
                message,
                hint: format!("write a whole number and its unit, such as {examples}"),
            });
        }
        if unit.is_empty() {
            let message = format!("{text:?} has no unit");
            return Err(UnitError {
                message,
                hint: format!("write a unit, such as {examples}"),
            });
        }
        let Some((_, scale)) = self.units.iter().find(|(name, _)| *name == unit) else {
            return Err(UnitError {
                message: format!("{text:?} is no {noun}"),
                hint: self.unit_hint(number, unit),
            });
        };
        let value = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*scale));
        value
            .filter(|value| *value <= self.max)
            .ok_or_else(|| UnitError {
                message: format!("{text:?} is too large"),
                hint: format!("the largest {noun} is \"{limit}\""),
            })
    }

    /// Guesses the meant unit from a wrong one.
    fn unit_hint(&self, number: &str, unit: &str) -> String {
        if unit.starts_with(['.', ',']) {
            return format!(
                "write a whole number of a smaller unit, such as {}",
                self.examples
            );
        }
        let bare = unit.trim().to_ascii_lowercase();
        let word = WORDS
            .iter()
            .find(|(word, _)| *word == bare)
            .map_or(bare.as_str(), |(_, short)| short);
        let meant = self.units.iter().find(|(name, _)| {
            let name = name.to_ascii_lowercase();
            // For `KiB`: `kib`, `kb` and `k`.
            word == name || word == name.replace('i', "") || name.len() == 3 && word == &name[..1]
        });
        match meant {
            Some((name, _)) => format!("write \"{number}{name}\""),
            None => format!("write a unit, such as {}", self.examples),
        }
    }
}

/// Words for units that are written short.
const WORDS: &[(&str, &str)] = &[
    ("sec", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
    ("byte", "b"),
    ("bytes", "b"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("8760h"), Ok(Duration::from_secs(365 * 24 * 3600)));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "8761h",
            "99999999999999999999s",
            "18446744073709551615h",
            "10S",
            "1h30m",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("2MiB"), Ok(2 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("8589934591GiB"), Ok(8_589_934_591 << 30));
        for wrong in [
            "",
            "10",
            "MiB",
            "-1B",
            "1.5MiB",
            "10 MiB",
            "8589934592GiB",
            "10mib",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hints_guess_the_unit() {
        let hint = |error: UnitError| error.hint;
        assert_eq!(size("4KB").map_err(hint), Err(r#"write "4KiB""#.into()));
        assert_eq!(size("4 mib").map_err(hint), Err(r#"write "4MiB""#.into()));
        assert_eq!(size("4g").map_err(hint), Err(r#"write "4GiB""#.into()));
        assert_eq!(size("4 bytes").map_err(hint), Err(r#"write "4B""#.into()));
        assert_eq!(duration("4 sec").map_err(hint), Err(r#"write "4s""#.into()));
        assert_eq!(
            duration("4d").map_err(hint),
            Err(format!("write a unit, such as {DURATION_EXAMPLES}"))
        );
    }
}
