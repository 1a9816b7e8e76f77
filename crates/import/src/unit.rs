//! Durations and sizes as Moorline writes them.

/// Milliseconds with the largest unit that has no remainder.
pub(crate) fn duration(milliseconds: u64) -> String {
    for (name, unit) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if milliseconds >= unit && milliseconds.is_multiple_of(unit) {
            return format!("{}{name}", milliseconds / unit);
        }
    }
    format!("{milliseconds}ms")
}

/// Bytes with the largest unit that has no remainder.
pub(crate) fn size(bytes: u64) -> String {
    for (name, unit) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_unit_without_a_remainder_is_written() {
        for (milliseconds, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (600_000, "10m"),
            (86_400_000, "24h"),
        ] {
            assert_eq!(duration(milliseconds), text);
        }
        for (bytes, text) in [
            (5, "5B"),
            (1024, "1KiB"),
            (1025, "1025B"),
            (3 << 20, "3MiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
