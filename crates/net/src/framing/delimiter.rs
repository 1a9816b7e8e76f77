//! Messages that end with a delimiter.

use memchr::{memchr, memmem};
use serde::{Deserialize, Serialize};

use super::decoded::Decoded;
use super::envelope::MAX_DELIMITER_BYTES;
use super::error::{FramingError, InvalidFraming};
use crate::setters::setters;

/// A delimiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delimiter {
    /// Its bytes; not empty.
    pub delimiter: Vec<u8>,
    /// The message includes it, and nothing is appended when sending. Otherwise the app neither sees nor
    /// sends it.
    pub keep: bool,
    /// The largest message, in bytes, as the app sees it.
    pub max: u64,
}

/// Up to this length a delimiter is found by its last byte, and each such byte is verified at most this
/// many bytes deep: cheaper than the preparation of a search that is linear for every needle.
const SHORT_BYTES: usize = 8;

impl Delimiter {
    /// These bytes, which the app neither sees nor sends, after messages of at most `max` bytes.
    pub fn new(delimiter: impl Into<Vec<u8>>, max: u64) -> Self {
        Self {
            delimiter: delimiter.into(),
            keep: false,
            max,
        }
    }
}

setters! {
    Delimiter {
        keep: bool,
        max: u64,
    }
}

impl Delimiter {
    pub(super) fn validate(&self) -> Result<(), InvalidFraming> {
        let bytes = self.delimiter.len();
        if bytes == 0 || bytes > MAX_DELIMITER_BYTES {
            return Err(InvalidFraming::DelimiterLength(bytes));
        }
        let least = if self.keep { bytes as u64 } else { 1 };
        if self.max < least {
            return Err(InvalidFraming::MaxTooSmall { least });
        }
        Ok(())
    }

    #[inline]
    pub(super) fn suffix(&self) -> &[u8] {
        if self.keep { &[] } else { &self.delimiter }
    }

    /// Where a delimiter begins that would be found before the appended one, if there is one.
    #[inline]
    pub(super) fn early_end(&self, payload: &[u8]) -> Option<usize> {
        if self.keep {
            return None;
        }
        let bytes = self.delimiter.len();
        if let Some(end) = find_end(&self.delimiter, payload, 0) {
            return Some(end - bytes);
        }
        // The last bytes of the payload and the first of the delimiter may be one too: `a` before `aa`.
        let tail = &payload[payload.len().saturating_sub(bytes.saturating_sub(1))..];
        let mut seam = [0; 2 * MAX_DELIMITER_BYTES];
        let seam = seam.get_mut(..tail.len() + bytes)?;
        let (first, last) = seam.split_at_mut(tail.len());
        first.copy_from_slice(tail);
        last.copy_from_slice(&self.delimiter);
        let end = find_end(&self.delimiter, seam, 0)?;
        (end < seam.len()).then(|| payload.len() - tail.len() + end - bytes)
    }

    /// How many messages a payload holds that brings its delimiters itself, an unfinished one among them.
    pub(super) fn messages_in(&self, payload: &[u8]) -> u64 {
        let mut rest = payload;
        let mut messages = 0;
        while let Some(end) = find_end(&self.delimiter, rest, 0) {
            rest = &rest[end..];
            messages += 1;
        }
        messages + u64::from(!rest.is_empty())
    }

    /// Looks for the end of the first message; the first `from` bytes hold none.
    #[inline]
    pub(super) fn scan(&self, input: &[u8], from: usize) -> Result<Option<Decoded>, FramingError> {
        // The largest message and its delimiter end here. Looking no further makes the verdict
        // independent of how the input was cut.
        let limit = usize::try_from(self.max)
            .unwrap_or(usize::MAX)
            .saturating_add(self.suffix().len());
        let window = &input[..input.len().min(limit)];
        let Some(end) = find_end(&self.delimiter, window, from) else {
            return if window.len() == limit {
                Err(FramingError::Unended { max: self.max })
            } else {
                Ok(None)
            };
        };
        Ok(Some(Decoded::Message {
            start: 0,
            end: end - self.suffix().len(),
            consumed: end,
            text: false,
        }))
    }
}

/// Where the first delimiter ends; none ends within the first `from` bytes.
#[inline]
fn find_end(delimiter: &[u8], input: &[u8], from: usize) -> Option<usize> {
    // An empty delimiter, which validation refuses, is never found.
    let (last, _) = delimiter.split_last()?;
    if delimiter.len() > SHORT_BYTES {
        // The beginning of a delimiter may be among the bytes already looked at.
        let start = from.saturating_sub(delimiter.len() - 1);
        let found = memmem::find(input.get(start..)?, delimiter)?;
        return Some(start + found + delimiter.len());
    }
    let mut from = from;
    loop {
        let end = from + memchr(*last, input.get(from..)?)? + 1;
        if input[..end].ends_with(delimiter) {
            return Some(end);
        }
        from = end;
    }
}
