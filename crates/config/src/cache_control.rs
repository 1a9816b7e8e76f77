//! `static_cache = "…"` of a listener: the value of a `Cache-Control` header (RFC 9111 §5.2.2).

use super::error::Reported;
use super::near::nearest;
use super::walk::Field;

/// A changed file is seen at once: a client asks each time, and is answered from its entity tag.
pub(super) const DEFAULT: &str = "no-cache";

/// What an answer may say, and whether a number of seconds follows.
const DIRECTIVES: &[(&str, bool)] = &[
    ("immutable", false),
    ("max-age", true),
    ("must-revalidate", false),
    ("must-understand", false),
    ("no-cache", false),
    ("no-store", false),
    ("no-transform", false),
    ("private", false),
    ("proxy-revalidate", false),
    ("public", false),
    ("s-maxage", true),
    ("stale-if-error", true),
    ("stale-while-revalidate", true),
];

const HINT: &str = r#"write directives of Cache-Control, for instance "public, max-age=3600""#;

pub(super) fn cache_control(field: &Field<'_>) -> Result<String, Reported> {
    let text = field.text()?;
    for directive in text.split(',') {
        check(directive.trim_matches(' ')).map_err(|wrong| {
            let (message, hint) = wrong.said();
            field.refuse(format!("`static_cache`: {message}"), hint)
        })?;
    }
    Ok(text.to_owned())
}

enum Wrong<'a> {
    Empty,
    Unknown(&'a str),
    NoSeconds(&'a str),
    NoValue(&'a str),
}

fn check(directive: &str) -> Result<(), Wrong<'_>> {
    let (name, value) = match directive.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (directive, None),
    };
    if name.is_empty() {
        return Err(Wrong::Empty);
    }
    let known = DIRECTIVES.iter().find(|(known, _)| *known == name);
    let Some((_, has_seconds)) = known else {
        return Err(Wrong::Unknown(name));
    };
    match (value, has_seconds) {
        (None, false) => Ok(()),
        // Caches count in 31 bits (RFC 9111 §1.2.2).
        (Some(value), true) if value.parse().is_ok_and(|seconds: u32| seconds <= 1 << 31) => Ok(()),
        (_, true) => Err(Wrong::NoSeconds(name)),
        (Some(_), false) => Err(Wrong::NoValue(name)),
    }
}

impl Wrong<'_> {
    fn said(&self) -> (String, String) {
        match self {
            Self::Empty => ("a directive is empty".into(), HINT.into()),
            Self::Unknown(name) => {
                let names = DIRECTIVES.iter().map(|(name, _)| *name);
                let hint = match nearest(name, names) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => HINT.into(),
                };
                (format!("{name:?} is no directive of an answer"), hint)
            }
            Self::NoSeconds(name) => (
                format!("`{name}` has no number of seconds"),
                format!("write {name}=3600 for an hour"),
            ),
            Self::NoValue(name) => (
                format!("`{name}` has no value"),
                format!("write {name} alone"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_known_and_those_with_seconds_have_a_number() {
        for good in [
            "no-cache",
            "max-age=0",
            "max-age=31536000",
            "s-maxage=60",
            "immutable",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "max-age",
            "max-age=",
            "max-age=1h",
            "max-age=-1",
            "max-age=99999999999",
            "max_age=1",
            "private=x",
            "no-cache max-age=1",
            "\u{e4}",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
