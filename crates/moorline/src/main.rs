//! The `moorline` command: the engine without an app. It checks configurations, asks running engines
//! for things, measures servers, and serves what needs no app.

use std::process::ExitCode;
use std::rc::Rc;

use moorline::{App, Message, Session};

/// Handles nothing: no listener that would need it is served.
struct Nothing;

impl App for Nothing {
    async fn message(self: Rc<Self>, _session: Session, _message: Message) -> moorline::Result {
        Ok(())
    }
}

fn main() -> ExitCode {
    moorline::builder(|| Nothing).only_static().run()
}
