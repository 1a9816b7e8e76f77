//! Numbers and ports, which both programs write in one way.

use std::ops::RangeInclusive;

/// Ports of one range.
pub(crate) const MOST_PORTS: usize = 4096;

/// A whole number without a sign.
pub(crate) fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// `443`, or `8000-8010`. Empty if the first is above the last.
pub(crate) fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text| {
        let port = u16::try_from(number(text)?).ok()?;
        (port > 0).then_some(port)
    };
    Some(port(first)?..=port(last)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_first_and_last_port() {
        for (text, expected) in [
            ("443", Some(443..=443)),
            ("8000-8010", Some(8000..=8010)),
            ("1-65535", Some(1..=65535)),
            ("0", None),
            ("65536", None),
            ("+1", None),
            ("", None),
            ("1-", None),
        ] {
            assert_eq!(ports(text), expected, "{text}");
        }
        assert!(ports("2-1").is_some_and(|range| range.is_empty()));
    }
}
