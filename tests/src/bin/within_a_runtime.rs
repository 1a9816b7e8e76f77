//! An app whose `main` has a runtime of its own.

use std::process::ExitCode;
use std::rc::Rc;

use moorline::{App, Context, Message, NoSettings, Result, Session};

struct Idle;

impl App for Idle {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Ok(Idle)
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> Result {
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    moorline::run(Idle::start)
}
