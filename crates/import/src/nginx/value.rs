//! Times, sizes and addresses as nginx writes them.

use crate::number::number;

/// A time in milliseconds: `10`, `5s`, `100ms`, `1h30m`, `1d`. Without a unit it is in seconds.
pub(super) fn time(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = if rest.starts_with("ms") {
            2
        } else {
            rest.chars().next().map_or(0, char::len_utf8)
        };
        let factor = match &rest[..unit] {
            "ms" => 1,
            "s" | "" | " " => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        rest = rest[unit..].trim_start_matches(' ');
        total = number
            .checked_mul(factor)
            .and_then(|it| it.checked_add(total))?;
    }
    Some(total)
}

/// A size in bytes: `10`, `16k`, `1m`, `1g`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = number(digits)?;
    number.checked_mul(1 << shift)
}

/// A host, and what stands behind its last colon. An IPv6 address keeps its brackets.
pub(super) fn host_port(text: &str) -> (&str, Option<&str>) {
    if let Some(end) = text.strip_prefix('[').and_then(|it| it.find(']')) {
        let (host, rest) = text.split_at(end + 2);
        return (host, rest.strip_prefix(':'));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_nginx() {
        for (text, expected) in [
            ("10", Some(10_000)),
            ("0", Some(0)),
            ("5s", Some(5000)),
            ("100ms", Some(100)),
            ("10µ", None),
            ("1é", None),
            ("1h30m", Some(5_400_000)),
            ("1m 1s", Some(61_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("s", None),
            ("-1", None),
            ("1x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_those_of_nginx() {
        for (text, expected) in [
            ("10", Some(10)),
            ("16k", Some(16384)),
            ("1M", Some(1 << 20)),
            ("2g", Some(2 << 30)),
            ("", None),
            ("k", None),
            ("+1", None),
            ("1kb", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    #[test]
    fn a_port_stands_behind_the_last_colon() {
        for (text, expected) in [
            ("a:1", ("a", Some("1"))),
            ("8080", ("8080", None)),
            ("[::1]:80", ("[::1]", Some("80"))),
            ("[::]", ("[::]", None)),
        ] {
            assert_eq!(host_port(text), expected);
        }
    }
}
