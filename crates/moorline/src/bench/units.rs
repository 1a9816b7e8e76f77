//! Sizes and durations as they are written on the command line.

use std::time::Duration;

/// The largest message: more would measure memory bandwidth only, and a length field has four bytes.
const MAX_SIZE: usize = 64 << 20;

/// `128`, `4KiB`, `1MiB`; at least 1.
pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err(format!("`{unit}` is no unit of size: B, KiB or MiB")),
    };
    let size = number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .ok_or_else(|| format!("`{text}` is no size, for instance 128 or 4KiB"))?;
    match size {
        1..=MAX_SIZE => Ok(size),
        _ => Err("a message has 1 byte to 64MiB".to_owned()),
    }
}

/// `500ms`, `10s`, `2m`, `1h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(format!("`{text}` has no unit: ms, s, m or h")),
        _ => {
            return Err(format!("`{unit}` is no unit of time: ms, s, m or h"));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(milliseconds))
        // Ten years: whatever is added to a clock stays within it.
        .filter(|&milliseconds| milliseconds <= 10 * 365 * 24 * 3_600_000)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is no duration, for instance 500ms or 10s"))
}

/// More than one thread sends.
const MAX_RATE: u32 = 10_000_000;

/// `5000`, `5000/s`: requests a second.
pub(super) fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse::<u32>() {
        Ok(rate @ 1..=MAX_RATE) if number.bytes().all(|byte| byte.is_ascii_digit()) => Ok(rate),
        _ => Err(format!(
            "`{text}` is no rate, for instance 5000 or 5000/s; it is 1 to {MAX_RATE} requests a second"
        )),
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("128"), Ok(128));
        assert_eq!(parse_size("4KiB"), Ok(4096));
        for wrong in [
            "",
            "0",
            "KiB",
            "4 KiB",
            "4kb",
            "-1",
            "65MiB",
            "99999999999999999999",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_read() {
        assert_eq!(parse_rate("5000"), Ok(5000));
        assert_eq!(parse_rate("1/s"), Ok(1));
        for wrong in [
            "",
            "0",
            "/s",
            "+5",
            "5/m",
            "5 /s",
            "10000001",
            "99999999999",
        ] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "10", "s", "10 s", "1d", "-1s", "18446744073709551615h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
