//! The names under which beats and frames travel.

/// Where all processes say that they are there.
pub(crate) fn beats(prefix: &str) -> String {
    format!("{prefix}.beat")
}

/// Where frames for one process go.
pub(crate) fn process(prefix: &str, number: u16, process: u64) -> String {
    format!("{prefix}.node.{number}.{process:016x}")
}

/// Where a node tells the members of its groups.
pub(crate) fn presence(prefix: &str, number: u16) -> String {
    format!("{prefix}.presence.{number}")
}

/// Where all nodes do.
pub(crate) fn presences(prefix: &str) -> String {
    format!("{prefix}.presence.*")
}

/// Where one process is told the members of the groups of others.
pub(crate) fn presence_to(prefix: &str, number: u16, process: u64) -> String {
    format!("{prefix}.node.{number}.presence-{process:016x}")
}

/// Where others ask a node for the members of its groups.
pub(crate) fn presence_asks(prefix: &str, number: u16) -> String {
    format!("{prefix}.node.{number}.presence")
}

/// What a node must be allowed to do, in the words of NATS.
#[cfg_attr(
    not(feature = "nats"),
    expect(dead_code, reason = "without NATS nothing is allowed")
)]
pub(crate) fn needed(prefix: &str, number: u16) -> String {
    format!(
        "publish to `{prefix}.beat`, `{prefix}.node.*.*` and `{prefix}.presence.{number}`, and to subscribe to `{prefix}.beat`, `{prefix}.node.{number}.*` and `{prefix}.presence.*`"
    )
}
