//! The `moorline` command: the engine without an app. It checks configurations, asks running engines
//! for things, measures servers, and serves what needs no app.

use std::process::ExitCode;
use std::rc::Rc;

use moorline::{App, Context, Message, NoSettings, Result, Session};

/// It handles nothing: no listener that needs an app is served.
struct Nothing;

impl App for Nothing {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Ok(Self)
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> Result {
        Ok(())
    }
}

fn main() -> ExitCode {
    moorline::builder(Nothing::start).only_static().run()
}
