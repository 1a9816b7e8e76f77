//! Whether a client wants a file that it may already have (RFC 9110 §13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{self, HeaderMap, HeaderName};

/// What tells one state of a file from another.
#[derive(Debug)]
pub(super) struct Validators {
    /// With its quotes. Strong: other bytes have another one.
    pub(super) tag: String,
    /// In whole seconds, as headers have it.
    pub(super) modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Send,
    NotModified,
    Failed,
}

/// Judges the conditions of a GET or HEAD in the order of RFC 9110 §13.2.2.
pub(super) fn judge(headers: &HeaderMap, file: &Validators) -> Judgement {
    let holds = if headers.contains_key(header::IF_MATCH) {
        names(headers, header::IF_MATCH, |tag| tag == file.tag)
    } else {
        let since = date(headers, header::IF_UNMODIFIED_SINCE);
        since
            .zip(file.modified)
            .is_none_or(|(since, modified)| modified <= since)
    };
    if !holds {
        return Judgement::Failed;
    }
    let is_known = if headers.contains_key(header::IF_NONE_MATCH) {
        // Weakly compared: a proxy may have weakened ours.
        let is_ours = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == file.tag;
        names(headers, header::IF_NONE_MATCH, is_ours)
    } else {
        let since = date(headers, header::IF_MODIFIED_SINCE);
        since
            .zip(file.modified)
            .is_some_and(|(since, modified)| modified <= since)
    };
    match is_known {
        true => Judgement::NotModified,
        false => Judgement::Send,
    }
}

/// Whether a range is of the file as it is now (RFC 9110 §13.1.5).
pub(super) fn range_is_current(headers: &HeaderMap, file: &Validators) -> bool {
    let mut values = headers.get_all(header::IF_RANGE).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return true,
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return false,
    };
    // A date is no strong validator if the file may have changed again in the same second.
    let is_date = || httpdate::parse_http_date(value).is_ok_and(|date| Some(date) == file.modified);
    value == file.tag || (is_old(file.modified) && is_date())
}

/// Whether nothing can change the file in the second that it was last changed in.
fn is_old(modified: Option<SystemTime>) -> bool {
    let passed = modified.and_then(|modified| modified.elapsed().ok());
    passed.is_some_and(|passed| passed >= Duration::from_secs(60))
}

/// The time in whole seconds.
pub(super) fn in_seconds(time: SystemTime) -> Option<SystemTime> {
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Whether a list of entity tags is `*`, or has one that passes.
fn names(headers: &HeaderMap, name: HeaderName, passes: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name);
    values.iter().any(|value| {
        let mut rest = value.to_str().unwrap_or_default();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest == "*" {
                return true;
            }
            let Some(tag) = first_tag(rest) else {
                return false;
            };
            if passes(tag) {
                return true;
            }
            rest = &rest[tag.len()..];
        }
    })
}

/// The entity tag at the start, which may have commas between its quotes.
fn first_tag(text: &str) -> Option<&str> {
    let start = if text.starts_with("W/") { 2 } else { 0 };
    let inside = text[start..].strip_prefix('"')?;
    let end = inside.find('"')?;
    Some(&text[..start + end + 2])
}

/// A date, if the header has one that can be read.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => httpdate::parse_http_date(value.to_str().ok()?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn file() -> Validators {
        Validators {
            tag: "\"a\"".into(),
            modified: httpdate::parse_http_date(THEN).ok(),
        }
    }

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn conditions_are_judged_in_their_order() {
        use Judgement::{Failed, NotModified, Send};
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};

        for (list, expected) in [
            (&[][..], Send),
            (&[(IF_NONE_MATCH, "\"a\"")], NotModified),
            (&[(IF_NONE_MATCH, "W/\"a\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"x,y\", \"a\"")], NotModified),
            (
                &[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"a\"")],
                NotModified,
            ),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"b\"")], Send),
            (&[(IF_NONE_MATCH, "\"x, \"a\"")], Send),
            (&[(IF_NONE_MATCH, "a")], Send),
            (&[(IF_NONE_MATCH, "\"")], Send),
            (&[(IF_NONE_MATCH, "")], Send),
            // A tag says more than a date.
            (
                &[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, AFTER)],
                Send,
            ),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Send),
            (&[(IF_MODIFIED_SINCE, THEN)], NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Send),
            (
                &[(IF_MODIFIED_SINCE, THEN), (IF_MODIFIED_SINCE, THEN)],
                Send,
            ),
            (&[(IF_MATCH, "\"a\"")], Send),
            (&[(IF_MATCH, "*")], Send),
            (&[(IF_MATCH, "\"b\"")], Failed),
            (&[(IF_MATCH, "W/\"a\"")], Failed),
            (&[(IF_MATCH, "\"a\""), (IF_UNMODIFIED_SINCE, BEFORE)], Send),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (&[(IF_UNMODIFIED_SINCE, THEN)], Send),
            (&[(IF_UNMODIFIED_SINCE, "tomorrow")], Send),
            (&[(IF_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a\"")], Failed),
            (
                &[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, "\"a\"")],
                NotModified,
            ),
        ] {
            assert_eq!(judge(&headers(list), &file()), expected, "{list:?}");
        }
    }

    #[test]
    fn a_range_of_a_file_that_has_changed_is_not_current() {
        let is_current = |value| range_is_current(&headers(&[(header::IF_RANGE, value)]), &file());
        assert!(range_is_current(&HeaderMap::new(), &file()));
        assert!(is_current("\"a\""));
        assert!(is_current(THEN));
        for other in ["\"b\"", "W/\"a\"", BEFORE, AFTER, "*", ""] {
            assert!(!is_current(other), "{other}");
        }
        let mut young = file();
        young.modified = in_seconds(SystemTime::now());
        let date = httpdate::fmt_http_date(young.modified.unwrap());
        let asked = headers(&[(header::IF_RANGE, &date)]);
        assert!(!range_is_current(&asked, &young), "it may change again");
    }
}
