//! Keys of maps by share.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::error::Reported;
use crate::variables::Template;

/// Hundredths of a percent that are everything.
const WHOLE: u32 = 10_000;

const HINT: &str = r#"write values = { "12.5%" = "a", "30%" = "b", "*" = "c" }"#;

/// A share of all texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// Those whose hash is below this, and in no share before.
    Below(u32),
    /// All others.
    Rest,
}

pub(super) fn keys(entries: &[Entry<'_>]) -> Result<Vec<(Share, Template)>, Reported> {
    let (mut whole, mut below) = (0, 0_u32);
    let mut keys = Vec::new();
    for entry in entries {
        let hundredths = match entry.key.as_str() {
            "*" => None,
            text => Some(percent(text).ok_or_else(|| entry.refuse("is no share", HINT))?),
        };
        whole = hundredths.map_or(WHOLE + u32::from(whole == WHOLE), |it| whole + it);
        if whole > WHOLE {
            return Err(entry.refuse("makes more than 100 %, with those before it", HINT));
        }
        let share = match hundredths {
            None => Share::Rest,
            Some(hundredths) => {
                // The same as nginx's, so that each text stays with its share.
                below += (u64::from(hundredths) * u64::from(u32::MAX) / u64::from(WHOLE)) as u32;
                Share::Below(below)
            }
        };
        keys.push((share, entry.template()?));
    }
    Ok(keys)
}

/// `12.34%` in hundredths of a percent.
fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 2 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole: u32 = whole.parse().ok().filter(|it| *it <= 100)?;
    let fraction: u32 = format!("{fraction:0<2}").parse().ok()?;
    Some(whole * 100 + fraction).filter(|it| *it > 0)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn shares_have_up_to_two_decimals() {
        for (text, hundredths) in [
            ("50%", Some(5000)),
            ("0.01%", Some(1)),
            ("33.3%", Some(3330)),
            ("100%", Some(10_000)),
            ("0%", None),
            ("1.234%", None),
            ("50", None),
            ("-1%", None),
            ("%", None),
            (".5%", None),
            ("200%", None),
        ] {
            assert_eq!(percent(text), hundredths, "{text}");
        }
    }
}
