//! The names under which beats and frames travel.

/// Where all processes say that they are there.
pub(crate) fn beats(prefix: &str) -> String {
    format!("{prefix}.beat")
}

/// Where frames for one process go.
pub(crate) fn process(prefix: &str, number: u16, process: u64) -> String {
    format!("{prefix}.node.{number}.{process:016x}")
}
