//! The essay "The way of a message": the files that it names are there, in the order in which a message passes them.

use std::fs;

use crate::steps::{Failure, root};

const PAGE: &str = "ARCHITECTURE.md";
const TITLE: &str = "## The way of a message";

/// The files that a message passes, in order: from the socket to the app's handler, and back.
const WAY: &[&str] = &[
    "crates/gateway/src/accept.rs",
    "crates/gateway/src/main_loop.rs",
    "crates/gateway/src/service.rs",
    "crates/gateway/src/input/read.rs",
    "crates/gateway/src/input/cut.rs",
    "crates/gateway/src/input/deliver.rs",
    "crates/ipc/src/ring.rs",
    "crates/gateway/src/input/direct.rs",
    "crates/worker/src/ring_task.rs",
    "crates/worker/src/core/sessions.rs",
    "crates/worker/src/handlers.rs",
    "crates/worker/src/outbox.rs",
    "crates/worker/src/pace.rs",
    "crates/gateway/src/records.rs",
    "crates/gateway/src/output/write.rs",
    "crates/gateway/src/output/flush.rs",
    "crates/gateway/src/features/handlers.rs",
];

/// Fails if the page names other files, or one of them is gone.
pub(crate) fn is_told() -> Result<(), Failure> {
    let page = fs::read_to_string(root().join(PAGE))
        .map_err(|error| Failure(format!("cannot read {PAGE}: {error}")))?;
    let essay = page.split(TITLE).nth(1).unwrap_or_default();
    let essay = essay.split("\n## ").next().unwrap_or_default();
    let named: Vec<&str> = essay
        .split('`')
        .filter(|word| word.starts_with("crates/") && word.ends_with(".rs"))
        .collect();
    if named != WAY {
        return Err(Failure(format!(
            "{PAGE}: the way of a message passes {WAY:#?}, and the page names {named:#?}"
        )));
    }
    let gone: Vec<&&str> = WAY
        .iter()
        .filter(|file| !root().join(file).is_file())
        .collect();
    match gone.is_empty() {
        true => Ok(()),
        false => Err(Failure(format!(
            "{PAGE} names files that are gone: {gone:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_a_message_names_its_files_in_order_and_each_is_there() {
        if let Err(Failure(found)) = is_told() {
            panic!("{found}");
        }
    }
}
