//! The smallest app: each message goes back to its sender.
//!
//! ```text
//! cargo run --release --example echo -- serve CONFIG
//! ```

use std::process::ExitCode;
use std::rc::Rc;

use moorline::{App, Context, Message, NoSettings, Result, Session};

struct Echo;

impl App for Echo {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Ok(Echo)
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        Ok(session.send(&message).await?)
    }
}

fn main() -> ExitCode {
    moorline::run(Echo::start)
}
