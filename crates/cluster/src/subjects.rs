//! The names under which beats and frames travel.

/// Where all processes say that they are there.
pub(crate) fn beats(prefix: &str) -> String {
    format!("{prefix}.beat")
}

/// Where frames for one process go.
pub(crate) fn process(prefix: &str, number: u16, process: u64) -> String {
    format!("{prefix}.node.{number}.{process:016x}")
}

/// What a node must be allowed to do, in the words of NATS.
#[cfg_attr(
    not(feature = "nats"),
    expect(dead_code, reason = "without NATS nothing is allowed")
)]
pub(crate) fn needed(prefix: &str, number: u16) -> String {
    format!(
        "publish to `{prefix}.beat` and `{prefix}.node.*.*`, and to subscribe to `{prefix}.beat` and `{prefix}.node.{number}.*`"
    )
}
