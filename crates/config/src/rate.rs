//! `rate` of a listener: how fast the bytes of a session pass.

use moorline_net::unit;
use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::variables::{self, Template};
use super::walk::Field;

const HINT: &str = r#"write rate = { up = "1MiB", down = "${map.NAME}" }, in bytes a second"#;

/// How fast the bytes of a session pass, in bytes a second. A text that is empty or `0` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// From the client to the peer.
    pub up: Option<Template>,
    /// From the peer to the client.
    pub down: Option<Template>,
}

impl Rates {
    /// The texts that a connection fills in.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Template> {
        self.up.iter().chain(&self.down)
    }
}

/// A rate, in bytes a second: a number, also with `k`, `m` or `g`, or a size. Empty or 0: no limit.
///
/// # Errors
/// It is none.
pub fn parse_rate(text: &str) -> Result<u64, BadRate> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(0);
    }
    let (digits, factor) = match text.as_bytes()[text.len() - 1] {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1_u64),
    };
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u64>().ok().filter(|_| are_digits) {
        Some(number) => number.checked_mul(factor).ok_or(BadRate),
        None => unit::size(text).map_err(|_| BadRate),
    }
}

/// A text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRate;

pub(super) fn rates(field: &Field<'_>) -> Result<Rates, Reported> {
    let section = field.section("`rate`", HINT)?;
    let up = section.read("up", |field| rate(&field));
    let down = section.read("down", |field| rate(&field));
    section.finish()?;
    let (up, down) = (up?, down?);
    if up.is_none() && down.is_none() {
        return Err(field.refuse("`rate` says neither `up` nor `down`", HINT));
    }
    Ok(Rates { up, down })
}

fn rate(field: &Field<'_>) -> Result<Template, Reported> {
    let template = variables::any_template(field, &[])?;
    if let Some(text) = template.constant()
        && parse_rate(text).is_err()
    {
        return Err(field.refuse(format!("`{}`: {text:?} is no rate", field.key), HINT));
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_of_bytes_or_sizes() {
        for (text, rate) in [
            ("", 0),
            ("0", 0),
            ("100", 100),
            (" 5 ", 5),
            ("2k", 2048),
            ("1M", 1 << 20),
            ("1g", 1 << 30),
            ("1KiB", 1024),
            ("512B", 512),
        ] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for text in [
            "-1",
            "+1",
            "1.5k",
            "k",
            "1x",
            "fast",
            "99999999999999999999",
        ] {
            assert_eq!(parse_rate(text), Err(BadRate), "{text}");
        }
    }
}
