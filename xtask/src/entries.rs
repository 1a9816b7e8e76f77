//! The types that users begin with have an example in their documentation.

use std::path::Path;

use crate::sources::{Source, sources};
use crate::steps::Failure;

/// Each with its file.
const ENTRIES: &[(&str, &str)] = &[
    ("struct Builder", "crates/moorline/src/lib.rs"),
    ("struct Engine", "crates/moorline/src/testing/engine.rs"),
    ("trait App", "crates/worker/src/app.rs"),
    ("struct Accept", "crates/worker/src/app/accept.rs"),
    ("struct Context", "crates/worker/src/app/context.rs"),
    ("struct Group", "crates/worker/src/app/group.rs"),
    ("trait Versioned", "crates/worker/src/app/locker.rs"),
    ("struct Request", "crates/worker/src/app/request.rs"),
    ("struct Response", "crates/worker/src/app/response.rs"),
    ("struct Session", "crates/worker/src/app/session.rs"),
    ("struct Task", "crates/worker/src/app/task.rs"),
    ("struct ScriptedEngine", "crates/worker/src/testing.rs"),
    ("enum Address", "crates/net/src/address.rs"),
    ("struct Client", "crates/net/src/blocking/client.rs"),
    (
        "struct DatagramClient",
        "crates/net/src/blocking/datagram.rs",
    ),
    ("struct Pool", "crates/net/src/blocking/pool.rs"),
    ("struct Client", "crates/net/src/client/state.rs"),
    ("struct Connector", "crates/net/src/connector.rs"),
    ("struct DatagramClient", "crates/net/src/datagram.rs"),
    ("struct Dialer", "crates/net/src/dial.rs"),
    ("struct EventLoop", "crates/net/src/event_loop/handle.rs"),
    ("struct EventLoopPool", "crates/net/src/event_loop/pool.rs"),
    ("struct FramingCodec", "crates/net/src/framing/codec.rs"),
    ("struct Decoder", "crates/net/src/framing/decoder.rs"),
    ("enum Framing", "crates/net/src/framing/kinds.rs"),
    ("struct Listener", "crates/net/src/listener.rs"),
    (
        "struct DatagramListener",
        "crates/net/src/listener/datagrams.rs",
    ),
    ("struct Pool", "crates/net/src/pool.rs"),
    ("struct Relay", "crates/net/src/relay.rs"),
    ("struct Timer", "crates/net/src/timer.rs"),
];

/// Fails with each that has none.
pub(crate) fn have_examples() -> Result<(), Failure> {
    let files = sources(&["rs"])?;
    let lacking = |(name, path): &&(&str, &str)| !has_example(&files, name, path);
    let lacking: Vec<String> = ENTRIES
        .iter()
        .filter(lacking)
        .map(|(name, path)| format!("{path}: {name}"))
        .collect();
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(Failure(format!(
            "types that users begin with, without an example in their documentation:\n{}",
            lacking.join("\n")
        ))),
    }
}

fn has_example(files: &[Source], name: &str, path: &str) -> bool {
    let file = files.iter().find(|file| file.path == Path::new(path));
    file.is_some_and(|file| {
        let mut is_example = false;
        for line in file.text.lines() {
            let item = line
                .strip_prefix("pub ")
                .and_then(|line| line.strip_prefix(name));
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric());
            if item.is_some_and(ends) {
                return is_example;
            }
            if line.starts_with("///") {
                is_example |= line.starts_with("/// ```");
            } else if !line.starts_with("#[") {
                is_example = false;
            }
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_belongs_to_the_type_below_it() {
        let file = Source {
            path: "a.rs".into(),
            text: "/// ```\n/// ```\n#[derive(Debug)]\npub struct One;\n\n/// None.\npub struct OneMore;\n".to_owned(),
        };
        let files = [file];
        assert!(has_example(&files, "struct One", "a.rs"));
        assert!(!has_example(&files, "struct OneMore", "a.rs"));
        assert!(!has_example(&files, "struct Two", "a.rs"));
    }

    #[test]
    fn the_types_that_users_begin_with_have_examples() {
        if let Err(Failure(found)) = have_examples() {
            panic!("{found}");
        }
    }
}
