//! Which part of a file a client asks for (RFC 9110 §14).

use hyper::header::{self, HeaderMap};

/// The part of a file that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// From the first to the last byte, both included.
    Bytes {
        first: u64,
        last: u64,
    },
    /// It begins behind the end of the file.
    None,
}

/// The part that a request names of this many bytes. Several parts, and what is no range, mean the whole.
pub(super) fn part(headers: &HeaderMap, length: u64) -> Part {
    let mut values = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (values.next(), values.next()) else {
        return Part::Whole;
    };
    let Some(range) = range.to_str().ok().and_then(of_bytes) else {
        return Part::Whole;
    };
    match range.split_once('-') {
        Some(("", suffix)) => last_bytes(suffix, length),
        Some((first, last)) => from(first, last, length),
        None => Part::Whole,
    }
}

/// What follows the unit, without its case.
fn of_bytes(text: &str) -> Option<&str> {
    let (unit, range) = text.split_once('=')?;
    let range = range.trim_matches([' ', '\t']);
    unit.eq_ignore_ascii_case("bytes").then_some(range)
}

fn last_bytes(count: &str, length: u64) -> Part {
    match number(count) {
        None => Part::Whole,
        Some(0) => Part::None,
        // Of an empty file there is no first byte to be named.
        Some(_) if length == 0 => Part::Whole,
        Some(count) => Part::Bytes {
            first: length.saturating_sub(count),
            last: length - 1,
        },
    }
}

fn from(first: &str, last: &str, length: u64) -> Part {
    let end = match last {
        "" => Some(u64::MAX),
        last => number(last),
    };
    match number(first).zip(end) {
        Some((first, last)) if last < first => Part::Whole,
        Some((first, _)) if first >= length => Part::None,
        Some((first, last)) => Part::Bytes {
            first,
            last: last.min(length - 1),
        },
        None => Part::Whole,
    }
}

/// A number that is too large for any file is the largest.
fn number(digits: &str) -> Option<u64> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn of(range: &'static str, length: u64) -> Part {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static(range));
        part(&headers, length)
    }

    #[test]
    fn a_range_names_bytes_that_the_file_has() {
        let bytes = |first, last| Part::Bytes { first, last };
        for (range, expected) in [
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=0-9", bytes(0, 9)),
            ("Bytes=2-", bytes(2, 9)),
            ("bytes=3-100", bytes(3, 9)),
            ("bytes=3-99999999999999999999999", bytes(3, 9)),
            ("bytes=-3", bytes(7, 9)),
            ("bytes=-100", bytes(0, 9)),
            ("bytes= 4-5 ", bytes(4, 5)),
            ("bytes=10-", Part::None),
            ("bytes=99999999999999999999999-", Part::None),
            ("bytes=-0", Part::None),
        ] {
            assert_eq!(of(range, 10), expected, "{range}");
        }
        assert_eq!(of("bytes=0-", 0), Part::None);
        assert_eq!(of("bytes=-1", 0), Part::Whole);
    }

    #[test]
    fn several_ranges_and_what_is_no_range_mean_the_whole_file() {
        for range in [
            "bytes=0-1,3-4",
            "bytes=",
            "bytes",
            "bytes=-",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1",
            "bytes=1-2-3",
            "lines=1-2",
            "",
        ] {
            assert_eq!(of(range, 10), Part::Whole, "{range}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(part(&headers, 10), Part::Whole);
        headers.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.append(header::RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(part(&headers, 10), Part::Whole);
    }
}
