//! A broken build: it starts and never becomes ready.

use std::future::pending;
use std::rc::Rc;

use moorline::{App, Context, Message, NoSettings, Result, Session};

struct NeverReady;

impl App for NeverReady {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        pending().await
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> Result {
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    moorline::run(NeverReady::start)
}
