//! How much may wait for a slow client of a listener.

use moorline_net::Framing;

use super::error::Reported;
use super::walk::Section;

const DEFAULT_HIGH_WATERMARK: u64 = 1 << 20;
const DEFAULT_HARD_LIMIT: u64 = 8 << 20;

/// How many bytes may wait for a slow client.
pub(super) struct Watermarks {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) hard: u64,
}

pub(super) fn watermarks(section: &Section<'_>) -> Result<Watermarks, Reported> {
    let written_high = section.read("high_watermark", |field| field.size());
    let written_low = section.read("low_watermark", |field| field.size());
    let written_hard = section.read("hard_limit", |field| field.size());
    let (written_high, written_low, written_hard) = (written_high?, written_low?, written_hard?);
    let high = written_high.unwrap_or(DEFAULT_HIGH_WATERMARK);
    let low = written_low.unwrap_or(high / 4);
    let hard = written_hard.unwrap_or(DEFAULT_HARD_LIMIT.max(high.saturating_mul(2)));
    let high_is = if written_high.is_some() {
        "`high_watermark`"
    } else {
        "`high_watermark` (by default 1 MiB)"
    };
    if low >= high {
        let message = format!("`low_watermark` is not under {high_is}");
        let hint = "write a lower `low_watermark`, a quarter of the high one for instance, or a higher `high_watermark`";
        return Err(section
            .report
            .error(section.place("low_watermark"), message, hint));
    }
    if high > hard {
        let message = format!("`hard_limit` is under {high_is}");
        let hint = "write a higher `hard_limit`, twice the high watermark for instance, or a lower `high_watermark`";
        return Err(section
            .report
            .error(section.place("hard_limit"), message, hint));
    }
    Ok(Watermarks { low, high, hard })
}

pub(super) fn warn_of_large_messages(
    section: &Section<'_>,
    name: &str,
    framing: &Framing,
    sizes: &Watermarks,
) {
    let max = match framing {
        Framing::Length(length) => length.max,
        Framing::Delimiter(delimiter) => delimiter.max,
        Framing::Line { max } | Framing::WebSocket { max } => *max,
        _ => return,
    };
    if max >= sizes.hard {
        let line = section.report.line(section.span.start);
        section.report.warn(format!(
            "listener {name:?} (line {line}): a message may be as large as `hard_limit`, so sending one whole can close its session"
        ));
    }
}
