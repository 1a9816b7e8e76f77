//! Commands that end the process or a handler, or keep them from going on.

use std::fs::File;
use std::future::pending;

use moorline::Result;

use super::answers::milliseconds;
use super::misuse;

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "misuse",
    "crash",
    "crash-once",
    "fail",
    "exit",
    "exit-later",
    "hang",
    "sleep",
    "block",
];

/// Carries out one of them.
pub(super) async fn obey(command: &str, rest: &str) -> Result<Option<String>> {
    let mut words = rest.split(' ');
    let mut word = || words.next().unwrap_or_default();
    Ok(Some(match command {
        "misuse" => misuse::misuse(rest)?,
        "crash" => std::process::abort(),
        "crash-once" => {
            // The file remembers across processes that this message has killed one.
            if File::create_new(word()).is_ok() {
                std::process::abort();
            }
            "survived".to_owned()
        }
        "fail" => return Err("asked to fail".into()),
        "exit" => std::process::exit(word().parse()?),
        "exit-later" => {
            let code = word().parse()?;
            tokio::time::sleep(milliseconds(word())?).await;
            std::process::exit(code)
        }
        "hang" => pending().await,
        "sleep" => {
            tokio::time::sleep(milliseconds(word())?).await;
            "slept".to_owned()
        }
        "block" => {
            std::thread::sleep(milliseconds(word())?);
            "blocked".to_owned()
        }
        _ => return Err("an unknown command".into()),
    }))
}
