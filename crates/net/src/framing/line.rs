//! Messages that are lines.

use super::decoded::Decoded;
use super::error::FramingError;

/// The end of a sent line.
pub(super) const END: u8 = b'\n';

/// Looks for the end of the first line; the first `from` bytes hold none.
#[inline]
pub(super) fn scan(input: &[u8], from: usize, max: u64) -> Result<Option<Decoded>, FramingError> {
    // A line of `max` bytes ends within two more: one carriage return, one line feed. Looking no
    // further makes the verdict independent of how the input was cut.
    let limit = usize::try_from(max).unwrap_or(usize::MAX).saturating_add(2);
    let window = &input[..input.len().min(limit)];
    let unended = FramingError::Unended { max };
    let Some(found) = memchr::memchr(END, window.get(from..).unwrap_or_default()) else {
        return if window.len() == limit {
            Err(unended)
        } else {
            Ok(None)
        };
    };
    let feed = from + found;
    let end = if window[..feed].ends_with(b"\r") {
        feed - 1
    } else {
        feed
    };
    if end as u64 > max {
        return Err(unended);
    }
    Ok(Some(Decoded::Message {
        start: 0,
        end,
        consumed: feed + 1,
        text: false,
    }))
}
