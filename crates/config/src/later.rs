//! Planned names that do not exist yet. They are refused with a message of their own, so that users do not look for a
//! typing error.

/// Section, key, what to do meanwhile.
const KEYS: &[(&str, &str, &str)] = &[
    (
        "[engine]",
        "access_log",
        "write [access_log.NAME], and `access_log = [\"NAME\"]` in [[listen]]",
    ),
    ("[engine]", "kill_after", LEAVE_OUT),
    ("[workers]", "kill_after", LEAVE_OUT),
    ("[[listen]]", "proxy_protocol", LEAVE_OUT),
];

const LEAVE_OUT: &str = "leave it out";

/// What to do instead of using `key` in `section`, if it is planned.
pub(super) fn key(section: &str, key: &str) -> Option<&'static str> {
    KEYS.iter()
        .find(|(s, k, _)| *s == section && *k == key)
        .map(|(.., hint)| *hint)
}
