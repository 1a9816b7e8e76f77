//! Commands that end the process or a handler, or keep them from going on.

use std::fs::File;
use std::future::pending;

use moorline::Result;

use super::answers::milliseconds;
use super::misuse;
use super::order::Order;

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
    "sleep-then-block",
    "block",
];

/// Carries out one of them.
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order { rest, .. } = *order;
    Ok(Some(match order.command {
        "misuse" => misuse::misuse(rest)?,
        "crash" => std::process::abort(),
        "crash-once" => {
            // The file remembers across processes that this message has killed one.
            if File::create_new(order.word()).is_ok() {
                std::process::abort();
            }
            "survived".to_owned()
        }
        "fail" => return Err("asked to fail".into()),
        "exit" => std::process::exit(order.word().parse()?),
        "exit-later" => {
            let code = order.word().parse()?;
            tokio::time::sleep(milliseconds(order.word())?).await;
            std::process::exit(code)
        }
        "hang" => pending().await,
        "sleep" => {
            tokio::time::sleep(milliseconds(order.word())?).await;
            "slept".to_owned()
        }
        "sleep-then-block" => {
            tokio::time::sleep(milliseconds(order.word())?).await;
            std::thread::sleep(milliseconds(order.word())?);
            "blocked".to_owned()
        }
        "block" => {
            std::thread::sleep(milliseconds(order.word())?);
            "blocked".to_owned()
        }
        _ => return Err("an unknown command".into()),
    }))
}
