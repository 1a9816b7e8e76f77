//! `count = 0` in `[workers]`: an engine that only relays, or serves files.

use toml::Spanned;
use toml::de::DeTable;

use super::error::{Report, Reported};
use super::{Listener, Workers};

/// Refuses listeners whose sessions nobody would handle.
pub(super) fn check(
    report: &Report<'_>,
    tree: &Spanned<DeTable<'_>>,
    workers: &Workers,
    listeners: &[Listener],
) -> Result<(), Reported> {
    if workers.count > 0 {
        return Ok(());
    }
    let Some(listener) = listeners.iter().find(|it| it.needs_app()) else {
        return Ok(());
    };
    let table = tree.get_ref().get("workers");
    let count = table.and_then(|it| it.get_ref().as_table()?.get("count"));
    let place = count.map_or(0..0, Spanned::span);
    let message = format!(
        "`count` is 0, and workers handle the sessions of the listener {:?}",
        listener.name
    );
    let hint =
        "write count = 1, or `upstream` for the listener if its connections are to be relayed";
    Err(report.error(place, message, hint))
}
